"""Publishing, with the real clients against the loopback Hub: subsets and selections, read back by load_dataset."""

from __future__ import annotations

import io
import json
import sys
import textwrap

import numpy as np
import pytest
from conftest import HubSession
from datasets import Dataset, Image, load_dataset
from PIL import Image as Pillow

from meddel_hf import MedDEL
from meddel_hf.cards import with_chosen
from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.hub import push, save_subset

ROWS = 24
MEDDEL = [sys.executable, "-m", "meddel_hf"]


def jpeg(value: int) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", (20, 16), (value, 90, 200 - value)).save(buffer, "JPEG")
    return buffer.getvalue()


def frames() -> Dataset:
    data = {
        "id": [f"centre/frame {i:02}" for i in range(ROWS)],
        "image": [{"bytes": jpeg(5 * i), "path": None} for i in range(ROWS)],
        "center": ["c1", "c2"] * (ROWS // 2),
    }
    return Dataset.from_dict(data).cast_column("image", Image())


def vectors() -> np.ndarray:
    """Six groups of four: of each group one row stays."""
    rng = np.random.default_rng(3)
    return (np.repeat(rng.standard_normal((6, 32)), 4, axis=0) + 0.05 * rng.standard_normal((ROWS, 32))).astype("f4")


def selection_of(pool: Dataset):
    """A selection whose ids are the data set's: made from a store that stands for an embedding of it."""
    from dataclasses import replace

    selection = MedDEL(eta=0.9, epsilon=None, scope="pool").select(vectors())
    table = selection.table.set_column(0, "id", [pool["id"][:]])
    named = table["duplicate_of"].to_pylist()
    table = table.set_column(3, "duplicate_of", [[None if i is None else pool["id"][int(i)] for i in named]])
    return replace(selection, table=table, origin=replace(selection.origin, row_ids=False, encoder="me/vit|<b>"))


def test_a_saved_subset_opens_with_load_dataset_and_keeps_the_bytes(tmp_path):
    pool = frames()
    selection = selection_of(pool)
    subset = selection.filter(pool)
    folder = save_subset(subset, tmp_path / "subset", license="cc-by-4.0")
    opened = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(opened) == 6
    assert opened["id"][:] == selection.kept == subset["id"][:]
    assert opened.features == pool.features
    original = {row["id"]: row["image"]["bytes"] for row in pool.cast_column("image", Image(decode=False))}
    for row in opened.cast_column("image", Image(decode=False)):
        assert row["image"]["bytes"] == original[row["id"]]


def test_image_paths_are_read_into_the_subset(tmp_path):
    for i in range(ROWS):
        (tmp_path / f"{i}.jpg").write_bytes(jpeg(i))
    pool = Dataset.from_dict(
        {"id": [str(i) for i in range(ROWS)], "image": [str(tmp_path / f"{i}.jpg") for i in range(ROWS)]}
    )
    pool = pool.cast_column("image", Image())
    folder = save_subset(selection_of(pool).filter(pool), tmp_path / "subset")
    opened = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    for row in opened.cast_column("image", Image(decode=False)):
        assert row["image"]["bytes"] == jpeg(int(row["id"]))


def test_a_subset_replaces_an_older_one_but_no_other_folder(tmp_path):
    pool = frames()
    subset = selection_of(pool).filter(pool)
    save_subset(subset, tmp_path / "out")
    save_subset(subset, tmp_path / "out")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    with pytest.raises(InvalidArgument, match="holds no subset"):
        save_subset(subset, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "years of work"
    selection_of(pool).save(tmp_path / "selection")
    with pytest.raises(Mismatch, match="selection"):
        save_subset(subset, tmp_path / "selection")


def test_the_card_says_how_the_subset_was_chosen_and_escapes_what_comes_from_data(tmp_path):
    pool = frames()
    selection = selection_of(pool)
    card = (save_subset(selection.filter(pool), tmp_path / "subset") / "README.md").read_text()
    for fact in (
        "0.900000",
        "6 of 24 rows",
        "18 near-duplicates",
        selection.origin.fingerprint,
        "torch ",
        selection.fingerprint,
    ):
        assert fact in card
    assert "me/vit\\|&lt;b>" in card
    again = with_chosen(card, selection)
    assert again.count("How this subset was chosen") == 1


def test_pushed_subset_is_loaded_whole_and_as_a_stream_with_its_card(hub: HubSession, tmp_path):
    pool = frames()
    pool.save_to_disk(tmp_path / "pool")
    selection_of(pool).save(tmp_path / "selection")
    code = f"""
        from datasets import load_dataset, load_from_disk
        from meddel_hf import Selection
        selection = Selection.load({str(tmp_path / "selection")!r})
        subset = selection.filter(load_from_disk({str(tmp_path / "pool")!r}))
        subset.push_to_hub("me/datadel-25pct")
        whole = load_dataset("me/datadel-25pct", split="train")
        stream = load_dataset("me/datadel-25pct", split="train", streaming=True)
        assert [row["id"] for row in stream] == whole["id"][:] == selection.kept
        assert whole[0]["image"].size == (20, 16)
        print(selection.fingerprint)
    """
    fingerprint = hub.run(textwrap.dedent(code)).strip().splitlines()[-1]
    card = hub.read("me/datadel-25pct", "README.md", "dataset").decode()
    assert fingerprint in card
    assert "6 of 24 rows" in card
    assert "meddel" in card.split("---")[1]
    assert "dataset_info" in card.split("---")[1]  # what datasets wrote stays


def test_pushed_selection_and_folder_are_loaded(hub: HubSession, tmp_path):
    pool = frames()
    selection = selection_of(pool)
    selection.save(tmp_path / "selection")
    save_subset(selection.filter(pool), tmp_path / "subset")
    out = hub.call([*MEDDEL, "push", str(tmp_path / "selection"), "me/why"])
    assert "me/why" in out
    hub.call([*MEDDEL, "push", str(tmp_path / "subset"), "me/subset", "--private"])
    code = """
        import json
        from datasets import load_dataset
        rows = load_dataset("me/why", split="train")
        subset = load_dataset("me/subset", split="train")
        print(json.dumps([rows.column_names, rows["id"][:], rows["kept"][:], subset["id"][:]]))
    """
    names, ids, kept, subset_ids = json.loads(hub.run(textwrap.dedent(code)).strip().splitlines()[-1])
    assert names == ["id", "kept", "reason", "duplicate_of", "similarity", "cluster", "distance"]
    assert ids == pool["id"][:]
    assert subset_ids == selection.kept == [i for i, stays in zip(ids, kept, strict=True) if stays]
    assert "manifest.json" in hub.files("me/why", "dataset")


def test_a_folder_of_something_else_is_not_pushed(tmp_path):
    with pytest.raises(InvalidArgument, match="neither a selection nor a data set folder"):
        push(tmp_path, "me/nothing")

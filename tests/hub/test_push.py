"""Publishing, with the real clients against the loopback Hub: subsets and selections, read back by load_dataset."""

from __future__ import annotations

import io
import json
import shutil
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import HubSession
from datasets import Dataset, Features, Image, List, Value, load_dataset
from PIL import Image as Pillow

from meddel_hf import MedDEL, make_pool
from meddel_hf.data import cells, parquet
from meddel_hf.errors import IncompleteStore, InvalidArgument, InvalidDataset, Mismatch
from meddel_hf.hub.push import push
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.selection.card import with_chosen
from meddel_hf.selection.folder import save_subset
from meddel_hf.selection.subset import shards_for

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
    selection = MedDEL(eta=0.9, epsilon=None, scope="pool").select(vectors())
    table = selection.table.set_column(0, "id", [pool["id"][:]])
    named = table["duplicate_of"].to_pylist()
    table = table.set_column(3, "duplicate_of", [[None if i is None else pool["id"][int(i)] for i in named]])
    return replace(selection, table=table, origin=replace(selection.origin, row_ids=False, encoder="me/vit|<b>"))


def kept_only(pool: Dataset, *rows: int):
    """A selection that keeps these rows of the pool."""
    selection = selection_of(pool)
    kept = [row in rows for row in range(ROWS)]
    table = selection.table.set_column(1, "kept", [kept])
    table = table.set_column(2, "reason", [[None if stays else "near-duplicate" for stays in kept]])
    return replace(selection, table=table)


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


def test_a_subset_that_is_to_be_private_is_not_pushed_where_all_can_see_it(hub: HubSession, tmp_path):
    pool = frames()
    pool.save_to_disk(tmp_path / "pool")
    selection_of(pool).save(tmp_path / "selection")
    code = f"""
        from datasets import load_from_disk
        from huggingface_hub import HfApi
        from meddel_hf import Selection
        HfApi().create_repo("me/open", repo_type="dataset", private=False)
        subset = Selection.load({str(tmp_path / "selection")!r}).filter(load_from_disk({str(tmp_path / "pool")!r}))
        try:
            subset.push_to_hub("me/open", private=True)
        except ValueError as error:
            print("refused:", error)
        subset.push_to_hub("me/closed", private=True)
        print(HfApi().dataset_info("me/closed").private)
    """
    said = hub.run(textwrap.dedent(code))
    assert "refused: me/open exists and is public, and is asked to be private" in said
    assert said.strip().endswith("True")
    assert not [name for name in hub.files("me/open", "dataset") if name.endswith(".parquet")]
    assert [name for name in hub.files("me/closed", "dataset") if name.endswith(".parquet")]


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


def opened(folder, cache) -> Dataset:
    return load_dataset(str(folder), split="train", cache_dir=str(cache))


def test_a_subset_written_twice_gives_its_own_rows_and_so_does_another_of_that_name(tmp_path):
    pool = frames()
    first, second, third = (kept_only(pool, *rows) for rows in ((0, 1, 2), (7, 8, 9), (0, 1, 9)))
    folder = save_subset(first.filter(pool), tmp_path / "a" / "subset")
    assert opened(folder, tmp_path / "cache")["id"][:] == first.kept
    save_subset(second.filter(pool), folder)
    assert opened(folder, tmp_path / "cache")["id"][:] == second.kept
    stream = load_dataset(str(folder), split="train", streaming=True)
    assert [row["id"] for row in stream] == second.kept
    other = save_subset(third.filter(pool), tmp_path / "b" / "subset")
    assert opened(other, tmp_path / "cache")["id"][:] == third.kept
    save_subset(first.filter(pool), folder)
    assert opened(folder, tmp_path / "cache")["id"][:] == first.kept
    assert len(list((folder / "data").iterdir())) == 1


def test_every_image_of_a_subset_opens_as_a_picture(tmp_path):
    """Also a mask, and images in lists and structs, whatever the reader of the pool had asked for."""
    closed = Image(decode=False)
    cell = [{"bytes": jpeg(5 * i), "path": None} for i in range(ROWS)]
    pool = frames().cast_column("image", closed)
    pool = pool.add_column("mask", cell).cast_column("mask", Image(mode="L", decode=False))
    pool = Dataset.from_dict(
        {**pool.to_dict(), "views": [[c, c] for c in cell], "side": [{"left": c, "name": "x"} for c in cell]},
        features=Features({**pool.features, "views": List(closed), "side": {"left": closed, "name": Value("string")}}),
    )
    subset = selection_of(pool).filter(pool)
    assert subset.features == pool.features  # what came in goes out
    row = opened(save_subset(subset, tmp_path / "subset"), tmp_path / "cache")[0]
    pictures = [row["image"], row["mask"], *row["views"], row["side"]["left"]]
    assert [picture.size for picture in pictures] == [(20, 16)] * 5
    assert row["mask"].mode == "L"


@pytest.mark.parametrize("kind", ["paths", "bytes"])
def test_a_plain_column_of_images_becomes_one_that_opens(tmp_path, kind):
    for i in range(ROWS):
        (tmp_path / f"{i}.jpg").write_bytes(jpeg(i))
    values = [str(tmp_path / f"{i}.jpg") if kind == "paths" else jpeg(i) for i in range(ROWS)]
    pool = Dataset.from_dict({"id": [str(i) for i in range(ROWS)], "image": values})
    row = opened(save_subset(selection_of(pool).filter(pool), tmp_path / "subset"), tmp_path / "cache")[0]
    assert row["image"].size == (20, 16)
    assert str(tmp_path) not in (tmp_path / "subset" / "README.md").read_text()


def test_files_and_row_groups_are_bounded_in_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "PART_BYTES", 40_000)
    monkeypatch.setattr(parquet, "GROUP_BYTES", 9_000)
    rng = np.random.default_rng(0)
    sizes = rng.integers(1_000, 6_000, ROWS)
    cells = [{"bytes": jpeg(i) + rng.bytes(int(size)), "path": None} for i, size in enumerate(sizes)]
    pool = Dataset.from_dict({"id": frames()["id"][:], "image": cells}).cast_column("image", Image())
    selection = kept_only(pool, *range(ROWS))
    folder = save_subset(selection.filter(pool), tmp_path / "subset")
    files = sorted((folder / "data").iterdir())
    assert len(files) > 1
    for file in files:
        assert file.stat().st_size < 40_000 + 2 * 8_000
        meta = pq.read_metadata(file)
        groups = [meta.row_group(i).total_byte_size for i in range(meta.num_row_groups)]
        assert max(groups) < 9_000 + 8_000
    assert opened(folder, tmp_path / "cache")["id"][:] == selection.kept


def test_a_frame_that_no_column_can_hold_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "MOST_BYTES", 5_000)
    for i in range(ROWS):
        (tmp_path / f"{i}.jpg").write_bytes(jpeg(i) + bytes(9_000 * (i == 3)))
    paths = [str(tmp_path / f"{i}.jpg") for i in range(ROWS)]
    pool = Dataset.from_dict({"id": frames()["id"][:], "image": paths}).cast_column("image", Image())
    with pytest.raises(InvalidDataset, match=r"3\.jpg has 9,\d+ bytes"):
        save_subset(kept_only(pool, 2, 3).filter(pool), tmp_path / "subset")
    assert not (tmp_path / "subset").exists()


@pytest.mark.parametrize("sizes", [[10] * 10, [60] * 10, [1] * 9 + [95, 99], [500], [500, 1, 1, 500]])
def test_shards_on_the_hub_are_the_fewest_that_are_bounded_in_bytes(sizes):
    def largest(number: int) -> int:
        return max(sum(sizes[i] for i in part) for part in np.array_split(np.arange(len(sizes)), number))

    enough = [n for n in range(1, len(sizes) + 1) if largest(n) <= 100]
    assert shards_for(sizes, 100) == (enough or [len(sizes)])[0]


@pytest.mark.slow
def test_a_smaller_push_leaves_nothing_of_a_larger_one(hub: HubSession, tmp_path, monkeypatch):
    pool = frames().cast_column("image", Image(decode=False))
    monkeypatch.setattr(parquet, "PART_BYTES", 2_000)
    large, small = kept_only(pool, *range(12)), kept_only(pool, 3, 5)
    save_subset(large.filter(pool), tmp_path / "large" / "subset")
    save_subset(small.filter(pool), tmp_path / "small" / "subset")
    code = f"""
        from datasets import load_dataset
        from huggingface_hub import HfApi
        from meddel_hf.hub.push import push

        push({str(tmp_path / "large" / "subset")!r}, "me/subset")
        assert len(HfApi().list_repo_files("me/subset", repo_type="dataset")) > 5
        assert load_dataset("me/subset", split="train")["id"][:] == {large.kept}
        where = {{"repo_id": "me/subset", "repo_type": "dataset"}}
        HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="data/notes.txt", **where)
        push({str(tmp_path / "small" / "subset")!r}, "me/subset")
    """
    read = f"""
        from datasets import load_dataset

        rows = load_dataset("me/subset", split="train")
        assert rows["id"][:] == {small.kept}
        assert rows[0]["image"].size == (20, 16)
    """
    hub.run(textwrap.dedent(code) + textwrap.dedent(read))
    hub.run(textwrap.dedent(read), HF_HOME=str(tmp_path / "fresh"))
    shards = [name for name in hub.files("me/subset", "dataset") if name.endswith(".parquet")]
    assert shards == sorted(f"data/{path.name}" for path in (tmp_path / "small" / "subset" / "data").iterdir())
    assert "data/notes.txt" in hub.files("me/subset", "dataset")  # its owner's


@pytest.mark.slow
def test_a_smaller_push_of_image_files_leaves_none_of_a_larger_one(hub: HubSession, tmp_path):
    pool = frames()
    for name, rows in (("large", range(6)), ("small", (3, 5))):
        save_subset(kept_only(pool, *rows).filter(pool), tmp_path / name, as_images=True)
    code = f"""
        from huggingface_hub import HfApi
        from meddel_hf.hub.push import push
        for name in ("large", "small"):
            push({str(tmp_path)!r} + "/" + name, "me/images")
        there = HfApi().list_repo_files("me/images", repo_type="dataset")
        print([file for file in there if file.startswith("images/")])
    """
    said = hub.run(textwrap.dedent(code)).strip().splitlines()[-1]
    assert said == str([f"images/centre/frame {row:02}.jpg" for row in (3, 5)])


@pytest.mark.slow
def test_pushes_of_both_kinds_follow_one_another(hub: HubSession, tmp_path):
    pool = frames().cast_column("image", Image(decode=False))
    pool.save_to_disk(tmp_path / "pool")
    for name, rows in (("one", range(9)), ("two", (3, 5))):
        kept_only(pool, *rows).save(tmp_path / name)
        save_subset(kept_only(pool, *rows).filter(pool), tmp_path / f"{name}-subset")
    code = f"""
        from datasets import load_dataset, load_from_disk
        from meddel_hf import Selection
        from meddel_hf.hub.push import push

        def on_the_hub():
            return load_dataset("me/both", split="train")

        one, two = ({str(tmp_path)!r} + name for name in ("/one", "/two"))
        selections, pool = [Selection.load(name) for name in (one, two)], load_from_disk({str(tmp_path / "pool")!r})
        push(one + "-subset", "me/both")
        assert on_the_hub()["id"][:] == selections[0].kept
        for selection, shards in zip((selections[1], selections[0], selections[1]), (2, 1, None)):
            selection.filter(pool).push_to_hub("me/both", num_shards=shards)
            assert on_the_hub()["id"][:] == selection.kept
            assert on_the_hub()[0]["image"].size == (20, 16)
        push(one + "-subset", "me/both")
        assert on_the_hub()["id"][:] == selections[0].kept
        push(two, "me/both")
        assert on_the_hub()["id"][:] == pool["id"][:]
        selections[1].filter(pool).push_to_hub("me/other")
        push(one + "-subset", "me/other")
        selections[1].filter(pool).push_to_hub("me/other")
    """
    hub.run(textwrap.dedent(code))
    assert [name for name in hub.files("me/both", "dataset") if name.startswith("data/")] == []
    kinds = [name.partition("-")[0] for name in hub.files("me/other", "dataset")]
    assert kinds == [".gitattributes", "README.md", "data/train"]  # no manifest of other rows


def test_a_folder_that_is_not_what_was_written_is_not_pushed(tmp_path):
    pool = frames()
    folder = save_subset(kept_only(pool, 1, 2).filter(pool), tmp_path / "subset")
    shard = next((folder / "data").iterdir())
    sound = shard.read_bytes()
    shard.write_bytes(sound[:-9] + bytes([sound[-9] ^ 1]) + sound[-8:])
    with pytest.raises(IncompleteStore, match="changed since it was written"):
        push(folder, "me/subset")
    shard.write_bytes(sound)
    (folder / "README.md").unlink()
    with pytest.raises(InvalidArgument, match=r"no README\.md"):
        push(folder, "me/subset")


def test_only_what_the_step_wrote_is_sent_and_the_rest_is_told(hub: HubSession, tmp_path):
    """A pool with a key, a table of patients and an older file in it; and an older file in a subset."""
    raw, out = hub.home / "raw", hub.home / "pool"
    raw.mkdir()
    for number in range(3):
        (raw / f"{number}.jpg").write_bytes(jpeg(40 * number))
    (raw / "Doe_Jane_1961.jpg").write_bytes(b"damaged")
    (raw / "Doe_Jane_report.pdf").write_bytes(b"")
    make_pool(raw, out, workers=1, quiet=True)
    card = out / "README.md"
    card.write_text("---\nlicense: cc-by-4.0\n" + card.read_text().removeprefix("---\n"))
    (out / "pool.key").write_text("ab" * 32)
    (out / "patients.xlsx").write_bytes(b"names")
    (out / "skipped.parquet").write_bytes(b"names")
    (shard,) = (out / "data").iterdir()
    shutil.copy(shard, out / "data" / "old.parquet")
    (out / "data" / "more").mkdir()
    shutil.copy(shard, out / "data" / "more" / "train-old.parquet")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    code = "import sys; from meddel_hf.cli import main; sys.stderr = sys.stdout\n"
    code += "assert main(['push', 'pool', 'me/pool']) == 0"
    said = hub.run(code)
    (line,) = (line for line in said.splitlines() if "left here" in line)
    assert line == "not sent, and left here: data/more/train-old.parquet, data/old.parquet, patients.xlsx and 3 more"
    names = {"README.md", "manifest.json", f"data/{shard.name}"}
    assert set(hub.files("me/pool", "dataset")) - {".gitattributes"} == names
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    copy = tmp_path / "copy"
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(hub.read("me/pool", name, "dataset"))
    assert b"Doe_Jane" not in b"".join((copy / name).read_bytes() for name in names)
    manifest = Manifest.read(copy, "pool")
    assert set(manifest.files) == {f"data/{shard.name}"}
    manifest.check(copy)
    assert "license: cc-by-4.0" in (copy / "README.md").read_text(), "what its owner wrote into the card"
    assert opened(copy, tmp_path / "cache")["id"][:] == ["0", "1", "2"]


@pytest.mark.slow
def test_image_files_go_with_the_labels_that_people_wrote_beside_them(hub: HubSession, tmp_path):
    pool = frames()
    folder = save_subset(kept_only(pool, 1, 2).filter(pool), hub.home / "subset", as_images=True)
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    (folder / "metadata.jsonl").write_text("".join(json.dumps({**line, "label": "polyp"}) + "\n" for line in lines))
    (folder / "images" / "mine.jpg").write_bytes(jpeg(3))
    hub.call([*MEDDEL, "push", str(folder), "me/images"])
    there = {name for name in hub.files("me/images", "dataset") if name != ".gitattributes"}
    assert there == {"README.md", "manifest.json", "metadata.jsonl", *(line["file_name"] for line in lines)}
    code = "from datasets import load_dataset\nprint(load_dataset('me/images', split='train')['label'][:])"
    assert hub.run(code).splitlines()[-1] == "['polyp', 'polyp']"
    (folder / "metadata.jsonl").unlink()
    with pytest.raises(IncompleteStore, match=r"metadata\.jsonl is missing"):
        push(folder, "me/images")


@pytest.mark.slow
def test_a_folder_without_a_manifest_goes_without_keys_and_hidden_files(hub: HubSession, tmp_path):
    pool = frames()
    folder = save_subset(kept_only(pool, 1, 2).filter(pool), hub.home / "mine")
    for name in ("manifest.json", ".notes", "mine.key"):
        (folder / name).write_text("secret")
    (folder / "manifest.json").unlink()
    hub.call([*MEDDEL, "push", str(folder), "me/mine"])
    (shard,) = (folder / "data").iterdir()
    there = {name for name in hub.files("me/mine", "dataset") if name != ".gitattributes"}
    assert there == {"README.md", f"data/{shard.name}"}


def test_folders_that_are_for_nobody_else_are_not_pushed(tmp_path):
    (tmp_path / "shard-00000.safetensors").write_bytes(b"x")
    (tmp_path / "README.md").write_text("mine")
    Manifest("embeddings", "f" * 32).write(tmp_path, ["shard-00000.safetensors"])
    with pytest.raises(InvalidArgument, match="of step 'embeddings', which is not made for others"):
        push(tmp_path, "me/store")
    Manifest("subset", "f" * 32, files={"../secret": {"bytes": 1, "xxh3": "0" * 32}}).write(tmp_path)
    with pytest.raises(IncompleteStore, match=r"records \.\./secret, which is outside the folder"):
        push(tmp_path, "me/subset")


def test_of_an_earlier_version_that_recorded_nothing_goes_what_it_wrote(hub: HubSession, tmp_path):
    pool = frames()
    folder = save_subset(kept_only(pool, 1, 2).filter(pool), hub.home / "older")
    replace(Manifest.read(folder), files={}).write(folder)
    (folder / "patients.parquet").write_bytes(b"names")
    (shard,) = (folder / "data").iterdir()
    hub.call([*MEDDEL, "push", str(folder), "me/older"])
    there = {name for name in hub.files("me/older", "dataset") if name != ".gitattributes"}
    assert there == {"README.md", "manifest.json", f"data/{shard.name}"}

"""A pool is what its frames hold: not their names and sizes, nor the place where they lie."""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Image, Value, load_from_disk
from embedding.test_embed import make_encoder
from PIL import Image as Picture

from meddel_hf import MedDEL
from meddel_hf.data.pool import Pool, load_pool
from meddel_hf.embedding.embed import embed
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import Mismatch
from meddel_hf.pretraining.frame_cache import decode_once
from meddel_hf.pretraining.pretrain import pretrain
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.selection.selection import Selection

ROWS = 6


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    return str(make_encoder(tmp_path_factory.mktemp("encoder") / "vit"))


def bmp(folder: Path, row: int, *, blacked: bool = False) -> Path:
    """A frame of the recorder: always of one size in bytes."""
    pixels = np.random.default_rng(row).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    if blacked:
        pixels[:, :12] = 0
    Picture.fromarray(pixels).save(folder / f"{row}.bmp")
    return folder / f"{row}.bmp"


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "frames").mkdir()
    for row in range(ROWS):
        bmp(tmp_path / "frames", row)
    return tmp_path / "frames"


def rewrite(folder: Path, row: int = 3) -> None:
    time.sleep(0.02)  # clocks of file systems tick in milliseconds
    size = (folder / f"{row}.bmp").stat().st_size
    assert bmp(folder, row, blacked=True).stat().st_size == size


def in_parquet(folder: Path, out: Path) -> Path:
    """The frames of a folder with their bytes, as a data set folder."""
    files = sorted(folder.glob("*.bmp"))
    images = [{"bytes": file.read_bytes(), "path": None} for file in files]
    features = Features({"id": Value("string"), "image": Image()})
    (out / "data").mkdir(parents=True)
    Dataset.from_dict({"id": [file.stem for file in files], "image": images}, features=features).to_parquet(
        out / "data" / "train-0.parquet"
    )
    return out


def made(folder: Path, encoder: str, out: Path) -> tuple[EmbeddingStore, Selection]:
    store = embed(load_pool(str(folder)), encoder, out, num_workers=0, progress=False)
    return store, MedDEL(retention=0.5, epsilon=None).select(store)


def test_a_fingerprint_sees_content_and_nothing_else(folder, tmp_path):
    known = load_pool(str(folder))._fingerprint
    assert Pool.of(load_pool(str(shutil.copytree(folder, tmp_path / "copy")))).fingerprint == known
    rows = load_pool(str(in_parquet(folder, tmp_path / "rows")))
    assert Pool.of(rows).fingerprint == known, "the same frames in Parquet are the same pool"
    assert rows._fingerprint != known, "and yet another data set, whose other columns count elsewhere"
    assert len(rows._fingerprint) <= 64
    rewrite(folder)
    assert load_pool(str(folder))._fingerprint != known
    bmp(folder, 3)
    assert load_pool(str(folder))._fingerprint == known


def test_columns_beside_the_frames_change_the_data_set_and_not_the_pool(folder, tmp_path):
    out = in_parquet(folder, tmp_path / "rows")
    table = pq.read_table(out / "data" / "train-0.parquet")
    plain = load_pool(str(out))
    pq.write_table(table.append_column("label", [["polyp"] * ROWS]), out / "data" / "train-0.parquet")
    labelled = load_pool(str(out))
    assert labelled["label"][:] == ["polyp"] * ROWS
    assert labelled._fingerprint != plain._fingerprint
    assert Pool.of(labelled).fingerprint == Pool.of(plain).fingerprint


def test_a_saved_data_set_whose_arrow_file_was_replaced(folder, tmp_path):
    """Its state.json keeps the fingerprint of the rows that it once held."""
    load_pool(str(in_parquet(folder, tmp_path / "one"))).save_to_disk(tmp_path / "saved")
    rewrite(folder)
    load_pool(str(in_parquet(folder, tmp_path / "two"))).save_to_disk(tmp_path / "other")
    before, stale = load_pool(str(tmp_path / "saved")), load_from_disk(str(tmp_path / "saved"))._fingerprint
    known = before._fingerprint
    del before
    (arrow,) = (tmp_path / "other").glob("*.arrow")
    shutil.copy(arrow, tmp_path / "saved" / arrow.name)
    assert load_from_disk(str(tmp_path / "saved"))._fingerprint == stale
    assert load_pool(str(tmp_path / "saved"))._fingerprint != known


@pytest.mark.parametrize("feature", [Image(), Value("string")])
def test_files_that_a_data_set_of_the_user_names_count_with_their_content(feature, folder):
    features = Features({"id": Value("string"), "image": feature})
    columns = {"id": ["a", "b"], "image": [str(folder / "2.bmp"), str(folder / "3.bmp")]}
    first = Pool.of(Dataset.from_dict(columns, features=features))
    assert Pool.of(Dataset.from_dict(columns, features=features)).fingerprint == first.fingerprint
    rewrite(folder)
    assert Pool.of(Dataset.from_dict(columns, features=features)).fingerprint != first.fingerprint


def test_a_frame_rewritten_in_place_is_not_taken_for_embedded(folder, encoder, tmp_path):
    store, selection = made(folder, encoder, tmp_path / "out")
    selection.save(tmp_path / "selection")
    assert selection.filter(load_pool(str(folder)))["id"][:] == selection.kept
    rewrite(folder)
    changed = load_pool(str(folder))
    with pytest.raises(Mismatch, match=r"begun with another data set.*choose another folder"):
        embed(changed, encoder, tmp_path / "out", num_workers=0, progress=False)
    with pytest.raises(Mismatch, match=r"frames of this pool changed since they were embedded.*embed the pool again"):
        Selection.load(tmp_path / "selection").filter(changed)
    with pytest.raises(Mismatch, match="frames of this pool changed"):
        pretrain(changed, tmp_path / "mae", recipe=Recipe(preset="tiny", samples=0), selection=selection)
    fresh = embed(changed, encoder, tmp_path / "fresh", num_workers=0, progress=False)
    assert fresh.pool_fingerprint != store.pool_fingerprint
    assert float(fresh.embeddings[3] @ store.embeddings[3]) < 0.9999


def test_pools_that_were_opened_by_other_means_are_joined_by_id(folder, encoder, tmp_path):
    _, selection = made(folder, encoder, tmp_path / "out")
    mine = Dataset.from_dict({"id": [str(row) for row in range(ROWS)], "number": list(range(ROWS))})
    assert [str(number) for number in selection.filter(mine)["number"]] == selection.kept


def test_what_an_earlier_version_wrote_is_filtered_and_not_resumed(folder, encoder, tmp_path):
    store, selection = made(folder, encoder, tmp_path / "out")
    old = "cd175c3c413884a42bb11e12c6a9c227"  # of names and sizes
    earlier = replace(selection, origin=replace(selection.origin, fingerprint=old))
    assert earlier.filter(load_pool(str(folder)))["id"][:] == selection.kept
    begun = {"arguments": {}, "parents": {**store.manifest.parents, "pool": old}, "versions": {}}
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "begun.json").write_text(json.dumps(begun))
    with pytest.raises(Mismatch, match=r"by an earlier version, which knew frames by their names and sizes.*another"):
        embed(load_pool(str(folder)), encoder, tmp_path / "begun", num_workers=0, progress=False)


def test_frames_are_decoded_anew_when_one_was_rewritten(folder, tmp_path):
    first = decode_once(Pool.of(load_pool(str(folder))), tmp_path / "decoded", 24)
    rewrite(folder)
    second = decode_once(Pool.of(load_pool(str(folder))), tmp_path / "decoded", 24)
    assert first.pixels[3][:, :12].mean() > 64
    assert second.pixels[3][:, :12].max() == 0
    np.testing.assert_array_equal(first.pixels[2], second.pixels[2])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_frame_that_changes_after_the_pool_was_opened_is_listed(workers, folder, encoder, tmp_path):
    pool = load_pool(str(folder))
    opened = Pool.of(pool)
    rewrite(folder)
    (folder / "5.bmp").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meddel_hf.data.pool.Pool.of", lambda *args, **options: opened)
        store = embed(pool, encoder, tmp_path / "out", num_workers=workers, progress=False)
    assert store.rows.tolist() == [0, 1, 2, 4]
    assert [(row["id"], row["reason"]) for row in store.unreadable.to_pylist()] == [
        ("3", "changed since the pool was opened"), ("5", "file not found"),
    ]  # fmt: skip


def test_a_stream_of_files_that_were_rewritten_is_not_resumed(folder, encoder, tmp_path):
    options = {"num_workers": 0, "progress": False, "shard_rows": 4}
    embed(load_pool(str(folder), streaming=True), encoder, tmp_path / "out", **options)
    embed(load_pool(str(folder), streaming=True), encoder, tmp_path / "out", **options)
    rewrite(folder)
    with pytest.raises(Mismatch, match="no longer holds what shard 0"):
        embed(load_pool(str(folder), streaming=True), encoder, tmp_path / "out", **options)


def test_the_last_line_counts_what_was_not_looked_at(folder, encoder, tmp_path, caplog):
    caplog.set_level("INFO", "meddel_hf")
    for name in ("a.dcm", "b.dcm", "c.heic", "IM1"):
        (folder / name).write_bytes(b"?")
    (folder / "9.bmp").symlink_to(".git/annex/objects/gone")
    embed(load_pool(str(folder)), encoder, tmp_path / "out", num_workers=0)
    note, line = caplog.messages[0], caplog.messages[-1]
    assert "2 DICOM files can be made into frames, such as a.dcm: meddel pool " in note
    assert "6 of 7 frames embedded, 1 unreadable" in line
    assert line.endswith("; 4 files were not looked at (.dcm 2, .heic 1, no suffix 1), see skipped.parquet")
    listed = pq.read_table(tmp_path / "out" / "skipped.parquet")["path"].to_pylist()
    assert listed == ["IM1", "a.dcm", "b.dcm", "c.heic"]


HUB = """
import sys
from datasets import Dataset, Features, Image, Value
from meddel_hf.data.pool import load_pool
if len(sys.argv) > 1:
    frames = Dataset.from_dict({"id": ["a", "b"], "image": [{"bytes": b"x", "path": None}] * 2},
                               features=Features({"id": Value("string"), "image": Image()}))
    frames.push_to_hub("user/frames")
print(load_pool("user/frames")._fingerprint)
"""


@pytest.mark.slow
def test_a_pool_of_the_hub_is_known_by_its_commit_wherever_it_is_cached(hub, tmp_path):
    first = hub.call([sys.executable, "-c", HUB, "push"]).split()[-1]
    for path in (hub.home / "huggingface").rglob("*"):
        if path.is_file():
            path.touch()
    assert hub.call([sys.executable, "-c", HUB]).split()[-1] == first
    assert hub.call([sys.executable, "-c", HUB], HF_HOME=str(tmp_path / "elsewhere")).split()[-1] == first

"""The better of two near-duplicates stays: real frames and their worse copies, sizes known from the files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from PIL import Image
from safetensors.numpy import load_file, save_file

import meddel_hf
from meddel_hf import Dedup, EmbeddingStore
from meddel_hf.cli import main
from meddel_hf.errors import InvalidArgument
from meddel_hf.selectors import MedDEL

ETA = 0.97
SMALL = {"batch_size": 8, "num_workers": 0, "progress": False, "calibrate": False}


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    """Twelve frames as their owner gave them; a third was scaled down to a PNG of more bytes, a third compressed again.

    Copies stand before their originals in the pool's order, as their names do.
    """
    folder = tmp_path_factory.mktemp("frames")
    pool = Path(meddel_hf.__file__).parent / "assets" / "pool"
    rows = load_dataset(str(pool), split="train", cache_dir=str(folder.parent / "cache"))
    for number, row in enumerate(rows.select(range(0, 240, 20))):
        picture = row["image"].convert("RGB")
        picture.save(folder / f"{number:02d}-b-original.jpg", quality=92)
        small = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BICUBIC)
        if number % 3 == 0:
            small.resize((picture.width - 8, picture.height - 8)).save(folder / f"{number:02d}-a-scaled.png")
        elif number % 3 == 1:
            picture.save(folder / f"{number:02d}-a-again.jpg", quality=35)
    return folder


@pytest.fixture(scope="module")
def store(frames, tmp_path_factory) -> EmbeddingStore:
    return meddel_hf.embed(str(frames), "carried", tmp_path_factory.mktemp("store") / "store", **SMALL)


def true_sizes(frames: Path, ids: list[str]) -> list[tuple[int, int]]:
    files = {path.relative_to(frames).with_suffix("").as_posix(): path for path in frames.iterdir()}
    answer = []
    for id in ids:
        with Image.open(files[id]) as picture:
            answer.append((picture.width * picture.height, files[id].stat().st_size))
    return answer


def greedy(store: EmbeddingStore, sizes: list[tuple[int, int]]) -> list[str]:
    """Who stays, by every cosine in float64."""
    unit = store.embeddings.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    kept: list[int] = []
    for row in sorted(range(len(unit)), key=lambda row: (-sizes[row][0], -sizes[row][1], row)):
        if all(unit[row] @ unit[other] <= ETA for other in kept):
            kept.append(row)
    return [store.pool_ids[row] for row in sorted(kept)]


def test_a_store_knows_pixels_and_bytes(store, frames):
    assert list(map(tuple, store.sizes.tolist())) == true_sizes(frames, store.pool_ids)


@pytest.mark.parametrize("how", [{}, {"scope": "cluster"}, {"memory": 2 * 10**9}])
def test_the_largest_of_a_group_stays(store, frames, how, monkeypatch):
    if "memory" in how:  # which they fit into
        monkeypatch.setattr("meddel_hf.dedup.larger_than_memory.Room.fits", lambda *_, **__: False)
    if how.get("scope") == "cluster":
        monkeypatch.setattr("meddel_hf.dedup.search.by_default", lambda rows: 1)
    sizes = true_sizes(frames, store.pool_ids)
    selection = Dedup(eta=ETA, keep="largest", **how).select(store)
    assert selection.kept == greedy(store, sizes)
    size_of = dict(zip(store.pool_ids, sizes, strict=True))
    gone = [row for row in selection.table.to_pylist() if row["reason"] == "near-duplicate"]
    assert len(gone) >= 8, "every copy, at least"
    for row in gone:
        assert size_of[row["id"]] <= size_of[row["duplicate_of"]]


def test_what_is_not_done_by_default_is_said(store, frames):
    size_of = dict(zip(store.pool_ids, true_sizes(frames, store.pool_ids), strict=True))
    selection = Dedup(eta=ETA).select(store)
    pairs = [
        (size_of[row["id"]], size_of[row["duplicate_of"]])
        for row in selection.table.to_pylist()
        if row["reason"] == "near-duplicate"
    ]
    larger = sum(a[0] > b[0] or (a[0] == b[0] and a[1] >= 1.5 * b[1]) for a, b in pairs)
    assert 0 < larger < len(pairs)
    (note,) = (note for note in selection.notes if "largest" in note)
    assert note.startswith(
        f"{larger} of {len(pairs)} near-duplicates that went {'is' if larger == 1 else 'are'} clearly"
    )
    assert not any("largest" in note for note in Dedup(eta=ETA, keep="largest").select(store).notes)


def test_new_frames_are_judged_by_it_too(frames, tmp_path):
    """Both copies of a frame are new, of which the smaller comes first: the larger stays."""
    old = tmp_path / "old"
    old.mkdir()
    for path in frames.glob("0[4-9]-b-*"):
        shutil.copy(path, old)
    before = Dedup(eta=ETA, keep="largest").select(meddel_hf.embed(str(old), "carried", tmp_path / "s1", **SMALL))
    for path in frames.glob("00-*"):
        shutil.copy(path, old)
    grown = meddel_hf.embed(str(old), None, tmp_path / "s2", grown_from=tmp_path / "s1", num_workers=0, progress=False)
    assert list(map(tuple, grown.sizes.tolist())) == true_sizes(frames, grown.pool_ids)
    after = meddel_hf.extend(before, grown)
    assert "00-b-original" in after.kept
    assert "00-a-scaled" not in after.kept


def test_a_store_of_an_earlier_version_noted_none(store, frames, tmp_path):
    """It is read, grown and shrunk as ever, and knows no sizes."""
    from meddel_hf.embedding.removing import without
    from meddel_hf.runtime.manifest import Manifest
    from meddel_hf.runtime.records import recorded_files

    shutil.copytree(store.folder, tmp_path / "old")
    (shard,) = (tmp_path / "old").glob("shard-*.safetensors")
    tensors = load_file(shard)
    del tensors["sizes"]
    save_file(tensors, shard)
    manifest = Manifest.read(tmp_path / "old", "embeddings")
    manifest.files.update(recorded_files(tmp_path / "old", [shard.name]))
    manifest.write(tmp_path / "old")
    grown = meddel_hf.embed(
        str(frames), None, tmp_path / "new", grown_from=tmp_path / "old", num_workers=0, progress=False, calibrate=False
    )
    less = without(grown, store.pool_ids[:2], tmp_path / "less")
    for earlier in (EmbeddingStore.load(tmp_path / "old"), grown, less):
        assert earlier.sizes is None
        assert Dedup(eta=ETA).select(earlier).kept
        with pytest.raises(InvalidArgument, match=r"made by an earlier version, which noted no sizes .* embed into"):
            Dedup(eta=ETA, keep="largest").select(earlier)


def test_frames_that_were_decoded_elsewhere_have_no_bytes(frames, tmp_path):
    from meddel_hf.data.batches import decoded
    from meddel_hf.data.images import Preprocessing

    with Image.open(next(frames.glob("*.png"))) as picture:
        batch = decoded([0], [picture], Preprocessing((8, 8), None, 3, 1 / 255, (0.5,) * 3, (0.5,) * 3))
    assert batch.sizes.tolist() == [[picture.width * picture.height, 0]]


def test_others_refuse_it(store, tmp_path, capsys):
    with pytest.raises(InvalidArgument, match="keep must be one of"):
        MedDEL(eta=ETA, keep="largest")
    with pytest.raises(InvalidArgument, match="goes by the pixels and bytes of frames, which a plain array has not"):
        Dedup(eta=ETA, keep="largest").select(store.embeddings)
    out = tmp_path / "selection"
    assert main(["select", str(store.folder), "--eta", str(ETA), "--keep", "largest", "--out", str(out)]) == 0
    assert meddel_hf.Selection.load(out).settings["keep"] == "largest"

"""Pools of known redundancy: as many frames as were asked for, near-copies that are ones, whole folders or none."""

from __future__ import annotations

import io

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture
from tiny import textured

from meddel_hf.data.near_copies import SOURCES, TABLE, blown_up, near_copy, with_near_copies, zipf
from meddel_hf.data.pool import Pool, load_pool
from meddel_hf.errors import IncompleteStore, InvalidArgument, InvalidDataset, Mismatch


def pool(frames: int, broken: tuple[int, ...] = ()) -> Pool:
    def file(seed: int) -> bytes:
        out = io.BytesIO()
        textured(seed, (24, 20)).save(out, "PNG")
        return out.getvalue()

    images = [b"no image" if row in broken else file(row) for row in range(frames)]
    features = Features({"id": Value("string"), "image": Image(decode=False)})
    return Pool.of(Dataset.from_dict({"id": [str(row) for row in range(frames)], "image": images}, features=features))


def test_zipfs_law():
    counts = zipf(10, 1000)
    assert counts.sum() == 1000
    harmonic = sum(1 / k for k in range(1, 11))
    assert counts[1:].tolist() == [int(1000 / k / harmonic) for k in range(2, 11)]  # what is left goes to the first
    assert zipf(60, 60).tolist() == [1] * 60


def test_a_pool_is_made_of_scenes():
    made = blown_up(pool(20, broken=(3, 8)), 4, 30, 10)
    assert len(made) == 40
    groups = made["group"][:]
    sizes = [groups.count(f"{scene:05}") for scene in range(14)]
    assert sizes == [*zipf(4, 30).tolist(), *[1] * 10]
    assert made["id"][:] != sorted(made["id"][:])
    assert [id.split("/")[0] for id in made["id"][:]] == groups
    with pytest.raises(InvalidDataset, match=r"the pool holds 18 frames that can be decoded: expected 24 at least"):
        blown_up(pool(20, broken=(3, 8)), 4, 30, 20)


def test_a_near_copy_is_nearer_to_its_frame_than_others_are():
    frames = [textured(seed, (64, 64)) for seed in range(6)]
    rng = np.random.default_rng(0)

    def small(image: Picture.Image) -> np.ndarray:
        values = np.asarray(image.convert("L").resize((8, 8)), float).ravel()
        return (values - values.mean()) / values.std()

    for at, frame in enumerate(frames):
        copy = small(Picture.open(io.BytesIO(near_copy(frame, rng))))
        assert np.argmax([copy @ small(other) for other in frames]) == at
        assert near_copy(frame, rng) != near_copy(frame, rng)


def test_a_folder_is_whole_and_made_once(tmp_path):
    frames = pool(150)
    folder = with_near_copies(frames, 0.6, tmp_path / "red")
    made = load_pool(str(folder))
    groups = made["group"][:]
    assert len(made) == 150  # as many as before
    assert sum(groups.count(group) for group in sorted(set(groups))[:SOURCES]) == 90
    before = (folder / TABLE).stat().st_mtime_ns
    assert with_near_copies(frames, 0.6, tmp_path / "red") == folder
    assert (folder / TABLE).stat().st_mtime_ns == before
    other = with_near_copies(frames, 0.6, tmp_path / "again")
    assert (other / TABLE).read_bytes() == (folder / TABLE).read_bytes()
    with pytest.raises(Mismatch, match=r"was made with another share"):
        with_near_copies(frames, 0.5, tmp_path / "red")
    data = bytearray((folder / TABLE).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / TABLE).write_bytes(bytes(data))
    with pytest.raises(IncompleteStore):
        with_near_copies(frames, 0.6, tmp_path / "red")


@pytest.mark.parametrize("share", [0, 1, -0.1, 0.3, float("nan"), "half"])
def test_shares_that_make_no_such_pool_are_refused(share, tmp_path):
    with pytest.raises(InvalidArgument, match=r"expected a share between 0 and 1 that gives 60 at least"):
        with_near_copies(pool(150), share, tmp_path / "red")
    assert not (tmp_path / "red").exists()

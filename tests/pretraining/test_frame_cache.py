"""The frames that views are cut from: decoded as ever, once, whole or not at all."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image as Picture
from pretraining.test_pretrain import BROKEN, ROWS, folder_of_images, frames, jpeg

from meddel_hf.data.pool import Pool, load_pool
from meddel_hf.errors import IncompleteStore, InvalidDataset
from meddel_hf.pretraining.frame_cache import (
    CachedFrames,
    LiveFrames,
    cache_folder,
    decode_once,
    older_copies,
    stored_side,
)


def pool(dataset: Dataset | None = None) -> Pool:
    return Pool.of(frames() if dataset is None else dataset)


def folders_in(cache: Path) -> list[Path]:
    """What stands there but for the locks."""
    return [path for path in cache.iterdir() if path.is_dir()]


@pytest.mark.parametrize("workers", [0, 2])
def test_frames_are_what_pillow_makes_of_them(workers, tmp_path):
    cache = decode_once(pool(), tmp_path, 24, workers=workers)
    assert cache.pixels.shape == (ROWS, 32, 32, 3)
    for row in set(range(ROWS)) - set(BROKEN):
        (tmp_path / "x.jpg").write_bytes(jpeg(row))
        with Picture.open(tmp_path / "x.jpg") as image:
            expected = np.asarray(image.convert("RGB").resize((32, 32), Picture.Resampling.BILINEAR))
        np.testing.assert_array_equal(cache.pixels[row], expected)
    assert cache.reasons == {3: "empty file", 11: "not an image"}
    assert not cache.pixels[3].any()


def test_live_frames_are_the_same(tmp_path):
    rows = [5, 0, 19, 5]
    cache, live = decode_once(pool(), tmp_path, 24), LiveFrames(pool(), 32)
    assert cache.side == live.side == stored_side(24)
    for cached, decoded in zip(cache.read(rows), live.read(rows), strict=True):
        np.testing.assert_array_equal(cached, decoded)
    assert live.unreadable(list(range(ROWS)), 0) == cache.reasons
    assert live.unreadable([1, 11, 12], 2) == {11: "not an image"}


def test_one_folder_serves_pools_and_sizes_and_decodes_each_once(tmp_path):
    first = decode_once(pool(), tmp_path, 24)
    stamp = (first.folder / "frames.npy").stat().st_mtime_ns
    other = decode_once(pool(frames(5, {})), tmp_path, 24)
    larger = decode_once(pool(), tmp_path, 96)
    again = decode_once(pool(), tmp_path, 24)
    assert (first.folder / "frames.npy").stat().st_mtime_ns == stamp
    assert again.fingerprint == first.fingerprint
    assert {len(first), len(other), len(larger)} == {ROWS, 5}
    assert len({first.folder, other.folder, larger.folder}) == len(folders_in(tmp_path)) == 3
    assert (first.side, larger.side) == (32, 128)


def test_of_two_runs_that_begin_at_once_one_decodes(tmp_path):
    source, cache = folder_of_images(tmp_path / "pool"), tmp_path / "frames"
    runs = [subprocess.Popen([sys.executable, "-c", AT_ONCE, str(source), str(cache)], stdout=-1) for _ in range(2)]
    decoded = sorted(int(run.communicate()[0]) for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert decoded == [0, ROWS]


def test_the_side_is_a_third_more_than_the_view():
    for size in range(8, 520):
        assert stored_side(size) % 8 == 0
        assert 0 <= stored_side(size) - 4 / 3 * size < 8


def test_another_process_is_sent_the_place_and_not_the_pixels(tmp_path):
    cache = decode_once(pool(), tmp_path, 96)
    sent = pickle.dumps(cache)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent).pixels, cache.pixels)


def test_a_stream_is_refused(tmp_path):
    with pytest.raises(InvalidDataset, match="a stream cannot be read in random order"):
        decode_once(Pool.of(frames().to_iterable_dataset()), tmp_path, 24)


def test_what_is_not_whole_is_not_taken_for_a_cache(tmp_path):
    with pytest.raises(IncompleteStore, match="not a finished frames folder"):
        CachedFrames.load(tmp_path)
    folder = decode_once(pool(), tmp_path / "frames", 24).folder
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["checksum"]  # as in folders that were written before there was one
    (folder / "manifest.json").write_text(json.dumps({**manifest, "details": {"shape": [21, 32, 32, 3]}}))
    with pytest.raises(IncompleteStore, match=r"of shape \(20, 32, 32, 3\), its manifest says"):
        CachedFrames.load(folder)


KILLED = """
import os, signal, sys
from pathlib import Path
from meddel_hf.pretraining import frame_cache as frames
from meddel_hf.data.pool import Pool, load_pool

class Bar:
    def update(self, count):
        os.kill(os.getpid(), signal.SIGKILL)

frames.decode_once(Pool.of(load_pool(sys.argv[1])), sys.argv[2], 24, progress=Bar())
"""


AT_ONCE = """
import sys, time
from pathlib import Path
from meddel_hf.pretraining import frame_cache as frames
from meddel_hf.data.pool import Pool, load_pool
class Bar:
    count = 0
    def update(self, n):
        Bar.count += n
        time.sleep(0.5)
pool = Pool.of(load_pool(sys.argv[1]))
there = Path(sys.argv[2] + ".ready") / str(time.time_ns())
there.mkdir(parents=True)
while len(list(there.parent.iterdir())) < 2:
    time.sleep(0.01)
frames.decode_once(pool, sys.argv[2], 24, progress=Bar())
print(Bar.count)
"""


def test_a_killed_decoding_leaves_no_cache_and_no_rubbish_for_ever(tmp_path):
    source, cache = folder_of_images(tmp_path / "pool"), tmp_path / "frames"
    died = subprocess.run([sys.executable, "-c", KILLED, str(source), str(cache)], check=False)
    assert died.returncode == -signal.SIGKILL
    (left,) = folders_in(cache)
    made_of = Pool.of(load_pool(str(source)))
    assert not cache_folder(cache, made_of, 32).exists()
    decode_once(made_of, cache, 24)
    assert not left.exists()
    assert len(folders_in(cache)) == 1


def test_a_copy_of_frames_as_they_were_before_is_named(tmp_path):
    source, cache = folder_of_images(tmp_path / "pool"), tmp_path / "frames"
    before = Pool.of(load_pool(str(source)))
    first = decode_once(before, cache, 24).folder
    assert older_copies(cache, before, 24) == []
    Picture.new("RGB", (32, 32), "black").save(sorted(source.rglob("*.jpg"))[0])
    after = Pool.of(load_pool(str(source)))
    assert after.ids == before.ids
    decode_once(after, cache, 24)
    assert older_copies(cache, after, 24) == [first]
    assert older_copies(cache, after, 48) == []
    numbered = [Pool.of(frames().select(range(start, start + 5)).remove_columns("id")) for start in (0, 5)]
    for pool_without_ids in numbered:
        decode_once(pool_without_ids, tmp_path / "numbered", 24)
    assert older_copies(tmp_path / "numbered", numbered[1], 24) == []

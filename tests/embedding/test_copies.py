"""Mild copies: what becomes of a frame, which frames are copied, and that a store is given them once."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, Features, Image, Value, load_from_disk
from PIL import Image as Picture
from tiny import textured, tiny_encoder

from meddel_hf.data.images import prepare
from meddel_hf.embedding.copies import KINDS, Copies, mild_copies, sampled
from meddel_hf.embedding.embed import embed
from meddel_hf.embedding.encoder import load_encoder
from meddel_hf.embedding.store import COPIES, EmbeddingStore
from meddel_hf.errors import IncompleteStore


def png(picture: Picture.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def frames(rows: int, broken: tuple[int, ...] = ()) -> Dataset:
    images = [b"no image" if row in broken else png(textured(row)) for row in range(rows)]
    features = Features({"id": Value("string"), "image": Image(decode=False)})
    return Dataset.from_dict({"id": [f"f/{row:03d}" for row in range(rows)], "image": images}, features=features)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    return str(tiny_encoder(tmp_path_factory.mktemp("encoder") / "vit"))


def test_a_copy_is_recompressed_shifted_brighter_or_all_three():
    frame = textured(3, (200, 100))
    again, shifted, brighter, all_three = (np.asarray(copy, np.float64) for copy in mild_copies(frame))
    pixels = np.asarray(frame, np.float64)
    assert 0.1 < np.abs(again - pixels).mean() < 6
    assert np.array_equal(shifted, pixels[3:, 6:])  # 3 % of 100 and of 200: nothing is filled in
    below = pixels < 230
    assert np.abs(brighter - 1.08 * pixels)[below].max() <= 1
    assert all_three.shape == shifted.shape
    assert 0.1 < np.abs(all_three - np.minimum(1.08 * shifted, 255)).mean() < 6


@pytest.mark.parametrize(
    ("rows", "expected"), [(0, 0), (1, 1), (63, 63), (64, 64), (900, 64), (20_000, 200), (10**6, 512)]
)
def test_a_hundredth_is_copied_within_bounds(rows, expected):
    picked = sampled(np.arange(rows) * 2, None)
    assert len(picked) == len(set(picked)) == expected
    assert (np.diff(picked) > 0).all()
    if expected > 1:
        assert (picked[0], picked[-1]) == (0, 2 * (rows - 1))


def test_those_of_the_lowest_digests_are_copied_so_that_a_grown_pool_keeps_its_sample():
    rng = np.random.default_rng(0)
    names = [rng.bytes(16) for _ in range(20_200)]
    names[7] = None  # a frame that could not be read
    small, large = pa.array(names[:20_000], pa.binary(16)), pa.array(names, pa.binary(16))
    rows = np.setdiff1d(np.arange(20_000), [3, 5])
    picked = sampled(rows, small)
    lowest = sorted((names[row], row) for row in rows if names[row] is not None)[:199]
    assert picked.tolist() == sorted(row for _, row in lowest)
    later = sampled(np.setdiff1d(np.arange(20_200), [3, 5]), large)
    assert len(np.setdiff1d(later, picked)) <= 12, "a hundredth of the frames is new, and two of the sample are added"


def test_the_vectors_are_those_of_the_copies(encoder, tmp_path):
    """Worked out again from the files: decoded, copied, prepared and embedded one by one."""
    data = frames(9, broken=(4,))
    store = embed(data, encoder, tmp_path / "out", precision="float32", progress=False)
    copies = store.copies
    assert copies.row.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    for pooling in ("cls", "mean"):
        model = load_encoder(encoder, pooling=pooling, precision="float32")
        for place, row in enumerate(copies.row):
            copied = [prepare(copy, model.preprocessing) for copy in mild_copies(textured(int(row)))]
            expected = model(np.stack(copied)).numpy()
            assert np.abs(copies.vectors[pooling][place] - expected).max() < 1e-5
    assert copies.thumbnails.shape == (8, len(KINDS), 32, 32)
    alone = embed(data, encoder, tmp_path / "alone", pooling="mean", precision="float32", progress=False)
    assert np.abs(store.pooled("mean") - alone.embeddings).max() < 1e-6
    assert list(alone.copies.vectors) == ["mean"]


def test_a_store_without_them_gets_them_and_keeps_its_fingerprint(encoder, tmp_path):
    data = frames(12)
    plain = embed(data, encoder, tmp_path / "plain", calibrate=False, progress=False)
    assert plain.copies is None
    assert not (tmp_path / "plain" / COPIES).exists()
    whole = embed(data, encoder, tmp_path / "whole", progress=False)
    shards = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "plain").glob("shard-*")}
    later = embed(data, encoder, tmp_path / "plain", progress=False)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "plain").glob("shard-*")} == shards
    assert later.fingerprint == plain.fingerprint == whole.fingerprint
    assert later.manifest.details["calibration"] == whole.manifest.details["calibration"]
    assert (tmp_path / "plain" / COPIES).read_bytes() == (tmp_path / "whole" / COPIES).read_bytes()
    assert (tmp_path / "plain/manifest.json").read_bytes() == (tmp_path / "whole/manifest.json").read_bytes()


# Ends the process, as if it were killed, where a name of a module is called for the nth time.
KILLED = """
import importlib, os, sys
from datasets import load_from_disk
from meddel_hf.embedding.embed import embed
home, name, nth, pool, encoder, out = sys.argv[1:]
module, _, owner = home.partition(":")
place = importlib.import_module(module)
place = getattr(place, owner) if owner else place
real, left = getattr(place, name), [int(nth)]
def killed(*args, **options):
    left[0] -= 1
    return os._exit(9) if not left[0] else real(*args, **options)
setattr(place, name, killed)
embed(load_from_disk(pool), encoder, out, num_workers=0, precision="float32", progress=False)
"""


@pytest.mark.parametrize(
    ("home", "name", "nth", "there"),
    [
        ("meddel_hf.runtime.manifest:Manifest", "write", 2, True),
        *(pytest.param(*moment, marks=pytest.mark.slow) for moment in (
            ("meddel_hf.embedding.copies:CopyBatches", "__getitem__", 2, False), ("os", "replace", 7, False),
            ("meddel_hf.embedding.store", "recorded_files", 3, True),
        )),
    ],
)  # fmt: skip
def test_killed_while_copies_are_made_it_goes_on_to_the_same_bytes(home, name, nth, there, encoder, tmp_path):
    frames(20).save_to_disk(str(tmp_path / "pool"))
    data = load_from_disk(str(tmp_path / "pool"))
    embed(data, encoder, tmp_path / "whole", precision="float32", progress=False)
    out = tmp_path / "out"
    line = [sys.executable, "-c", KILLED, home, name, str(nth), str(tmp_path / "pool"), encoder, str(out)]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 9, done.stderr
    assert (out / COPIES).exists() == there
    assert EmbeddingStore.load(out).copies is None
    shutil.copytree(out, tmp_path / "plain")
    plain = embed(data, encoder, tmp_path / "plain", calibrate=False, precision="float32", progress=False)
    assert {path.name for path in plain.folder.iterdir()} == {*plain.records, "manifest.json"}, "nothing is left behind"
    embed(data, encoder, out, precision="float32", progress=False)
    names = sorted(path.name for path in out.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert all((out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in names)


def test_a_stream_is_calibrated_by_the_same_frames(encoder, tmp_path):
    data = frames(20)
    whole = embed(data, encoder, tmp_path / "whole", progress=False)
    streamed = embed(data.to_iterable_dataset(), encoder, tmp_path / "streamed", progress=False)
    assert streamed.copies.row.tolist() == whole.copies.row.tolist()
    assert np.array_equal(streamed.copies.vectors["cls"], whole.copies.vectors["cls"])


def test_damage_is_found_before_they_are_used(encoder, tmp_path):
    store = embed(frames(8), encoder, tmp_path / "out", progress=False)
    path = store.folder / COPIES
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IncompleteStore, match=r"copies\.safetensors"):
        _ = EmbeddingStore.load(store.folder).copies
    path.write_bytes(content[:50])
    with pytest.raises(IncompleteStore, match=r"copies\.safetensors"):
        Copies.load(path)


def test_stores_of_before_there_were_any_open(encoder, tmp_path):
    """What an older version wrote: one pooling, no thumbnails, no copies."""
    store = embed(frames(8), encoder, tmp_path / "out", pooling="cls", calibrate=False, progress=False)
    older = Path(shutil.copytree(store.folder, tmp_path / "older"))
    manifest = json.loads((older / "manifest.json").read_text())
    del manifest["arguments"]["thumbnails"], manifest["checksum"]
    (older / "manifest.json").write_text(json.dumps(manifest))
    opened = EmbeddingStore.load(older)
    assert (opened.poolings, opened.thumbnails, opened.copies) == (("cls",), None, None)
    assert len(opened.embeddings) == 8

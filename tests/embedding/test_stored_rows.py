"""Rows of a store, read a part at a time, are those of its embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from meddel_hf.embedding.store import EmbeddingStore, Shard, StoreWriter
from meddel_hf.errors import IncompleteStore, InvalidArgument

ARGUMENTS = {"encoder": "a", "pool": None, "revision": None, "pooling": "both"}


def written(folder, rows=23, dtype="float32", shard=5):
    """Every third row is unreadable, and all of the second shard."""
    rng = np.random.default_rng(0)
    x, mean = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in rng.normal(size=(2, rows, 3)).astype(np.float32))
    writer = StoreWriter.begin(folder, {**ARGUMENTS, "store_dtype": dtype}, {"pool": "p", "encoder": "e"})
    good = np.arange(rows) % 3 > 0
    good[5:10] = False
    for index, start in enumerate(range(0, rows, shard)):
        part = slice(start, start + shard)
        reasons = [None if ok else "damaged" for ok in good[part]]
        ids = [f"r{row}" for row in range(rows)][part]
        writer.write(Shard(index, start, ids, reasons, x[part][good[part]], tensors={"mean": mean[part][good[part]]}))
    return writer.finish(dim=3, row_ids=False), x[good], mean[good]


@pytest.mark.parametrize("shard", [5, 100])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_parts_are_parts_of_the_whole(dtype, shard, tmp_path):
    store, x, mean = written(tmp_path, dtype=dtype, shard=shard)
    for pooling, whole in ((None, x), ("cls", x), ("mean", mean)):
        whole = whole.astype(dtype).astype(np.float32)
        reader = store.reader(pooling)
        assert (reader.shape, reader.dtype, reader.stored) == (whole.shape, np.float32, np.dtype(dtype))
        for start, stop in ((0, len(x)), (2, 3), (4, 9), (7, 7)):
            np.testing.assert_array_equal(reader.read(start, stop), whole[start:stop])
        for rows in ([], [0], [1, 4, 5, 11], range(len(x))):
            np.testing.assert_array_equal(reader.take(np.array(rows, np.int64)), whole[list(rows)])
        np.testing.assert_array_equal(store.pooled(pooling or "cls"), whole)
        np.testing.assert_array_equal(np.concatenate(list(store.blocks(4, pooling))), whole)
    assert store.embeddings.dtype == np.float32
    assert store.dtype == np.dtype(dtype)


def test_float16_halves_the_tensors_and_is_not_mixed_with_float32(tmp_path):
    sizes = {}
    for dtype in ("float32", "float16"):
        written(tmp_path / dtype, dtype=dtype, shard=100)
        sizes[dtype] = (tmp_path / dtype / "shard-00000.safetensors").stat().st_size
    assert sizes["float32"] - sizes["float16"] == pytest.approx(2 * 12 * 3 * 2, abs=8)  # two tensors; a padded header
    with pytest.raises(ValueError, match="store_dtype"):
        StoreWriter.begin(tmp_path / "float16", {**ARGUMENTS, "store_dtype": "float32"}, {"pool": "p", "encoder": "e"})


def test_what_a_store_lacks_or_lost_is_named(tmp_path):
    store, *_ = written(tmp_path)
    with pytest.raises(InvalidArgument, match="rows_per_block must be at least 1"):
        next(store.blocks(0))
    path = tmp_path / "shard-00003.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    reader = EmbeddingStore.load(tmp_path).reader()
    reader.read(0, 4)
    with pytest.raises(IncompleteStore, match=r"shard-00003\.safetensors"):
        reader.read(0, len(store))

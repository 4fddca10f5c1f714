"""An embedding store of 30 rows, three of which could not be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import oracle
from datasets import Dataset

from meddel_hf.embedding.store import EmbeddingStore, Shard, StoreWriter

UNREADABLE = {0: "truncated", 7: "not an image", 29: "empty file"}
IDS = [f"frame/{row:02d}" for row in range(30)]


def stored(folder: Path, dataset: Dataset, vectors: np.ndarray | None = None, **arguments: str) -> EmbeddingStore:
    """A store of the 30-row pool, three of whose rows could not be read; ids are row numbers where it has none."""
    vectors = oracle.clumps(30, 6, seed=2, spread=0.4) if vectors is None else vectors
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    column = arguments.get("id_column", "id")
    row_ids = column not in dataset.column_names
    ids = [str(row) for row in range(30)] if row_ids else dataset[column][:]
    writer = StoreWriter.begin(
        folder, {"encoder": "a", "pool": None, "revision": None, **arguments}, {"pool": dataset._fingerprint}
    )
    readable = [row for row in range(30) if row not in UNREADABLE]
    writer.write(Shard(0, 0, ids, [UNREADABLE.get(row) for row in range(30)], vectors[readable]))
    return writer.finish(dim=vectors.shape[1], row_ids=row_ids)


def of_many_rows(folder: Path) -> Path:
    """A float16 store of 5,000 rows in three shards, every hundredth of which is unreadable."""
    x = oracle.clumps(5000, 64)
    arguments = {"encoder": "a", "pool": None, "revision": None, "store_dtype": "float16"}
    writer = StoreWriter.begin(folder, arguments, {"pool": "p" * 32, "encoder": "e" * 32})
    for index, start in enumerate(range(0, 5000, 2000)):
        rows = np.arange(start, min(start + 2000, 5000))
        unit = x[rows] / np.linalg.norm(x[rows], axis=1, keepdims=True)
        reasons = ["damaged" if row % 100 == 0 else None for row in rows]
        writer.write(Shard(index, start, [f"f/{row}" for row in rows], reasons, unit[rows % 100 > 0]))
    writer.finish(dim=64, row_ids=False)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Of a flat folder: name -> what the file holds."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def pool() -> Dataset:
    """The 30 frames, of three centres."""
    return Dataset.from_dict({"id": IDS, "center": [f"c{row % 3}" for row in range(30)], "source": ["s"] * 30})


def options(name: str) -> dict:
    """What a selector is given of those frames besides a retention."""
    return {"meddel": {"epsilon": None}, "dedup": {"eta": 0.99, "then": "random"}}.get(name, {})

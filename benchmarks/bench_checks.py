"""What checking costs: a store's files read and hashed, against selecting from it without any check.

    python benchmarks/bench_checks.py --rows 20000 --dim 768 --shard-rows 4096

Rivals: no check (`trust=True`), XXH3-128 (what is recorded), SHA-256 (what older stores have). Seconds are the least of
`--repeats`; files are in the page cache, as after they were written, so that a disk does not hide the hashing.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from meddel_hf import EmbeddingStore, MedDEL
from meddel_hf.embedding.store import Shard, StoreWriter
from meddel_hf.runtime.files import checksum


def written(folder: Path, rows: int, dim: int, shard_rows: int) -> EmbeddingStore:
    """A store of vectors with near-duplicates: every other row is a noisy copy of the one before."""
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(rows, dim)).astype(np.float32)
    vectors[1::2] = vectors[: rows - 1 : 2][: len(vectors[1::2])] + 0.05 * draw.normal(size=vectors[1::2].shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    arguments = {"encoder": "made", "pool": None, "revision": None, "shard_rows": shard_rows}
    writer = StoreWriter.begin(folder, arguments, {"pool": "p" * 32, "encoder": "e" * 32})
    for index, start in enumerate(range(0, rows, shard_rows)):
        part = vectors[start : start + shard_rows]
        ids = [f"frame/{start + row:07}" for row in range(len(part))]
        writer.write(Shard(index, start, ids, [None] * len(part), part))
    return writer.finish(dim=dim, row_ids=False)


def least(work: Callable[[], object], repeats: int) -> float:
    """Seconds."""
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what checksums cost.")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--shard-rows", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "store"
        store = written(folder, args.rows, args.dim, args.shard_rows)
        files = [folder / name for name in store.records]
        size = sum(path.stat().st_size for path in files)

        def read(trust: bool) -> None:
            found = EmbeddingStore.load(folder, trust=trust)
            _ = found.embeddings, found.rows, found.pool_ids

        def select(trust: bool) -> None:
            MedDEL(retention=0.3, epsilon=None).select(EmbeddingStore.load(folder, trust=trust))

        timed = {
            "hash, XXH3-128": least(lambda: [checksum(path) for path in files], args.repeats),
            "hash, SHA-256": least(lambda: [sha256(path) for path in files], args.repeats),
            "read, unchecked": least(lambda: read(True), args.repeats),
            "read, checked": least(lambda: read(False), args.repeats),
            "select, unchecked": least(lambda: select(True), args.repeats),
            "select, checked": least(lambda: select(False), args.repeats),
        }
    print(f"{args.rows:,} x {args.dim} in {len(files)} files, {size / 1e6:,.0f} MB")
    for name, seconds in timed.items():
        print(f"{name:<20}{seconds:>9.3f} s{size / seconds / 1e9:>9.2f} GB/s")
    one, other = (timed[f"hash, {name}"] / timed["select, unchecked"] for name in ("XXH3-128", "SHA-256"))
    print(f"checking takes {one:.1%} of a selection, with SHA-256 {other:.1%}")


if __name__ == "__main__":
    main()

"""How long a choice takes: calibration, advice, both steps of `Dedup`, beside MedDEL at the same eta.

    python benchmarks/bench_choice.py [--rows 88282] [--dim 768] [--repeats 3]

The store is made up: half as many scenes as rows, each row near its scene; its thumbnails likewise, and mild copies of
512 rows. One pooling, two spaces. Ratios are to `MedDEL(eta=..., scope="pool")` at the calibrated threshold, in the
same run. Peak memory is of the whole process.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from meddel_hf import Dedup, EmbeddingStore, MedDEL, advise
from meddel_hf.embedding.calibration import calibrate
from meddel_hf.embedding.copies import KINDS, Copies
from meddel_hf.embedding.store import Shard, StoreWriter
from meddel_hf.embedding.thumbnails import SIDE

BLOCK = 65_536
THEN = ("random", "balanced", "cover", "meddel", "typiclust", "k-centre")


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def made(folder: Path, rows: int, dim: int) -> EmbeddingStore:
    """A store of `rows` rows around rows / 2 scenes, with mild copies and a calibration."""
    rng = np.random.default_rng(0)
    scenes = unit(rng.standard_normal((rows // 2, dim), dtype=np.float32) + 0.5)
    pictures = rng.integers(0, 256, (4096, SIDE, SIDE), dtype=np.uint8)
    scene = rng.integers(0, len(scenes), rows)
    arguments = {"encoder": "made up", "pool": None, "revision": None, "pooling": "cls", "thumbnails": SIDE}
    writer = StoreWriter.begin(folder, arguments, {"pool": "made up", "encoder": "made up"})
    for index, start in enumerate(range(0, rows, BLOCK)):
        here = scene[start : start + BLOCK]
        vectors = unit(scenes[here] + 0.1 / dim**0.5 * rng.standard_normal((len(here), dim), dtype=np.float32))
        ids = [f"{row:08}" for row in range(start, start + len(here))]
        small = {"thumbnails": pictures[here % len(pictures)]}
        writer.write(Shard(index, start, ids, [None] * len(ids), vectors, "", small))
    store = writer.finish(dim=dim, row_ids=False)
    at = np.unique(np.linspace(0, rows - 1, 512).astype(np.int64))
    noise = rng.standard_normal((len(at), len(KINDS), dim)) * 0.2 / dim**0.5
    copied = unit(store.embeddings[at][:, None] + noise)
    copies = Copies(at, {"cls": copied}, np.repeat(pictures[scene[at] % len(pictures)][:, None], len(KINDS), axis=1))
    calibration = calibrate(store, copies)
    assert calibration is not None
    return store.with_copies(copies, calibration.plain())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=88_282)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--then", nargs="*", default=THEN)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        made(Path(scratch) / "e", args.rows, args.dim)
        store = EmbeddingStore.load(Path(scratch) / "e", trust=True)
        first = Dedup().first_step(store)
        eta = first.decision.eta
        print(f"{args.rows:,} x {args.dim}; eta {eta:.4f}, {int(first.decision.kept.sum()):,} rows left by it\n")
        rival = timed(lambda: MedDEL(eta=eta, scope="pool", epsilon=None).select(store), args.repeats)
        print("| what | seconds | ratio to MedDEL at that eta |\n|---|---|---|")
        print(f"| MedDEL, pool scope | {rival:.1f} | 1.00 |")
        works: dict[str, Callable[[], object]] = {
            "calibration (two spaces)": lambda: calibrate(store, store.copies),
            "Dedup, first step": lambda: Dedup().first_step(store),
            "advise": lambda: advise(store),
        }
        for then in args.then:
            chosen = Dedup(retention=0.05, then=then)
            works[f"second step at 5 %, {then}"] = lambda chosen=chosen: chosen.answer(first)
        for name, work in works.items():
            seconds = timed(work, args.repeats)
            print(f"| {name} | {seconds:.1f} | {seconds / rival:.2f} |", flush=True)
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


def timed(work: Callable[[], object], repeats: int) -> float:
    """Least seconds of so many tries."""
    each = []
    for _ in range(repeats):
        began = time.monotonic()
        work()
        each.append(time.monotonic() - began)
    return min(each)


if __name__ == "__main__":
    main()

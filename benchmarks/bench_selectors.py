"""Calibration, advice and every selector at a size: seconds and peak memory, each in a process of its own.

    python benchmarks/bench_selectors.py                       # 88,282 x 768, 5 % kept
    python benchmarks/bench_selectors.py --rows 1000000 --timeout 300 --store made-1m
    python benchmarks/bench_selectors.py --only advise "dedup, pool" typiclust

The store is made up once, as in bench_choice.py: half as many scenes as rows, each row near its scene, one pooling,
with mild copies of 512 rows; the rows are of twenty centres. With --store it stays there for the next call. The clock
starts when imports are done and the store is opened, and stops at the table of rows; the peak is that of the process.
What takes longer than --timeout is stopped and said to. "processor s" are those of all threads, which other work on the
machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_choice import made, unit
from datasets import Dataset

from meddel_hf import EmbeddingStore, advise
from meddel_hf.embedding.calibration import calibrate
from meddel_hf.selectors.registry import make, names

# Rows of these stores point anywhere, so that MedDEL's step for outliers would drop most: without it.
BESIDES: dict[str, tuple[str, dict[str, Any]]] = {
    "dedup, pool": ("dedup", {}),
    "dedup, cluster": ("dedup", {"scope": "cluster"}),
    "meddel, pool": ("meddel", {"scope": "pool", "epsilon": None}),
    "meddel, cluster": ("meddel", {"scope": "cluster", "epsilon": None}),
}
OTHERS = [name for name in names() if name not in ("dedup", "meddel")]
WHAT = ["calibration", "advise", "near-duplicates alone", *BESIDES, *OTHERS]
CENTRES = 20


def work(what: str, store: EmbeddingStore, retention: float) -> Callable[[], str]:
    """What is timed; it answers what came out, in words."""
    if what == "calibration":
        return lambda: f"eta {calibrate(store, store.copies).best.eta:.4f}"
    if what == "advise":
        return lambda: f"{advise(store).distinct:,} distinct"
    name, options = BESIDES.get(what, (what, {}))
    if what == "retrieval":
        rng = np.random.default_rng(1)
        rows = store.reader().read(0, 1000)
        options = {"reference": unit(rows + 0.5 / rows.shape[1] ** 0.5 * rng.standard_normal(rows.shape))}
    if what == "near-duplicates alone":
        selector = make("dedup", retention=None)
    else:
        selector = make(name, retention=retention, **options)
    pool = None
    if what == "random-stratified":
        centres = [f"c{row % CENTRES}" for row in range(len(store.pool_ids))]
        pool = Dataset.from_dict({"id": store.pool_ids, "center": centres, "source": centres})
    return lambda: f"{len(selector.select(store, pool=pool).kept):,} kept"


def one(what: str, folder: Path, retention: float) -> None:
    """In its own process: print the figures as JSON."""
    store = EmbeddingStore.load(folder, trust=True)
    timed = work(what, store, retention)
    began, processor = time.monotonic(), time.process_time()
    result = timed()
    seconds, processor = time.monotonic() - began, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps({"seconds": seconds, "processor": processor, "peak": peak, "result": result}))


def row(what: str, folder: Path, retention: float, timeout: float) -> str:
    """A line of the table."""
    command = [sys.executable, __file__, "--one", what, "--store", str(folder), "--retention", str(retention)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return f"| {what} | more than {timeout:.0f} | | | |"
    if done.returncode:
        return f"| {what} | | | | {done.stderr.strip().splitlines()[-1]} |"
    facts = json.loads(done.stdout.splitlines()[-1])
    numbers = f"{facts['seconds']:.1f} | {facts['processor']:.1f} | {facts['peak']:,.0f}"
    return f"| {what} | {numbers} | {facts['result']} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=88_282)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--retention", type=float, default=0.05)
    parser.add_argument("--timeout", type=float, default=1800, help="seconds, for each")
    parser.add_argument("--only", nargs="*", choices=WHAT, default=WHAT)
    parser.add_argument("--store", type=Path, help="folder of the made store; one that stands there is taken")
    parser.add_argument("--one", choices=WHAT, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.one, args.store, args.retention)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.store or Path(scratch) / "store"
        if not (folder / "manifest.json").is_file():  # in a process of its own, whose memory is given back
            making = multiprocessing.get_context("spawn").Process(target=made, args=(folder, args.rows, args.dim))
            making.start()
            making.join()
        store = EmbeddingStore.load(folder, trust=True)
        load = f"{os.getloadavg()[0]:.1f}, {os.cpu_count()} cores"
        print(f"{len(store):,} x {store.dim}, {args.retention:.0%} kept; load when this began {load}\n")
        print("| what | seconds | processor s | peak MB | result |\n|---|---|---|---|---|", flush=True)
        for what in args.only:
            print(row(what, folder, args.retention, args.timeout), flush=True)


if __name__ == "__main__":
    main()

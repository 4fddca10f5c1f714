"""Selecting from more embeddings than memory holds: seconds and peak memory of `meddel select --memory`.

    python benchmarks/bench_memory.py --rows 100000 1000000                  # about five minutes on two quiet cores
    python benchmarks/bench_memory.py --rows 10000000 --folder /big/disk     # 15 GB of store, as much of scratch file

For each number of rows a float16 store is made, block by block, in the groups of bench_select's `spread` pool: 1 to 200
frames around random directions, so that some 20 % stay at eta 0.8; those of a group stand side by side, as frames of a
video do. `meddel select STORE --scope cluster --memory M` then runs in a process of its own, by the default selector or
by Algorithm 1 without its outlier step: at an eta, at exactly 5 %, and, with --extend, what becomes of a selection of
last week, when a random hundredth of the frames was not there. Peaks are of that process: `anonymous` is its own
memory (RssAnon, looked at twenty times a second), which no other process can have; `resident` is ru_maxrss, which also
counts pages of the store's files that are mapped at the time, and that the system takes back when it needs them. `work`
is its processor seconds, which busy neighbours change less than seconds; last comes the exponent with which it grows.
With --csv rows are added to a file, of which `python benchmarks/draw_growth.py FILE.csv FILE.png` makes a picture.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from bench_select import DIM, machine, unit

from meddel_hf.embedding.removing import without
from meddel_hf.embedding.store import EmbeddingStore, Shard, StoreWriter
from meddel_hf.runtime.sizes import bytes_of

SHARD_ROWS = 16_384
LARGEST = 200  # frames of a group
LEVELS = [0, 0.05, 0.155, 0.29, 0.475, 1], [0.70, 0.75, 0.80, 0.85, 0.90, 0.99]


def spread_store(folder: Path, n: int, seed: int = 0) -> None:
    """A float16 store of n rows in the groups of bench_select.spread."""
    rng = np.random.default_rng(seed)
    sizes = np.minimum(LARGEST, 1 + rng.geometric(1 / 21, n))
    group = np.repeat(np.arange(n, dtype=np.int32), sizes)[:n]
    within = np.interp(rng.random(group[-1] + 1), *LEVELS).astype(np.float32)
    arguments = {"encoder": "made up", "pool": None, "revision": None, "pooling": "cls", "precision": "float32"}
    arguments |= {"store_dtype": "float16"}
    writer = StoreWriter.begin(folder, arguments, {"pool": f"{n:032x}", "encoder": "0" * 32})
    there = writer.shards()  # of a run that was interrupted
    for index, start in enumerate(range(0, n, SHARD_ROWS)):
        if index in there:
            continue
        here = group[start : start + SHARD_ROWS]
        cosine = within[here][:, None]
        noise = unit(np.random.default_rng((seed, 1, index)).standard_normal((len(here), DIM), np.float32))
        own, of = np.unique(here, return_inverse=True)
        rows = unit(np.sqrt(cosine) * directions(own, seed)[of] + np.sqrt(1 - cosine) * noise)
        ids = [f"frame/{row:09d}" for row in range(start, start + len(here))]
        writer.write(Shard(index, start, ids, [None] * len(here), rows))
    writer.finish(dim=DIM, row_ids=False)


def directions(groups: np.ndarray, seed: int) -> np.ndarray:
    """A random direction for each group, (m, DIM) float32 of length 1: the same in whichever block it is met."""
    return unit(
        np.stack([np.random.default_rng((seed, 0, g)).standard_normal(DIM, np.float32) for g in groups.tolist()])
    )


@dataclass(frozen=True)
class Run:
    seconds: float
    work: float
    anonymous: float
    resident: float
    said: str


QUESTIONS = {
    "dedup": {"eta": ["--eta", "0.8"], "retention": ["--eta", "0.8", "--retention", "0.05"]},
    "meddel": {
        "eta": ["--eta", "0.8", "--epsilon", "none"], "retention": ["--retention", "0.05", "--epsilon", "none"]
    },
}  # fmt: skip


COLUMNS = ("selector", "memory", "question", "rows", "seconds", "processor seconds", "GB", "GB with files", "kept")
WEEK = 0.01  # share of the pool that is new


def last_week(store: Path, folder: Path, memory: str | None, selector: str) -> Path:
    """A selection at eta of the store without a random hundredth of its rows."""
    whole = EmbeddingStore.load(store, trust=True)
    new = np.random.default_rng(1).permutation(len(whole.pool_ids))[: round(WEEK * len(whole.pool_ids))]
    without(whole, {whole.pool_ids[row] for row in new.tolist()}, folder / "old")
    select(folder / "old", folder / "old-selection", memory, selector, QUESTIONS[selector]["eta"])
    return folder / "old-selection"


def select(store: Path, out: Path, memory: str | None, selector: str, how: list[str]) -> Run:
    """`meddel select` in a process of its own."""
    command = [sys.executable, "-m", "meddel_hf", "select", str(store), "--no-pictures", "--out", str(out), *how]
    command += [] if "--extend" in how else ["--selector", selector, "--scope", "cluster"]
    command += [] if memory is None else ["--memory", memory]
    folder = out.parent
    log = (folder / "log.txt").open("w+")
    began, anonymous = time.perf_counter(), 0
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        anonymous = max(anonymous, own_memory(process.pid))
        time.sleep(0.05)
    seconds = time.perf_counter() - began
    log.seek(0)
    said = log.read()
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{said}")
    kept = next(line for line in said.splitlines() if line.startswith("kept")).split()[1]
    work = usage.ru_utime + usage.ru_stime
    return Run(seconds, work, anonymous / 1e9, usage.ru_maxrss * 1024 / 1e9, f"{kept} kept")


def add_row(path: Path, selector: str, memory: str, question: str, n: int, run: Run) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        if new:
            table.writerow(COLUMNS)
        measured = (run.seconds, run.work, run.anonymous, run.resident)
        table.writerow((selector, memory, question, n, *(f"{value:.2f}" for value in measured), run.said))


def own_memory(pid: int) -> int:
    """Bytes that a process has for itself now."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--memory", default="4GB", help="'none' reads all into memory")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="for stores and scratch files")
    parser.add_argument("--selector", choices=tuple(QUESTIONS), default="dedup")
    parser.add_argument("--only", choices=("eta", "retention", "week"), help="one of the three questions")
    parser.add_argument("--keep", action="store_true", help="leave the stores, and take those that are there")
    parser.add_argument("--csv", type=Path, help="a file that each row is added to; draw_growth.py draws it")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    memory = None if args.memory == "none" else args.memory
    if memory is not None:
        bytes_of(memory)
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(args.threads))
    print(machine(args), flush=True)
    print(f"{'rows':>12}{'question':>12}{'seconds':>10}{'work':>10}{'anonymous GB':>14}{'resident GB':>13}", flush=True)
    work: dict[str, list[tuple[int, float]]] = {}
    for n in args.rows:
        store = args.folder / f"bench-memory-{n}"
        if not (args.keep and (store / "manifest.json").is_file()):
            began = time.perf_counter()
            spread_store(store, n)
            print(f"{n:>12,}  store made in {time.perf_counter() - began:.0f} s", flush=True)
        with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
            for name, how in {**QUESTIONS[args.selector], "week": []}.items():
                if args.only in (None, name):
                    if name == "week":
                        how = ["--extend", str(last_week(store, Path(scratch), memory, args.selector))]
                    run = select(store, Path(scratch) / name, memory, args.selector, how)
                    work.setdefault(name, []).append((n, run.work))
                    figures = f"{run.seconds:>10.1f}{run.work:>10.1f}{run.anonymous:>14.2f}{run.resident:>13.2f}"
                    print(f"{n:>12,}{name:>12}{figures}  {run.said}", flush=True)
                    if args.csv:
                        add_row(args.csv, args.selector, args.memory, name, n, run)
        if not args.keep:
            shutil.rmtree(store)
    for name, points in work.items():
        for (few, little), (many, much) in pairwise(points):
            exponent = math.log(much / little) / math.log(many / few)
            print(f"{name}: work grows as n^{exponent:.2f} from {few:,} to {many:,}")


if __name__ == "__main__":
    main()

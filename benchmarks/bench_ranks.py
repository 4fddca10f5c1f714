"""One selection by several processes: seconds, and the processor seconds of the busiest, against one process.

    python benchmarks/bench_ranks.py                                      # some minutes on two quiet cores
    python benchmarks/bench_ranks.py --rows 1000000 --processes 1 2 4 8   # where there are eight cores

A float16 store is made as in bench_memory; `meddel select STORE --selector meddel` then runs alone, and as N
shards (`--shard I/N`), which share the work through a folder as the ranks of a launcher do. Every process computes on
one thread. `seconds` are of the clock from the first start to the last end: on fewer cores than processes, or beside
other work, they gain little, whatever the code does. `busiest` are the processor seconds of the shard that had most
to do, imports included (`start` is what they alone take), and `ratio` is what one process takes over them: what as many
quiet cores would gain at most. `all` adds the shards up: what is above one process's is done more than once.
Every answer is compared with that of one process, byte for byte.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_memory import spread_store
from bench_select import machine

QUESTIONS = {
    "cluster, eta": ["--scope", "cluster", "--eta", "0.8"],
    "cluster, 5 %": ["--scope", "cluster", "--retention", "0.05"],
    "pool, eta": ["--scope", "pool", "--eta", "0.8"],
    "pool, blocks": ["--scope", "pool", "--eta", "0.8", "--engine", "blocks"],
}


def run(store: Path, out: Path, how: list[str], processes: int) -> tuple[float, list[float]]:
    """Seconds, and the processor seconds of each process."""
    command = [sys.executable, "-m", "meddel_hf", "select", str(store), "--selector", "meddel", "--epsilon", "none"]
    command += ["--no-pictures", "--device", "cpu", "--out", str(out), *how]
    began, running = time.perf_counter(), {}
    for index in range(1, processes + 1):
        line = [*command, *(["--shard", f"{index}/{processes}"] if processes > 1 else [])]
        running[subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid] = index
    work: list[float] = []
    while running:
        pid, status, usage = os.wait4(-1, 0)
        if status:
            raise SystemExit(f"process {running[pid]} of {processes} failed: {' '.join(command)}")
        del running[pid]
        work.append(usage.ru_utime + usage.ru_stime)
    return time.perf_counter() - began, work


def start() -> float:
    """Processor seconds of a process that imports what all import, and does nothing."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = "import torch, datasets, meddel_hf.selectors.meddel, meddel_hf.selectors.measured"
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def same(left: Path, right: Path) -> bool:
    names = sorted(path.name for path in left.iterdir())
    match, _, _ = filecmp.cmpfiles(left, right, names, shallow=False)
    return sorted(match) == names == sorted(path.name for path in right.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--only", choices=QUESTIONS, nargs="+", default=list(QUESTIONS))
    parser.add_argument("--memory", help="such as 1GB: read in parts")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="for the store and the parts")
    args = parser.parse_args()
    args.threads = 1
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    print(machine(args), flush=True)
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        store = Path(scratch, "store")
        spread_store(store, args.rows)
        print(f"{args.rows:,} rows; start {start():.1f} processor seconds", flush=True)
        titles = f"{'question':<16}{'processes':>10}{'seconds':>10}{'busiest':>10}{'ratio':>8}{'all':>10}"
        print(f"{titles}  same bytes", flush=True)
        for name in args.only:
            how = [*QUESTIONS[name], *(["--memory", args.memory] if args.memory else [])]
            alone, one = Path(scratch, "alone"), 0.0
            for processes in sorted({1, *args.processes}):
                out = alone if processes == 1 else Path(scratch, "together")
                seconds, work = run(store, out, how, processes)
                one = one or work[0]
                figures = f"{seconds:>10.1f}{max(work):>10.1f}{one / max(work):>8.2f}{sum(work):>10.1f}"
                print(f"{name:<16}{processes:>10}{figures}  {'yes' if same(alone, out) else 'NO'}", flush=True)
                if processes > 1:
                    shutil.rmtree(out)
            shutil.rmtree(alone)


if __name__ == "__main__":
    main()

"""What it costs to know a pool by the content of its files, the first time and every other time.

    python benchmarks/bench_identity.py --frames 20000
    python benchmarks/bench_identity.py --frames 100000

Files of random bytes in folders of 1,000, in one run on one disk, each round in its own order:
  first    content digests, nothing remembered yet
  again    the same, everything remembered: what a second `meddel embed` or `pretrain` waits for
  sha256   the rival: hashlib.file_digest of every file, one after another
  stat     os.stat of every file: the least that any look for changes costs
  pool     `load_pool` of the folder, everything remembered: the walk, the ids and the table besides

`--cold` has the system forget the files before each round of first and sha256 (posix_fadvise): the disk is then part
of what is measured, and else is not. Prints the median of the rounds in seconds, and files a second.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from meddel_hf.data.pool import load_pool
from meddel_hf.runtime.digests import file_digests
from meddel_hf.runtime.memory import LOCATION


def make_files(folder: Path, count: int, size: int) -> list[Path]:
    chance, files = random.Random(0), []
    for number in range(count):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(size + chance.randrange(size // 10)))
        files.append(path)
    return files


def forget(files: list[Path]) -> None:
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sha256(files: list[Path]) -> None:
    for path in files:
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256").hexdigest()


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--bytes", type=int, default=60_000, help="of the smallest file; an endoscope's JPEG")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--folder", type=Path, help="where to write the files (default: the system's temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        files = make_files(Path(scratch, "frames"), args.frames, args.bytes)
        time.sleep(3)  # files that changed just now are not remembered
        database = Path(scratch, "digests.sqlite")
        os.environ[LOCATION] = str(database)
        seconds: dict[str, list[float]] = {name: [] for name in ("first", "again", "sha256", "stat", "pool")}
        for repeat in range(args.repeats):
            turns: list[str] = ["first", "sha256"] if repeat % 2 == 0 else ["sha256", "first"]
            for name in turns:
                if args.cold:
                    forget(files)
                if name == "first":
                    database.unlink(missing_ok=True)
                seconds[name].append(timed(lambda name=name: (file_digests if name == "first" else sha256)(files)))
            seconds["again"].append(timed(lambda: file_digests(files)))
            seconds["stat"].append(timed(lambda: [os.stat(path) for path in files]))
            seconds["pool"].append(timed(lambda: load_pool(str(Path(scratch, "frames")))))
        total = sum(path.stat().st_size for path in files)
        where = "read from the disk" if args.cold else "in the system's cache"
        print(
            f"{len(files):,} files, {total / 1e9:.2f} GB, {where}; {os.cpu_count()} processors, {platform.platform()}"
        )
        for name, found in seconds.items():
            median = statistics.median(found)
            print(
                f"{name:<8}{median:>9.3f} s{len(files) / median:>12,.0f} files/s   {min(found):.3f} to {max(found):.3f}"
            )
        print(f"digests.sqlite: {database.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

"""How fast `meddel build` is, and how much memory it takes, against a conversion that decodes and re-encodes.

    python benchmarks/bench_build.py --scratch FOLDER [--frames 2000] [--large 100000] [--raw Gastrovision]

The rival is what a user writes without it: `load_dataset("imagefolder")`, a `map` that turns each frame into RGB, and
`save_to_disk`. Both read the same frames, in the same run, one after the other, each in a process of its own with as
many workers. Frames are made here, or the class folders that --raw names. With --large, a source
of that many small frames is built alone, to see its peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("Colon polyps", "Esophagitis", "Normal stomach", "Pylorus")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, help="folder for what is made, emptied afterwards (default: a new one)")
    parser.add_argument(
        "--frames", type=int, default=2000, help="small frames that both convert; a tenth as many large ones"
    )
    parser.add_argument("--large", type=int, default=0, help="small frames of the source that is built alone")
    parser.add_argument("--raw", type=Path, help="a folder named Gastrovision with class folders, to convert as well")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        run_job(*args.job, args.workers)
        return
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        folder = Path(scratch)
        print(f"load {Path('/proc/loadavg').read_text().split()[0]}, {args.workers} workers")
        sources = {
            f"{w} x {h}, made": make(folder / f"{w}", frames, (w, h))
            for w, h, frames in ((128, 104, args.frames), (720, 576, args.frames // 10))
        }
        if args.raw:
            sources[f"{args.raw.name}, real"] = args.raw
        for name, source in sources.items():
            compare(name, source, folder, args.workers)
        if args.large:
            source = make(folder / "large", args.large, (128, 104))
            report(f"{args.large:,} frames alone", "meddel", *measured("meddel", source, folder, args.workers))


def make(folder: Path, frames: int, size: tuple[int, int]) -> Path:
    """Frames in class folders, as GastroVision has them: smooth shading and some texture, no two alike."""
    rng = np.random.default_rng(0)
    root = folder / "Gastrovision"
    for name in CLASSES:
        (root / name).mkdir(parents=True)
    for n in range(frames):
        small = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        shaded = np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC), np.float32)
        textured = shaded + rng.standard_normal(shaded.shape, np.float32) * 6
        frame = Image.fromarray(textured.clip(0, 255).astype(np.uint8))
        frame.save(root / CLASSES[n % len(CLASSES)] / f"{n:07}.jpg", quality=90)
    return root


def compare(name: str, source: Path, folder: Path, workers: int) -> None:
    rates = {}
    for job in ("imagefolder", "meddel"):
        seconds, peak, frames, size = measured(job, source, folder, workers)
        report(name, job, seconds, peak, frames, size)
        rates[job] = frames / seconds
    print(f"{name:<24} meddel is {rates['meddel'] / rates['imagefolder']:.1f} times as fast")


def report(name: str, job: str, seconds: float, peak: float, frames: int, size: int) -> None:
    print(
        f"{name:<24} {job:<12} {frames:>8,} frames {seconds:>7.1f} s {frames / seconds:>8.0f} frames/s "
        f"{size / seconds / 1e6:>7.1f} MB/s read {peak:>6.0f} MB peak",
        flush=True,
    )


def measured(job: str, source: Path, folder: Path, workers: int) -> tuple[float, float, int, int]:
    """(seconds of the conversion, peak MB of all its processes, frames, bytes of the frames)."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, __file__, "--workers", str(workers), "--job", job, str(source), str(out)]
    env = {**os.environ, "HF_HOME": str(folder / "hf"), "HF_DATASETS_CACHE": str(folder / "cache")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.05)
    if process.returncode or process.stdout is None:
        raise SystemExit(f"{job} failed: run {' '.join(command)}")
    found = json.loads(process.stdout.read().splitlines()[-1])
    shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    size = sum(path.stat().st_size for path in source.rglob("*.jpg"))
    return found["seconds"], peak, found["frames"], size


def resident(pid: int) -> float:
    """MB of a process and its descendants: proportional set size, so that shared pages count once."""
    total = 0.0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) / 1e3
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(resident(int(child)) for child in (task / "children").read_text().split())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        pass
    return total


def run_job(job: str, source: str, out: str, workers: int) -> None:
    if job == "meddel":
        from meddel_hf.datadel.build import build

        start = time.perf_counter()
        frames = build(source, out, workers=workers).facts.rows()
    else:
        from datasets import load_dataset

        start = time.perf_counter()
        frames_in = load_dataset("imagefolder", data_dir=source, split="train")
        converted = frames_in.map(to_rgb, num_proc=workers)
        converted.save_to_disk(out, num_proc=workers)
        frames = len(converted)
    print(json.dumps({"seconds": time.perf_counter() - start, "frames": frames}))


def to_rgb(row: dict) -> dict:
    return {"image": row["image"].convert("RGB")}


if __name__ == "__main__":
    main()

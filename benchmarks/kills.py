"""Commands that are stopped at moments of chance: is what they leave whole or absent, and is nobody left?

    python benchmarks/kills.py --count 10                             # ten kills of each command by each signal
    python benchmarks/kills.py --count 3 --steps embed select --seed 7

Each command runs once in peace; then again and again into a new folder, where SIGINT (Ctrl-C: half of the times to the
whole group, as from a terminal), SIGTERM or SIGKILL meets it at a moment between its start and its end. Counted as
faults: exit status 0 without the whole output, another status than 130 or 143 of a command that was not through, a
traceback, an output that looks finished and is not, the same command again that fails or gives other bytes, files left
aside after that, and processes that live on. Ends with status 1 where there is one. Needs the `test` extra.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[1]
ENCODER = ROOT / "meddel_hf" / "assets" / "encoder"
MEDDEL = [sys.executable, "-m", "meddel_hf"]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
MARK = "MEDDEL_KILLS"  # environment variable that every process of a run inherits
PATIENCE = 20.0  # seconds in which a run must have ended, and nobody be left
FAULTS = ("status", "traceback", "half", "again", "bytes", "leftovers", "processes")


@dataclass(frozen=True)
class Step:
    """arguments: of `meddel`, OUT standing for the folder; needs: steps whose output they name.

    last: the file that is written last; result: patterns of the files that are the same every time.
    """

    arguments: str
    needs: tuple[str, ...] = ()
    last: str = "manifest.json"
    result: tuple[str, ...] = ("**/*",)


STEPS = {
    "build": Step("build RAW --out OUT --workers 2 --fps 2", (), "README.md"),
    "embed": Step(f"embed POOL --encoder {ENCODER} --out OUT --batch-size 2 --shard-rows 8 --num-workers 1"),
    "select": Step("select embed --retention 0.4 --epsilon none --out OUT --pool POOL", ("embed",)),
    "filter": Step("filter select POOL --out OUT", ("embed", "select"), "README.md"),
    "pretrain": Step(
        "pretrain POOL --out OUT --preset tiny --layers 1 --image-size 32 --samples 256 --batch-size 8 "
        "--checkpoint-samples 32 --precision float32 --num-workers 1",
        (),
        result=("*.safetensors", "objective/*", "*.json"),
    ),
    "segment": Step(
        f"segment MASKED --encoder {ENCODER} --out OUT --frozen --epochs 4 --test-share 0.3 --precision float32",
        (),
        result=("model/*", "scores.parquet", "overlays/*"),
    ),
}
VOLATILE = {"pretrain": ("manifest.json",), "build": (".build",)}  # hold the time that a run took


@dataclass
class Count:
    """What became of the kills of one step by one signal."""

    kills: int = 0
    ends: Counter = field(default_factory=Counter)
    faults: Counter = field(default_factory=Counter)


@dataclass(frozen=True)
class Bench:
    folder: Path
    rng: random.Random

    def command(self, step: Step, out: Path) -> list[str]:
        return [*MEDDEL, *[str(out) if word == "OUT" else word for word in step.arguments.split()]]

    def start(self, command: list[str], mark: str) -> subprocess.Popen:
        env = {**os.environ, "OMP_NUM_THREADS": "1", MARK: mark, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        return subprocess.Popen(
            command, cwd=self.folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def in_peace(self, name: str, out: Path) -> tuple[int, str, float]:
        began = time.monotonic()
        with self.start(self.command(STEPS[name], out), "peace") as process:
            told = process.communicate()[1]
        return process.returncode, told, time.monotonic() - began

    def kill(self, name: str, sign: signal.Signals, whole: dict[str, str], seconds: float, count: Count) -> None:
        """One run that is killed, and the same command again."""
        step, out = STEPS[name], self.folder / "out"
        moment, group = self.rng.uniform(0, 1.05 * seconds), sign == signal.SIGINT and self.rng.random() < 0.5
        mark = f"{os.getpid()}-{name}-{sign.name}-{count.kills}"
        with self.start(self.command(step, out), mark) as process:
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, sign) if group else process.send_signal(sign)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
            still = list(living(mark))
            for one in still:
                one.kill()
            told = process.stderr.read() if process.stderr else ""
        count.kills += 1
        count.ends[process.returncode] += 1
        found = tree(name, out)
        told_of = process.returncode in (0, -sign if sign == signal.SIGKILL else 128 + sign)
        faults = {
            # Once the work is done Python takes its handlers away before it is gone: then a signal kills as usual.
            "status": not told_of and not (process.returncode == -sign and found == whole),
            "traceback": "Traceback" in told or "Exception ignored" in told,
            "half": (process.returncode == 0 or (out / step.last).is_file()) and found != whole,
            "processes": bool(still),
        }
        again, more, _ = self.in_peace(name, out)
        faults |= {"again": again != 0, "bytes": again == 0 and tree(name, out) != whole, "leftovers": bool(aside(out))}
        for fault in FAULTS:
            if faults[fault]:
                count.faults[fault] += 1
                what = f"{name} {sign.name} after {moment:.2f} of {seconds:.2f} s ended with {process.returncode}"
                print(f"FAULT {fault}: {what}\n{told[-1500:]}{more[-1500:] if again else ''}", file=sys.stderr)
                print(f"{differences(whole, found)} {aside(out)} {still}", file=sys.stderr)
        for path in (out, *self.folder.glob(".out.*")):
            shutil.rmtree(path, ignore_errors=True)


def tree(name: str, out: Path) -> dict[str, str]:
    """Digest of every file of a result, by path."""
    paths = {path for pattern in STEPS[name].result for path in out.glob(pattern) if path.is_file()}
    volatile = VOLATILE.get(name, ())
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(paths)
        if not path.name.endswith(".part") and path.relative_to(out).parts[0] not in volatile
    }


def aside(out: Path) -> list[str]:
    """What nobody needs once a command has run to its end."""
    found = [path for path in out.rglob("*") if path.name.endswith((".part", ".old"))]
    found += [path for path in out.parent.glob(".*") if path.name.endswith((".part", ".old"))]
    found += [out / "begun.json"] if (out / "begun.json").is_file() and (out / "manifest.json").is_file() else []
    return [str(path) for path in found]


def differences(whole: dict[str, str], found: dict[str, str]) -> list[str]:
    return sorted(path for path in {*whole, *found} if whole.get(path) != found.get(path))[:8]


def living(mark: str) -> Iterator[psutil.Process]:
    """Processes of a run that live on beyond our patience."""
    end = time.monotonic() + PATIENCE
    while (found := [one for one in psutil.process_iter() if is_of(one, mark)]) and time.monotonic() < end:
        time.sleep(0.05)
    yield from found


def is_of(one: psutil.Process, mark: str) -> bool:
    try:
        return one.environ().get(MARK) == mark and one.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def make_inputs(folder: Path) -> None:
    """POOL, RAW and MASKED."""
    sys.path.insert(0, str(ROOT / "tests"))
    import make_archives
    from datasets import Dataset, Features, Value
    from datasets import Image as Picture

    make_archives.everything(folder / "RAW")
    (folder / "POOL").mkdir()
    rows = []
    for row in range(40):
        picture = Image.new("RGB", (64, 48), (6 * row, 90, 250 - 6 * row))
        mask = Image.new("L", (64, 48))
        for canvas, colour in ((picture, (250, 240, 230)), (mask, 255)):
            ImageDraw.Draw(canvas).ellipse((row // 2, row % 7, row // 2 + 30, row % 7 + 25), fill=colour)
        picture.save(folder / "POOL" / f"{row:02}.png")
        if row < 20:
            rows.append({"id": f"{row}", "image": png(picture), "mask": png(mask)})
    features = Features({"id": Value("string"), "image": Picture(), "mask": Picture()})
    Dataset.from_list(rows, features=features).save_to_disk(folder / "MASKED")


def png(picture: Image.Image) -> dict[str, bytes | None]:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3, help="kills of each step by each signal")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--signals", nargs="+", choices=[sign.name for sign in SIGNALS])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    signals = [sign for sign in SIGNALS if not args.signals or sign.name in args.signals]
    counts = {(name, sign): Count() for name in args.steps for sign in signals}
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), random.Random(args.seed))
        make_inputs(bench.folder)
        for name in STEPS:
            if name not in args.steps and not any(name in STEPS[step].needs for step in args.steps):
                continue
            status, told, _ = bench.in_peace(name, bench.folder / "out")  # cards hold the name of the folder
            if status:
                raise SystemExit(f"{name} cannot be run in peace:\n{told}")
            shutil.copytree(bench.folder / "out", bench.folder / name)
            shutil.rmtree(bench.folder / "out")
            if name in args.steps:
                whole = tree(name, bench.folder / name)
                seconds = bench.in_peace(name, bench.folder / "out")[2]  # files are in the system's memory by now
                if tree(name, bench.folder / "out") != whole:
                    different = differences(whole, tree(name, bench.folder / "out"))
                    raise SystemExit(f"{name} gives other bytes each time: {different}")
                shutil.rmtree(bench.folder / "out")
                for _ in range(args.count):
                    for sign in signals:
                        bench.kill(name, sign, whole, seconds, counts[name, sign])
    print(f"| step | signal | kills | exit statuses | {' | '.join(FAULTS)} |\n|{'---|' * (4 + len(FAULTS))}")
    for (name, sign), count in counts.items():
        ends = ", ".join(f"{status}: {times}" for status, times in sorted(count.ends.items()))
        print(f"| {name} | {sign.name} | {count.kills} | {ends} | " + " | ".join(str(count.faults[f]) for f in FAULTS)
              + " |")  # fmt: skip
    faults = sum(sum(count.faults.values()) for count in counts.values())
    print(f"\n{sum(count.kills for count in counts.values())} kills, seed {args.seed}: {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

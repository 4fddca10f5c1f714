"""Junk on the command line: every option of every command with odd values; what is no sentence is counted.

    python benchmarks/fuzz_commands.py --count 500 --seed 0

Commands run inside this process, in a folder of small outputs (tests/make_work.py) that is made first. Counted are
foreign exceptions, statuses that no command may have, and commands that an alarm had to stop.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a junk name of an encoder is no reason to ask a Hub
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from make_work import COMMANDS, make

from meddel_hf import cli

STATUSES = (0, 2, 3, 75, 130)
SECONDS = 20.0
NUMBERS = (
    "0", "-0", "-1", "1", "2", "0.5", "1.5", "-0.5", "nan", "-nan", "inf", "-inf", "1e400", "1e-400", "1e3", str(10**9),
    str(2**31), str(2**32), str(2**63), str(-(2**63) - 1), str(10**30), "9" * 5000, "٣", "1_0", "0x10", "1,5", " 7 ",
)  # fmt: skip
TEXTS = (
    "", " ", "none", "auto", "true", "é漢字", "\udcff", "\0", "a\0b", "a" * 300, "a/" * 3000, "-", "--", "=", "a=b",
    "%s", "{0}", "../..", "*", "[", "x:y@z", "@", ":", "https://", "a\nb", "\x1b[31m",
)  # fmt: skip
PLACES = ("frames", "embeddings", "selection", "subset", "encoder", "runs", "ids.txt", "plan.yaml", "missing",
          "missing/deep/er", "ids.txt/under", "frames/video0/broken.jpg", "loop", "dangling", "/dev/null",
          "/proc/self/mem", "unreadable", "/proc/1/root/nothing")  # fmt: skip
OPTIONS = ("k=v", "=", "n_clusters=0", "n_clusters=1e9", "seed=-1", "keep=", "by=", "by=nothing", "neighbors=-1",
           "temperature=nan", "temperature=0", "epsilon=x", "self=1", "retention=2", "scope=pool,cluster")  # fmt: skip
# Such a value is no junk: it asks for work that takes for ever.
_LONG = {
    "samples",
    "draws",
    "epochs",
    "max_iterations",
    "hidden_size",
    "image_size",
    "layers",
    "num_workers",
    "workers",
}
_SLOW = {"help", "dry_run", "compile"}  # a speed is measured, a model compiled: right, and longer than the alarm
_RUN = tuple(sorted(COMMANDS.keys() - {"demo"}))  # which takes a minute with any folder to write


class TooLong(BaseException):
    """The alarm rang."""


@dataclass(frozen=True)
class Found:
    """A command line, and what it ended in that it should not."""

    line: list[str]
    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.what}: meddel {' '.join(map(ascii_, self.line))}\n    {self.where}"


def ascii_(word: str) -> str:
    return ascii(word if len(word) < 60 else word[:50] + "…")


def lines(draw: random.Random, commands: Sequence[str] = _RUN) -> Iterator[list[str]]:
    """Command lines without end."""
    parsers = subparsers(cli.parser())
    while True:
        name = draw.choice(commands)
        words = list(COMMANDS[name])
        parser = parsers[" ".join(words[:2])] if words[0] == "benchmark" else parsers[words[0]]
        for _ in range(draw.choice((1, 1, 1, 2, 3))):
            mutate(words, parser, draw)
        yield words


def subparsers(parser: argparse.ArgumentParser, name: str = "") -> dict[str, argparse.ArgumentParser]:
    found = {name.strip(): parser}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, sub in action.choices.items():
                found |= subparsers(sub, f"{name} {word}")
    return found


def mutate(words: list[str], parser: argparse.ArgumentParser, draw: random.Random) -> None:
    """Give one option or position a value from the cupboard, or spoil the line in another way."""
    kind = draw.random()
    if kind < 0.06:
        words.insert(draw.randrange(1, len(words) + 1), value(draw, "anything"))
    elif kind < 0.10 and len(words) > 1:
        del words[draw.randrange(1, len(words))]
    elif kind < 0.25:  # what stands there already
        first = 2 if words[0] == "benchmark" else 1
        places = [i for i in range(first, len(words)) if not words[i].startswith("--") and not endless(words[i - 1])]
        if places:
            words[draw.choice(places)] = value(draw, "anything")
    else:
        options = [action for action in parser._actions if action.option_strings and action.dest not in _SLOW]
        if options:
            option = draw.choice(options)
            words.append(draw.choice(option.option_strings))
            if option.nargs != 0:
                words.append(value(draw, option.dest))


def endless(option: str) -> bool:
    """Whether a great number there is no junk, but work without end, or a thousand processes."""
    return option.removeprefix("--").replace("-", "_") in _LONG


def value(draw: random.Random, name: str) -> str:
    if name == "option":
        return draw.choice(OPTIONS + TEXTS)
    numbers = NUMBERS if name not in _LONG else tuple(text for text in NUMBERS if not text.strip().isdecimal())
    return draw.choice(draw.choice((numbers, TEXTS, PLACES)) if name != "seed" else NUMBERS)


def run(line: list[str], seconds: float = SECONDS) -> tuple[Any, str]:
    """(status or exception, stderr) of `meddel LINE`, run in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    err.reconfigure(errors="backslashreplace")
    ended: Any
    with redirect_stdout(out), redirect_stderr(err), alarm(seconds):
        try:
            ended = cli.main(list(line))
        except SystemExit as stopped:  # argparse
            ended = stopped.code if stopped.code is not None else 0
        except BaseException as error:
            ended = error
    return ended, err.buffer.getvalue().decode("utf-8", "replace")


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def judged(line: list[str], seconds: float = SECONDS) -> Found | None:
    ended, said = run(line, seconds)
    if isinstance(ended, TooLong):
        return Found(line, f"longer than {seconds:.0f} s", "")
    if isinstance(ended, BaseException):
        trace = traceback.extract_tb(ended.__traceback__)
        ours = [f for f in trace if "meddel_hf" in f.filename or "metrics" in f.filename] or list(trace)
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {' '.join(str(ended).split())[:150]}"
        return Found(line, type(ended).__name__, where)
    if ended not in STATUSES:
        return Found(line, f"status {ended}", said[-200:])
    if "Traceback" in said:
        return Found(line, "a traceback on stderr", said[-300:])
    if ended == 2 and not ("error: " in said and said.strip()):
        return Found(line, "no sentence", said[-200:])
    return None


def fuzz(
    count: int,
    seed: int,
    *,
    shown: bool = False,
    commands: Sequence[str] = _RUN,
    seconds: float = SECONDS,
) -> tuple[int, list[Found]]:
    """Lines that were run, and what was found. The working folder is one that `make_work.make` made."""
    found, draw = [], random.Random(seed)
    for number, line in zip(range(count), lines(draw, commands), strict=False):
        line = [word.replace("OUT", f"out/{number}") for word in line]
        odd = judged(line, seconds)
        if odd is not None:
            found.append(odd)
            if shown:
                print(odd, flush=True)
    return count, found


def prepare(folder: Path) -> None:
    make(folder)
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "unreadable").write_text("x")
    (folder / "unreadable").chmod(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HF_MODULES_CACHE"] = scratch + "/modules"
        os.chdir(scratch)
        prepare(Path(scratch))
        total, odd = fuzz(asked.count, asked.seed, shown=True)
    print(f"{total} command lines, {len(odd)} that ended in no sentence: {dict(Counter(one.what for one in odd))}")
    sys.exit(bool(odd))

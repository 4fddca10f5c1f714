"""Full disks: every command writes to a tiny file system that grows until its output fits.

    unshare --mount python benchmarks/full_disks.py

Needs root (a tmpfs is mounted, in a mount namespace of its own). Each try that fails must end in one sentence and
status 2, and leave nothing behind but what the next try goes on from; the last one must give the bytes that an
ordinary disk gets. Prints a line for each command: tries, and what was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz_commands import COMMANDS, make, run

WRITERS = ("embed", "select", "filter", "pretrain", "segment", "probe", "report", "pack")
SIZES = tuple(4 * 2**k for k in range(14))  # KiB, from one page to 32 MiB
# What a step goes on from; all else beside `out` is a leftover.
BEGUN = {
    "embed": ("begun.json", "shard-", "unreadable.parquet"),
    "pretrain": ("begun.json", "checkpoints", "unreadable.parquet", "objective"),
    "segment": ("checkpoints", "model", "scores.parquet", "overlays.png"),
    "probe": ("scores.parquet",),
}
_TIMES = ("manifest.json", "log.parquet", "report.html", "report.md")  # hold seconds, or what was typed


def tried(name: str, place: Path, sizes: tuple[int, ...] = SIZES) -> tuple[int, list[str]]:
    """(tries until it fitted, what was wrong) of a command; `place` is the mount point."""
    wrong: list[str] = []
    line = [word.replace("OUT", str(place / "out")) for word in COMMANDS[name]]
    mount(place, sizes[0])
    tries = 0
    for size in sizes:
        tries += 1
        subprocess.run(["mount", "-o", f"remount,size={size}k", str(place)], check=True)
        ended, said = run(line, 60)
        if ended == 0:
            break
        sentence = said.strip().splitlines()
        if isinstance(ended, BaseException):
            wrong.append(f"{size} KiB: {type(ended).__name__}: {' '.join(str(ended).split())[:150]}")
        elif ended != 2 or not any("error: " in one for one in sentence):
            wrong.append(f"{size} KiB: status {ended}, {said[-150:]!r}")
        wrong += [f"{size} KiB: {path} was left" for path in left(name, place)]
    else:
        wrong.append(f"did not fit into {sizes[-1]} KiB: {said.strip()[-200:]}")
    reference = Path("reference") / name
    reference.mkdir(parents=True)
    run([word.replace("OUT", str(reference / "out")) for word in COMMANDS[name]], 60)
    wrong += differences(place, reference)
    subprocess.run(["umount", str(place)], check=True)
    return tries, wrong


def mount(place: Path, size: int) -> None:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(place)], check=True)


def left(name: str, place: Path) -> list[str]:
    """What a failed try left, less what the next one goes on from."""
    found = [path.relative_to(place) for path in place.rglob("*") if path.is_file() or path.name.startswith(".")]
    return [
        str(path)
        for path in found
        if ".part" in path.name or not any(str(path).startswith(f"out/{begun}") for begun in BEGUN.get(name, ()))
    ]


def differences(place: Path, reference: Path) -> list[str]:
    here, there = (
        {str(p.relative_to(f)): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in (place, reference)
    )
    wrong = [f"only on one disk: {name}" for name in sorted(here.keys() ^ there.keys())]
    same = [name for name in here.keys() & there.keys() if Path(name).name not in _TIMES]
    return wrong + [f"other bytes: {name}" for name in sorted(same) if here[name] != there[name]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="*", default=WRITERS)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="KIB", help="ascending")
    parser.add_argument("--json", action="store_true", help="print what was wrong as JSON")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        make(Path(scratch))
        results = {name: tried(name, Path("disk").resolve(), tuple(asked.sizes)) for name in asked.commands}
        os.chdir("/")
    if asked.json:
        print(json.dumps(results))
    for name, (tries, wrong) in results.items() if not asked.json else ():
        print(f"{name:<10}{tries:>3} tries  {'; '.join(wrong) or 'right'}")
    sys.exit(any(wrong for _, wrong in results.values()))

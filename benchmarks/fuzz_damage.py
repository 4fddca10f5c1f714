"""Damaged files as a user meets them: one byte is flipped, or the end is cut off, and the commands that read it run.

    python benchmarks/fuzz_damage.py --count 300 --seed 0

Counted are commands that end in no sentence. Whether damage passes in silence is another question, which checksums
answer.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from fuzz_commands import COMMANDS, Found, judged, make

READERS = {  # folder -> the commands that read it; OUT is a new folder
    "embeddings": ("select", "sweep", "probe", ("embed", "embeddings")),
    "selection": ("why", "filter", "pretrain"),
    "subset": (("embed", "OUT", "frames", "subset"), ("filter", "subset")),
    "encoder": ("embed", "segment"),
    "encoded": (("pretrain", "encoded"), ("embed", "OUT", "encoder", "encoded")),
    "segmented": (("segment", "segmented"),),
    "probed": (("probe", "probed"),),
    "masked": ("segment",),
    "runs": ("report", "pack"),
}


def line(reader: str | tuple[str, ...], number: int) -> list[str]:
    """A command line; of a tuple the second word is its OUT, and what follows are words and their replacements."""
    name, out, *swaps = (reader, "OUT") if isinstance(reader, str) else reader
    words = [dict([swaps]).get(word, word) if len(swaps) == 2 else word for word in COMMANDS[name]]
    return [word.replace("OUT", out).replace("OUT", f"out/{number}") for word in words]


def damage(path: Path, draw: random.Random) -> str:
    content = bytearray(path.read_bytes())
    if not content or draw.random() < 0.25:
        cut = draw.randrange(len(content) + 1) if content else 0
        path.write_bytes(content[:cut])
        return f"cut at {cut} of {len(content)}"
    # The ends hold what tells of the rest: headers and footers.
    size = len(content)
    spot = draw.choice((draw.randrange(size), draw.randrange(min(size, 64)), size - 1 - draw.randrange(min(size, 600))))
    content[spot] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    return f"byte {spot} of {size} flipped"


def fuzz(count: int, seed: int, shown: bool = False) -> list[tuple[str, Found]]:
    """What was damaged, and what came of it. The working folder is one that `make_work.make` made."""
    draw, found = random.Random(seed), []
    for number in range(count):
        folder = draw.choice(sorted(READERS))
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        path = draw.choice(files)
        shutil.copytree(folder, "whole")
        try:
            what = f"{path}: {damage(path, draw)}"
            odd = judged(line(draw.choice(READERS[folder]), number))
        finally:
            shutil.rmtree(folder)
            os.rename("whole", folder)
        if odd is not None:
            found.append((what, odd))
            if shown:
                print(f"{what}\n  {odd}", flush=True)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HF_DATASETS_CACHE"] = scratch + "/cache"
        os.chdir(scratch)
        make(Path(scratch))
        odd = fuzz(asked.count, asked.seed, shown=True)
    print(f"{asked.count} damaged files, {len(odd)} without a sentence: {dict(Counter(one.what for _, one in odd))}")
    sys.exit(bool(odd))

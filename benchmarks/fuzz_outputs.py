"""Damage what each step wrote, bit by bit, and count what its readers say.

    python benchmarks/fuzz_outputs.py --flips 200 --seed 1

A table of kinds of files: how often damage was told in one sentence that names the file, was harmless (the answer is
the same), changed an answer without a word, or ended in an error that is not ours. Status 1 where a fault was found.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from damage import fuzz, outputs

_OUTCOMES = ("told", "harmless", "silent", "foreign", "names no file")


def main() -> int:
    parser = argparse.ArgumentParser(description="Damage outputs and count what their readers say.")
    parser.add_argument("--flips", type=int, default=200, help="bits flipped, of each kind of files (default: 200)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        found = fuzz(outputs(Path(scratch)), args.flips, args.seed)
    print(f"{'kind':<28}" + "".join(f"{name:>15}" for name in _OUTCOMES))
    for kind, counts in found.counts.items():
        print(f"{kind:<28}" + "".join(f"{counts[name]:>15,}" for name in _OUTCOMES))
    print(
        f"{sum(sum(counts.values()) for counts in found.counts.values()):,} files in {time.monotonic() - began:.0f} s"
    )
    for fault in found.faults:
        print(fault)
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())

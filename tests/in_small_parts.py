"""`meddel`, whose long work is cut so small that a pool of some thousand rows has a hundred parts; run as a script.

PAUSE: seconds that each part takes more. MADE: file to which each process writes its rank, and every part that it made.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import meddel_hf.dedup.larger_than_memory as larger
from meddel_hf.dedup import shared_engine
from meddel_hf.runtime import shared_work


def note(line: str) -> None:
    if "MADE" in os.environ:
        with Path(os.environ["MADE"]).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def make(self, path, part, *rest) -> None:
    time.sleep(float(os.environ.get("PAUSE", "0")))
    usual(self, path, part, *rest)
    note(f"{path.parent.name}/{path.name}")


if __name__ == "__main__":
    from meddel_hf.__main__ import main

    shared_work._LEAST, shared_work._MOST, shared_engine._LARGE, larger._PROGRAM = 2**18, 24, 1024, 0
    usual, shared_work.SharedWork._make = shared_work.SharedWork._make, make
    if "RANK" in os.environ:
        note(f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}")
    sys.exit(main())

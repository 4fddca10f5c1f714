"""`meddel demo`: the main job on the frames that the package carries."""

from __future__ import annotations

import argparse
from pathlib import Path

from meddel_hf.commands import kinds

HELP = "run the main job on the 450 frames that the package carries"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "folder to write (default: meddel-demo)"
    parser.add_argument("--out", type=kinds.path, default=Path("meddel-demo"), help=text)


def run(args: argparse.Namespace) -> None:
    from meddel_hf.commands.demonstration import run_demo

    run_demo(args.out)

"""Every example runs, as its docstring says, on the carried encoder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from datasets import load_from_disk
from PIL import Image

ROOT = Path(__file__).parents[1]
ENCODER = str(ROOT / "meddel_hf" / "assets" / "encoder")


def test_every_example_is_tested():
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {"select_frames.py"}


def test_select_frames(tmp_path):
    (tmp_path / "frames").mkdir()
    for i in range(40):
        Image.new("RGB", (48, 48), (6 * i, 255 - 6 * i, 60)).save(tmp_path / "frames" / f"{i:02}.png")
    command = [sys.executable, str(ROOT / "examples" / "select_frames.py"), "frames", "--encoder", ENCODER]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.count("is dropped: near-duplicate of") == 3
    assert len(load_from_disk(str(tmp_path / "subset"))) == 2

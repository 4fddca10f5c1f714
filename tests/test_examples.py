"""Every example runs, as its docstring says, on the carried encoder."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset, Features, Value, load_from_disk
from datasets import Image as Picture
from make_archives import mask, png
from PIL import Image
from transformers import ViTModel

from meddel_hf.benchmark.cells import arm_cells
from meddel_hf.benchmark.plan import Plan
from meddel_hf.pretraining.result import PreTraining

ROOT = Path(__file__).parents[1]
ENCODER = str(ROOT / "meddel_hf" / "assets" / "encoder")


def test_every_example_is_tested():
    tested = {name.removeprefix("test_") + ".py" for name in globals() if name.startswith("test_")}
    assert {path.name for path in (ROOT / "examples").glob("*.py")} <= tested
    assert {path.name for path in (ROOT / "examples" / "plans").glob("*")} == {"paper.yaml", "small.yaml"}


def run(folder: Path, example: str, *arguments: str, processes: int = 1) -> str:
    """What an example prints, run in `folder` as its docstring says."""
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
    launch = launch if processes == 2 else []
    command = [sys.executable, *launch, str(ROOT / "examples" / example), *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def frames(folder: Path) -> None:
    (folder / "frames").mkdir()
    for i in range(40):
        Image.new("RGB", (48, 48), (6 * i, 255 - 6 * i, 60)).save(folder / "frames" / f"{i:02}.png")


def masked(folder: Path, rows: int, source: str) -> None:
    """A data set of frames with masks, as `datasets` saves it."""
    columns = {"id": [f"{source}/{row}" for row in range(rows)]}
    features = Features({"id": Value("string"), "image": Picture(), "mask": Picture()})
    pictures = [Image.open(io.BytesIO(png(row))) for row in range(rows)]
    masks = [Image.open(io.BytesIO(mask())) for _ in range(rows)]
    Dataset.from_dict({**columns, "image": pictures, "mask": masks}, features=features).save_to_disk(folder / source)


@pytest.mark.slow
def test_select_frames(tmp_path):
    frames(tmp_path)
    out = run(tmp_path, "select_frames.py", "frames", "--encoder", ENCODER)
    assert out.startswith("Choosing ")
    assert out.count("is dropped: near-duplicate of") + out.count("is not selected: it is no near-duplicate") == 3
    assert len(load_from_disk(str(tmp_path / "subset"))) == 2


@pytest.mark.slow  # as the README runs it
@pytest.mark.parametrize("processes", [1, 2])
def test_pretrain(tmp_path, processes):
    frames(tmp_path)
    out = run(tmp_path, "pretrain.py", "frames", "--out", "all", "--samples", "128", processes=processes)
    assert out.startswith("40 of 40 frames, 128 samples, 3.2 epochs, loss ")
    assert out.count("step 2: loss ") == 1
    assert ViTModel.from_pretrained(tmp_path / "all").config.image_size == 96
    assert PreTraining.load(tmp_path / "all").summary.processes == processes


@pytest.mark.slow  # as the README runs it
def test_segment(tmp_path):
    masked(tmp_path, 10, "here")
    masked(tmp_path, 3, "there")
    out = run(tmp_path, "segment.py", "here", "there", "--encoder", ENCODER, "--frozen", "--epochs", "2")
    assert "| held out | 2 |" in out
    assert "| elsewhere | 3 |" in out
    assert out.count(": IoU ") == 3


def test_plans_are_plans():
    paper = Plan.load(ROOT / "examples" / "plans" / "paper.yaml")
    lines = (ROOT / "tests" / "data" / "table2.csv").read_text(encoding="utf-8").splitlines()
    table = list(csv.DictReader(lines))
    assert sorted(float(row["retention_printed"]) for row in table) == list(paper.retentions)
    seen = [int(row["epochs"]) * int(row["images"]) for row in table]
    assert max(seen) == 18_110_000
    assert paper.pretraining.samples == 200 * 88_282
    assert len(paper.tasks) == 8
    small = Plan.load(ROOT / "examples" / "plans" / "small.yaml")
    assert len(arm_cells(small)) == 2 * 3 * 3

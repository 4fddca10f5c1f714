"""A benchmark that runs in seconds: light and dark frames, a plan of them, and cells whose truth is planted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml
from make_archives import picture

from meddel_hf.benchmark.cells import CELL, CellPlan, gate_cells
from meddel_hf.benchmark.plan import Plan
from meddel_hf.downstream.scores import COLUMNS, Scores

ENCODER = str(Path(__file__).parents[1] / "meddel_hf" / "assets" / "encoder")
POOL, TESTED = 30, 12


def printed(capsys) -> str:
    """Data and words that a command printed."""
    said = capsys.readouterr()
    return said.out + said.err


def make_data(folder: Path) -> Path:
    """Frames that are light or dark, in folders of that name: of the pool, of a probe's training, and tested."""
    for part, rows in (("pool", POOL), ("train", 16), ("test", TESTED)):
        for row in range(rows):
            kind = "light" if row % 2 else "dark"
            (folder / "frames" / part / kind).mkdir(parents=True, exist_ok=True)
            image = picture(row + 100 * len(part)).point(lambda v, up=row % 2: v // 2 + 127 * up)
            image.resize((40, 32)).save(folder / "frames" / part / kind / f"{row:02}.png")
    return folder


def plan_of(data: Path, **change) -> dict:
    frames = str(data / "frames")
    probe = {"name": "light", "kind": "probe", "labels": frames, "target": "folder", "train_match": "train/*",
             "test_match": "test/*"}  # fmt: skip
    return {
        "name": "toy", "pool": [{"pool": frames, "match": "pool/*"}],
        "embedding": {"encoder": ENCODER, "pooling": "mean"},
        "pretraining": {"preset": "tiny", "layers": 1, "image_size": 24, "patch_size": 8, "samples": 32,
                        "batch_size": 8, "precision": "float32", "checkpoint_samples": 8},
        "arms": [{"label": "chance", "selector": "random"},
                 {"label": "MedDEL", "selector": "meddel", "options": {"epsilon": None, "scope": "pool"}}],
        "retentions": [0.2, 0.5], "seeds": 2, "tasks": [probe], "gates": ["learning"], **change,
    }  # fmt: skip


def written(path: Path, plan: dict) -> Path:
    path.write_text(yaml.safe_dump(plan), encoding="utf-8")
    return path


def right(share: float) -> Scores:
    """Scores of the tested frames, this share of them told right, of either class."""
    kinds = [("dark", "light")[row % 2] for row in range(TESTED)]
    ids = [f"test/{kind}/{row:02}" for row, kind in enumerate(kinds)]
    told = (np.arange(TESTED) < share * TESTED).astype(np.float32)
    masks = pa.nulls(TESTED, pa.list_(pa.int64()))
    columns = [ids, ["light"] * TESTED, ids, kinds, told, masks, masks]
    return Scores(pa.table(columns, names=COLUMNS.names).cast(COLUMNS), "balanced-accuracy")


def planted(runs: Path, plan: Plan, full: float, untrained: float) -> None:
    """Finished gate cells whose truth is known: of 12 tested frames, this share was told right."""
    for cell in gate_cells(plan):
        as_finished(cell, runs, full if cell.retention else untrained)


def as_finished(cell: CellPlan, runs: Path, share: float) -> None:
    """A finished cell, of which this share of the tested frames was told right."""
    folder = cell.folder(runs)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tasks" / "light").mkdir(parents=True)
    right(share).write(folder / "tasks" / "light")
    facts = {"arm": cell.label, "retention": cell.retention, "seed": cell.seed, "samples": 32, "frames": POOL,
             "tasks": {"light": ""}}  # fmt: skip
    (folder / CELL).write_text(json.dumps(facts), encoding="utf-8")

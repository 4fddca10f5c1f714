"""Tasks of kind instance and scene in a benchmark: run, killed, tampered with, reported; plans that do not fit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmark.test_benchmark import ALONE
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture
from small_benchmark import ENCODER, written

from meddel_hf.benchmark.cells import CELL, arm_cells, gate_cells
from meddel_hf.benchmark.data import Material
from meddel_hf.benchmark.gate import GateRuns, headroom
from meddel_hf.benchmark.gate_text import sentences
from meddel_hf.benchmark.matrix import run
from meddel_hf.benchmark.plan import Plan
from meddel_hf.benchmark.verdicts import Redundancy
from meddel_hf.downstream.retrieval import instance_scores
from meddel_hf.downstream.scores import COLUMNS, Scores
from meddel_hf.embedding.encoder import load_encoder
from meddel_hf.errors import InvalidArgument, InvalidDataset, MedDELError, Mismatch
from meddel_hf.pretraining.held_out import two_views
from meddel_hf.report.build import report
from meddel_hf.report.findings import Draws
from meddel_hf.runtime.records import read_facts, write_facts
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors import Balanced, Random

POOL, VIDEOS, EACH = 24, 4, 3


def frame(video: int, number: int) -> Picture.Image:
    """Of the same pattern in a video, a little moved and noisy."""
    pattern = np.random.default_rng(video).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    pixels = np.asarray(Picture.fromarray(pattern).resize((48, 40), 3)).astype(int)
    noise = np.random.default_rng(1000 * video + number).integers(-20, 20, pixels.shape)
    return Picture.fromarray(np.clip(np.roll(pixels, number, axis=1) + noise, 0, 255).astype(np.uint8))


def saved(folder: Path, rows: list[dict]) -> str:
    features = Features({"id": Value("string"), "image": Image(), "group": Value("string")})
    Dataset.from_list(rows, features=features).save_to_disk(folder)
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[str, str]:
    """A pool, and frames of videos that it has not, one of which cannot be decoded."""
    folder = tmp_path_factory.mktemp("data")
    pool = [
        {"id": f"pool/{row:02}", "image": frame(100 + row // 2, row), "group": f"p{row // 2}"} for row in range(POOL)
    ]
    videos = [{"id": f"v{video}/{number}", "image": frame(video, number), "group": f"v{video}"}
              for video in range(VIDEOS) for number in range(EACH)]  # fmt: skip
    alone = [
        {"id": "alone", "image": frame(50, 0), "group": "alone"},
        {"id": "no group", "image": frame(51, 0), "group": None},
    ]
    return {"pool": saved(folder / "pool", pool), "unseen": saved(folder / "unseen", videos + alone),
            "one": saved(folder / "one", videos[:1]), "nobody": saved(folder / "nobody", alone)}  # fmt: skip


def plan_of(data: dict[str, str], **change) -> dict:
    return {
        "name": "views", "pool": data["pool"], "embedding": {"encoder": ENCODER, "pooling": "mean"},
        "pretraining": {"objective": "simclr", "preset": "resnet-nano", "image_size": 32, "samples": 32,
                        "batch_size": 8, "precision": "float32", "checkpoint_samples": 8, "snapshots": 2,
                        "projection": 16},
        "arms": [{"label": "chance", "selector": "random"}, {"label": "balanced", "selector": "balanced"}],
        "retentions": [0.5], "seeds": 1, "gate_level": 0.5,
        "tasks": [{"name": "seen", "kind": "instance", "frames": data["unseen"]},
                  {"name": "video", "kind": "scene", "frames": data["unseen"]}],
        **change,
    }  # fmt: skip


@pytest.fixture(scope="module")
def gate(data, tmp_path_factory) -> Path:
    """Gate cells of the whole plan, in one go."""
    runs = tmp_path_factory.mktemp("gate") / "runs"
    run(Plan.of(plan_of(data)), runs, gate_only=True)
    return runs


def scores(runs: Path) -> dict[str, list]:
    found = sorted(runs.glob("cells/*/*/seed*/tasks/*/scores.parquet"))
    return {str(path.parent.relative_to(runs)): pq.read_table(path).to_pylist() for path in found}


def test_cells_hold_scores_of_trunk_and_head_and_the_held_out_loss(gate, data):
    full, untrained = (cell.folder(gate) for cell in gate_cells(Plan.of(plan_of(data))))
    seen = Scores.load(full / "tasks" / "seen")
    assert (seen.sets, seen.measure, len(seen)) == (["trunk", "head"], "accuracy", 2 * (VIDEOS * EACH + 2))
    assert (
        dict(zip(seen.table["id"].to_pylist(), seen.table["group"].to_pylist(), strict=True))["no group"] == "no group"
    )
    video = Scores.load(full / "tasks" / "video")
    assert len(video) == VIDEOS * EACH
    assert video.sets == ["video"]
    on_the_way = Scores.load(full / "tasks" / "seen@16")
    assert on_the_way.sets == ["trunk"]  # the head is of the last encoder
    facts = [json.loads((folder / CELL).read_text()) for folder in (full, untrained)]
    assert set(facts[0]["held_out_loss"]) == {"seen"}
    assert facts[0]["held_out_loss"]["seen"] != facts[1]["held_out_loss"]["seen"]
    assert all(0 < fact["held_out_loss"]["seen"] < 20 for fact in facts)


def test_scores_are_those_of_its_encoder_loaded_again(gate, data):
    cell = gate_cells(Plan.of(plan_of(data)))[0].folder(gate)
    ids = [f"v{video}/{number}" for video in range(VIDEOS) for number in range(EACH)] + ["alone", "no group"]
    pictures = [frame(video, number) for video in range(VIDEOS) for number in range(EACH)] + [
        frame(50, 0),
        frame(51, 0),
    ]
    decoded = [np.asarray(picture.convert("RGB").resize((48, 48), 2)).copy() for picture in pictures]  # 4/3 of 32, by 8
    encoder = load_encoder(str(cell / "pretraining"), pooling="mean", precision="float32")
    views = two_views(decoded, 32)
    features = encoder(views.reshape(-1, 32, 32, 3)).numpy().reshape(len(ids), 2, -1)
    expected = instance_scores({"trunk": features}, ids, ids).table["score"].to_pylist()
    assert Scores.load(cell / "tasks" / "seen").of("trunk").table["score"].to_pylist() == expected


def test_the_report_shows_them(gate, tmp_path):
    made = report(gate, tmp_path / "report")
    page = made.page.read_text(encoding="utf-8")
    for name in ("seen (head)", "seen (trunk)", "video"):
        assert name in page
    assert set(made.findings.verdicts) == {"seen (head)", "seen (trunk)", "video"}


# --- trunk and head are two measures ---

ON = ("trunk", "head")


def planted(runs: Path, plan: Plan, shares: dict[str, tuple[float, float]]) -> Path:
    """Finished cells of the gates and of every arm, whose scores of trunk and head are known and differ."""
    roles = [("full" if cell.retention else "untrained", cell) for cell in gate_cells(plan)]
    roles += [("random" if cell.label == "chance" else "full", cell) for cell in arm_cells(plan)]
    for role, cell in roles:
        folder = cell.folder(runs)
        (folder / "tasks" / "seen").mkdir(parents=True)
        Scores(pa.concat_tables([series(*pair) for pair in zip(ON, shares[role], strict=True)]), "accuracy").write(
            folder / "tasks" / "seen"
        )
        facts = {"arm": cell.label, "retention": cell.retention, "seed": cell.seed, "tasks": {"seen": ""}}
        (folder / CELL).write_text(json.dumps({**facts, "samples": 32, "frames": POOL}), encoding="utf-8")
        if cell.label in ("chance", "balanced"):
            selector = {"chance": Random(0.5, cell.seed), "balanced": Balanced(0.5, cell.seed)}[cell.label]
            selector.select(np.eye(POOL, dtype=np.float32)).save(folder / "selection")
    return runs


def series(name: str, share: float) -> pa.Table:
    """Forty frames, of which this share is told right."""
    ids, nothing = [f"{row:02}" for row in range(40)], pa.nulls(40, pa.list_(pa.int64()))
    right = (np.arange(40) < share * 40).astype(np.float32)
    columns = [ids, [name] * 40, ids, ids, right, nothing, nothing]
    return pa.table(columns, names=COLUMNS.names).cast(COLUMNS)


@pytest.fixture
def differing(data, tmp_path) -> tuple[Plan, Path]:
    """Trunk: random does what all do. Head: random is far below. Pooled, all are above random, clear of zero."""
    tasks = plan_of(data)["tasks"][:1]
    plan = Plan.of(plan_of(data, tasks=tasks, gates=["learning", "headroom"], seeds=2, gate_level=0.95))
    runs = tmp_path / "runs"
    run(Plan.of(plan_of(data, tasks=tasks, arms=[], seeds=2)), runs, gate_only=True)
    shutil.rmtree(runs / "cells")
    (runs / "gate.json").unlink()
    return plan, planted(runs, plan, {"full": (0.9, 0.9), "untrained": (0.5, 0.5), "random": (0.9, 0.5)})


def pooled(runs: Path, arm: str, percent: str) -> dict[int, Scores]:
    return {seed: Scores.load(runs / "cells" / arm / percent / f"seed{seed}" / "tasks" / "seen") for seed in (0, 1)}


def test_trunk_and_head_pass_the_gates_each_by_itself(differing):
    plan, runs = differing
    assert headroom(pooled(runs, "chance", "50"), pooled(runs, "full", "100"), {}, 0.5).passed, "pooled, it would"
    gates = GateRuns(plan, runs, Redundancy(0.0, 1.0, 0.9))
    verdicts = gates.verdicts()
    assert {name: one.can_rank for name, one in verdicts.items()} == {"seen (trunk)": False, "seen (head)": True}
    assert verdicts["seen (trunk)"].headroom.difference == 0
    assert verdicts["seen (head)"].headroom.difference == pytest.approx(0.4)
    gates.record(verdicts, None)
    facts = json.loads((runs / "gate.json").read_text(encoding="utf-8"))
    assert facts["passed"] == ["seen (head)"]
    assert len(facts["files"]) == len(list(runs.glob("cells/*/*/*/tasks/*/scores.parquet"))) - 2  # balanced's two
    said = " ".join(sentences(verdicts, None))
    assert "seen (trunk): pre-training on all is above none" in said
    assert "the full pool is not shown to be above random at 50 %" in said
    assert "seen (head): pre-training on all is above none" in said
    assert "there is something to choose" in said


@pytest.mark.parametrize(
    "recorded", ["by series", *(pytest.param(how, marks=pytest.mark.slow) for how in ("pooled", "not at all"))]
)
def test_the_report_ranks_the_series_that_passed_and_says_which(differing, recorded, tmp_path):
    """Also of a gate.json of before, which pooled them: that is judged anew from the cells."""
    plan, runs = differing
    gates = GateRuns(plan, runs, Redundancy(0.0, 1.0, 0.9))
    if recorded == "by series":
        gates.record(gates.verdicts(), None)
    elif recorded == "pooled":
        gates.record({"seen": gates.verdicts()["seen (head)"]}, None)
    manifest = read_facts(runs / "manifest.json", "")
    manifest["details"]["plan"] = plan.plain()
    write_facts(runs / "manifest.json", manifest)
    made = report(runs, tmp_path / "report", draws=Draws(200))
    assert {name: one.can_rank for name, one in made.findings.verdicts.items()} == {
        "seen (trunk)": False,
        "seen (head)": True,
    }
    text = made.page.with_suffix(".md").read_text(encoding="utf-8").replace("\\", "")
    assert "On other test sets" not in text
    assert "test set" not in text[: text.index("## Scores")]
    ranked, unranked = text[: text.index("Shown below, not ranked")], text[text.index("Shown below, not ranked") :]
    assert "seen (head)" in ranked
    assert "**seen (trunk)** all frames are not shown to do better than a few random ones" in unranked
    assert "Trained on" not in text
    assert not list((tmp_path / "report" / "figures").glob("carried-over*"))


@pytest.mark.slow  # a killed benchmark is in test_benchmark
def test_a_killed_benchmark_ends_where_an_unkilled_one_does(gate, data, tmp_path):
    runs = tmp_path / "runs"
    command = [*ALONE, str(written(tmp_path / "plan.yaml", plan_of(data, arms=[]))), "--out", str(runs)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    while process.poll() is None and not list(runs.glob("cells/*/*/seed0/tasks/seen/manifest.json")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not list(runs.glob(f"cells/untrained/*/*/{CELL}"))
    run(Plan.of(plan_of(data, arms=[])), runs)
    assert scores(runs) == scores(gate)


def test_scores_of_another_encoder_are_not_taken_over(gate, data, tmp_path):
    runs = Path(shutil.copytree(gate, tmp_path / "runs"))
    plan = Plan.of(plan_of(data, arms=[]))
    full, untrained = (cell.folder(runs) for cell in gate_cells(plan))
    (full / CELL).unlink()
    shutil.rmtree(full / "tasks" / "video")
    shutil.copytree(untrained / "tasks" / "video", full / "tasks" / "video")
    with pytest.raises(Mismatch, match=r"full.*tasks/video was scored with another encoder than"):
        run(plan, runs)


def test_damaged_scores_are_not_reported(gate, tmp_path):
    runs = Path(shutil.copytree(gate, tmp_path / "runs"))
    path = next(runs.glob("cells/full/*/seed0/tasks/seen/scores.parquet"))
    table = pq.read_table(path)
    pq.write_table(table.set_column(4, "score", [[1.0] * len(table)]).cast(table.schema), path)
    with pytest.raises(MedDELError, match=r"scores\.parquet"):
        report(runs, tmp_path / "report")


def test_arms_are_run_with_a_selection_each(data, tmp_path):
    plan = Plan.of(plan_of(data))
    runs = tmp_path / "runs"
    outcome = run(plan, runs)
    if outcome.passed:  # 32 samples need not beat none: then no selector is run
        for label in ("chance", "balanced"):
            assert len(Selection.load(runs / "cells" / label / "50" / "seed0" / "selection").kept) == POOL // 2
    assert outcome.verdicts is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": [{"name": "t", "kind": "scene", "frames": "{unseen}", "group": "patient"}]},
         r"t: group: .*unseen has no column 'patient', which names the video.*: name one of them as group"),
        ({"tasks": [{"name": "t", "kind": "scene", "frames": "{nobody}"}]},
         "t: group: 0 of 1 groups hold two frames or more: expected two such groups at least, of frames"),
        ({"tasks": [{"name": "t", "kind": "scene", "frames": "{unseen}", "match": "x*"}]}, "t: match: no id of"),
        ({"tasks": [{"name": "t", "kind": "instance", "frames": "{one}"}]}, "t: .* has one frame to be found among"),
        ({"tasks": [{"name": "t", "kind": "instance", "frames": "{pool}"}]}, "no frame of the pool is left: all 24"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit_are_told_before_any_training(change, message, data):
    tasks = [{**task, "frames": task["frames"].format(**data)} for task in change["tasks"]]
    with pytest.raises(InvalidDataset, match=message):
        Material.of(Plan.of(plan_of(data, tasks=tasks)))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"name": "t", "kind": "instance", "frames": "x", "pooling": "cls"}, "task 't' asks for pooling \"cls\""),
        ({"name": "t", "kind": "probe", "labels": "x", "pooling": "cls"}, "has no CLS token: use \"mean\""),
        ({"name": "t", "kind": "instance", "frames": "x", "pooling": "max"}, "pooling"),
        ({"name": "t", "kind": "instance"}, "frames"),
        ({"name": "t", "kind": "scenes", "frames": "x"}, "kind"),
        ({"name": "a/b", "kind": "scene", "frames": "x"}, "is no name of a folder"),
    ],
)  # fmt: skip
def test_tasks_that_do_not_fit_are_told_when_the_plan_is_read(task, message, data):
    with pytest.raises(InvalidArgument, match=message):
        Plan.of(plan_of(data, tasks=[task]))


def test_frames_of_the_task_that_the_pool_holds_leave_it(data):
    task = {"name": "t", "kind": "instance", "frames": data["pool"], "match": "pool/0*"}
    material = Material.of(Plan.of(plan_of(data, tasks=[task])))
    assert len(material.pool) == POOL - 10
    assert material.excluded["why"].to_pylist() == ["tested in t"] * 10

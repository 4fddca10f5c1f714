"""Tasks of kind labels as a user runs them: without pre-training, beside it, stopped, grown; their table and figure."""

from __future__ import annotations

import csv
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Image, Value
from make_archives import picture
from PIL import Image as Picture
from small_benchmark import printed, written

from meddel_hf.benchmark.labels import folder
from meddel_hf.benchmark.matrix import run
from meddel_hf.benchmark.plan import Plan
from meddel_hf.cli import main
from meddel_hf.data.pool import load_pool
from meddel_hf.downstream.labels.arms import Chooser
from meddel_hf.downstream.labels.compare import load_outcomes
from meddel_hf.embedding.calibration import calibration_of
from meddel_hf.embedding.embed import embed
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.report.build import report
from meddel_hf.runtime.reading import read_json
from meddel_hf.runtime.words import plural

ENCODER = str(Path(__file__).parents[2] / "meddel_hf" / "assets" / "encoder")


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    """Frames that are light or dark, in folders of that name."""
    top = tmp_path_factory.mktemp("frames")
    for row in range(40):
        kind = "light" if row % 4 == 0 else "dark"
        (top / kind).mkdir(exist_ok=True)
        image = picture(row).point(lambda v, up=not row % 4: v // 2 + 127 * up)
        image.resize((40, 32)).save(top / kind / f"{row:02}.png")
    return top


def plan_of(frames: Path, **change) -> dict:
    task = {"name": "light", "kind": "labels", "labels": str(frames), "target": "folder", "budgets": [4, 0.5],
            "splits": 3, "draws": 1}  # fmt: skip
    return {
        "name": "toy", "embedding": {"encoder": ENCODER, "pooling": "mean"}, "tasks": [task],
        "arms": [{"label": "chance", "selector": "random"}, {"label": "far", "selector": "k-centre"},
                 {"label": "minus mean", "selector": "k-centre", "options": {"subtract_mean": True}}], **change,
    }  # fmt: skip


@pytest.fixture(scope="module")
def runs(frames, tmp_path_factory) -> Path:
    """A plan without pre-training, run in one go."""
    out = tmp_path_factory.mktemp("labels") / "runs"
    outcome = run(Plan.of(plan_of(frames)), out)
    assert outcome.labelled == ("light",)
    return out


def test_a_plan_without_pretraining_runs(frames, tmp_path, capsys):
    plan = written(tmp_path / "plan.yaml", plan_of(frames))
    assert main(["benchmark", "run", str(plan), "--out", str(tmp_path / "runs"), "--dry-run"]) == 0
    assert "light: 3 arms, 3 splits, budgets 4, 50%" in printed(capsys)
    assert not (tmp_path / "runs").exists()
    assert main(["benchmark", "run", str(plan), "--out", str(tmp_path / "runs")]) == 0
    said = printed(capsys)
    assert "light: split 3 of 3: minus mean" in said
    lines = said.splitlines()
    rows = lines[next(at for at, line in enumerate(lines) if line.startswith("frames to label")) :][:4]
    names = ["frames to label", "chance, score", "far, difference", "minus mean, difference"]
    assert [row.partition("  ")[0] for row in rows] == names
    assert len({len(row) for row in rows}) == 1
    assert "chance: balanced accuracy in per cent; the others: their difference from chance in percentage" in said
    assert "|---" not in said
    assert not (tmp_path / "runs" / "cells").exists()


def test_every_arm_chose_at_every_budget(runs):
    table = load_outcomes(folder(runs, "light")).table
    assert table["arm"].value_counts().to_pylist() == [
        {"values": "chance", "counts": 60}, {"values": "far", "counts": 6}, {"values": "minus mean", "counts": 6}
    ]  # fmt: skip
    assert set(table["frames"].to_pylist()) == {4, 16}
    assert {id.partition("/")[0] for ids in table["chosen"].to_pylist() for id in ids} == {"light", "dark"}


def test_run_again_it_is_read(runs, frames):
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("split-*.parquet")}
    lines: list[str] = []
    run(Plan.of(plan_of(frames)), runs, say=lines.append)
    assert lines == []
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("split-*.parquet")} == before


def test_stopped_and_grown_it_ends_as_one_that_was_not(runs, frames, tmp_path):
    small = plan_of(frames)
    small["tasks"] = [{**small["tasks"][0], "splits": 2}]
    small["arms"] = small["arms"][:2]

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Plan.of(small), tmp_path / "runs", say=stop)
    run(Plan.of(small), tmp_path / "runs")
    run(Plan.of(plan_of(frames)), tmp_path / "runs")
    grown, whole = (load_outcomes(folder(each, "light")).table for each in (tmp_path / "runs", runs))
    key = [("arm", "ascending"), ("split", "ascending"), ("budget", "ascending"), ("seed", "ascending")]
    assert grown.sort_by(key).equals(whole.sort_by(key))


def test_another_budget_is_another_comparison(runs, frames):
    other = plan_of(frames)
    other["tasks"] = [{**other["tasks"][0], "budgets": [5]}]
    with pytest.raises(Mismatch, match=r"light: .*another budgets"):
        run(Plan.of(other), runs)


# ---- masks


def test_frames_with_masks_are_segmented(tmp_path):
    """Light squares on dark frames, in masks: the head learns them from a few frames."""
    rng, rows = np.random.default_rng(0), {"id": [], "image": [], "mask": []}
    for row in range(30):
        pixels, mask = rng.integers(0, 60, (48, 48, 3), np.uint8), np.zeros((48, 48), np.uint8)
        y, x = rng.integers(0, 24, 2)
        pixels[y : y + 24, x : x + 24] += 160
        mask[y : y + 24, x : x + 24] = 255
        for name, value in (
            ("id", f"{row:02}"),
            ("image", Picture.fromarray(pixels)),
            ("mask", Picture.fromarray(mask)),
        ):
            rows[name].append(value)
    features = Features({"id": Value("string"), "image": Image(), "mask": Image()})
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "set" / "train-00000.parquet")
    task = {"name": "squares", "kind": "labels", "labels": str(tmp_path / "set"), "masks": True, "budgets": [4, 12],
            "splits": 2, "draws": 1}  # fmt: skip
    plan = Plan.of(plan_of(tmp_path, tasks=[task]))
    run(plan, tmp_path / "runs")
    outcomes = load_outcomes(folder(tmp_path / "runs", "squares"))
    assert outcomes.measure == "miou"
    means = {line.budget: line.mean for line in outcomes.lines() if line.arm == "chance"}
    assert means["12"] > means["4"] > 0.3


# ---- the report, and the evidence in one file


def test_the_report_shows_a_table_and_a_figure(runs, tmp_path):
    written = report(runs, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "Choosing what to label" in text
    assert "No selector can be ranked" not in text
    assert "budgets:" in text
    for key in ("retentions", "seeds", "gates", "gate_level", "exclude", "pool", "pretraining"):
        assert f"\n{key}:" not in text
    assert "Cells:" not in text
    assert (tmp_path / "report" / "figures" / "labels-light.png").is_file()
    assert written.headline.startswith("Choosing what to label, 1 task: ")
    with (tmp_path / "report" / "tables" / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = {(row["arm"], row["budget"]): row for row in csv.DictReader(file)}
    outcomes = load_outcomes(folder(runs, "light"))
    difference = outcomes.difference("far", "4")
    assert float(rows["far", "4"]["difference"]) == pytest.approx(difference.value)
    assert float(rows["far", "4"]["low"]) == pytest.approx(difference.low)
    assert rows["chance", "4"]["difference"] == ""
    scores = pq.read_table(folder(runs, "light") / "labels.parquet").to_pylist()
    mean = np.mean([row["score"] for row in scores if (row["arm"], row["budget"]) == ("chance", "50%")])
    assert float(rows["chance", "50%"]["score"]) == pytest.approx(mean)


def test_one_figure_and_one_table_are_said_as_one(runs, tmp_path, capsys):
    assert main(["report", str(runs), "--out", str(tmp_path / "report")]) == 0
    said = printed(capsys)
    figures, tables = (len(list((tmp_path / "report" / part).iterdir())) for part in ("figures", "tables"))
    assert figures == 1
    assert f"beside it report.md, 1 figure and {plural(tables, 'table')}" in said


def test_packed_it_gives_the_same_report(runs, tmp_path):
    assert main(["benchmark", "pack", str(runs), "--out", str(tmp_path / "packed.tar.xz")]) == 0
    with tarfile.open(tmp_path / "packed.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    for name, where in (("a", runs), ("b", tmp_path / "packed")):
        report(where, tmp_path / name)
    assert (tmp_path / "a" / "tables" / "labels.csv").read_bytes() == (
        tmp_path / "b" / "tables" / "labels.csv"
    ).read_bytes()


@pytest.mark.slow
def test_beside_cells_both_are_reported(runs, tmp_path):
    from make_runs import make_runs

    both = make_runs(tmp_path / "both")
    shutil.copytree(runs / "labels", both / "labels")
    report(both, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "Choosing what to label" in text
    assert "The answer" in text


# ---- plans that do not fit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": []}, "arms is empty"),
        ({"embedding": None}, "embedding is missing"),
        ({"pool": ["frames"]}, "pool is given, and no task tests"),
        ({"pretraining": {"samples": 1600}}, "pretraining is given, and no task tests"),
        ({"tasks": [{"name": "a", "kind": "labels", "labels": "x", "budgets": [1]}]}, "a budget is a number of frames"),
        ({"tasks": [{"name": "a", "kind": "labels", "labels": "x", "budgets": [8, 8]}]}, "repeat"),
        ({"tasks": [{"name": "a", "kind": "labels", "labels": "x", "splits": 1}]}, "splits must be at least 2"),
        ({"tasks": [{"name": "a", "kind": "labels", "labels": "x", "draws": 0}]}, "draws must be at least 1"),
        ({"tasks": [{"name": "a", "kind": "labels", "labels": "x", "test_share": 1.0}]}, "test_share"),
        ({"tasks": [{"name": "a", "kind": "probe", "labels": "x"}], "pool": ["x"]}, "pretraining is missing"),
    ],
)
def test_a_plan_that_does_not_fit_says_why(frames, change, message):
    with pytest.raises(InvalidArgument, match=message):
        Plan.of(plan_of(frames, **change))


@pytest.mark.parametrize("pooling", ["both", "auto", "mean"])
def test_an_arm_that_drops_near_duplicates_takes_the_threshold_of_the_store(pooling, frames, tmp_path):
    """Which is that of the space that arms see, and the choice is the one that this threshold makes of the vectors."""
    plan = plan_of(frames, embedding={"encoder": ENCODER, "pooling": pooling})
    plan["arms"] = [
        {"label": "new", "selector": "dedup"},
        {"label": "set", "selector": "dedup", "options": {"eta": 0.9}},
    ]
    out = tmp_path / "runs"
    run(Plan.of(plan), out)
    place = folder(out, "light")
    store = EmbeddingStore.load(place.parent / "embeddings")
    assert store.poolings == (("mean",) if pooling == "mean" else ("cls", "mean"))
    (arm, given) = read_json(place / "manifest.json")["details"]["arms"][1:]
    told = next(one for one in calibration_of(store).thresholds if one.space.pooling == store.poolings[0])
    assert arm["options"] == {"eta": told.eta, "subtract_mean": told.space.subtract_mean}
    assert given["options"] == {"eta": 0.9}
    table = load_outcomes(place).table
    assert [sum(label == name for label in table["arm"].to_pylist()) for name in ("new", "set")] == [6, 6]


def test_an_arm_without_a_threshold_is_refused_before_anything_is_chosen(frames, tmp_path):
    store = embed(load_pool(str(frames)), ENCODER, tmp_path / "e", calibrate=False, progress=False)
    with pytest.raises(InvalidArgument, match="holds no mild copies of its frames"):
        Chooser("new", "dedup").calibrated(store)
    with pytest.raises(InvalidArgument, match=r"arm new asks for pooling mean, .* arms see pooling cls: leave it out"):
        Chooser("new", "dedup", {"pooling": "mean"}).calibrated(store)
    assert Chooser("new", "dedup", {"eta": 0.9, "pooling": "cls"}).calibrated(store).options == {"eta": 0.9}
    assert Chooser("far", "k-centre").calibrated(store) == Chooser("far", "k-centre")


def test_poolings_of_a_plan_are_those_of_embed(frames):
    with pytest.raises(InvalidArgument, match="pooling"):
        Plan.of(plan_of(frames, embedding={"encoder": ENCODER, "pooling": "max"}))

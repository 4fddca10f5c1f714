"""The ladder: rungs by hand, what is said of planted scores, and a real small one: killed, sharded, run again."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fork_server import alone
from make_runs import SEG, Task, Truth, make_runs
from small_benchmark import POOL, make_data, plan_of, printed, written

from meddel_hf.benchmark.ladder import ladders, table
from meddel_hf.benchmark.matrix import run, run_ladder
from meddel_hf.benchmark.plan import Plan
from meddel_hf.benchmark.results import read
from meddel_hf.benchmark.rungs import left_out, rungs
from meddel_hf.cli import main
from meddel_hf.downstream.intervals import compare, interval
from meddel_hf.downstream.scores import Scores
from meddel_hf.errors import InvalidArgument
from meddel_hf.report.build import report
from meddel_hf.report.findings import Draws
from meddel_hf.runtime.shard import Shard
from meddel_hf.selection.selection import Selection

PLANTED = Truth(
    arms={"random": "random"},
    effects={"ladder": {0.01: -0.2, 0.03: -0.1, 0.1: -0.006, 0.3: -0.003}},
    tasks={"polyps": Task(SEG, {"polyps": 60})},
    retentions=(0.2,),
    ladder=(0.01, 0.03, 0.1, 0.3),
)


@pytest.mark.parametrize(
    ("frames", "first", "n"), [(10_401, 0.001, 6), (1_000, 0.003, 5), (196, 0.01, 4), (30, 0.1, 2), (4, 0.3, 0)]
)
def test_rungs_are_shares_of_two_frames_at_least(frames, first, n):
    """0.1 % of 1,000 frames is one; 3 % of 30 is one; 30 % of 4 is one."""
    assert len(rungs(frames)) == n
    assert rungs(frames)[:1] == [first] * (n > 0)
    assert sorted([*rungs(frames), *left_out(frames)]) == [0.001, 0.003, 0.01, 0.03, 0.1, 0.3]


# --- on planted scores ---


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return make_runs(tmp_path_factory.mktemp("made") / "runs", PLANTED)


def scored(runs: Path, arm: str, percent: str) -> list[Scores]:
    return [Scores.load(seed / "tasks" / "polyps") for seed in sorted((runs / "cells" / arm / percent).glob("seed*"))]


def test_enough_is_the_smallest_rung_from_which_on_none_is_below_all(runs):
    """Planted: 0.2 and 0.1 are lost at 1 and 3 %, next to nothing at 10 and 30 %."""
    (ladder,) = ladders(read(runs))
    assert [rung.share for rung in ladder.rungs] == [0.01, 0.03, 0.1, 0.3, 1.0]
    assert [rung.is_below for rung in ladder.rungs] == [True, True, False, False, False]
    assert ladder.enough.share == 0.1
    by_hand = compare(scored(runs, "ladder", "10"), scored(runs, "full", "100"))
    assert (ladder.enough.difference.low, ladder.enough.difference.high) == (by_hand.low, by_hand.high)
    assert ladder.enough.score.value == interval(scored(runs, "ladder", "10")).value
    assert ladder.sentence == (
        "On polyps, 20 frames (10 %) are enough at this budget: from there up no difference from all is shown "
        f"(largest possible loss {-by_hand.low:.3f})."
    )


def test_a_rung_that_is_enough_below_one_that_is_not_does_not_count(tmp_path):
    truth = replace(PLANTED, effects={"ladder": {0.01: 0.0, 0.03: 0.0, 0.1: -0.1, 0.3: 0.0}})
    (ladder,) = ladders(read(make_runs(tmp_path / "runs", truth)))
    assert [rung.is_below for rung in ladder.rungs] == [False, False, True, False, False]
    assert ladder.enough.share == 0.3


def test_where_no_rung_is_enough_or_nothing_is_learned_that_is_said(tmp_path):
    truth = replace(PLANTED, effects={"ladder": dict.fromkeys(PLANTED.ladder, -0.1)})
    (ladder,) = ladders(read(make_runs(tmp_path / "below", truth)))
    assert ladder.enough is None
    assert ladder.sentence.startswith(
        "On polyps no smaller number of frames is enough at this budget: 59 frames (30 %)"
    )
    nothing = replace(PLANTED, tasks={"polyps": Task(SEG, {"polyps": 60}, untrained=0.0)})
    (ladder,) = ladders(read(make_runs(tmp_path / "nothing", nothing)))
    assert "are not shown to be better than no pre-training" in ladder.sentence
    everything = replace(PLANTED, effects={})
    (ladder,) = ladders(read(make_runs(tmp_path / "everything", everything)))
    assert "On polyps, 2 frames (1 %) are enough" in ladder.sentence
    assert "fewer were not tried" in ladder.sentence


def test_cells_that_are_missing_or_diverged_are_named(runs, tmp_path):
    folder = make_runs(tmp_path / "runs", PLANTED)
    (folder / "cells/ladder/10/seed1/cell.json").unlink()
    (folder / "cells/ladder/30/seed2/cell.json").unlink()
    facts = {"arm": "ladder", "retention": 0.3, "seed": 2, "step": 3, "sentence": "the loss is nan"}
    (folder / "cells/ladder/30/seed2/diverged.json").write_text(json.dumps(facts), encoding="utf-8")
    (ladder,) = ladders(read(folder))
    assert [rung.seeds for rung in ladder.rungs][2:] == [(0, 2), (0, 1), (0, 1, 2)]
    assert ladder.sentence.endswith("(10 %, seed 1 is not finished; 30 %, seed 2 diverged).")
    assert [len(rung.seeds) for rung in ladders(read(runs))[0].rungs] == [3] * 5


def test_the_report_draws_the_ladder_and_shows_its_cells_nowhere_else(runs, tmp_path):
    done = report(runs, tmp_path / "report", draws=Draws(2000))
    text = done.page.with_suffix(".md").read_text(encoding="utf-8")
    assert ladders(read(runs))[0].sentence in text.replace("\\", "")
    assert (tmp_path / "report/figures/ladder-polyps.png").is_file()
    rows = list(csv.DictReader((tmp_path / "report/tables/ladder.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["retention"], row["frames"]) for row in rows][:2] == [("0.01", "2"), ("0.03", "6")]
    for row, percent in zip(rows, ("1", "3", "10", "30"), strict=False):
        by_hand = np.mean([np.mean(s.table["score"].to_numpy()) for s in scored(runs, "ladder", percent)])
        assert float(row["score"]) == pytest.approx(by_hand, abs=1e-6)
    for path in (tmp_path / "report/tables").glob("*.csv"):
        assert path.stem == "ladder" or "ladder" not in path.read_text(encoding="utf-8"), path
    assert done.findings.runs.arms == ["random"]
    assert done.findings.runs.rival == "random"
    assert done.findings.runs.retentions == [0.2]


def test_without_a_ladder_the_report_has_none(tmp_path):
    done = report(make_runs(tmp_path / "runs", replace(PLANTED, ladder=())), tmp_path / "report", draws=Draws(50))
    assert "How few frames are enough" not in done.page.read_text(encoding="utf-8")
    assert not (tmp_path / "report/tables/ladder.csv").exists()


def test_the_one_rung_of_a_gate_is_no_ladder(tmp_path):
    """Of a plan without a random arm the gate runs random at the smallest retention, under the ladder's label."""
    planted = replace(PLANTED, arms={"MedDEL": "meddel"}, effects={"ladder": {0.2: -0.2}}, ladder=(0.2,))
    assert ladders(read(make_runs(tmp_path / "runs", planted))) == []


# --- real cells ---


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


def plan(data: Path, **change) -> dict:
    """No selector, hence no embedding: a ladder needs none."""
    return plan_of(data, arms=[], **{"embedding": None, **change})


def command(folder: Path, plan: dict) -> list[str]:
    path = str(written(folder / "plan.yaml", plan))
    return [sys.executable, "-m", "meddel_hf.benchmark", "ladder", path, "--out", str(folder / "runs"), "--quiet"]


def bytes_of(runs: Path) -> dict[str, bytes]:
    """Selections, encoders and scores of every cell, which hold no times."""
    wanted = ("rows.parquet", "model.safetensors", "scores.parquet")
    paths = [path for path in sorted(runs.glob("cells/**/*")) if path.name in wanted]
    return {path.relative_to(runs).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def climbed(data, tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("climbed")
    done = alone(*command(folder, plan(data))[1:])
    assert done.returncode == 0, done.stderr
    return folder / "runs", done.stdout + done.stderr


def test_the_command_runs_every_rung_and_says_how_few_are_enough(climbed):
    runs, out = climbed
    done = sorted(path.parent.relative_to(runs / "cells").as_posix() for path in runs.glob("cells/*/*/*/cell.json"))
    cells = ("full/100", "ladder/10", "ladder/30", "untrained/0")
    assert done == [f"{cell}/seed{seed}" for cell in cells for seed in (0, 1)]
    assert "Left out, fewer than 2 frames of the pool: 0.1 %, 0.3 %, 1 %, 3 %." in out
    (ladder,) = ladders(read(runs))
    assert table([ladder]) in out
    assert ladder.sentence in out
    for percent, seed in (("10", 0), ("30", 1)):
        kept = Selection.load(runs / f"cells/ladder/{percent}/seed{seed}/selection").kept
        assert len(kept) == round(float(percent) / 100 * POOL)
    small, large = (set(Selection.load(runs / f"cells/ladder/{p}/seed0/selection").kept) for p in ("10", "30"))
    assert small < large  # a seed's rungs stand in one another
    assert not (runs / "embeddings").exists()
    assert not (runs / "gate.json").exists()


@pytest.mark.slow
def test_a_killed_ladder_ends_with_the_same_bytes(climbed, data, tmp_path):
    """Killed in a cell, after others were finished."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    typed = command(tmp_path, plan(data))
    process = subprocess.Popen(typed, stdout=subprocess.DEVNULL, env=env)
    while process.poll() is None and not (tmp_path / "runs/cells/ladder/30/seed0/pretraining").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "runs/cells/ladder/10/seed0/cell.json").exists()
    assert not (tmp_path / "runs/cells/ladder/30/seed1/cell.json").exists()
    done = subprocess.run(typed, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert bytes_of(tmp_path / "runs") == bytes_of(climbed[0])


@pytest.mark.slow
def test_two_shards_climb_one_ladder(climbed, data, tmp_path, capsys):
    typed = ["benchmark", *command(tmp_path, plan(data))[3:]]
    assert main([*typed, "--shard", "1/2"]) == 75
    assert "cells are still to be finished by other shards" in printed(capsys)
    assert run_ladder(Plan.of(plan(data)), tmp_path / "runs", shard=Shard(2, 2)).ran == 4
    assert bytes_of(tmp_path / "runs") == bytes_of(climbed[0])


def test_a_ladder_shares_the_gates_cells_and_runs_nothing_twice(data, tmp_path):
    whole = Plan.of(plan_of(data, seeds=1, gates=["learning"], retentions=[0.5]))
    run(whole, tmp_path / "runs", gate_only=True)
    assert run_ladder(whole, tmp_path / "runs").ran == 2
    again = run_ladder(whole, tmp_path / "runs")
    assert (again.ran, again.waiting) == (0, ())


def test_a_dry_run_names_the_rungs_and_writes_nothing(data, tmp_path, capsys):
    assert main(["benchmark", *command(tmp_path, plan(data))[3:], "--dry-run"]) == 0
    out = printed(capsys)
    assert out.count("to run") == 8
    assert "ladder, 10 %, seed 1" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.yaml"]


def test_a_plan_that_pre_trains_nothing_has_no_ladder(data, tmp_path):
    labels = {"name": "kinds", "kind": "labels", "labels": str(data / "frames"), "target": "folder"}
    arms = [{"label": "random", "selector": "random"}]
    nothing = plan_of(data, tasks=[labels], arms=arms, pool=[], pretraining=None)
    with pytest.raises(InvalidArgument, match="a ladder needs a pool, pretraining and a task"):
        run_ladder(Plan.of(nothing), tmp_path / "runs")

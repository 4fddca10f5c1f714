"""The report over redundancies, of planted gains: where choosing begins to pay is said, drawn and stored as planted."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from make_runs import PROBE, Task, Truth, make_runs

from meddel_hf.benchmark.axis import AXIS
from meddel_hf.errors import IncompleteStore
from meddel_hf.report.build import report
from meddel_hf.report.findings import Draws
from meddel_hf.runtime.records import write_facts

GAINS = {0.0: 0.0, 0.5: 0.004, 0.8: 0.06}  # of "sieve" at 5 %, by redundancy
TRUTH = Truth(
    arms={"random": "random", "sieve": "dedup"},
    effects={},
    tasks={"findings": Task(PROBE, {"findings": 300}, 0.7)},
    retentions=(0.05, 0.2),
)


def make_axis(runs: Path) -> Path:
    for share, gain in GAINS.items():
        truth = replace(TRUTH, effects={"sieve": {0.05: gain, 0.2: 0.0}})
        folder = runs / f"redundancy-{100 * share:g}"
        folder.mkdir(parents=True)
        make_runs(folder, truth)
    write_facts(runs / AXIS, {"name": "planted", "redundancy": [*GAINS, 0.95]})  # of the last nothing is begun
    return runs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("axis")
    return report(make_axis(folder / "runs"), folder / "report", draws=Draws(draws=400))


def test_it_says_where_choosing_begins_to_pay(made):
    assert made.headline == (
        "Choosing begins to pay where 80 % of the pool are near-copies; at 0 % and 50 % it is not shown to."
    )
    page = made.page.read_text(encoding="utf-8").replace("\u00a0", " ").replace("\u202f", " ")
    assert made.headline in page
    assert "largest gain +0.0" in page
    assert "redundancy-80/report.html" in page


@pytest.mark.parametrize(
    ("levels", "headline"),
    [
        ([0.8], "Choosing begins to pay where 80 % of the pool are near-copies, the least that was tried."),
        ([0.0], "Choosing pays in the pool as it is, before any near-copies are added."),
    ],
)
def test_the_least_level_that_was_tried_may_pay(tmp_path, levels, headline):
    for share in levels:
        folder = tmp_path / "runs" / f"redundancy-{100 * share:g}"
        folder.mkdir(parents=True)
        make_runs(folder, replace(TRUTH, effects={"sieve": {0.05: 0.06, 0.2: 0.0}}))
    write_facts(tmp_path / "runs" / AXIS, {"name": "planted", "redundancy": levels})
    assert report(tmp_path / "runs", tmp_path / "report", draws=Draws(draws=400)).headline == headline


def test_gains_are_those_that_were_planted(made):
    with (made.page.parent / "tables" / "axis.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["redundancy"]) for row in rows] == [0.0, 0.5, 0.8]
    for row in rows:
        gain = GAINS[float(row["redundancy"])]
        assert float(row["low"]) - 0.01 <= gain <= float(row["high"]) + 0.01
        assert (row["arm"], float(row["retention"])) == ("sieve", 0.05)


def test_each_level_has_its_own_report(made):
    for share in GAINS:
        level = made.page.parent / f"redundancy-{100 * share:g}"
        assert (level / "report.html").is_file()
        assert "sieve" in (level / "report.md").read_text(encoding="utf-8")
    assert (made.page.parent / "figures" / "axis-findings.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_retention_of_fewer_seeds_does_not_speak_for_the_level(tmp_path):
    runs = make_axis(tmp_path / "runs")
    for cell in (runs / "redundancy-80" / "cells").glob("*/5/seed*"):
        if cell.name != "seed0":
            shutil.rmtree(cell)
    made = report(runs, tmp_path / "report", draws=Draws(draws=400))
    assert made.headline == "At none of these redundancies is a selector shown to be better than random."
    with (made.page.parent / "tables" / "axis.csv").open(encoding="utf-8") as file:
        retentions = {row["redundancy"]: row["retention"] for row in csv.DictReader(file)}
    assert retentions == {"0.0": "0.05", "0.5": "0.05", "0.8": "0.2"}


@pytest.mark.slow
def test_a_gain_that_one_interval_of_many_shows_by_chance_is_no_gain(tmp_path):
    """A small gain beside 20 arms without one: its own interval excludes zero, the one wide enough for all does not."""
    arms = {"random": "random", **{f"sieve{i}": "dedup" for i in range(20)}}
    folder = tmp_path / "runs" / "redundancy-0"
    folder.mkdir(parents=True)
    make_runs(folder, replace(TRUTH, arms=arms, effects={"sieve0": {0.05: 0.022}}, retentions=(0.05,)))
    write_facts(tmp_path / "runs" / AXIS, {"name": "nothing", "redundancy": [0]})
    made = report(tmp_path / "runs", tmp_path / "report", draws=Draws(draws=2000))
    with (made.page.parent / "tables" / "axis.csv").open(encoding="utf-8") as file:
        assert any(float(row["low"]) > 0 for row in csv.DictReader(file))
    assert made.headline == "At none of these redundancies is a selector shown to be better than random."


def test_levels_without_a_finished_cell_are_none(tmp_path):
    (tmp_path / "runs" / "redundancy-80").mkdir(parents=True)
    write_facts(tmp_path / "runs" / AXIS, {"name": "begun", "redundancy": [0.8]})
    with pytest.raises(IncompleteStore, match=r"holds no finished cell of any redundancy"):
        report(tmp_path / "runs", tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_damaged_level_is_told_and_not_left_out(tmp_path):
    runs = make_axis(tmp_path / "runs")
    damaged = next((runs / "redundancy-50").glob("cells/*/*/*/tasks/findings/scores.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(IncompleteStore, match=r"scores\.parquet"):
        report(runs, tmp_path / "report", draws=Draws(draws=50))
    assert not (tmp_path / "report").exists()

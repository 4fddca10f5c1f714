"""Measures that need no training, of every selection of a benchmark: against counts and eigenvalues by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from benchmark.test_benchmark import with_the_gate_passed
from datasets import Dataset, Features, Image, Value
from scipy.stats import t
from small_benchmark import make_data, plan_of, written
from tiny import textured

from meddel_hf import EmbeddingStore, Selection
from meddel_hf.benchmark.cells import CELL, MEASURES, arm_cells
from meddel_hf.benchmark.matrix import run
from meddel_hf.benchmark.measures import KINDS, Measuring, over_seeds, table
from meddel_hf.benchmark.pack import pack
from meddel_hf.benchmark.plan import Plan
from meddel_hf.benchmark.results import read
from meddel_hf.cli import main
from meddel_hf.errors import IncompleteStore, Mismatch
from meddel_hf.report.build import report
from meddel_hf.report.findings import Draws
from meddel_hf.selection.measures import Measures, Values

pytestmark = pytest.mark.slow  # each needs a benchmark that was run; what is measured is in tests/selection
ROWS = 30
GROUPS = [f"video{row // 4}" if row < 28 else None for row in range(ROWS)]
CENTERS = [f"c{row % 3}" for row in range(ROWS)]
LABELS = ["polyp" if row % 7 == 0 else "none" for row in range(ROWS)]


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> dict:
    """Of a pool whose videos, centres and classes are known."""
    folder = tmp_path_factory.mktemp("data")
    names = {"id": Value("string"), "image": Image(), **dict.fromkeys(("group", "center", "label"), Value("string"))}
    columns = {"id": [f"pool/{row:02}" for row in range(ROWS)], "image": [textured(row) for row in range(ROWS)],
               "group": GROUPS, "center": CENTERS, "label": LABELS}  # fmt: skip
    Dataset.from_dict(columns, features=Features(names)).save_to_disk(folder / "pool")
    arms = [{"label": name, "selector": name} for name in ("random", "dedup", "balanced")]
    return plan_of(make_data(folder), pool=str(folder / "pool"), arms=arms)


@pytest.fixture(scope="module")
def runs(plan, tmp_path_factory) -> Path:
    """A whole matrix, whose gate was planted."""
    runs = with_the_gate_passed(tmp_path_factory.mktemp("runs") / "runs", plan)
    run(Plan.of(plan), runs)
    return runs


def facts_of(cell: Path) -> dict:
    return json.loads((cell / MEASURES).read_text(encoding="utf-8"))


def entropy(unit: np.ndarray) -> float:
    values = np.linalg.eigvalsh(unit @ unit.T / len(unit))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def test_every_selection_is_measured(runs, plan):
    store = EmbeddingStore.load(runs / "embeddings")
    unit = store.pooled("mean").astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    unit -= unit.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for cell in arm_cells(Plan.of(plan)):
        folder = cell.folder(runs)
        selection, facts = Selection.load(folder / "selection"), facts_of(folder)
        kept = [int(id.removeprefix("pool/")) for id in selection.kept]
        assert facts["selection"] == selection.fingerprint
        for name, values in (("scenes", GROUPS), ("centers", CENTERS), ("labels", LABELS)):
            there = {values[row] for row in kept} - {None}
            assert facts[name] == {"pool": len(set(values) - {None}), "kept": len(there)}
        assert facts["effective"] == pytest.approx(entropy(unit[kept]), rel=1e-3)
        assert facts["effective_of_pool"] == pytest.approx(entropy(unit), rel=1e-3)
        assert facts["farthest"]["id"] not in selection.kept
        assert json.loads((folder / CELL).read_text(encoding="utf-8"))["measured"]


def test_they_are_written_whole_and_with_the_same_bytes_where_they_are_missing(runs, plan, tmp_path):
    again = Path(shutil.copytree(runs, tmp_path / "runs"))
    cell = arm_cells(Plan.of(plan))[1].folder(again)
    before = (cell / MEASURES).read_bytes()
    for lost in ([MEASURES, CELL], [CELL]):  # killed before they were written, and after
        for name in lost:
            (cell / name).unlink()
        assert run(Plan.of(plan), again).ran == 1
        assert (cell / MEASURES).read_bytes() == before
    other = arm_cells(Plan.of(plan))[0].folder(again)
    shutil.copy(other / MEASURES, cell / MEASURES)  # of another selection: not taken
    (cell / CELL).unlink()
    run(Plan.of(plan), again)
    assert (cell / MEASURES).read_bytes() == before


def test_those_of_another_selection_damaged_and_lost_ones_are_told(runs, plan, tmp_path):
    again = Path(shutil.copytree(runs, tmp_path / "runs"))
    one, other = (arm_cells(Plan.of(plan))[at].folder(again) for at in (0, 1))
    shutil.copy(one / MEASURES, other / MEASURES)
    with pytest.raises(Mismatch, match=r"measures\.json is of another selection .*delete .*run the same"):
        pack(again, tmp_path / "e.tar.xz")
    text = (one / MEASURES).read_text(encoding="utf-8")
    (other / MEASURES).write_text(text.replace('"kept": ', '"kept": 1'), encoding="utf-8")
    with pytest.raises(IncompleteStore, match=r"measures\.json is damaged"):
        report(again, tmp_path / "report", draws=Draws(50))
    (other / MEASURES).unlink()
    with pytest.raises(IncompleteStore, match=r"measures\.json is missing"):
        report(again, tmp_path / "report", draws=Draws(50))


def test_the_report_has_their_means_over_seeds(runs, plan, tmp_path):
    made = report(runs, tmp_path / "report", draws=Draws(50))
    text = made.page.with_suffix(".md").read_text(encoding="utf-8")
    assert "## Without training" in text
    lines = (tmp_path / "report" / "tables" / "measures.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "arm,retention,measure,value,low,high,seeds,pool"
    assert len(lines) == 1 + 3 * 2 * len(KINDS)
    kept = [facts_of(runs / "cells" / "random" / "20" / f"seed{seed}")["scenes"]["kept"] for seed in (0, 1)]
    (row,) = (line.split(",") for line in lines if line.startswith("random,0.2,scenes,"))
    assert float(row[3]) == np.mean(kept)
    half = t.ppf(0.975, 1) * np.std(kept, ddof=1) / np.sqrt(2)
    assert float(row[4]) == pytest.approx(max(np.mean(kept) - half, 0))
    assert float(row[5]) == pytest.approx(min(np.mean(kept) + half, 7))
    assert row[6:] == ["2", "7"]


def test_the_command_shows_them(runs, plan, tmp_path, capsys):
    path = written(tmp_path / "plan.yaml", plan)
    assert main(["benchmark", "run", str(path), "--out", str(runs), "--quiet"]) == 0
    out = capsys.readouterr().out
    head, *lines = out[out.index("without training") :].splitlines()
    assert head.split("  ")[0] == "without training"
    assert [line.split("  ")[0] for line in lines[:6]] == [
        f"{arm}, {at} %" for at in (20, 50) for arm in ("random", "dedup", "balanced")
    ]
    kept = [facts_of(runs / "cells" / "balanced" / "50" / f"seed{seed}")["scenes"]["kept"] for seed in (0, 1)]
    assert f"{np.mean(kept):.1f} [" in lines[5]


def test_the_evidence_carries_them(runs, tmp_path):
    pack(runs, tmp_path / "evidence.tar.xz")
    shutil.unpack_archive(tmp_path / "evidence.tar.xz", tmp_path)
    assert {cell.place: cell.measures for cell in read(tmp_path / "evidence").cells} == {
        cell.place: cell.measures for cell in read(runs).cells
    }


def test_one_store_is_read_once_for_all_selections(runs, plan):
    measuring = Measuring(EmbeddingStore.load(runs / "embeddings"), Dataset.from_dict({}))
    assert measuring._directions is measuring._directions
    assert measuring._of_pool == pytest.approx(read(runs).measured("random", 0.2)[0].of_pool, abs=1e-3)


def test_a_measure_that_some_seed_lacks_is_left_out_and_one_seed_has_no_interval():
    one = Measures(Values(9, 4), None, None, ("a", 0.5), 3.0, 7.0)
    two = Measures(Values(9, 9), None, None, None, 4.0, 7.0)
    scenes, labels, _, far, effective = KINDS
    assert over_seeds(far, [one, two]) is over_seeds(labels, [one]) is None
    assert (over_seeds(far, [one]).value, over_seeds(far, [one]).low) == (0.5, None)
    assert over_seeds(scenes, [one, two]).high == 9  # no more than there are
    assert over_seeds(effective, [one, two]).low == 1  # no fewer than one
    assert table({}) == ""
    assert table({("a", 0.05): [one]}).splitlines() == [
        "without training  scenes    farthest frame  effective frames",
        "a, 5 %            4.0 of 9  0.500           3.0 of 7.0",
    ]

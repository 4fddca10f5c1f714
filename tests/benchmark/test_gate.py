"""The gates: on scores whose gap is known by hand, on a real small matrix, sharded, and with cells that diverge."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from small_benchmark import POOL, as_finished, make_data, plan_of, planted, printed, right, written
from transformers import ViTMAEForPreTraining

from meddel_hf.benchmark.cells import CELL, gate_cells, random_cells
from meddel_hf.benchmark.data import Material
from meddel_hf.benchmark.gate import headroom
from meddel_hf.benchmark.gate_text import not_passed, nothing_to_choose, of_pool, of_task, sentences
from meddel_hf.benchmark.matrix import run, run_ladder
from meddel_hf.benchmark.pack import pack
from meddel_hf.benchmark.plan import Plan
from meddel_hf.benchmark.results import read
from meddel_hf.benchmark.verdicts import Headroom, Redundancy, Verdict
from meddel_hf.cli import main
from meddel_hf.downstream.intervals import compare
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidArgument
from meddel_hf.pretraining.pretrain import pretrain
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.report.build import report
from meddel_hf.report.findings import Draws, findings
from meddel_hf.runtime.shard import Shard
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors.dedup import Dedup

BOTH = ["learning", "headroom"]
TWO = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
       "--main_process_port", "0", "-m", "meddel_hf.benchmark"]  # fmt: skip
OLD = Path(__file__).parents[1] / "data" / "written-by-1ba22a8"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


def seeds(share: float, n: int = 3) -> dict:
    """Of 12 tested frames, this share told right, the same for every seed."""
    return {seed: right(share) for seed in range(n)}


def test_a_gap_that_is_there_and_one_that_is_not():
    found = headroom(seeds(0.5), seeds(1.0), {}, 0.05)
    assert found.passed
    assert (found.by, found.random, found.best, found.retention) == ("full", 0.5, 1.0, 0.05)
    assert found.difference == pytest.approx(0.5)
    assert not headroom(seeds(0.5), seeds(0.5), {}, 0.05).passed
    assert not headroom(seeds(1.0), seeds(0.5), {}, 0.05).passed  # random above the full pool is no headroom


def test_in_a_redundant_pool_the_pool_without_near_duplicates_may_be_the_best():
    found = headroom(seeds(0.5), seeds(0.5), seeds(1.0), 0.05)
    assert (found.passed, found.by) == (True, "distinct")
    assert headroom(seeds(0.5), seeds(1.0), seeds(0.5), 0.05).by == "full"


def test_two_comparisons_with_one_rival_are_widened_and_one_is_not():
    """Half of what is left out of 95 % for each of two."""
    random, full = {0: right(0.5), 1: right(0.6)}, {0: right(0.7), 1: right(0.9)}
    for distinct, level in (({}, 0.95), ({0: right(0.5)}, 0.975)):
        by_hand = compare(list(full.values()), list(random.values()), level=level)
        found = headroom(random, full, distinct, 0.05)
        assert (found.low, found.high) == (by_hand.low, by_hand.high)


def test_only_seeds_that_both_have_are_compared():
    found = headroom({0: right(0.5), 2: right(0.1)}, {0: right(1.0), 1: right(0.0)}, {}, 0.05)
    assert (found.random, found.best) == (0.5, 1.0)
    assert headroom({2: right(0.5)}, {0: right(1.0)}, {}, 0.05) is None


@pytest.mark.parametrize(
    ("gates", "learns", "room", "ranked"),
    [
        (("learning",), True, None, True), (("learning",), False, None, False),
        (("learning", "headroom"), True, True, True), (("learning", "headroom"), True, False, False),
        (("learning", "headroom"), False, True, False), (("learning", "headroom"), True, None, False),
        (("headroom",), False, True, True), ((), False, None, True),
    ],
)  # fmt: skip
def test_a_task_is_ranked_where_it_passed_every_gate_that_was_asked(gates, learns, room, ranked):
    second = None if room is None else Headroom(room, 0.5, 0.6, "full", 0.1, 0.0, 0.2, 0.05)
    assert Verdict(learns, "accuracy", 0.6, 0.5, 0.1, 0.0, 0.2, headroom=second, gates=gates).can_rank is ranked


def test_nothing_to_choose_is_said_where_something_is_learned_and_nowhere_is_room():
    no_room, room = (Headroom(passed, 0.5, 0.6, "full", 0.1, 0.0, 0.2, 0.003) for passed in (False, True))
    learned = {
        "a": Verdict(True, "accuracy", 0.6, 0.5, 0.1, 0.1, 0.2, headroom=no_room, gates=("learning", "headroom"))
    }
    assert nothing_to_choose(learned).startswith("nothing to choose here: random at 0.3 % does what all do")
    other = Verdict(True, "accuracy", 0.6, 0.5, 0.1, 0.1, 0.2, headroom=room, gates=("learning", "headroom"))
    assert not nothing_to_choose({**learned, "b": other})
    assert not nothing_to_choose({"a": Verdict(False, "accuracy", 0.6, 0.5, 0.1, -0.1, 0.2)})


def test_random_that_is_above_all_is_said_to_be():
    worse = Headroom(False, 0.6, 0.5, "full", -0.1, -0.2, -0.05, 0.05)
    of_worse = Verdict(True, "accuracy", 0.6, 0.5, 0.1, 0.1, 0.2, headroom=worse, gates=("learning", "headroom"))
    of_same = replace(of_worse, headroom=replace(worse, high=0.1))
    assert "random at 5 % does what all do on every measure, and more on it;" in nothing_to_choose({"a": of_worse})
    both = nothing_to_choose({"a": of_worse, "b": of_same})
    assert "random at 5 % does what all do on every measure, and more on 1 of 2; go lower" in both
    assert "the full pool is below random at 5 %" in of_task(of_worse)
    assert "the full pool is not shown to be above random at 5 %" in of_task(of_same)


def test_a_pool_below_a_tenth_has_nothing_to_remove():
    assert of_pool(Redundancy(0.09, 0.91, 0.9)).startswith("Nothing to remove: 9.0% of the pool's frames")
    assert Redundancy(0.09, 0.91, 0.9).worth_removing is None
    assert Redundancy(0.1, 0.9, 0.9).worth_removing == 0.9
    assert "is not known: no copies" in of_pool(Redundancy(None, None, None, "no copies"))


def test_a_gate_of_before_there_was_a_second_one_says_what_it_said(tmp_path):
    runs = Path(shutil.copytree(OLD / "runs", tmp_path / "runs"))
    there = json.loads((runs / "gate.json").read_text(encoding="utf-8"))
    read_again = read(runs)
    assert {task: v.can_rank for task, v in read_again.verdicts.items()} == {
        task: facts["passed"] for task, facts in there["tasks"].items()
    }
    assert read_again.gate.redundancy is None
    page = report(runs, tmp_path / "report", draws=Draws(50, 0.95, 0)).page.with_suffix(".md").read_text("utf-8")
    assert "second gate" not in page
    assert "near-duplicates of others" not in page


# --- real cells, of which some are planted ---


def gate_with(runs: Path, plan: dict, *, random: float | None) -> Path:
    """A folder of which the first gate passes: full pool 1.0, none 0.5; random's gate cells too, where it is given."""
    run(Plan.of({**plan, "arms": [], "gates": ["learning"]}), runs, gate_only=True)
    shutil.rmtree(runs / "cells")
    planted(runs, Plan.of(plan), full=1.0, untrained=0.5)
    for cell in random_cells(Plan.of(plan)) if random is not None else ():
        as_finished(cell, runs, random)
    return runs


def gate_of(runs: Path) -> dict:
    return json.loads((runs / "gate.json").read_text(encoding="utf-8"))


def test_random_that_does_what_all_do_leaves_nothing_to_choose(data, tmp_path, capsys):
    """A real run: light frames are told from dark ones whatever an encoder was trained on."""
    plan, runs = plan_of(data, gates=BOTH), tmp_path / "runs"
    run(Plan.of({**plan, "arms": []}), runs, gate_only=True)
    for cell in gate_cells(Plan.of(plan)):
        if not cell.retention:
            as_finished(cell, runs, 0.5)  # so that something is learned
    path = written(tmp_path / "plan.yaml", plan)
    assert main(["benchmark", "run", str(path), "--out", str(runs)]) == 3
    out = printed(capsys)
    assert "Nothing to choose here: random at 20 % does what all do on every measure; go lower, train longer" in out
    assert "No selector was run" in out
    assert {path.name for path in (runs / "cells").iterdir()} <= {"full", "untrained", "chance", "distinct"}
    assert [path.name for path in (runs / "cells" / "chance").iterdir()] == ["20"]
    verdict = gate_of(runs)["tasks"]["light"]
    assert verdict["passed"]
    assert not verdict["headroom"]["passed"]
    assert gate_of(runs)["passed"] == []
    assert main(["benchmark", "run", str(path), "--out", str(runs)]) == 3  # again: nothing is run, the same is said
    assert "0 cells run" in printed(capsys)
    text = report(runs, tmp_path / "report", draws=Draws(50)).page.with_suffix(".md").read_text("utf-8")
    assert "No selector can be ranked on the one test set: nothing to choose here: random at 20 %" in text
    recorded = read(runs).verdicts["light"]
    (runs / "gate.json").unlink()
    judged = findings(read(runs)).verdicts["light"]  # by the report, from the same cells
    assert not judged.recorded
    assert (judged.headroom, judged.gates, judged.difference) == (
        recorded.headroom,
        recorded.gates,
        recorded.difference,
    )


def test_with_headroom_selectors_are_run_and_ranked(data, tmp_path, capsys):
    plan = plan_of(data, gates=BOTH, retentions=[0.5])
    runs = gate_with(tmp_path / "runs", plan, random=0.5)
    path = written(tmp_path / "plan.yaml", plan)
    assert main(["benchmark", "run", str(path), "--out", str(runs)]) == 0
    assert "there is something to choose: the full pool is above random at 50 %" in printed(capsys)
    assert (runs / "cells" / "MedDEL" / "50" / "seed1" / CELL).is_file()
    assert gate_of(runs)["passed"] == ["light"]
    text = report(runs, tmp_path / "report", draws=Draws(50)).page.with_suffix(".md").read_text("utf-8")
    assert "Both gates are passed:" in text
    assert "The second gate: is there anything to choose?" in text


def test_without_a_plain_random_arm_the_ladders_label_stands_for_it(data, tmp_path):
    arms = [{"label": "MedDEL", "selector": "meddel", "options": {"epsilon": None, "scope": "pool"}}]
    plan = plan_of(data, gates=BOTH, arms=arms, seeds=1)
    runs = gate_with(tmp_path / "runs", plan, random=None)
    outcome = run(Plan.of(plan), runs, gate_only=True)
    assert outcome.verdicts["light"].headroom is not None
    kept = Selection.load(runs / "cells" / "ladder" / "20" / "seed0" / "selection").kept
    assert len(kept) == round(0.2 * POOL)
    assert read(runs).rival is None  # it is no arm


@pytest.mark.slow
def test_frames_that_stand_there_twice_are_counted_and_left_out(data, tmp_path):
    """Half of the pool is the other half under other names."""
    twice = tmp_path / "twice"
    shutil.copytree(data / "frames", twice)
    shutil.copytree(twice / "pool", twice / "pool" / "again")
    plan = plan_of(data, gates=BOTH, pool=[{"pool": str(twice), "match": "pool/*"}])
    runs = gate_with(tmp_path / "runs", plan, random=0.5)
    doubled = run(Plan.of(plan), runs, gate_only=True).redundancy
    assert doubled.share >= 0.5
    assert doubled.share + doubled.left == pytest.approx(1)
    (folder,) = (runs / "cells" / "distinct").iterdir()
    assert float(folder.name) == pytest.approx(100 * doubled.left, rel=1e-4)
    for seed in (0, 1):
        selection = Selection.load(folder / f"seed{seed}" / "selection")
        assert len(selection.kept) == round(doubled.left * 2 * POOL)
        names = [id.replace("/again", "") for id in selection.kept]
        assert len(set(names)) == len(names)  # of each frame and its twin one at most
    assert gate_of(runs)["redundancy"]["share"] == doubled.share
    assert "near-duplicates of others" in "\n".join(sentences(read(runs).verdicts, read(runs).gate.redundancy))


@pytest.mark.slow
def test_what_is_distinct_is_found_once_for_the_gate_and_every_seed(data, tmp_path, monkeypatch):
    twice = tmp_path / "twice"
    shutil.copytree(data / "frames", twice)
    shutil.copytree(twice / "pool", twice / "pool" / "again")
    plan = plan_of(data, gates=BOTH, pool=[{"pool": str(twice), "match": "pool/*"}], seeds=3)
    runs = gate_with(tmp_path / "runs", plan, random=0.5)
    steps, stepped = [], Dedup.stepped

    def counted(self, embeddings):
        steps.append(self)
        return stepped(self, embeddings)

    monkeypatch.setattr(Dedup, "stepped", counted)
    run(Plan.of(plan), runs, gate_only=True)
    assert len(steps) == 1
    store = EmbeddingStore.load(runs / "embeddings")
    (folder,) = (runs / "cells" / "distinct").iterdir()
    for seed in range(3):
        alone = Dedup(seed=seed).select(store).save(tmp_path / f"alone{seed}")
        cell = folder / f"seed{seed}" / "selection"
        files = {path.name: path.read_bytes() for path in cell.iterdir() if path.name != "manifest.json"}
        assert files == {path.name: path.read_bytes() for path in alone.iterdir() if path.name != "manifest.json"}
        assert Selection.load(cell).manifest == Selection.load(alone).manifest
    steps.clear()
    before = {path: path.read_bytes() for path in folder.glob("seed*/selection/*.parquet")}
    shutil.rmtree(folder)
    run(Plan.of(plan), runs, gate_only=True)  # a later call takes it from the folder
    assert not steps
    shutil.rmtree(folder)
    shutil.rmtree(runs / "distinct")  # as runs of before are, and where it was lost
    run(Plan.of(plan), runs, gate_only=True)
    assert len(steps) == 3
    assert {path: path.read_bytes() for path in folder.glob("seed*/selection/*.parquet")} == before


@pytest.mark.slow
def test_shards_decide_the_same_gates(data, tmp_path):
    plan = plan_of(data, gates=BOTH, retentions=[0.5])
    whole = gate_with(tmp_path / "whole", plan, random=None)
    run(Plan.of(plan), whole, gate_only=True)
    parted = gate_with(tmp_path / "parted", plan, random=None)
    outcomes = [run(Plan.of(plan), parted, shard=Shard(index, 2), gate_only=True) for index in (1, 2, 1)]
    assert outcomes[0].verdicts is None
    assert outcomes[0].waiting
    assert sum(outcome.ran for outcome in outcomes) == len(list(whole.glob("cells/*/*/*/selection")))
    assert (parted / "gate.json").read_bytes() == (whole / "gate.json").read_bytes()


@pytest.mark.slow
def test_two_processes_decide_the_same_gates_and_climb_the_same_ladder(data, tmp_path):
    plan = plan_of(data, gates=BOTH, retentions=[0.5], seeds=1)
    path = written(tmp_path / "plan.yaml", plan)
    one, two = (gate_with(tmp_path / name, plan, random=None) for name in ("one", "two"))
    run(Plan.of(plan), one, gate_only=True)
    run_ladder(Plan.of(plan), one)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for verb in ("run", "ladder"):
        more = ["--gate-only"] * (verb == "run")
        done = subprocess.run(
            [*TWO, verb, str(path), "--out", str(two), *more], env=env, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0 or (verb == "run" and "exitcode  : 3" in done.stderr), done.stderr
    assert {cell.place for cell in read(one).cells} == {cell.place for cell in read(two).cells}
    kept = [sorted(runs.glob("cells/*/*/*/selection/rows.parquet")) for runs in (one, two)]
    assert [a.read_bytes() for a in kept[0]] == [b.read_bytes() for b in kept[1]]
    assert read(one).gate.redundancy == read(two).gate.redundancy


# --- cells that diverge ---


@pytest.fixture(scope="module")
def exploded(data, tmp_path_factory) -> tuple[Path, Path]:
    """(plan, runs) of which every training ends in a loss that is no number, and the untrained cells are finished.

    They begin with a decoder whose bias is next to infinite, and learn at a rate beyond all bounds.
    """
    folder = tmp_path_factory.mktemp("exploded")
    plan = plan_of(data, arms=[], seeds=2)
    recipe = Recipe(**{**plan["pretraining"], "samples": 0})
    start = pretrain(Material.of(Plan.of(plan)).pool, folder / "start", recipe=recipe, progress=False)
    model = ViTMAEForPreTraining.from_pretrained(start.objective)
    with torch.no_grad():
        model.decoder.decoder_pred.bias.fill_(1e38)
    model.save_pretrained(folder / "huge")
    plan["pretraining"] |= {"start": str(folder / "huge"), "learning_rate": 10.0, "warmup": 0.0, "beta1": 0.0}
    path = written(folder / "plan.yaml", plan)
    assert main(["benchmark", "run", str(path), "--out", str(folder / "runs"), "--quiet"]) == 3
    return path, folder / "runs"


def test_a_cell_that_diverges_is_written_down_and_the_others_run(exploded):
    _, runs = exploded
    assert sorted(path.parts[-4:-1] for path in runs.glob("cells/*/*/*/cell.json")) == [
        ("untrained", "0", "seed0"), ("untrained", "0", "seed1"),
    ]  # fmt: skip
    for seed in (0, 1):
        facts = json.loads((runs / f"cells/full/100/seed{seed}/diverged.json").read_text(encoding="utf-8"))
        assert (facts["arm"], facts["retention"], facts["seed"]) == ("full", 1.0, seed)
        assert facts["step"] >= 1
        assert "the loss is no longer a finite number" in facts["sentence"]


def test_what_diverged_is_tried_again_once_its_record_is_deleted(exploded, capsys):
    path, runs = exploded
    command = ["benchmark", "run", str(path), "--out", str(runs), "--quiet"]
    record = runs / "cells/full/100/seed0/diverged.json"
    before = record.stat().st_mtime_ns
    assert main(command) == 3
    out = printed(capsys)
    assert "No gate could be decided" in out
    assert out.count("diverged, and in no mean: full, 100 %, seed") == 2
    assert record.stat().st_mtime_ns == before
    assert main([*command, "--dry-run"]) == 0
    out = printed(capsys)
    assert out.count("diverged, not tried again") == 2
    assert "0 cells to pre-train" in out
    record.unlink()
    assert main(command) == 3
    assert record.is_file()
    assert "diverged, and is left out: full, 100 %, seed 0" in printed(capsys)


def test_a_gate_of_which_a_cell_diverged_says_so(exploded, data, tmp_path, capsys):
    plan = plan_of(data, arms=[], seeds=3)
    path = written(tmp_path / "plan.yaml", plan)
    run(Plan.of(plan), tmp_path / "runs")
    runs = tmp_path / "runs"
    shutil.rmtree(runs / "cells")
    planted(runs, Plan.of(plan), full=1.0, untrained=0.5)
    shutil.rmtree(runs / "cells/full/100/seed1")
    shutil.copytree(exploded[1] / "cells/full/100/seed1", runs / "cells/full/100/seed1")
    assert main(["benchmark", "run", str(path), "--out", str(runs)]) == 0
    assert "diverged, and in no mean: full, 100 %, seed 1" in printed(capsys)
    assert gate_of(runs)["diverged"] == ["full, 100 %, seed 1"]
    assert gate_of(runs)["tasks"]["light"]["difference"] == pytest.approx(0.5)
    written_report = report(runs, tmp_path / "report", draws=Draws(50))
    text = written_report.page.with_suffix(".md").read_text("utf-8")
    assert (
        "Of the gates' cells, full, 100 %, seed 1 diverged: the gates were decided by the seeds that are left" in text
    )
    assert "Diverged, 1 cell" in text
    assert written_report.findings.runs.missing == []
    levels = {level.arm: len(level.by_seed) for level in written_report.findings.levels}
    assert levels == {"full": 2, "untrained": 3}
    pack(runs, tmp_path / "evidence.tar.xz")
    with tarfile.open(tmp_path / "evidence.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    assert read(tmp_path / "evidence").diverged == written_report.findings.runs.diverged


CASES = [
    ({"gates": []}, r"gates is empty: expected \[learning\], \[headroom\] or both; \[learning\] asks the least"),
    ({"gates": ["learning", "learning"]}, "gates repeat themselves"),
    ({"gates": ["luck"]}, "must be one of learning, headroom|learning"),
    *(({"arms": [{"label": label, "selector": "random"}]}, "is taken by the gates or the ladder")
      for label in ("full", "untrained", "distinct", "ladder")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("gates", "said"),
    [
        (["learning"],
         "No task passed the gate: on none is it shown that pre-training on the full pool beats no pre-training, the "
         "interval clear of zero. No selector"),
        (["headroom"],
         "No task passed the gate: on none is it shown that the full pool, or the pool without its near-duplicates, is "
         "above random at the smallest retention, the interval clear of zero. No selector"),
        (BOTH,
         "No task passed the gates: on none is it shown that pre-training on the full pool beats no pre-training, and "
         "that the full pool, or the pool without its near-duplicates, is above random at the smallest retention, the "
         "intervals clear of zero. No selector"),
    ],
)  # fmt: skip
def test_what_no_task_passed_is_named_by_what_the_plan_asks(gates, said):
    assert not_passed(gates).startswith(said)


@pytest.mark.parametrize(("change", "message"), CASES)
def test_gates_and_labels_that_do_not_fit_are_told(data, change, message):
    with pytest.raises(InvalidArgument, match=message):
        Plan.of({**plan_of(data), **change})


def test_headroom_is_asked_where_there_is_something_to_choose_from(data):
    assert Plan.of(plan_of(data, gates=BOTH)).asked_gates == ("learning", "headroom")
    assert Plan.of(plan_of(data, gates=BOTH, arms=[])).asked_gates == ("learning",)
    assert Plan.of(plan_of(data, gates=BOTH, retentions=[1.0])).asked_gates == ("learning",)
    assert yaml.safe_load(Plan.of(plan_of(data, gates=BOTH)).yaml())["gates"] == BOTH

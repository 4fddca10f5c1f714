"""The benchmark as a user runs it: the gate, the matrix, shards, two processes, killed runs, plans that do not fit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from family import children, left
from fork_server import alone
from make_work import masked
from small_benchmark import POOL, TESTED, make_data, plan_of, planted, printed, right, written

from meddel_hf.benchmark import gate
from meddel_hf.benchmark.cells import CELL, CellPlan, arm_cells, gate_cells
from meddel_hf.benchmark.data import Material
from meddel_hf.benchmark.matrix import run
from meddel_hf.benchmark.plan import Plan
from meddel_hf.cli import main
from meddel_hf.downstream.scores import Scores
from meddel_hf.errors import InvalidArgument, InvalidDataset, Mismatch
from meddel_hf.report.build import report
from meddel_hf.runtime.shard import Shard
from meddel_hf.selection.selection import Selection

ALONE = [sys.executable, "-m", "meddel_hf.benchmark", "run"]
TWO = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
       "--main_process_port", "0", "-m", "meddel_hf.benchmark", "run"]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


def scores(runs: Path) -> dict[str, list[float]]:
    """Score of every tested frame, by cell and task."""
    found = sorted(runs.glob("cells/*/*/seed*/tasks/*/scores.parquet"))
    return {str(path.parent.relative_to(runs)): pq.read_table(path)["score"].to_pylist() for path in found}


def weights(runs: Path) -> dict[str, bytes]:
    found = sorted(runs.glob("cells/*/*/seed*/pretraining/model.safetensors"))
    return {str(path.relative_to(runs)): path.read_bytes() for path in found}


def launched(parts: list[str], *more: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*parts, *more], env=env, capture_output=True, text=True, timeout=300)


def with_the_gate_passed(runs: Path, plan: dict) -> Path:
    """A folder whose gate cells were planted so that the gate passes, and whose selectors are still to be run."""
    run(Plan.of({**plan, "arms": []}), runs, gate_only=True)
    shutil.rmtree(runs / "cells")
    planted(runs, Plan.of(plan), full=1.0, untrained=0.5)
    return runs


@pytest.fixture(scope="module")
def matrix(data, tmp_path_factory) -> Path:
    """A whole matrix, run by the command in one go."""
    folder = tmp_path_factory.mktemp("matrix")
    runs = with_the_gate_passed(folder / "runs", plan_of(data))
    done = alone("-m", "meddel_hf.benchmark", "run", written(folder / "plan.yaml", plan_of(data)), "--out", runs)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("[")]
    assert [line.partition(" ")[0] for line in lines[:8]] == [f"[{n}/8]" for n in range(1, 9)]
    assert lines[0].startswith("[1/8] chance, 20 %, seed 0: 6 frames, light ")
    assert "light  balanced accuracy     1.0000" in done.stdout
    return runs


def test_every_cell_holds_its_selection_its_encoder_and_its_scores(matrix, data):
    plan = Plan.of(plan_of(data))
    for cell in arm_cells(plan):
        folder = cell.folder(matrix)
        selection = Selection.load(folder / "selection")
        assert len(selection.kept) == round(cell.retention * POOL)
        assert all(id.startswith("pool/") for id in selection.kept)
        facts = json.loads((folder / CELL).read_text(encoding="utf-8"))
        assert (facts["samples"], facts["frames"]) == (32, round(cell.retention * POOL))
        assert len(Scores.load(folder / "tasks" / "light")) == TESTED
        assert not (folder / "work").exists()
    kept = {tuple(Selection.load(cell.folder(matrix) / "selection").kept) for cell in arm_cells(plan)[:4]}
    assert len(kept) == 4


def test_finished_cells_are_never_run_again(matrix, data):
    before = {path: path.stat().st_mtime_ns for path in matrix.glob("cells/**/*") if path.is_file()}
    assert run(Plan.of(plan_of(data)), matrix).ran == 0
    assert {path: path.stat().st_mtime_ns for path in matrix.glob("cells/**/*") if path.is_file()} == before


def test_the_report_reads_what_the_matrix_wrote(matrix, tmp_path):
    written = report(matrix, tmp_path / "report")
    assert {level.arm for level in written.findings.levels} == {"chance", "MedDEL", "full", "untrained"}
    assert written.findings.runs.missing == []
    assert written.findings.runs.rival == "chance"
    assert written.findings.verdicts["light"].recorded
    lines = (tmp_path / "report" / "tables" / "origins.csv").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines[1:] if ",frames,30," not in line] == []  # where no centre is told, the source


def test_the_evidence_in_one_file_gives_the_same_report(matrix, tmp_path, capsys):
    file = tmp_path / "evidence.tar.xz"
    assert main(["benchmark", "pack", str(matrix), "--out", str(file)]) == 0
    assert f"{file.stat().st_size:,} bytes" in printed(capsys)
    with tarfile.open(file) as archive:
        assert not [name for name in archive.getnames() if name.endswith((".safetensors", ".npy", ".png"))]
        archive.extractall(tmp_path, filter="data")
    whole, packed = (report(runs, tmp_path / f"report{n}") for n, runs in enumerate((matrix, tmp_path / "evidence")))
    assert packed.findings.levels == whole.findings.levels
    for table in sorted(whole.page.parent.glob("tables/*.csv")):
        assert (packed.page.parent / "tables" / table.name).read_bytes() == table.read_bytes()
    again = tmp_path / "again" / "evidence.tar.xz"
    assert main(["benchmark", "pack", str(matrix), "--out", str(again)]) == 0
    assert again.read_bytes() == file.read_bytes()
    assert main(["benchmark", "pack", str(matrix), "--out", str(tmp_path / "x.zip")]) == 2


@pytest.mark.slow  # runs at once, below, share the same cells
def test_shards_together_make_the_same_matrix(matrix, data, tmp_path):
    runs, plan = with_the_gate_passed(tmp_path / "runs", plan_of(data)), Plan.of(plan_of(data))
    outcomes = [run(plan, runs, shard=Shard(index, 3)) for index in (1, 2, 3)]
    assert [outcome.ran for outcome in outcomes] == [3, 3, 2]
    assert all(outcome.passed and not outcome.locked for outcome in outcomes)
    assert scores(runs) == scores(matrix)


@pytest.mark.slow
def test_runs_at_once_share_the_cells_as_they_come_free(matrix, data, tmp_path):
    runs = with_the_gate_passed(tmp_path / "runs", plan_of(data))
    command = [*ALONE, str(written(tmp_path / "plan.yaml", plan_of(data))), "--out", str(runs), "--quiet"]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=alone) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    cells = [
        line.partition("] ")[2].partition(":")[0] for text in said for line in text.splitlines() if line[0:1] == "["
    ]
    assert len(cells) == len(set(cells)) == 8, "each cell is run once, by one of the two"
    assert scores(runs) == scores(matrix)


@pytest.mark.slow
def test_a_killed_run_ends_where_an_unkilled_one_does(matrix, data, tmp_path):
    runs = with_the_gate_passed(tmp_path / "runs", plan_of(data))
    command = [*ALONE, str(written(tmp_path / "plan.yaml", plan_of(data))), "--out", str(runs)]
    for state in ("cells/chance/20/seed0/pretraining", "cells/MedDEL/20/seed0/cell.json"):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        while process.poll() is None and not (runs / state).exists():
            time.sleep(0.01)
        workers = children(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert left(workers) == []
    assert not (runs / "cells/MedDEL/50/seed1/cell.json").exists()
    done = launched(command)
    assert done.returncode == 0, done.stderr
    assert scores(runs) == scores(matrix)
    assert weights(runs) == weights(matrix)


@pytest.mark.slow
def test_two_processes_run_the_same_matrix(matrix, data, tmp_path):
    plan = plan_of(data, seeds=1, retentions=[0.5])
    runs = with_the_gate_passed(tmp_path / "runs", plan)
    done = launched(TWO, str(written(tmp_path / "plan.yaml", plan)), "--out", str(runs))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("[1/2]") == 1
    for cell in arm_cells(Plan.of(plan)):
        one, two = (Selection.load(cell.folder(folder) / "selection").kept for folder in (matrix, runs))
        assert one == two
        facts = [json.loads((cell.folder(folder) / CELL).read_text()) for folder in (matrix, runs)]
        assert facts[0]["loss"] == pytest.approx(facts[1]["loss"], rel=1e-4)
        assert [fact["processes"] for fact in facts] == [1, 2]


def test_a_cell_goes_on_with_nothing_of_another_cell(matrix, data, tmp_path):
    runs = Path(shutil.copytree(matrix, tmp_path / "runs"))
    here, there = (runs / "cells" / "MedDEL" / "20" / f"seed{seed}" for seed in (0, 1))
    for what, message in (
        ("selection", "MedDEL, 20 %, seed 0: .*selection holds a selection with another seed \\(1, expected 0\\)"),
        ("pretraining", "MedDEL, 20 %, seed 0: .*pretraining was begun with another"),
        ("tasks", "MedDEL, 20 %, seed 0: .*tasks/light was scored with another encoder than"),
    ):
        (here / CELL).unlink(missing_ok=True)
        (here / what).rename(tmp_path / "aside")
        shutil.copytree(there / what, here / what)
        with pytest.raises(Mismatch, match=message):
            run(Plan.of(plan_of(data)), runs)
        shutil.rmtree(here / what)
        (tmp_path / "aside").rename(here / what)
    assert run(Plan.of(plan_of(data)), runs).ran == 1
    assert scores(runs) == scores(matrix)


def test_a_gate_that_fails_stops_before_any_selector(data, tmp_path, capsys):
    runs, plan = with_the_gate_passed(tmp_path / "runs", plan_of(data)), plan_of(data)
    shutil.rmtree(runs / "cells")
    planted(runs, Plan.of(plan), full=0.5, untrained=0.5)
    path = written(tmp_path / "plan.yaml", plan)
    assert main(["benchmark", "run", str(path), "--out", str(runs)]) == 3
    out = printed(capsys)
    assert "not passed" in out
    assert "No task passed the gate: on none is it shown that pre-training on the full pool beats no" in out
    assert "No selector was run" in out
    assert sorted(path.name for path in (runs / "cells").iterdir()) == ["full", "untrained"]
    assert json.loads((runs / "gate.json").read_text(encoding="utf-8"))["passed"] == []


@pytest.mark.slow
def test_shards_that_begin_at_once_do_not_take_each_other_for_strangers(data, tmp_path):
    plan = written(tmp_path / "plan.yaml", plan_of(data, arms=[], seeds=1))
    command = [*ALONE, str(plan), "--out", str(tmp_path / "runs"), "--quiet"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    shards = [subprocess.Popen([*command, "--shard", f"{index}/2"], env=env, **pipes) for index in (1, 2)]
    ends = [shard.communicate()[1] for shard in shards]
    assert {shard.returncode for shard in shards} <= {0, 3, 75}, ends
    assert run(Plan.load(plan), tmp_path / "runs").ran == 0
    (tmp_path / "begun").mkdir()
    shutil.copy(tmp_path / "runs" / "pool.parquet", tmp_path / "begun")  # killed before the manifest was written
    assert run(Plan.load(plan), tmp_path / "begun", shard=Shard(2, 2)).ran == 1


def test_another_shards_gate_cells_are_waited_for(data, tmp_path, capsys):
    path = written(tmp_path / "plan.yaml", plan_of(data, arms=[], seeds=1))
    out = ["--out", str(tmp_path / "runs")]
    assert main(["benchmark", "run", str(path), *out, "--shard", "1/2"]) == 75
    assert "1 cell of the gate is still to be finished by other shards" in printed(capsys)
    assert main(["benchmark", "run", str(path), *out, "--shard", "2/2"]) in (0, 3)
    assert "light" in printed(capsys)


def test_the_gate_asks_for_more_than_nothing(data):
    """Right answers of two seeds; by hand: 12 frames, all right against half of them."""
    plan = Plan.of(plan_of(data))
    full, none = [right(1.0)] * 2, [right(0.5)] * 2
    assert gate.verdict(full, none).passed
    assert not gate.verdict(none, full).passed
    assert not gate.verdict(none, none).passed
    assert gate.verdict(full, none).difference == pytest.approx(0.5)
    assert len(gate_cells(plan)) == 4


@pytest.mark.slow
def test_segmentation_frames_are_decoded_once_and_overlays_drawn_when_asked(data, tmp_path):
    masked(tmp_path / "masked", np.random.default_rng(0))
    recipe = {"frozen": True, "epochs": 1, "precision": "float32"}
    task = {"name": "boxes", "kind": "segmentation", "train": str(tmp_path / "masked"), "recipe": recipe}
    plan = plan_of(data, arms=[], seeds=2, tasks=[task])
    assert run(Plan.of(plan), tmp_path / "runs").ran == 4
    kept = sorted(path.parent.name for path in (tmp_path / "runs" / "frames" / "masked").glob("*/frames.npy"))
    assert len(kept) == 2  # of the training part and of the tested one, for four cells
    assert not list((tmp_path / "runs").rglob("overlays.png"))
    pixels = [path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("frames.npy")]
    more = Plan.of({**plan, "seeds": 3, "tasks": [{**task, "overlays": True}]})
    assert run(more, tmp_path / "runs").ran == 2  # a plan that draws is the same benchmark
    assert {path.parents[2].name for path in (tmp_path / "runs").rglob("overlays.png")} == {"seed2"}
    assert [path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("frames.npy")] == pixels


def test_a_plan_may_grow_and_not_change(matrix, data, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(matrix, runs)
    grown = plan_of(data, retentions=[0.1, 0.2, 0.5])
    assert run(Plan.of(grown), runs).ran == 4
    changed = plan_of(data)
    changed["pretraining"]["samples"] = 64
    with pytest.raises(Mismatch, match=r"another pretraining \(samples 32, now 64\)"):
        run(Plan.of(changed), runs)
    changed = plan_of(data)
    changed["pretraining"]["objective"] = "simclr"
    with pytest.raises(Mismatch, match=r"another pretraining \(objective 'mae', now 'simclr'\): cells of both"):
        run(Plan.of(changed), runs)
    changed["pretraining"] |= {"temperature": 0.3, "samples": 64}
    named = r"\(objective 'mae', now 'simclr', samples 32, now 64, temperature 0.1, now 0.3\)"
    with pytest.raises(Mismatch, match=named):
        run(Plan.of(changed), runs)
    arms = [{"label": "MedDEL", "selector": "meddel", "options": {"epsilon": None}}]
    with pytest.raises(Mismatch, match="another arm MedDEL"):
        run(Plan.of(plan_of(data, arms=arms)), runs)


def test_a_dry_run_prints_cells_and_an_estimate_and_writes_nothing(data, tmp_path, capsys):
    path = written(tmp_path / "plan.yaml", plan_of(data))
    assert main(["benchmark", "run", str(path), "--out", str(tmp_path / "runs"), "--dry-run"]) == 0
    out = printed(capsys)
    assert out.count("to run") == 12
    assert "chance, 20 %, seed 1" in out
    assert "10 cells to pre-train, 32 samples each" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.yaml"]


def test_a_dry_run_refuses_what_a_run_would(matrix, data, tmp_path, capsys):
    changed = plan_of(data)
    changed["pretraining"] = {**changed["pretraining"], "learning_rate": 0.5}
    for plan, message in (
        (changed, "was run with another pretraining (learning_rate"),
        (plan_of(data, arms=[{"label": "x", "selector": "nothing"}]), "there is no selector 'nothing'"),
    ):
        path = written(tmp_path / "plan.yaml", plan)
        assert main(["benchmark", "run", str(path), "--out", str(matrix), "--dry-run"]) == 2
        assert message in printed(capsys)


def test_a_new_task_pre_trains_nothing_and_decodes_no_pool(data, tmp_path, capsys):
    plan, runs = plan_of(data, arms=[], seeds=1), tmp_path / "runs"
    assert run(Plan.of(plan), runs).ran == 2
    trained = weights(runs)
    shutil.rmtree(runs / "frames")
    more = {**plan, "tasks": [*plan["tasks"], {**plan["tasks"][0], "name": "again", "method": "knn"}]}
    path = written(tmp_path / "plan.yaml", more)
    assert main(["benchmark", "run", str(path), "--out", str(runs), "--dry-run"]) == 0
    told = printed(capsys)
    assert told.count("pre-trained, to be tested") == 2
    assert "0 cells to pre-train" in told
    assert "2 cells are pre-trained and left to be tested, which comes on top" in told
    assert run(Plan.of(more), runs).ran == 2
    assert weights(runs) == trained
    assert not (runs / "frames").exists()
    assert len(list(runs.glob("cells/*/*/seed0/tasks/again/scores.parquet"))) == 2


def test_frames_that_are_tested_or_leaked_or_listed_are_left_out(data, tmp_path, caplog):
    frames = str(data / "frames")
    everything = plan_of(data, pool=[{"pool": frames}])
    material = Material.of(Plan.of(everything))
    assert len(material.pool) == POOL + 16
    assert set(material.excluded["why"].to_pylist()) == {"tested in light"}
    assert all(id.startswith("test/") for id in material.excluded["id"].to_pylist())
    (tmp_path / "gone.txt").write_text("pool/dark/00  \nelsewhere\n", encoding="utf-8")
    listed = Material.of(Plan.of(plan_of(data, exclude=[str(tmp_path / "gone.txt")])))
    assert listed.excluded.to_pylist() == [{"id": "pool/dark/00", "why": "listed in gone.txt"}]
    (tmp_path / "gone.txt").write_text("elsewhere\nelse\n", encoding="utf-8")
    Material.of(Plan.of(plan_of(data, exclude=[str(tmp_path / "gone.txt")])))
    assert "gone.txt leaves nothing out: none of its 2 ids, such as 'elsewhere', is in the pool, whose" in caplog.text
    copy = tmp_path / "copy"
    shutil.copytree(data / "frames", copy)
    leaks = {"id": ["pool/dark/02", "pool/dark/04"], "in_id": ["test/dark/00", "train/dark/00"]}
    pq.write_table(pa.table(leaks), copy / "leaks.parquet")
    plan = plan_of(data, pool=[{"pool": str(copy), "match": "pool/*"}])
    leaked = Material.of(Plan.of(plan))
    assert leaked.excluded["id"].to_pylist() == ["pool/dark/02"]
    assert leaked.excluded["why"].to_pylist() == ["the same frame as test/dark/00, tested in light"]


def test_frames_of_a_patient_who_is_tested_are_left_out(data, tmp_path):
    """Also where the tested frames themselves do not match the pool's pattern; others of no group stay."""
    copy = tmp_path / "copy"
    shutil.copytree(data / "frames", copy)
    rows = [
        "test/dark/00.png,p1",
        "pool/dark/02.png,p1",
        "pool/light/01.png,p2",
        "train/light/01.png,p2",
        "pool/dark/04.png,",
    ]
    (copy / "metadata.csv").write_text("\n".join(["file_name,group", *rows]))
    material = Material.of(Plan.of(plan_of(data, pool=[{"pool": str(copy), "match": "pool/*"}])))
    assert material.excluded.to_pylist() == [
        {"id": "pool/dark/02", "why": "of the same video or patient (p1) as test/dark/00, tested in light"}
    ]
    assert len(material.pool) == POOL - 1


def test_a_patient_who_is_tested_in_another_data_set_of_the_same_source_is_left_out_too(data, tmp_path):
    """The column patient does where there is no group; a patient of another source is another one."""

    def named(name: str, source: str, rows: list[str]) -> str:
        shutil.copytree(data / "frames", tmp_path / name)
        lines = [f"{row},{source}" for row in rows]
        (tmp_path / name / "metadata.csv").write_text("\n".join(["file_name,patient,source", *lines]))
        return str(tmp_path / name)

    tested = ["test/dark/00.png,p1", "test/light/01.png,p2"]
    for source, gone in (("hospital", ["pool/dark/02"]), ("elsewhere", [])):
        task = {**plan_of(data)["tasks"][0], "labels": named(f"tested {source}", source, tested)}
        pool = named(f"pool beside {source}", "hospital", ["pool/dark/02.png,p1", "pool/light/01.png,p3"])
        material = Material.of(Plan.of(plan_of(data, pool=[{"pool": pool, "match": "pool/*"}], tasks=[task])))
        assert material.excluded["id"].to_pylist() == gone
        groups = {row["id"]: row["group"] for row in material.table().to_pylist()}
        assert groups["pool/light/01"] == "p3"
        assert groups["pool/dark/04"] is None


def test_a_pool_is_known_again_wherever_the_cache_keeps_it(data):
    first, second = (Material.of(Plan.of(plan_of(data))) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert {row["source"] for row in first.table().to_pylist()} == {"frames"}


CASES = [
    ({"pool": []}, "pool is empty"),
    ({"retentions": [5]}, r"fractions in \(0, 1\], got 5.0: divide a percentage by 100"),
    ({"retentions": [0.33333333, 0.33333334]}, "retentions repeat themselves"),  # cells of one folder
    ({"retention": [0.5]}, "unknown key 'retention': expected name, pool"),
    ({"pretraining": {"sample": 3}}, "pretraining has the unknown key 'sample'"),
    ({"pretraining": {"samples": 0}}, "nothing would be learned"),
    ({"pretraining": {"learning_rate": "1e-3"}}, "write 1.0e-3, since YAML takes 1e-3 for text"),
    ({"pretraining": {"image_size": 50}}, "pretraining: image_size 50 is not a multiple"),
    ({"seeds": [0, 0]}, "seeds repeat themselves"),
    ({"seeds": "three"}, "seeds must be a list"),
    ({"arms": [{"label": "a/b", "selector": "random"}]}, "is no name of a folder"),
    ({"arms": [{"label": "full", "selector": "random"}]}, "taken by the gate"),
    ({"arms": [{"label": "x"}]}, r"arms\[0\] lacks selector"),
    ({"embedding": None}, "embedding is missing"),
    (
        {"tasks": [{"name": "x", "kind": "detection"}]},
        "kind must be one of segmentation, probe, instance, scene, labels, got 'detection'",
    ),
    ({"tasks": [{"name": "x", "kind": "probe"}]}, r"tasks\[0\] lacks labels"),
    ({"tasks": [{"name": "x", "kind": "probe", "labels": "y", "train_match": "z"}]}, "add test_match"),
    ({"tasks": [{"name": "x", "kind": "segmentation", "train": "y", "test_share": 0}]}, "nothing to test on"),
]


@pytest.mark.parametrize(("change", "message"), CASES)
def test_a_plan_that_does_not_fit_says_where(data, change, message):
    with pytest.raises(InvalidArgument, match=message):
        Plan.of({**plan_of(data), **change})


def test_what_a_plan_names_is_looked_for_before_any_work(data, tmp_path):
    with pytest.raises(InvalidArgument, match="is not there: expected a plan"):
        Plan.load(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("name: [", encoding="utf-8")
    with pytest.raises(InvalidArgument, match="is not YAML"):
        Plan.load(tmp_path / "bad.yaml")
    for change, message in (
        ({"pool": [{"pool": str(data / "frames"), "match": "x*"}]}, "no id of .* matches 'x"),
        ({"pool": ["./nowhere"]}, "does not exist"),
        ({"pool": [str(data / "frames")] * 2}, r"stands? more than once"),
        ({"pool": [{"pool": str(data / "frames"), "match": "test/*"}]}, "no frame of the pool is left"),
    ):
        with pytest.raises(InvalidDataset, match=message):
            run(Plan.of(plan_of(data, **change)), tmp_path / "runs")
    for arm, message in (
        ({"label": "x", "selector": "nothing"}, "there is no selector 'nothing'"),
        ({"label": "x", "selector": "random", "options": {"eta": 0.5}}, "no option 'eta'"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            run(Plan.of(plan_of(data, arms=[arm])), tmp_path / "runs")
    frames, labels = str(data / "frames"), plan_of(data)["tasks"][0]
    for task, message in (
        ({**labels, "test_match": "test/dark/*"}, "light: test set 'light' holds one class, 'dark'"),
        ({**labels, "train_match": "*"}, "light: 12 frames are in train and in test"),
        ({**labels, "train_match": "train/dark/*"}, "light: the training frames hold one class, 'dark'"),
        ({"name": "masks", "kind": "segmentation", "train": frames}, "masks: .* has no column 'mask'"),
    ):
        with pytest.raises(InvalidDataset, match=message):
            run(Plan.of(plan_of(data, tasks=[task])), tmp_path / "runs")
    with pytest.raises(InvalidArgument, match="light: neighbours must be between 1 and the 16 training rows, got 17"):
        run(Plan.of(plan_of(data, tasks=[{**labels, "method": "knn", "neighbours": 17}])), tmp_path / "runs")
    with pytest.raises(InvalidArgument, match=r"'\./no-encoder' is not a folder"):
        run(Plan.of(plan_of(data, embedding={"encoder": "./no-encoder"})), tmp_path / "runs")
    with pytest.raises(InvalidArgument, match=r"retention 0\.01 of a pool of 30 frames is no frame at all"):
        run(Plan.of(plan_of(data, retentions=[0.01, 0.5])), tmp_path / "runs")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(InvalidArgument, match="holds no benchmark"):
        run(Plan.of(plan_of(data)), tmp_path / "other")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/", "-1/2"])
def test_a_shard_is_i_of_n(text):
    with pytest.raises(InvalidArgument, match="a shard is i/n"):
        Shard.parse(text)


def test_shards_part_the_cells():
    cells = [CellPlan(None, 1.0, seed) for seed in range(7)]
    parts = [Shard.parse(f"{index}/3").part(cells) for index in (1, 2, 3)]
    assert sorted(cell.seed for part in parts for cell in part) == list(range(7))

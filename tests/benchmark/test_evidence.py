"""What a report is made of belongs together: cells, their scores and selections, the gate, one benchmark."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from damage import SMALL
from datasets import Dataset
from make_runs import POOL, make_runs

from meddel_hf.benchmark.pack import pack
from meddel_hf.benchmark.results import Runs, read
from meddel_hf.errors import IncompleteStore, MedDELError, Mismatch
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.records import read_facts, write_facts
from meddel_hf.selection.pictures import draw_duplicates
from meddel_hf.selection.selection import Selection

TRUTH = replace(SMALL, seeds=2, snapshots=0)


@pytest.fixture
def runs(tmp_path) -> Path:
    return make_runs(tmp_path / "runs", TRUTH)


def everything(folder: Path, *, trust: bool = False) -> Runs:
    found = read(folder, trust=trust)
    for cell in found.cells:
        _ = cell.scores, cell.rows
    return found


def changed(cell: Path, **facts: object) -> None:
    write_facts(cell / "cell.json", {**read_facts(cell / "cell.json", ""), **facts})


def test_a_sound_folder_is_read(runs):
    assert len(everything(runs).cells) == 8


def test_scores_of_another_cell_are_told(runs):
    one, other = (runs / f"cells/{arm}/20/seed0/tasks/polyps/scores.parquet" for arm in ("random", "better"))
    shutil.copy(other, one)
    with pytest.raises(IncompleteStore, match=r"random/20/seed0/tasks/polyps/scores\.parquet") as told:
        everything(runs)
    assert "meddel benchmark run" in str(told.value)


def test_scores_that_no_cell_records_do_not_count(runs):
    shutil.copytree(runs / "cells/better/20/seed0/tasks/polyps", runs / "cells/better/20/seed0/tasks/guessed")
    assert {task for cell in everything(runs).cells for task in cell.scores} == {"polyps", "classes"}


def test_the_selection_of_another_cell_is_told(runs):
    here = runs / "cells/random/20/seed0/selection"
    shutil.rmtree(here)
    shutil.copytree(runs / "cells/random/20/seed1/selection", here)
    with pytest.raises(Mismatch, match=r"seed0/selection is not the selection that .*cell\.json was made from"):
        read(runs)


@pytest.mark.parametrize("place", ["random/20/seed1", "random/50/seed0", "better/20/seed0"])
def test_a_cell_in_the_place_of_another_is_told(place, runs):
    shutil.rmtree(runs / "cells" / place, ignore_errors=True)
    shutil.copytree(runs / "cells/random/20/seed0", runs / "cells" / place)
    with pytest.raises(Mismatch, match=rf"{place}/cell\.json is that of random, 20 %, seed 0"):
        read(runs)


def test_a_cell_of_another_benchmark_is_told(runs, tmp_path):
    other = make_runs(tmp_path / "other", TRUTH)
    manifest = Manifest.read(other)
    for change in ({"arguments": {"pretraining": {"samples": 7}}}, {"parents": {"pool": "1" * 32}}):
        replace(manifest, **change).write(other)
        with pytest.raises(Mismatch, match=r"cell\.json is of another benchmark than .*other/manifest\.json"):
            read(other)


def test_a_cell_that_was_tested_on_other_frames_is_told(runs):
    manifest = Manifest.read(runs)
    replace(manifest, details={**manifest.details, "tasks": {"polyps": "a"}}).write(runs)
    changed(runs / "cells/random/20/seed0", tasks={"polyps": "a"})
    read(runs)
    changed(runs / "cells/random/20/seed0", tasks={"polyps": "b"})
    with pytest.raises(Mismatch, match="was tested on other frames in task 'polyps'"):
        read(runs)


def test_selectors_that_saw_other_embeddings_are_told(runs):
    for arm, store in (("random", "s" * 32), ("better", "t" * 32)):
        cell = runs / f"cells/{arm}/20/seed0"
        changed(cell, parents={**read_facts(cell / "cell.json", "")["parents"], "embeddings": store})
    with pytest.raises(Mismatch, match="were selected by different embeddings"):
        read(runs)


def test_a_gate_that_was_decided_by_other_scores_is_told(runs, tmp_path):
    cell = "cells/full/100/seed0"
    other = make_runs(tmp_path / "other", replace(TRUTH, noise=0.03))
    shutil.copytree(other / cell, runs / cell, dirs_exist_ok=True)
    with pytest.raises(IncompleteStore, match=r"it is not what .*gate\.json was decided by"):
        read(runs)
    (runs / "gate.json").write_text("{}", encoding="utf-8")
    with pytest.raises(IncompleteStore, match=r"gate\.json"):
        read(runs)
    (runs / "gate.json").unlink()
    assert everything(runs).verdicts is None


def test_cells_without_the_benchmark_that_they_are_of_are_told(runs):
    (runs / "manifest.json").unlink()
    with pytest.raises(IncompleteStore, match=r"has lost its manifest\.json"):
        read(runs)


def test_trust_compares_sizes(runs):
    path = runs / "cells/random/20/seed0/selection/rows.parquet"
    sound = path.read_bytes()
    data = bytearray(sound)
    data[30] ^= 1
    path.write_bytes(data)
    with pytest.raises(IncompleteStore, match=r"rows\.parquet changed"):
        everything(runs)
    path.write_bytes(sound[:-1])
    with pytest.raises(IncompleteStore, match=r"rows\.parquet has .* bytes, expected"):
        everything(runs, trust=True)


def test_a_pack_holds_records_of_what_it_holds_and_nothing_damaged(runs, tmp_path):
    pack(runs, tmp_path / "evidence.tar.xz")
    with tarfile.open(tmp_path / "evidence.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    whole, packed = everything(runs), everything(tmp_path / "evidence")
    for one, other in zip(whole.cells, packed.cells, strict=True):
        assert (one.place, one.facts) == (other.place, other.facts)
        assert one.rows is None or one.rows.equals(other.rows)
    damaged = next((tmp_path / "evidence").glob("cells/random/*/*/selection/rows.parquet"))
    data = bytearray(damaged.read_bytes())
    data[40] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(IncompleteStore, match=r"rows\.parquet changed"):
        everything(tmp_path / "evidence")
    with pytest.raises(MedDELError, match=r"rows\.parquet changed"):
        pack(tmp_path / "evidence", tmp_path / "again.tar.xz")


def test_a_pack_is_reported_with_a_pool_too(runs, tmp_path):
    """It does not say whose near-duplicates its frames are: there is nothing to draw, and no error."""
    pack(runs, tmp_path / "evidence.tar.xz")
    with tarfile.open(tmp_path / "evidence.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    pool = Dataset.from_dict({"id": POOL, "image": [None] * len(POOL)})
    packed = Selection.load(tmp_path / "evidence" / "cells/better/20/seed0/selection")
    assert packed.summary.near_duplicates
    assert not draw_duplicates(packed, pool, tmp_path / "sheet.png")

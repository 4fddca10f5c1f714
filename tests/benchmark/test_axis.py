"""A plan over redundancies, run: pools of the same size with the near-copies that were asked for, each its own runs."""

from __future__ import annotations

import json

import pytest
from make_archives import picture
from small_benchmark import make_data, plan_of, printed, written

from meddel_hf.benchmark.axis import recorded
from meddel_hf.benchmark.plan import Plan
from meddel_hf.benchmark.results import read
from meddel_hf.cli import main
from meddel_hf.data.pool import load_pool
from meddel_hf.errors import InvalidArgument


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = make_data(tmp_path_factory.mktemp("data"))
    for row in range(100, 190):  # near-copies are made of 60 frames
        picture(row).resize((40, 32)).save(folder / "frames" / "pool" / "dark" / f"{row}.png")
    return folder


def test_a_plan_is_run_on_a_pool_of_each_redundancy(data, tmp_path, capsys):
    plan = plan_of(data, redundancy=[0, 0.7], seeds=1, arms=[], retentions=[1.0])
    del plan["embedding"]
    file, runs = written(tmp_path / "plan.yaml", plan), tmp_path / "runs"
    assert main(["benchmark", "run", str(file), "--out", str(runs), "--dry-run"]) == 0
    assert not runs.exists()
    assert "4 cells" not in printed(capsys)  # two of the four are not pre-trained
    assert main(["benchmark", "run", str(file), "--out", str(runs), "--quiet"]) in (0, 3)
    said = printed(capsys)
    assert "## the pool as it is" in said
    assert "## 70 % of the pool are near-copies" in said
    assert recorded(runs) == {0.0: runs / "redundancy-0", 0.7: runs / "redundancy-70"}
    ids = load_pool(str(runs / "pools" / "70"))["id"][:]
    scenes = [id.split("/")[0] for id in ids]
    assert len(ids) == 120  # as many as the pool has
    assert len(set(scenes)) == 60 + 36
    for level in ("redundancy-0", "redundancy-70"):
        assert {cell.place.words for cell in read(runs / level).cells} == {
            "full, 100 %, seed 0",
            "untrained, 0 %, seed 0",
        }
        assert json.loads((runs / level / "manifest.json").read_text())["details"]["pool_frames"] == 120
    before = (runs / "redundancy-70" / "cells" / "full" / "100" / "seed0" / "cell.json").stat().st_mtime_ns
    assert main(["benchmark", "run", str(file), "--out", str(runs), "--quiet"]) in (0, 3)
    assert (runs / "redundancy-70" / "cells" / "full" / "100" / "seed0" / "cell.json").stat().st_mtime_ns == before
    assert main(["report", str(runs), "--out", str(tmp_path / "report"), "--draws", "50"]) == 0
    assert (tmp_path / "report" / "redundancy-70" / "report.html").is_file()
    assert main(["benchmark", "pack", str(runs), "--out", str(tmp_path / "all.tar.xz")]) == 2
    assert f"pack each by itself, {runs}/redundancy-0, {runs}/redundancy-70" in printed(capsys)
    other = written(tmp_path / "other.yaml", {**plan, "name": "another"})
    assert main(["benchmark", "run", str(other), "--out", str(runs), "--quiet"]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert (
        "runs holds the redundancy axis of the plan 'toy', expected that of 'another': give another folder" in message
    )


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_redundancy_of_too_few_frames_is_told_before_the_first_level(data, tmp_path, capsys, more):
    plan = plan_of(data, redundancy=[0, 0.4], seeds=1, arms=[], retentions=[1.0])  # 48 of 120 frames
    file, runs = written(tmp_path / "plan.yaml", plan), tmp_path / "runs"
    assert main(["benchmark", "run", str(file), "--out", str(runs), "--quiet", *more]) == 2
    assert "a redundancy of 0.4 of 120 frames is 48 near-copies" in printed(capsys)
    assert not (runs / "redundancy-0").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"redundancy": [1.0]}, r"redundancy is shares of near-copies from 0 to below 1, such as 0\.8; got 1\.0"),
        ({"redundancy": [0.5, 0.5]}, r"redundancy repeat themselves"),
        ({"redundancy": [0.33333333, 0.33333334]}, r"redundancy repeat themselves"),  # folders of one name
        ({"redundancy": ["much"]}, r"redundancy\[0\] must be a number"),
    ],
)
def test_redundancies_that_are_none_are_refused(change, message, tmp_path):
    with pytest.raises(InvalidArgument, match=message):
        Plan.of(plan_of(tmp_path, **change))

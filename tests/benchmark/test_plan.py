"""Plans whose data, selectors or gates do not fit: the place in the file is told, before any work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from datasets import Dataset, Features, Image, Value
from make_archives import picture
from small_benchmark import make_data, plan_of, written

from meddel_hf.cli import main


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


PROBE = {"name": "p", "kind": "probe", "labels": "{frames}", "target": "folder", "test_match": "test/*"}
MASKED = {"name": "m", "kind": "segmentation", "train": "{masked}", "test_share": 0.5, "split": "seeded"}
CHOSEN = {"name": "c", "kind": "labels", "labels": "{frames}", "target": "folder", "budgets": [4]}
PLACES = [
    ({"labels": "./nowhere"}, PROBE, "tasks[1], p: labels: ./nowhere does not exist"),
    ({"target": "labl"}, PROBE, "tasks[1], p: target: the data set has no column 'labl'; it has "),
    ({"test_match": "*[89a-f].jpg"}, PROBE, "tasks[1], p: test_match: no id matches '*[89a-f].jpg': ids look like "),
    ({"train_match": "trian/*"}, PROBE, "tasks[1], p: train_match: no id matches 'trian/*': ids look like "),
    ({"test_match": None, "split": "official"}, PROBE, "tasks[1], p: split: no official split"),
    ({"test_match": "*"}, PROBE, "tasks[1], p: no frame is in train"),
    ({"train": "{frames}"}, MASKED, "tasks[1], m: train: {frames} has no column 'mask'"),
    ({"split": "official"}, MASKED, "tasks[1], m: split: no official split"),
    ({"test": {"far": "./nowhere"}}, MASKED, "tasks[1], m: test.far: ./nowhere does not exist"),
    ({"test": {"far": "{frames}"}}, MASKED, "tasks[1], m: test.far: {frames} has no column 'mask'"),
    ({}, {"name": "i", "kind": "instance", "frames": "./nowhere"}, "tasks[1], i: frames: ./nowhere does not exist"),
    ({}, {"name": "i", "kind": "instance", "frames": "{frames}", "match": "x*"}, "tasks[1], i: match: no id of "),
    ({}, {"name": "s", "kind": "scene", "frames": "{frames}", "group": "patient"}, "tasks[1], s: group: {frames} has"),
    ({}, {"name": "s", "kind": "scene", "frames": "{masked}", "group": "id"}, "tasks[1], s: group: 0 of 4 groups hold"),
    ({"labels": "./nowhere"}, CHOSEN, "tasks[1], c: labels: ./nowhere does not exist"),
    ({"target": "labl"}, CHOSEN, "tasks[1], c: target: the data set has no column 'labl'; it has "),
    ({"rarest": 1000}, CHOSEN, "tasks[1], c: target: 0 frames of 0 classes with at least 1,000: expected two classes"),
    ({"masks": True}, CHOSEN, "tasks[1], c: labels: {frames} has no column 'mask'"),
]  # fmt: skip


@pytest.fixture(scope="module")
def masked(tmp_path_factory) -> Path:
    """Four frames with masks."""
    folder = tmp_path_factory.mktemp("masked")
    image, mask = picture(1).resize((24, 24)), picture(2).convert("L").point(lambda v: 255 * (v > 128)).resize((24, 24))
    rows = {"id": list("abcd"), "image": [image] * 4, "mask": [mask] * 4}
    Dataset.from_dict(rows, Features(id=Value("string"), image=Image(), mask=Image())).to_parquet(folder / "m.parquet")
    return folder


@pytest.mark.parametrize(("change", "task", "message"), PLACES)
def test_what_is_wrong_with_the_data_of_a_task_begins_with_its_place_in_the_file(
    change, task, message, data, masked, tmp_path, capsys
):
    def filled(value):
        if isinstance(value, dict):
            return {key: filled(one) for key, one in value.items()}
        return value.format(frames=data / "frames", masked=masked) if isinstance(value, str) else value

    sound = plan_of(data)["tasks"][0]
    path = written(tmp_path / "plan.yaml", plan_of(data, tasks=[sound, filled({**task, **change})]))
    assert main(["benchmark", "run", str(path), "--out", str(tmp_path / "runs"), "--dry-run"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {path}: {filled(message)}")
    assert "--" not in told
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pool": ["{frames}", "./nowhere"]}, "pool[1]: ./nowhere does not exist"),
        ({"pool": [{"pool": "{frames}", "match": "x*"}]}, "pool[0]: match: no id of {frames} matches 'x*': ids look"),
        ({"pool": ["{frames}", "{frames}"]}, "pool: ids must be unique"),
        ({"exclude": ["none.txt"]}, "exclude[0]: none.txt is not there: expected a file of ids, one a line"),
        ({"embedding": {"encoder": "./none"}}, "embedding: encoder './none' is not a folder"),
        ({"retentions": [0.01]}, "retentions: retention 0.01 of a pool of 30 frames is no frame at all"),
        ({"redundancy": [0.1]}, "redundancy: "),
        ({"arms": [{"label": "x", "selector": "medel"}], "pool": ["./nowhere"]},
         "arms[0], x: there is no selector 'medel'; there are "),
        ({"arms": [{"label": "x", "selector": "random", "options": {"eta": 1}}], "pool": ["./nowhere"]},
         "arms[0], x: selector 'random' has no option 'eta'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_what_else_a_plan_names_begins_with_its_place(change, message, data, tmp_path, capsys):
    plan = yaml.safe_load(yaml.safe_dump(plan_of(data, **change)).replace("{frames}", str(data / "frames")))
    path = written(tmp_path / "plan.yaml", plan)
    assert main(["benchmark", "run", str(path), "--out", str(tmp_path / "runs"), "--dry-run"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {path}: {message.format(frames=data / 'frames')}")


@pytest.mark.parametrize(
    ("change", "message"),
    [({"gates": []}, "gates is empty"), ({"arms": [{"label": "x", "selector": "medel"}]}, "no selector 'medel'")],
)
def test_what_the_file_alone_tells_is_told_before_what_takes_seconds_to_import(change, message, tmp_path):
    """The other plan names folders that are not there, and nobody looks."""
    path = written(tmp_path / "plan.yaml", plan_of(tmp_path, **change))
    asked = ["benchmark", "run", str(path), "--dry-run"]
    code = f"import sys, meddel_hf.cli as cli\nprint(cli.main({asked!r}), *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, *loaded = done.stdout.split()
    assert (status, message in done.stderr) == ("2", True)
    assert not set(loaded) & {"torch", "numpy", "datasets", "transformers", "accelerate", "pyarrow", "scipy"}

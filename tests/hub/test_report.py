"""A report on the Hub: pushed by the real client, tables opened by `load_dataset`, no path of this machine in it."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from conftest import HubSession
from make_runs import PROBE, Task, Truth, make_runs

from meddel_hf.errors import IncompleteStore, InvalidArgument
from meddel_hf.hub.push import push
from meddel_hf.report.build import report
from meddel_hf.report.findings import Draws
from meddel_hf.runtime.manifest import Manifest

MEDDEL = [sys.executable, "-m", "meddel_hf"]
SECRET = "/home/anna smith/ward seven"
TRUTH = Truth(
    arms={"random": "random", "NA": "dedup"},
    effects={"NA": {0.05: 0.06}},
    tasks={"findings": Task(PROBE, {"findings": 60}, 0.7)},
    retentions=(0.05,),
)
PLAN = {
    "pool": [{"pool": f"{SECRET}/frames:all@train", "match": "/C1/*"}, {"pool": "pools/here", "match": None}],
    "embedding": {"encoder": "~/ward seven/vit", "pooling": "cls"},
}
TYPED = f"meddel benchmark run '{SECRET}/plan.yaml' --out runs"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ward seven")
    runs = make_runs(folder / "runs", TRUTH, more=PLAN, typed=TYPED)
    command = f"meddel report '{folder}/runs' --out='{folder}/out'"
    return report(runs, folder / "out", draws=Draws(draws=200), command=command).page.parent


@pytest.fixture(scope="module")
def hub(written, hub_of_file) -> HubSession:
    """A Hub to which the report was pushed, over an earlier one and beside what is not ours."""
    hub_of_file.run(
        "from huggingface_hub import HfApi\n"
        "api = HfApi(); api.create_repo('me/kept', repo_type='dataset')\n"
        "for name in ('tables/older.csv', 'redundancy-80/report.html', 'notes.txt'):\n"
        "    api.upload_file(path_or_fileobj=b'a,b', path_in_repo=name, repo_id='me/kept', repo_type='dataset')"
    )
    said = hub_of_file.call([*MEDDEL, "push", str(written), "me/kept", "--license", "cc-by-4.0"])
    assert f"{hub_of_file.endpoint}/datasets/me/kept" in said
    return hub_of_file


def test_the_report_is_there_and_what_an_earlier_push_left_is_not(written, hub: HubSession):
    files = {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()}
    there = set(hub.files("me/kept", "dataset")) - {".gitattributes"}
    assert there == files - {"report.md"} | {"README.md", "notes.txt"}


def test_the_card_is_the_report_and_its_tables_are_opened(written, hub: HubSession):
    card = hub.read("me/kept", "README.md", "dataset").decode()
    _, front, text = card.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["license"] == "cc-by-4.0"
    body = (written / "report.md").read_text(encoding="utf-8")
    assert text.strip().startswith(body.partition("\n")[0])
    assert body.partition("\n")[2] in text
    expected = {}
    for path in sorted((written / "tables").iterdir()):
        with path.open(encoding="utf-8") as file:
            columns, *rows = csv.reader(file)
        expected |= {path.stem: [len(rows), columns, rows]} if rows else {}
    assert len(expected) > 3
    assert any("NA" in row for _, _, rows in expected.values() for row in rows), "an arm of that name"
    assert [config["config_name"] for config in facts["configs"]] == list(expected)
    code = "import json; from datasets import load_dataset\n"
    code += f"opened = [load_dataset('me/kept', name, split='train') for name in {list(expected)}]\n"
    code += "print(json.dumps([[table.num_rows, table.column_names, table.to_list()] for table in opened]))"
    for (count, columns, rows), (wanted, names, there) in zip(
        json.loads(hub.run(code)), expected.values(), strict=True
    ):
        assert (count, columns) == (wanted, names)
        for row, cells in zip(rows, there, strict=True):
            texts = {name: cell or None for name, cell in zip(names, cells, strict=True)}
            assert {name: value for name, value in row.items() if isinstance(value, str | None)} == {
                name: texts[name] for name, value in row.items() if isinstance(value, str | None)
            }
    assert f'load_dataset("me/kept", "{next(iter(expected))}", split="train")' in card


def test_no_path_of_this_machine_is_in_it(hub: HubSession):
    everything = {name: hub.read("me/kept", name, "dataset") for name in hub.files("me/kept", "dataset")}
    for name, data in everything.items():
        assert b"ward seven" not in data, name
        assert b"anna" not in data, name
    card = everything["README.md"].decode()
    (plan,) = [block for block in card.split("```")[1::2] if "retentions" in block]
    read = yaml.safe_load(plan.strip())
    assert [pool["pool"] for pool in read["pool"]] == ["frames:all@train", "pools/here"]
    assert read["pool"][0]["match"] == "/C1/*", "a pattern is no path"
    assert read["embedding"]["encoder"] == "vit"
    assert "meddel benchmark run plan.yaml --out runs" in card


@pytest.mark.parametrize(
    ("shows", "sentence"),
    [
        (["frames"], "shows frames, in contact sheets: write the report again without --pool"),
        (["names of videos or patients"], "shows names of videos or patients"),
        (None, "was written by an earlier version, which printed local paths: write it again"),
    ],
)
def test_what_not_everybody_may_see_is_not_published(shows, sentence, written, tmp_path):
    copy = Path(shutil.copytree(written, tmp_path / "report"))
    manifest = Manifest.read(copy, "report")
    assert manifest.details.pop("shows") == []
    manifest.details.update({} if shows is None else {"shows": shows})
    manifest.write(copy, list(manifest.files))
    with pytest.raises(InvalidArgument, match=sentence):
        push(copy, "me/kept")
    (copy / "report.html").write_text("other")
    with pytest.raises(IncompleteStore):
        push(copy, "me/kept")


def test_options_about_frames_are_refused(written):
    with pytest.raises(InvalidArgument, match="holds a report, no frames and no ids"):
        push(written, "me/kept", strip_metadata=True)

"""Every way of loading the metric: installed, as a Space over HTTP, from its card; and the Space's page."""

from __future__ import annotations

import json
import math
import os
import re
import runpy
from pathlib import Path

import pytest

from meddel_hf.errors import InvalidArgument
from meddel_hf.hub.metric import install_metric, push_metric

ROOT = Path(__file__).parents[2]
METRIC = ROOT / "metrics" / "normdel"

ANY_FOLDER = """
import evaluate, json
scores = evaluate.load("normdel").compute(performance=[0.7545], retention=[0.05])
masks = evaluate.load("normdel", "segmentation").compute(
    predictions=[[[0, 1], [0, 0]]], references=[[[0, 1], [0, 1]]], retention=0.05
)
print(json.dumps([scores, masks]))
"""


def check(printed):
    scores, masks = json.loads(printed.splitlines()[-1])
    assert round(100 * scores["normdel"], 2) == 67.21  # Table 3
    assert masks["miou"] == 0.5
    assert masks["normdel"] == pytest.approx(1 / (1 + math.exp(-0.5 * math.exp(-0.05))))


INSTALL = "from meddel_hf.hub.metric import install_metric; print(install_metric())\n"


MISSING = """
import evaluate
try:
    evaluate.load("normdel")
except FileNotFoundError as error:
    print("missing:", error)
"""


@pytest.mark.slow
def test_the_bare_name_answers_in_any_folder_once_installed(hub, tmp_path):
    missing, installed, *printed = hub.run(MISSING + INSTALL + ANY_FOLDER).splitlines()
    assert missing.startswith("missing:")
    assert Path(installed).is_relative_to(hub.env["HF_HOME"])
    check("\n".join(printed))
    hub.requests.clear()
    check(hub.run(ANY_FOLDER, cwd=tmp_path, HF_EVALUATE_OFFLINE="1"))
    assert hub.requests == []


@pytest.mark.slow
def test_the_install_follows_the_cache_variable_of_evaluate(hub, tmp_path):
    printed = hub.run(INSTALL + ANY_FOLDER, HF_MODULES_CACHE=str(tmp_path / "elsewhere"), HF_EVALUATE_OFFLINE="1")
    assert Path(printed.splitlines()[0]).is_relative_to(tmp_path / "elsewhere")
    check(printed)


def test_installing_again_repairs_but_changes_nothing_that_is_whole(tmp_path):
    path = install_metric(tmp_path)
    inode = path.with_name("miou.py").stat().st_ino
    older = path.parent.parent / ("0" * 64)
    older.mkdir()
    (older / "normdel.py").write_text("raise RuntimeError('an older version')\n")
    os.utime(path, (1, 1))
    assert install_metric(tmp_path) == path
    assert path.with_name("miou.py").stat().st_ino == inode
    assert path.stat().st_mtime >= (older / "normdel.py").stat().st_mtime
    path.with_name("miou.py").write_text("half a fi")
    assert install_metric(tmp_path) == path
    assert path.with_name("miou.py").read_bytes() == (METRIC / "miou.py").read_bytes()
    assert not [file for file in path.parent.parent.iterdir() if file.suffix in (".part", ".old")]


def test_the_installed_files_are_all_that_the_metric_imports(tmp_path):
    from evaluate.loading import get_imports

    siblings = {name for kind, name, _, _ in get_imports(str(METRIC / "normdel.py")) if kind == "internal"}
    installed = {file.stem for file in install_metric(tmp_path).parent.glob("*.py")} - {"__init__", "normdel"}
    assert installed == siblings
    for name in siblings:  # evaluate does not follow imports of imports
        imported = {name for kind, name, _, _ in get_imports(str(METRIC / f"{name}.py")) if kind == "internal"}
        assert imported <= siblings


PUSH = "from meddel_hf.hub.metric import push_metric; print(push_metric('user/normdel'))"


@pytest.mark.slow
def test_a_space_serves_the_metric_over_http(hub):
    assert hub.run(PUSH).strip() == f"{hub.endpoint}/spaces/user/normdel"
    assert hub.server.storage.repo("space", "user/normdel").request["sdk"] == "gradio"
    pushed = {"README.md", "app.py", "formula.py", "miou.py", "normdel.py", "requirements.txt"}
    assert set(hub.files("user/normdel", "space")) == pushed | {".gitattributes"}
    for name in pushed:
        assert hub.read("user/normdel", name, "space") == (METRIC / name).read_bytes()
    hub.requests.clear()
    check(
        hub.run(
            ANY_FOLDER.replace('"normdel"', '"user/normdel"', 2).replace('scores["user/normdel"]', 'scores["normdel"]')
        )
    )
    assert any(line.startswith("GET /spaces/user/normdel/resolve/main/formula.py") for line in hub.requests)
    assert hub.run(PUSH).strip() == f"{hub.endpoint}/spaces/user/normdel"  # pushing again is no error


@pytest.mark.parametrize("name", ["normdel", "user/metric", "user/a/normdel", "/normdel"])
def test_a_space_of_another_name_is_refused_before_anything_is_sent(name):
    with pytest.raises(InvalidArgument, match="expected '<user>/normdel'"):
        push_metric(name)


CARD_AND_DOCSTRINGS = """
import doctest, evaluate
failed, tried = doctest.testfile("{card}", module_relative=False)
assert failed == 0 and tried > 15, (failed, tried)
for config in (None, "segmentation"):
    metric = evaluate.load("normdel", config)
    runner = doctest.DocTestRunner()
    runner.run(doctest.DocTestParser().get_doctest(metric.inputs_description, {{}}, str(config), None, 0))
    assert runner.failures == 0 and runner.tries > 2, (runner.failures, runner.tries)
    assert metric.inputs_description in metric.compute.__doc__ and metric.name == "normdel"
"""


def test_the_metric_card_and_the_docstrings_of_both_configs_run_as_printed(hub, tmp_path):
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", (METRIC / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert {language for language, _ in fences} == {"python", "bibtex"}
    card = tmp_path / "card.txt"
    card.write_text("\n".join(code for language, code in fences if language == "python"))
    hub.run(PUSH)
    hub.run(CARD_AND_DOCSTRINGS.format(card=card), cwd=ROOT)


def test_the_metric_card_has_the_front_matter_of_a_space():
    front = (METRIC / "README.md").read_text(encoding="utf-8").split("---\n")[1].splitlines()
    assert {"title: NormDEL", "sdk: gradio", "app_file: app.py", "tags:", "- evaluate", "- metric"} <= set(front)


def test_the_figures_of_the_card_are_the_formulas():
    card = (METRIC / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", card, re.MULTILINE)
    assert [float(alpha) for alpha, *_ in rows] == [0.5, 1, 2]
    for alpha, few, all_data in rows:
        for value, performance, retention in ((few, 0.7545, 0.05), (all_data, 0.7602, 1.0)):
            index = performance * math.exp(-float(alpha) * retention)
            assert float(value) == pytest.approx(100 / (1 + math.exp(-index)), abs=0.005)
    assert "2.59" in card
    assert math.exp(0.95) == pytest.approx(2.59, abs=0.005)
    assert 0.7602 / math.exp(0.95) == pytest.approx(0.294, abs=0.0005)


def test_the_page_of_the_space_computes_and_shows_errors():
    gradio = pytest.importorskip("gradio", reason="the Space installs gradio; the library does not")
    namespace = runpy.run_path(str(METRIC / "app.py"), run_name="app")
    assert round(100 * namespace["score"](0.7545, 0.05, 1.0)["normdel"], 2) == 67.21
    with pytest.raises(gradio.Error, match="divide a percentage"):
        namespace["score"](75.45, 0.05, 1.0)

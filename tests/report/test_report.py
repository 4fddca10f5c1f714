"""The report: its numbers against plain numpy, what it says of planted truths, and the page as a browser takes it."""

from __future__ import annotations

import csv
import doctest
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from make_runs import POOL, PROBE, SEG, SOURCES, Task, Truth, make_runs
from normdel import normdel
from PIL import Image

from meddel_hf.benchmark.evidence import of_scores
from meddel_hf.benchmark.results import read
from meddel_hf.cli import main
from meddel_hf.errors import IncompleteStore, InvalidArgument, Mismatch
from meddel_hf.report.build import Written, report
from meddel_hf.report.contents import contents
from meddel_hf.report.document import Document
from meddel_hf.report.figures.drawing import spread
from meddel_hf.report.findings import Draws, findings
from meddel_hf.report.pages.markdown import markdown
from meddel_hf.report.sections.answer import headline
from meddel_hf.report.sections.limits import break_even, crossing
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.records import read_facts, write_facts

HOSTILE = '<script>alert(1)</script>&"$x_1$|`*'
DRAWS = Draws(draws=200)
SMALL = Truth(
    arms={"random": "random", "better": "meddel", "same": "semdedup"},
    effects={"better": {0.05: 0.05, 0.2: 0.05}},
    tasks={
        "polyps": Task(SEG, {"polyps": 60, "others": 40}),
        "classes": Task(PROBE, {"classes": 90}, 0.7),
        "nothing": Task(SEG, {"nothing": 30}, 0.3, untrained=0.0),
    },
    retentions=(0.05, 0.2),
    snapshots=2,
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_runs(tmp_path_factory.mktemp("made") / "runs", SMALL)


@pytest.fixture(scope="module")
def written(runs: Path) -> Written:
    return report(runs, runs.parent / "report", draws=DRAWS, command="meddel report runs")


class Page(HTMLParser):
    """A page as a parser sees it: tags with their attributes, the text of each element, ids of sections."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    @property
    def text(self) -> str:
        return "".join(data for tag, data in self.texts if tag not in ("style", "script")).replace("\xa0", " ")


def table(written: Written, name: str) -> list[dict[str, str]]:
    with (written.page.parent / "tables" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def only(rows: list[dict[str, str]], **wanted: object) -> dict[str, str]:
    found = [row for row in rows if all(row[key] == str(value) for key, value in wanted.items())]
    assert len(found) == 1, f"{len(found)} rows with {wanted}"
    return found[0]


@dataclass(frozen=True)
class Said:
    """What a report says, without its figures, which take most of the time: the Markdown, unescaped, and the tables."""

    text: str
    headline: str
    document: Document

    def table(self, name: str) -> list[dict[str, str]]:
        data = next(data for data in self.document.data if data.name == name)
        return [dict(zip(data.columns, map(str, row), strict=True)) for row in data.rows]


def said(folder: Path) -> Said:
    found = findings(read(folder), DRAWS)
    document = contents(found, None, folder, "")
    return Said(re.sub(r"\\(.)", r"\1", markdown(document)), headline(found), document)


def frames(runs: Path, arm: str, percent: str, task: str, set: str) -> list[dict[str, list]]:
    """Columns of a cell's scores, seed by seed, read without the package."""
    found = []
    for seed in sorted((runs / "cells" / arm / percent).glob("seed*")):
        rows = pq.read_table(seed / "tasks" / task / "scores.parquet").to_pylist()
        rows = [row for row in rows if row["set"] == set]
        found.append({key: [row[key] for row in rows] for key in rows[0]})
    return found


MEASURES: dict[str, Callable[[dict[str, list]], float]] = {
    "miou": lambda c: float(np.mean(c["score"])),
    "miou-set": lambda c: float(np.sum(c["intersection"]) / np.sum(c["union"])),
    "dice": lambda c: float(
        np.mean([2 * i[0] / (i[0] + u[0]) for i, u in zip(c["intersection"], c["union"], strict=True)])
    ),
}


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("set", ["polyps", "others"])
def test_a_score_is_the_mean_over_seeds_and_normdel_follows_from_it(runs, written, measure, set):
    score = np.mean([MEASURES[measure](c) for c in frames(runs, "better", "5", "polyps", set)])
    row = only(table(written, "scores"), task="polyps", set=set, arm="better", retention=0.05, measure=measure)
    assert float(row["score"]) == pytest.approx(score, abs=1e-9)
    assert float(row["normdel"]) == pytest.approx(1 / (1 + np.exp(-score * np.exp(-0.05))), abs=1e-9)
    assert float(row["low"]) <= score <= float(row["high"])
    assert (row["seeds"], row["frames"]) == ("3", str(SMALL.tasks["polyps"].sets[set]))


def test_balanced_accuracy_is_the_mean_over_classes(runs, written):
    each = []
    for c in frames(runs, "random", "20", "classes", "classes"):
        labels, right = np.array(c["label"]), np.array(c["score"])
        each.append(np.mean([right[labels == label].mean() for label in "abc"]))
    row = only(table(written, "scores"), task="classes", arm="random", retention=0.2, measure="balanced-accuracy")
    assert float(row["score"]) == pytest.approx(np.mean(each), abs=1e-6)


def test_the_shown_table_has_the_same_number(runs, written):
    score = np.mean([MEASURES["miou"](c) for c in frames(runs, "same", "20", "polyps", "polyps")])
    text = Page(written.page.read_text(encoding="utf-8")).text
    shown = text[text.index("polyps on polyps", text.index("Scores and NormDEL")) :]
    assert f"{score:.3f}" in shown
    assert f"ND {1 / (1 + np.exp(-score * np.exp(-0.2))):.3f}" in shown


def test_a_difference_is_that_of_the_means(runs, written):
    a, b = (
        np.mean([MEASURES["miou"](c) for c in frames(runs, arm, "5", "polyps", "polyps")])
        for arm in ("better", "random")
    )
    row = only(
        table(written, "differences"), task="polyps", set="polyps", arm="better", retention=0.05, against="random"
    )
    assert float(row["difference"]) == pytest.approx(a - b, abs=1e-9)


def test_a_planted_difference_is_shown_and_none_where_none_was_planted(written):
    rows = [row for row in table(written, "differences") if row["against"] == "random" and row["task"] == "polyps"]
    assert {row["shown"] for row in rows if row["arm"] == "better"} == {"True"}
    same = [row for row in rows if row["arm"] == "same"]
    assert sum(row["shown"] == "True" for row in same) <= 1  # 1 of 4 may by chance
    point = [
        line for line in (written.page.parent / "report.md").read_text().splitlines() if "Higher than random" in line
    ]
    assert "better at 5 % +0.0" in point[0]


def test_a_task_that_failed_the_gate_is_shown_but_not_ranked(written):
    text = Page(written.page.read_text(encoding="utf-8")).text
    assert "pre-training itself is not shown to help here, so selectors cannot be compared" in text
    assert "Did not pass the gate: shown, not ranked." in text
    assert {row["gate_passed"] for row in table(written, "differences") if row["task"] == "nothing"} == {"False"}
    assert not [
        p
        for p in (written.page.parent / "figures").iterdir()
        if p.name.startswith("difference") and "nothing" in p.name
    ]


def test_no_difference_shown_is_said_in_those_words(tmp_path):
    truth = replace(SMALL, effects={}, less={}, snapshots=0, tasks={"polyps": Task(SEG, {"polyps": 60})})
    done = said(make_runs(tmp_path / "runs", truth))
    assert {row["shown"] for row in done.table("differences") if row["against"] == "random"} == {"False"}
    assert "no difference shown in any of 4 comparisons" in done.headline
    assert (
        "**No difference shown from random at the same retention:** better at 5 and 20 %; same at 5 and 20 %"
        in done.text
    )


def test_every_section_stands_there_and_nothing_comes_from_elsewhere(written):
    text = written.page.read_text(encoding="utf-8")
    page = Page(text)
    assert not page.open
    sections = {attrs["id"] for tag, attrs in page.tags if tag == "section"}
    assert sections == {"answer", "scores", "frames", "sets", "kept", "limits", "record"}
    links = {attrs["href"] for tag, attrs in page.tags if tag == "a"}
    assert links == {f"#{name}" for name in sections}
    assert "http" not in text
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed"}
    assert not re.search(r"url\((?!#)|@import", text)
    for _, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on")]
        assert (attrs.get("src") or "data:").startswith("data:")
        assert (attrs.get("href") or "#").startswith("#")


def test_files_beside_the_page(written):
    folder = written.page.parent
    pictures = sorted(path.stem for path in (folder / "figures").iterdir())
    assert len(pictures) == written.pictures > 10
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    for name in pictures:
        assert f"(figures/{name}.png)" in markdown
        with Image.open(folder / "figures" / f"{name}.png") as image:
            assert image.format == "PNG"
            assert image.width >= 800
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["step"] == "report"
    assert manifest["details"]["passed_gate"] == ["classes", "polyps"]
    names = {path.stem for path in (folder / "tables").iterdir()}
    assert names == {"scores", "seeds", "differences", "curves", "gate", "cells", "removed", "origins", "alpha"}


def test_removed_and_origins_are_counted(runs, written):
    rows = [
        pq.read_table(path).to_pylist()
        for path in sorted((runs / "cells/better/5").glob("seed*/selection/rows.parquet"))
    ]
    row = only(table(written, "removed"), arm="better", retention=0.05)
    for reason in ("near-duplicate", "outlier", "not-selected"):
        assert float(row[reason]) == pytest.approx(np.mean([sum(r["reason"] == reason for r in each) for each in rows]))
    kept = np.mean([sum(r["kept"] and r["id"].startswith("cp_child/") for r in each) for each in rows])
    origin = only(table(written, "origins"), arm="better", retention=0.05, origin="cp_child")
    assert float(origin["kept"]) == pytest.approx(kept)
    assert int(origin["pool"]) == SOURCES["cp_child"]
    assert "nothing of tiny_center (6 frames)" in Page(written.page.read_text(encoding="utf-8")).text


def test_curves_come_from_the_snapshots(runs, written):
    half = SMALL.samples // 2
    each = [
        np.mean([row["score"] for row in pq.read_table(path).to_pylist() if row["set"] == "others"])
        for path in (runs / "cells/better/20").glob(f"seed*/tasks/polyps@{half}/scores.parquet")
    ]
    row = only(table(written, "curves"), task="polyps", set="others", arm="better", retention=0.2, samples=half)
    assert float(row["score"]) == pytest.approx(np.mean(each), abs=1e-6)
    assert float(row["epochs"]) == pytest.approx(half / round(0.2 * len(POOL)))


@pytest.mark.parametrize(("less", "more"), [((0.60, 0.05), (0.62, 1.0)), ((0.3, 0.2), (0.7, 0.5))])
def test_at_the_crossing_alpha_both_runs_have_the_same_normdel(less, more):
    alpha = crossing(less, more)
    assert normdel(*less, alpha) == pytest.approx(normdel(*more, alpha), abs=1e-12)
    assert normdel(*less, alpha * 1.01) > normdel(*more, alpha * 1.01)
    assert normdel(*less, alpha * 0.99) < normdel(*more, alpha * 0.99)


def test_break_even_ties_with_the_full_pool():
    assert normdel(0.7 * break_even(0.05), 0.05) == pytest.approx(normdel(0.7, 1.0), abs=1e-12)


def paper_table_3() -> list[dict[str, str]]:
    with (Path(__file__).parents[1] / "data" / "table3.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_document_on_normdels_limits_holds():
    path = Path(__file__).parents[2] / "docs" / "explanation" / "normdel-limits.md"
    assert doctest.testfile(str(path), module_relative=False).failed == 0
    text = path.read_text(encoding="utf-8")
    for percent in (5, 10, 20, 33, 50):
        share = np.exp(percent / 100 - 1)
        assert f"| {percent} % | {share:.3f} | {100 * (1 - share):.0f} % | {0.7 * share:.3f} |" in text
    table = {(row["dataset"], row["retention"]): float(row["miou"]) / 100 for row in paper_table_3()}
    for name in sorted({name for name, _ in table}):
        low, high = table[name, "0.05"], table[name, "1.0"]
        alpha = np.log(high / low) / 0.95
        assert f"| {name} | {low:.4f} | {high:.4f} | {f'{alpha:.3f}' if alpha > 0 else 'any'}" in text


def test_in_the_papers_table_3_normdel_prefers_less_data_nearly_always():
    rows = paper_table_3()
    pairs = won = 0
    for a in rows:
        for b in rows:
            if a["dataset"] == b["dataset"] and float(a["retention"]) < float(b["retention"]):
                pairs += 1
                won += float(a["normdel"]) > float(b["normdel"])
    assert (won, pairs) == (120, 120)  # docs/explanation/normdel-limits.md


def test_labels_out_of_the_data_stay_text(tmp_path):
    truth = replace(
        SMALL,
        arms={"random": "random", HOSTILE: "meddel"},
        effects={},
        tasks={HOSTILE.replace("/", "."): Task(SEG, {HOSTILE.replace("/", "."): 20, "b" * 70: 10})},
    )
    done = report(make_runs(tmp_path / "runs", truth), tmp_path / "report", draws=DRAWS, command=HOSTILE)
    text = done.page.read_text(encoding="utf-8")
    page = Page(text)
    assert "<script" not in text
    assert "script" not in {tag for tag, _ in page.tags}
    assert HOSTILE in page.text
    assert any(tag == "text" and "<script>" in data for tag, data in page.texts), "figures label it too"
    markdown = (done.page.parent / "report.md").read_text(encoding="utf-8")
    assert "<script" not in re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    row = only(table(done, "scores"), arm=HOSTILE, retention=0.05, measure="miou", set="b" * 70)
    assert float(row["score"]) > 0


def test_an_unfinished_matrix_is_reported_and_says_what_is_missing(tmp_path):
    folder = make_runs(tmp_path / "runs", replace(SMALL, snapshots=0))
    shutil.rmtree(folder / "cells" / "better" / "20")
    (folder / "cells" / "same" / "5" / "seed1" / "cell.json").unlink()
    lacking = folder / "cells" / "random" / "5" / "seed2"
    shutil.rmtree(lacking / "tasks" / "classes")
    facts = read_facts(lacking / "cell.json", "")
    write_facts(lacking / "cell.json", {**facts, "files": of_scores(lacking)})  # as before the plan had the task
    done = said(folder)
    assert "4 of 24 cells are missing" in done.text
    assert "better, 20 %, seed 0" in done.text
    assert "same, 5 %, seed 1 (begun)" in done.text
    assert "classes: random, 5 %, seed 2" in done.text
    seeds = only(done.table("scores"), task="classes", arm="random", retention=0.05, measure="accuracy")["seeds"]
    assert seeds == "2"
    pair = only(done.table("differences"), task="polyps", set="polyps", arm="same", retention=0.05, against="random")
    assert pair["seeds"] == "2"  # of the seeds that both have


def test_without_a_gate_the_cells_of_full_and_untrained_decide(tmp_path):
    folder = make_runs(tmp_path / "runs", replace(SMALL, snapshots=0), gate=False)
    done = said(folder)
    gate = {row["task"]: (row["passed"], row["recorded"]) for row in done.table("gate")}
    assert gate == {"polyps": ("True", "False"), "classes": ("True", "False"), "nothing": ("False", "False")}
    assert "No gate.json" in done.text
    shutil.rmtree(folder / "cells" / "untrained")
    done = said(folder)
    assert done.headline.startswith("No selector can be ranked")
    assert not [picture for picture in done.document.pictures if picture.name.startswith("difference")]


def test_a_gate_that_is_not_decided_yet_is_not_one_that_failed(tmp_path):
    """As in a run that goes on: the first gate's cells are there, those at the smallest retention are not."""
    asks = {"gates": ["learning", "headroom"]}
    folder = make_runs(tmp_path / "runs", replace(SMALL, snapshots=0), gate=False, more=asks)
    for percent in ("5", "20"):
        shutil.rmtree(folder / "cells" / "random" / percent)
    done = said(folder)
    assert only(done.table("gate"), task="polyps")["passed"] == "True"
    assert done.headline == (
        "No selector can be ranked on any of 4 test sets: whether there is anything to choose could not be decided, "
        "since cells of the gate are missing."
    )


def test_a_gate_at_another_level_than_the_page_says_so(tmp_path):
    folder = make_runs(tmp_path / "runs", replace(SMALL, snapshots=0))
    assert "were decided by" not in said(folder).text  # an old gate.json does not tell
    facts = read_facts(folder / "gate.json", "")
    write_facts(folder / "gate.json", {**facts, "level": 0.8})
    text = said(folder).text
    assert "The gates were decided by 80 % intervals; all others here are of 95 %." in text
    assert "A task passes where the 80 % interval of the difference lies above zero." in text
    write_facts(folder / "gate.json", {**facts, "level": 0.95})
    assert "were decided by" not in said(folder).text


def test_one_seed_is_said_to_cover_frames_only(tmp_path):
    done = said(make_runs(tmp_path / "runs", replace(SMALL, seeds=1, snapshots=0)))
    assert "One seed only: the intervals cover which frames were tested" in done.text


def test_comparisons_of_one_seed_are_told_in_a_matrix_of_more(tmp_path):
    runs = make_runs(tmp_path / "runs", replace(SMALL, snapshots=0))
    for cell in runs.glob("cells/better/*/seed*"):
        if cell.name != "seed0":
            shutil.rmtree(cell)
    assert "comparisons rest on one seed so far: their intervals cover which frames" in said(runs).text


def test_without_random_arms_are_compared_with_the_full_pool_only(tmp_path):
    done = said(make_runs(tmp_path / "runs", replace(SMALL, arms={"better": "meddel"}, snapshots=0)))
    assert {row["against"] for row in done.table("differences")} == {"full", "untrained"}
    assert done.headline.startswith("No arm chooses at random")


def test_a_gate_alone_is_reported_before_any_selector_was_run(tmp_path):
    folder = make_runs(tmp_path / "runs", replace(SMALL, arms={}))
    done = report(folder, tmp_path / "report", draws=DRAWS)
    assert done.headline.startswith("No selector was run yet. Pre-training itself has an effect on polyps and classes")
    assert only(table(done, "curves"), task="classes", arm="full", samples=SMALL.samples // 2)
    assert list((tmp_path / "report" / "figures").glob("epochs-classes*"))
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "6 of 6 planned" in text  # the full pool and no pre-training, with three seeds
    assert "Every planned cell is finished." in text


def test_what_the_gates_left_out_is_not_missing(tmp_path):
    nothing = replace(SMALL, tasks={"nothing": SMALL.tasks["nothing"]}, snapshots=0, ladder=(0.1,))
    folder = make_runs(tmp_path / "runs", nothing)
    for arm in nothing.arms:
        shutil.rmtree(folder / "cells" / arm)
    text = said(folder).text
    assert "No task passed the gates, so that no selector was run: 18 planned cells were left out" in text
    assert "not finished" not in text
    assert "6 of 24 planned, and 3 beside them" in text  # rungs of the ladder are in no plan
    grown = make_runs(tmp_path / "grown", replace(nothing, arms={}), more={"seeds": 4})
    assert "The matrix is not finished: 2 of 8 cells are missing" in said(grown).text


def test_what_is_not_a_folder_of_runs_or_not_a_report_is_refused(tmp_path, runs):
    with pytest.raises(InvalidArgument, match="name the one that"):
        report(tmp_path / "nowhere", tmp_path / "report")
    (tmp_path / "empty" / "cells").mkdir(parents=True)
    with pytest.raises(IncompleteStore, match="no finished cell"):
        report(tmp_path / "empty", tmp_path / "report")
    with pytest.raises(Mismatch, match="expected 'report'"):
        report(runs, runs, draws=DRAWS)


def test_a_pool_gives_centres_and_contact_sheets(tmp_path):
    folder = make_runs(tmp_path / "runs", replace(SMALL, snapshots=0, tasks={"polyps": Task(SEG, {"polyps": 20})}))
    image = Image.new("RGB", (16, 16), "#804020")
    pool = Dataset.from_dict(
        {"id": POOL, "center": ["north" if i % 2 else None for i in range(len(POOL))],
         "source": [id.split("/")[0] for id in POOL], "image": [image] * len(POOL)}
    )  # fmt: skip
    done = report(folder, tmp_path / "report", pool=pool, draws=DRAWS)
    assert {row["origin"] for row in table(done, "origins")} == {"north", *SOURCES}
    assert list((tmp_path / "report" / "figures").glob("duplicates-*.png"))
    assert Manifest.read(tmp_path / "report").details["shows"] == ["frames"]
    page = Page(done.page.read_text(encoding="utf-8"))
    assert [attrs for tag, attrs in page.tags if tag == "img" and attrs["src"].startswith("data:image/")]
    assert "Share of each centre's frames that is kept" in page.text
    nobody = pa.nulls(len(POOL), pa.string())  # names a centre, so that the pool's origins are its sources
    pq.write_table(pa.table({"id": POOL, "source": POOL, "center": nobody}), folder / "pool.parquet")
    assert "Share of each source's frames that is kept" in said(folder).text


def test_equal_scores_share_a_rank(tmp_path):
    alike = replace(SMALL, tasks={"classes": SMALL.tasks["classes"]}, effects={}, less={}, luck=0.0, noise=0.0)
    text = said(make_runs(tmp_path / "runs", replace(alike, snapshots=0))).text
    ranks = text[text.index("classes: ranks by score and by NormDEL") :]
    assert ranks.count("rank 1 ") == 7 + 3  # of the score all, of NormDEL those at 5 %
    assert ranks.count("rank 4 ") == 3  # at 20 %
    assert ranks.count("rank 7 ") == 1  # the full pool


def test_videos_and_patients_are_counted_and_one_that_the_pool_names_too_is_a_warning(tmp_path):
    tasks = {"polyps": Task(SEG, {"polyps": 40}, video=8), "frames": Task(SEG, {"f": 9})}
    folder = make_runs(tmp_path / "runs", replace(SMALL, snapshots=0, tasks=tasks))
    groups = ["polyps/video1", "polyps/video3", *[f"own/{i}" for i in range(len(POOL) - 3)], None]
    pq.write_table(pa.table({"id": POOL, "group": pa.array(groups, pa.string())}), folder / "pool.parquet")
    why = ["tested in polyps"] * 3 + ["of the same video or patient (a) as b, tested in polyps", "listed in gone.txt"]
    pq.write_table(pa.table({"id": [str(i) for i in range(5)], "why": why}), folder / "excluded.parquet")
    said = markdown(contents(findings(read(folder), DRAWS), None, tmp_path, ""))
    assert "3 tested downstream, 1 of a video, sequence or patient that is tested and 1 listed in" in said
    assert f"polyps 5 and the pool {len(POOL) - 1}; not named: f" in said.replace("\\", "")
    assert "polyps has 2 videos, sequences or patients called as in the pool (polyps/video1, polyps/video3)" in said
    assert said.count("called as in the pool") == 1
    report(folder, tmp_path / "report", draws=DRAWS)
    assert Manifest.read(tmp_path / "report").details["shows"] == ["names of videos or patients"]


def test_targets_keep_the_plans_order_and_a_tasks_own_set_comes_first(runs):
    names = [target.name for target in read(runs).targets]
    assert names == ["polyps on polyps", "polyps on others", "classes", "nothing"]


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0], [1.0, 0.98, 0.1], [0.5], [0.2, 0.21, 0.22, 0.9, 0.91]])
def test_labels_keep_apart_inside_the_axes_and_in_order(values):
    placed = spread(values, 0.1, 0.0, 1.0)
    assert all(0 - 1e-9 <= place <= 1 + 1e-9 for place in placed)
    ordered = sorted(zip(values, placed, strict=True))
    assert all(b - a >= 0.1 - 1e-9 for (_, a), (_, b) in pairwise(ordered))


@pytest.mark.slow
def test_the_page_fits_a_phone_in_a_real_browser(written, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    # A frame of 360 px, since a window of a headless browser has a least width; its page says how wide it became.
    probe = (
        "<script>addEventListener('load',()=>setTimeout(()=>{const d=document.documentElement;parent.document.title="
        "[d.scrollWidth,d.clientWidth,[...document.querySelectorAll('figure svg')].filter(s=>s.getBoundingClientRect()"
        ".height<80).length].join(' ')},500))</script>"
    )
    page = written.page.read_text(encoding="utf-8").replace("</body>", probe + "</body>")
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    (tmp_path / "frame.html").write_text("<iframe src='page.html' width=360 height=800 style='border:0'></iframe>")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
               f"--user-data-dir={tmp_path}/profile", "--virtual-time-budget=5000"]  # fmt: skip
    told = subprocess.run(
        [*command, "--dump-dom", (tmp_path / "frame.html").as_uri()], capture_output=True, text=True, timeout=120
    )
    found = re.search(r"<title>(\d+) (\d+) (\d+)</title>", told.stdout)
    assert found, told.stdout[:500] + told.stderr[-500:]
    width, column, flat = map(int, found.groups())
    assert width <= column <= 360, "the page scrolls sideways on a phone"
    assert flat == 0, "a figure collapsed"
    pdf = tmp_path / "page.pdf"
    subprocess.run(
        [*command, f"--print-to-pdf={pdf}", written.page.as_uri()], capture_output=True, timeout=120, check=True
    )
    assert pdf.read_bytes()[:5] == b"%PDF-"


def test_the_command_writes_the_report_and_says_where(tmp_path, capsys):
    folder = make_runs(tmp_path / "runs", replace(SMALL, arms={"random": "random"}, tasks={"t": Task(SEG, {"t": 20})}))
    assert main(["report", str(folder), "--out", str(tmp_path / "report"), "--draws", "50", "--level", "0.9"]) == 0
    told = capsys.readouterr().err
    assert f"wrote {tmp_path / 'report' / 'report.html'}" in told
    assert "90% interval" in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")

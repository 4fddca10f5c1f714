"""`report`: read the runs, compare, and write the page with everything beside it, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from meddel_hf.benchmark.axis import folder as level_folder
from meddel_hf.benchmark.axis import recorded
from meddel_hf.benchmark.results import Runs, read
from meddel_hf.errors import IncompleteStore
from meddel_hf.report.axis import axis_document
from meddel_hf.report.axis import headline as axis_headline
from meddel_hf.report.contents import contents
from meddel_hf.report.document import Document, Sheet
from meddel_hf.report.figures.drawing import render
from meddel_hf.report.findings import Draws, Findings, findings
from meddel_hf.report.levels import Axis
from meddel_hf.report.pages.html import html
from meddel_hf.report.pages.markdown import markdown
from meddel_hf.report.sections.answer import headline
from meddel_hf.report.sections.choices import label_headline
from meddel_hf.report.sections.groups import shared_groups
from meddel_hf.runtime.files import files_below, whole_file
from meddel_hf.runtime.manifest import Manifest, check_target, fingerprint, step_folder
from meddel_hf.schema import REPORT_TABLES, REPORT_TEXT, SHOWS

if TYPE_CHECKING:
    from datasets import Dataset

PAGE, FIGURES = "report.html", "figures"


@dataclass(frozen=True, eq=False)
class Written:
    """A report: its page, what it says first, the findings behind it (of an axis, those of its last level), and how
    much stands beside it."""

    page: Path
    headline: str
    findings: Findings
    pictures: int
    tables: int


def report(
    runs: str | Path,
    out: str | Path,
    *,
    pool: Dataset | None = None,
    draws: Draws | None = None,
    command: str = "",
    trust: bool = False,
) -> Written:
    """Write `out/`: report.html, report.md, figures/*.png, tables/*.csv and manifest.json. An older report is replaced.

    runs:    folder that `meddel benchmark run` writes; a matrix that is not finished is reported as far as it goes. Of
             a plan that names redundancies, each level has a report in a folder beside the page.
    pool:    the pool that was selected from, with the columns id and image, for contact sheets and, with the columns
             center or source, for who was kept.
    command: what was typed, for the record. trust: compare sizes of the runs' files, and not their checksums.
    Raises InvalidArgument, IncompleteStore and Mismatch as `read` does, and where `out` is a folder of something else.
    """
    out = check_target(out, "report")
    levels = recorded(Path(runs))
    if levels is not None:
        return _axis(Path(runs), levels, out, draws, command, trust)
    read_runs = read(runs, trust=trust)
    findings_of_runs = findings(read_runs, draws)
    with step_folder(out, "report") as aside:
        document = contents(findings_of_runs, pool, aside / FIGURES, command)
        _write(document, aside)
        _manifest(read_runs, findings_of_runs, document, command).write(aside, files_below(aside))
    said = (
        headline(findings_of_runs)
        if read_runs.cells
        else label_headline(read_runs.labels, findings_of_runs.draws.level)
    )
    return Written(out / PAGE, said, findings_of_runs, len(document.pictures), len(document.data))


def _axis(
    runs: Path, levels: Mapping[float, Path], out: Path, draws: Draws | None, command: str, trust: bool
) -> Written:
    """The report of an axis, with one of each level that has finished cells."""
    with step_folder(out, "report") as aside:
        by_share: dict[float, Findings] = {}
        for share, folder in levels.items():
            written = report(folder, level_folder(aside, share), draws=draws, command=command, trust=trust)
            by_share[share] = written.findings
        if not by_share:
            raise IncompleteStore(f"{runs} holds no finished cell of any redundancy: go on with `meddel benchmark run`")
        axis = Axis(_name(by_share), by_share)
        document = axis_document(axis)
        _write(document, aside)
        places = [level_folder(aside, share) for share in by_share]
        parents = {place.name: Manifest.read(place, "report").fingerprint for place in places}
        shows = sorted({what for place in places for what in Manifest.read(place, "report").details[SHOWS]})
        details = {"levels": list(by_share), SHOWS: shows, "command": command}
        made = fingerprint(*parents.values())
        Manifest("report", made, asdict(draws or Draws()), parents, details).write(aside, files_below(aside))
    last = list(by_share.values())[-1]
    return Written(out / PAGE, axis_headline(axis), last, len(document.pictures), len(document.data))


def _name(levels: Mapping[float, Findings]) -> str:
    manifests = [f.runs.manifest for f in levels.values()]
    return next((str(m.details["plan"]["name"]) for m in manifests if m and m.details.get("plan")), "benchmark")


def _write(document: Document, folder: Path) -> None:
    for name in (FIGURES, REPORT_TABLES):
        (folder / name).mkdir(exist_ok=True)
    drawn: dict[str, str] = {}
    for picture in document.pictures:
        drawn[picture.name], image = render(picture)
        (folder / FIGURES / f"{picture.name}.png").write_bytes(image)
    for data in document.data:
        data.write(folder / REPORT_TABLES)
    texts: Mapping[str, str] = {PAGE: html(document, drawn), REPORT_TEXT: markdown(document)}
    for name, text in texts.items():
        with whole_file(folder / name) as aside:
            aside.write_text(text, encoding="utf-8")


def _shows(runs: Runs, document: Document) -> list[str]:
    """What the page shows that not everybody may see."""
    sheets = any(isinstance(block, Sheet) for section in document.sections for block in section.blocks)
    return ["frames"] * sheets + ["names of videos or patients"] * bool(shared_groups(runs))


def _manifest(runs: Runs, findings: Findings, document: Document, command: str) -> Manifest:
    parents = {"benchmark": runs.manifest.fingerprint} if runs.manifest else {}
    cells = [str(cell.place) for cell in runs.cells]
    details = {
        "cells": len(cells),
        "missing": len(runs.missing),
        "passed_gate": sorted({target.judged for target in findings.comparable}),
        "pictures": [picture.name for picture in document.pictures],
        SHOWS: _shows(runs, document),
        "command": command,
    }
    facts = [json.dumps(dict(cell.facts), sort_keys=True) for cell in runs.cells]
    made = fingerprint(*parents.values(), *sorted(cells), *sorted(facts), repr(findings.draws))
    return Manifest("report", made, asdict(findings.draws), parents, details)

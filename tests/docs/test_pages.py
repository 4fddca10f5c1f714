"""The pages of the site: links lead somewhere, and the reference names what there is. Nothing here needs mkdocs."""

from __future__ import annotations

import importlib.util
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pytest
import yaml
from pages import DOCS, section, text

import meddel_hf
from meddel_hf import cli
from meddel_hf.datadel import leaks, problems
from meddel_hf.datadel.features import FEATURES
from meddel_hf.downstream import scores
from meddel_hf.embedding import store
from meddel_hf.ingest import columns as ingested
from meddel_hf.pretraining import result
from meddel_hf.runtime.manifest import Manifest, Step
from meddel_hf.selection import table

ROOT = DOCS.parent
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
FORMATS = "reference/file-formats.md"


def headings(page: Path) -> set[str]:
    """Anchors of a page, as GitHub and mkdocs make them of plain titles."""
    plain = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", plain, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text(page)):
        there = (DOCS / page).parent / target if target else DOCS / page
        assert there.is_file(), target
        assert there.resolve().is_relative_to(ROOT), f"{target} is outside of the repository"
        if anchor.startswith("meddel_hf."):
            assert f"::: {anchor}\n" in text("reference/python.md") or resolve(anchor), anchor
        elif anchor:
            assert anchor in headings(there), f"{target}#{anchor}"


def resolve(name: str) -> object:
    """What a name with dots leads to, from the package on."""
    found: object = meddel_hf
    for part in name.split(".")[1:]:
        found = getattr(found, part)
    return found


def test_every_page_stands_in_the_navigation():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    named = [page for group in nav for pages in group.values() for entry in pages for page in entry.values()]
    assert sorted(page for page in named if not page.startswith("repository/")) == PAGES
    assert all((ROOT / page.removeprefix("repository/")).is_file() for page in named if page.startswith("repository/"))


@pytest.mark.parametrize("name", meddel_hf.__all__)
def test_every_public_name_is_in_the_reference(name):
    assert text("reference/python.md").count(f"::: meddel_hf.{name}\n") == 1


def test_every_object_of_the_reference_is_there():
    for name in re.findall(r"^::: meddel_hf\.(.*)$", text("reference/python.md"), re.MULTILINE):
        module, _, attribute = f"meddel_hf.{name}".rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def verbs() -> list[str]:
    of_benchmark = [f"meddel benchmark {verb}" for verb in ("run", "ladder", "pack")]
    return ["meddel", *(f"meddel {name}" for name in cli.COMMANDS), *of_benchmark]


def test_every_command_is_in_the_reference():
    page = text("reference/commands.md")
    assert sorted(re.findall(r"<!-- help: (.*) -->", page)) == sorted(verbs())
    assert re.findall(r"^##+ (meddel .*)$", page, re.MULTILINE) == re.findall(r"help: (meddel .*) -->", page)


@pytest.mark.parametrize("verb", ["meddel", "meddel embed", "meddel benchmark run"])
def test_help_in_the_site_is_what_the_command_prints(verb, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        cli.main([*verb.split()[1:], "--help"])
    assert module("site_hooks").help_of(verb.split()[1:]) == capsys.readouterr().out


def test_names_in_docstrings_become_lists():
    pytest.importorskip("griffe")
    found = module("docstring_lists").as_lists(
        "Keep a share.\n\neta:  a cosine. In\n      [-1, 1].\nbeta1, beta2: of AdamW.\n\nRaises ValueError."
    )
    assert (
        found == "Keep a share.\n\n- `eta`: a cosine. In [-1, 1].\n- `beta1`, `beta2`: of AdamW.\n\nRaises ValueError."
    )


def typed(page: str) -> list[list[str]]:
    """Arguments of `meddel` in a page's commands, those of `accelerate launch -m` of `meddel_hf` and its doors too."""
    found = []
    for line in "\n".join(re.findall(r"^ *```(?:sh|console)\n(.*?)```$", text(page), re.M | re.S)).splitlines():
        words = [word for word in shlex.split(line.strip().removeprefix("$ "), comments=True) if word != "&"]
        for place, word in enumerate(words):
            if word == "meddel" or (word == "meddel_hf" and words[place - 1] == "-m"):
                found.append(words[place + 1 :])
                break
            if word.startswith("meddel_hf.") and words[place - 1] == "-m":
                found.append([word.removeprefix("meddel_hf."), *words[place + 1 :]])
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if typed(page)])
def test_commands_of_a_page_can_be_typed(page):
    for arguments in typed(page):
        if arguments != ["--help"]:
            cli.parser().parse_args(arguments)


def module(name: str):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(
    ("heading", "columns"),
    [
        ("Embedding store", store._TABLE),
        ("Selection", table._COLUMNS),
        ("DataDEL folder", FEATURES.arrow_schema),
        ("Pool", ingested.features((), dicom=True).arrow_schema),
        ("DataDEL folder", problems.COLUMNS),
        ("DataDEL folder", leaks.COLUMNS),
        ("Pre-training", result._LOG_COLUMNS),
        ("Segmentation", scores.COLUMNS),
    ],
)
def test_columns_of_files_are_in_the_reference(heading, columns: pa.Schema):
    said = section(FORMATS, heading)
    for column in columns:
        assert f"`{column.name}`" in said, column.name
        row = re.search(rf"^\| .*`{column.name}`.* \| (.*?) \| .*\|$", said, re.MULTILINE)
        if row is not None and not pa.types.is_nested(column.type):
            assert str(column.type) in row[1], f"{column.name}: {column.type}, the page says {row[1]}"


def test_manifests_are_in_the_reference():
    said = section(FORMATS, "manifest.json")
    keys = {field.name for field in fields(Manifest)} | {"checksum"}
    assert set(re.findall(r"^\| `(\w+)` \|", said, re.MULTILINE)) == keys
    assert all(f"`{step}`" in said for step in get_args(Step))

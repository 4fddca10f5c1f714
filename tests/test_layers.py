"""The house: a folder imports only folders below it, and no files import one another, not for their types either."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import meddel_hf

PACKAGE = Path(meddel_hf.__file__).parent
# From the top: each imports only what stands below it. docs/architecture.md says what each holds.
ROOMS = [
    "doors", "__main__", "cli", "commands", "report", "benchmark", "hub", "pretraining", "downstream", "overlap",
    "selectors", "selection", "explore", "dedup", "embedding", "neighbors", "ingest", "datadel", "training", "data",
    "runtime", "schema", "errors",
]  # fmt: skip
DOORS = {"embed", "pretrain", "probe", "segment", "benchmark.__main__"}
# Packages whose names load on first use: they import their own files, and nobody's order depends on that.
LAZY = {"", "selectors"}


def name_of(path: Path) -> str:
    """Of a file, relative to the package: "data.pool"; "data" of its __init__."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name != "assets"}


def room_of(name: str) -> str:
    return "doors" if name in DOORS else name.partition(".")[0]


def target_of(module: str, name: str | None = None) -> str | None:
    """The file behind `import module`, or `from module import name`; None where it is not of the package."""
    if module.partition(".")[0] != "meddel_hf":
        return None
    inside = module.partition(".")[2]
    if name is None:
        return inside
    below = f"{inside}.{name}".lstrip(".")
    if inside in LAZY:  # a name that loads on first use is that of the file it stands in
        home = getattr(import_module(module), "_HOME", {}).get(name)
        if home is not None:
            return home.removeprefix("meddel_hf.") if not inside else f"{inside}.{home}"
    return below if below in FILES else inside


def imported(node: ast.AST) -> Iterator[str]:
    """Files of the package that are imported under `node`: inside functions and under TYPE_CHECKING too."""
    targets: list[str | None] = []
    if isinstance(node, ast.Import):
        targets = [target_of(alias.name) for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "write imports of the package in full"
        targets = [target_of(str(node.module), alias.name) for alias in node.names]
    yield from (target for target in targets if target is not None)
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


def arrows() -> dict[str, set[str]]:
    """file -> files that it imports."""
    return {
        name: {target for target in imported(ast.parse(path.read_text(encoding="utf-8"))) if target != "assets"}
        for name, path in FILES.items()
        if name not in LAZY
    }


def test_every_file_is_in_a_room():
    rooms = {room_of(name) for name in FILES if name}
    assert sorted(rooms) == sorted(ROOMS), "say in ROOMS, and in docs/architecture.md, where it stands"


def test_imports_run_downward():
    for name, targets in arrows().items():
        for target in targets:
            here, there = ROOMS.index(room_of(name)), ROOMS.index(room_of(target)) if target else -1
            assert there > here or room_of(name) == room_of(target), f"{name} imports {target}, which stands above it"


def test_no_files_import_one_another():
    try:
        TopologicalSorter(arrows()).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_the_page_on_the_house_names_every_room():
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    missing = [room for room in ROOMS if room not in ("doors", "__main__") and f"`{room}" not in page]
    assert not missing


def test_the_walk_sees_what_it_should():
    code = """
from typing import TYPE_CHECKING
from meddel_hf import schema, MedDEL
import meddel_hf.runtime.files as f
from meddel_hf.selectors import Random
if TYPE_CHECKING:
    from meddel_hf.cli import main
def later():
    from meddel_hf.selectors.meddel import MedDEL
"""
    expected = ["cli", "runtime.files", "schema", "selectors", "selectors.meddel", "selectors.random"]
    assert sorted(imported(ast.parse(code))) == expected

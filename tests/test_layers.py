"""Imports run downward only, and steps never import one another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import meddel_hf

PACKAGE = Path(meddel_hf.__file__).parent
LAYERS = [
    "errors schema files runtime",
    "data images shards store modeling processes pool batches sheets scores bootstrap "
    "neighbors pairs density rules decide graph clustering subset selection sweep cards "
    "leaked recipe frames views objectives checkpoints trainer choice pretrained pretrain_run "
    "labels splits classifiers labelled overlays "
    "segmentation_recipe segmentation_model segmentation_training segmentation_scoring",
    "embed datadel pretrain segment probe",
    "selectors",
    "metric pictures demo hub report benchmark",
    "cli __main__",
]
LAYER = {module: layer for layer, modules in enumerate(LAYERS) for module in modules.split()}
STEPS = 2  # the layer whose modules never import one another


def imported(node: ast.AST) -> Iterator[str]:
    """Modules of the package that are imported under `node`: inside functions too, but not under TYPE_CHECKING."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "write imports of the package in full"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        names = []
    for package, module in (name.split(".")[:2] for name in names if name.startswith("meddel_hf.")):
        yield meddel_hf._HOME.get(module, f"{package}.{module}").split(".")[1]
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


def test_imports_run_downward():
    for path in PACKAGE.rglob("*.py"):
        module = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if module in ("__init__", "assets"):  # names that load on first use; files without code
            continue
        assert module in LAYER, f"{module} is in no layer: say here, and in DESIGN.md, where it belongs"
        for target in set(imported(ast.parse(path.read_text(encoding="utf-8")))) - {module, "assets"}:
            here, there = LAYER[module], LAYER[target]
            assert there < here or there == here != STEPS, f"{path.name}, layer {here}, imports {target}, layer {there}"


def test_the_walk_sees_what_it_should():
    code = """
from typing import TYPE_CHECKING
from meddel_hf import schema, MedDEL
import meddel_hf.files as f
if TYPE_CHECKING:
    from meddel_hf.cli import main
def later():
    from meddel_hf.selectors.meddel import MedDEL
"""
    assert sorted(imported(ast.parse(code))) == ["files", "schema", "selectors", "selectors"]

"""The public names: exactly those that are documented, and nothing heavy until one is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import meddel_hf

DOCUMENTED = [
    "Dedup", "EmbeddingStore", "MedDEL", "MedDELError", "Overrides", "Recipe", "SegmentationRecipe", "Selection",
    "advise", "audit", "embed", "extend", "forget", "load_pool", "make_pool", "pretrain", "probe", "recipe_for",
    "save_subset", "segment", "split",
]  # fmt: skip


def test_all_is_what_is_documented():
    assert meddel_hf.__all__ == DOCUMENTED
    assert dir(meddel_hf) == DOCUMENTED


@pytest.mark.parametrize(
    "names", [DOCUMENTED, *(pytest.param([name], marks=pytest.mark.slow) for name in DOCUMENTED)], ids=",".join
)
def test_every_name_imports(names):
    """All in one process; and each, alone, as the first of its process."""
    line = "from meddel_hf import {0} as it; print(it.__name__, callable(it), bool(it.__doc__))"
    code = "\n".join(map(line.format, names))
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"{name} True True" for name in names], done.stderr


@pytest.mark.parametrize(
    "name", ["embed", *(pytest.param(name, marks=pytest.mark.slow) for name in ("pretrain", "probe", "segment"))]
)
def test_a_function_stays_one_where_the_module_of_its_name_was_imported(name):
    code = f"""
import inspect
import meddel_hf.{name}
from meddel_hf import {name} as public
from meddel_hf.{name} import {name} as own
assert public is own is meddel_hf.{name}
print(list(inspect.signature(public).parameters)[:3])"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    expected = {"embed": ["dataset", "encoder", "out"], "pretrain": ["dataset", "out", "recipe"],
                "probe": ["store", "labels", "out"], "segment": ["train", "test", "encoder"]}  # fmt: skip
    assert done.stdout.strip() == str(expected[name]), done.stderr


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'meddel_hf' has no attribute 'nothing'"):
        meddel_hf.nothing  # noqa: B018
    with pytest.raises(ImportError):
        from meddel_hf import nothing  # noqa: F401


def test_importing_the_package_loads_nothing_heavy():
    heavy = ["torch", "datasets", "transformers", "numpy", "pyarrow", "matplotlib", "PIL", "accelerate", "evaluate"]
    code = f"import sys, meddel_hf; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr

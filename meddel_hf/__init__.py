"""Data-effective learning on the Hugging Face stack (arXiv 2401.17542)."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meddel_hf.data.pool import load_pool as load_pool
    from meddel_hf.downstream.probing.probe import probe as probe
    from meddel_hf.downstream.segmentation.recipe import SegmentationRecipe as SegmentationRecipe
    from meddel_hf.downstream.segmentation.segment import segment as segment
    from meddel_hf.downstream.splits import split as split
    from meddel_hf.embedding.embed import embed as embed
    from meddel_hf.embedding.store import EmbeddingStore as EmbeddingStore
    from meddel_hf.errors import MedDELError as MedDELError
    from meddel_hf.ingest.make import make_pool as make_pool
    from meddel_hf.overlap.audit import audit as audit
    from meddel_hf.pretraining.budgets import recipe_for as recipe_for
    from meddel_hf.pretraining.pretrain import pretrain as pretrain
    from meddel_hf.pretraining.recipe import Recipe as Recipe
    from meddel_hf.selection.folder import save_subset as save_subset
    from meddel_hf.selection.selection import Selection as Selection
    from meddel_hf.selectors import Dedup as Dedup
    from meddel_hf.selectors import MedDEL as MedDEL
    from meddel_hf.selectors.advice import advise as advise
    from meddel_hf.selectors.by_hand import Overrides as Overrides
    from meddel_hf.selectors.extending import extend as extend
    from meddel_hf.selectors.forgetting import forget as forget

# Names load on first use, so that `import meddel_hf` and `meddel --help` do not wait for torch.
_HOME = {
    "Dedup": "meddel_hf.selectors",
    "EmbeddingStore": "meddel_hf.embedding.store",
    "MedDEL": "meddel_hf.selectors",
    "MedDELError": "meddel_hf.errors",
    "Overrides": "meddel_hf.selectors.by_hand",
    "Recipe": "meddel_hf.pretraining.recipe",
    "SegmentationRecipe": "meddel_hf.downstream.segmentation.recipe",
    "Selection": "meddel_hf.selection.selection",
    "advise": "meddel_hf.selectors.advice",
    "audit": "meddel_hf.overlap.audit",
    "embed": "meddel_hf.embedding.embed",
    "extend": "meddel_hf.selectors.extending",
    "forget": "meddel_hf.selectors.forgetting",
    "load_pool": "meddel_hf.data.pool",
    "make_pool": "meddel_hf.ingest.make",
    "pretrain": "meddel_hf.pretraining.pretrain",
    "probe": "meddel_hf.downstream.probing.probe",
    "recipe_for": "meddel_hf.pretraining.budgets",
    "save_subset": "meddel_hf.selection.folder",
    "segment": "meddel_hf.downstream.segmentation.segment",
    "split": "meddel_hf.downstream.splits",
}
__all__ = [
    "Dedup", "EmbeddingStore", "MedDEL", "MedDELError", "Overrides", "Recipe", "SegmentationRecipe", "Selection",
    "advise", "audit", "embed", "extend", "forget", "load_pool", "make_pool", "pretrain", "probe", "recipe_for",
    "save_subset", "segment", "split",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # not needed to start

        return version("meddel-hf")
    if name not in _HOME:
        raise AttributeError(f"module 'meddel_hf' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    """Keeps `embed` and its like the functions of that name, also once the module of that name was imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

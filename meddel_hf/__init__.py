"""Data-effective learning on the Hugging Face stack (arXiv 2401.17542)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meddel_hf.embed import embed as embed
    from meddel_hf.errors import MedDELError as MedDELError
    from meddel_hf.selection import Selection as Selection
    from meddel_hf.selectors import MedDEL as MedDEL
    from meddel_hf.store import EmbeddingStore as EmbeddingStore

# Names load on first use, so that `import meddel_hf` and `meddel --help` do not wait for torch.
_HOME = {
    "EmbeddingStore": "meddel_hf.store",
    "MedDEL": "meddel_hf.selectors",
    "MedDELError": "meddel_hf.errors",
    "Selection": "meddel_hf.selection",
    "embed": "meddel_hf.embed",
}
__all__ = ["EmbeddingStore", "MedDEL", "MedDELError", "Selection", "embed"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'meddel_hf' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__

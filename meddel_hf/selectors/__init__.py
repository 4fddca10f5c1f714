"""Selectors: MedDEL and its rivals, one file each, behind one protocol; `registry` knows them by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meddel_hf.selectors.balanced import Balanced as Balanced
    from meddel_hf.selectors.dedup import Dedup as Dedup
    from meddel_hf.selectors.density import DensityQuotas as DensityQuotas
    from meddel_hf.selectors.kcentre import KCentre as KCentre
    from meddel_hf.selectors.max_herding import MaxHerding as MaxHerding
    from meddel_hf.selectors.meddel import MedDEL as MedDEL
    from meddel_hf.selectors.protocol import Selector as Selector
    from meddel_hf.selectors.prototypes import Prototypicality as Prototypicality
    from meddel_hf.selectors.random import Random as Random
    from meddel_hf.selectors.retrieval import Retrieval as Retrieval
    from meddel_hf.selectors.semdedup import SemDeDup as SemDeDup
    from meddel_hf.selectors.stratified import RandomStratified as RandomStratified
    from meddel_hf.selectors.typiclust import TypiClust as TypiClust

# Names load on first use, so that the registry lists selectors without waiting for torch.
_HOME = {
    "Balanced": "balanced",
    "Dedup": "dedup",
    "DensityQuotas": "density",
    "KCentre": "kcentre",
    "MaxHerding": "max_herding",
    "MedDEL": "meddel",
    "Prototypicality": "prototypes",
    "Random": "random",
    "RandomStratified": "stratified",
    "Retrieval": "retrieval",
    "Selector": "protocol",
    "SemDeDup": "semdedup",
    "TypiClust": "typiclust",
}
__all__ = [
    "Balanced", "Dedup", "DensityQuotas", "KCentre", "MaxHerding", "MedDEL", "Prototypicality", "Random",
    "RandomStratified", "Retrieval", "Selector", "SemDeDup", "TypiClust",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'meddel_hf.selectors' has no attribute {name!r}")
    return getattr(import_module(f"meddel_hf.selectors.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__

"""Selectors: MedDEL, and what it has in common with its rivals."""

from meddel_hf.selectors.meddel import MedDEL
from meddel_hf.selectors.protocol import Selector

__all__ = ["MedDEL", "Selector"]

"""NormDEL: what a downstream score is worth, given the share of the pre-training data that it took.

The pure functions, on numpy alone. The metric itself is loaded by `evaluate.load("normdel")`, from `normdel.py`.
"""

from __future__ import annotations

from .formula import del_index, normdel
from .miou import image_ious, mean_iou

__all__ = ["del_index", "image_ious", "mean_iou", "normdel"]

"""A door: `python -m meddel_hf.segment`, and `accelerate launch -m meddel_hf.segment`, are `meddel segment`."""

from __future__ import annotations

import sys

from meddel_hf.__main__ import alone
from meddel_hf.downstream.segmentation.recipe import SegmentationRecipe as SegmentationRecipe
from meddel_hf.downstream.segmentation.segment import segment as segment

if __name__ == "__main__":
    sys.exit(alone("segment"))

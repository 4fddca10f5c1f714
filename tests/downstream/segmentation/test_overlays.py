"""Overlays: each frame shows its own picture, whatever other sets call theirs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from make_discs import frames, png
from PIL import Image as Picture

from meddel_hf.downstream.segmentation.masked_frames import LabelledFrames
from meddel_hf.downstream.segmentation.overlays import draw_overlays
from meddel_hf.downstream.segmentation.scoring import score


def test_two_sets_with_the_same_id_show_a_picture_each(tmp_path):
    def plain(*colour: int) -> LabelledFrames:
        image = png(np.full((168, 168, 3), colour, np.uint8))
        mask = png(np.zeros((168, 168), np.uint8))
        return LabelledFrames.of(frames(0, 1, id=["0001"], image=[image], mask=[mask]), str(colour), 2)

    tests = {"red": plain(200, 10, 10), "blue": plain(10, 10, 200)}
    logits = {name: torch.tensor([1.0, 0.0]).view(1, 2, 1, 1) for name in tests}
    draw_overlays(score(logits, tests), logits, tests, tmp_path / "overlays.png")
    with Picture.open(tmp_path / "overlays.png") as sheet:
        colours = Counter({colour: count for count, colour in sheet.getcolors(1 << 20)})
    inside = 166 * 166  # of 168, less the border of a cell
    assert colours[200, 10, 10] == colours[10, 10, 200] == inside

"""Overlays: the worst, middle and best frames of a segmentation run, with the outlines of mask and prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from meddel_hf import schema
from meddel_hf.data.contact_sheet import COLUMNS, FAINT, GONE, KEPT, Frame, draw_sheet
from meddel_hf.downstream.scores import Scores
from meddel_hf.downstream.segmentation.masked_frames import IGNORED, LabelledFrames
from meddel_hf.downstream.segmentation.model import predicted_mask

_REFERENCE, _PREDICTION = (0, 229, 255), (255, 196, 0)  # cyan and amber differ for colour-blind readers too
_SIDE = 168  # pixels, what a contact sheet shows


def draw_overlays(
    scores: Scores, logits: Mapping[str, torch.Tensor], tests: Mapping[str, LabelledFrames], path: Path
) -> None:
    """Write a PNG: for each test set a row of its worst frames, one of its middle ones and one of its best.

    logits: name of the test set -> (n, C, h, w). A frame that stands in two rows of a small set is drawn in the first.
    Of several sets a frame is called "set: id", since they may have ids in common.
    """
    rows: list[list[Frame]] = []
    images = {}
    for name, frames in tests.items():
        for row in _chosen(scores.of(name)):
            rows.append([])
            for frame in row:
                shown = replace(frame, id=f"{name}: {frame.id}" if len(tests) > 1 else frame.id)
                rows[-1].append(shown)
                images[shown.id] = _outlined(frames, logits[name], frame.id)
    title = f"Reference cyan, prediction amber. Worst, middle and best frames of {', '.join(tests)}"
    draw_sheet(title, rows, images, path)


def _chosen(scores: Scores) -> list[list[Frame]]:
    """Up to three rows of frames of one set, from low to high IoU."""
    table = scores.table.select([schema.ID, schema.SCORE, schema.UNION]).to_pylist()
    table.sort(key=lambda row: (row[schema.SCORE], -sum(row[schema.UNION]), row[schema.ID]))  # worst: most pixels wrong
    middle = max(0, len(table) // 2 - COLUMNS // 2)
    spans = {"worst": (0, COLUMNS), "middle": (middle, middle + COLUMNS), "best": (len(table) - COLUMNS, len(table))}
    colours = {"worst": GONE, "middle": FAINT, "best": KEPT}
    rows, done = [], 0
    for kind, (start, stop) in spans.items():
        shown = table[max(start, done) : stop]
        done = max(done, stop)
        if shown:
            rows.append([Frame(row[schema.ID], f"{kind}, IoU {row[schema.SCORE]:.3f}", colours[kind]) for row in shown])
    return rows


def _outlined(frames: LabelledFrames, logits: torch.Tensor, id: str) -> Image.Image:
    """The frame at the sheet's size with both outlines."""
    row = frames.rows[id]
    image, mask = frames.picture(row)
    predicted = predicted_mask(logits[row], mask.shape)
    small = ImageOps.contain(image, (_SIDE, _SIDE))
    pixels = np.array(small)
    for classes, colour in ((np.where(mask == IGNORED, 0, mask), _REFERENCE), (predicted, _PREDICTION)):
        shrunk = Image.fromarray(classes.astype(np.uint8)).resize(small.size, Image.Resampling.NEAREST)
        pixels[outline(np.asarray(shrunk))] = colour
    return Image.fromarray(pixels)


def outline(classes: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels of an object that touch another class, above, below, left or right of them."""
    padded = np.pad(classes, 1)  # an object that ends at the border has its outline there
    centre = padded[1:-1, 1:-1]
    sides = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    answer: np.ndarray = (centre != 0) & np.any([side != centre for side in sides], axis=0)
    return answer

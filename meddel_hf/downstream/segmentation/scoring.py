"""From the logits of test frames to their scores, each mask at its own size."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import torch
from normdel.miou import count_pixels, image_ious

from meddel_hf import schema
from meddel_hf.downstream.scores import COLUMNS, OF_MASKS, Scores
from meddel_hf.downstream.segmentation.masked_frames import IGNORED, LabelledFrames
from meddel_hf.downstream.segmentation.model import predicted_mask
from meddel_hf.runtime.text_table import aligned


def score(logits: Mapping[str, torch.Tensor], tests: Mapping[str, LabelledFrames]) -> Scores:
    """Scores of every test frame; both mappings: name of the test set -> (n, C, h, w) logits, or its n frames.

    Logits are brought to the size of the mask, the greatest one is the pixel's class. A frame's score is its IoU,
    averaged over the classes but the background that it or its prediction holds; 1 where neither holds any.
    """
    parts = [_score_set(name, logits[name], frames) for name, frames in tests.items()]
    return Scores(pa.concat_tables(parts), "miou")


def _score_set(name: str, logits: torch.Tensor, frames: LabelledFrames) -> pa.Table:
    ious, common, either = [], [], []
    options = {} if frames.num_labels == 2 else {"num_classes": frames.num_labels, "ignore_index": IGNORED}
    for frame, mask in zip(logits, frames.masks(), strict=True):
        predicted = predicted_mask(frame, mask.shape)
        intersection, union = count_pixels([predicted], [mask], **options)
        ious.append(image_ious([predicted], [mask], **options)[0])  # type: ignore[arg-type]
        common.append(intersection[0, 1:].tolist())
        either.append(union[0, 1:].tolist())
    columns = {
        schema.ID: frames.ids,
        schema.SET: [name] * len(frames),
        schema.GROUP: frames.groups,
        schema.LABEL: [None] * len(frames),
        schema.SCORE: ious,
        schema.INTERSECTION: common,
        schema.UNION: either,
    }
    return pa.table(columns, schema=COLUMNS)


def facts(scores: Scores) -> list[dict[str, str | int | float]]:
    """Of each test set its name, its frames, and its measures, all fractions."""
    parts = {name: scores.of(name) for name in scores.sets}
    return [
        {"set": name, "frames": len(part), **{str(measure): part.value(measure) for measure in OF_MASKS}}
        for name, part in parts.items()
    ]


def table(scores: Scores) -> str:
    """Text: a row for each test set with its frames, mIoU over images and over the set, and Dice, as fractions."""
    rows = [["set", "frames", "mIoU over images", "mIoU over the set", "Dice"]]
    for name in scores.sets:
        part = scores.of(name)
        rows.append([name, f"{len(part):,}", *(f"{part.value(measure):.4f}" for measure in OF_MASKS)])
    return aligned(rows)

"""Boxes: the owners' ways to write them, and whether they fit their frame."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from meddel_hf.datadel.source import Box, BoxFile

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_SLACK = 0.05  # share of the frame's side by which a box may stick out and is cut; more is an error in the data


class BadBox(ValueError):
    """A box that is not in the expected form, or not in its frame; its message is the reason."""


def parse(file: BoxFile, text: str, width: int, height: int) -> Iterator[Box]:
    """Boxes of a text file that belongs to a frame of width x height pixels. Raises BadBox."""
    if file.format == "csv":
        for row in csv.DictReader(io.StringIO(text)):
            try:
                left, top, right, bottom = (float(row[name]) for name in _CORNERS)
                yield Box.corners(row["class_name"], left, top, right, bottom)
            except (KeyError, TypeError, ValueError):
                raise BadBox(f"{file.entry.name}: expected class_name,xmin,ymin,xmax,ymax, found {row}") from None
        return
    for line in filter(str.strip, text.replace("\ufeff", "").splitlines()):
        try:
            yield _line(file, line, width, height)
        except (ValueError, IndexError):
            raise BadBox(f"{file.entry.name}: the line {line[:60]!r} is not a box") from None


def _line(file: BoxFile, line: str, width: int, height: int) -> Box:
    words = line.split("\t") if "\t" in line else line.split()
    if len(words) != 5:
        raise ValueError(line)
    if file.format == "corners last":
        left, top, right, bottom = map(float, words[:4])
        return Box.corners(words[4], left, top, right, bottom)
    first, *numbers = words
    a, b, c, d = map(float, numbers)
    if file.format == "yolo" and first.isdigit():
        if not all(0 <= value <= 1 for value in (a, b, c, d)):
            raise ValueError(line)
        return Box(file.classes[int(first)], (a - c / 2) * width, (b - d / 2) * height, c * width, d * height)
    return Box.corners(first, a, b, c, d)


def kvasir_json(text: str) -> dict[str, tuple[Box, ...]]:
    """Boxes by stem, of {stem: {height, width, bbox: [{label, xmin, ymin, xmax, ymax}]}}. Raises BadBox."""
    try:
        return {stem: tuple(map(_of_json, facts["bbox"])) for stem, facts in json.loads(text).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadBox(f"expected {{stem: {{height, width, bbox: [...]}}}}: {type(error).__name__} {error}") from None


def _of_json(box: dict[str, Any]) -> Box:
    left, top, right, bottom = (float(box[name]) for name in _CORNERS)
    return Box.corners(box["label"], left, top, right, bottom)


def fitted(box: Box, known: tuple[str, ...], width: int, height: int) -> Box:
    """The box cut to its frame. Raises BadBox where its class is unknown, or it is empty or not in the frame."""
    if known and box.label not in known:
        raise BadBox(f"unknown class {box.label!r} of a box: expected one of {', '.join(known)}")
    right, bottom = box.x + box.width, box.y + box.height
    shown = f"box of {box.label!r} from ({box.x:g}, {box.y:g}) to ({right:g}, {bottom:g})"
    if not (box.width > 0 and box.height > 0):
        raise BadBox(f"{shown} is empty")
    dx, dy = _SLACK * width, _SLACK * height
    if not (box.x >= -dx and box.y >= -dy and right <= width + dx and bottom <= height + dy):
        raise BadBox(f"{shown} is not inside its frame of {width} x {height} pixels")
    left, top = max(0.0, box.x), max(0.0, box.y)
    cut = Box(box.label, left, top, min(float(width), right) - left, min(float(height), bottom) - top)
    if not (cut.width > 0 and cut.height > 0):
        raise BadBox(f"{shown} is not inside its frame of {width} x {height} pixels")
    return cut

"""Boxes: the owners' ways to write them, and whether they fit their frame.

One rule for all of them: an odd entry costs itself, never its frame, nor the boxes beside it. What was left out or put
right is told in a remark.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from meddel_hf.datadel.archives.entries import Entry, Problem
from meddel_hf.datadel.layouts import stem_of
from meddel_hf.datadel.source import Box, Boxes, BoxFile, OddBox, Reader
from meddel_hf.errors import UnreadableArchive

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_COLUMNS = ("class_name", *_CORNERS)
_SLACK = 0.05  # share of the frame's side by which a box may stick out and is cut; more is an error in the data
_SAME = 0.01  # share by which a frame's side may differ from what the table says
_SHOWN = 60  # characters of the owner's text in a remark
_TOLD = 5  # remarks on one frame's boxes


class BadBox(ValueError):
    """What is odd about an entry, or a whole table of boxes; its message is the reason."""


def of_frame(
    source: Boxes,
    read: Reader,
    known: tuple[str, ...],
    width: int,
    height: int,
) -> tuple[list[Box], list[str]]:
    """Boxes of a frame of width x height pixels, and remarks on what was left out or put right.

    known: the source's classes of boxes; () where it has any.
    """
    boxes: list[Box] = []
    remarks: list[str] = []
    try:
        listed = parse(source, read(source.entry), width, height) if isinstance(source, BoxFile) else iter(source)
    except UnreadableArchive as error:
        return [], [f"built without its boxes: {source.entry.name} {error}"]  # type: ignore[union-attr]
    for each in listed:
        try:
            if isinstance(each, OddBox):
                raise BadBox(each.reason)
            _check_frame(each, width, height)
            box, swapped = ordered(each)
            boxes.append(fitted(box, known, width, height))
            if swapped:
                remarks.append(f"built with a box put right: the corners of {_shown(each)} were swapped")
        except BadBox as error:
            remarks.append(f"built with a box left out: {error}")
    if len(remarks) > _TOLD:
        remarks[_TOLD - 1 :] = [f"built without {len(remarks) - _TOLD + 1:,} more boxes that are odd"]
    return boxes, remarks


def parse(file: BoxFile, data: bytes, width: int, height: int) -> Iterator[Box | OddBox]:
    """Boxes of a text file that belongs to a frame of width x height pixels."""
    text = data.decode("utf-8-sig", "replace")
    lines = filter(str.strip, text.splitlines())
    if file.format == "csv":
        yield from _table(file, lines)
        return
    for line in lines:
        try:
            yield _line(file, line, width, height)
        except (ValueError, IndexError):
            yield OddBox(f"{file.entry.name}: the line {line[:_SHOWN]!r} is not a box")


def _table(file: BoxFile, lines: Iterator[str]) -> Iterator[Box | OddBox]:
    """Each line is read alone: a quote that is not closed would take the lines after it along."""
    expected = f"{file.entry.name}: expected {','.join(_COLUMNS)}"
    if (head := next(lines, None)) is None:
        return
    names = [name.strip(' "') for name in head.split(",")]
    if not set(_COLUMNS).issubset(names):
        yield OddBox(f"{expected} at its head, found {head[:_SHOWN]!r}: none of its lines was read")
        return
    for line in lines:
        try:
            row = dict(zip(names, next(csv.reader([line], skipinitialspace=True)), strict=False))
            yield Box.corners(row[_COLUMNS[0]], *(float(row[name]) for name in _CORNERS))
        except (KeyError, ValueError, csv.Error):
            yield OddBox(f"{expected}, found {line[:_SHOWN]!r}")


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
        if not all(-_SLACK <= value <= 1 + _SLACK for value in (a, b, c, d)):
            raise ValueError(line)
        return Box(file.classes[int(first)], (a - c / 2) * width, (b - d / 2) * height, c * width, d * height)
    return Box.corners(first, a, b, c, d)


def kvasir_tables(
    source: str, tables: Iterable[Entry], read: Reader
) -> tuple[dict[str, tuple[Box | OddBox, ...]], list[Problem]]:
    """Boxes by stem of all JSON tables of a source, and the tables that are none."""
    boxes: dict[str, tuple[Box | OddBox, ...]] = {}
    problems = []
    for table in tables:
        try:
            boxes.update(kvasir_json(read(table).decode("utf-8-sig", "replace")))
        except BadBox as error:
            problems.append(Problem(source, table.path, str(error)))
    return boxes, problems


def kvasir_json(text: str) -> dict[str, tuple[Box | OddBox, ...]]:
    """Boxes by stem, of {stem: {height, width, bbox: [{label, xmin, ymin, xmax, ymax}]}}; a key may have a suffix.

    Raises BadBox where the whole is no such table; an entry that is odd becomes an OddBox of its frame.
    """
    try:
        table = json.loads(text, parse_int=float)  # a float of any number of digits
        listed = list(table.items())
    except (ValueError, AttributeError, RecursionError) as error:
        raise BadBox(f"no boxes were read: expected {{stem: {{height, width, bbox: [...]}}}}: {error}"[:200]) from None
    boxes: dict[str, tuple[Box | OddBox, ...]] = {}
    for key, facts in listed:
        stem = stem_of(key)
        if stem in boxes:
            boxes[stem] = (*boxes[stem], OddBox(f"the table lists {stem[:_SHOWN]!r} twice, the first time counts"))
        else:
            boxes[stem] = tuple(_entries(facts))
    return boxes


def _entries(facts: Any) -> Iterator[Box | OddBox]:
    """Boxes of one stem's facts; none where the owner lists none, as an empty list or null."""
    boxes = facts.get("bbox", facts) if isinstance(facts, dict) else facts
    if boxes is None:
        return
    if not isinstance(boxes, list):
        yield OddBox("the table has no list 'bbox' for this frame")
        return
    frame = _frame(facts)
    for box in boxes:
        try:
            found = Box.corners(_text(box["label"]), *(float(box[name]) for name in _CORNERS))
            yield replace(found, frame=frame)
        except (KeyError, TypeError, ValueError, IndexError):
            yield OddBox(f"expected {{label, xmin, ymin, xmax, ymax}}, found {str(box)[:_SHOWN]}")


def _frame(facts: Any) -> tuple[float, float] | None:
    """(width, height) that the table tells of the frame."""
    told = facts if isinstance(facts, dict) else {}
    width, height = told.get("width"), told.get("height")
    if isinstance(width, float) and isinstance(height, float) and width > 0 and height > 0:
        return width, height
    return None


def _check_frame(box: Box, width: int, height: int) -> None:
    """Raises BadBox where the frame was made larger or smaller, cut or turned after the box was drawn."""
    if box.frame is None:
        return
    if any(abs(told - side) > _SAME * side for told, side in zip(box.frame, (width, height), strict=True)):
        raise BadBox(
            f"{_shown(box)} was drawn in a frame of {box.frame[0]:g} x {box.frame[1]:g} pixels, and this one has "
            f"{width} x {height}"
        )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def ordered(box: Box) -> tuple[Box, bool]:
    """The box with its corners in order, and whether they had to be swapped."""
    left, right = sorted((box.x, box.x + box.width))
    top, bottom = sorted((box.y, box.y + box.height))
    if box.width < 0 or box.height < 0:
        return Box.corners(box.label, left, top, right, bottom), True
    return box, False


def fitted(box: Box, known: tuple[str, ...], width: int, height: int) -> Box:
    """The box cut to its frame. Raises BadBox where its class is unknown, or it is empty or not in the frame."""
    if known and box.label not in known:
        raise BadBox(f"unknown class {box.label[:_SHOWN]!r} of a box: expected one of {', '.join(known)}")
    right, bottom = box.x + box.width, box.y + box.height
    if not (box.width > 0 and box.height > 0):
        raise BadBox(f"{_shown(box)} is empty")
    if right <= 1 and bottom <= 1:
        raise BadBox(f"{_shown(box)} lies within one pixel: expected pixels, not shares of the frame")
    dx, dy = _SLACK * width, _SLACK * height
    if not (box.x >= -dx and box.y >= -dy and right <= width + dx and bottom <= height + dy):
        raise BadBox(f"{_shown(box)} is not inside its frame of {width} x {height} pixels")
    left, top = max(0.0, box.x), max(0.0, box.y)
    cut = Box(box.label, left, top, min(float(width), right) - left, min(float(height), bottom) - top)
    if not (cut.width > 0 and cut.height > 0):
        raise BadBox(f"{_shown(box)} is not inside its frame of {width} x {height} pixels")
    return cut


def _shown(box: Box) -> str:
    corners = f"from ({box.x:g}, {box.y:g}) to ({box.x + box.width:g}, {box.y + box.height:g})"
    return f"a box of {box.label[:_SHOWN]!r} {corners}"

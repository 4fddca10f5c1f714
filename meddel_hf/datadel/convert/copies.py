"""A frame that was met in several files: they are silent where they agree, and listed where they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from meddel_hf.data.images import decode
from meddel_hf.datadel.archives.entries import Entry, Problem
from meddel_hf.datadel.archives.members import Members
from meddel_hf.datadel.convert.masks import pages_of
from meddel_hf.datadel.source import Item
from meddel_hf.errors import UnreadableArchive, UnreadableImage

_BLOCK = 1 << 20


def differing(built: Item, copies: tuple[Item, ...], source: str, members: Members) -> Iterator[Problem]:
    """A problem for each copy of a frame that holds another picture, or another mask, than what was built."""
    for copy in copies:
        path = copy.image.path
        try:
            same = _same(built.image, copy.image, members)
            if not (same or (not built.video and _same_pixels(built.image, copy.image, members, _pixels))):
                reason = f"second file of one id, with another content: it was built from {built.image.path}"
                yield Problem(source, path, reason)
            elif not _same_masks(built, copy, members):
                reason = f"another mask than that of {built.image.path}, with which the frame was built"
                yield Problem(source, path, reason, "remark")
        except UnreadableArchive as error:
            reason = f"second file of one id: it was built from {built.image.path}; this one {error}"
            yield Problem(source, path, reason)


def _same_masks(built: Item, copy: Item, members: Members) -> bool:
    """A copy without masks does not contradict."""
    ours, theirs = ([mask.entry for mask in item.masks] for item in (built, copy))
    if not theirs:
        return True
    return len(ours) == len(theirs) and all(
        _same(a, b, members) or _same_pixels(a, b, members, pages_of) for a, b in zip(ours, theirs, strict=True)
    )


def _same_pixels(first: Entry, second: Entry, members: Members, read: Callable[[bytes], np.ndarray]) -> bool:
    """Whether one picture was only stored in another way, as repacks do: a TIFF as PNG, or without its metadata."""
    try:
        return np.array_equal(read(members.read(first)), read(members.read(second)))
    except UnreadableImage as error:
        raise UnreadableArchive(str(error)) from error


def _pixels(data: bytes) -> np.ndarray:
    """(height, width, 3) uint8"""
    return np.asarray(decode(data))


def _same(first: Entry, second: Entry, members: Members) -> bool:
    if first.size != second.size:
        return False
    with members.reading(first) as one, members.reading(second) as other:
        while block := one.read(_BLOCK):
            if other.read(len(block)) != block:
                return False
    return True

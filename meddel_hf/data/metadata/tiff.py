"""TIFF: a file of the same length in which only what decoding needs is left; all other bytes are zero.

What is copied is listed, not what is removed: so a value that no tag points to any more goes as well.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator

from meddel_hf.data.metadata import exif
from meddel_hf.data.metadata.exif import Directory, Entry, Layout
from meddel_hf.data.metadata.pieces import Damaged, Tag

# Tags that say how pixels are stored and shown (TIFF 6.0, its supplements, and ICC profiles).
_STAY = frozenset((
    254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281, 282, 283, 284, 286, 287,
    288, 289, 290, 291, 292, 293, 296, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 334, 336, 338,
    339, 340, 341, 342, 347, 529, 530, 531, 532, 559, 32995, 32996, 32997, 32998, 34675, 34908, 34909, 37439,
))  # fmt: skip
_PHOTOMETRIC, _SOFTWARE = 262, 305
_OF_BOOLS = b"tifffile.py"  # says that 0 is white where 0 is black: without this name a mask is read as its opposite
_DATA = ((273, 279), (324, 325), (288, 289))  # offsets of strips, tiles, free bytes, and their lengths
_FREE = (288, 289)
_OLD_JPEG = range(512, 522)  # of TIFF 6.0's first JPEG, whose tables may lie anywhere


def tags(data: bytes) -> tuple[Tag, ...]:
    layout = Layout.of(data)
    tags: list[Tag] = []
    for directory in _all(data, layout):
        for entry in directory.entries:
            if not _stays(entry, directory, data, layout):
                try:
                    tags += exif.entry_tags(data, layout, entry)
                except (Damaged, struct.error):
                    tags.append(Tag(f"tag {entry.tag} (damaged)"))
    return tuple(dict.fromkeys(tags))


def stripped(data: bytes, orientation: int) -> bytes:
    """Raises Damaged where the file does not say where its pixels are: then nothing could be left out safely."""
    layout = Layout.of(data)
    out = bytearray(len(data))
    kept = [(0, 16 if layout.big else 8)]
    gone: list[tuple[int, int]] = []
    for number, directory in enumerate(_all(data, layout)):
        entries = [
            entry for entry in directory.entries if _stays(entry, directory, data, layout) and entry.tag not in _FREE
        ]
        apart = [one for one in directory.entries if not directory.start <= one.start < directory.end]
        kept += [(one.start, one.start + one.size) for one in apart if one in entries]
        gone += [(one.start, one.start + one.size) for one in apart if one not in entries]
        gone.append((directory.start, directory.end))
        kept += _pixels(data, layout, directory)
        raws = {entry.tag: entry.raw for entry in entries}
        if number == 0 and orientation > 1 and exif.ORIENTATION not in raws:
            if len(entries) == len(directory.entries):
                raise Damaged("a TIFF without room for its orientation")
            raws[exif.ORIENTATION] = _orientation(layout, orientation)
        _write(out, layout, directory, [raws[tag] for tag in sorted(raws)])
    _check_apart(kept, gone, len(data))
    for start, end in kept:
        out[start:end] = data[start:end]
    return bytes(out)


def _stays(entry: Entry, directory: Directory, data: bytes, layout: Layout) -> bool:
    if entry.tag != _SOFTWARE:
        return entry.tag in _STAY
    white = [one.numbers(data, layout) for one in directory.entries if one.tag == _PHOTOMETRIC]
    return white == [[0]] and entry.value(data).rstrip(b"\0") == _OF_BOOLS


def _check_apart(kept: list[tuple[int, int]], gone: list[tuple[int, int]], size: int) -> None:
    """Raises Damaged where what is to stay lies outside the file, or over what is to go."""
    kept.sort()
    if any(end > size for _, end in kept):
        raise Damaged("a TIFF whose pixels or tables lie outside the file")
    reach = 0
    ends = [reach := max(reach, end) for _, end in kept]  # of all that begin there or before
    for start, end in gone:
        before = bisect_right(kept, (end - 1, size)) if end > start else 0
        if before and ends[before - 1] > start:
            raise Damaged("a TIFF whose tags lie over its pixels")


def _all(data: bytes, layout: Layout) -> Iterator[Directory]:
    """Directories of all pages and of their reduced pictures."""
    for directory in exif.directories(data, layout, layout.first):
        yield directory
        for entry in directory.entries:
            if entry.tag == exif.SUB_IFDS:
                for at in entry.numbers(data, layout):
                    yield from exif.directories(data, layout, at)


def _pixels(data: bytes, layout: Layout, directory: Directory) -> Iterator[tuple[int, int]]:
    entries = {entry.tag: entry for entry in directory.entries}
    if any(tag in entries for tag in _OLD_JPEG):
        raise Damaged("a TIFF with an old kind of JPEG inside, whose parts cannot be told apart")
    is_private = False
    for offsets, lengths in _DATA[:2]:
        if offsets in entries:
            is_private = True
            if lengths not in entries:
                raise Damaged("a TIFF that does not say how long its strips are")
            starts, sizes = (entries[tag].numbers(data, layout) for tag in (offsets, lengths))
            if len(starts) != len(sizes):
                raise Damaged("a TIFF whose strips are not as many as their lengths")
            for start, size in zip(starts, sizes, strict=True):
                yield start, start + size
    if not is_private:
        raise Damaged("a TIFF that does not say where its pixels are")


def _write(out: bytearray, layout: Layout, directory: Directory, raws: list[bytes]) -> None:
    """A directory in its old place, with the entries that stay; values inside the entries come along."""
    head, pointer = ("Q", "Q") if layout.big else ("H", "I")
    packed = struct.pack(layout.order + head, len(raws)) + b"".join(raws)
    packed += struct.pack(layout.order + pointer, directory.next)
    out[directory.start : directory.start + len(packed)] = packed


def _orientation(layout: Layout, orientation: int) -> bytes:
    fields = "HHQH6x" if layout.big else "HHIH2x"
    return struct.pack(layout.order + fields, exif.ORIENTATION, 3, 1, orientation)

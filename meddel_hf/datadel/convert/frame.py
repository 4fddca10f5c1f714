"""From an item to rows: bytes read, checked and hashed. A row that does not pass carries its reason instead."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import imagehash
import numpy as np
from PIL import Image, ImageStat

from meddel_hf import schema
from meddel_hf.data.images import decode, look
from meddel_hf.datadel.archives.entries import Problem
from meddel_hf.datadel.archives.members import Members
from meddel_hf.datadel.convert import boxes, copies, masks
from meddel_hf.datadel.convert.videos import Remark, frames_of
from meddel_hf.datadel.source import Item, Mask, Source
from meddel_hf.errors import UnreadableArchive, UnreadableImage

HASH_SIDE = 16  # the perceptual hash has 16 x 16 bits
HASH_BYTES = HASH_SIDE * HASH_SIDE // 8
_LOOK = 12 * HASH_SIDE  # pixels at which a frame is decoded for the hash; with fewer, JPEG and PNG copies part
_FLAT = 4.0  # grey levels: a picture whose standard deviation is less has no shape to recognise


@dataclass(frozen=True)
class Baked:
    """A row that passed.

    row:        the columns of DataDEL.
    perceptual: HASH_BYTES bytes that resized and re-encoded copies share but for a few bits; None of a flat picture.
    by_class:   masks of single classes as PNG, where the owner tells them apart; the row's mask is their union.
    """

    row: dict[str, Any]
    perceptual: bytes | None
    by_class: tuple[tuple[str, bytes], ...]
    empty_mask: bool


def bake(item: Item, source: Source, members: Members, fps: float | None) -> Iterator[Baked | Problem]:
    """Rows of an item: one, or as many as a video has frames at `fps` frames per second; and the problems found.

    Where it is damaged, the first of its copies that is not gives the rows.
    """
    for number, each in enumerate((item, *item.copies)):
        rows = 0
        try:
            for baked in _video(each, source, members, fps) if each.video else _frame(each, source, members):
                rows += isinstance(baked, Baked)
                yield baked
        except (UnreadableArchive, UnreadableImage) as error:
            yield Problem(source.name, each.image.path, str(error))
            if not rows:
                continue
        yield from copies.differing(each, item.copies[number:], source.name, members)
        return


def _frame(item: Item, source: Source, members: Members) -> Iterator[Baked | Problem]:
    if item.label is not None and item.label not in source.labels:
        known = ", ".join(source.labels)
        raise UnreadableImage(f"unknown class {item.label!r}: expected one of {known}")
    data = members.read(item.image)
    seen = look(data, _LOOK)
    name = item.image.name
    if not seen.native:
        data, name = _as_png(data), f"{item.image.stem}.png"
    listed, remarks = boxes.of_frame(item.boxes, members.read, source.box_labels, seen.width, seen.height)
    remarks += seen.remarks
    if listed and seen.orientation != 1:
        remarks.append(
            f"its EXIF orientation ({seen.orientation}) turns the frame and not its boxes, which were taken as they "
            "stand: look whether they lie on the objects"
        )
    mask, by_class = _mask(item, members, seen.width, seen.height)
    files = (members.read(mask.entry) for mask in item.masks)
    if item.masks and (doubt := masks.turn_in_doubt(seen, files)):
        remarks.append(doubt)
    row = _row(item, source, item.path, data, name, (seen.width, seen.height))
    row[schema.BOXES] = [{"label": b.label, "bbox": [b.x, b.y, b.width, b.height]} for b in listed]
    if mask is not None:
        row[schema.MASK] = {"bytes": masks.encoded(mask), "path": f"{PurePosixPath(item.path).name}_mask.png"}
    encoded = tuple((label, masks.encoded(page)) for label, page in by_class)
    yield Baked(row, perceptual_hash(seen.small), encoded, mask is not None and not mask.any())
    yield from (Problem(source.name, item.image.path, reason, "remark") for reason in remarks)


def _video(item: Item, source: Source, members: Members, fps: float | None) -> Iterator[Baked | Problem]:
    if fps is None:
        raise UnreadableArchive("a video, and no rate of frames was chosen: name one with fps (--fps)")
    with members.reading(item.image) as file:
        for frame in frames_of(file, fps):
            if isinstance(frame, Remark):
                yield Problem(source.name, item.image.path, frame.reason, "remark")
                continue
            number, picture = frame
            encoded = io.BytesIO()
            picture.save(encoded, "JPEG", quality=95, subsampling=0)
            name = f"{item.image.stem}_{number:06d}"
            row = _row(item, source, f"{item.path}/{number:06d}", encoded.getvalue(), f"{name}.jpg", picture.size)
            yield Baked(row, perceptual_hash(look(encoded.getvalue(), _LOOK).small), (), False)


def _row(item: Item, source: Source, path: str, data: bytes, name: str, size: tuple[int, int]) -> dict[str, Any]:
    """A row without mask and boxes; size: (width, height) in pixels."""
    return {
        schema.ID: f"{source.name}/{path}",
        schema.IMAGE: {"bytes": data, "path": name},
        schema.MASK: None,
        schema.BOXES: [],
        schema.LABEL: item.label,
        schema.SOURCE: source.name,
        schema.CENTER: item.center,
        schema.GROUP: item.group,
        schema.OFFICIAL_SPLIT: item.official_split,
        schema.WIDTH: size[0],
        schema.HEIGHT: size[1],
    }


def perceptual_hash(picture: Image.Image) -> bytes | None:
    """HASH_BYTES bytes of imagehash.phash; None where the picture is flat. picture: grey, of any size."""
    if ImageStat.Stat(picture).stddev[0] < _FLAT:
        return None
    return np.packbits(imagehash.phash(picture, hash_size=HASH_SIDE).hash).tobytes()


def _as_png(data: bytes) -> bytes:
    file = io.BytesIO()
    decode(data).save(file, "PNG")
    return file.getvalue()


def _mask(
    item: Item, members: Members, width: int, height: int
) -> tuple[np.ndarray | None, list[tuple[str, np.ndarray]]]:
    """The union of an item's masks, (height, width) bool, and the single ones whose class is told."""
    if not item.masks:
        if item.expects_mask:
            raise UnreadableImage("no mask was found beside this frame")
        return None, []
    union = np.zeros((height, width), dtype=bool)
    by_class: dict[str, np.ndarray] = {}
    for mask in item.masks:
        for label, page in _named_pages(mask, members):
            if page.shape != union.shape:
                size = f"{page.shape[1]} x {page.shape[0]}"
                raise UnreadableImage(f"mask {mask.entry.name} is {size} pixels, its frame {width} x {height}")
            union |= page
            if label is not None:
                by_class[label] = by_class[label] | page if label in by_class else page
    return union, sorted(by_class.items())


def _named_pages(mask: Mask, members: Members) -> list[tuple[str | None, np.ndarray]]:
    try:
        pages = masks.pages_of(members.read(mask.entry), red=mask.red)
    except (UnreadableImage, UnreadableArchive) as error:
        raise UnreadableImage(f"mask {mask.entry.name}: {error}") from error
    if mask.label is not None or (len(pages) == 1 and not mask.pages):
        return [(mask.label, np.logical_or.reduce(pages))]
    if len(pages) != len(mask.pages):
        raise UnreadableImage(
            f"mask {mask.entry.name} has {len(pages)} pages: expected {len(mask.pages)} ({', '.join(mask.pages)})"
        )
    return list(zip(mask.pages, pages, strict=True))

"""Masks of the owners as rows have them: 0 and 255 in one channel."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from meddel_hf.data.decoding import SIDEWAYS, decoding, opened, orientation_of
from meddel_hf.data.images import Look
from meddel_hf.data.masks import binary


def pages_of(data: bytes, *, red: bool = False) -> np.ndarray:
    """(pages, height, width) bool; one page unless the file is a TIFF of several. Raises UnreadableImage."""
    return binary(data, red=red)


def turn_in_doubt(frame: Look, masks: Iterator[bytes]) -> str | None:
    """What to say where a frame is turned by its EXIF orientation and a mask of it is not, though it would fit turned.

    masks: files that were decoded already; of the frame's size, none is refused.
    """
    orientation = frame.orientation
    if orientation == 1 or (orientation in SIDEWAYS and frame.width != frame.height):  # then the size tells
        return None
    if all(_orientation(mask) == orientation for mask in masks):
        return None
    return (
        f"its EXIF orientation ({orientation}) turns the frame and not its mask, which was taken as upright: look "
        "whether it lies on the object"
    )


def _orientation(data: bytes) -> int:
    with decoding():
        image = opened(data)
        image.load()
        return orientation_of(image)


def encoded(mask: np.ndarray) -> bytes:
    """PNG of an (height, width) bool array: one channel, 0 and 255."""
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(file, "PNG", compress_type=zlib.Z_RLE)
    return file.getvalue()

"""Masks of the owners as rows have them: 0 and 255 in one channel."""

from __future__ import annotations

import io
import zlib

import numpy as np
from PIL import Image

from meddel_hf.data.masks import binary


def pages_of(data: bytes, *, red: bool = False) -> np.ndarray:
    """(pages, height, width) bool; one page unless the file is a TIFF of several. Raises UnreadableImage."""
    return binary(data, red=red)


def encoded(mask: np.ndarray) -> bytes:
    """PNG of an (height, width) bool array: one channel, 0 and 255."""
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(file, "PNG", compress_type=zlib.Z_RLE)
    return file.getvalue()

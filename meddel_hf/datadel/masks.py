"""Masks: whatever the owner stored, made 0 and 255 in one channel."""

from __future__ import annotations

import io
import math
import zlib

import numpy as np
from PIL import Image

from meddel_hf.errors import UnreadableImage
from meddel_hf.images import decode

_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_OBJECT = 127  # JPEG masks hold 0 to about 8 and 247 to 255; grey above this is the object


def pages_of(data: bytes, *, red: bool = False) -> np.ndarray:
    """(pages, height, width) bool; one page unless the file is a TIFF of several. Raises UnreadableImage."""
    if data.startswith(_TIFF):
        pages = _tiff_pages(data)
        if pages is not None:
            return pages
    picture = decode(data)
    grey = picture.getchannel("R") if red else picture.convert("L")
    return (np.asarray(grey) > _OBJECT)[None]


def _tiff_pages(data: bytes) -> np.ndarray | None:
    """Pages of a TIFF with several, which Pillow would show the first of; None where it has one."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            series = file.series[0]
            if math.prod(series.shape) > (Image.MAX_IMAGE_PIXELS or math.inf):
                raise UnreadableImage(f"too large: an array of shape {series.shape}")
            if len(file.pages) == 1 and (series.ndim < 3 or series.shape[-1] in (3, 4)):
                return None
            pixels = series.asarray()
    except UnreadableImage:
        raise
    except Exception as error:  # a damaged file makes tifffile raise nearly anything, and must not stop a build
        raise UnreadableImage(f"damaged mask: {type(error).__name__}: {error}"[:120]) from error
    if pixels.ndim != 3:
        raise UnreadableImage(f"a mask of shape {pixels.shape}: expected (pages, height, width)")
    return pixels > _OBJECT if pixels.dtype != np.bool_ else pixels


def encoded(mask: np.ndarray) -> bytes:
    """PNG of an (height, width) bool array: one channel, 0 and 255."""
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(file, "PNG", compress_type=zlib.Z_RLE)
    return file.getvalue()

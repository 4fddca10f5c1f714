"""What Pillow cannot read of TIFF files: frames whose header it refuses, and stacks under one header."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np

from meddel_hf.data.limits import check_size, too_many
from meddel_hf.errors import UnreadableImage

MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_PHOTOMETRICS = (1, 2)  # black is zero, RGB
_BITS = (8, 16, 32, 64)
_NEEDED = ("ImageWidth", "ImageLength", "BitsPerSample", "Compression", "PhotometricInterpretation", "SamplesPerPixel")


def first_page(data: bytes) -> tuple[np.ndarray, int]:
    """Pixels of the first page, (height, width) or (height, width, 3), and its EXIF orientation from 1 to 8.

    For what Pillow refuses though it is sound, such as CVC-ClinicDB's RGB marked as grey. Pillow may also refuse a page
    because a bit of its header has flipped, and tifffile puts a default where a tag is gone: so every tag that says how
    to read the pixels must stand there with a value that makes sense. Raises UnreadableImage.
    """
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page: Any = file.pages[0]
            check_size(page.imagewidth, page.imagelength)
            if too_many(math.prod(page.shape) // 4):
                raise UnreadableImage(f"too large: an array of shape {page.shape}")
            _check_header(page, len(data))
            pixels = page.asarray()
            planar = page.axes.startswith("S")
            orientation = int(page.tags.valueof("Orientation", 1))
    except tifffile.TiffFileError:
        raise UnreadableImage("not an image") from None
    pixels = np.moveaxis(pixels, 0, -1) if planar else pixels
    if pixels.ndim not in (2, 3):
        raise UnreadableImage(f"not an image: a TIFF of shape {page.shape}")
    if pixels.ndim == 3:
        pixels = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., 0]
    return pixels, orientation


def _check_header(page: Any, size: int) -> None:
    absent = [name for name in _NEEDED if name not in page.tags]
    if absent:
        raise UnreadableImage(f"damaged: a TIFF without {', '.join(absent)}")
    values = {name: page.tags.valueof(name) for name in _NEEDED}
    bits = values["BitsPerSample"]
    bits = {*bits} if isinstance(bits, tuple) else {bits}
    samples, photometric = int(values["SamplesPerPixel"]), int(values["PhotometricInterpretation"])
    if (
        len(bits) != 1
        or not bits.issubset(_BITS)
        or photometric not in _PHOTOMETRICS
        or (photometric == 2 and samples < 3)
        or page.planarconfig not in (1, 2)
        or page.dtype is None
    ):
        raise UnreadableImage(
            f"damaged, or a kind of TIFF that is not read: {samples} samples of {sorted(bits)} bits, photometric "
            f"interpretation {photometric}"
        )
    spans = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if any(offset <= 0 or count <= 0 or offset + count > size for offset, count in spans):
        raise UnreadableImage("truncated")
    if int(values["Compression"]) == 1 and sum(count for _, count in spans) < page.nbytes:
        raise UnreadableImage("truncated")


def stack(data: bytes) -> np.ndarray | None:
    """Pictures under one header, (pages, height, width), of which Pillow shows the first; None for other files."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            series = file.series[0]
            if series.ndim < 3 or "S" in series.axes:
                return None
            if too_many(math.prod(series.shape)):
                raise UnreadableImage(f"too large: an array of shape {series.shape}")
            pixels = series.asarray()
    except tifffile.TiffFileError:
        return None
    if pixels.ndim != 3:
        raise UnreadableImage(f"pages of shape {pixels.shape}: expected (pages, height, width)")
    return pixels

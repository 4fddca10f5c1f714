"""How large a picture may be: what its header claims is checked before any of it is decoded."""

from __future__ import annotations

from PIL import Image

from meddel_hf.errors import UnreadableImage


def too_many(pixels: int) -> bool:
    """Whether so many pixels are a decompression bomb: the limit is Pillow's, `PIL.Image.MAX_IMAGE_PIXELS`."""
    return Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS


def check_size(width: int, height: int) -> None:
    """Refuse a decompression bomb by its header."""
    if too_many(width * height):
        raise UnreadableImage(f"too large: {width}x{height} pixels, at most {Image.MAX_IMAGE_PIXELS} are decoded")

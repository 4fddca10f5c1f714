"""From bytes to pixels, for frames and masks alike: here damage becomes an error, and nowhere is it swallowed.

The order is what makes that true: pixels are loaded first, and EXIF is read after them. Pillow loads a PNG, or an
animation, when it is asked for EXIF; an error that is met there is not met again by the load that follows.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from PIL import ExifTags, Image, UnidentifiedImageError

from meddel_hf.data import tiff
from meddel_hf.data.limits import check_size
from meddel_hf.errors import UnreadableImage
from meddel_hf.runtime.regular import read_regular, why_not_read

# What a data set with Image(decode=False) holds, or what a user has in hand.
ImageSource = bytes | str | Path | Image.Image | Mapping[str, Any] | None

MOST_BYTES = 2**31  # of one file, all of which is held in memory while it is decoded
_EXIF_IN_HEADER = ("JPEG", "MPO")  # formats whose EXIF is read without loading pixels, and that can be drafted
_PROGRAMS = ("EPS", "WMF")  # to load them, Pillow starts Ghostscript, or asks Windows to draw what the file says
_REASON_LENGTH = 120
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height


@contextmanager
def decoding() -> Iterator[None]:
    """Turn whatever a decoder raises into UnreadableImage, with a reason that is the same on every run and machine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a frame's odd metadata is no news to the user of 100,000 frames
        try:
            yield
        except UnreadableImage:
            raise
        except FileNotFoundError:
            raise UnreadableImage("file not found") from None
        except (MemoryError, Image.DecompressionBombError) as error:
            raise UnreadableImage("too large to be decoded") from error
        except Exception as error:  # a damaged file makes decoders raise nearly anything, and must not stop a run
            raise UnreadableImage(_reason(error)) from error


def _reason(error: Exception) -> str:
    message = " ".join(re.sub(r"<[^>]*>", "", str(error)).split())  # "<_io.BytesIO object at 0x7f…>" differs each run
    if "truncated" in message.lower():
        return "truncated"
    return f"damaged: {type(error).__name__}: {message}"[:_REASON_LENGTH].rstrip(": ")


def opened(source: ImageSource) -> Image.Image:
    """Read the header, and all of the picture only where Pillow cannot read it and tifffile can.

    Call it, and `loaded`, inside `decoding()`. Raises UnreadableImage for what is too large by its header.
    """
    image = source if isinstance(source, Image.Image) else _opened(bytes_of(source))
    check_size(*image.size)
    return image


def loaded(image: Image.Image) -> Image.Image:
    """Load all pixels, then turn the picture as its EXIF orientation asks, like the Image feature of `datasets`.

    Raises whatever the decoder does. An EXIF block that is damaged, in a picture that is not, is left aside.
    """
    pending = getattr(image, "tile", None)
    try:
        image.load()
    except Exception:
        if pending:
            image.tile = pending  # type: ignore[attr-defined]  # else the next load of it would find nothing left to do
        raise
    return turned(image, _orientation(image))


def raw_mode(image: Image.Image) -> str:
    """How the decoder unpacks pixels, such as "L;4" or "RGB;16B"; after the load it is gone."""
    tiles = getattr(image, "tile", None)
    raw = tiles[0][3] if tiles else ""
    return raw if isinstance(raw, str) else str(raw[0]) if raw else ""


def is_halved(raw: str) -> bool:
    """Whether a picture of this `raw_mode` has 16 bits a channel, of which Pillow keeps the upper 8.

    Grey without alpha keeps all; BMP's "BGR;16" has 5 or 6 bits a channel.
    """
    return raw.startswith(("RGB", "LA")) and ";16" in raw


def drafted(image: Image.Image, mode: str | None, width: int, height: int) -> None:
    """Let a JPEG be decoded at a half, quarter or eighth of its size that is no smaller than this upright one."""
    if image.format in _EXIF_IN_HEADER:
        image.draft(mode, (height, width) if _is_sideways(image) else (width, height))


def size_before_loading(image: Image.Image) -> tuple[int, int] | None:
    """Upright (width, height) in pixels, where the header tells it: of a JPEG; None for other formats."""
    if image.format not in _EXIF_IN_HEADER:
        return None
    return (image.height, image.width) if _is_sideways(image) else image.size


def _is_sideways(image: Image.Image) -> bool:
    return _orientation(image) in SIDEWAYS


def _orientation(image: Image.Image) -> int | None:
    """To be asked after the load, or of a format whose header holds the EXIF block: see the head of this file."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        return None if orientation is None else int(orientation)
    except Exception:  # the picture may be sound where its EXIF block is not
        return None


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation of a picture that is loaded, from 1, which is upright, to 8."""
    found = _orientation(image)
    return found if found in _TURNS else 1


def at_hand(source: ImageSource) -> bytes | Image.Image:
    """The bytes of a picture that is not decoded yet, or the picture. Raises UnreadableImage as `decoding` does."""
    with decoding():
        return source if isinstance(source, Image.Image) else bytes_of(source)


def digest_of(source: bytes | Image.Image) -> bytes | None:
    """XXH3-128 of the bytes that a picture is stored as, 16 bytes; None of one that was decoded elsewhere."""
    return xxhash.xxh3_128_digest(source) if isinstance(source, bytes) else None


def bytes_of(source: ImageSource) -> bytes:
    """All bytes of a picture that is not decoded yet. Raises UnreadableImage where there are none, OSError too."""
    if isinstance(source, Mapping):
        source = source.get("bytes") if source.get("bytes") is not None else source.get("path")
    if source is None:
        raise UnreadableImage("no image")
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    elif isinstance(source, str) and "://" in source:
        from datasets.utils.file_utils import xopen

        with xopen(source, "rb") as file:
            data = file.read()
    elif isinstance(source, (str, Path)):
        data = file_bytes(source)
    else:
        raise UnreadableImage(f"not an image: {type(source).__name__}")
    if not data:
        raise UnreadableImage("empty file")
    return data


def file_bytes(path: str | Path) -> bytes:
    """What is in a file. Raises UnreadableImage where it is not there, is no regular file, or is larger than 2 GiB."""
    try:
        return read_regular(path, MOST_BYTES)
    except OSError as error:
        raise UnreadableImage(why_not_read(error)) from None


def _opened(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data))
        if image.format in _PROGRAMS:
            raise UnreadableImage(f"not an image: {image.format}, which another program would have to draw")
        if image.format == "PNG":  # its load checks no checksums of chunks: damage near the end of the data would pass
            Image.open(io.BytesIO(data)).verify()
        return image
    except UnidentifiedImageError:
        if not data.startswith(tiff.MAGIC):
            raise UnreadableImage("not an image") from None
        return _opened_by_tifffile(data)


def _opened_by_tifffile(data: bytes) -> Image.Image:
    pixels, orientation = tiff.first_page(data)
    return turned(Image.fromarray(pixels if pixels.dtype == np.uint8 else as_bytes(pixels)), orientation)


def turned(image: Image.Image, orientation: int | None) -> Image.Image:
    """A picture stored with an EXIF orientation from 1 to 8, upright."""
    turn = _TURNS.get(orientation or 1)
    return image if turn is None else image.transpose(turn)


def as_bytes(pixels: np.ndarray) -> np.ndarray:
    """Bring 16-bit or wider integers, or floats, to uint8; 65535, or 1.0, becomes 255.

    A frame's own range is not stretched: two neighbours of a video would then be scaled differently.
    """
    low, high = float(pixels.min()), float(pixels.max())
    is_float = np.issubdtype(pixels.dtype, np.floating)
    full = 1.0 if is_float and high <= 1 else 255.0 if is_float else 65535.0
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if not (low >= 0 and high <= full):  # so that NaN fails too
        raise UnreadableImage(f"pixel values from {low:g} to {high:g}: expected 0 to {full:g}")
    answer: np.ndarray = np.rint(pixels.astype(np.float32) * np.float32(255 / full)).astype(np.uint8)
    return answer

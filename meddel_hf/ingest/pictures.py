"""Pictures as they came, each with its mask, under the checks of `meddel build`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from meddel_hf.data.images import decode, look
from meddel_hf.data.metadata.frames import stripped
from meddel_hf.datadel.convert import masks
from meddel_hf.errors import UnreadableArchive, UnreadableImage
from meddel_hf.ingest.files import File, Library
from meddel_hf.ingest.masks import only
from meddel_hf.ingest.reading import Picture, Reading, Remark

_LOOK = 64  # pixels at which a frame is decoded to see that it can be: all of its data are read


def frames(file: File, found: Sequence[File], library: Library, reading: Reading) -> Iterator[Picture | Remark]:
    """The one frame of a picture's file: the first, where it has several. found: its masks; more than one are too many.

    Raises UnreadableImage or UnreadableArchive, whose message is the reason.
    """
    data, suffix = library.read(file), file.suffix
    seen = look(data, _LOOK)
    if not seen.native:
        data, suffix = as_png(decode(data)), ".png"
    elif reading.strip_metadata:
        data = stripped(data)
    mask = mask_of(found, library, seen.width, seen.height)
    yield Picture("", data, suffix, seen.width, seen.height, None, *coded(mask))
    if found and (doubt := masks.turn_in_doubt(seen, map(library.read, found))):
        yield Remark(doubt)
    yield from map(Remark, seen.remarks)


def mask_of(found: Sequence[File], library: Library, width: int, height: int) -> np.ndarray | None:
    """(height, width) bool, upright; None of a frame without a mask. Raises UnreadableImage."""
    if (file := only(found)) is None:
        return None
    name = file.entry.name
    try:
        pages = masks.pages_of(library.read(file))
    except (UnreadableImage, UnreadableArchive) as error:
        raise UnreadableImage(f"mask {name}: {error}") from error
    if len(pages) > 1:
        raise UnreadableImage(f"mask {name} has {len(pages)} pages: expected one")
    mask: np.ndarray = pages[0]
    check_size(mask, name, width, height)
    return mask


def check_size(mask: np.ndarray, name: str, width: int, height: int) -> None:
    """Raises UnreadableImage where a mask, (height, width), is not of its frame's size."""
    if mask.shape != (height, width):
        raise UnreadableImage(f"mask {name} is {mask.shape[1]} x {mask.shape[0]} pixels, its frame {width} x {height}")


def coded(mask: np.ndarray | None) -> tuple[bytes | None, bool]:
    """A mask as PNG, and whether it is empty."""
    return (None, False) if mask is None else (masks.encoded(mask), not mask.any())


def as_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def as_jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()

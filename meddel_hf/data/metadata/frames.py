"""What the file of one frame carries beside its pixels, and the same file without it."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import xxhash
from PIL import ExifTags, Image, ImageOps, ImageSequence

from meddel_hf.data.metadata import jpeg, others, png, tiff, webp
from meddel_hf.data.metadata.pieces import Damaged, Piece, Tag
from meddel_hf.errors import UnreadableImage

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True)
class _Format:
    """pieces: cuts a file; joined: puts it together, None where the format cannot say how a frame is turned."""

    pieces: Callable[[bytes], Iterator[Piece]]
    joined: Callable[[list[Piece], int], bytes] | None = None


def tags_of(data: bytes) -> tuple[Tag, ...]:
    """Tags in a frame's file that are no matter of decoding, without repeats.

    data: bytes of a JPEG, PNG, TIFF, WebP, GIF, JPEG 2000, PNM or BMP. Raises UnreadableImage, with the reason, where
    it is another format or does not have the parts of its own.
    """
    with _Reading():
        if data.startswith(_TIFF):
            return tiff.tags(data)
        return tuple(dict.fromkeys(tag for piece in _format(data).pieces(data) for tag in piece.tags))


def stripped(data: bytes) -> bytes:
    """The frame's file without metadata: the same pixels, turned the same way, and none of them compressed again.

    The orientation stays as the one EXIF tag, and the colour profile stays. Raises UnreadableImage as `tags_of` does.
    """
    with _Reading():
        if data.startswith(_TIFF):
            clean = tiff.stripped(data, _orientation(data))
            _check_pixels(data, clean)
            return clean
        parts = list(_format(data).pieces(data))
        joined = _format(data).joined
        plain = joined(list(parts), 1) if joined else b"".join(part.stays for part in parts)
        if plain == data or (orientation := _orientation(data)) == 1:
            return plain
        if joined is None:
            raise Damaged("its orientation stands in its metadata alone")
        return joined(parts, orientation)


def _format(data: bytes) -> _Format:
    if data.startswith(b"\xff\xd8"):
        return _Format(jpeg.pieces, jpeg.joined)
    if data.startswith(png.SIGNATURE):
        return _Format(png.pieces, png.joined)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _Format(webp.pieces, webp.joined)
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return _Format(others.gif_pieces)
    if data.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return _Format(others.jp2_pieces)
    if data[:1] == b"P" and data[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6"):
        return _Format(others.pnm_pieces)
    if data.startswith(b"BM"):
        return _Format(others.bmp_pieces)
    raise Damaged("a format whose metadata this program does not know" if data else "an empty file")


def _orientation(data: bytes) -> int:
    """How Pillow, and so the Image feature of `datasets`, turns the frame: 1 to 8; 1 is not at all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as image:
                value = image.getexif().get(ExifTags.Base.Orientation)
        except Exception:  # its EXIF block is damaged, or Pillow cannot read the frame at all: nobody turns it
            return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _check_pixels(before: bytes, after: bytes) -> None:
    """Raises Damaged where readers go by something else than the tags that stay, as with strips of a wrong length."""
    seen = _tiff_pixels(before)
    if seen is not None and seen != _tiff_pixels(after):
        raise Damaged("a TIFF whose pixels lie elsewhere than its tags say")


def _tiff_pixels(data: bytes) -> list[tuple[str, tuple[int, int], bytes]] | None:
    """Mode, size and digest of every page, upright; None where Pillow cannot read the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as image:
                pages = [ImageOps.exif_transpose(page.copy()) for page in ImageSequence.Iterator(image)]
            return [(page.mode, page.size, xxhash.xxh3_128_digest(page.tobytes())) for page in pages]
        except Exception:  # a damaged file makes decoders raise nearly anything
            return None


class _Reading:
    """Turn what damaged files raise into UnreadableImage, whose message is the reason."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (Damaged, struct.error, IndexError)):
            raise UnreadableImage(str(error) or "damaged") from error

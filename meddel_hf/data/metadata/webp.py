"""WebP: chunks of a RIFF file, and the flags in its VP8X chunk that say which there are."""

from __future__ import annotations

from collections.abc import Iterator

from meddel_hf.data.metadata import exif
from meddel_hf.data.metadata.pieces import Damaged, Piece, Tag, after

_STAY = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
_HAS_EXIF, _HAS_XMP = 0x08, 0x04


def pieces(data: bytes) -> Iterator[Piece]:
    yield Piece(data[:12])
    at, end = 12, 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise Damaged("a WebP that is cut off")
    while at + 8 <= end:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        following = at + 8 + size + size % 2
        if following > end + 1:  # the last one's padding may be missing
            raise Damaged("a WebP whose chunk is cut off")
        kind, content = data[at : at + 4], data[at + 8 : at + 8 + size]
        yield Piece(data[at:following]) if kind in _STAY else Piece(b"", _tags(kind, content))
        at = following
    yield after(data[max(at, end) :])


def joined(parts: list[Piece], orientation: int) -> bytes:
    if orientation > 1:
        block = exif.orientation_block(orientation)
        parts.append(Piece(b"EXIF" + len(block).to_bytes(4, "little") + block))
    chunks = b"".join(_flagged(part.stays, orientation) for part in parts[1:])
    return b"RIFF" + (4 + len(chunks)).to_bytes(4, "little") + b"WEBP" + chunks


def _flagged(chunk: bytes, orientation: int) -> bytes:
    if chunk[:4] != b"VP8X":
        return chunk
    flags = chunk[8] & ~(_HAS_EXIF | _HAS_XMP) | (_HAS_EXIF if orientation > 1 else 0)
    return chunk[:8] + bytes([flags]) + chunk[9:]


def _tags(kind: bytes, content: bytes) -> tuple[Tag, ...]:
    if kind == b"EXIF":
        return exif.exif_tags(content)
    if kind == b"XMP ":
        return exif.xmp_tags(content)
    return (Tag.of(f"WebP {kind.decode('latin-1')}", content),)

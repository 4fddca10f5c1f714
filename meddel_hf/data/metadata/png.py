"""PNG: chunks. Those that a decoder needs stay, all else goes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from meddel_hf.data.metadata import exif
from meddel_hf.data.metadata.pieces import Damaged, Piece, Tag, after

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_STAY = frozenset(b"tRNS gAMA cHRM sRGB iCCP sBIT bKGD pHYs hIST cICP mDCv cLLi acTL fcTL fdAT".split())
_TELLING = frozenset(("Author", "Artist", "Creator"))
_INFLATED = 1 << 20  # bytes of a compressed text that are looked at


def pieces(data: bytes) -> Iterator[Piece]:
    yield Piece(data[:8])
    at, kind = 8, b""
    while kind != b"IEND":
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if end > len(data) or not (kind.isalpha() and kind.isascii()):
            raise Damaged("a PNG whose chunk is cut off or has no name")
        needed = kind[:1].isupper() or kind in _STAY
        yield Piece(data[at:end]) if needed else Piece(b"", _tags(kind, data[at + 8 : end - 4]))
        at = end
    yield after(data[at:])


def joined(parts: list[Piece], orientation: int) -> bytes:
    if orientation > 1:
        parts.insert(2, Piece(chunk(b"eXIf", exif.orientation_block(orientation))))
    return b"".join(part.stays for part in parts)


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def _tags(kind: bytes, content: bytes) -> tuple[Tag, ...]:
    if kind == b"eXIf":
        return exif.exif_tags(content)
    if kind not in (b"tEXt", b"zTXt", b"iTXt"):
        return (Tag.of(f"PNG {kind.decode()}", content),)
    key, _, text = content.partition(b"\0")
    if kind == b"zTXt":
        text = _inflated(text[1:])
    if kind == b"iTXt":
        packed, text = text[:1] == b"\1", text[2:].partition(b"\0")[2].partition(b"\0")[2]
        text = _inflated(text) if packed else text
    name = key.decode("latin-1")
    if name in ("XML:com.adobe.xmp", "Raw profile type xmp"):
        return exif.xmp_tags(text if name.startswith("XML") else _profile(text))
    if name in ("Raw profile type exif", "Raw profile type APP1"):
        return exif.exif_tags(_profile(text))
    if name in ("Raw profile type iptc", "Raw profile type 8bim"):
        return exif.photoshop_tags(_profile(text))
    return (Tag.of(f"PNG {name}", text, name in _TELLING),)


def _inflated(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, _INFLATED)
    except zlib.error:
        return packed


def _profile(text: bytes) -> bytes:
    """A block as ImageMagick writes it into a text: a name, a length, then hexadecimal digits."""
    try:
        return bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))
    except ValueError:
        return text

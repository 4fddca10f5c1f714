"""JPEG: segments before the picture, between its scans and after its end."""

from __future__ import annotations

import re
from collections.abc import Iterator

from meddel_hf.data.metadata import exif
from meddel_hf.data.metadata.pieces import Damaged, Piece, Tag, after, names_a_person

# A marker: neither a stuffed byte, nor a restart inside coded data, nor filling.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_SOI, _EOI, _SOS, _DNL, _COMMENT = 0xD8, 0xD9, 0xDA, 0xDC, 0xFE
_APP = range(0xE0, 0xF0)
_RESERVED = range(0x02, 0xC0)  # no decoder takes them
_XMP_HEADS = (b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0")


def pieces(data: bytes) -> Iterator[Piece]:
    yield Piece(data[:2])
    at, in_scan = 2, False
    while (match := _MARKER.search(data, at)) is not None:
        start, marker = match.start(), data[match.start() + 1]
        between = data[at:start]
        if in_scan:
            yield Piece(between)
        elif between.strip(b"\xff\0"):
            yield Piece(b"", (Tag("data between segments", names_a_person(between)),))
        if marker == _EOI:
            yield Piece(data[start : start + 2])
            yield after(data[start + 2 :])
            return
        if marker == _SOI or marker in _RESERVED:
            raise Damaged(f"a JPEG with the marker {marker:02X} where none can be")
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if end < start + 4 or end > len(data):
            raise Damaged("a JPEG whose segment is cut off")
        yield _segment(marker, data[start:end])
        at, in_scan = end, marker in (_SOS, _DNL)
    if not in_scan:
        raise Damaged("a JPEG that ends before its picture")
    yield Piece(data[at:])  # cut off in the middle: not for us to judge


def joined(parts: list[Piece], orientation: int) -> bytes:
    if orientation > 1:
        block = b"Exif\0\0" + exif.orientation_block(orientation)
        segment = b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block
        parts.insert(2 if parts[1].stays[4:9] == b"JFIF\0" else 1, Piece(segment))
    return b"".join(part.stays for part in parts)


def _segment(marker: int, segment: bytes) -> Piece:
    content = segment[4:]
    if marker == _COMMENT:
        return Piece(b"", (Tag.of("JPEG comment", content),))
    if marker not in _APP:
        return Piece(segment)
    if marker == 0xE0 and content.startswith(b"JFIF\0") and len(content) >= 14:
        if len(content) == 14:
            return Piece(segment)
        return Piece(b"\xff\xe0\0\x10" + content[:12] + b"\0\0", (Tag("Thumbnail"),))
    if (marker == 0xEE and content.startswith(b"Adobe")) or (marker == 0xE2 and content.startswith(b"ICC_PROFILE\0")):
        return Piece(segment)
    return Piece(b"", _tags(marker, content))


def _tags(marker: int, content: bytes) -> tuple[Tag, ...]:
    """Tags of an application's segment."""
    if marker == 0xE1 and content.startswith(b"Exif\0"):
        return exif.exif_tags(content[6:])
    for head in _XMP_HEADS:
        if marker == 0xE1 and content.startswith(head):
            return exif.xmp_tags(content[len(head) :])
    if marker == 0xED and content.startswith(b"Photoshop 3.0\0"):
        return exif.photoshop_tags(content)
    if marker == 0xE0 and content.startswith(b"JFXX\0"):
        return (Tag("Thumbnail"),)
    name = re.match(rb"[\x20-\x7e]{0,20}", content)
    return (Tag.of(f"APP{marker - 0xE0} {name[0].decode() if name else ''}".rstrip(), content),)

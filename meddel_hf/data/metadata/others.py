"""GIF, JPEG 2000, PNM and BMP: formats with few places for metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator

from meddel_hf.data.metadata.pieces import Damaged, Piece, Tag, after

_GIF_STAY = (b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012")
_BOXES_STAY = frozenset((b"jP  ", b"ftyp", b"jp2h", b"jp2c"))
_SOC, _COM, _SOT = b"\xff\x4f", b"\xff\x64", b"\xff\x90"
_PNM_NUMBERS = {b"1": 2, b"4": 2}  # in the header: width, height; the other kinds have the greatest value as well
_PNM_COMMENT = re.compile(rb"#[^\r\n]*")
_PNM_HEAD = re.compile(rb"\s*(?:(?P<comment>#[^\r\n]*)|(?P<number>[0-9]+))")


def gif_pieces(data: bytes) -> Iterator[Piece]:
    at = 13 + _gif_palette(data, 10)
    yield Piece(data[:at])
    while at < len(data):
        kind = data[at]
        if kind == 0x3B:
            yield Piece(data[at : at + 1])
            yield after(data[at + 1 :])
            return
        if kind == 0x2C:
            end = _gif_blocks(data, at + 10 + _gif_palette(data, at + 9) + 1)
            yield Piece(data[at:end])
        elif kind == 0x21:
            end = _gif_blocks(data, at + 2)
            yield _gif_extension(data[at:end])
        elif kind == 0:
            end = at + 1
        else:
            raise Damaged("a GIF with a block that none has")
        at = end


def _gif_palette(data: bytes, at: int) -> int:
    if at >= len(data):
        raise Damaged("a GIF that is cut off")
    return 3 << (data[at] & 7) + 1 if data[at] & 0x80 else 0


def _gif_blocks(data: bytes, at: int) -> int:
    """End of the blocks that start there."""
    while at < len(data):
        if data[at] == 0:
            return at + 1
        at += 1 + data[at]
    raise Damaged("a GIF that is cut off")


def _gif_extension(block: bytes) -> Piece:
    label, head, content = block[1], block[3:14], block[3:]
    if label == 0xF9 or (label == 0xFF and head in _GIF_STAY):
        return Piece(block)
    if label == 0xFF:
        return Piece(b"", (Tag.of(f"GIF {head.decode('latin-1').strip()}", content),))
    return Piece(b"", (Tag.of("GIF comment" if label == 0xFE else "GIF text", content),))


def jp2_pieces(data: bytes) -> Iterator[Piece]:
    """Boxes, or a bare codestream. The first piece of a codestream's box is its head, whose length `joined` mends."""
    if data.startswith(_SOC):
        yield from _codestream(data)
        return
    at = 0
    while at + 8 <= len(data):
        size, kind, body = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, body = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        end = len(data) if size == 0 else at + size
        if end > len(data) or end < body:
            raise Damaged("a JPEG 2000 file whose box is cut off")
        if kind == b"jp2c":
            markers = list(_codestream(data[body:end]))
            code = b"".join(piece.stays for piece in markers)
            tags = tuple(tag for piece in markers for tag in piece.tags)
            yield Piece((len(code) + 8).to_bytes(4, "big") + kind + code if tags else data[at:end], tags)
        elif kind in _BOXES_STAY:
            yield Piece(data[at:end])
        elif kind in (b"ftbl", b"flst", b"jplh", b"jpch"):
            raise Damaged("a JPEG 2000 file in fragments")
        else:
            yield Piece(b"", (Tag.of(f"JPEG 2000 {kind.decode('latin-1').strip()}", data[body:end]),))
        at = end
    yield after(data[at:])


def _codestream(data: bytes) -> Iterator[Piece]:
    """The main header's segments, then the rest; comments in tiles' own headers are rare, and are told."""
    yield Piece(data[:2])
    at = 2
    while data[at : at + 2] != _SOT:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at : at + 1] != b"\xff" or end > len(data) or end < at + 4:
            raise Damaged("a JPEG 2000 file whose header is damaged")
        is_comment = data[at : at + 2] == _COM
        yield Piece(b"", (Tag.of("JPEG 2000 comment", data[at + 6 : end]),)) if is_comment else Piece(data[at:end])
        at = end
    yield Piece(data[at:])


def pnm_pieces(data: bytes) -> Iterator[Piece]:
    yield Piece(data[:2])
    at, missing = 2, _PNM_NUMBERS.get(data[1:2], 3)
    while missing:
        head = _PNM_HEAD.match(data, at)
        if head is None:
            raise Damaged("a PNM file whose header is damaged")
        if head["comment"] is not None:
            yield Piece(b"", (Tag.of("PNM comment", head["comment"]),))
        else:
            yield Piece(data[at : head.end()])
            missing -= 1
        at = head.end()
    comments = _PNM_COMMENT.findall(data, at) if data[1:2] in b"123" else []  # pixels as text, with comments among them
    tags = tuple(Tag.of("PNM comment", comment) for comment in comments)
    yield Piece(_PNM_COMMENT.sub(b"", data[at:]) if comments else data[at:], tags)


def bmp_pieces(data: bytes) -> Iterator[Piece]:
    yield Piece(data)

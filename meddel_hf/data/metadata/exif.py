"""Directories of tags, as TIFF files and EXIF blocks have them; and the other blocks of metadata that formats share."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import ExifTags

from meddel_hf.data.metadata.pieces import Damaged, Tag, names_a_person

EXIF_IFD, GPS_IFD, INTEROP_IFD, SUB_IFDS = 34665, 34853, 40965, 330
ORIENTATION, XMP, IPTC, PHOTOSHOP = 274, 700, 33723, 34377
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MOST_DIRECTORIES, _MOST_ENTRIES, _MOST_INSIDE = 10_000, 300_000, 8  # so that a file made to be slow is not
_PREFIX = b"Exif\0\0"
# Of the newest EXIF, which not every Pillow can name.
_NEWER = {0xA436: "ImageTitle", 0xA437: "Photographer", 0xA438: "ImageEditor", 0xA439: "CameraFirmware"}
_TELLING = frozenset((
    "Artist", "XPAuthor", "CameraOwnerName", "BodySerialNumber", "LensSerialNumber", "CameraSerialNumber",
    "HostComputer", "Photographer", "ImageEditor",
))  # fmt: skip
_POSITIONS = frozenset((2, 4, 6, 20, 22, 27, 28))  # of the GPS directory: latitude, longitude, altitude, area
# How pixels are to be understood; says nothing of anybody.
_TECHNICAL = frozenset((
    "Orientation", "XResolution", "YResolution", "ResolutionUnit", "YCbCrPositioning", "YCbCrSubSampling",
    "YCbCrCoefficients", "ReferenceBlackWhite", "ExifOffset", "ExifVersion", "ComponentsConfiguration",
    "FlashPixVersion", "ColorSpace", "ExifImageWidth", "ExifImageHeight", "ExifInteroperabilityOffset", "ImageWidth",
    "ImageLength", "BitsPerSample", "SamplesPerPixel", "Compression", "PhotometricInterpretation",
    "PlanarConfiguration", "RowsPerStrip", "Gamma", "Padding",
))  # fmt: skip
_THUMBNAIL = frozenset(("JpegIFOffset", "JpegIFByteCount", "StripOffsets", "StripByteCounts"))
_XMP_TELLING = re.compile(
    rb"[:\s](creator|Artist|GPS[A-Za-z]+|OwnerName|CameraOwnerName|[A-Za-z]*SerialNumber|AuthorsPosition|CaptionWriter|"
    rb"Credit|City|State|Country|Location|Creator[A-Z][A-Za-z]+|PersonInImage|Patient[A-Za-z]*|Owner)(?=[\s=>/])"
)
_IPTC_NAMES = {5: "ObjectName", 25: "Keywords", 80: "By-line", 85: "By-lineTitle", 90: "City", 92: "Sub-location",
               95: "Province-State", 101: "Country", 110: "Credit", 115: "Source", 116: "CopyrightNotice",
               118: "Contact", 120: "Caption", 122: "CaptionWriter"}  # fmt: skip
_IPTC_TELLING = frozenset((80, 85, 90, 92, 95, 110, 118, 122))


@dataclass(frozen=True)
class Layout:
    """order: "<" or ">"; big: BigTIFF, with 64-bit offsets; first: where the first directory is."""

    order: str
    big: bool
    first: int

    @classmethod
    def of(cls, data: bytes) -> Layout:
        order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
        if order is None or len(data) < 8:
            raise Damaged("no TIFF header")
        magic = struct.unpack_from(order + "H", data, 2)[0]
        if magic == 43 and len(data) >= 16:
            return cls(order, True, struct.unpack_from(order + "Q", data, 8)[0])
        if magic not in (42, 43):
            raise Damaged("no TIFF header")
        return cls(order, False, struct.unpack_from(order + "I", data, 4)[0])


@dataclass(frozen=True)
class Entry:
    """raw: the entry's own bytes; start, size: of its value in the file, which may lie beyond a damaged file's end."""

    tag: int
    kind: int
    count: int
    raw: bytes
    start: int
    size: int

    def value(self, data: bytes) -> bytes:
        return bytes(data[self.start : self.start + self.size])

    def numbers(self, data: bytes, layout: Layout) -> list[int]:
        """The value as whole numbers."""
        code = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(self.kind)
        if code is None or self.start + self.size > len(data):
            raise Damaged(f"tag {self.tag} has no numbers")
        return list(struct.unpack_from(f"{layout.order}{self.count}{code}", data, self.start))


@dataclass(frozen=True)
class Directory:
    """start, end: in the file, with the pointer to the next one; next: where that is, 0 for none."""

    start: int
    end: int
    entries: tuple[Entry, ...]
    next: int


def read_directory(data: bytes, layout: Layout, at: int) -> Directory:
    order = layout.order
    head, width, pointer, fields, room = ("Q", 20, "Q", "HHQ", 8) if layout.big else ("H", 12, "I", "HHI", 4)
    begin = at + struct.calcsize(order + head)
    if at < 8 or begin > len(data):
        raise Damaged("a directory of tags lies outside the file")
    count = struct.unpack_from(order + head, data, at)[0]
    end = begin + count * width + struct.calcsize(order + pointer)
    if end > len(data):
        raise Damaged("a directory of tags is cut off")
    entries = []
    for i in range(count):
        where = begin + i * width
        tag, kind, number = struct.unpack_from(order + fields, data, where)
        size = number * _SIZES.get(kind, 1)
        inline = where + width - room
        start = inline if size <= room else struct.unpack_from(order + pointer, data, inline)[0]
        entries.append(Entry(tag, kind, number, bytes(data[where : where + width]), start, size))
    following = struct.unpack_from(order + pointer, data, end - struct.calcsize(order + pointer))[0]
    return Directory(at, end, tuple(entries), following)


def directories(data: bytes, layout: Layout, at: int) -> Iterator[Directory]:
    """A chain of directories. Raises Damaged where it runs in a circle or outside the file."""
    seen: set[int] = set()
    entries = 0
    while at:
        if at in seen or len(seen) >= _MOST_DIRECTORIES or entries > _MOST_ENTRIES:
            raise Damaged("the directories of tags run in a circle, or have no end")
        seen.add(at)
        directory = read_directory(data, layout, at)
        entries += len(directory.entries)
        yield directory
        at = directory.next


def exif_tags(block: bytes) -> tuple[Tag, ...]:
    """Tags of an EXIF block that say more than how to show the pixels. One that is damaged is one tag itself."""
    block = block.removeprefix(_PREFIX)
    tags: list[Tag] = []
    try:
        layout = Layout.of(block)
        for directory in directories(block, layout, layout.first):
            tags += [tag for entry in directory.entries for tag in entry_tags(block, layout, entry)]
    except (Damaged, struct.error):
        tags.append(Tag("EXIF (damaged)", names_a_person(block)))
    return tuple(dict.fromkeys(tags))


def entry_tags(data: bytes, layout: Layout, entry: Entry) -> tuple[Tag, ...]:
    """Tags of one entry: none for a technical one, those inside for a directory of its own."""
    value = entry.value(data)
    name = ExifTags.TAGS.get(entry.tag) or _NEWER.get(entry.tag) or f"tag {entry.tag}"
    if entry.tag in (EXIF_IFD, GPS_IFD, INTEROP_IFD):
        return _tags_inside(data, layout, entry)
    if entry.tag == XMP:
        return xmp_tags(value)
    if entry.tag in (IPTC, PHOTOSHOP):
        return iptc_tags(value) if entry.tag == IPTC else photoshop_tags(value)
    if name in _THUMBNAIL:
        return (Tag("Thumbnail"),)
    return () if name in _TECHNICAL else (Tag.of(name, value, name in _TELLING),)


def _tags_inside(data: bytes, layout: Layout, entry: Entry) -> tuple[Tag, ...]:
    if entry.tag == INTEROP_IFD:
        return ()
    tags: list[Tag] = []
    for at in entry.numbers(data, layout)[:_MOST_INSIDE]:
        inside = read_directory(data, layout, at)
        if entry.tag == GPS_IFD:
            tags.append(Tag("GPSInfo", any(one.tag in _POSITIONS for one in inside.entries)))
            continue
        for one in inside.entries:  # a directory of EXIF has GPS and interoperability below it at most
            tags += entry_tags(data, layout, one) if one.tag != EXIF_IFD else ()
    return tuple(tags)


def xmp_tags(packet: bytes) -> tuple[Tag, ...]:
    plain = packet.replace(b"\0", b"")
    names = sorted({match.group(1).decode() for match in _XMP_TELLING.finditer(plain)})
    return Tag("XMP", names_a_person(plain)), *(Tag(f"XMP {name[:40]}", True) for name in names)


def photoshop_tags(block: bytes) -> tuple[Tag, ...]:
    """Resources of an image editor: IPTC by its fields, the rest under one name."""
    at, tags = block.find(b"8BIM"), [Tag("Photoshop", False)]
    while at >= 0 and block[at : at + 4] == b"8BIM" and at + 12 <= len(block):
        number = int.from_bytes(block[at + 4 : at + 6], "big")
        body = at + 6 + (block[at + 6] + 2) // 2 * 2
        size = int.from_bytes(block[body : body + 4], "big")
        value = block[body + 4 : body + 4 + size]
        tags += iptc_tags(value) if number == 0x0404 else [Tag("Photoshop", names_a_person(value))]
        at = body + 4 + (size + 1) // 2 * 2
    telling = any(tag.telling for tag in tags if tag.name == "Photoshop")
    return Tag("Photoshop", telling), *(tag for tag in dict.fromkeys(tags) if tag.name != "Photoshop")


def iptc_tags(block: bytes) -> tuple[Tag, ...]:
    tags, at = [], 0
    while at + 5 <= len(block) and block[at] == 0x1C:
        record, number, size = block[at + 1], block[at + 2], int.from_bytes(block[at + 3 : at + 5], "big")
        if record == 2 and number:
            name = "IPTC " + _IPTC_NAMES.get(number, str(number))
            tags.append(Tag.of(name, block[at + 5 : at + 5 + size], number in _IPTC_TELLING))
        at += 5 + size
    return tuple(dict.fromkeys(tags)) or (Tag("IPTC", names_a_person(block)),)


def orientation_block(orientation: int) -> bytes:
    """An EXIF block that holds nothing but how to turn the frame."""
    return struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, ORIENTATION, 3, 1, orientation, 0, 0)

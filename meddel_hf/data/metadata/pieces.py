"""A stretch of a frame's file, the tags in it, and what makes a tag worth a question before it is published."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TEXT = 65_536  # bytes of a value that are looked at
_PRINTABLE = b"\t\n\r" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
# Words and forms in which patients and doctors stand: also DICOM's "SURNAME^GIVEN".
_PERSON = re.compile(rb"(?i)patient|birth|surname|\bdr\.?\s|\bmrn\b|\bdob\b|\bname\s*[:=]|[a-z]{2,}\^[a-z]+")
_PERSON_IN_BYTES = re.compile(rb"(?i)patient.?(name|id)")  # a value that is no text has short words by chance
_NAME_LENGTH = 40
TRAILING = "data after the picture"


class Damaged(ValueError):
    """A file does not have the parts that its format asks for; the message is the reason."""


@dataclass(frozen=True, order=True)
class Tag:
    """telling: a person's name, a device's serial number or a position stands in it, or may well do."""

    name: str
    telling: bool = False

    @classmethod
    def of(cls, name: str, value: bytes = b"", telling: bool = False) -> Tag:
        """A tag by its name as it stands in the file, which nobody has checked, and its value."""
        safe = "".join(c if c.isascii() and c.isprintable() else "?" for c in name[:_NAME_LENGTH])
        return cls(safe, (telling and not is_blank(value)) or names_a_person(value) or names_a_person(name.encode()))


@dataclass(frozen=True)
class Piece:
    """stays: the bytes that are published, `tags`: what is in those that are not."""

    stays: bytes = b""
    tags: tuple[Tag, ...] = field(default=())


def names_a_person(value: bytes) -> bool:
    """True where a value reads like text about a person. It knows some words; it cannot know names."""
    text = value[:_TEXT].replace(b"\0", b"")  # so that UTF-16 reads like ASCII
    if len(text.translate(None, _PRINTABLE)) > 0.05 * len(text):
        return _PERSON_IN_BYTES.search(text) is not None
    return _PERSON.search(text) is not None


def is_blank(value: bytes) -> bool:
    return not value.strip(b"\0 \t\r\n")


def after(rest: bytes) -> Piece:
    """What stands in a file after its picture: a second picture, a film, or anything else; padding is not told of."""
    return Piece() if not rest.strip(b"\0\xff\r\n ") else Piece(b"", (Tag(TRAILING, names_a_person(rest)),))

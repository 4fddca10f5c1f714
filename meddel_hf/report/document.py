"""What a report is made of: sections of paragraphs, points, tables and figures, before they are HTML or Markdown.

Texts are plain: whoever writes them down escapes them, so that a label out of the data can be anything.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from meddel_hf.data.spreadsheets import as_text
from meddel_hf.runtime.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Tone = Literal["plain", "more", "less", "faint"]


@dataclass(frozen=True)
class Paragraph:
    text: str
    tone: Literal["plain", "lead", "warning", "note"] = "plain"


@dataclass(frozen=True)
class Point:
    """A line of a list: the lead in bold, then the rest."""

    lead: str
    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Points:
    """A list, under a title of its own where it has one."""

    items: tuple[Point, ...]
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """A cell of a table: what it says, what stands below it in small, and whether it lies above or below its rival."""

    text: str
    below: tuple[str, ...] = ()
    tone: Tone = "plain"
    spans: int = 1


@dataclass(frozen=True)
class Table:
    """A table as it is shown; the first entry of a row heads it. source: name of the CSV with its numbers in full."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Entry | str, ...], ...]
    note: str = ""
    source: str = ""


@dataclass(frozen=True)
class Data:
    """A table as it is stored: one fact a row, fractions in full; written as NAME.csv."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def write(self, folder: Path) -> None:
        with whole_file(folder / f"{self.name}.csv") as aside, aside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.columns)
            writer.writerows([["" if value is None else as_text(value) for value in row] for row in self.rows])


@dataclass(frozen=True)
class Picture:
    """A figure, drawn once it is written. name: of its files; alt: what it shows, for who cannot see it."""

    name: str
    caption: str
    alt: str
    draw: Callable[[], Figure]


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side where there is room; caption: one for all, where theirs are empty."""

    pictures: tuple[Picture, ...]
    caption: str = ""


@dataclass(frozen=True)
class Sheet:
    """A contact sheet that is already drawn, as a PNG at `path`, which lies in the folder of the figures."""

    path: Path
    caption: str
    alt: str


@dataclass(frozen=True)
class Listing:
    """Text as it stands in a file, such as the plan."""

    title: str
    text: str


Block = Paragraph | Points | Table | Gallery | Sheet | Listing


@dataclass(frozen=True)
class Section:
    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A whole report. data: tables that are stored beside the page."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    data: tuple[Data, ...] = field(default=())

    @property
    def pictures(self) -> list[Picture]:
        blocks = [block for section in self.sections for block in section.blocks]
        return [picture for block in blocks if isinstance(block, Gallery) for picture in block.pictures]


def slug(*words: str) -> str:
    """A file's name of any labels: letters, digits and dashes; callers number what would be the same."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")[:60] or "unnamed"


def listed(items: Sequence[str], joint: str = "and") -> str:
    """Words in a row: "a", "a and b", "a, b and c"."""
    return " ".join([", ".join(items[:-1]), joint, items[-1]]) if len(items) > 1 else "".join(items)


def signed(value: float) -> str:
    """A difference: "+0.031", or with a minus sign that is as wide."""
    return f"{value:+.3f}".replace("-", "−")  # noqa: RUF001

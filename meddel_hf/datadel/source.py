"""What a file of `sources/` provides: the facts of one data set, and its frames as the owner's files tell them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from meddel_hf.datadel.archives.entries import Entry, Problem, Tree

Sure = Literal["verified", "third party", "unsure"]
Role = Literal["pretraining", "downstream"]
BoxFormat = Literal["corners first", "corners last", "csv", "yolo"]


@dataclass(frozen=True)
class Centre:
    """A hospital. name: the value of the column `center`, or None where the files do not tell which frame is whose."""

    hospital: str
    country: str
    name: str | None = None
    sure: Sure = "verified"


@dataclass(frozen=True)
class Published:
    """A count that the owner or a paper states, of the frames of one part, centre or label, or of all."""

    frames: int
    part: str | None = None
    center: str | None = None
    label: str | None = None
    sure: Sure = "verified"

    @property
    def of_what(self) -> str:
        return ", ".join(filter(None, (self.part, self.center, self.label))) or "all"


@dataclass(frozen=True)
class Licence:
    """redistribution: whether the owner's terms let anybody publish the frames again; note: the terms in short."""

    name: str
    redistribution: bool
    note: str
    sure: Sure = "verified"


@dataclass(frozen=True)
class Overlap:
    """Frames of this source stand in another one too. by_name: under the same file name."""

    source: str
    note: str
    by_name: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """label, then the left upper corner and the size in pixels.

    frame: (width, height) of the frame that the owner measured it in, where that is told.
    """

    label: str
    x: float
    y: float
    width: float
    height: float
    frame: tuple[float, float] | None = field(default=None, compare=False)

    @classmethod
    def corners(cls, label: str, left: float, top: float, right: float, bottom: float) -> Box:
        return cls(label, left, top, right - left, bottom - top)


@dataclass(frozen=True, slots=True)
class OddBox:
    """An entry of the owner's that is no box, and why: its frame is built without it, and says so."""

    reason: str


@dataclass(frozen=True, slots=True)
class BoxFile:
    """Boxes in a text file of their own, read when the frame is.

    corners first: "polyp 12 20 50 61" (spaces or tabs; class, left, top, right, bottom, in pixels)
    corners last:  "12 20 50 61 polyp"
    csv:           "class_name,xmin,ymin,xmax,ymax" with that header
    yolo:          "5 0.11 0.16 0.06 0.05" (class number; centre and size as fractions); with a name, corners first
    """

    entry: Entry
    format: BoxFormat
    classes: tuple[str, ...] = ()


Boxes = tuple[Box | OddBox, ...] | BoxFile


@dataclass(frozen=True, slots=True)
class Mask:
    """A mask file. Where a file has several pages, `pages` names their classes; else `label` may name its class.

    red: 255 in the red channel marks the object, whatever the other channels hold.
    """

    entry: Entry
    label: str | None = None
    pages: tuple[str, ...] = ()
    red: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """One frame to build, or one video whose frames are.

    path: its id but for the source: the path in the owner's layout without suffix, the same for every copy of the
    frame. part: which of the source's counts it belongs to. expects_mask: a frame without one is kept out.
    copies: the same frame as it was met elsewhere; one is built in its place where it is damaged.
    """

    path: str
    image: Entry
    part: str
    masks: tuple[Mask, ...] = ()
    boxes: Boxes = ()
    label: str | None = None
    center: str | None = None
    group: str | None = None
    official_split: str | None = None
    video: bool = False
    expects_mask: bool = False
    copies: tuple[Item, ...] = ()

    @property
    def files(self) -> Iterator[Entry]:
        """All that it is built from, or might be."""
        yield self.image
        yield from (mask.entry for mask in self.masks)
        if isinstance(self.boxes, BoxFile):
            yield self.boxes.entry
        for copy in self.copies:
            yield from copy.files


@dataclass(frozen=True)
class Source:
    """Facts of one data set and `read`, which finds its frames in a tree of files.

    labels:     known values of the column `label`; box_labels: of boxes and of masks by class.
    home:       where to get it; archives: under which names it comes.
    """

    name: str
    title: str
    role: Role
    home: str
    archives: str
    licence: Licence
    citation: str
    centres: tuple[Centre, ...]
    read: Callable[[Tree, Reader], Iterator[Item | Problem]]
    labels: tuple[str, ...] = ()
    box_labels: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()
    overlaps: tuple[Overlap, ...] = ()
    notes: str = ""


Reader = Callable[[Entry], bytes]  # content of a small file; raises UnreadableArchive

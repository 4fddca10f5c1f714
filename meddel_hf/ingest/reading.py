"""How files become frames: what was asked for, checked, and what each reader hands over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime import checks

Axis = Literal["auto", "axial", "coronal", "sagittal"]
AXES = ("auto", "axial", "coronal", "sagittal")


@dataclass(frozen=True)
class Reading:
    """Options of the readers; the same for every file, and recorded.

    fps:        frames per second of videos, in (0, 1000]; None leaves videos out.
    min_change: grey levels, 0 to 255, by which a frame of a video must differ on average (at 32 x 32 pixels) from the
                one taken before it; 0 takes all.
    window:     (centre, width) of values that become black to white, of DICOM and NIfTI; None: the file's own.
    axis:       of NIfTI volumes: which way slices are cut; "auto" is across the axis of the thickest slices.
    every:      of NIfTI volumes and DICOM files of several frames: one frame in so many.
    tile:       side of a slide's tiles in pixels; None leaves slides out. level: of the slide's pyramid, 0 the finest.
    tissue:     share of a tile that must be tissue, in [0, 1]; 0 takes all.
    plain_ids:  of DICOM files: patient, study and series as they stand there, and no pseudonyms.
    burned_in:  take DICOM files that say that text is burnt into their pixels.
    strip_metadata: leave metadata out of pictures' files; no pixel changes.
    """

    fps: float | None = None
    min_change: float = 0.0
    window: tuple[float, float] | None = None
    axis: Axis = "auto"
    every: int = 1
    tile: int | None = None
    level: int = 0
    tissue: float = 0.25
    plain_ids: bool = False
    burned_in: bool = False
    strip_metadata: bool = False

    def __post_init__(self) -> None:
        if self.fps is not None and not (checks.is_number(self.fps) and 0 < self.fps <= 1000):
            raise InvalidArgument(f"fps must be above 0 and at most 1000 frames per second, got {self.fps}")
        checks.within("min_change", self.min_change, 0, 255)
        if self.window is not None and not (len(self.window) == 2 and self.window[1] > 0):
            raise InvalidArgument(f"window must be a centre and a width above 0, such as (40, 400), got {self.window}")
        checks.choice("axis", self.axis, AXES)
        checks.count("every", self.every, 1)
        if self.tile is not None:
            checks.count("tile", self.tile, 16, checks.LARGEST_SIDE)
        checks.count("level", self.level, 0, 64)
        checks.within("tissue", self.tissue, 0, 1)


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame, before it is a row.

    name:   what tells it from others of its file, such as "000120"; "" of a file that is one picture.
    data:   its file's bytes; suffix: of that, such as ".jpg". width, height: upright, in pixels.
    number: of the frame in its file, from 0; None of a picture or a tile.
    mask:   PNG of one channel, 0 and 255. empty: the mask holds nothing.
    series: what it is a part of, by column: patient, study, series, as pseudonyms or plain.
    """

    name: str
    data: bytes
    suffix: str
    width: int
    height: int
    number: int | None = None
    mask: bytes | None = None
    empty: bool = False
    series: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Remark:
    """What of a file was not taken, or was taken otherwise than one might think."""

    reason: str

"""Videos as frames at a chosen rate; those that hardly differ from the one taken before may be left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import numpy as np
from PIL import Image

from meddel_hf.datadel.convert import videos
from meddel_hf.errors import UnreadableImage
from meddel_hf.ingest.files import File, Library
from meddel_hf.ingest.pictures import as_jpeg
from meddel_hf.ingest.reading import Picture, Reading, Remark
from meddel_hf.runtime.words import plural

_SIDE = 32  # pixels at which frames are compared


def frames(file: File, library: Library, reading: Reading) -> Iterator[Picture | Remark]:
    """Frames of a video's file, named by their number in the video. Raises UnreadableImage or UnreadableArchive."""
    with library.reading(file) as stream:
        yield from of_stream(stream, reading)


def of_stream(stream: IO[bytes], reading: Reading) -> Iterator[Picture | Remark]:
    """The same of an open file, such as what a DICOM file wraps."""
    if reading.fps is None:
        raise UnreadableImage("a video, and no rate of frames was chosen: name one with fps (--fps)")
    before: np.ndarray | None = None
    still = 0
    for each in videos.frames_of(stream, reading.fps):
        if isinstance(each, videos.Remark):
            yield Remark(each.reason)
            continue
        number, picture = each
        if reading.min_change:
            now = _small(picture)
            if before is not None and np.abs(now - before).mean() < reading.min_change:
                still += 1
                continue
            before = now
        yield Picture(f"{number:06d}", as_jpeg(picture), ".jpg", picture.width, picture.height, number)
    if still:
        yield Remark(
            f"left out {plural(still, 'frame that hardly differs', 'frames that hardly differ')}"
            f" from the one before (--min-change)"
        )


def _small(picture: Image.Image) -> np.ndarray:
    """(_SIDE, _SIDE) grey levels."""
    small = picture.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32)

"""Videos as frames at a chosen rate, one frame in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from PIL import Image

from meddel_hf.errors import UnreadableImage

SUFFIXES = (".avi", ".mp4", ".mpg", ".mpeg", ".mov", ".mkv", ".wmv")


def frames_of(file: IO[bytes], fps: float) -> Iterator[tuple[int, Image.Image]]:
    """(number of the frame in the video, RGB picture) of the first frame at or after each 1/fps seconds.

    Time is counted from the first frame. Raises UnreadableImage where the video cannot be read.
    """
    import av

    try:
        with av.open(file, mode="r", metadata_errors="ignore") as container:
            if not container.streams.video:
                raise UnreadableImage("a video without pictures")
            stream = container.streams.video[0]
            rate = stream.average_rate or stream.guessed_rate
            start, due = None, 0
            for number, frame in enumerate(container.decode(stream)):
                time = frame.time if frame.time is not None else number / float(rate or 25)
                start = time if start is None else start
                if (time - start) * fps >= due - 1e-6:
                    yield number, frame.to_image()
                    due = int((time - start) * fps + 1e-6) + 1
    except av.FFmpegError as error:
        raise UnreadableImage(f"damaged video: {error.strerror}") from error

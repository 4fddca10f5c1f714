"""Videos as frames at a chosen rate, one frame in memory at a time; what a damaged or unfinished one lacks is told."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from PIL import Image

from meddel_hf.errors import UnreadableImage

SUFFIXES = (".avi", ".mp4", ".mpg", ".mpeg", ".mov", ".mkv", ".wmv")
_MAX_ERRORS = 1000  # of reading: a file that is damaged throughout must come to an end
_NORMAL_RATE = 25.0  # pictures per second where a file tells none
_SLACK = 1.0  # seconds, and 2 per cent, by which a stream may end before the whole file's stated duration
_SHORT = 0.1  # share of a short one's duration, where that is less than _SLACK
_WITH_DURATION = ("matroska", "mov", "avi", "asf", "flv")  # formats whose head states it; elsewhere it is guessed
# Decoders that flag what they patched up, and flag less where they are told to give up instead. Measured by damaging
# clips of seven kinds: of about 2,700 pictures handed out as sound 6 (MPEG-1, MPEG-2) to 91 (WMV2) were not.
_PATCHED = ("mpeg1video", "mpeg2video")
# Corners (a, b, c, d) of a display matrix, as signs -> what it does: right becomes (a, b), down becomes (c, d).
_TURNS = {
    (1, 0, 0, 1): None,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,  # Pillow turns against the clock
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}


@dataclass(frozen=True)
class Remark:
    """What of a video could not be taken, or was taken otherwise than a player shows it."""

    reason: str


def frames_of(file: IO[bytes], fps: float) -> Iterator[tuple[int, Image.Image] | Remark]:
    """(number of the frame in the video, RGB picture) of the first sound frame at or after each 1/fps seconds.

    Time is counted from the first frame, and goes on where the file's clock restarts. Pictures are turned as the file
    asks; those that are damaged, and those that follow up to the next key frame, are withheld. Remarks come last.
    Raises UnreadableImage where the video cannot be read, or holds no sound picture.
    """
    import av

    if not file.read(1):
        raise UnreadableImage("empty file")
    file.seek(0)
    try:
        with av.open(file, mode="r", metadata_errors="ignore") as container:
            streams = _moving(container)
            if not streams:
                raise UnreadableImage("a video without pictures")
            yield from _Reading(container, streams[0]).frames(fps)
    except av.FFmpegError as error:
        raise UnreadableImage(f"damaged video: {error.strerror}") from error


def _moving(container: Any) -> list[Any]:
    """Streams of moving pictures: covers and thumbnails are none."""
    from av.stream import Disposition

    still = Disposition.attached_pic | Disposition.timed_thumbnails
    return [stream for stream in container.streams.video if not stream.disposition & still]


@dataclass
class Clock:
    """Seconds since the first picture. step: seconds to the next one where its own time is missing or goes back."""

    step: float
    _now: float | None = None
    _offset: float = 0.0

    def tick(self, time: float | None) -> float:
        """time: as the file tells it, in seconds, or None."""
        if self._now is None:
            self._now, self._offset = 0.0, -(time or 0.0)
        elif time is not None and time + self._offset > self._now:
            self._now = time + self._offset
        else:
            self._now += self.step
            self._offset = self._offset if time is None else self._now - time
        return self._now


@dataclass
class _Reading:
    """One pass through a video, and what was missed on the way."""

    container: Any
    stream: Any
    packets: int = 0  # of the pictures' stream, damaged ones too
    end: float = 0.0  # seconds from the start of the file to the end of its last packet, of any stream
    failed: int = 0  # packets that gave no picture
    damaged: int = 0  # pictures that the decoder patched up
    after: int = 0  # pictures that build upon damaged ones, or upon ones before the file's beginning
    sound: int = 0
    turned_oddly: bool = False
    _waiting: bool = field(default=True, init=False)  # for a key frame

    def frames(self, fps: float) -> Iterator[tuple[int, Image.Image] | Remark]:
        self._prepare()
        rate = float(self.stream.average_rate or self.stream.guessed_rate or _NORMAL_RATE)
        promised = self._promised()
        clock, due = Clock(1 / rate), 0
        for number, frame in enumerate(self._decoded()):
            if frame is None:
                continue
            time = clock.tick(frame.time)
            if not self._is_sound(frame):
                continue
            if time * fps >= due - 1e-6:
                yield number, self._upright(frame)
                due = int(time * fps + 1e-6) + 1
        if not self.sound:
            raise UnreadableImage(f"a video without a sound picture: {self._missed() or 'it is empty'}")
        yield from map(Remark, self._remarks(promised))

    def _prepare(self) -> None:
        codec = self.stream.codec_context
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None:
            if codec.width * codec.height > limit:
                raise UnreadableImage(f"too large: {codec.width}x{codec.height} pixels, at most {limit} are decoded")
            codec.options = {"max_pixels": str(limit), **codec.options}
        if codec.name not in _PATCHED:
            codec.options = {"err_detect": "bitstream+buffer+explode", **codec.options}
        codec.thread_count = 1  # damage is patched up differently by several threads

    def _promised(self) -> int:
        """Pictures that the file's head lists, or 0. An edit list of a MOV or MP4 hides some of them from players."""
        entries = len(self.stream.index_entries) if self.container.format.name.startswith("mov") else 0
        return int(min(self.stream.frames, entries) if entries else self.stream.frames)

    def _decoded(self) -> Iterator[Any]:
        """Pictures as the decoder gives them; None for each packet that it can make nothing of."""
        import av

        for packet in self._demuxed():
            self.packets += 1
            if packet.is_corrupt:  # the file ends, or is damaged, within it
                self._lost()
                yield None
                continue
            try:
                frames = packet.decode()
            except (av.FFmpegError, UnicodeDecodeError):
                self._lost()
                yield None
                continue
            yield from frames
        try:
            yield from self.stream.decode(None)
        except av.FFmpegError:
            self._lost()
            yield None

    def _demuxed(self) -> Iterator[Any]:
        """Packets of the pictures' stream. All streams are read, to see how far the file goes."""
        import av

        errors = 0
        packets = self.container.demux()
        while errors < _MAX_ERRORS and self.failed < _MAX_ERRORS + self.packets // 2:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:
                errors, packets = errors + 1, self.container.demux()
                continue
            if packet.pts is None and packet.dts is None and not packet.size:
                continue  # the end of a stream, for its decoder
            self._note_end(packet)
            if packet.stream_index == self.stream.index and packet.size:
                yield packet
            elif packet.stream_index == self.stream.index:
                self.packets += 1  # an AVI's way to say that a picture is shown once more

    def _note_end(self, packet: Any) -> None:
        moment = packet.pts if packet.pts is not None else packet.dts
        if moment is not None and packet.time_base:
            self.end = max(self.end, float((moment + (packet.duration or 0)) * packet.time_base))

    def _lost(self) -> None:
        self.failed += 1
        self._waiting = True

    def _is_sound(self, frame: Any) -> bool:
        if frame.is_corrupt:
            self.damaged += 1
            self._waiting = True
            return False
        if self._waiting and not frame.key_frame:
            self.after += 1
            return False
        self._waiting = False
        self.sound += 1
        return True

    def _upright(self, frame: Any) -> Image.Image:
        """The picture, turned or mirrored as its display matrix asks, in quarters of a turn."""
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and frame.width * frame.height > limit:
            raise UnreadableImage(f"too large: {frame.width}x{frame.height} pixels, at most {limit} are decoded")
        image: Image.Image = frame.to_image()
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return image
        a, b, _, c, d, *_ = struct.unpack("<9i", bytes(matrix))
        scale = max(map(abs, (a, b, c, d))) or 1
        turn = tuple(round(value / scale) if abs(value) * 100 > scale else 0 for value in (a, b, c, d))
        if turn not in _TURNS:
            self.turned_oddly = True
            return image
        how = _TURNS[turn]
        return image if how is None else image.transpose(how)

    def _missed(self) -> str:
        """What was withheld, in words."""
        counts = (
            (self.failed, "{} that cannot be decoded", "packet"),
            (self.damaged, "{} that came out damaged", "picture"),
            (self.after, "{} that hang on missing or damaged ones, up to the next key frame", "picture"),
        )
        return ", ".join(words.format(f"{n:,} {noun}{'s' * (n > 1)}") for n, words, noun in counts if n)

    def _remarks(self, promised: int) -> Iterator[str]:
        if self._missed():
            yield f"left out of the video: {self._missed()}"
        stated, start = ((value or 0) / 1e6 for value in (self.container.duration, self.container.start_time))
        came = self.end - min(0.0, start)  # Matroska states the time of the end, others that between start and end
        if self.packets < promised:
            yield f"the video ends before its time, or has gaps: {self.packets:,} of {promised:,} pictures are there"
        elif self.container.format.name.startswith(_WITH_DURATION) and came < stated * 0.98 - min(
            _SLACK, _SHORT * stated
        ):
            yield f"the video ends before its time: {came:.1f} of {stated:.1f} seconds are there"
        elif self.container.format.name == "asf" and self.stream.duration is None:  # FFmpeg compares it with the file
            yield "the video ends before its time: its head tells of a larger file"
        if len(moving := _moving(self.container)) > 1:
            yield f"frames are of the first of {len(moving)} streams of pictures"
        shape = self.stream.sample_aspect_ratio
        if shape and shape != 1:
            yield f"its pixels are {shape.numerator}:{shape.denominator}, not square: frames are as coded, unstretched"
        if self.turned_oddly:
            yield "its display matrix is no quarter of a turn: frames are as coded"

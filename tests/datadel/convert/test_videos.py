"""Videos as frames: their clock, their turn, and what a damaged or unfinished one still gives."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from meddel_hf.datadel.convert.videos import Clock, Remark, frames_of
from meddel_hf.errors import UnreadableImage

WIDTH, HEIGHT, RATE = 96, 64, 25
KINDS = {"mp4": "libx264", "mov": "mpeg4", "matroska": "libx264", "avi": "mpeg4", "mpeg": "mpeg2video",
         "mpegts": "libx264", "asf": "wmv2"}  # fmt: skip


def numbered(number: int) -> np.ndarray:
    """Picture `number` of every clip: its number in seven black or white squares, and something that moves."""
    picture = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    for bit in range(7):
        picture[:12, 12 * bit : 12 * bit + 12] = 220 if number >> bit & 1 else 20
    picture[24:44, number % 64 : number % 64 + 20] = 250
    return picture


def clip(
    container: str,
    count: int = 100,
    *,
    picture: Callable[[int], np.ndarray] = numbered,
    times: Callable[[int], int] = lambda n: n,
    shape: Fraction | None = None,
    codec: str | None = None,
) -> bytes:
    """A clip of `count` pictures at 25 a second; times: when picture n is shown, in 1/25 seconds."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec or KINDS[container], rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate, stream.gop_size, stream.time_base = 1_000_000, 10, Fraction(1, RATE)
        if shape:
            stream.codec_context.sample_aspect_ratio = shape
        for n in range(count):
            frame = av.VideoFrame.from_ndarray(picture(n), format="rgb24")
            frame.pts, frame.time_base = times(n), Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def index_first(data: bytes) -> bytes:
    """An MP4 whose index stands before its pictures, as servers have it: "moov" moved, its offsets moved along."""
    boxes, at = {}, 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        boxes[data[at + 4 : at + 8]] = data[at : at + size]
        at += size
    moov, table = bytearray(boxes[b"moov"]), boxes[b"moov"].index(b"stco") + 8
    for k in range(int.from_bytes(moov[table : table + 4], "big")):
        place = slice(table + 4 + 4 * k, table + 8 + 4 * k)
        moov[place] = (int.from_bytes(moov[place], "big") + len(moov)).to_bytes(4, "big")
    return b"".join(bytes(moov) if name == b"moov" else box for name, box in [
        (b"ftyp", boxes[b"ftyp"]), (b"moov", b""), *((n, b) for n, b in boxes.items() if n not in (b"ftyp", b"moov"))
    ])  # fmt: skip


def read(data: bytes, fps: float = RATE) -> tuple[dict[int, np.ndarray], list[str]]:
    """Frames by number, and remarks."""
    found = list(frames_of(io.BytesIO(data), fps))
    frames = dict(each for each in found if not isinstance(each, Remark))
    return {n: np.asarray(image) for n, image in frames.items()}, [r.reason for r in found if isinstance(r, Remark)]


def shown(frame: np.ndarray) -> int:
    """Which picture a frame is, by its squares."""
    return sum(int(frame[2:10, 12 * bit + 2 : 12 * bit + 10].mean() > 120) << bit for bit in range(7))


def is_picture(frame: np.ndarray) -> bool:
    """Whether a frame is one of the clip's in all its parts, wherever damage may have struck."""
    difference = np.abs(frame - numbered(shown(frame)).astype(int)).mean(axis=2)
    return bool(difference.reshape(HEIGHT // 8, 8, WIDTH // 8, 8).mean(axis=(1, 3)).max() < 60)


@pytest.mark.parametrize("container", KINDS)
def test_a_sound_video_gives_each_picture_and_no_remark(container):
    data = clip(container)
    frames, remarks = read(data)
    assert remarks == []
    assert list(frames) == list(range(100))
    assert [shown(frame) for frame in frames.values()] == list(range(100))
    assert list(read(data, 5)[0]) == list(range(0, 100, 5))


def test_the_same_video_gives_the_same_frames():
    damaged = bytearray(clip("avi"))
    damaged[len(damaged) // 2 : len(damaged) // 2 + 900] = np.random.default_rng(0).bytes(900)
    for data in (clip("mp4"), bytes(damaged)):
        first, again = read(data), read(data)
        assert first[1] == again[1]
        assert all(np.array_equal(first[0][n], again[0][n]) for n in first[0].keys() | again[0].keys())


def test_the_clock_goes_on_where_the_files_own_does_not():
    """Known times, none, the same one twice, and one that goes back to the beginning."""
    clock = Clock(step=0.5)
    times = [7.0, 7.5, None, 8.5, 8.5, 9.0, 0.0, 0.5, 3.0, None, 1.0]
    assert [clock.tick(time) for time in times] == [0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 6.0, 6.5, 7.0]


@pytest.mark.parametrize("container", ["mpegts", "mpeg"])
def test_a_second_recording_in_one_file_is_kept(container):
    """Two recordings one after the other, as `cat` or a recorder joins them: the clock begins again in the middle."""
    whole = clip(container, 50)
    frames, _ = read(whole + whole, 5)
    assert len(frames) == 20
    assert [shown(frame) for frame in frames.values()][10:] == [shown(frame) for frame in frames.values()][:10]


def test_a_rate_that_varies_a_gap_and_a_late_start():
    """Sampled as the rule says: the first picture at or after each half second since the first one."""
    times = [-3, 0, 1, 4, 20, 26, 27, 28, 2000, 2001, 2013, 2014, 2040]
    data = clip("matroska", len(times), times=lambda n: times[n] + 100, codec="mpeg4")
    wanted, due = [], 0.0
    for n, time in enumerate(times):
        if (time - times[0]) / RATE >= due - 1e-9:
            wanted.append(n)
            due = ((time - times[0]) / RATE) // 0.5 * 0.5 + 0.5
    frames, remarks = read(data, 2)
    assert list(frames) == wanted
    assert remarks == []


TURNS = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0),
         (0, -1, -1, 0)]  # fmt: skip


def with_matrix(data: bytes, a: float, b: float, c: float, d: float) -> bytes:
    """An MP4 whose track has that display matrix: what is coded at (x, y) is shown at (ax + cy, bx + dy)."""
    file = bytearray(data)
    at = file.index(b"tkhd") + 4
    at += 40 if file[at] == 0 else 52
    assert struct.unpack(">9i", file[at : at + 36])[:5] == (0x10000, 0, 0, 0, 0x10000)
    numbers = [round(value * 0x10000) for value in (a, b, 0, c, d, 0)]
    file[at : at + 36] = struct.pack(">9i", *numbers, 0, 0, 0x40000000)
    return bytes(file)


@pytest.mark.parametrize("turn", TURNS)
def test_pictures_are_turned_and_mirrored_as_players_do(turn):
    corners = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    corners[: HEIGHT // 2, : WIDTH // 2], corners[: HEIGHT // 2, WIDTH // 2 :] = (250, 10, 10), (10, 250, 10)
    corners[HEIGHT // 2 :, : WIDTH // 2], corners[HEIGHT // 2 :, WIDTH // 2 :] = (10, 10, 250), (250, 250, 250)
    frames, remarks = read(with_matrix(clip("mp4", 3, picture=lambda n: corners), *turn))
    a, b, c, d = turn
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    across, down = a * x + c * y, b * x + d * y
    wanted = np.zeros((np.ptp(down) + 1, np.ptp(across) + 1, 3), np.uint8)
    wanted[down - down.min(), across - across.min()] = corners
    assert remarks == []
    for frame in frames.values():
        assert frame.shape == wanted.shape
        assert np.abs(frame.astype(int) - wanted).mean() < 8


def test_a_turn_that_is_no_quarter_is_told():
    frames, remarks = read(with_matrix(clip("mp4", 3), 0.8, 0.6, -0.6, 0.8))
    assert frames[0].shape == (HEIGHT, WIDTH, 3)
    assert remarks == ["its display matrix is no quarter of a turn: frames are as coded"]


def test_an_unfinished_download_gives_what_is_there_and_says_so():
    data = index_first(clip("mp4"))
    frames, remarks = read(data[: len(data) * 6 // 10])
    assert 30 < len(frames) < 80
    assert all(is_picture(frame) for frame in frames.values())
    there = int(remarks[-1].split(": ")[1].split()[0])
    assert remarks[-1] == f"the video ends before its time, or has gaps: {there} of 100 pictures are there"
    assert len(frames) <= there < 80


@pytest.mark.parametrize("container", ["avi", "matroska", "asf"])
def test_a_recording_that_was_cut_off(container):
    data = clip(container)
    frames, remarks = read(data[: len(data) // 2])
    assert 20 < len(frames) < 80
    assert all(is_picture(frame) for frame in frames.values())
    assert remarks[-1].startswith("the video ends before its time")


def test_a_short_recording_that_was_cut_off():
    data = clip("matroska", 50)
    frames, remarks = read(data[: len(data) * 2 // 3])
    assert 20 < len(frames) < 40
    assert remarks[-1].startswith("the video ends before its time")


def test_noise_in_the_middle_is_withheld_up_to_the_next_key_frame_and_the_rest_is_kept():
    data = bytearray(clip("avi"))
    middle = len(data) // 2
    data[middle : middle + 900] = np.random.default_rng(0).bytes(900)
    frames, remarks = read(bytes(data))
    pictures = [shown(frame) for frame in frames.values()]
    assert all(is_picture(frame) for frame in frames.values())
    lost = sorted(set(range(100)) - set(pictures))
    assert pictures == sorted(pictures)
    assert lost == list(range(lost[0], lost[-1] + 1)), "in one piece"
    assert lost[-1] % 10 == 9, "up to a key frame"
    assert 5 <= len(lost) <= 25
    assert remarks[0].startswith("left out of the video: ")
    assert "up to the next key frame" in remarks[0]


def test_one_damaged_packet_does_not_cost_what_follows():
    """The packet's bytes are zeroed where they lie; the next key frame is ten pictures away at most."""
    data = index_first(clip("mp4"))
    with av.open(io.BytesIO(data)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][53]
        start, end = packet.pos, packet.pos + packet.size
    frames, remarks = read(data[:start] + bytes(end - start) + data[end:])
    pictures = [shown(frame) for frame in frames.values()]
    assert all(is_picture(frame) for frame in frames.values())
    assert len(pictures) >= 85
    assert pictures[-30:] == list(range(70, 100))
    assert remarks[0].startswith("left out of the video: 1 packet that cannot be decoded")


def test_a_file_without_its_index_or_its_first_key_frame_or_a_video():
    data = clip("mp4")
    with pytest.raises(UnreadableImage, match="damaged video"):
        read(data[: len(data) // 2])
    with pytest.raises(UnreadableImage, match="damaged video"):
        read(b"<html>404</html>" * 100)
    stream = clip("mpegts", 25, codec="mpeg2video")
    with av.open(io.BytesIO(stream)) as container:
        second = [packet for packet in container.demux(video=0) if packet.size][3].pos
    frames, _ = read(stream[second:])
    assert all(is_picture(frame) for frame in frames.values())
    assert [shown(frame) for frame in frames.values()] == list(range(10, 25))


def test_too_large_is_refused_before_a_picture_is_decoded(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", WIDTH * HEIGHT - 1)
    with pytest.raises(UnreadableImage, match=f"too large: {WIDTH}x{HEIGHT} pixels"):
        read(clip("mp4", 3))


def edited(data: bytes, start: int) -> bytes:
    """An MP4 whose edit list begins `start` ticks later: a phone trims a video in this way."""
    file = bytearray(data)
    at = file.index(b"elst") + 12  # version and flags, number of edits; then duration and beginning of the first
    duration, begin = struct.unpack(">Ii", file[at : at + 8])
    with av.open(io.BytesIO(data)) as container:
        base = container.streams.video[0].time_base
    file[at : at + 8] = struct.pack(">Ii", round(duration - start * float(base) * 1000), begin + start)
    return bytes(file)


def test_pictures_that_an_edit_list_hides_are_not_missed():
    data = clip("mp4")
    with av.open(io.BytesIO(data)) as container:
        second = round(1 / float(container.streams.video[0].time_base))
    frames, remarks = read(edited(data, second * 2))
    assert [shown(frame) for frame in frames.values()] == list(range(50, 100))
    assert remarks == []


def test_pixels_that_are_not_square_and_a_second_stream_are_told():
    _, remarks = read(clip("mp4", 3, shape=Fraction(16, 15)))
    assert remarks == ["its pixels are 16:15, not square: frames are as coded, unstretched"]
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        streams = [out.add_stream("mpeg4", rate=RATE) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for n in range(5):
            for k, stream in enumerate(streams):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(n + 40 * k), format="rgb24")))
        for stream in streams:
            out.mux(stream.encode())
    frames, remarks = read(file.getvalue())
    assert [shown(frame) for frame in frames.values()] == [0, 1, 2, 3, 4]
    assert remarks == ["frames are of the first of 2 streams of pictures"]


def test_a_cover_is_no_video():
    from av.stream import Disposition

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        cover, stream = out.add_stream("mjpeg", rate=1), out.add_stream("mpeg4", rate=RATE)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        out.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        out.mux(cover.encode())
        for n in range(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(n), format="rgb24")))
        out.mux(stream.encode())
    frames, remarks = read(file.getvalue())
    assert [frame.shape for frame in frames.values()] == [(HEIGHT, WIDTH, 3)] * 5
    assert remarks == []

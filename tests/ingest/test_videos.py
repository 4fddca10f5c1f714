"""Videos of a user's own: turned as players turn them, thinned, and listed where they are damaged."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from make_own_files import clip
from own_pools import pool

from meddel_hf.errors import InvalidDataset
from meddel_hf.ingest.make import make_pool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files" / "p1").mkdir(parents=True)
    return tmp_path / "files"


def test_frames_at_a_rate(folder, tmp_path):
    (folder / "p1" / "exam.mp4").write_bytes(clip(50))
    made, rows = pool(folder, tmp_path / "pool", fps=5, parts="{patient}/*")
    assert list(rows) == [f"p1/exam/{n:06}" for n in range(0, 50, 5)]
    with av.open(str(folder / "p1" / "exam.mp4")) as file:
        theirs = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    for row in rows.values():
        assert np.abs(np.asarray(row["image"]).astype(int) - theirs[row["frame"]]).mean() < 3
        assert (row["patient"], row["video"], row["group"]) == ("p1", "p1/exam", "p1")
    assert made.problems == ()


@pytest.mark.parametrize(
    ("suffix", "container", "codec"),
    [
        (".MTS", "mpegts", "libx264"), (".m2ts", "mpegts", "mpeg2video"), (".ts", "mpegts", "mpeg2video"),
        (".vob", "vob", "mpeg2video"), (".m2v", "mpeg2video", "mpeg2video"), (".flv", "flv", "libx264"),
        (".3gp", "3gp", "libx264"), (".asf", "asf", "wmv2"), (".webm", "webm", "libvpx"),
    ],
)  # fmt: skip
def test_what_recorders_write(suffix, container, codec, folder, tmp_path):
    (folder / "p1" / f"exam{suffix}").write_bytes(clip(50, container=container, codec=codec))
    made, rows = pool(folder, tmp_path / "pool", fps=5)
    assert list(rows) == [f"p1/exam/{n:06}" for n in range(0, 50, 5)]
    assert made.problems == ()


def test_ids_are_the_same_at_every_rate(folder, tmp_path):
    (folder / "a.mp4").write_bytes(clip(50))
    _, slow = pool(folder, tmp_path / "slow", fps=5)
    _, fast = pool(folder, tmp_path / "fast", fps=25)
    assert set(slow) < set(fast)
    assert all(slow[id]["image"].tobytes() == fast[id]["image"].tobytes() for id in slow)
    assert {row["group"] for row in slow.values()} == {"a"}


@pytest.mark.parametrize(("turns", "corner"), [(0, (0, 0)), (1, (0, -1)), (2, (-1, -1)), (3, (-1, 0))])
def test_a_turned_video_is_upright(turns, corner, folder, tmp_path):
    """The bright square stands at the upper left; a quarter clockwise takes it to the upper right."""
    (folder / "a.mp4").write_bytes(clip(10, quarter_turns=turns, still=True))
    _, rows = pool(folder, tmp_path / "pool", fps=1)
    grey = np.asarray(rows["a/000000"]["image"].convert("L"))
    assert grey.shape == ((64, 96) if turns % 2 == 0 else (96, 64))
    corners = {(y, x): grey[y, x] for y in (0, -1) for x in (0, -1)}
    assert max(corners, key=corners.get) == corner


def test_frames_that_stand_still_are_left_out(folder, tmp_path):
    (folder / "still.mp4").write_bytes(clip(50, still=True))
    (folder / "moving.mp4").write_bytes(clip(50))
    made, rows = pool(folder, tmp_path / "pool", fps=25, min_change=4)
    still = [id for id in rows if id.startswith("still/")]
    moving = [id for id in rows if id.startswith("moving/")]
    assert still == ["still/000000"]
    assert 2 < len(moving) < 25
    reasons = {problem.path: problem.reason for problem in made.of_kind("remark")}
    assert reasons["still.mp4"] == "left out 49 frames that hardly differ from the one before (--min-change)"


def test_damaged_videos_stop_nothing(folder, tmp_path):
    whole = clip(100)
    (folder / "whole.mp4").write_bytes(whole)
    (folder / "no.mp4").write_bytes(b"no video")
    (folder / "empty.avi").write_bytes(b"")
    cut = bytearray(whole)
    at = whole.index(b"mdat")
    cut[at + 600 : at + 900] = bytes(300)
    (folder / "hurt.mp4").write_bytes(bytes(cut))
    made, rows = pool(folder, tmp_path / "pool", fps=5)
    assert sum(id.startswith("whole/") for id in rows) == 20
    assert {problem.path for problem in made.of_kind("kept out")} == {"no.mp4", "empty.avi"}
    (remark,) = (problem for problem in made.of_kind("remark") if problem.path == "hurt.mp4")
    assert remark.reason.startswith("left out of the video: ")


def test_without_a_rate_videos_are_listed(folder, tmp_path):
    (folder / "a.mp4").write_bytes(clip(10))
    with pytest.raises(InvalidDataset, match=r"a\.mp4: a video, and no rate of frames was chosen: name one with fps"):
        make_pool(folder, tmp_path / "pool")
    assert not (tmp_path / "pool").exists()

"""The scratch file gives back what was written to it, in keep order, and is gone whatever happens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meddel_hf.dedup.scratch import Pieces, Scratch
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.row_source import ArrayRows


@given(st.lists(st.integers(1, 30), min_size=1), st.integers(1, 40))
def test_pieces_are_whole_groups_or_parts_of_one(sizes, rows):
    pieces = list(Pieces.of(sizes, rows))
    ends = np.cumsum(sizes)
    assert pieces[0][0] == 0
    assert pieces[-1][1] == ends[-1]
    assert [stop for _, stop in pieces[:-1]] == [start for start, _ in pieces[1:]]
    for start, stop in pieces:
        assert 0 < stop - start <= rows
        whole = {start, stop} <= {0, *ends.tolist()}
        assert whole or np.searchsorted(ends, start, "right") == np.searchsorted(ends, stop - 1, "right")


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("piece", [1, 7, 100, 5000])
def test_rows_come_back_in_keep_order(kind, piece, tmp_path):
    x = oracle.noise(3000, 3).astype(kind)
    order = np.random.default_rng(0).permutation(3000)[:2500]  # the others are in no group
    wide = np.float32 if kind == np.float16 else kind
    with Scratch.of(ArrayRows(x), order, Pieces.of([2500], piece), 1024, tmp_path) as scratch:
        assert len(scratch) == 2500
        np.testing.assert_array_equal(scratch.read(0, 2500), x[order].astype(wide))
        np.testing.assert_array_equal(scratch.read(99, 1200), x[order[99:1200]].astype(wide))
        some = np.array([2499, 3, 3, 0, 1700])
        np.testing.assert_array_equal(scratch.take(some), x[order[some]].astype(wide))
        assert scratch.read(5, 5).shape == (0, 3)


def test_nothing_is_left_even_of_a_killed_process(tmp_path):
    script = f"""
import os, signal
import numpy as np
from pathlib import Path
from meddel_hf.dedup.scratch import Pieces, Scratch
from meddel_hf.neighbors.row_source import ArrayRows
with Scratch.of(ArrayRows(np.ones((500, 4))), np.arange(500), Pieces.of([500], 9), 1024, Path({str(tmp_path)!r})):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_named_before_anything_is_written(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("meddel_hf.dedup.scratch.shutil.disk_usage", lambda folder: usage)
    pieces, source = Pieces.of([500], 9), ArrayRows(np.ones((500, 4)))
    with (
        pytest.raises(InvalidArgument, match=f"scratch file of 1 MB, and {tmp_path} has 1 MB free"),
        Scratch.of(source, np.arange(500), pieces, 1024, Path(tmp_path)),
    ):
        pass

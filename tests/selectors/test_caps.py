"""Caps: so many frames of each value of a column at most."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from datasets import Dataset

from meddel_hf import Dedup
from meddel_hf.errors import InvalidArgument
from meddel_hf.selectors.caps import spaced

CAPPED = Dedup(eta=0.999, max_per={"video": 3})


@pytest.fixture(scope="module")
def frames():
    """60 frames of two videos and of none, the second a copy of the first."""
    x = oracle.noise(60, 16)
    x[1] = x[0]
    videos = ["a"] * 30 + ["b"] * 10 + [None] * 20
    return x, Dataset.from_dict({"id": [str(row) for row in range(60)], "video": videos})


def test_caps_hold_and_what_they_leave_out_is_no_duplicate(frames):
    x, pool = frames
    selection = CAPPED.select(x, pool=pool)
    kept = sorted(map(int, selection.kept))
    reason = dict(zip(selection.table["id"].to_pylist(), selection.table["reason"].to_pylist(), strict=True))
    copy = next(int(id) for id, why in reason.items() if why == "near-duplicate")
    distinct = [row for row in range(30) if row != copy]
    assert copy in (0, 1)
    assert kept == [distinct[4], distinct[14], distinct[24], 31, 35, 38, *range(40, 60)]
    assert sorted(reason.values(), key=str) == [None] * 26 + ["near-duplicate"] + ["not-selected"] * 33
    assert selection.settings["max_per"] == {"video": 3}
    assert "max_per" not in Dedup(eta=0.999).select(x).settings, "records of selections without caps are as they were"


@pytest.mark.parametrize("then", ["meddel", "random", "cover"])
def test_a_retention_is_met_under_caps(frames, then):
    x, pool = frames
    most = set(CAPPED.select(x, pool=pool).kept)
    for retention in (0.1, 0.2, 26 / 60):
        kept = Dedup(retention, eta=0.999, then=then, max_per={"video": 3}).select(x, pool=pool).kept
        assert set(kept) <= most
        assert len(kept) == round(retention * 60)


def test_what_caps_cannot_do_is_said(frames):
    x, pool = frames
    with pytest.raises(InvalidArgument, match=r"leaves 26 of 59 distinct frames, and retention 0.5 asks for 30: raise"):
        Dedup(0.5, eta=0.999, max_per={"video": 3}).select(x, pool=pool)


@pytest.mark.parametrize("count", range(1, 12))
def test_places_are_evenly_spaced(count):
    for most in range(1, 14):
        places = spaced(count, most).tolist()
        assert len(set(places)) == len(places) == min(count, most)
        gaps = np.diff([-1 - places[0], *places, 2 * count - 1 - places[-1]])  # mirrored at both ends
        assert gaps.max() - gaps.min() <= 2


def test_of_nine_places_three_are_the_middles_of_thirds():
    assert spaced(9, 3).tolist() == [1, 4, 7]
    assert spaced(5, 1).tolist() == [2]

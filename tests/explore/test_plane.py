"""The map, against a singular value decomposition of all rows."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset
from stores import IDS, UNREADABLE, stored

from meddel_hf.errors import IncompleteStore
from meddel_hf.explore.plane import MAP, Plane


@pytest.fixture
def store(tmp_path):
    return stored(tmp_path / "store", Dataset.from_dict({"id": IDS}))


def test_it_is_the_two_first_principal_components(store):
    plane = Plane.of(store)
    rows = store.embeddings.astype(np.float64)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    centred = rows - rows.mean(axis=0)
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    for mine, axis in zip((plane.x, plane.y), axes[:2], strict=True):
        theirs = centred @ axis
        assert min(np.abs(mine[store.rows] - sign * theirs).max() for sign in (1, -1)) < 1e-5
    assert plane.share == pytest.approx((lengths[:2] ** 2).sum() / (lengths**2).sum(), abs=1e-6)
    assert np.isnan(plane.x[list(UNREADABLE)]).all()
    assert np.isfinite(plane.x).sum() == 27


def test_it_is_saved_and_read_and_damage_is_noticed(store, tmp_path):
    plane = Plane.of(store)
    plane.save(tmp_path)
    again = Plane.load(tmp_path / MAP)
    assert np.array_equal(again.x, plane.x, equal_nan=True)
    assert np.array_equal(again.y, plane.y, equal_nan=True)
    assert again.share == plane.share
    (tmp_path / MAP).write_bytes((tmp_path / MAP).read_bytes()[:-20])
    with pytest.raises(IncompleteStore, match="damaged"):
        Plane.load(tmp_path / MAP)


def test_steps_keep_the_shape_of_the_map(store):
    plane = Plane.of(store)
    x, y = plane.in_steps()
    there = np.isfinite(plane.x)
    assert (x[~there] == 65_535).all()
    assert max(x[there].max(), y[there].max()) == 65_534
    assert min(x[there].min(), y[there].min()) == 0
    length = max(np.ptp(plane.x[there]), np.ptp(plane.y[there]))
    for steps, place in ((x, plane.x), (y, plane.y)):
        assert np.allclose(np.diff(steps[there].astype(float)) / 65_534, np.diff(place[there]) / length, atol=1e-4)
    nowhere = Plane(np.full(3, np.nan, np.float32), np.full(3, np.nan, np.float32), 0.0)
    assert (nowhere.in_steps()[0] == 65_535).all()

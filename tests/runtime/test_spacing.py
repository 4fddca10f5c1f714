"""Places at even steps, by what they owe: ends, order, number, and steps that differ by one at most."""

from __future__ import annotations

import numpy as np
import pytest

from meddel_hf.runtime.spacing import evenly_spaced


@pytest.mark.parametrize(("n", "most"), [(0, 5), (1, 5), (2, 1), (7, 7), (7, 100), (1000, 3), (10**6 + 1, 2048)])
def test_places_at_even_steps(n, most):
    places = evenly_spaced(n, most)
    assert places.dtype == np.int64
    assert len(places) == min(n, most)
    assert set(places.tolist()) <= set(range(n))
    if len(places) > 1:
        assert (places[0], places[-1]) == (0, n - 1)
        assert np.ptp(np.diff(places)) <= 1
        assert np.diff(places).min() > 0

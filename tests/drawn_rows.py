"""Rows for property tests of whatever compares rows."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays


@st.composite
def rows_in_order(draw, least: int):
    """(rows, an order of them), `least` to 30 rows: of small whole numbers, hence copies and ties, or of floats."""
    n, d = draw(st.integers(least, 30)), draw(st.integers(1, 6))
    small = draw(st.booleans())
    numbers = st.integers(-3, 3) if small else st.floats(-4, 4, width=32, allow_subnormal=False)
    x = draw(arrays(np.float32, (n, d), elements=numbers))
    x[np.linalg.norm(x.astype(np.float64), axis=1) < 1e-6, 0] = 1
    order = np.array(draw(st.permutations(range(n))))
    return x, order

"""Values of a scanner, such as Hounsfield units, to grey levels."""

from __future__ import annotations

import numpy as np

_MIDDLE = (0.5, 99.5)  # per cent of the values between which black and white lie where no window is told


def within(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8 of any array: `low` and below is 0, `high` and above 255, linear in between; what is no number is 0."""
    span = max(high - low, 1e-30)
    scaled = (np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low) - low) / span
    answer: np.ndarray = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return answer


def ends(window: tuple[float, float]) -> tuple[float, float]:
    """(low, high) of a window as (centre, width)."""
    centre, width = window
    return centre - width / 2, centre + width / 2


def middle(values: np.ndarray) -> tuple[float, float]:
    """(low, high) between which the middle 99 per cent of the finite values lie; (0, 1) where there is none."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, _MIDDLE)
    if low == high:  # nearly all of one value, as in a mask
        low, high = finite.min(), finite.max()
    return float(low), float(high)

"""The formula of NormDEL, in its one place (Eqs. 4 and 5 of arXiv 2401.17542)."""

from __future__ import annotations

import math
from numbers import Real
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray


@overload
def del_index(performance: float, retention: float, alpha: float = 1.0) -> float: ...
@overload
def del_index(performance: ArrayLike, retention: ArrayLike, alpha: float = 1.0) -> NDArray[np.float64] | float: ...
def del_index(performance: ArrayLike, retention: ArrayLike, alpha: float = 1.0) -> NDArray[np.float64] | float:
    """Data-effective learning index, DEL = m * exp(-alpha * R) (Eq. 4 of arXiv 2401.17542).

    performance: m, a downstream score as a fraction in [0, 1], such as mIoU; one number or an array of any shape.
    retention:   R, the share of the pre-training pool that was kept, in (0, 1]; the same shape, or one for all.
    alpha:       what a unit of data costs, above 0; the paper uses 1.
    Returns a number in [0, 1), or an array of them where an array was given. Raises ValueError for any other value.

    >>> round(del_index(0.7095, 0.05), 4)
    0.6749
    """
    if not isinstance(alpha, Real) or not 0 < alpha < math.inf:
        raise ValueError(f"alpha is {alpha!r}: expected a finite number above 0, such as the paper's 1")
    scores, shares = checked_fractions(performance, retention)
    index = scores * np.exp(-alpha * shares)
    return index if index.ndim else float(index)


@overload
def normdel(performance: float, retention: float, alpha: float = 1.0) -> float: ...
@overload
def normdel(performance: ArrayLike, retention: ArrayLike, alpha: float = 1.0) -> NDArray[np.float64] | float: ...
def normdel(performance: ArrayLike, retention: ArrayLike, alpha: float = 1.0) -> NDArray[np.float64] | float:
    """Normalized data-effective learning index, 1 / (1 + exp(-DEL)) (Eq. 5 of arXiv 2401.17542).

    The arguments are those of `del_index`. Returns a number in [0.5, 0.7311): more is better; 0.5 means that the model
    learned nothing, 0.7311 is the limit of a perfect score from no data.

    >>> round(normdel(0.7095, 0.05), 4)
    0.6626
    >>> normdel([0.7095, 0.7202], [0.05, 1.0]).round(4).tolist()
    [0.6626, 0.5659]
    >>> normdel(70.95, 0.05)
    Traceback (most recent call last):
    ValueError: performance is 70.95: expected a fraction in [0, 1]; divide a percentage by 100
    """
    index = np.asarray(del_index(performance, retention, alpha))
    normalized = 1 / (1 + np.exp(-index))
    return normalized if normalized.ndim else float(normalized)


def checked_fractions(performance: ArrayLike, retention: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float64 of one shape, scores in [0, 1] and shares in (0, 1]; else a ValueError that says why."""
    scores, shares = _numbers("performance", performance), _numbers("retention", retention)
    if scores.ndim and shares.ndim and scores.shape != shares.shape:
        raise ValueError(
            f"performance has {_extent(scores)} and retention {_extent(shares)}: "
            "give one retention for each performance, or a single one for all"
        )
    _refuse("performance", scores, ~((scores >= 0) & (scores <= 1)), "a fraction in [0, 1]")
    _refuse("retention", shares, ~((shares > 0) & (shares <= 1)), "a fraction in (0, 1]")
    scores, shares = np.broadcast_arrays(scores, shares)
    return scores, shares


def _numbers(name: str, values: ArrayLike) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {values!r:.60}: expected a number or an array of numbers") from None
    if numbers.size == 0:
        raise ValueError(f"{name} is empty: expected at least one number")
    return numbers


def _extent(values: NDArray[np.float64]) -> str:
    return f"{values.size} values" if values.ndim == 1 else f"shape {values.shape}"


def _refuse(name: str, values: NDArray[np.float64], bad: NDArray[np.bool_], expected: str) -> None:
    """Raise for the first bad value, with its position where there are several."""
    if not bad.any():
        return
    position = int(np.flatnonzero(bad)[0])
    value = float(values.flat[position])
    where = f"{name}[{position}]" if values.ndim else name
    cure = "; divide a percentage by 100" if 1 < value <= 100 else ""
    raise ValueError(f"{where} is {value:.10g}: expected {expected}{cure}")

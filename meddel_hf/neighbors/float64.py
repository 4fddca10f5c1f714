"""The exact cosine of two rows: one number wherever it is asked for, and by which every other way is judged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def exact_cosines(
    left: NDArray[np.floating],
    left_norms: NDArray[np.float64],
    rows: Rows,
    right: NDArray[np.floating],
    right_norms: NDArray[np.float64],
    cols: Rows,
) -> NDArray[np.float32]:
    """The cosine of each pair (left[rows[p]], right[cols[p]]), (len(rows),) float32 in [-1, 1].

    left, right: (n, d) and (m, d), with their Euclidean norms, (n,) and (m,).
    """
    dim = left.shape[1]
    result = np.empty(len(rows), np.float32)
    size = max(1, min(len(rows), 2**18 // dim))
    one, other = np.empty((size, dim), left.dtype), np.empty((size, dim), right.dtype)
    products = np.empty((size, dim))
    for start in range(0, len(rows), size):
        i, j = rows[start : start + size], cols[start : start + size]
        m = len(i)
        # Buffers are filled in place: fresh ones would cost five times the arithmetic in page faults.
        np.take(left, i, axis=0, out=one[:m], mode="clip")
        np.take(right, j, axis=0, out=other[:m], mode="clip")
        np.multiply(one[:m], other[:m], out=products[:m], dtype=np.float64)
        cosine = products[:m].sum(axis=1) / (left_norms[i] * right_norms[j])
        result[start : start + m] = rounded(cosine)
    return result


def lengths(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Euclidean length of each row, (m,) float64, from float64 numbers."""
    with np.errstate(over="ignore", invalid="ignore"):
        wide = rows.astype(np.float64)
        answer: NDArray[np.float64] = np.sqrt((wide * wide).sum(axis=1))
        return answer


def slack(dim: int) -> float:
    """How far two float64 sums of a cosine's d products may lie apart, whatever the order of each.

    Each is off by (d + 8) roundings of 2^-53 of the product of the norms at most (Cauchy-Schwarz bounds the partial
    sums; the norms' product and the division take the rest), so both together by (d + 8) 2^-52.
    """
    return (dim + 16) * 2.0**-52


def single_error(dim: int) -> float:
    """How far a dot product of two float32 unit rows may lie from the exact cosine.

    The rows' rounding, d products and d sums, each of 2^-24 of at most 1, and twice that over; norms off by 1e-6; and
    the exact cosine's own rounding.
    """
    return (dim + 16) * 2.0**-23 + 2.0**-18


def rounded(cosine: NDArray[np.float64] | float) -> NDArray[np.float32]:
    """Cosines, or a threshold for them, rounded to the nearest multiple of 2^-24."""
    nearest = np.rint(np.asarray(cosine) * 2.0**24) * 2.0**-24
    return (nearest + 0.0).astype(np.float32)  # -0.0 + 0.0 is 0.0: one number, one pattern of bits

"""`Moments`: the sums from which ridge regression is solved, at any penalty, with or without a part of the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Moments:
    """Weighted sums from which ridge regression is solved; those of a fold are taken off the whole, not summed anew."""

    weight: float
    x: NDArray[np.float64]  # (d,)
    y: NDArray[np.float64]  # (classes,)
    xx: NDArray[np.float64]  # (d, d)
    xy: NDArray[np.float64]  # (d, classes)

    @classmethod
    def of(cls, x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]) -> Moments:
        weighted = x * weights[:, None]
        return cls(float(weights.sum()), weighted.sum(axis=0), weights @ y, weighted.T @ x, weighted.T @ y)

    @classmethod
    def total(cls, parts: Sequence[Moments]) -> Moments:
        columns = zip(*([part.weight, part.x, part.y, part.xx, part.xy] for part in parts), strict=True)
        return cls(*(np.sum(column, axis=0) for column in columns))

    def without(self, part: Moments) -> Moments:
        return Moments(
            self.weight - part.weight, self.x - part.x, self.y - part.y, self.xx - part.xx, self.xy - part.xy
        )

    def solutions(self, penalties: Sequence[float]) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """(weights, bias) at each penalty, from one eigendecomposition; the bias is not penalised."""
        x, y = self.x / self.weight, self.y / self.weight
        values, vectors = np.linalg.eigh(self.xx / self.weight - np.outer(x, x))
        target = vectors.T @ (self.xy / self.weight - np.outer(x, y))
        for penalty in penalties:
            weights = vectors @ (target / (np.maximum(values, 0) + penalty)[:, None])
            yield weights, y - x @ weights

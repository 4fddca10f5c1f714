"""Segmenting: ridge regression on the frozen patch tokens of the chosen frames, IoU of every tested frame.

Each patch's token answers for a square of cells inside its patch, one regression for each, so that the mask is finer
than the patches; the cells lie on the grid on which the masks are compared. The regression's penalty is chosen on
held-out frames by its error, and the value above which a cell is foreground by the mean IoU of those frames: foreground
is rare, and one half would miss most of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from meddel_hf.downstream.labels.task import Rows
from meddel_hf.downstream.probing.moments import Moments
from meddel_hf.downstream.scores import Measure
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.manifest import fingerprint

PENALTIES = tuple(10.0 ** (k / 2) for k in range(-8, 3))  # of standardised tokens, the weights of all cells being 1
CUTS = tuple(k / 20 for k in range(1, 20))  # of the regressed share of foreground
FOLDS = 5
Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MaskTask:
    """tokens: (n, P, d), of the frames' patches. shares: (n, P, c) in [0, 1], foreground in each of a patch's c cells.

    groups: (n,) video, sequence or patient of each frame.
    """

    tokens: NDArray[np.floating]
    shares: NDArray[np.floating]
    groups: list[str]

    def __post_init__(self) -> None:
        if self.tokens.ndim != 3 or self.shares.ndim != 3 or self.tokens.shape[:2] != self.shares.shape[:2]:
            raise InvalidArgument(
                f"tokens have the shape {self.tokens.shape} and shares {self.shares.shape}: expected (n, P, d) and "
                "(n, P, c)"
            )
        if len(self.groups) != len(self.tokens):
            raise InvalidArgument(f"groups are of {len(self.groups):,} frames, tokens of {len(self.tokens):,}")

    @property
    def measure(self) -> Measure:
        return "miou"

    @cached_property
    def identity(self) -> str:
        arrays = [np.ascontiguousarray(array).tobytes() for array in (self.tokens, self.shares)]
        return fingerprint(repr(self.groups), *arrays)

    def score(self, chosen: Rows, test: Rows) -> float:
        """Mean over the tested frames of the IoU of cells; 1 for a frame where none is foreground and none is said to.

        A cell is foreground where at least half of it is.
        """
        head = PatchRidge.fit(self.tokens[chosen], self.shares[chosen], [self.groups[row] for row in chosen])
        return float(cell_ious(head.values(self.tokens[test]) > head.cut, self.shares[test] >= 0.5).mean())


def cell_ious(said: NDArray[np.bool_], true: NDArray[np.bool_]) -> Numbers:
    """(n, ...) both. IoU of each frame, (n,); 1 where neither holds foreground."""
    axes = tuple(range(1, said.ndim))
    common, either = (said & true).sum(axis=axes), (said | true).sum(axis=axes)
    return np.where(either > 0, common / np.maximum(either, 1), 1.0)


@dataclass(frozen=True, eq=False)
class PatchRidge:
    """(token - mean) / scale @ weights + bias: the share of foreground in each cell; above `cut`, a cell is foreground.

    weights: (d, c); bias: (c,); mean, scale: (d,) of the tokens of the training frames.
    """

    weights: Numbers
    bias: Numbers
    mean: Numbers
    scale: Numbers
    penalty: float
    cut: float

    @classmethod
    def fit(cls, tokens: NDArray[np.floating], shares: NDArray[np.floating], groups: list[str]) -> PatchRidge:
        """tokens: (m, P, d); shares: (m, P, c); groups: (m,), whose frames are held out together.

        Groups are dealt out to five folds in turn, in the order of the frames. Of one group, its frames are; of one
        frame, nothing can be held out: the middle penalty, and 0.5.
        """
        x = np.asarray(tokens, np.float64)
        mean, scale = x.mean(axis=(0, 1)), x.std(axis=(0, 1))
        scale[scale < 1e-12] = 1
        x, y = (x - mean) / scale, np.asarray(shares, np.float64)
        fold = _folds(groups)
        parts = [_moments(x[fold == k], y[fold == k]) for k in range(fold.max() + 1)]
        whole = Moments.total(parts)
        penalty, cut = _chosen(x, y, fold, parts) if len(parts) > 1 else (PENALTIES[len(PENALTIES) // 2], 0.5)
        weights, bias = next(whole.solutions([penalty]))
        return cls(weights, bias, mean, scale, penalty, cut)

    def values(self, tokens: NDArray[np.floating]) -> Numbers:
        """(m, P, d) -> (m, P, c)"""
        folded = self.weights / self.scale[:, None]
        return np.asarray(tokens, np.float64) @ folded + (self.bias - self.mean @ folded)


def _moments(x: Numbers, y: Numbers) -> Moments:
    """x: (m, P, d), y: (m, P, c), every patch weighing the same."""
    return Moments.of(x.reshape(-1, x.shape[2]), y.reshape(-1, y.shape[2]), np.ones(x.shape[0] * x.shape[1]))


def _chosen(x: Numbers, y: Numbers, fold: NDArray[np.int64], parts: list[Moments]) -> tuple[float, float]:
    """(penalty with the least squared error on held-out frames, cut with the greatest mean IoU of them)"""
    answers, whole = np.empty((len(PENALTIES), *y.shape)), Moments.total(parts)
    for k, part in enumerate(parts):
        at = np.flatnonzero(fold == k)
        for place, (weights, bias) in enumerate(whole.without(part).solutions(PENALTIES)):
            answers[place, at] = x[at] @ weights + bias
    best = int(((answers - y) ** 2).sum(axis=(1, 2, 3)).argmin())
    ious = [cell_ious(answers[best] > cut, y >= 0.5).mean() for cut in CUTS]
    return PENALTIES[best], CUTS[int(np.argmax(ious))]


def _folds(groups: list[str]) -> NDArray[np.int64]:
    """(m,) fold of each frame, from 0."""
    names = groups if len(set(groups)) > 1 else [str(place) for place in range(len(groups))]
    order = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([order[name] % min(FOLDS, len(order)) for name in names])

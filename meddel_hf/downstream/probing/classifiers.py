"""Two classifiers on frozen features, both exact and both quick: nearest neighbours by cosine, and ridge regression.

Ridge, not logistic regression: on real frames (docs/explanation/statistics.md) its balanced accuracy is the same, a
badly chosen penalty costs it less, and it takes a twentieth of the time or less, the choice of the penalty included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from meddel_hf.downstream.probing.moments import Moments
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.cosines import Vectors, few_candidates, product
from meddel_hf.runtime.threads import own_threads

FOLDS = 5
PENALTIES = tuple(
    10.0 ** (k / 2) for k in range(-10, 3)
)  # 1e-5 to 10, of standardised features, a row's weight being 1
_BLOCK, _TILE = 512, 4096
_STEP = 2**24  # exact cosines are multiples of its inverse
Labels = NDArray[np.int64]


def check_neighbours(neighbours: int, trained: int) -> None:
    """Raises InvalidArgument where fewer rows are trained than shall vote."""
    if not 1 <= neighbours <= trained:
        raise InvalidArgument(f"neighbours must be between 1 and the {trained:,} training rows, got {neighbours}")


def nearest_neighbours(
    train: NDArray[np.floating], labels: Labels, test: NDArray[np.floating], *, neighbours: int = 5
) -> Labels:
    """The class that the closest training rows vote for, (m,) int64.

    train: (n, d), test: (m, d), not zero and finite. labels: (n,) classes from 0. Each of the `neighbours` rows of
    greatest cosine votes with 1 + cosine. Equal cosines go to the earlier training row, equal votes to the lower class.
    """
    check_neighbours(neighbours, len(train))
    known, asked = Vectors.prepare(train, screen="float32"), Vectors.prepare(test, screen="float32")

    def answer(start: int) -> Labels:
        rows = np.arange(start, min(start + _BLOCK, len(test)))
        steps, where = _closest(asked, rows, known, neighbours)
        votes = np.zeros((len(rows), labels.max() + 1), np.int64)
        np.add.at(votes, (np.arange(len(rows))[:, None], labels[where]), steps + _STEP)
        answer: Labels = votes.argmax(axis=1)
        return answer

    with own_threads() as threads:
        return np.concatenate(list(threads.map(answer, range(0, len(test), _BLOCK))))


def _closest(asked: Vectors, rows: Labels, known: Vectors, k: int) -> tuple[Labels, Labels]:
    """(len(rows), k) cosines in steps of 2^-24, and training rows, of the closest ones in any order."""
    # One integer orders by cosine first and by earlier row then: no two are equal.
    size, margin = len(known), asked.margin(known, "float32")
    best = np.full((len(rows), k), np.iinfo(np.int64).min)
    panel = asked.panel(rows, "float32")
    for start in range(0, size, _TILE):
        cols = np.arange(start, min(start + _TILE, size))
        tile = product(panel, known.panel(cols, "float32"))
        # The k-th of this tile bounds the k-th of all from below, and so does the k-th so far.
        here = tile.topk(min(k, len(cols)), dim=1).values[:, -1].double() - margin if len(cols) >= k else -2.0
        so_far = torch.from_numpy(np.maximum(best.min(axis=1) // size / _STEP, -2.0))
        limit = (torch.maximum(so_far, torch.as_tensor(here)) - margin).float()
        few = few_candidates(tile, torch.nextafter(limit, torch.tensor(-3.0)), 4 * k * len(rows))
        if few is None:
            keys = _keys(asked.exact_tile(rows, known, cols), cols, size)
        else:
            r, c = few
            keys = np.full((len(rows), max(np.bincount(r).max(initial=0), 1)), np.iinfo(np.int64).min)
            place = np.arange(len(r)) - np.searchsorted(r, r)
            keys[r, place] = _keys(asked.exact(rows[r], known, cols[c]), cols[c], size)
        best = np.partition(np.concatenate([best, keys], axis=1), -k, axis=1)[:, -k:]
    return best // size, size - 1 - best % size


def _keys(cosines: NDArray[np.float32], cols: Labels, size: int) -> Labels:
    return (cosines.astype(np.float64) * _STEP).astype(np.int64) * size + (size - 1 - cols)


@dataclass(frozen=True, eq=False)
class Ridge:
    """A fitted ridge classifier: (x - mean) / scale @ weights + bias, the class of the greatest value.

    weights: (d, classes); bias: (classes,); mean, scale: (d,) of the training rows. errors: of each of PENALTIES, the
    squared error per row on held-out folds.
    """

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    penalty: float
    errors: tuple[float, ...]

    @classmethod
    def fit(
        cls,
        train: NDArray[np.floating],
        labels: Labels,
        groups: Sequence[str],
        *,
        penalties: Sequence[float] = PENALTIES,
        seed: int = 0,
    ) -> Ridge:
        """Regress +1 for a row's class and -1 for the others on standardised features, each class weighing the same.

        train: (n, d); labels: (n,) classes from 0, each with a row; groups: (n,), rows of one are held out together.
        The penalty is the one with the least weighted squared error over five folds of groups; a function of the
        weights, smooth and without ties, where the count of right answers jumps. seed: of the folds.
        Raises InvalidArgument where all rows are of one group, so that nothing can be held out.
        """
        if len(set(groups)) < 2:
            raise InvalidArgument("the training rows are of one group: a penalty is chosen on groups held out")
        x = np.asarray(train, np.float64)
        mean, scale = x.mean(axis=0), x.std(axis=0)
        scale[scale < 1e-12] = 1
        x = (x - mean) / scale
        classes = int(labels.max()) + 1
        row_weight = (len(x) / classes / np.bincount(labels))[labels]
        targets = 2 * np.eye(classes)[labels] - 1
        fold = _folds(labels, groups, seed)
        parts = [Moments.of(x[at], targets[at], row_weight[at]) for at in (fold == k for k in range(fold.max() + 1))]
        whole = Moments.total(parts)
        errors = np.zeros(len(penalties))
        for k, part in enumerate(parts):
            at = fold == k
            for i, (weights, bias) in enumerate(whole.without(part).solutions(penalties)):
                errors[i] += (row_weight[at] * ((x[at] @ weights + bias - targets[at]) ** 2).sum(axis=1)).sum()
        chosen = penalties[int(errors.argmin())]
        weights, bias = next(whole.solutions([chosen]))
        return cls(weights, bias, mean, scale, chosen, tuple(errors / len(x)))

    def values(self, rows: NDArray[np.floating]) -> NDArray[np.float64]:
        """(m, d) -> (m, classes), the greater the likelier."""
        return (np.asarray(rows, np.float64) - self.mean) / self.scale @ self.weights + self.bias

    def predict(self, rows: NDArray[np.floating]) -> Labels:
        """(m, d) -> (m,) classes; equal values go to the lower class."""
        answer: Labels = self.values(rows).argmax(axis=1)
        return answer


def _folds(labels: Labels, groups: Sequence[str], seed: int) -> Labels:
    """(n,) fold of each row: no group is parted, and the groups of each class are dealt out in turn."""
    of_group: dict[str, Counter[int]] = {}
    for group, label in zip(groups, labels.tolist(), strict=True):
        of_group.setdefault(group, Counter())[label] += 1
    names = sorted(of_group)
    luck = np.random.default_rng(seed).permutation(len(names))
    main = {name: min(of_group[name], key=lambda label: (-of_group[name][label], label)) for name in names}
    order = sorted(range(len(names)), key=lambda at: (main[names[at]], luck[at]))
    fold = {names[at]: place % min(FOLDS, len(names)) for place, at in enumerate(order)}
    return np.array([fold[group] for group in groups])

"""A sample of exact cosines: how many neighbours a few evenly spaced rows have at every threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from meddel_hf.dedup.density import BINS, CosineSample
from meddel_hf.neighbors.cosines import TILE, Rows, Vectors
from meddel_hf.neighbors.device.tiles import counts_by_cosine
from meddel_hf.runtime.shared_work import Arrays, digest_of, in_parts
from meddel_hf.runtime.spacing import evenly_spaced

_SAMPLED_ROWS = 256
_OF_FLOAT64 = 8  # multiplications of a screen that one in float64 costs
_MOST_PARTS = 32  # of a group: each has two megabytes of counts


def drawn(vectors: Vectors, groups: Sequence[Rows]) -> CosineSample:
    """groups: row numbers that are compared with one another only."""
    order, sizes, there = np.concatenate(groups), list(map(len, groups)), vectors.device

    def question() -> str:
        return digest_of(vectors.digest, order, sizes)

    if there is not None:
        return _counted(
            sizes, lambda at, part: counts_by_cosine(there, order[at], order[part], BINS), vectors.dim, question
        )
    return measured(sizes, lambda at, part: vectors.exact_tile(order[at], vectors, order[part]), vectors.dim, question)


def measured(
    sizes: Sequence[int],
    cosines: Callable[[Rows, slice], NDArray[np.float32]],
    dim: int,
    question: Callable[[], str],
) -> CosineSample:
    """sizes: rows in each group, one after another. cosines: exact ones of some rows with a range of rows, by their
    places in that order. question: digest of the rows and their order, for processes that share the work."""
    return _counted(sizes, lambda at, all_of: _counts(at, all_of, cosines), dim, question)


def _counted(
    sizes: Sequence[int],
    counts_of: Callable[[Rows, slice], NDArray[np.int64]],
    dim: int,
    question: Callable[[], str],
) -> CosineSample:
    """counts_of: of some rows with a range of rows of their group, `_counts`."""
    size = sum(sizes)
    picked = evenly_spaced(size, _SAMPLED_ROWS)
    counts = np.zeros((len(picked), BINS + 2), np.int64)
    end = 0
    for length in sizes:
        begin, end = end, end + length
        here = slice(*np.searchsorted(picked, (begin, end)))
        at = picked[here]
        if len(at):
            counts[here] = _shared_counts(at, slice(begin, end), counts_of, dim, question)
    neighbors = counts[:, BINS::-1].cumsum(axis=1)[:, ::-1]
    return CosineSample((1 / (1 + neighbors)).mean(axis=0) * size, neighbors.mean(axis=0) * size / 2)


def _shared_counts(
    at: Rows,
    all_of: slice,
    counts_of: Callable[[Rows, slice], NDArray[np.int64]],
    dim: int,
    question: Callable[[], str],
) -> NDArray[np.int64]:
    """counts_of(at, all_of), summed up from parts of the group where processes share the work."""

    def answer(part: slice) -> Arrays:
        return {"counts": counts_of(at, slice(all_of.start + part.start, all_of.start + part.stop))[None]}

    def asked() -> str:
        return digest_of("counts", question(), at, all_of.start, all_of.stop)

    cost = float(len(at)) * dim * _OF_FLOAT64
    counts = in_parts("sampling", asked, all_of.stop - all_of.start, cost, answer, TILE, _MOST_PARTS)["counts"]
    total: NDArray[np.int64] = counts.sum(axis=0)
    return total


def _counts(at: Rows, all_of: slice, cosines: Callable[[Rows, slice], NDArray[np.float32]]) -> NDArray[np.int64]:
    """(len(at), bins + 2): cosines in each bin; the last two are those of 1, and of rows with themselves."""
    counts = np.zeros((len(at), BINS + 2), np.int64)
    for start in range(all_of.start, all_of.stop, TILE):
        stop = min(start + TILE, all_of.stop)
        tile = cosines(at, slice(start, stop))
        bins = np.floor((tile.astype(np.float64) + 1) * (BINS / 2)).astype(np.int64).clip(0, BINS)
        own = (at >= start) & (at < stop)
        bins[own, at[own] - start] = BINS + 1  # no pair with itself: a bin that is left out
        bins += np.arange(len(at))[:, None] * (BINS + 2)
        counts += np.bincount(bins.ravel(), minlength=counts.size).reshape(len(at), -1)
    return counts

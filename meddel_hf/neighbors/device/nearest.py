"""The nearest rows of each row, on a device."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from meddel_hf.neighbors.device import products
from meddel_hf.neighbors.device.rows import HIGHER, DeviceRows, Tier
from meddel_hf.neighbors.float64 import Rows

_STEPS = 2**24  # of the exact cosines, in 1


def nearest(
    queries: DeviceRows, rows: Rows, reference: DeviceRows, cols: Rows, floor: NDArray[np.float32] | None
) -> tuple[Rows, NDArray[np.float32]]:
    """As `cosines.nearest`; there is one of `cols` at least."""
    j, tier = reference.index(cols), products.tier_of(queries, reference)

    def answer(part: slice) -> tuple[Rows, NDArray[np.float32]]:
        i = queries.index(rows[part])
        best = torch.full((len(i),), -2.0, device=queries.place)
        if floor is not None:
            best = torch.from_numpy(floor[part].copy()).to(queries.place)
        search = _Best(torch.zeros_like(i), best)
        for start in range(0, len(j), tall):
            unfinished = (search.value < 1).nonzero()[:, 0]  # no cosine exceeds 1
            if not len(unfinished):
                break
            here = search if len(unfinished) == len(i) else search.among(unfinished)
            _improve(here, queries, i[unfinished], reference, j[start : start + tall], start, tier)
            if here is not search:
                search.where[unfinished], search.value[unfinished] = here.where, here.value
        return search.where.cpu().numpy(), search.value.cpu().numpy()

    # Many columns at once leave fewer rows with a best one that a later product takes back.
    wide, tall = products.shape_of(
        queries, len(rows), len(cols), min(4 * products.WIDE, max(products.WIDE // 4, queries.numbers // len(cols)))
    )
    return products.joined(queries, answer, len(rows), wide)


def nearest_many(
    queries: DeviceRows, rows: Rows, reference: DeviceRows, cols: Rows, k: int
) -> tuple[Rows, NDArray[np.float32]]:
    """As `knn.nearest_many`; k is at most len(cols)."""
    j, tier = reference.index(cols), products.tier_of(queries, reference)

    def answer(part: slice) -> tuple[Rows, NDArray[np.float32]]:
        where, value = _best_of(queries, queries.index(rows[part]), reference, j, k, tier)
        return where.cpu().numpy(), value.cpu().numpy()

    wide = max(1, min(products.WIDE, queries.numbers // len(cols)))
    return products.joined(queries, answer, len(rows), wide, (k,))


def nearest_in_groups(
    vectors: DeviceRows, asked: Sequence[Rows], known: Sequence[Rows]
) -> Generator[tuple[Rows, NDArray[np.float32]], None, None]:
    """As `nearest`, of each group's rows among the group's own, none empty; several small ones share a product."""
    wide, tall = (np.array([len(rows) for rows in groups]) for groups in (asked, known))

    def cost(part: slice) -> int:
        return len(wide[part]) * int(wide[part].max()) * int(tall[part].max())

    def answer(part: slice) -> list[tuple[Rows, NDArray[np.float32]]]:
        together = None
        if part.stop - part.start > 1:
            together = _nearest_together(vectors, asked[part], known[part])
        if together is None:
            together = [nearest(vectors, a, vectors, b, None) for a, b in zip(asked[part], known[part], strict=True)]
        return together

    yield from products.of_batches(vectors, answer, products.batches(len(asked), cost, vectors.numbers // 8))


@dataclass(eq=False)
class _Best:
    """where, value: (m,) position and cosine of the best column so far, on the device."""

    where: torch.Tensor
    value: torch.Tensor

    def among(self, places: torch.Tensor) -> _Best:
        return _Best(self.where[places], self.value[places])

    def offer(self, q: torch.Tensor, c: torch.Tensor, cosine: torch.Tensor, width: int, start: int) -> None:
        """Columns c in [0, width), which stand behind all earlier ones, for the rows q; of equals the first counts."""
        # One number orders by cosine first, and by earlier column then; 0 is below all.
        key = ((cosine.double() * _STEPS).long() + 2 * _STEPS) * width + (width - 1 - c)
        top = torch.zeros_like(self.where).scatter_reduce_(0, q, key, "amax")
        self._take(top // width, width - 1 - top % width + start)

    def offer_dense(self, cosine: torch.Tensor, start: int) -> None:
        """cosine: (m, w) of every row with w columns, which stand behind all earlier ones."""
        top = cosine.amax(dim=1)
        columns = torch.arange(cosine.shape[1], device=cosine.device)
        first = torch.where(cosine == top[:, None], columns, len(columns)).amin(dim=1)
        self._take((top.double() * _STEPS).long() + 2 * _STEPS, first + start)

    def _take(self, steps: torch.Tensor, where: torch.Tensor) -> None:
        value = ((steps - 2 * _STEPS).double() / _STEPS).float()
        better = value > self.value
        self.where = torch.where(better, where, self.where)
        self.value = torch.where(better, value, self.value)


def _improve(
    search: _Best, queries: DeviceRows, i: torch.Tensor, reference: DeviceRows, j: torch.Tensor, start: int, tier: Tier
) -> None:
    """Look for better ones among the columns j, of which the first has the position `start`."""
    if tier == "float64":
        for part in products.dense_parts(len(j), len(i)):
            search.offer_dense(queries.cosine_tile(i, reference, j[part]), start + part.start)
        return
    margin = queries.margin(reference, tier)
    tile = products.product(reference.panel(j, tier), queries.panel(i, tier))
    tops = products.tops_of(tile)
    limit = products.limits(tile, len(i), 0.0)
    limit[: len(i)] = torch.maximum(search.value - margin, tops.amax(dim=0)[: len(i)] - 2 * margin)
    few = products.listed(tile, limit, max(tile.numel() // products.CROWD, 2 * tile.shape[2]), tops)
    if few is not None:
        c, q = few
        search.offer(q, c, queries.cosines(i[q], reference, j[c]), len(j), start)
        return
    # In a crowd of copies the first candidate may already have cosine 1, which none exceeds.
    q, c = products.first_candidates(tile, tops, limit)
    del tile, tops
    cosine = queries.cosines(i[q], reference, j[c])
    copy = cosine == 1
    rest = q[~copy]
    if len(rest):
        # What they found in the first candidate is found again: positions must come in order.
        here = search.among(rest)
        _improve_in_parts(here, queries, i[rest], reference, j, start, HIGHER[tier])
        search.where[rest], search.value[rest] = here.where, here.value
    search.offer(q[copy], c[copy], cosine[copy], len(j), start)


def _improve_in_parts(
    search: _Best, queries: DeviceRows, i: torch.Tensor, reference: DeviceRows, j: torch.Tensor, start: int, tier: Tier
) -> None:
    """As `_improve`; a product of float32 holds half the numbers of one in bfloat16."""
    step = max(1, -(-len(j) // 2))
    for c in range(0, len(j), step):
        _improve(search, queries, i, reference, j[c : c + step], start + c, tier)


def _nearest_together(
    vectors: DeviceRows, asked: Sequence[Rows], known: Sequence[Rows]
) -> list[tuple[Rows, NDArray[np.float32]]] | None:
    """Of each group's rows the nearest of its own, in one product; None where there are too many candidates."""
    i, asked_there = _stacked(vectors, asked)
    j, known_there = _stacked(vectors, known)
    groups, wide, tall = len(asked), i.shape[1], j.shape[1]
    tier = vectors.cheapest
    left, right = (vectors.panel(index.flatten(), tier).view(groups, index.shape[1], -1) for index in (j, i))
    tile = torch.bmm(left, right.transpose(1, 2)).masked_fill_(~known_there[:, :, None], -4)
    tile = tile.view(groups, tall // products.CHUNK, products.CHUNK, wide)
    tops = tile.amax(dim=2).float()
    limit = (tops.amax(dim=1) - 2 * vectors.margin(vectors, tier)).masked_fill_(~asked_there, products.NEVER)
    g, k, q = (tops >= limit[:, None]).nonzero(as_tuple=True)
    if len(g) > max(tile.numel() // products.CROWD, 2 * groups * wide):
        return None
    hit, offset = (tile[g, k, :, q].float() >= limit[g, q, None]).nonzero(as_tuple=True)
    g, q, c = g[hit], q[hit], k[hit] * products.CHUNK + offset
    search = _Best(torch.zeros_like(i).flatten(), torch.full((groups * wide,), -2.0, device=vectors.place))
    search.offer(g * wide + q, c, vectors.cosines(i[g, q], vectors, j[g, c]), tall, 0)
    where, value = (answer.view(groups, wide).cpu().numpy() for answer in (search.where, search.value))
    return [(where[at, : len(rows)], value[at, : len(rows)]) for at, rows in enumerate(asked)]


def _stacked(vectors: DeviceRows, groups: Sequence[Rows]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of groups as (groups, a multiple of 64), and which of these places are taken."""
    rows = np.zeros((len(groups), -(-max(map(len, groups)) // products.CHUNK) * products.CHUNK), np.int64)
    sizes = np.array([len(group) for group in groups])
    taken = np.arange(rows.shape[1]) < sizes[:, None]
    rows[taken] = np.concatenate(groups)
    return vectors.index(rows), torch.from_numpy(taken).to(vectors.place)


def _best_of(
    queries: DeviceRows, i: torch.Tensor, reference: DeviceRows, j: torch.Tensor, k: int, tier: Tier
) -> tuple[torch.Tensor, torch.Tensor]:
    """(len(i), k) positions in j of the greatest cosines, best first and equals by position, and those cosines."""
    tile = products.product(reference.panel(j, tier), queries.panel(i, tier))
    tops = products.tops_of(tile)
    # The k-th greatest of the maxima of parts is no more than the k-th greatest of all, and close to it.
    part = next(
        (part for part in (products.CHUNK, products.CHUNK // 4, products.CHUNK // 16) if len(j) // part >= 2 * k), 1
    )
    high = tile.reshape(-1, part, tile.shape[2]).amax(dim=1).float()
    limit = products.limits(tile, len(i), 0.0)
    limit[: len(i)] = high.topk(k, dim=0).values[-1, : len(i)] - 2 * queries.margin(reference, tier)
    few = products.listed(tile, limit, max(tile.numel() // products.CROWD, 8 * k * tile.shape[2]), tops)
    del tile, tops, high
    if few is None:
        dense = [
            _dense_best(queries.cosine_tile(i[part], reference, j), k) for part in products.dense_parts(len(i), len(j))
        ]
        where, value = zip(*dense, strict=True)
        return torch.cat(where), torch.cat(value)
    c, q = few
    cosine = queries.cosines(i[q], reference, j[c])
    order = torch.argsort(c, stable=True)
    order = order[torch.argsort(cosine[order], stable=True, descending=True)]
    order = order[torch.argsort(q[order], stable=True)]
    starts = torch.searchsorted(q[order], torch.arange(len(i), device=q.device))
    at = order[starts[:, None] + torch.arange(k, device=q.device)]
    return c[at], cosine[at]


def _dense_best(cosine: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    value, where = torch.sort(cosine, dim=1, descending=True, stable=True)
    return where[:, :k], value[:, :k]

"""The questions of a search, answered on a device: nearest rows, rows above a threshold, pairs, the greedy rule.

A product of many rows with many others never leaves the device: 64 of its numbers are looked at through their maximum,
and only where that reaches the limit one by one. What is left lies within the screen's margin of the answer, and its
exact cosines decide (`DeviceRows.cosines`). Where that is a crowd, a product of higher precision thins it out, in the
end one in float64. Arrays come from the processor and go back to it; the rows asked about are the columns of a product,
since maxima over its rows read memory in order.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from meddel_hf.neighbors.device import HIGHER, DeviceRows, Tier, full_products
from meddel_hf.neighbors.float64 import Rows, rounded
from meddel_hf.runtime.threads import stream_threads

_CHUNK = 64  # rows of a product whose maximum is looked at before any of them is
_WIDE = 2**14  # rows asked about in one product, at most
_CROWD = 512  # of so many numbers of a product one may be gathered; beyond, a product in float64 is cheaper
_DENSE = 2**24  # numbers of a float64 product that is held at once
_PAIRS_PER_ROW = 32  # pairs inside a block beyond which it is halved
_FEW_PAIRS = 2**16
_GROUPS = 64  # that share a product, at most
_STEPS = 2**24  # of the exact cosines, in 1
_NEVER = float("inf")

Found = tuple[Rows, Rows, NDArray[np.float32]]
_Item = TypeVar("_Item")
_Answer = Callable[[slice], tuple[Rows, NDArray[np.float32]]]


def nearest(
    queries: DeviceRows, rows: Rows, reference: DeviceRows, cols: Rows, floor: NDArray[np.float32] | None
) -> tuple[Rows, NDArray[np.float32]]:
    """As `cosines.nearest`; there is one of `cols` at least."""
    j, tier = reference.index(cols), _tier(queries, reference)

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
    wide, tall = _shape(queries, len(rows), len(cols), min(4 * _WIDE, max(_WIDE // 4, queries.numbers // len(cols))))
    return _joined(queries, answer, len(rows), wide)


def nearest_many(
    queries: DeviceRows, rows: Rows, reference: DeviceRows, cols: Rows, k: int
) -> tuple[Rows, NDArray[np.float32]]:
    """As `knn.nearest_many`; k is at most len(cols)."""
    j, tier = reference.index(cols), _tier(queries, reference)

    def answer(part: slice) -> tuple[Rows, NDArray[np.float32]]:
        where, value = _best_of(queries, queries.index(rows[part]), reference, j, k, tier)
        return where.cpu().numpy(), value.cpu().numpy()

    wide = max(1, min(_WIDE, queries.numbers // len(cols)))
    return _joined(queries, answer, len(rows), wide, (k,))


def any_above(vectors: DeviceRows, rows: Rows, cols: Rows, eta: float) -> NDArray[np.bool_]:
    """For each row: is its cosine with any of `cols` above eta? (len(rows),) bool."""
    if not len(rows) or not len(cols):
        return np.zeros(len(rows), bool)
    with full_products():
        i, j = vectors.index(rows), vectors.index(cols)
        above = torch.zeros(len(i), dtype=torch.bool, device=vectors.place)
        left = torch.arange(len(i), device=vectors.place)
        start = 0
        while start < len(j) and len(left):
            _, tall = _shape(vectors, len(left), len(j) - start)
            some = j[start : start + tall]
            hit = torch.cat(
                [_above(vectors, i[p], some, float(rounded(eta)), vectors.cheapest) for p in left.split(_WIDE)]
            )
            above[left[hit]] = True
            left, start = left[~hit], start + tall
        return above.cpu().numpy()


def cosine_tile(left: DeviceRows, rows: Rows, right: DeviceRows, cols: Rows) -> NDArray[np.float32]:
    """As `Vectors.exact_tile`."""
    i, j = left.index(rows), right.index(cols)
    result = np.empty((len(rows), len(cols)), np.float32)
    for part in _dense_parts(len(rows), len(cols)):
        result[part] = left.cosine_tile(i[part], right, j).cpu().numpy()
    return result


def counts_by_cosine(vectors: DeviceRows, rows: Rows, cols: Rows, bins: int) -> NDArray[np.int64]:
    """Cosines of each row with all columns but itself in equal bins from -1 to 1, (len(rows), bins + 2) counts.

    The last bin but one holds those of 1, the last one the rows themselves.
    """
    i, j, width = vectors.index(rows), vectors.index(cols), bins + 2
    counts = torch.zeros(len(rows) * width, dtype=torch.int64, device=vectors.place)
    for part in _dense_parts(len(cols), len(rows)):
        cosine = vectors.cosine_tile(i, vectors, j[part]).double()
        bin_ = cosine.add_(1).mul_(bins / 2).floor_().long().clamp_(0, bins)
        bin_.masked_fill_(i[:, None] == j[part], bins + 1)
        bin_ += torch.arange(len(rows), device=vectors.place)[:, None] * width
        counts += torch.bincount(bin_.flatten(), minlength=len(counts))
    return counts.view(len(rows), width).cpu().numpy()


def pairs_of_tiles(
    left: DeviceRows, right: DeviceRows, tiles: Iterable[tuple[Rows, Rows, bool]], floor: float
) -> Generator[Found, None, None]:
    """Of each tile, every pair of one of its rows and one of its columns whose cosine is above `floor`.

    tiles: rows, columns, and whether only pairs count whose row is the lower number. Yields rows, columns, cosines.
    """

    def pairs(tile: tuple[Rows, Rows, bool]) -> Found:
        return _pairs_of_tile(left, tile[0], right, tile[1], floor, ordered=tile[2])

    with full_products(), stream_threads(left.place) as threads, closing(threads.map(pairs, tiles)) as parts:
        yield from parts


def _pairs_of_tile(
    left: DeviceRows, rows: Rows, right: DeviceRows, cols: Rows, floor: float, *, ordered: bool
) -> Found:
    i, j, threshold = left.index(rows), right.index(cols), float(rounded(floor))
    tier = _tier(left, right)
    tile = _product(right.panel(j, tier), left.panel(i, tier))
    limit = _limits(tile, len(i), threshold - left.margin(right, tier))
    few = _listed(tile, limit, tile.numel() // _CROWD)
    del tile
    if few is None:
        return _dense_pairs(left, i, right, j, threshold, ordered)
    c, r = few
    first, second = i[r], j[c]
    if ordered:
        upper = first < second
        first, second = first[upper], second[upper]
    cosine = left.cosines(first, right, second)
    above = cosine > threshold
    return _back(first[above], second[above], cosine[above])


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

    yield from _of_batches(vectors, answer, _batches(len(asked), cost, vectors.numbers // 8))


def greedy_in_groups(
    vectors: DeviceRows, groups: Sequence[Rows], eta: float
) -> Generator[NDArray[np.bool_], None, None]:
    """The greedy rule inside each group, whose rows are in keep order; several small ones share a product."""
    sizes = np.array([len(group) for group in groups])

    def answer(part: slice) -> list[NDArray[np.bool_]]:
        some = groups[part]
        if len(some) > 1:
            rows, label = np.concatenate(some), np.repeat(np.arange(len(some)), sizes[part])
            pairs = _close_pairs(vectors, rows, eta, max(_FEW_PAIRS, _PAIRS_PER_ROW * len(rows)), label)
            if pairs is not None:
                return np.split(greedy_by_pairs(len(rows), *pairs), np.cumsum(sizes[part])[:-1])
        return [greedy_in_group(vectors, group, eta) for group in some]

    def cost(part: slice) -> int:
        return int(sizes[part].sum())

    yield from _of_batches(vectors, answer, _batches(len(groups), cost, block(vectors) // 2))


def greedy_in_group(
    vectors: DeviceRows, order: Rows, eta: float, room: int | None = None, seen: Callable[[int], object] = int
) -> NDArray[np.bool_]:
    """The greedy rule inside a group of any size, (len(order),) bool; ends at the first row beyond `room`.

    seen: is told how many more rows are decided.
    """
    stays, step = np.zeros(len(order), bool), block(vectors)
    with full_products():
        for start in range(0, len(order), step):
            here, kept = order[start : start + step], order[stays]
            free = np.flatnonzero(~any_above(vectors, here, kept, eta))
            new = free[_greedy(vectors, here[free], eta)]
            if room is not None and len(kept) + len(new) > room:
                stays[start + new[: room + 1 - len(kept)]] = True
                return stays
            stays[start + new] = True
            seen(len(here))
    return stays


def block(vectors: DeviceRows) -> int:
    """Rows, and columns, of a product that is about square: of a tile of pairs, and of a block of a greedy pass."""
    return max(_CHUNK, min(_WIDE, int(vectors.numbers**0.5)))


def greedy_by_pairs(rows: int, first: Rows, second: Rows) -> NDArray[np.bool_]:
    """The greedy rule among rows numbered in keep order, (rows,) bool.

    first, second: the pairs above eta, the earlier row first, in the order of the earlier rows.
    """
    keep = np.ones(rows, bool)
    starts = np.flatnonzero(np.diff(first, prepend=-1))
    ends = np.append(starts, len(first))[1:]
    for rank, start, end in zip(first[starts].tolist(), starts.tolist(), ends.tolist(), strict=True):
        if keep[rank]:
            keep[second[start:end]] = False
    return keep


def _greedy(vectors: DeviceRows, rows: Rows, eta: float) -> NDArray[np.bool_]:
    m = len(rows)
    if m < 2:
        return np.ones(m, bool)
    pairs = _close_pairs(vectors, rows, eta, max(_FEW_PAIRS, _PAIRS_PER_ROW * m))
    if pairs is None:  # a crowd of near-duplicates, most of which go when the first half is known
        half = m // 2
        keep = np.zeros(m, bool)
        keep[:half] = _greedy(vectors, rows[:half], eta)
        free = half + np.flatnonzero(~any_above(vectors, rows[half:], rows[:half][keep[:half]], eta))
        if len(free):
            keep[free] = _greedy(vectors, rows[free], eta)
        return keep
    return greedy_by_pairs(m, *pairs)


def _close_pairs(
    vectors: DeviceRows, rows: Rows, eta: float, most: int, label: Rows | None = None
) -> tuple[Rows, Rows] | None:
    """Places (earlier, later) of every pair of `rows` above eta, by the earlier; None where there are more.

    label: (len(rows),) the group of each, where only pairs inside a group count.
    """
    i, threshold, tier = vectors.index(rows), float(rounded(eta)), vectors.cheapest
    panel, margin = vectors.panel(i, tier), vectors.margin(vectors, tier)
    tile = _product(panel, panel)
    # Each pair is there twice, and each row with itself.
    few = _listed(tile, _limits(tile, len(i), threshold - margin), 2 * most + len(i))
    if few is None:
        return None
    later, earlier = few
    ordered = earlier < later
    if label is not None:
        group = vectors.index(label)
        ordered &= group[earlier] == group[later]
    later, earlier = later[ordered], earlier[ordered]
    above = tile.flatten(0, 1)[later, earlier].float() > threshold + margin
    del tile
    unsure = (~above).nonzero()[:, 0]
    above[unsure] = vectors.cosines(i[earlier[unsure]], vectors, i[later[unsure]]) > threshold
    later, earlier = later[above], earlier[above]
    if len(later) > most:
        return None
    order = torch.argsort(earlier, stable=True)
    return earlier[order].cpu().numpy(), later[order].cpu().numpy()


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
        for part in _dense_parts(len(j), len(i)):
            search.offer_dense(queries.cosine_tile(i, reference, j[part]), start + part.start)
        return
    margin = queries.margin(reference, tier)
    tile = _product(reference.panel(j, tier), queries.panel(i, tier))
    tops = _tops(tile)
    limit = _limits(tile, len(i), 0.0)
    limit[: len(i)] = torch.maximum(search.value - margin, tops.amax(dim=0)[: len(i)] - 2 * margin)
    few = _listed(tile, limit, max(tile.numel() // _CROWD, 2 * tile.shape[2]), tops)
    if few is not None:
        c, q = few
        search.offer(q, c, queries.cosines(i[q], reference, j[c]), len(j), start)
        return
    # In a crowd of copies the first candidate may already have cosine 1, which none exceeds.
    q, c = _first_candidates(tile, tops, limit)
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
    tile = tile.view(groups, tall // _CHUNK, _CHUNK, wide)
    tops = tile.amax(dim=2).float()
    limit = (tops.amax(dim=1) - 2 * vectors.margin(vectors, tier)).masked_fill_(~asked_there, _NEVER)
    g, k, q = (tops >= limit[:, None]).nonzero(as_tuple=True)
    if len(g) > max(tile.numel() // _CROWD, 2 * groups * wide):
        return None
    hit, offset = (tile[g, k, :, q].float() >= limit[g, q, None]).nonzero(as_tuple=True)
    g, q, c = g[hit], q[hit], k[hit] * _CHUNK + offset
    search = _Best(torch.zeros_like(i).flatten(), torch.full((groups * wide,), -2.0, device=vectors.place))
    search.offer(g * wide + q, c, vectors.cosines(i[g, q], vectors, j[g, c]), tall, 0)
    where, value = (answer.view(groups, wide).cpu().numpy() for answer in (search.where, search.value))
    return [(where[at, : len(rows)], value[at, : len(rows)]) for at, rows in enumerate(asked)]


def _stacked(vectors: DeviceRows, groups: Sequence[Rows]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of groups as (groups, a multiple of 64), and which of these places are taken."""
    rows = np.zeros((len(groups), -(-max(map(len, groups)) // _CHUNK) * _CHUNK), np.int64)
    sizes = np.array([len(group) for group in groups])
    taken = np.arange(rows.shape[1]) < sizes[:, None]
    rows[taken] = np.concatenate(groups)
    return vectors.index(rows), torch.from_numpy(taken).to(vectors.place)


def _batches(count: int, cost: Callable[[slice], int], most: int) -> list[slice]:
    """Parts of [0, count) that cost `most`, where they hold more than one."""
    if not count:
        return []
    cuts = [0]
    for at in range(1, count):
        if at - cuts[-1] == _GROUPS or cost(slice(cuts[-1], at + 1)) > most:
            cuts.append(at)
    return [slice(start, stop) for start, stop in zip(cuts, [*cuts[1:], count], strict=True)]


def _of_batches(
    vectors: DeviceRows, answer: Callable[[slice], list[_Item]], parts: list[slice]
) -> Generator[_Item, None, None]:
    """The items of all parts, one after another."""
    with full_products(), stream_threads(vectors.place) as threads, closing(threads.map(answer, parts)) as answers:
        for some in answers:
            yield from some


def _above(vectors: DeviceRows, i: torch.Tensor, j: torch.Tensor, threshold: float, tier: Tier) -> torch.Tensor:
    """(len(i),) bool: has the row a cosine above the threshold with any of j?"""
    if tier == "float64":
        above = torch.zeros(len(i), dtype=torch.bool, device=vectors.place)
        for part in _dense_parts(len(j), len(i)):
            above |= (vectors.cosine_tile(i, vectors, j[part]) > threshold).any(dim=1)
        return above
    margin = vectors.margin(vectors, tier)
    tile = _product(vectors.panel(j, tier), vectors.panel(i, tier))
    tops = _tops(tile)
    top = tops.amax(dim=0)[: len(i)]
    above = top > threshold + margin
    limit = _limits(tile, len(i), 0.0)
    limit[: len(i)] = torch.where(above, _NEVER, threshold - margin)
    few = _listed(tile, limit, tile.numel() // _CROWD, tops)
    if few is None:
        del tile, tops
        unsure = (~above & (top >= threshold - margin)).nonzero()[:, 0]
        above[unsure] = _above(vectors, i[unsure], j, threshold, HIGHER[tier])
        return above
    c, q = few
    above[q[vectors.cosines(i[q], vectors, j[c]) > threshold]] = True
    return above


def _dense_pairs(
    left: DeviceRows, i: torch.Tensor, right: DeviceRows, j: torch.Tensor, threshold: float, ordered: bool
) -> Found:
    parts: list[Found] = []
    for part in _dense_parts(len(i), len(j)):
        cosine = left.cosine_tile(i[part], right, j)
        r, c = (cosine > threshold).nonzero(as_tuple=True)
        first, second, cosine = i[part][r], j[c], cosine[r, c]
        if ordered:
            upper = first < second
            first, second, cosine = first[upper], second[upper], cosine[upper]
        parts.append(_back(first, second, cosine))
    first_, second_, cosine_ = zip(*parts, strict=True)
    return np.concatenate(first_), np.concatenate(second_), np.concatenate(cosine_)


def _best_of(
    queries: DeviceRows, i: torch.Tensor, reference: DeviceRows, j: torch.Tensor, k: int, tier: Tier
) -> tuple[torch.Tensor, torch.Tensor]:
    """(len(i), k) positions in j of the greatest cosines, best first and equals by position, and those cosines."""
    tile = _product(reference.panel(j, tier), queries.panel(i, tier))
    tops = _tops(tile)
    # The k-th greatest of the maxima of parts is no more than the k-th greatest of all, and close to it.
    part = next((part for part in (_CHUNK, _CHUNK // 4, _CHUNK // 16) if len(j) // part >= 2 * k), 1)
    high = tile.reshape(-1, part, tile.shape[2]).amax(dim=1).float()
    limit = _limits(tile, len(i), 0.0)
    limit[: len(i)] = high.topk(k, dim=0).values[-1, : len(i)] - 2 * queries.margin(reference, tier)
    few = _listed(tile, limit, max(tile.numel() // _CROWD, 8 * k * tile.shape[2]), tops)
    del tile, tops, high
    if few is None:
        dense = [_dense_best(queries.cosine_tile(i[part], reference, j), k) for part in _dense_parts(len(i), len(j))]
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


def _product(reference: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """reference @ asked.T in chunks of rows, (chunks, 64, columns); what fills up whole chunks and columns is -4."""
    tile = _filled(reference) @ _filled(asked).T
    tile[len(reference) :] = -4
    tile[:, len(asked) :] = -4
    return tile.reshape(len(tile) // _CHUNK, _CHUNK, tile.shape[1])


def _filled(panel: torch.Tensor) -> torch.Tensor:
    """With rows of zeros up to a multiple of 64, which products are fastest with."""
    missing = -len(panel) % _CHUNK
    return torch.nn.functional.pad(panel, (0, 0, 0, missing)) if missing else panel


def _tops(tile: torch.Tensor) -> torch.Tensor:
    """(chunks, columns) float32, the greatest number of each chunk of a column."""
    return tile.amax(dim=1).float()


def _limits(tile: torch.Tensor, columns: int, limit: float) -> torch.Tensor:
    """(columns of the tile,) float32: the same for each, and what no number reaches for those that fill up."""
    limits = torch.full((tile.shape[2],), _NEVER, device=tile.device)
    limits[:columns] = limit
    return limits


def _listed(
    tile: torch.Tensor, limit: torch.Tensor, most: int, tops: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """(row, column) where the product reaches the column's limit; None where more than `most` chunks do."""
    k, q = ((_tops(tile) if tops is None else tops) >= limit).nonzero(as_tuple=True)
    if len(k) > most:
        return None
    hit, offset = (tile[k, :, q].float() >= limit[q, None]).nonzero(as_tuple=True)
    return k[hit] * _CHUNK + offset, q[hit]


def _first_candidates(tile: torch.Tensor, tops: torch.Tensor, limit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Columns of the product that have a number that reaches their limit, and the row of the first one."""
    chunks = torch.arange(len(tops), device=tops.device)[:, None]
    k = torch.where(tops >= limit, chunks, len(tops)).amin(dim=0)
    q = (k < len(tops)).nonzero()[:, 0]
    k = k[q]
    offsets = torch.arange(_CHUNK, device=tops.device)
    offset = torch.where(tile[k, :, q].float() >= limit[q, None], offsets, _CHUNK).amin(dim=1)
    return q, k * _CHUNK + offset


def _tier(left: DeviceRows, right: DeviceRows) -> Tier:
    return "float32" if left.low is None or right.low is None else "bfloat16"


def _shape(vectors: DeviceRows, rows: int, cols: int, wide: int = _WIDE) -> tuple[int, int]:
    """Columns (rows asked about) and rows of a product of as many numbers as are held at once."""
    wide = max(1, min(wide, rows, vectors.numbers // _CHUNK))
    tall = max(1, vectors.numbers // wide // _CHUNK) * _CHUNK
    return wide, min(tall, max(1, cols))


def _dense_parts(rows: int, others: int) -> Iterator[slice]:
    step = max(1, _DENSE // max(1, others))
    for start in range(0, rows, step):
        yield slice(start, start + step)


def _joined(
    queries: DeviceRows, answer: _Answer, rows: int, step: int, shape: tuple[int, ...] = ()
) -> tuple[Rows, NDArray[np.float32]]:
    """answer(slice of rows) of all parts, one after another."""
    where, value = np.zeros((rows, *shape), np.int64), np.zeros((rows, *shape), np.float32)
    parts = [slice(start, min(start + step, rows)) for start in range(0, rows, step)]
    with full_products(), stream_threads(queries.place) as threads:
        for part, (at, best) in zip(parts, threads.map(answer, parts), strict=True):
            where[part], value[part] = at, best
    return where, value


def _back(first: torch.Tensor, second: torch.Tensor, cosine: torch.Tensor) -> Found:
    return first.cpu().numpy(), second.cpu().numpy(), cosine.cpu().numpy()

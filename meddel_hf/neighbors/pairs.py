"""Every pair of rows above a cosine, found once: what the near-duplicate graph stores."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from meddel_hf.neighbors.cosines import BLOCK, SIDE_BY_SIDE, TILE, Rows, Tier, Vectors, candidates, product, rounded
from meddel_hf.neighbors.device.above import Found, pairs_of_tiles
from meddel_hf.neighbors.device.products import block
from meddel_hf.neighbors.stored_pairs import Pairs
from meddel_hf.runtime.progress import tqdm
from meddel_hf.runtime.shared_work import Arrays, cut, digest_of, in_parts, shared_work
from meddel_hf.runtime.threads import own_threads

_SMALL_BLOCK = 256  # rows of a small group whose products with later ones are looked at together
_LARGE = 8 * TILE  # rows of a group from which its parts, where processes share them, are as wide as a product

_Found = tuple[Rows, Rows, NDArray[np.float32]]  # of pairs: first, second and cosine
_Panel = tuple[Rows, int, int]  # rows of a group, and the first and the end of those that are columns of a product


def pairs_within(vectors: Vectors, groups: Sequence[Rows], floor: float, most: int | None = None) -> Pairs | None:
    """Every pair inside a group whose cosine is above `floor`; None as soon as there are more than `most`."""

    height, width = _tile_of(vectors)

    def tiles(panels: Iterable[_Panel]) -> Iterator[tuple[Rows, Rows, bool]]:
        for rows, start, stop in panels:
            for above in range(0, stop, height):
                yield rows[above : min(above + height, stop)], rows[start:stop], above + height > start

    def found(panels: Sequence[_Panel]) -> Pairs | None:
        columns = sum(stop - start for _, start, stop in panels)
        if vectors.device is not None:
            return _search(vectors, vectors, tiles(panels), floor, most, columns)
        small, large = [], []
        for rows, start, stop in panels:
            if stop - start == len(rows) <= SIDE_BY_SIDE:
                small.append(rows)
            else:
                large.append((rows, start, stop))
        return _search(vectors, vectors, tiles(large), floor, most, columns, small)

    # Ascending rows make the position in a tile tell which of two is first.
    groups = [np.sort(rows) for rows in groups]
    work = shared_work()
    if work is not None:
        panels = [panel for rows in groups for panel in _panels(rows, TILE if len(rows) >= _LARGE else BLOCK)]
        costs = np.array([(stop - start) * (start + stop) / 2 for _, start, stop in panels]) * vectors.dim
        if len(parts := cut(costs)) > 1:
            question = digest_of("pairs", vectors.digest, list(map(len, groups)), np.concatenate(groups), floor, most)
            dear = [float(costs[part].sum()) for part in parts]
            return _joined(
                work.answers("finding pairs", question, dear, lambda part: _plain(found(panels[parts[part]]))),
                floor, most,
            )  # fmt: skip
    return found([panel for rows in groups for panel in _panels(rows, width)])


def pairs_between(vectors: Vectors, groups: Sequence[tuple[Rows, Rows]], floor: float) -> Pairs:
    """Every pair of a row of a group's first rows and one of its second whose cosine is above `floor`.

    groups: no row stands twice in them.
    """

    height, width = _tile_of(vectors)
    starts = np.cumsum([0, *(len(cols) for _, cols in groups)])

    def tiles(part: slice) -> Iterator[tuple[Rows, Rows, bool]]:
        """part: of all second rows."""
        first = int(np.searchsorted(starts, part.start, "right")) - 1
        for (rows, cols), start in zip(groups[first:], starts[first:], strict=False):
            if start >= part.stop:
                return
            here = cols[max(0, part.start - start) : part.stop - start]
            for left in range(0, len(here) if len(rows) else 0, width):
                panel = here[left : left + width]
                for above in range(0, len(rows), height):
                    yield rows[above : above + height], panel, False

    def question() -> str:
        sizes = [(len(rows), len(cols)) for rows, cols in groups]
        return digest_of("pairs between", vectors.digest, sizes, *(rows for group in groups for rows in group), floor)

    def answer(part: slice) -> Arrays:
        return _plain(_search(vectors, vectors, tiles(part), floor, None, part.stop - part.start))

    columns = int(starts[-1])
    cost = sum(float(len(rows)) * len(cols) for rows, cols in groups) * vectors.dim / max(columns, 1)
    found = _joined([in_parts("finding pairs", question, columns, cost, answer, TILE)], floor, None)
    assert found is not None  # there is no bound on their number
    return found


def pairs_across(left: Vectors, rows: Rows, right: Vectors, cols: Rows, floor: float) -> Pairs:
    """Every pair of one of the `rows` of `left` and one of the `cols` of `right` whose cosine is above `floor`."""
    height, width = _tile_of(left)
    tiles = (
        (rows[above : above + height], panel, False)
        for panel in (cols[start : start + width] for start in range(0, len(cols), width))
        for above in range(0, len(rows), height)
    )
    found = _search(left, right, tiles, floor, None, len(cols))
    assert found is not None  # there is no bound on their number
    return found


def _panels(rows: Rows, width: int) -> Iterator[_Panel]:
    for start in range(0, len(rows), width):
        yield rows, start, min(start + width, len(rows))


def _plain(pairs: Pairs | None) -> Arrays:
    """Pairs as arrays; without any where there are too many."""
    return {} if pairs is None else {"first": pairs.first, "second": pairs.second, "cosine": pairs.cosine}


def _joined(parts: Iterable[Arrays], floor: float, most: int | None) -> Pairs | None:
    """Parts put together and sorted; None as soon as there are more than `most`."""
    none = np.zeros(0, np.int64)
    chunks, count = [(none, none, np.zeros(0, np.float32))], 0
    for part in parts:
        if not part:
            return None
        chunks.append((part["first"], part["second"], part["cosine"]))
        count += len(part["first"])
        if most is not None and count > most:
            return None
    first, second, cosine = (np.concatenate(each) for each in zip(*chunks, strict=True))
    if _are_sorted(first, second):  # as what one search found is
        return Pairs(first, second, cosine, floor)
    order = _order(first, second)
    return Pairs(first[order], second[order], cosine[order], floor)


def _order(first: Rows, second: Rows, place: torch.device | None = None) -> Rows:
    """What sorts different pairs by the first row, then by the second, (m,): by torch six times as fast as by numpy."""
    key = torch.from_numpy(first).to(place) * (int(second.max(initial=0)) + 1) + torch.from_numpy(second).to(place)
    answer: Rows = key.argsort().cpu().numpy()
    return answer


def _are_sorted(first: Rows, second: Rows) -> bool:
    steps = np.diff(first)
    return bool(((steps > 0) | ((steps == 0) & (np.diff(second) > 0))).all())


def _tile_of(vectors: Vectors) -> tuple[int, int]:
    """Rows and columns of one product."""
    return (BLOCK, TILE) if vectors.device is None else (block(vectors.device),) * 2


def _search(
    left: Vectors,
    right: Vectors,
    tiles: Iterator[tuple[Rows, Rows, bool]],
    floor: float,
    most: int | None,
    columns: int,
    small: Sequence[Rows] = (),
) -> Pairs | None:
    none = np.zeros(0, np.int64)
    chunks: list[tuple[Rows, Rows, NDArray[np.float32]]] = [(none, none, np.zeros(0, np.float32))]
    count, low = 0, left.cheapest == right.cheapest == "bfloat16"

    def counted() -> Iterator[tuple[Rows, Rows, bool]]:
        last: Rows | None = None
        for tile in tiles:
            if tile[1] is not last:
                last = tile[1]
                bar.update(len(last))
            yield tile

    def counted_groups() -> Iterator[Rows]:
        for rows in small:
            bar.update(len(rows))
            yield rows

    def with_panels() -> Iterator[tuple[Rows, Rows, bool, Tier, torch.Tensor]]:
        last: Rows | None = None
        for rows, cols, triangle in counted():
            if cols is not last:
                tier: Tier = "bfloat16" if low and len(cols) >= BLOCK else "float32"
                last, panel = cols, right.panel(cols, tier)
            yield rows, cols, triangle, tier, panel

    def search(
        tile: tuple[Rows, Rows, bool, Tier, torch.Tensor],
    ) -> tuple[Rows, Rows, NDArray[np.float32]]:
        rows, cols, triangle, tier, panel = tile
        r, c = _screen(left.panel(rows, tier), panel, left.margin(right, tier), floor)
        if triangle:
            upper = rows[r] < cols[c]
            r, c = r[upper], c[upper]
        cosine = _exact(left, rows, right, cols, r, c)
        above = cosine > rounded(floor)
        return rows[r[above]], cols[c[above]], cosine[above]

    bar = tqdm(total=columns, desc="finding pairs", unit="row", delay=5, leave=False)
    with ExitStack() as stack, bar, own_threads() as threads:
        answers: Generator[Found, None, None]
        if left.device is not None and right.device is not None:
            answers = pairs_of_tiles(left.device, right.device, counted(), floor)
        else:
            answers = threads.map(search, with_panels())
        of_small = threads.map(lambda rows: _within(left, rows, floor), counted_groups())
        for part in chain(stack.enter_context(closing(answers)), stack.enter_context(closing(of_small))):
            chunks.append(part)
            count += len(part[0])
            if most is not None and count > most:
                return None
    first, second, cosine = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    order = _order(first, second, None if left.device is None else left.device.place)
    return Pairs(first[order], second[order], cosine[order], floor)


def _within(vectors: Vectors, rows: Rows, floor: float) -> _Found:
    """Every pair of a small group above `floor`. rows: ascending."""
    some, places = vectors.among(rows), np.arange(len(rows))
    tier = some.cheapest
    panel, margin = some.panel(places, tier), some.margin(some, tier)
    found = []
    for start in range(0, len(rows), _SMALL_BLOCK):
        r, c = _screen(panel[start : start + _SMALL_BLOCK], panel[start:], margin, floor)
        found.append((start + r[r < c], start + c[r < c]))
    r, c = (np.concatenate(each) for each in zip(*found, strict=True))
    cosine = _exact(some, places, some, places, r, c)
    above = cosine > rounded(floor)
    return rows[r[above]], rows[c[above]], cosine[above]


def _screen(asked: torch.Tensor, panel: torch.Tensor, margin: float, floor: float) -> tuple[Rows, Rows]:
    tile = product(asked, panel)
    return candidates(tile, torch.full((len(tile),), float(rounded(floor)) - margin))


def _exact(left: Vectors, rows: Rows, right: Vectors, cols: Rows, r: Rows, c: Rows) -> NDArray[np.float32]:
    if len(r) > len(rows) * len(cols) / 32:  # then one product is cheaper than so many pairs
        return left.exact_tile(rows, right, cols)[r, c]
    return left.exact(rows[r], right, cols[c])

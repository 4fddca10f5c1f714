"""Products of many rows with many others that never leave the device, and the few places in them that matter.

64 numbers of a product are looked at through their maximum, and only where that reaches the limit one by one. What is
left lies within the screen's margin of the answer, and its exact cosines decide (`DeviceRows.cosines`). Where that is a
crowd, a product of higher precision thins it out, in the end one in float64. Arrays come from the processor and go back
to it; the rows asked about are the columns of a product, since maxima over its rows read memory in order.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from meddel_hf.neighbors.device.rows import DeviceRows, Tier, full_products
from meddel_hf.neighbors.float64 import Rows
from meddel_hf.runtime.threads import stream_threads

CHUNK = 64  # rows of a product whose maximum is looked at before any of them is
WIDE = 2**14  # rows asked about in one product, at most
CROWD = 512  # of so many numbers of a product one may be gathered; beyond, a product in float64 is cheaper
NEVER = float("inf")
_DENSE = 2**24  # numbers of a float64 product that is held at once
_GROUPS = 64  # that share a product, at most

_Item = TypeVar("_Item")
_Answer = Callable[[slice], tuple[Rows, NDArray[np.float32]]]


def product(reference: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """reference @ asked.T in chunks of rows, (chunks, 64, columns); what fills up whole chunks and columns is -4."""
    tile = _filled(reference) @ _filled(asked).T
    tile[len(reference) :] = -4
    tile[:, len(asked) :] = -4
    return tile.reshape(len(tile) // CHUNK, CHUNK, tile.shape[1])


def _filled(panel: torch.Tensor) -> torch.Tensor:
    """With rows of zeros up to a multiple of 64, which products are fastest with."""
    missing = -len(panel) % CHUNK
    return torch.nn.functional.pad(panel, (0, 0, 0, missing)) if missing else panel


def tops_of(tile: torch.Tensor) -> torch.Tensor:
    """(chunks, columns) float32, the greatest number of each chunk of a column."""
    return tile.amax(dim=1).float()


def limits(tile: torch.Tensor, columns: int, limit: float) -> torch.Tensor:
    """(columns of the tile,) float32: the same for each, and what no number reaches for those that fill up."""
    limits = torch.full((tile.shape[2],), NEVER, device=tile.device)
    limits[:columns] = limit
    return limits


def listed(
    tile: torch.Tensor, limit: torch.Tensor, most: int, tops: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """(row, column) where the product reaches the column's limit; None where more than `most` chunks do."""
    k, q = ((tops_of(tile) if tops is None else tops) >= limit).nonzero(as_tuple=True)
    if len(k) > most:
        return None
    hit, offset = (tile[k, :, q].float() >= limit[q, None]).nonzero(as_tuple=True)
    return k[hit] * CHUNK + offset, q[hit]


def first_candidates(tile: torch.Tensor, tops: torch.Tensor, limit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Columns of the product that have a number that reaches their limit, and the row of the first one."""
    chunks = torch.arange(len(tops), device=tops.device)[:, None]
    k = torch.where(tops >= limit, chunks, len(tops)).amin(dim=0)
    q = (k < len(tops)).nonzero()[:, 0]
    k = k[q]
    offsets = torch.arange(CHUNK, device=tops.device)
    offset = torch.where(tile[k, :, q].float() >= limit[q, None], offsets, CHUNK).amin(dim=1)
    return q, k * CHUNK + offset


def tier_of(left: DeviceRows, right: DeviceRows) -> Tier:
    return "float32" if left.low is None or right.low is None else "bfloat16"


def shape_of(vectors: DeviceRows, rows: int, cols: int, wide: int = WIDE) -> tuple[int, int]:
    """Columns (rows asked about) and rows of a product of as many numbers as are held at once."""
    wide = max(1, min(wide, rows, vectors.numbers // CHUNK))
    tall = max(1, vectors.numbers // wide // CHUNK) * CHUNK
    return wide, min(tall, max(1, cols))


def dense_parts(rows: int, others: int) -> Iterator[slice]:
    step = max(1, _DENSE // max(1, others))
    for start in range(0, rows, step):
        yield slice(start, start + step)


def block(vectors: DeviceRows) -> int:
    """Rows, and columns, of a product that is about square: of a tile of pairs, and of a block of a greedy pass."""
    return max(CHUNK, min(WIDE, int(vectors.numbers**0.5)))


def joined(
    queries: DeviceRows, answer: _Answer, rows: int, step: int, shape: tuple[int, ...] = ()
) -> tuple[Rows, NDArray[np.float32]]:
    """answer(slice of rows) of all parts, one after another."""
    where, value = np.zeros((rows, *shape), np.int64), np.zeros((rows, *shape), np.float32)
    parts = [slice(start, min(start + step, rows)) for start in range(0, rows, step)]
    with full_products(), stream_threads(queries.place) as threads:
        for part, (at, best) in zip(parts, threads.map(answer, parts), strict=True):
            where[part], value[part] = at, best
    return where, value


def batches(count: int, cost: Callable[[slice], int], most: int) -> list[slice]:
    """Parts of [0, count) that cost `most`, where they hold more than one."""
    if not count:
        return []
    cuts = [0]
    for at in range(1, count):
        if at - cuts[-1] == _GROUPS or cost(slice(cuts[-1], at + 1)) > most:
            cuts.append(at)
    return [slice(start, stop) for start, stop in zip(cuts, [*cuts[1:], count], strict=True)]


def of_batches(
    vectors: DeviceRows, answer: Callable[[slice], list[_Item]], parts: list[slice]
) -> Generator[_Item, None, None]:
    """The items of all parts, one after another."""
    with full_products(), stream_threads(vectors.place) as threads, closing(threads.map(answer, parts)) as answers:
        for some in answers:
            yield from some

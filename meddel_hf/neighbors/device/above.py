"""Rows and pairs above a threshold, on a device."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray

from meddel_hf.neighbors.device import products
from meddel_hf.neighbors.device.rows import HIGHER, DeviceRows, Tier, full_products
from meddel_hf.neighbors.float64 import Rows, rounded
from meddel_hf.runtime.threads import stream_threads

Found = tuple[Rows, Rows, NDArray[np.float32]]


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
            _, tall = products.shape_of(vectors, len(left), len(j) - start)
            some = j[start : start + tall]
            hit = torch.cat(
                [_above(vectors, i[p], some, float(rounded(eta)), vectors.cheapest) for p in left.split(products.WIDE)]
            )
            above[left[hit]] = True
            left, start = left[~hit], start + tall
        return above.cpu().numpy()


def _above(vectors: DeviceRows, i: torch.Tensor, j: torch.Tensor, threshold: float, tier: Tier) -> torch.Tensor:
    """(len(i),) bool: has the row a cosine above the threshold with any of j?"""
    if tier == "float64":
        above = torch.zeros(len(i), dtype=torch.bool, device=vectors.place)
        for part in products.dense_parts(len(j), len(i)):
            above |= (vectors.cosine_tile(i, vectors, j[part]) > threshold).any(dim=1)
        return above
    margin = vectors.margin(vectors, tier)
    tile = products.product(vectors.panel(j, tier), vectors.panel(i, tier))
    tops = products.tops_of(tile)
    top = tops.amax(dim=0)[: len(i)]
    above = top > threshold + margin
    limit = products.limits(tile, len(i), 0.0)
    limit[: len(i)] = torch.where(above, products.NEVER, threshold - margin)
    few = products.listed(tile, limit, tile.numel() // products.CROWD, tops)
    if few is None:
        del tile, tops
        unsure = (~above & (top >= threshold - margin)).nonzero()[:, 0]
        above[unsure] = _above(vectors, i[unsure], j, threshold, HIGHER[tier])
        return above
    c, q = few
    above[q[vectors.cosines(i[q], vectors, j[c]) > threshold]] = True
    return above


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
    tier = products.tier_of(left, right)
    tile = products.product(right.panel(j, tier), left.panel(i, tier))
    limit = products.limits(tile, len(i), threshold - left.margin(right, tier))
    few = products.listed(tile, limit, tile.numel() // products.CROWD)
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


def _dense_pairs(
    left: DeviceRows, i: torch.Tensor, right: DeviceRows, j: torch.Tensor, threshold: float, ordered: bool
) -> Found:
    parts: list[Found] = []
    for part in products.dense_parts(len(i), len(j)):
        cosine = left.cosine_tile(i[part], right, j)
        r, c = (cosine > threshold).nonzero(as_tuple=True)
        first, second, cosine = i[part][r], j[c], cosine[r, c]
        if ordered:
            upper = first < second
            first, second, cosine = first[upper], second[upper], cosine[upper]
        parts.append(_back(first, second, cosine))
    first_, second_, cosine_ = zip(*parts, strict=True)
    return np.concatenate(first_), np.concatenate(second_), np.concatenate(cosine_)


def _back(first: torch.Tensor, second: torch.Tensor, cosine: torch.Tensor) -> Found:
    return first.cpu().numpy(), second.cpu().numpy(), cosine.cpu().numpy()


def close_pairs(
    vectors: DeviceRows, rows: Rows, eta: float, most: int, label: Rows | None = None
) -> tuple[Rows, Rows] | None:
    """Places (earlier, later) of every pair of `rows` above eta, by the earlier; None where there are more.

    label: (len(rows),) the group of each, where only pairs inside a group count.
    """
    i, threshold, tier = vectors.index(rows), float(rounded(eta)), vectors.cheapest
    panel, margin = vectors.panel(i, tier), vectors.margin(vectors, tier)
    tile = products.product(panel, panel)
    # Each pair is there twice, and each row with itself.
    few = products.listed(tile, products.limits(tile, len(i), threshold - margin), 2 * most + len(i))
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

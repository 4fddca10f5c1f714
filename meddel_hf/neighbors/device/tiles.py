"""Cosines of all rows with all others, exact, on a device: to be read, or counted."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from meddel_hf.neighbors.device import products
from meddel_hf.neighbors.device.rows import DeviceRows
from meddel_hf.neighbors.float64 import Rows


def cosine_tile(left: DeviceRows, rows: Rows, right: DeviceRows, cols: Rows) -> NDArray[np.float32]:
    """As `Vectors.exact_tile`."""
    i, j = left.index(rows), right.index(cols)
    result = np.empty((len(rows), len(cols)), np.float32)
    for part in products.dense_parts(len(rows), len(cols)):
        result[part] = left.cosine_tile(i[part], right, j).cpu().numpy()
    return result


def counts_by_cosine(vectors: DeviceRows, rows: Rows, cols: Rows, bins: int) -> NDArray[np.int64]:
    """Cosines of each row with all columns but itself in equal bins from -1 to 1, (len(rows), bins + 2) counts.

    The last bin but one holds those of 1, the last one the rows themselves.
    """
    i, j, width = vectors.index(rows), vectors.index(cols), bins + 2
    counts = torch.zeros(len(rows) * width, dtype=torch.int64, device=vectors.place)
    for part in products.dense_parts(len(cols), len(rows)):
        cosine = vectors.cosine_tile(i, vectors, j[part]).double()
        bin_ = cosine.add_(1).mul_(bins / 2).floor_().long().clamp_(0, bins)
        bin_.masked_fill_(i[:, None] == j[part], bins + 1)
        bin_ += torch.arange(len(rows), device=vectors.place)[:, None] * width
        counts += torch.bincount(bin_.flatten(), minlength=len(counts))
    return counts.view(len(rows), width).cpu().numpy()

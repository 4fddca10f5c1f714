"""The nearest rows, asked by several processes together where they share their work."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from meddel_hf.neighbors import cosines
from meddel_hf.neighbors.cosines import Rows, Vectors
from meddel_hf.runtime.shared_work import Arrays, digest_of, in_parts


def nearest(
    queries: Vectors, rows: Rows, reference: Vectors, cols: Rows, floor: NDArray[np.float32] | None = None
) -> tuple[Rows, NDArray[np.float32]]:
    """As `cosines.nearest`; each process asks for some of the rows."""

    def question() -> str:
        return digest_of("nearest", queries.digest, rows, reference.digest, cols, "" if floor is None else floor)

    def answer(part: slice) -> Arrays:
        least = None if floor is None else floor[part]
        where, cosine = cosines.nearest(queries, rows[part], reference, cols, least)
        return {"where": where, "cosine": cosine}

    found = in_parts("nearest", question, len(rows), float(len(cols)) * queries.dim, answer)
    return found["where"], found["cosine"]


def nearest_place(queries: Vectors, rows: Rows, reference: Vectors, cols: Rows) -> Rows:
    """As `cosines.nearest_place`; each process asks for some of the rows."""

    def question() -> str:
        return digest_of("nearest place", queries.digest, rows, reference.digest, cols)

    def answer(part: slice) -> Arrays:
        return {"where": cosines.nearest_place(queries, rows[part], reference, cols)}

    return in_parts("nearest", question, len(rows), float(len(cols)) * queries.dim, answer)["where"]

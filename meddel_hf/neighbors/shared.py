"""The nearest rows, asked by several processes together where they share their work."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from meddel_hf.neighbors import cosines
from meddel_hf.neighbors.cosines import Rows, Vectors
from meddel_hf.runtime.progress import tqdm
from meddel_hf.runtime.shared_work import Arrays, digest_of, in_parts

_AT_ONCE = 2**16  # rows between two moves of the bar


def nearest(
    queries: Vectors, rows: Rows, reference: Vectors, cols: Rows, floor: NDArray[np.float32] | None = None
) -> tuple[Rows, NDArray[np.float32]]:
    """As `cosines.nearest`; each process asks for some of the rows."""

    def question() -> str:
        return digest_of("nearest", queries.digest, rows, reference.digest, cols, "" if floor is None else floor)

    def answer(part: slice) -> Arrays:
        where, cosine = np.zeros(part.stop - part.start, np.int64), np.zeros(part.stop - part.start, np.float32)
        with tqdm(total=len(where), desc="nearest", unit="row", delay=5, leave=False) as bar:
            for start in range(0, len(where), _AT_ONCE):
                here, some = slice(start, start + _AT_ONCE), rows[part][start : start + _AT_ONCE]
                least = None if floor is None else floor[part][here]
                where[here], cosine[here] = cosines.nearest(queries, some, reference, cols, least)
                bar.update(len(some))
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

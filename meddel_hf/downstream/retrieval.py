"""Retrieval among frames that were not trained on: does a frame find its other view, or another of its video?

Nothing is learned here: what counts is which of all others has the greatest cosine. Ties go to the first of them.
Features without a direction (zeros, as of a network that died, or numbers that are not finite) find nothing, and
nobody finds them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from meddel_hf.downstream.scores import COLUMNS, Scores
from meddel_hf.errors import InvalidDataset, met_in
from meddel_hf.neighbors.cosines import Vectors
from meddel_hf.neighbors.knn import nearest_other
from meddel_hf.schema import GROUP

ANY = "frame"  # label of every frame where there are no classes


def instance_scores(views: Mapping[str, NDArray[np.float32]], ids: Sequence[str], groups: Sequence[str]) -> Scores:
    """Held-out instance accuracy: share of views whose nearest of all other views is the other one of their frame.

    views:  name of a set of scores, such as "trunk" -> (n, 2, d), the features of two views of each frame, of any
            length. ids, groups: (n,); frames of a group are drawn together in intervals.
    Returns scores with measure "accuracy"; a frame's is the mean over its two views: 0, 0.5 or 1.
    Raises InvalidDataset for fewer than two frames.
    """
    if len(ids) < 2:
        raise InvalidDataset(f"{len(ids)} frame is left to find among others: expected two at least")
    tables = []
    for name, features in views.items():
        flat = features.reshape(2 * len(ids), -1)  # view v of frame i stands at 2 i + v
        other = np.arange(len(flat)) ^ 1
        hits = (_nearest(flat) == other).reshape(-1, 2).mean(axis=1)
        tables.append(_table(name, ids, groups, [ANY] * len(ids), hits))
    return Scores(pa.concat_tables(tables), "accuracy")


def scene_scores(name: str, features: NDArray[np.float32], ids: Sequence[str], groups: Sequence[str]) -> Scores:
    """Share of frames whose nearest other frame is of the same group: the same video, sequence or patient.

    name: of the set of scores. features: (n, d) of any length. ids, groups: (n,).
    Frames that are alone in their group are there to be found, and are not asked. Returns scores with measure
    "accuracy". Raises InvalidDataset where fewer than two groups have two frames: nothing could be told apart.
    """
    with met_in(name):
        check_scenes(groups)
    counts = Counter(groups)
    asked = [row for row, group in enumerate(groups) if counts[group] > 1]
    named = np.asarray(groups, dtype=object)
    near = _nearest(features)
    hits = (near >= 0) & (named[near] == named)
    of_asked = [groups[row] for row in asked]
    table = _table(name, [ids[row] for row in asked], of_asked, of_asked, hits[asked].astype(float))
    return Scores(table, "accuracy")


def check_scenes(groups: Sequence[str], column: str = GROUP) -> None:
    """Raises InvalidDataset where fewer than two groups have two frames. groups: of each frame."""
    counts = Counter(groups)
    several = sum(count > 1 for count in counts.values())
    if several < 2:
        raise InvalidDataset(
            f"{several} of {len(counts):,} groups hold two frames or more: expected two such groups at least, "
            f"of frames of the same video or patient (column {column!r})"
        )


def _nearest(features: NDArray[np.float32]) -> NDArray[np.int64]:
    """(n, d) -> (n,) the nearest other row of each, by cosine; -1 where there is none."""
    answer = np.full(len(features), -1)
    lengths = np.linalg.norm(features.astype(np.float64), axis=1)
    rows = np.flatnonzero(np.isfinite(lengths) & (lengths >= np.finfo(np.float32).tiny))
    if len(rows) > 1:
        places = np.arange(len(rows))
        answer[rows] = rows[nearest_other(Vectors.prepare(features[rows]), places, places)[0]]
    return answer


def _table(
    name: str, ids: Sequence[str], groups: Sequence[str], labels: Sequence[str], hits: NDArray[np.float64]
) -> pa.Table:
    of_masks = pa.nulls(len(ids), pa.list_(pa.int64()))
    columns = [list(ids), [name] * len(ids), list(groups), list(labels), hits.tolist(), of_masks, of_masks]
    return pa.table(columns, names=COLUMNS.names).cast(COLUMNS)

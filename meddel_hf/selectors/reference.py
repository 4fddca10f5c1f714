"""A reference set: frames that must not be selected, nor what looks like them, such as those of a test set.

Rows of the pool that are within reach of a row of the reference go before a selector sees them; it chooses among the
others. So every selector can do it, and none knows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from meddel_hf.embedding.calibration import Threshold, threshold_of
from meddel_hf.embedding.remainder import Remainder
from meddel_hf.embedding.space import Space
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.neighbors.cosines import Rows, Vectors, rounded
from meddel_hf.neighbors.row_source import ArrayRows, RowSource, blocks
from meddel_hf.neighbors.shared import nearest
from meddel_hf.neighbors.unit_rows import MeanSubtracted, Survey, unit_mean
from meddel_hf.runtime.threads import own_threads
from meddel_hf.runtime.words import plural
from meddel_hf.selection.selection import Selection
from meddel_hf.selection.table import with_reference
from meddel_hf.selectors import checks
from meddel_hf.selectors.protocol import OUT_OF_REACH, Embeddings, PoolRows, Readable, check_any, opened, origin_of

if TYPE_CHECKING:
    from datasets import Dataset

Eta = float | Literal["auto"]
_AT_ONCE = 2**25  # numbers of the pool that are compared with the reference at once


@dataclass(frozen=True, eq=False)
class Reached:
    """Rows of a pool that are within reach of a reference.

    rows:      (m,) int64, their numbers in the pool, ascending.
    places:    (m,) int64, the same among the readable rows.
    nearest:   (m,) int64, of each the reference row of greatest cosine, among the reference's readable ones.
    cosine:    (m,) float32, that cosine, above eta.
    threshold: that of the pool's store, where eta was "auto".
    """

    reference: Readable
    rows: Rows
    places: Rows
    nearest: Rows
    cosine: NDArray[np.float32]
    eta: float
    space: Space
    threshold: Threshold | None

    @property
    def note(self) -> str:
        how = f"cosine above {self.eta:.4f}" if self.threshold is None else str(self.threshold)
        rows, reference = plural(len(self.rows), "frame"), len(self.reference.rows)
        look, go = ("looks", "goes") if len(self.rows) == 1 else ("look", "go")
        like = "the frame" if reference == 1 else f"one of the {reference:,} frames"
        return f"{rows} {look} like {like} of the reference, and {go}: {how}"

    @property
    def ids(self) -> list[str]:
        """Of the reference row nearest to each."""
        return [self.reference.ids[row] for row in self.reference.rows[self.nearest]]


@own_threads()
def within_reach(pool: Embeddings, reference: Embeddings, eta: Eta) -> Reached:
    """Rows of the pool whose cosine to some row of the reference is above eta: exact, all compared with all.

    In the space in which the pool's near-duplicates are told, its mean subtracted from both sides where that is so;
    with an eta of your own, that of the stores' `embeddings` as they are.
    """
    checks.eta(eta)
    pool, reference = opened(pool), opened(reference)
    threshold = _calibrated(pool) if eta == "auto" else None
    first = pool.poolings[0] if isinstance(pool, EmbeddingStore) else "cls"
    space = Space(first, False) if threshold is None else threshold.space
    return reached(pool, reference, space, float(eta) if threshold is None else threshold.eta, threshold)


@own_threads()
def within_the_same_reach(pool: Embeddings, reference: Embeddings, settings: Mapping[str, Any]) -> Reached:
    """As `within_reach`, in the space and above the cosine that a selection's settings recorded."""
    space = Space(settings["reference_pooling"], settings["reference_subtract_mean"])
    return reached(opened(pool), opened(reference), space, settings["reference_eta"], None)


def _calibrated(pool: Any) -> Threshold:
    """The pool's threshold. Raises InvalidArgument, which says which eta is meant, where it has none."""
    try:
        return threshold_of(pool)
    except InvalidArgument as error:
        raise InvalidArgument(f"{error} (here the reference's, reference_eta or --reference-eta)") from error


def reached(pool: Any, reference: Any, space: Space, limit: float, threshold: Threshold | None) -> Reached:
    """The pool is read in blocks, so that one which is larger than memory has a reference set too."""
    check_same_space(pool, reference)
    others = Readable.of(reference, space.pooling)
    source: RowSource
    rows: Rows
    ids: Any
    if isinstance(pool, EmbeddingStore):
        source, rows, ids = pool.reader(space.pooling), pool.rows, pool.pool_id_column
    else:
        readable = Readable.of(pool)
        source, rows, ids = ArrayRows(readable.embeddings), readable.rows, readable.ids

    def name(row: int) -> str:
        return str(ids[int(rows[row])])

    at_once = max(1, _AT_ONCE // source.shape[1])
    survey = Survey.of(source, at_once, name, sums=space.subtract_mean)
    theirs = others.vectors() if not space.subtract_mean else without_mean(others, survey.mean)
    if space.subtract_mean:
        source = MeanSubtracted(source, survey.mean)
        Survey.of(source, at_once, name, sums=False)  # a check alone
    floor = rounded(limit)
    parts = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
    for start, block in blocks(source, at_once):
        asked = np.arange(len(block))
        least = np.full(len(block), floor, np.float32)
        where, cosine = nearest(Vectors.prepare(block), asked, theirs, np.arange(len(theirs)), least)
        near = np.flatnonzero(cosine > floor)
        parts.append((start + near, where[near], cosine[near]))
    places, where, cosine = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Reached(others, rows[places], places, where, cosine, limit, space, threshold)


def selected_beside(
    choose: Callable[[Any, Dataset | None], Selection],
    embeddings: Embeddings,
    pool: Dataset | None,
    reference: Embeddings,
    eta: Eta,
) -> Selection:
    """What a selector answers of the rows that are out of the reference's reach; the others are "in-reference".

    choose: a selector's `select`, called with what is left of the embeddings, and the pool.
    """
    embeddings, reference = opened(embeddings), opened(reference)
    near = within_reach(embeddings, reference, eta)
    selection = choose(out_of_reach(embeddings, near.places, near.eta), pool)
    origin = replace(
        selection.origin,
        reference=fingerprint_of(reference),
        reference_spec=str(reference.folder) if isinstance(reference, EmbeddingStore) else None,
    )
    table = with_reference(selection.table, near.rows, near.ids, near.cosine)
    settings = {
        **selection.settings, "reference_eta": near.eta, "reference_pooling": near.space.pooling,
        "reference_subtract_mean": near.space.subtract_mean,
    }  # fmt: skip
    return replace(selection, table=table, settings=settings, origin=origin, notes=(near.note, *selection.notes))


def out_of_reach(embeddings: Any, places: Rows, eta: float) -> Any:
    """The embeddings, opened, without the readable rows at `places`. Raises InvalidArgument where none is left."""
    n = len(embeddings) if isinstance(embeddings, EmbeddingStore) else len(Readable.of(embeddings).rows)
    left = np.setdiff1d(np.arange(n), places)
    if not len(left):
        raise InvalidArgument(
            f"all {len(places):,} readable rows of the pool are within reach of the reference, above cosine "
            f"{eta:.4f}: nothing is left to select from; raise reference_eta, or take another pool"
        )
    if isinstance(embeddings, EmbeddingStore):
        return Remainder.of(embeddings, left)
    return replace(Readable.of(embeddings).among(left), left=OUT_OF_REACH)


def fingerprint_of(reference: Any) -> str:
    """By which a selection names its reference, which is opened."""
    origin = PoolRows.without_embeddings(reference).origin
    return origin.embeddings or origin.fingerprint


def check_same_space(pool: Any, reference: Any) -> None:
    """Raises Mismatch where a reference's vectors cannot be compared with those of the pool, as far as both say;
    InvalidEmbeddings where one of them has none. Both as they were given, opened."""
    ours, theirs = _space_of(pool, "pool"), _space_of(reference, "reference")
    for what in ("encoder", "pooling", "view", "number of dimensions"):
        if None not in (ours[what], theirs[what]) and ours[what] != theirs[what]:
            here, there = ours[what], theirs[what]
            if what == "encoder":
                here, there = (f"{space['name']} ({space[what]})" for space in (ours, theirs))
            raise Mismatch(
                f"the reference's {what} is {there}, the pool's {here}: their rows cannot be compared; embed both "
                "with the same encoder, pooling and view"
            )


def _space_of(embeddings: Any, role: str) -> dict[str, Any]:
    """What the vectors' space is known by; None where it does not say."""
    store = embeddings if isinstance(embeddings, EmbeddingStore) else None
    if store is not None:
        origin, (n, dim), rows = origin_of(store), store.reader().shape, len(store.pool_id_column)
    else:
        readable = Readable.of(embeddings)
        origin, (n, dim), rows = readable.origin, readable.embeddings.shape, len(readable.ids)
    check_any(n, rows, role)
    return {
        "encoder": origin.encoder_fingerprint,
        "pooling": store and store.poolings[0],
        "view": store and store.view,
        "number of dimensions": dim,
        "name": origin.encoder,
    }


def centred(reference: Readable, pool: Readable) -> Vectors:
    """The reference's unit rows minus the pool's mean direction."""
    around = Vectors.prepare(pool.embeddings, screen="float32")
    return without_mean(reference, unit_mean(around.base, around.norms))


def without_mean(reference: Readable, mean: NDArray[np.float64]) -> Vectors:
    """The reference's unit rows minus a mean direction, (d,)."""
    rows = Vectors.prepare(reference.embeddings, screen="float32")
    moved = (rows.base / rows.norms[:, None] - mean).astype(np.float32)
    return replace(reference, embeddings=moved).vectors()

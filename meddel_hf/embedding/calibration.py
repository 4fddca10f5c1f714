"""How near is a near-duplicate? As near as a mild copy, and nearer than frames come to one another by chance.

A store has up to four spaces: CLS token or mean over patches, as it is or with the pool's mean subtracted. In each, a
threshold is found from two demands:

1. 95 % of the mild copies of sampled frames lie above it, by their cosine to the frame;
2. at most 1 % of the sampled frames that have no copy have a frame of the pool above it. A frame has no copy where its
   nearest frame looks unlike: by their thumbnails, which know nothing of the encoder, they differ at least twice as
   much as 95 % of the mild copies from their frames. (Once as much will not do: in a pool of near-copies, some that
   were moved further than the mild ones would pass for frames without a copy, and a hundredth of those decides.)

Where both cannot be had, the second wins, and fewer copies are held: what is called a near-duplicate should be one. The
space that holds most copies at its threshold is the one in which near-duplicates are told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from meddel_hf.embedding.copies import Copies
from meddel_hf.embedding.space import Pooling, Space
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.embedding.thumbnails import likeness
from meddel_hf.errors import InvalidArgument, InvalidEmbeddings
from meddel_hf.neighbors.cosines import Rows, Vectors
from meddel_hf.neighbors.knn import nearest_other_in
from meddel_hf.neighbors.row_source import RowSource
from meddel_hf.neighbors.unit_rows import MeanSubtracted, Survey
from meddel_hf.runtime.spacing import evenly_spaced

HELD = 0.95  # share of the mild copies that lie above the threshold, where chance allows it
CHANCE = 0.01  # share of the frames without a copy that may lie above it
_AT_ONCE = 65_536  # embeddings that are in memory
_STEP = 2.0**-24  # of cosines
_ROWS = 2048  # frames that are asked for their nearest; their pairs, two million, are the random ones


@dataclass(frozen=True)
class Threshold:
    """Near-duplicates in one space.

    eta:       pairs above it are near-duplicates. In [-1, 1].
    held:      share of the mild copies above it; 0.95, or less where chance does not allow so many.
    by_chance: share above it of the sampled frames that have no copy, by their nearest frame; None of a store without
               thumbnails, in which nobody can say who has none.
    pairs:     share of random pairs above it, near-copies included.
    precision: average precision of copies against random pairs, in [0, 1].
    """

    space: Space
    eta: float
    held: float
    by_chance: float | None
    pairs: float
    precision: float

    def __str__(self) -> str:
        chance = "" if self.by_chance is None else f", and takes {self.by_chance:.1%} of frames without a copy for one"
        return f"threshold {self.eta:.4f} ({self.space}): finds {self.held:.0%} of mild test copies{chance}"


@dataclass(frozen=True)
class Calibration:
    """What mild copies say of near-duplicates in a pool.

    thresholds: of every space of the store; in the first of them near-duplicates are told.
    alike:      likeness of thumbnails above which two frames look alike; None where there are none.
    copies, rows: how many were compared in each space.
    """

    thresholds: tuple[Threshold, ...]
    alike: float | None
    copies: int
    rows: int

    @property
    def best(self) -> Threshold:
        return self.thresholds[0]

    @classmethod
    def recorded(cls, facts: Mapping[str, Any]) -> Calibration:
        """From what `plain` made of one."""
        thresholds = [{**each, "space": Space(**each["space"])} for each in facts["thresholds"]]
        return cls(**{**facts, "thresholds": tuple(Threshold(**each) for each in thresholds)})

    def plain(self) -> dict[str, Any]:
        """Plain values, for a manifest; `recorded` reads them."""
        return asdict(self)


def recorded_calibration(store: EmbeddingStore) -> Calibration | None:
    """The calibration that `embed` left in a store, or None."""
    facts = store.manifest.details.get("calibration")
    return None if facts is None else Calibration.recorded(facts)


def calibration_of(store: EmbeddingStore) -> Calibration:
    """As `recorded_calibration`. Raises InvalidArgument where there is none."""
    recorded = recorded_calibration(store)
    if not len(store):
        raise InvalidArgument(
            f"{store.folder} holds no readable frame (see its unreadable.parquet): nothing to choose from"
        )
    if recorded is None:
        raise InvalidArgument(
            f"{store.folder} does not know how near a near-duplicate is, since it holds no mild copies of its frames: "
            "run its `meddel embed` again (frames are not embedded again), or give an eta"
        )
    return recorded


def threshold_of(
    embeddings: Any, pooling: Pooling | Literal["auto"] = "auto", subtract_mean: bool | Literal["auto"] = "auto"
) -> Threshold:
    """The threshold of a store's best space among those that are allowed.

    Raises InvalidArgument for a plain array, and for a store that was not calibrated or lacks the pooling.
    """
    if not isinstance(embeddings, EmbeddingStore):
        raise InvalidArgument(
            "eta='auto' is found from mild copies of frames, which a plain array does not have: give an eta, or an "
            "embedding store"
        )
    for threshold in calibration_of(embeddings).thresholds:
        space = threshold.space
        if pooling in ("auto", space.pooling) and subtract_mean in ("auto", space.subtract_mean):
            return threshold
    if pooling not in ("auto", *embeddings.poolings):
        raise InvalidArgument(
            f"{embeddings.folder} holds no embeddings of pooling {pooling}: embed with --pooling both"
        )
    raise InvalidArgument(
        f"{embeddings.folder} was not calibrated with the mean subtracted, since that leaves nothing of some of its "
        "frames, as where all are the same: leave subtract_mean out"
    )


def calibrate(store: EmbeddingStore, copies: Copies) -> Calibration | None:
    """Find the threshold in each space of a store; None where no frame was copied.

    The same answer every time: frames are evenly spaced, and cosines exact.
    """
    if not copies.row.size:
        return None
    at = np.searchsorted(store.rows, copies.row)
    sample = evenly_spaced(len(store), _ROWS)
    alike = _alike(store, copies, at)
    thresholds = []
    for pooling in store.poolings:
        for subtracted in (False, True):
            space = Space(pooling, subtracted)
            try:
                measured = _Measured.of(store, space, at, copies, sample)
            except (
                InvalidEmbeddings
            ):  # a row is the pool's mean, as where all frames are the same: nothing is left of it
                if not subtracted:
                    raise
                continue
            thresholds.append(measured.threshold(space, store, sample, alike))
    # The one that holds most copies; of equals the one that has fewer by chance, then the one that parts them best.
    thresholds.sort(key=lambda one: (-round(one.held, 3), one.by_chance or 0.0, -one.precision))
    return Calibration(tuple(thresholds), alike, copies.row.size * 4, len(sample))


def average_precision(positive: NDArray[np.floating], negative: NDArray[np.floating]) -> float:
    """Mean, over the positives, of the share of positives among all that score no less."""
    if not len(positive):
        return 0.0
    right = len(positive) - np.searchsorted(np.sort(positive), positive, side="left")
    wrong = len(negative) - np.searchsorted(np.sort(negative), positive, side="left")
    return float((right / (right + wrong)).mean())


@dataclass(frozen=True, eq=False)
class _Measured:
    """Cosines in one space: of frames with their copies, of all pairs of a sample, and of the sample's frames with
    their nearest frames, `neighbor`, which are rows of the store."""

    copies: NDArray[np.float32]
    pairs: NDArray[np.float32]
    nearest: NDArray[np.float32]
    neighbor: Rows

    @classmethod
    def of(cls, store: EmbeddingStore, space: Space, at: Rows, copies: Copies, sample: Rows) -> _Measured:
        def name(row: int) -> str:
            return str(store.pool_ids[store.rows[row]])

        source: RowSource = store.reader(space.pooling)
        survey = Survey.of(source, _AT_ONCE, name)
        mean = np.zeros(store.dim)
        if space.subtract_mean:
            mean, source = survey.mean, MeanSubtracted(source, survey.mean)
            Survey.of(source, _AT_ONCE, name, sums=False)
        copied = Vectors.prepare(copies.vectors[space.pooling].reshape(-1, store.dim) - mean.astype(np.float32))
        frames, some = Vectors.prepare(source.take(at)), Vectors.prepare(source.take(sample))
        own = frames.exact(np.repeat(np.arange(len(at)), len(copied) // len(at)), copied, np.arange(len(copied)))
        everyone = np.arange(len(sample))
        pairs = some.exact_tile(everyone, some, everyone)[np.triu_indices(len(sample), 1)]
        neighbor, best = nearest_other_in(source, sample, _AT_ONCE)
        return cls(own, pairs, best, neighbor)

    def threshold(self, space: Space, store: EmbeddingStore, sample: Rows, alike: float | None) -> Threshold:
        eta = _exceeded_by(self.copies, HELD)
        alone = np.zeros(0, np.float32)
        if alike is not None:
            likenesses = likeness(*(store.thumbnails_of(rows) for rows in (sample, self.neighbor)))
            alone = self.nearest[likenesses <= max(2 * alike - 1, 0.0)]
        if len(alone):
            eta = max(eta, _exceeded_by(alone, CHANCE, at_most=True))
        return Threshold(
            space,
            eta,
            float((self.copies > eta).mean()),
            float((alone > eta).mean()) if len(alone) else None,
            float((self.pairs > eta).mean()) if len(self.pairs) else 0.0,
            average_precision(self.copies, self.pairs),
        )


def _alike(store: EmbeddingStore, copies: Copies, at: Rows) -> float | None:
    """The likeness that 95 % of the mild copies have to their frames."""
    if not store.has_thumbnails:
        return None
    frames = np.repeat(store.thumbnails_of(at), copies.thumbnails.shape[1], axis=0)
    return _exceeded_by(likeness(frames, copies.thumbnails.reshape(frames.shape)), HELD)


def _exceeded_by(values: NDArray[np.float32], share: float, *, at_most: bool = False) -> float:
    """The greatest threshold that a share of the values exceed; with `at_most`, the least that no more of them do."""
    ascending = np.sort(values)
    if at_most:
        return float(ascending[len(values) - 1 - int(share * len(values))])
    return float(ascending[int((1 - share) * len(values))] - _STEP)

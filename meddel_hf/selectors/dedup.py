"""Dedup: near-duplicates go first, by a threshold that calibrates itself; what else must go is left out by a rule."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from meddel_hf.data.given import Frames, as_data_set
from meddel_hf.dedup.decision import Decision
from meddel_hf.dedup.graph import SecondStep
from meddel_hf.dedup.larger_than_memory import Plan, grouped
from meddel_hf.dedup.scenes import Scenes
from meddel_hf.dedup.search import Grouping, Keep, Search, Settings, meets_often
from meddel_hf.embedding.calibration import Threshold, calibration_of, threshold_of
from meddel_hf.embedding.embed import embed
from meddel_hf.embedding.space import Space
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.embedding.thumbnails import likeness
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.clustering import by_default
from meddel_hf.neighbors.float64 import Rows
from meddel_hf.runtime.free_memory import AUTO
from meddel_hf.runtime.reading import shown
from meddel_hf.runtime.threads import own_threads
from meddel_hf.selection.answer import WARNING, Origin
from meddel_hf.selection.selection import Selection
from meddel_hf.selection.table import LeftOut, pool_table, with_digests
from meddel_hf.selectors import checks
from meddel_hf.selectors.caps import within_caps
from meddel_hf.selectors.filling import (
    BY,
    DEFAULT,
    OPTIONS,
    Drawn,
    Filling,
    Shares,
    check_then,
    check_used,
    is_stratified,
)
from meddel_hf.selectors.pool_selector import PoolSelector
from meddel_hf.selectors.protocol import Embeddings, InParts, PoolRows, Readable, opened
from meddel_hf.selectors.sizes import largest_first, note_on_larger
from meddel_hf.selectors.thinning import graph_of

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    from meddel_hf.selection.subset import Subset


_ALL_WITH_ALL = 1_000_000  # rows up to which that is done unasked: a quarter of an hour on two cores
_MOST_NEAREST = 2**33  # cosines to name the nearest by, where fewer are compared: a minute on two cores
_LOOKED_AT = 4096  # near-duplicates, evenly spaced, whose pixels are compared
_LOOK_ALIKE = 0.5  # share of them that should, at least; of three real pools 0.75 to 0.83 did


@dataclass(frozen=True, eq=False)
class FirstStep:
    """Which rows are near-duplicates, in which space. decision is about the readable rows.

    embeddings: what was selected from, opened. readable: its rows, with embeddings in memory or, in the space in which
    rows are drawn, in parts.
    threshold: that of the store where eta is "auto". alike: share of the rows that go whose thumbnails agree with those
    of the rows that stand for them; None where that is not known.
    """

    embeddings: Any
    readable: PoolRows
    space: Space
    threshold: Threshold | None
    search: Grouping
    decision: Decision
    alike: float | None

    def scenes(self) -> Scenes:
        """What is of one scene, and which rows that stay share none; see `Scenes`."""
        return self.search.engine.scenes(self.decision.kept, self.decision.eta)

    @property
    def origin(self) -> Origin:
        return self.readable.origin

    @property
    def id_array(self) -> pa.ChunkedArray:
        """Of every row of the pool, string."""
        return self.readable.every_id

    @property
    def kept_array(self) -> pa.ChunkedArray:
        """Ids of the rows that stay, string, in the pool's order."""
        return self.readable.among(np.flatnonzero(self.decision.kept)).names


@dataclass(frozen=True)
class Dedup(PoolSelector):
    """Drop near-duplicates, then draw among the frames that are left: two steps, two reasons.

    1. A row goes as "near-duplicate" if a row that stays is above eta: greedily, all rows compared with all.
    2. If more must go, a rule draws among the rows that are left; the others are "not-selected", with the kept row
       that is nearest to them. Rows that share a near-duplicate are of one scene: a second of them is drawn only after
       all that share none. If fewer must go, the near-duplicates least similar to what is kept stay too.

    retention:     share of the pool to keep, met exactly: round(retention * n) rows. In (0, 1]. None: the first step
                   alone.
    eta:           "auto", the threshold that mild copies calibrated in the store (embedding/calibration.py), or a
                   cosine in [-1, 1].
    then:          the rule: "meddel", Algorithm 1, an even spread inside each cluster; "cover", frames that stand for
                   many others (`MaxHerding`), slow beyond 100,000 of them; "stratified", at random within each stratum
                   in proportion to it; "random"; "balanced"; any other selector's name; or "auto", which is "meddel".
    seed:          of what is drawn.
    by:            columns of the strata of "stratified": the first that is not null names a row's. Where the pool has
                   none of center and source, or is not at hand, "stratified" is "random", which a note tells.
    per, shares:   a column among whose values rows are shared out, in "proportional", "root" (square root) or "equal"
                   shares. Rows without a value have a share too.
    min_per:       column -> rows that each of its values keeps at least, or all the distinct ones that it has.
                   These five are about what is drawn: without a retention they are refused.
    max_per:       column -> rows that each of its values keeps at most, such as {"video": 1}: after the first step rows
                   evenly spaced over each value's, in the pool's order, may be kept; others are "not-selected". Rows
                   without a value are not bounded.
    scope:         of the first step: "pool", all with all; "cluster", inside k-means clusters; "auto": all with all up
                   to a million readable rows, inside clusters beyond, where all with all is a matter of hours.
    keep:          which of a group stays: "closest" to the pool's mean direction (or centroid), "farthest", "random",
                   or "largest", of most pixels, then of most bytes: no copy that was scaled down or compressed again
                   stays in the place of its original.
    pooling, subtract_mean: the space of the first step; "auto" is the one in which copies part best where eta is
                   "auto", else that of the store's `embeddings` as they are.
    memory:        such as "4GB": a pool that does not fit is read from its store in parts, and regrouped in scratch
                   files, each as large as the store. Same rows; no graph is stored with them. "auto": most of what is
                   free when it is needed. None: all in memory.
    scratch:       folder of those files, gone at the end; None for the system's (TMPDIR).
    encoder:       name or path of the model that `filter` embeds with.

    Rules that compare frames do so by the store's first pooling, the CLS token where it has both, with the mean
    subtracted.
    """

    retention: float | None = None
    seed: int = 0
    eta: float | Literal["auto"] = "auto"
    then: str = "auto"
    by: str | Sequence[str] = BY
    per: str | None = None
    shares: Shares = "equal"
    min_per: Mapping[str, int] = field(default_factory=dict, hash=False)
    max_per: Mapping[str, int] = field(default_factory=dict, hash=False)
    scope: Literal["auto", "pool", "cluster"] = "auto"
    keep: Keep = "closest"
    pooling: Literal["auto", "cls", "mean"] = "auto"
    subtract_mean: bool | Literal["auto"] = "auto"
    memory: str | int | None = AUTO
    scratch: str | Path | None = None
    encoder: str | None = None

    def __post_init__(self) -> None:
        checks.plain(self)
        if self.retention is not None:
            checks.fraction("retention", self.retention)
        checks.seed(self.seed)
        checks.eta(self.eta)
        check_then(self.then)
        checks.columns("by", self.by)
        if self.per is not None and not (isinstance(self.per, str) and self.per):
            raise InvalidArgument(f"per must name a column of the pool, such as 'center', got {shown(self.per)}")
        checks.choice("scope", self.scope, ("auto", "pool", "cluster"))
        checks.choice("keep", self.keep, get_args(Keep))
        checks.choice("shares", self.shares, ("proportional", "root", "equal"))
        checks.choice("pooling", self.pooling, ("auto", "cls", "mean"))
        checks.flag("subtract_mean", self.subtract_mean, "auto")
        checks.memory(self.memory)
        for name, example in (("min_per", "{'center': 50}"), ("max_per", "{'video': 1}")):
            checks.counts(name, getattr(self, name), example)
            object.__setattr__(self, name, dict(sorted(getattr(self, name).items())))  # as records have them
        object.__setattr__(self, "by", self.by if isinstance(self.by, str) else tuple(self.by))
        check_used(self._given, self.retention, self.then)

    @own_threads()
    def _choose(self, embeddings: Embeddings, pool: Dataset | None) -> Selection:
        """Choose rows by their embeddings: an `EmbeddingStore`, the path of one, or a plain (n, d) array.

        pool: the data set that was embedded, for strata, shares and floors; None opens the one that the store names.
        Raises InvalidArgument where eta is "auto" and the embeddings were not calibrated, where more rows are asked for
        than are readable, or where floors ask for more rows than are kept.
        """
        with self.stepped(embeddings) as first:
            return self.answer(first, pool)

    def answer(self, first: FirstStep, pool: Dataset | None = None) -> Selection:
        """What follows from the first step."""
        readable, search, decision = first.readable, first.search, first.decision
        left = np.flatnonzero(decision.kept)
        if self.max_per:
            left = within_caps(readable, left, self.max_per, pool)
        target = len(left) if self.retention is None else readable.rows_to_keep(self.retention)
        left_out: LeftOut | None = None
        second: SecondStep | None = None
        notes: list[str] = []
        if self.max_per and target > len(left):
            raise InvalidArgument(
                f"max_per {self.max_per} leaves {len(left):,} of {decision.kept.sum():,} distinct frames, and "
                f"retention {self.retention} asks for {target:,}: raise the cap, or keep fewer"
            )
        if target > decision.kept.sum():
            decision = _with_more(decision, search, target)
        elif target < decision.kept.sum():
            left_out, drawn = self._second_step(first, left, target, pool)
            notes, second = drawn.notes, drawn.second
        if left_out is None and self._given:
            self._filling().check(readable, pool)
            notes.append(
                f"nothing was drawn, since a retention of {self.retention} keeps all frames that are no "
                f"near-duplicates: {', '.join(self._given)} changed nothing"
            )
        if self.scope == "auto" and search.settings.scope == "cluster":
            notes.insert(
                0,
                f"beyond {_ALL_WITH_ALL:,} frames near-duplicates are sought inside clusters; scope (--scope) "
                "pool compares all with all",
            )
        if first.threshold is not None:
            alike = "" if first.alike is None else f"; {first.alike:.0%} of those found look alike in their pixels"
            notes.insert(0, f"{first.threshold}{alike}")
            notes += [] if (why := doubt(first.alike)) is None else [f"{WARNING}{why}"]
        if self.keep == "closest":
            notes += note_on_larger(first.embeddings, decision)
        table = pool_table(
            readable.ids, readable.rows, decision, search.outlier, search.cluster, search.distance, left_out
        )
        table = with_digests(table, readable.digests)
        settings = {
            "selector": "dedup", **asdict(self), **self._drawing(drawn=left_out is not None),
            "scope": search.settings.scope, "subtract_mean": first.space.subtract_mean,
            "pooling": first.space.pooling if first.origin.embeddings is not None else None,
        }  # fmt: skip
        for name in ("memory", "scratch", "encoder"):  # which do not change the answer
            del settings[name]
        if not self.max_per:  # as in the records of older selections
            del settings["max_per"]
        graph = graph_of(search, readable.rows)
        return Selection(
            table, settings, readable.origin, decision.eta, graph, search.sample, tuple(notes), second=second
        )

    @contextmanager
    def stepped(self, embeddings: Embeddings) -> Iterator[FirstStep]:
        """As `first_step`; of a pool beyond the memory in parts, and then it answers inside the block alone."""
        store = opened(embeddings)
        threshold, space, eta = self._threshold(store)
        draws = self.retention is not None
        parts = InParts.beyond(store, self.memory, self.scratch, space.pooling, draws=draws)
        if parts is None:
            yield self._in_memory(store, threshold, space, eta)
            return
        beside = parts.room.beside(len(parts.rows))
        if self.retention is not None:  # too little for the second step is told before the first
            Plan.within(beside, parts.source, by_default(len(parts.rows)))
        settings = replace(self._settings(eta, len(parts.rows)), subtract_mean=space.subtract_mean)
        largest = largest_first(self.keep, store)
        with grouped(settings, parts.source, len(parts.ids), parts.room, parts.name, largest) as search:
            drawn_from = replace(parts.in_first_pooling(store), room=beside)
            yield self._decided(store, drawn_from, threshold, space, search)

    def first_step(self, embeddings: Embeddings) -> FirstStep:
        """Near-duplicates alone; `answer` goes on from there, for one retention, rule or seed after another."""
        store = opened(embeddings)
        return self._in_memory(store, *self._threshold(store))

    def _in_memory(self, store: Any, threshold: Threshold | None, space: Space, eta: float) -> FirstStep:
        readable = Readable.of(store, space.pooling)
        settings = self._settings(eta, len(readable.rows))
        vectors = readable.vectors(space.subtract_mean, copy=meets_often(settings))
        rows = np.arange(len(vectors))
        search = Search.among(settings, vectors, rows, len(readable.ids), largest=largest_first(self.keep, store))
        return self._decided(store, readable, threshold, space, search)

    def _decided(
        self, store: Any, readable: PoolRows, threshold: Threshold | None, space: Space, search: Grouping
    ) -> FirstStep:
        decision = search.decide(search.settings.eta, None)
        alike = _alike(store, decision) if isinstance(store, EmbeddingStore) and threshold is not None else None
        return FirstStep(store, readable, space, threshold, search, decision, alike)

    def near_duplicates(self, embeddings: Embeddings) -> tuple[float, Space]:
        _, space, eta = self._threshold(opened(embeddings))
        return eta, space

    def _threshold(self, store: Any) -> tuple[Threshold | None, Space, float]:
        """That of the store where eta is "auto"; the space and the eta of the first step."""
        if self.eta != "auto":
            return None, self._space(store), self.eta
        threshold = threshold_of(store, self.pooling, self.subtract_mean)
        return threshold, threshold.space, threshold.eta

    def _settings(self, eta: float, rows: int) -> Settings:
        scope = self.scope if self.scope != "auto" else "pool" if rows <= _ALL_WITH_ALL else "cluster"
        return Settings(eta=eta, epsilon=None, scope=scope, keep=self.keep, seed=self.seed)

    def filter(self, dataset: Frames, *, embeddings: str | Path | None = None) -> Subset | IterableDataset:
        """Embed, select and filter in one call, like `Dataset.filter`.

        dataset:    in any form that `embed` takes.
        embeddings: folder in which to leave the embedding store; by default it is not kept.
        """
        if self.encoder is None:
            raise InvalidArgument("filter embeds the data set: say with which model, Dedup(..., encoder=ID_OR_PATH)")
        with tempfile.TemporaryDirectory() as scratch:
            frames = as_data_set(dataset)
            store = embed(frames, self.encoder, embeddings or Path(scratch) / "embeddings")
            return self.select(store, pool=frames).filter(frames)

    @property
    def _by(self) -> tuple[str, ...]:
        return (self.by,) if isinstance(self.by, str) else tuple(self.by)

    @property
    def _given(self) -> list[str]:
        """Those of the options about what is drawn that are not as they are by default."""
        usual: dict[str, Any] = {"then": "auto", "by": BY, "per": None, "shares": "equal", "min_per": {}}
        mine = {**{name: getattr(self, name) for name in OPTIONS}, "by": self._by}
        return [name for name in OPTIONS if mine[name] != usual[name]]

    def _drawing(self, drawn: bool) -> dict[str, Any]:
        """The options about what is drawn, as they are recorded: None where they were not used."""
        if not drawn:
            return dict.fromkeys(OPTIONS)
        then = self._then
        return {
            "then": then, "by": list(self._by) if is_stratified(then) else None, "per": self.per,
            "shares": None if self.per is None else self.shares, "min_per": dict(self.min_per) or None,
        }  # fmt: skip

    def _filling(self) -> Filling:
        return Filling(self._then, self.seed, self._by, self.per, self.shares, self.min_per)

    @property
    def _then(self) -> str:
        return DEFAULT if self.then == "auto" else self.then

    def _space(self, store: Any) -> Space:
        if not isinstance(store, EmbeddingStore) and self.pooling != "auto":
            raise InvalidArgument(f"a plain array has no poolings, got pooling={self.pooling!r}: leave it out")
        first = store.poolings[0] if isinstance(store, EmbeddingStore) else "cls"
        return Space(first if self.pooling == "auto" else self.pooling, self.subtract_mean is True)

    def _second_step(self, first: FirstStep, left: Rows, target: int, pool: Any) -> tuple[LeftOut, Drawn]:
        """left: rows among which `target` are drawn."""
        whole = first.readable if isinstance(first.readable, InParts) else Readable.of(first.embeddings)
        drawn = self._filling().draw(whole, left, first.scenes().apart[left], target, pool)
        return _left_out(first.search, first.decision.kept, left[drawn.rows]), drawn


def doubt(alike: float | None) -> str | None:
    """What to do where fewer than half of the near-duplicates look alike; None where they do, or nobody knows."""
    if alike is None or alike >= _LOOK_ALIKE:
        return None
    return (
        f"only {alike:.0%} of the near-duplicates look alike in their pixels, so most may be different frames: look "
        "at duplicates.png, then select with an --eta of your own, or embed with another encoder or with --view whole"
    )


def _alike(store: EmbeddingStore, decision: Decision) -> float | None:
    gone, alike = np.flatnonzero(decision.duplicate_of >= 0), calibration_of(store).alike
    gone = gone[:: max(1, len(gone) // _LOOKED_AT)]
    if not store.has_thumbnails or alike is None or not len(gone):
        return None
    likenesses = likeness(*(store.thumbnails_of(rows) for rows in (gone, decision.duplicate_of[gone])))
    return float((likenesses > alike).mean())


def _with_more(decision: Decision, search: Grouping, target: int) -> Decision:
    """The near-duplicates least similar to what is kept (equals: the pool's order) stay too, up to `target` rows."""
    kept = decision.kept.copy()
    gone = np.flatnonzero(~kept)
    kept[gone[np.argsort(decision.similarity[gone], kind="stable")[: target - int(kept.sum())]]] = True
    return Decision(kept, *search.engine.nearest_kept(kept), decision.eta)


def _left_out(search: Grouping, left: NDArray[np.bool_], drawn: NDArray[np.int64]) -> LeftOut:
    """left: (n,) rows that the first step left. drawn: those that stay.

    The nearest of them is named for each other row, unless there are many and rows were compared inside clusters, so
    that it would be by far the longest part.
    """
    rest = left.copy()
    rest[drawn] = False
    goes = np.ones(len(left), bool)
    goes[drawn] = False
    rows = np.flatnonzero(goes)
    if search.settings.scope == "cluster" and len(rows) * len(drawn) > _MOST_NEAREST:
        return LeftOut(rest)
    to, similarity = np.full(len(left), -1, np.int64), np.full(len(left), -2, np.float32)
    to[rows], similarity[rows] = search.nearest(rows, drawn)
    return LeftOut(rest, to, similarity)

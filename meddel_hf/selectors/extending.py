"""A selection goes on in a pool that has grown: what was decided stays, and only what is new is compared.

    new = extend(Selection.load("selection"), "embeddings-2")

Rows that were kept stay, rows that went stay away. In the old selection's space and at its eta, a new row goes if a row
that stays is above eta: first against those that stayed before, then among the new ones, in keep order. What stood for
near-duplicates and is gone from the pool leaves them to be looked at again, like new rows: the next best is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.dedup.decision import Decision
from meddel_hf.dedup.search import Settings, keep_key
from meddel_hf.embedding.space import Space
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.neighbors.clustering import distance
from meddel_hf.neighbors.cosines import Rows, Vectors, rounded
from meddel_hf.runtime.free_memory import AUTO
from meddel_hf.runtime.threads import own_threads
from meddel_hf.runtime.words import is_or_are, plural
from meddel_hf.selection.answer import Origin
from meddel_hf.selection.selection import Selection
from meddel_hf.selection.table import LeftOut, pool_table, with_digests, with_reference
from meddel_hf.selectors.before import Before
from meddel_hf.selectors.caps import within_caps
from meddel_hf.selectors.compared import Compared, compared, directions_of
from meddel_hf.selectors.filling import BY, Filling, Shares
from meddel_hf.selectors.floors import Floor, raised
from meddel_hf.selectors.protocol import Embeddings, InParts, PoolRows, Readable, opened
from meddel_hf.selectors.reference import fingerprint_of, out_of_reach, within_the_same_reach
from meddel_hf.selectors.sizes import largest_first
from meddel_hf.selectors.strata import values_of

if TYPE_CHECKING:
    from datasets import Dataset

EXTENDS = "extends"  # the setting of an extended selection that names the old one's fingerprint


@own_threads()
def extend(
    old: Selection | str | Path,
    embeddings: Embeddings,
    pool: Dataset | None = None,
    *,
    reference: Embeddings | None = None,
    memory: str | int | None = AUTO,
) -> Selection:
    """Go on from an old selection in the embeddings of the same pool, which has grown or shrunk since.

    old:        a selection of `Dedup` or `MedDEL` (greedy, one iteration), or its folder.
    embeddings: as `select` takes them, by the same encoder. Rows are known again by the bytes of their frames, so that
                they may be moved or renamed, and by their ids where one of the two knows no bytes.
    pool:       the data set that was embedded, for strata, shares and floors of what is drawn.
    reference:  of a selection that was made beside a reference set, that same set, which new rows are compared with as
                the old ones were; None: where it was.
    memory:     such as "4GB": of a store that does not fit rows are read as they are compared, a cluster at a time; the
                two selections' tables come on top. The answer is the same. "auto": most of what is free; None: all in
                memory.

    eta stays what it was. Where a retention was met by drawing among the distinct rows (`Dedup`), it is met again: so
    many of the new ones are drawn, by the same rule. Otherwise it follows from eta, which a note tells.
    Raises InvalidArgument for a selection of another kind, and where its reference set is not at hand; Mismatch for
    embeddings of another encoder or pool, and for another reference set.
    """
    old = old if isinstance(old, Selection) else Selection.load(old)
    if old.origin.reference is not None:
        return _beside(old, opened(embeddings), pool, reference, memory)
    if reference is not None:
        raise InvalidArgument(
            "the old selection was made without a reference set, and an extended one judges new frames as it did: "
            "leave the reference out, or select anew"
        )
    return Extension.of(old, opened(embeddings), memory).selection(pool)


@dataclass(frozen=True, eq=False)
class Extension:
    """The work of one `extend`; rows are places among the readable ones."""

    old: Selection
    embeddings: Any
    readable: PoolRows
    rows: Compared
    before: Before

    @classmethod
    def of(cls, old: Selection, embeddings: Any, memory: str | int | None = AUTO) -> Extension:
        _check_kind(old)
        store = embeddings if isinstance(embeddings, EmbeddingStore) else None
        space = Space(
            old.settings.get("pooling") or (store.poolings[0] if store else "cls"), bool(old.settings["subtract_mean"])
        )
        pooling = space.pooling if store else None
        parts = InParts.beyond(embeddings, memory, None, pooling)
        readable = Readable.of(embeddings, pooling) if parts is None else parts
        _check_encoder(old, readable)
        before = Before.of(old, readable)
        return cls(old, embeddings, readable, compared(readable, space.subtract_mean), before)

    @property
    def eta(self) -> float:
        assert self.old.eta is not None  # of the selectors that are extended each has one
        return self.old.eta

    @property
    def drawn(self) -> bool:
        """Whether rows were drawn among the distinct ones."""
        return self.old.settings["selector"] == "dedup" and self.old.settings.get("then") is not None

    @property
    def caps(self) -> Mapping[str, int]:
        """Column -> rows that each of its values keeps at most."""
        return self.old.settings.get("max_per") or {}

    @cached_property
    def stays(self) -> NDArray[np.bool_]:
        """Rows that were distinct, whether they were drawn or not."""
        return self.before.kept | self.before.left_out

    @cached_property
    def freed(self) -> NDArray[np.bool_]:
        """Near-duplicates of rows that are gone."""
        return self.before.near & (self.before.duplicate_of < 0)

    @cached_property
    def settings(self) -> Settings:
        names = ("scope", "keep", "seed", "epsilon", "subtract_mean")
        recorded: dict[str, Any] = {name: self.old.settings.get(name) for name in names}
        return Settings(eta=self.eta, **recorded)

    @cached_property
    def clusters(self) -> tuple[Rows, NDArray[np.float32]] | None:
        """(cluster, distance to its centroid) of every row: new ones join the nearest; None where there are none."""
        before, new = self.before, np.flatnonzero(self.before.new)
        if before.cluster is None or before.distance is None:
            return None
        label, far = before.cluster.copy(), before.distance.copy()
        if len(new):
            names, directions = directions_of(self.rows, label, ~before.new)
            at, cosine = self.rows.nearest_of(new, Vectors.prepare(directions))
            label[new], far[new] = names[at], distance(cosine)
        return label, far

    @cached_property
    def outlier(self) -> NDArray[np.bool_]:
        if self.settings.epsilon is None or self.clusters is None:
            return self.before.outlier
        return self.before.outlier | (self.before.new & (self.clusters[1] > np.float32(self.settings.epsilon)))

    @cached_property
    def decision(self) -> Decision:
        """The first step: who is distinct, and for each other row, for whom it goes."""
        before = self.before
        kept, where, similarity = self.stays.copy(), before.duplicate_of.copy(), before.similarity.copy()
        if self.settings.subtract_mean:  # the mean is that of the pool as it is now
            named = np.flatnonzero(where >= 0)
            similarity[named] = self.rows.cosines(named, where[named])
        where[self.freed], similarity[self.freed] = -1, -2
        candidates = (before.new | self.freed) & ~self.outlier
        for group, rows in self.rows.in_groups(self._groups(candidates)):
            stood = self._in_keep_order(group[self.stays[group]])
            asked = self._in_keep_order(group[candidates[group]])
            _name(rows, asked, stood, where, similarity)
            open_rows = asked[~(similarity[asked] > rounded(self.eta))]
            new = open_rows[rows.greedy(open_rows, self.eta)] if len(open_rows) else open_rows
            kept[new] = True
            _name(rows, group[~kept[group] & ~self.outlier[group]], new, where, similarity)
        where[kept], similarity[kept] = -1, -2
        return Decision(kept, where, similarity, self.eta)

    def _in_keep_order(self, rows: Rows) -> Rows:
        distances = None if self.clusters is None else self.clusters[1]
        n = len(self.readable.rows)
        key = keep_key(self.settings, n, rows, distances, lambda: self.rows.to_mean[rows], self._largest)
        return rows[np.argsort(key, kind="stable")]

    @cached_property
    def _largest(self) -> Rows | None:
        return largest_first(self.settings.keep, self.embeddings)

    def _groups(self, candidates: NDArray[np.bool_]) -> Iterator[Rows]:
        """Rows that are compared with one another, where any is a candidate."""
        if self.settings.scope == "pool" or self.clusters is None:
            yield np.arange(len(candidates))
            return
        label = self.clusters[0]
        order = np.argsort(label, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
            if candidates[group].any():
                yield group

    def selection(self, pool: Dataset | None = None) -> Selection:
        readable, decision = self.readable, self.decision
        kept, notes = self._drawn(pool) if self.drawn or self.caps else (decision.kept, [])
        cluster, far = self.clusters or (None, None)
        table = pool_table(readable.ids, readable.rows, decision, self.outlier, cluster, far, self._left_out(kept))
        settings = {**self.old.settings, EXTENDS: self.old.fingerprint}
        notes = [self._summary(kept), *notes, *self._of_retention(kept)]
        table = with_digests(table, readable.digests)
        return Selection(table, settings, readable.origin, self.eta, None, self.old.density, tuple(notes))

    def _drawn(self, pool: Dataset | None) -> tuple[NDArray[np.bool_], list[str]]:
        """Who is kept in the end, where a retention is met by drawing, and what a reader should know of it."""
        before, kept = self.before, self.before.kept.copy()
        orphans = before.left_out & (before.nearest < 0) if before.nearest is not None else before.left_out & False
        left = self._may_come((self.decision.kept & ~self.stays) | orphans, kept, pool)
        asked = self.old.settings.get("retention")
        count = len(left) if asked is None else round(asked * len(self.readable.ids)) - int(kept.sum())
        notes: list[str] = []
        if count >= len(left) or not self.drawn:
            kept[left] = True
        elif count > 0:
            drawn = self._filling.draw(self._whole, left, np.zeros(len(left), bool), count, pool)
            kept[left[drawn.rows]], notes = True, drawn.notes
        floors = self.old.settings.get("min_per") or {}
        return (self._above(floors, kept, left, pool), notes) if floors else (kept, notes)

    def _may_come(self, rows: NDArray[np.bool_], kept: NDArray[np.bool_], pool: Any) -> Rows:
        """Places of rows that no cap keeps out, beside those that are kept, ascending."""
        left = np.flatnonzero(rows)
        return within_caps(self.readable, left, self.caps, pool, np.flatnonzero(kept)) if self.caps else left

    def _above(self, floors: Mapping[str, int], kept: NDArray[np.bool_], left: Rows, pool: Any) -> NDArray[np.bool_]:
        """What is kept, with rows more for values that lack some: new ones first, then those that were left out."""
        values = {column: values_of(self.readable, pool, column) for column in floors}
        for others in (left, self._may_come(self.before.left_out & ~kept, kept, pool)):
            reach = np.union1d(np.flatnonzero(kept), others)
            each = [
                Floor.of(column, [values[column][place] for place in reach], least) for column, least in floors.items()
            ]
            kept[reach] = raised(kept[reach], each, self.old.settings["seed"], self.before.kept[reach])
        return kept

    @cached_property
    def _filling(self) -> Filling:
        """The rule by which rows were drawn. Floors are about all that is kept, and not about what is drawn now."""
        old = self.old.settings
        by, shares = tuple(old.get("by") or BY), cast(Shares, old.get("shares") or "equal")
        return Filling(old["then"], old["seed"], by, old.get("per"), shares, {})

    @cached_property
    def _whole(self) -> PoolRows:
        """All rows, in the pooling by which they are drawn."""
        if isinstance(self.readable, InParts):
            return self.readable.in_first_pooling(self.embeddings)
        return Readable.of(self.embeddings)

    def _left_out(self, kept: NDArray[np.bool_]) -> LeftOut | None:
        """Distinct rows that were not drawn; and the kept row nearest to each that goes, where the old one told it."""
        before = self.before
        in_pool = self.old.settings["selector"] == "dedup" and self.settings.scope == "pool"
        if before.nearest is None or before.nearest_similarity is None or not in_pool or not self._one_space:
            return LeftOut(self.decision.kept & ~kept) if self.drawn or self.caps else None
        where, similarity = before.nearest.copy(), before.nearest_similarity.copy()
        if self.settings.subtract_mean:
            named = np.flatnonzero(where >= 0)
            similarity[named] = self.rows.cosines(named, where[named])
        unknown = ~kept & (where < 0)
        similarity[unknown] = -2
        _name(self.rows, np.flatnonzero(unknown), np.flatnonzero(kept), where, similarity)
        _name(self.rows, np.flatnonzero(~kept & ~unknown), np.flatnonzero(kept & ~before.kept), where, similarity)
        where[kept], similarity[kept] = -1, -2
        return LeftOut(self.decision.kept & ~kept, where, similarity)

    @property
    def _one_space(self) -> bool:
        """Whether the old selection told the nearest kept rows in the space of its near-duplicates: then, where nothing
        was drawn, what a row is a near-duplicate of is the kept row nearest to it."""
        before = self.before
        return self.drawn or (
            before.nearest is not None and np.array_equal(before.nearest[before.near], before.duplicate_of[before.near])
        )

    def _summary(self, kept: NDArray[np.bool_]) -> str:
        before, at = self.before, f"at eta {self.eta:.4f} as before"
        stay = plural(int(before.kept.sum()), "kept frame stays", "kept frames stay")
        ones, now, blind = int(before.new.sum()), int((kept & before.new).sum()), self._unreadable_new
        parts = [f"{stay}, {now:,} of {plural(ones, 'new one')} {is_or_are(now)} kept" if ones else stay, at]
        parts += [f"{plural(blind, 'new one')} cannot be read"] if blind else []
        parts += [plural(len(before.gone), "frame is gone", "frames are gone")] if len(before.gone) else []
        promoted = int((kept & ~before.new & ~before.kept).sum())
        parts += [f"{promoted:,} that had gone {is_or_are(promoted)} kept now"] if promoted else []
        return ", ".join(parts)

    @property
    def _unreadable_new(self) -> int:
        """New rows without an embedding: `embed` counts them too."""
        if not isinstance(self.embeddings, EmbeddingStore):
            return 0
        return int(np.isin(self.before.unknown, self.embeddings.unreadable["row"].to_numpy()).sum())

    def _of_retention(self, kept: NDArray[np.bool_]) -> list[str]:
        asked, rows = self.old.settings.get("retention"), len(self.readable.ids)
        if asked is None or int(kept.sum()) == round(asked * rows):
            return []
        return [
            f"a retention of {asked} was asked for and is now {kept.sum() / rows:.4f}, since what was kept stays and "
            "eta is as it was: select anew, without --extend, to meet it"
        ]


def _beside(
    old: Selection, embeddings: Any, pool: Dataset | None, reference: Embeddings | None, memory: str | int | None
) -> Selection:
    """Rows that went for the reference set stay away, new ones within its reach go too; of the others, an extension."""
    _check_kind(old)
    readable = PoolRows.without_embeddings(embeddings)
    _check_encoder(old, readable)
    before = Before.of(old, readable)
    were, there = np.flatnonzero(before.in_reference), old.table.take(pa.array(before.row[before.in_reference]))
    places, ids = were, there[schema.IN_REFERENCE].to_pylist()
    cosine = there[schema.REFERENCE_SIMILARITY].to_numpy()
    if before.new.any():
        if "reference_pooling" not in old.settings:
            raise InvalidArgument("the old selection did not note how it was compared with its reference: select anew")
        reached = within_the_same_reach(embeddings, _same_reference(old, reference), old.settings)
        new = before.new[reached.places]
        places, cosine = np.concatenate([places, reached.places[new]]), np.concatenate([cosine, reached.cosine[new]])
        ids += [name for name, here in zip(reached.ids, new, strict=True) if here]
    left = out_of_reach(embeddings, places, old.settings["reference_eta"])
    selection = Extension.of(old, left, memory).selection(pool)
    within = plural(len(places), "frame looks", "frames look")
    more = len(places) - len(were)
    go = "goes" if len(places) == 1 else "go"
    note = f"{within} like one of the reference, and {go}" + (f", {more:,} of them new" if more else "")
    return replace(
        selection,
        table=with_reference(selection.table, readable.rows[places], ids, cosine),
        origin=replace(
            selection.origin, reference=old.origin.reference, reference_spec=_place_of(reference, old.origin)
        ),
        notes=(*selection.notes, note),
    )


def _same_reference(old: Selection, reference: Embeddings | None) -> Any:
    """The old selection's reference set, opened. Raises InvalidArgument where it is not at hand, Mismatch for
    another."""
    place = _place_of(reference, old.origin)
    if reference is None and (place is None or not Path(place).is_dir()):
        raise InvalidArgument(
            "the old selection was made beside a reference set, which new frames are compared with, and that is not "
            f"at hand{'' if place is None else f' ({place} is no folder)'}: give it as reference (--reference)"
        )
    same = opened(place if reference is None else reference)
    if fingerprint_of(same) != old.origin.reference:
        raise Mismatch(
            "the reference set is another than the old selection's, whose frames were compared with that one: give "
            "that one, or select anew without --extend"
        )
    return same


def _place_of(reference: Any, origin: Origin) -> str | None:
    """The folder of the reference set: where it is now, or where it was."""
    if reference is None:
        return origin.reference_spec
    if isinstance(reference, EmbeddingStore):
        return str(reference.folder)
    return str(reference) if isinstance(reference, str | Path) else None


def extends_to(old: Selection) -> bool:
    """Whether a selection can be extended: by a threshold, by the greedy rule, and in one iteration."""
    settings = old.settings
    greedy = settings.get("rule", "greedy") == "greedy" and settings.get("max_iterations", 1) == 1
    by_hand = schema.BY_HAND in old.table.column_names
    return settings.get("selector") in ("dedup", "meddel") and old.eta is not None and greedy and not by_hand


def reads_columns(old: Selection) -> bool:
    """Whether what is drawn goes by columns of the pool, which must be at hand to go on."""
    return any(old.settings.get(name) for name in ("by", "per", "min_per", "max_per"))


def _check_kind(old: Selection) -> None:
    if extends_to(old):
        return
    if schema.BY_HAND in old.table.column_names:
        raise InvalidArgument(
            "frames of the old selection were decided by hand, which an extended one would not heed: select anew, with "
            "the same --overrides"
        )
    if old.settings.get("selector") not in ("dedup", "meddel") or old.eta is None:
        raise InvalidArgument(
            f"a selection of {old.settings.get('selector')!r} cannot be extended, since it has no threshold by which "
            "new frames are judged: select anew, or extend one of dedup or meddel"
        )
    raise InvalidArgument(
        "a selection by the rule semdedup, or of several iterations, depends on frames that went and cannot be "
        "extended: select anew"
    )


def _check_encoder(old: Selection, readable: PoolRows) -> None:
    if old.origin.encoder_fingerprint != readable.origin.encoder_fingerprint:
        raise Mismatch(
            f"the old selection was made from embeddings of another encoder ({old.origin.encoder}, now "
            f"{readable.origin.encoder}): embed with that one, or select anew"
        )


def _name(rows: Compared, asked: Rows, among: Rows, where: Rows, similarity: NDArray[np.float32]) -> None:
    """Write down, for each row asked for, the row of `among` of greatest cosine, where that exceeds what is there."""
    if len(asked) and len(among):
        near, cosine = rows.nearest(asked, among, similarity[asked])
        better = cosine > similarity[asked]
        where[asked[better]], similarity[asked[better]] = near[better], cosine[better]

"""Frames are forgotten, as where a consent is withdrawn: they go from the store, and from the selections made from it.

The rows of those frames leave every file that holds them: embeddings, thumbnails, mild copies, tables, marks that a
person gave, and the graph of near-duplicates. Pictures, in which frames can be seen, are removed. Where a kept frame is
forgotten that stood for near-duplicates, the next best of them is kept, by the rule of `extend`. All folders change
together, or none does.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meddel_hf import schema
from meddel_hf.data.ids import as_there, folders_among, is_a_folder
from meddel_hf.data.local import cached_pools
from meddel_hf.dedup.graph import NearDuplicateGraph
from meddel_hf.embedding.carried import places
from meddel_hf.embedding.removing import without
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidArgument, InvalidDataset, Mismatch
from meddel_hf.neighbors.stored_pairs import Pairs
from meddel_hf.runtime.memory import Memory
from meddel_hf.runtime.reading import printable, some_of
from meddel_hf.runtime.replacing import STAGE, Replacement, finish_pending
from meddel_hf.runtime.words import is_or_are, plural
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors.by_hand import OVERRIDES, Overrides
from meddel_hf.selectors.extending import EXTENDS, extend, extends_to, reads_columns
from meddel_hf.selectors.of_value import Where, frames_of_value

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """What became of a selection.

    stood_for: id of each forgotten frame that was kept -> ids of its near-duplicates, which are not forgotten.
    promoted:  ids that are kept now and were not.
    became:    id of each of those near-duplicates that is not kept now either -> what it is instead, in words.
    rows, kept: numbers of now.
    notes:     what a reader should know of the selection as it is now.
    """

    folder: Path
    stood_for: dict[str, tuple[str, ...]]
    promoted: tuple[str, ...]
    rows: int
    kept: int
    notes: tuple[str, ...] = ()
    became: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        kept = f"{self.kept:,} of {plural(self.rows, 'frame')} {is_or_are(self.kept)} kept"
        lines, promoted = [f"{self.folder}: {kept}"], dict.fromkeys(self.promoted)
        for name, others in self.stood_for.items():
            if others:
                now = [other for other in others if other in promoted]
                after = f"; kept in its place: {some_of(now)}" if now else self._without_substitute(others)
                what = f"{plural(len(others), 'near-duplicate')} ({some_of(others)}){after}"
                lines.append(f"{printable(name)} was kept and stood for {what}")
                for other in now:
                    del promoted[other]
        alone = [name for name, others in self.stood_for.items() if not others]
        if alone:
            were = plural(len(alone), "forgotten frame was kept", "forgotten frames were kept")
            lines.append(f"{were} and stood for no other: {some_of(alone)}")
        if promoted:
            lines.append(f"{plural(len(promoted), 'other is', 'others are')} kept now: {some_of(list(promoted))}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _without_substitute(self, others: Sequence[str]) -> str:
        """Of near-duplicates of a frame that went, of which none is kept now: what they are instead."""
        by_word: dict[str, list[str]] = {}
        for other in others:
            by_word.setdefault(self.became.get(other, "is kept as before"), []).append(other)
        fates = "; ".join(f"{some_of(ids)}: {word}" for word, ids in by_word.items())
        return f"; none is kept in its place ({fates})"


@dataclass(frozen=True)
class Forgotten:
    """What `forget` did.

    ids:     that were in the store, and are not now.
    unknown: that were not there; gone already, or never there.
    same:    ids of rows that hold the same bytes as a forgotten frame, and stay, since nobody named them.
    finished: what an earlier run did that was killed, and that this one finished; "" where there was none.
    caches:  folders and files of this machine in which frames of pools that were read, or names of files, are kept.
    below:   of ids that were not there but are the beginning of others, as a folder is: those others, which stay.
    found:   a column and its value, as "patient=p01" -> ids of its frames in the store, which went too.
    """

    ids: tuple[str, ...]
    unknown: tuple[str, ...]
    same: tuple[str, ...]
    changes: tuple[Change, ...]
    finished: str = ""
    caches: tuple[Path, ...] = ()
    below: dict[str, tuple[str, ...]] = field(default_factory=dict)
    found: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"finished what an earlier run had begun: {self.finished}"] if self.finished else []
        gone = plural(len(self.ids), "frame is forgotten", "frames are forgotten")
        lines.append(gone if self.ids else "warning: nothing was forgotten")
        if self.unknown:
            lines.append(
                f"{plural(len(self.unknown), 'id is', 'ids are')}"
                f" not in the store, or no longer: {some_of(self.unknown)}"
            )
        for name, ids in self.below.items():
            lines.append(f"{is_a_folder(name, ids)}; to forget them: --where {quote(f'{schema.FOLDER}={name}')}")
        if self.same:
            lines.append(
                f"warning: {plural(len(self.same), 'frame that stays is', 'frames that stay are')}"
                f" the same bytes under another id: "
                f"{some_of(self.same)}"
            )
        lines += map(str, self.changes)
        if self.caches:
            lines.append(
                f"warning: frames, and names of files, may still stand in what was remembered of pools that were read, "
                f"{' and '.join(map(str, self.caches))}: delete that too; it is made again when it is needed"
            )
        return "\n".join(lines)


def forget(
    ids: Collection[str],
    store: str | Path,
    selections: Sequence[str | Path] = (),
    *,
    where: Where | None = None,
    pool: Dataset | None = None,
    trust: bool = False,
) -> Forgotten:
    """Remove frames from an embedding store and from selections that were made from it, in their folders.

    ids: of frames of the pool; those that are not there change nothing. selections: made from the store, or beside it
    as their reference set. A run that was killed is finished first.
    where: besides, frames by values of columns of the pool, as `{"patient": "p01"}`; several values of a column may be
    listed, of two columns a frame must have both; "folder" is that of ids that are paths, with all below it. How many
    were found is logged before they go. pool: the data set that was embedded, for columns (None: the store names it).
    Remove the frames from the pool as well: otherwise the next `embed` brings them back. Raises Mismatch where a
    selection was made from other stores, InvalidArgument where a frame's bytes are needed and were not noted, and for
    names of files where the ids are these without a suffix; of columns and values what `frames_of_value` raises.
    """
    folder, folders = Path(store), [Path(selection) for selection in selections]
    if isinstance(ids, str):
        raise InvalidArgument(f"ids must be a list of ids, got the text {ids!r}")
    finished = finish_pending(folder) or ""
    before = EmbeddingStore.load(folder, trust=trust)
    old = [Selection.load(path, trust=trust) for path in folders]
    for path, selection in zip(folders, old, strict=True):
        if before.fingerprint not in (selection.origin.embeddings, selection.origin.reference):
            raise Mismatch(f"{path} was not made from {folder}: name the selections of this store alone")
    there = set(before.pool_ids)
    ids = as_there(ids, there)
    found = _found(before, where, pool, bool(finished))
    wanted = {id: None for id in (*ids, *(id for each in found.values() for id in each)) if id in there}
    unknown = tuple(id for id in dict.fromkeys(ids) if id not in there)
    below = folders_among(unknown, there - wanted.keys())
    if not wanted:
        return Forgotten((), unknown, (), (), finished, below=below, found=found)
    with Replacement.begin(folder, folders) as replacement:
        after = without(before, wanted, replacement.staged(folder))
        gone = {folder: set(before.records) - set(after.records)}
        changes = []
        for path, selection in zip(folders, old, strict=True):
            of_pool = wanted if selection.origin.embeddings == before.fingerprint else {}
            smaller = smaller_selection(selection, after, of_pool, pool) if of_pool else selection
            if selection.origin.reference == before.fingerprint:
                smaller = _beside_fewer(smaller, after, wanted)
            smaller.save(replacement.staged(path))
            _keep_marks(path, replacement.staged(path), wanted)
            gone[path] = set(selection_files(path)) - set(selection_files(replacement.staged(path)))
            changes.append(_change(path, selection, smaller, of_pool))
        same = _same(before, wanted)
        done = Forgotten(tuple(wanted), unknown, same, tuple(changes), finished, caches(), below, found)
        replacement.commit({path: sorted(names) for path, names in gone.items()}, str(done))
    return done


def _found(store: EmbeddingStore, where: Where | None, pool: Dataset | None, again: bool) -> dict[str, tuple[str, ...]]:
    """What `where` asked for -> its ids, which is told. again: an earlier run was finished, whose frames are gone, and
    may be gone from the pool."""
    if not where:
        return {}
    try:
        found = frames_of_value(store, where, pool)
    except (InvalidArgument, InvalidDataset):
        if not again:
            raise
        return {}
    log.info("%s", found)
    return {found.asked: found.ids}


def smaller_selection(
    old: Selection, store: EmbeddingStore, ids: Collection[str], pool: Dataset | None = None
) -> Selection:
    """A selection without some rows; of what a kept one stood for, the next best is kept, where there is a rule."""
    stays = ~np.isin(np.array(old.ids, object), list(ids))
    graph = None if old.graph is None else _graph(old.graph, stays)
    judged = ~pc.is_in(old.table[schema.REASON], pa.array(["in-reference", "set-aside", "unreadable"])).to_numpy()
    notes: tuple[str, ...] = ()
    if extends_to(old) and (judged & stays).any():
        try:
            return replace(extend(old, store, pool), graph=graph)
        except (InvalidDataset, Mismatch) as error:
            if not reads_columns(old):
                raise
            notes = (f"nothing was kept in the place of what went, nor floors and caps looked at: {error}",)
    table = old.table.filter(pa.array(stays))
    for name, cosine in (
        (schema.DUPLICATE_OF, schema.SIMILARITY),
        (schema.NEAREST_KEPT, schema.NEAREST_SIMILARITY),
    ):
        if name in table.column_names:
            lost = pc.is_in(table[name], pa.array(list(ids), pa.string()))
            for column in (name, cosine):
                at = table.schema.get_field_index(column)
                cleared = pc.if_else(lost, pa.scalar(None, table[column].type), table[column])
                table = table.set_column(at, column, cleared)
    if store.row_ids:
        raise InvalidArgument(
            f"a selection by {old.settings['selector']!r} of a pool whose ids are row numbers cannot be renumbered: "
            "select anew"
        )
    origin = replace(old.origin, fingerprint=store.pool_fingerprint, embeddings=store.fingerprint)
    settings = {**old.settings, EXTENDS: old.fingerprint}
    return replace(old, table=table, settings=settings, origin=origin, graph=graph, second=None, notes=notes)


def _beside_fewer(old: Selection, reference: EmbeddingStore, ids: Collection[str]) -> Selection:
    """A selection whose reference set has lost frames: what was in their reach stays away, and no longer names them."""
    lost = pc.is_in(old.table[schema.IN_REFERENCE], pa.array(list(ids), pa.string()))
    at = old.table.schema.get_field_index(schema.IN_REFERENCE)
    names = pc.if_else(lost, pa.scalar(None, pa.string()), old.table[schema.IN_REFERENCE])
    origin = replace(old.origin, reference=reference.fingerprint)
    return replace(old, table=old.table.set_column(at, schema.IN_REFERENCE, names), origin=origin, notes=())


def _keep_marks(folder: Path, staged: Path, gone: Collection[str]) -> None:
    """What a person marked on frames that stay; the marks on the others go with these."""
    path = folder / OVERRIDES
    if path.is_file() and len(marks := Overrides.read(path).without(gone)):
        marks.save(staged / OVERRIDES)


def selection_files(folder: Path) -> list[str]:
    return [
        path.name for path in folder.iterdir() if path.name != STAGE and path.suffix in (".parquet", ".png", ".html")
    ]


def _graph(graph: NearDuplicateGraph, stays: np.ndarray) -> NearDuplicateGraph | None:
    """The graph of the rows that stay, by their new numbers; None where none of its rows does."""
    number = np.cumsum(stays) - 1
    pairs = graph.pairs
    both = stays[pairs.first] & stays[pairs.second]
    left = Pairs(number[pairs.first[both]], number[pairs.second[both]], pairs.cosine[both], pairs.floor)
    groups = [number[group[stays[group]]] for group in graph.groups]
    groups = [group for group in groups if len(group)]
    return NearDuplicateGraph(left, groups) if groups else None


def _change(path: Path, old: Selection, now: Selection, ids: Collection[str]) -> Change:
    stood: dict[str, list[str]] = {id: [] for id in old.kept if id in ids}
    of = pc.is_in(old.table[schema.DUPLICATE_OF], pa.array(list(stood), pa.string()))
    for row in old.table.filter(of).select([schema.ID, schema.DUPLICATE_OF]).to_pylist():
        if row[schema.ID] not in ids:
            stood[row[schema.DUPLICATE_OF]].append(row[schema.ID])
    before = set(old.kept)
    promoted = tuple(id for id in now.kept if id not in before)
    stood_for = {id: tuple(others) for id, others in stood.items()}
    became = _became(now, {other for others in stood.values() for other in others})
    return Change(path, stood_for, promoted, len(now), len(now.kept), now.notes, became)


def _became(now: Selection, ids: Collection[str]) -> dict[str, str]:
    """What frames are in a selection that does not keep them, in words; those that it keeps are left out."""
    met = " and ".join(
        word
        for word, there in (
            ("the retention is met", now.settings.get("retention") is not None),
            ("a value is at its cap", bool(now.settings.get("max_per"))),
        )
        if there
    )
    words = {}
    table = now.table.filter(pc.is_in(now.table[schema.ID], pa.array(list(ids), pa.string())))
    for row in table.select([schema.ID, schema.REASON, schema.DUPLICATE_OF]).to_pylist():
        if row[schema.REASON] == "not-selected":
            words[row[schema.ID]] = "not selected" + (f", since {met} without" if met else "")
        elif row[schema.REASON] == "near-duplicate" and row[schema.DUPLICATE_OF] is not None:
            words[row[schema.ID]] = f"a near-duplicate of {printable(row[schema.DUPLICATE_OF])} too"
        elif row[schema.REASON] == "near-duplicate":
            words[row[schema.ID]] = "stays away, since this selection has no rule by which to go on"
        elif row[schema.REASON]:
            words[row[schema.ID]] = row[schema.REASON]
    return words


def caches() -> tuple[Path, ...]:
    """Where this machine remembers what it read of pools."""
    return tuple(path for path in (cached_pools(), Memory.usual().path) if path is not None and path.exists())


def _same(store: EmbeddingStore, ids: Collection[str]) -> tuple[str, ...]:
    """Rows that stay and hold the same bytes as one that goes."""
    if store.digests is None:
        return ()
    goes = np.array([id in ids for id in store.pool_ids], bool)
    alike = places(store.digests, store.digests.filter(pa.array(goes))) >= 0
    return tuple(store.pool_ids[row] for row in np.flatnonzero(alike & ~goes))

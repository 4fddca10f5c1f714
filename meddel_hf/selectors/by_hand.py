"""Frames that a person marked as always or never to be kept: the person has the last word, and it is recorded.

Marked frames are taken out before a selector sees them, so that every selector can do it and none knows of it: those
that are never kept go as "set-aside"; those that are always kept stay, near-duplicates of them go for them, and the
selector fills the places that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from meddel_hf.data.given_table import GivenTable
from meddel_hf.embedding.remainder import Remainder
from meddel_hf.embedding.space import Space
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidArgument, InvalidDataset, Mismatch
from meddel_hf.neighbors.float64 import Rows
from meddel_hf.runtime.files import whole_file
from meddel_hf.runtime.manifest import fingerprint
from meddel_hf.runtime.reading import printable, some_of
from meddel_hf.runtime.similar import meant_beside
from meddel_hf.runtime.tables import exactly, read_table
from meddel_hf.runtime.words import plural
from meddel_hf.selection.selection import Selection
from meddel_hf.selection.table import with_marks
from meddel_hf.selectors.protocol import Readable, opened
from meddel_hf.selectors.reference import reached

KEEP, NEVER = "keep", "never"


@dataclass(frozen=True)
class Overrides:
    """What a person decided. keep, never: ids of frames that are always, and never, kept."""

    keep: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in ("keep", "never"):
            ids = getattr(self, name)
            if isinstance(ids, str):
                raise InvalidArgument(f"{name} must be a list of ids, got the text {ids!r}")
            object.__setattr__(self, name, frozenset(map(str, ids)))
        if both := self.keep & self.never:
            raise InvalidArgument(f"{some_of(sorted(both))} is marked both as always and as never kept: choose one")

    def __len__(self) -> int:
        return len(self.keep) + len(self.never)

    @property
    def fingerprint(self) -> str:
        return fingerprint("overrides", *sorted(self.keep), "never", *sorted(self.never))

    @classmethod
    def read(cls, path: str | Path) -> Overrides:
        """From a table with the columns `id` and `mark`, "keep" or "never": Parquet, as the page of `meddel explore`
        writes it, or as `meddel pool --table` reads tables: CSV (comma, semicolon or tab) or JSON lines. Raises
        InvalidDataset for anything else, InvalidArgument for an id with both marks."""
        path = Path(path)
        if not path.exists():
            raise InvalidDataset(
                f"{path} does not exist: expected a table of marks, as the page of `meddel explore` writes it"
                f"{meant_beside(path)}"
            )
        rows = list(_of_given(path) if path.suffix.lower() in _OF_PEOPLE else _of_parquet(path))
        for number, (id, mark) in enumerate(rows, 1):
            if mark not in (KEEP, NEVER):
                raise InvalidDataset(
                    f"{path}: the mark of {printable(id)}, row {number}, is {mark!r}: write keep or never"
                )
        return cls(*(frozenset(id for id, each in rows if each == mark) for mark in (KEEP, NEVER)))

    def without(self, ids: Collection[str]) -> Overrides:
        """Those on other frames."""
        return Overrides(self.keep - set(ids), self.never - set(ids))

    def save(self, path: str | Path) -> Path:
        """Write the table as Parquet."""
        marks = [(id, KEEP) for id in sorted(self.keep)] + [(id, NEVER) for id in sorted(self.never)]
        table = pa.table({"id": [id for id, _ in marks], "mark": [mark for _, mark in marks]}, schema=_COLUMNS)
        with whole_file(Path(path)) as aside:
            pq.write_table(table, aside)
        return Path(path)


OVERRIDES = "overrides.parquet"  # as `meddel explore` calls it, in the selection's folder
_OF_PEOPLE = (".csv", ".tsv", ".jsonl")
_COLUMNS = pa.schema([("id", pa.string()), ("mark", pa.string())])


def _of_parquet(path: Path) -> Iterable[tuple[str, str]]:
    table = read_table(path, exactly(id=pa.string(), mark=pa.string()))
    return zip(table["id"].to_pylist(), table["mark"].to_pylist(), strict=True)


def _of_given(path: Path) -> Iterable[tuple[str, str]]:
    table = GivenTable.read(path, may_wait=True)
    column = {field: name for name, field in table.fields(_COLUMNS.names).items()}
    missing = [name for name in _COLUMNS.names if name not in column]
    if missing:
        raise InvalidDataset(f"{path} has no column {missing[0]!r}: needed are id and mark, and it has {table.has}")
    for record in table.records:
        yield record.get(column["id"]) or "", (record.get(column["mark"]) or "").strip().lower()


def decided_by_hand(
    selector: Any,
    select: Callable[[Any, Any], Selection],
    embeddings: Any,
    overrides: Overrides,
) -> Selection:
    """What a selector answers where some frames are decided.

    selector: a dataclass with a `retention`. select: (such a selector, what is left of the embeddings) -> its answer.
    Raises Mismatch where no marked frame is in the pool; InvalidArgument where more are always kept than the retention
    asks for.
    """
    embeddings = opened(embeddings)
    whole = _Pool.of(embeddings)
    keep, never = whole.places(overrides.keep), whole.places(overrides.never)
    missing = (overrides.keep | overrides.never) - set(whole.ids)
    if len(missing) == len(overrides) and missing:
        raise Mismatch(
            f"none of the {plural(len(missing), 'marked frame')}"
            f" ({some_of(sorted(missing))}) is in the pool: name the marks "
            "of this pool"
        )
    notes = (
        [f"{plural(len(missing), 'marked frame is', 'marked frames are')} not in the pool: {some_of(sorted(missing))}"]
        if missing
        else []
    )
    blind = sorted(id for id in overrides.keep if id not in missing and whole.row[id] not in whole.readable)
    if blind:
        goes = "cannot be read, and goes" if len(blind) == 1 else "cannot be read, and go"
        notes.append(f"{plural(len(blind), 'frame that is', 'frames that are')} always kept {goes}: {some_of(blind)}")
    rest = np.setdiff1d(np.arange(len(whole.rows)), np.concatenate([keep, never]))
    near, of, cosine = _near(selector, embeddings, rest, keep)
    left = np.setdiff1d(rest, near)
    if not len(left):
        raise InvalidArgument(
            "every readable frame is decided by hand, or alike to one that is: nothing is left to select"
        )
    answer = select(_for_the_rest(selector, len(whole.ids), len(keep)), _part(embeddings, left))
    table = with_marks(answer.table, whole.rows[keep], whole.rows[never], whole.rows[near], whole.rows[of], cosine)
    settings = {**answer.settings, "overrides": overrides.fingerprint}
    if "retention" in settings:
        settings["retention"] = selector.retention
    of_kept = "of those that are kept"
    notes.insert(
        0,
        f"by hand: {plural(len(keep), 'frame is', 'frames are')} kept and {len(never):,} set aside; "
        + plural(len(near), f"near-duplicate {of_kept} goes", f"near-duplicates {of_kept} go")
        + " for them",
    )
    return replace(answer, table=table, settings=settings, graph=None, second=None, notes=(*notes, *answer.notes))


def _for_the_rest(selector: Any, pool: int, kept: int) -> Any:
    """The selector, with the share that is left for it."""
    if selector.retention is None or not kept:
        return selector
    target = round(selector.retention * pool)
    if target <= kept:
        raise InvalidArgument(
            f"{plural(kept, 'frame is', 'frames are')}"
            f" always kept, and retention {selector.retention} of {pool:,} asks for {target:,}: ask "
            f"for more than {kept / pool:.4g}, or mark fewer"
        )
    return replace(selector, retention=(target - kept) / pool)


def _near(selector: Any, embeddings: Any, rest: Rows, keep: Rows) -> tuple[Rows, Rows, NDArray[np.float32]]:
    """Of the rest, near-duplicates of a row that is always kept; of which one each; and their cosines."""
    bound: tuple[float, Space] | None = getattr(selector, "near_duplicates", lambda _: None)(embeddings)
    if bound is None or not len(keep) or not len(rest):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    eta, space = bound
    near = reached(_part(embeddings, rest), _part(embeddings, keep), space, eta, None)
    return rest[near.places], keep[near.nearest], near.cosine


def _part(embeddings: Any, places: Rows) -> Any:
    if isinstance(embeddings, EmbeddingStore):
        return Remainder.of(embeddings, places)
    return Readable.of(embeddings).among(places)


@dataclass(frozen=True, eq=False)
class _Pool:
    """ids of every row, the row of each id, the readable rows, and the same as a set."""

    ids: list[str]
    row: dict[str, int]
    rows: Rows
    readable: frozenset[int]

    @classmethod
    def of(cls, embeddings: Any) -> _Pool:
        store = isinstance(embeddings, EmbeddingStore)
        ids = embeddings.pool_ids if store else list(Readable.of(embeddings).ids)
        rows = embeddings.rows if store else Readable.of(embeddings).rows
        return cls(ids, {id: row for row, id in enumerate(ids)}, rows, frozenset(rows.tolist()))

    def places(self, ids: Iterable[str]) -> Rows:
        """Of those that are readable, their places among these, ascending."""
        rows = sorted(self.row[id] for id in ids if id in self.row and self.row[id] in self.readable)
        return np.searchsorted(self.rows, np.array(rows, np.int64))

"""What a selector answers: which rows of a pool stay, which go, why, and for whom; saved, and read again."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from meddel_hf import schema
from meddel_hf.data.identity import same_pool
from meddel_hf.data.ids import id_array, ids_of
from meddel_hf.data.paths import ids_by_path
from meddel_hf.dedup.density import CosineSample
from meddel_hf.dedup.graph import DENSITY, NearDuplicateGraph, SecondStep, StoredGraph
from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.neighbors.float64 import rounded
from meddel_hf.runtime.checks import within
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest, fingerprint, step_folder
from meddel_hf.runtime.reading import intact, printable
from meddel_hf.runtime.words import plural
from meddel_hf.selection.naming import row_named
from meddel_hf.selection.notebook import PAIRS, of_folder, table
from meddel_hf.selection.published import at_hand
from meddel_hf.selection.table import ROWS, decided, drawn, read_rows

if TYPE_CHECKING:
    from datasets import Dataset

WARNING = "warning: "  # how a note begins that questions the answer
_OF_DRAWING = {"then", "by", "per", "shares", "min_per"}  # settings of `Dedup`'s second step


@dataclass(frozen=True)
class Origin:
    """What a selection was made from.

    fingerprint: that of the data set, or of the array, whose rows were compared.
    row_ids:     ids are row numbers, since the data set had no id column: only that very data set can be filtered.
    embeddings:  fingerprint of the embedding store, or None for a plain array.
    spec:        what was typed as POOL on the command line, or None.
    encoder:     name of the encoder, or None; then its fingerprint.
    id_column:   column of the data set that holds the ids, where they are no row numbers.
    image_column: its column of frames.
    reference:   fingerprint of the reference set whose look-alikes went first, or None; then where it was.
    """

    fingerprint: str
    row_ids: bool
    embeddings: str | None = None
    spec: str | None = None
    encoder: str | None = None
    encoder_fingerprint: str | None = None
    id_column: str = schema.ID
    image_column: str = schema.IMAGE
    reference: str | None = None
    reference_spec: str | None = None

    def ids_in(self, pool: Dataset, known: Collection[str] = ()) -> list[str] | None:
        """The id of every row of a data set, by which it is joined: of its column of ids, or, without one, of the paths
        of its files. None where it has neither, and where ids are row numbers and the data set is not the one whose
        rows were embedded.

        known: ids of the pool, by which the folder of the files is found; without them paths are not looked at.
        """
        if self.row_ids:
            if self.embeddings is not None and not same_pool(pool, self.fingerprint):
                return None
            return [str(row) for row in range(len(pool))]
        if self.id_column in pool.column_names:
            return ids_of(pool, self.id_column)
        return ids_by_path(pool, self.image_column, set(known)) if known else None

    def id_array_in(self, pool: Dataset, known: pa.ChunkedArray) -> pa.ChunkedArray | None:
        """As `ids_in`, string; a tenth of the memory where the pool has a column of ids."""
        if not self.row_ids and self.id_column in pool.column_names:
            return id_array(pool, self.id_column)
        ids = self.ids_in(pool, known.to_pylist())
        return None if ids is None else pa.chunked_array([ids], pa.string())


@dataclass(frozen=True)
class Summary:
    """Counts of rows; `retention` is kept / pool; `coverage` the share of near-duplicates with a kept row above eta.

    looks_for_outliers: whether the selector has a step that drops outliers, so that none is a figure too.
    """

    pool: int
    unreadable: int
    outliers: int
    near_duplicates: int
    not_selected: int
    kept: int
    retention: float
    eta: float | None
    coverage: float | None
    looks_for_outliers: bool = True
    in_reference: int = 0
    set_aside: int = 0

    def __str__(self) -> str:
        return "\n".join(f"{name:<16}{value:>12}" for name, value in self.lines)

    def _repr_html_(self) -> str:
        return table(("", ""), self.lines)

    @property
    def lines(self) -> list[tuple[str, str]]:
        """What there is to tell, in words: (name, value)."""
        lines = [("pool", f"{self.pool:,}")]
        lines += [
            (name, f"-{count:,}" if count else "0")
            for name, count in (
                ("unreadable", self.unreadable),
                ("in reference", self.in_reference),
                ("set aside", self.set_aside),
                ("outliers", self.outliers),
                ("near-duplicates", self.near_duplicates),
                ("not selected", self.not_selected),
            )
            if count
            or not (
                name in ("not selected", "in reference", "set aside")
                or (name == "outliers" and not self.looks_for_outliers)
            )
        ]
        lines.append(("kept", f"{self.kept:,}"))
        lines.append(("retention", f"{self.retention:.2%}"))
        if self.eta is not None:
            lines.append(("eta", f"{self.eta:.4f}"))
        if self.coverage is not None:
            lines.append(("coverage", f"{self.coverage:.2%}"))
        return lines


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer of a selector; `Selection` is one that filters data sets and is published.

    table:    one row for every row of the pool, in the pool's order: `id` (string), `kept` (bool), `reason` (null when
              kept, else "unreadable", "set-aside", "in-reference", "outlier", "near-duplicate" or "not-selected"),
              `duplicate_of`
              (id of the kept row with the greatest cosine to a near-duplicate), `similarity` (float32, that cosine),
              `cluster` (int64), `distance` (float32, Euclidean to the centroid, in [0, 2]). Of a selector of two steps,
              `Dedup`, `duplicate_of` is the greatest among the rows that its first step left, which may not have been
              drawn; two further columns are about every readable row that goes: `nearest_kept` (id of the kept row of
              greatest cosine to it) and `nearest_similarity` (float32, that cosine). Beside a reference set, two are
              about rows in its reach: `in_reference` (id of the nearest row there) and `reference_similarity`. Where
              a person decided on frames, `by_hand` is "keep" or "never".
    settings: the selector and its arguments; None where one was not used.
    eta:      threshold that was used or, for a retention, found; None where the selector has none.
    graph:    the stored near-duplicate graph, or None where none was stored; `at` reads it.
    density:  sampled curves of near-duplicates over eta, or None where the selector compared nothing.
    notes:    sentences that the reader of the result should see; of what questions it, with "warning: " before them.
    asked:    digest of what `meddel select` was asked: by it one of several processes knows that its work is done.
    second:   what the second step of `Dedup` draws from, or None where that is not by pairs, or none were stored.
    """

    table: pa.Table
    settings: dict[str, Any]
    origin: Origin
    eta: float | None = None
    graph: NearDuplicateGraph | None = None
    density: CosineSample | None = None
    notes: tuple[str, ...] = field(default=())
    asked: str | None = None
    second: SecondStep | None = None

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        s = self.summary
        return f"Selection(kept={s.kept:,} of {s.pool:,}, retention={s.retention:.4f}, eta={s.eta})"

    def _repr_html_(self) -> str:
        """In a notebook: the summary, and some frames where they stand in a folder of images on this machine."""
        shown: str = self.summary._repr_html_()
        if not self.origin.row_ids and self.origin.spec and Path(self.origin.spec).is_dir():
            shown += of_folder(Path(self.origin.spec), self.kept, self._doubtful())
        return shown

    def _doubtful(self) -> list[tuple[str, str, float]]:
        """The near-duplicates least like the frame that stands for them: (its id, their id, cosine)."""
        if schema.DUPLICATE_OF not in self.table.column_names:
            return []
        known = self.table.filter(pc.is_valid(self.table[schema.DUPLICATE_OF])).sort_by(schema.SIMILARITY)
        columns = known.slice(0, PAIRS).select([schema.DUPLICATE_OF, schema.ID, schema.SIMILARITY])
        return [tuple(row.values()) for row in columns.to_pylist()]

    @cached_property
    def ids(self) -> list[str]:
        """Of every row of the pool, in its order."""
        answer: list[str] = self.id_array.to_pylist()
        return answer

    @property
    def id_array(self) -> pa.ChunkedArray:
        """As `ids`, string; a tenth of their memory."""
        return self.table[schema.ID]

    @property
    def kept_array(self) -> pa.ChunkedArray:
        """As `kept`, string."""
        return self.id_array.filter(self.table[schema.KEPT])

    @cached_property
    def kept(self) -> list[str]:
        """Ids that stay, in the pool's order."""
        answer: list[str] = self.kept_array.to_pylist()
        return answer

    @property
    def retention(self) -> float:
        """Kept rows / pool rows, a fraction in (0, 1]."""
        return self.summary.retention

    @cached_property
    def fingerprint(self) -> str:
        kept = np.packbits(self.table[schema.KEPT].to_numpy()).tobytes()
        settings = json.loads(json.dumps(self.settings, sort_keys=True))  # as they will be read, at every depth
        return fingerprint(self.origin.fingerprint, str(len(self)), kept, repr(sorted(settings.items())))

    @cached_property
    def summary(self) -> Summary:
        """Counts of rows by what became of them, and what they add up to."""
        counts = {r["values"]: r["counts"] for r in self.table[schema.REASON].value_counts().to_pylist()}
        kept = pc.sum(self.table[schema.KEPT]).as_py()
        return Summary(
            pool=len(self),
            unreadable=counts.get("unreadable", 0),
            outliers=counts.get("outlier", 0),
            near_duplicates=counts.get("near-duplicate", 0),
            not_selected=counts.get("not-selected", 0),
            kept=kept,
            retention=kept / len(self),
            eta=self.eta,
            coverage=self._coverage(),
            looks_for_outliers=self.settings.get("epsilon") is not None,
            in_reference=counts.get("in-reference", 0),
            set_aside=counts.get("set-aside", 0),
        )

    def _coverage(self) -> float | None:
        gone = self.table.filter(pc.equal(self.table[schema.REASON], "near-duplicate"))
        if self.eta is None or not len(gone) or schema.SIMILARITY not in gone.column_names:
            return None
        if pc.any(pc.equal(self.table[schema.REASON], "not-selected")).as_py():
            return None  # what stands for a near-duplicate may be among those
        return float(pc.mean(pc.greater(gone[schema.SIMILARITY], float(rounded(self.eta)))).as_py())

    def row(self, which: str | int | Path) -> dict[str, Any]:
        """The table's row of a frame, by column. which: its id, its row number, the path of its file, or the end of its
        id, such as a file's name. Raises InvalidArgument where no frame is meant, or several."""
        answer: dict[str, Any] = self.table.slice(row_named(self.ids, which), 1).to_pylist()[0]
        return answer

    def why(self, which: str | int | Path) -> str:
        """One sentence on what became of a frame, which is named as in `row`."""
        row = self.row(which)
        id, name = row[schema.ID], printable(row[schema.ID])
        if schema.DUPLICATE_OF not in row:  # of a selection that `meddel benchmark pack` made smaller
            return f"{name} is " + (
                "kept" if row[schema.KEPT] else f"dropped: {row[schema.REASON]}; no more is recorded"
            )
        if row[schema.KEPT]:
            for_whom = pc.sum(pc.equal(self.table[schema.DUPLICATE_OF], id)).as_py() or 0
            by_hand = ", by hand" if row.get(schema.BY_HAND) else ""
            others = f"; it stands for {plural(for_whom, 'near-duplicate')}" if for_whom else ""
            return f"{name} is kept{by_hand}{others}"
        match row[schema.REASON]:
            case "near-duplicate":
                other, cosine, nearest = row[schema.DUPLICATE_OF], row[schema.SIMILARITY], row.get(schema.NEAREST_KEPT)
                if other is None:
                    return f"{name} is dropped: near-duplicate of a frame that was forgotten"
                what = f"{name} is dropped: near-duplicate of {printable(other)} (cosine {cosine:.4f}), which is"
                if pc.any(self._kept_of(other)).as_py():
                    return f"{what} kept"
                nearest_one = "" if nearest is None else f"; the nearest kept frame is {_named(row)}"
                return f"{what} not selected either{nearest_one}"
            case "in-reference":
                other, cosine = row[schema.IN_REFERENCE], row[schema.REFERENCE_SIMILARITY]
                what = "a frame that was forgotten" if other is None else printable(other)
                return f"{name} is dropped: within reach of {what} of the reference (cosine {cosine:.4f})"
            case "set-aside":
                return f"{name} is dropped: set aside by hand"
            case "outlier":
                far, cluster = row[schema.DISTANCE], row[schema.CLUSTER]
                return f"{name} is dropped: outlier, {far:.4f} from the centroid of cluster {cluster}"
            case "not-selected":
                selector, known = self.settings["selector"], row.get(schema.NEAREST_KEPT) is not None
                why = "it is no near-duplicate" if selector == "dedup" else f"selector {selector} did not choose it"
                return f"{name} is not selected: {why}" + (
                    f"; the nearest kept frame is {_named(row)}" if known else ""
                )
            case reason:
                return f"{name} is dropped: {reason}; why stands in unreadable.parquet of its embeddings"

    def _kept_of(self, id: str) -> pa.ChunkedArray:
        kept: pa.ChunkedArray = self.table.filter(pc.equal(self.table[schema.ID], id))[schema.KEPT]
        return kept

    def at(self, *, eta: float | None = None, retention: float | None = None) -> Self:
        """Another threshold or retention, looked up in the stored graph: no embeddings are read.

        Same keep order, clusters and outliers. By an eta near-duplicates go and nothing else, whatever was drawn or
        capped among the rest. A retention of `Dedup` is met as it was by the selection, by Algorithm 1
        among the rows that its first step left; nearest kept rows are then not told, which the embeddings know.
        Raises InvalidArgument where no graph was stored, where eta is below the lowest cosine that it holds, and for a
        retention of `Dedup` that draws by another rule or in shares, or that leaves nothing to draw.
        """
        eta = eta.item() if isinstance(eta, np.generic) else eta
        if (eta is None) == (retention is None):
            raise InvalidArgument(f"give at() exactly one of eta and retention, got eta={eta}, retention={retention}")
        if eta is not None:
            within("eta", eta, -1, 1)
        if retention is not None and self.settings["selector"] == "dedup":
            return self._drawn_at(retention)
        if self.graph is None or self.density is None:
            raise InvalidArgument("this selection stored no graph of near-duplicates: select again from the embeddings")
        decision = self.graph.decide(eta=eta, retention=retention, pool=len(self), density=self.density)
        settings = {**self.settings, **dict.fromkeys((_OF_DRAWING | {"max_per"}) & self.settings.keys())}
        settings |= {"eta": eta, "retention": retention}
        table = decided(self.table, decision)
        return type(self)(table, settings, self.origin, decision.eta, self.graph, self.density)

    def _drawn_at(self, retention: float) -> Self:
        """Another retention of `Dedup`, drawn among the same rows."""
        if self.second is None:
            raise InvalidArgument(
                "what this selection of Dedup draws needs the embeddings, and `at` reads none: select again from them, "
                f"Dedup({retention}).select(store) or meddel select --retention {retention}"
            )
        decision = self.second.decide(retention, len(self))
        table = drawn(self.table, decision.kept)
        settings = {**self.settings, "retention": retention}
        if not pc.any(pc.equal(table[schema.REASON], "not-selected")).as_py():  # nothing was to be drawn
            settings |= dict.fromkeys(_OF_DRAWING & self.settings.keys())
        return type(self)(table, settings, self.origin, self.eta, self.graph, self.density, second=self.second)

    def save(self, folder: str | Path, *, pictures: Callable[[Path], None] | None = None) -> Path:
        """Write the selection to a folder, whole or not at all; an older selection there is replaced.

        pictures: draws what belongs to the selection into the folder that it is given, before that counts as there.
        Raises InvalidArgument or Mismatch where the folder holds something else.
        """
        with step_folder(folder, "selection") as aside:
            pq.write_table(self.table, aside / ROWS)
            if self.graph is not None:
                self.graph.save(aside)
            if self.density is not None:
                self.density.save(aside / DENSITY)
            if self.second is not None:
                self.second.save(aside)
            if pictures is not None:
                pictures(aside)
            self.manifest.write(aside, [path.name for path in aside.iterdir()])
        return Path(folder)

    @property
    def manifest(self) -> Manifest:
        parents = {"pool": self.origin.fingerprint}
        if self.origin.embeddings is not None:
            parents["embeddings"] = self.origin.embeddings
        if self.origin.reference is not None:
            parents["reference"] = self.origin.reference
        details = {"summary": asdict(self.summary), "origin": asdict(self.origin), "notes": list(self.notes)}
        details |= {} if self.asked is None else {"asked": self.asked}
        return Manifest("selection", self.fingerprint, {**self.settings, "found_eta": self.eta}, parents, details)

    @classmethod
    def load(
        cls, folder: str | Path, *, trust: bool = False, revision: str | None = None, token: str | None = None
    ) -> Self:
        """Open a folder; what is read is compared with its checksum first, the graph when `at` asks for it.

        folder:          or USER/NAME of a selection on the Hub, where no folder has that name; then revision and token
                         are for the Hub.
        trust:           compare sizes alone.

        Raises IncompleteStore where the folder is not a finished selection, or damaged; Mismatch where it is another
        step's, or where its rows are not those that its manifest is about; HubFailed where the Hub says no.
        """
        folder = at_hand(folder, revision, token)
        manifest = Manifest.read(folder, "selection")
        manifest.check(folder, [name for name in manifest.files if name.endswith(".parquet")], trust=True)

        def sound(name: str) -> Path:
            manifest.check(folder, [name], trust=trust)
            return folder / name

        settings = dict(manifest.arguments)
        with intact(folder / MANIFEST):
            eta = settings.pop("found_eta")
            origin, notes = Origin(**manifest.details["origin"]), tuple(manifest.details["notes"])
        selection = cls(
            read_rows(sound(ROWS)),
            settings,
            origin,
            eta,
            StoredGraph(sound) if StoredGraph.is_in(folder) else None,
            CosineSample.load(sound(DENSITY)) if (folder / DENSITY).is_file() else None,
            notes,
            manifest.details.get("asked"),
            SecondStep.load(folder, sound),
        )
        if selection.fingerprint != manifest.fingerprint:
            raise Mismatch(
                f"{folder / ROWS} holds {len(selection):,} rows of another selection than {folder / MANIFEST} "
                f"is about: copy the folder again, or delete {folder} and select again"
            )
        return selection


def _named(row: dict[str, Any]) -> str:
    return f"{printable(row[schema.NEAREST_KEPT])} (cosine {row[schema.NEAREST_SIMILARITY]:.4f})"

"""The embedding store: a folder of shards by row range, each written whole or not at all, read memory-mapped.

    shard-00000.safetensors   embeddings (m, d) float32, unit length, or float16 on request; rows (m,) int64,
                              ascending: the readable rows;
                              mean, as embeddings, where both poolings were asked for; thumbnails (m, 32, 32) uint8;
                              sizes (m, 2) int64, pixels and stored bytes of each frame
    shard-00000.parquet       row, id, reason (null where readable), digest of every row in the shard's range: XXH3-128
                              of the bytes that its frame is stored as, by which a grown pool's frames are known again
    unreadable.parquet        row, id, reason of every frame without an embedding
    remarks.parquet           row, id, remark of frames of which their owner should know something, if any; the shards'
                              tables have the column too
    view.png                  with view="auto": frames beside what the encoder saw of them
    copies.safetensors        mild copies of some frames (embedding/copies.py), added to a finished store by which
                              near-duplicates are calibrated; the manifest's details have the thresholds
    manifest.json             written last; until then begun.json says what the shards are being made from, and a
                              shard-00000.json beside each shard what it was made from and the checksums of its files

Shard k covers the rows k · shard_rows and on, so its bytes do not depend on who writes it, or when.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from meddel_hf.data.identity import is_by_names_and_sizes
from meddel_hf.embedding.copies import Copies
from meddel_hf.embedding.shards import ShardFiles, mapped, tensor_names
from meddel_hf.embedding.space import Pooling
from meddel_hf.embedding.stored_rows import StoredRows
from meddel_hf.embedding.thumbnails import SIDE
from meddel_hf.errors import IncompleteStore, InvalidArgument, InvalidDataset, Occupied
from meddel_hf.neighbors.row_source import RowSource
from meddel_hf.runtime import checks
from meddel_hf.runtime.files import sweep, whole_file
from meddel_hf.runtime.manifest import Manifest, check_target, fingerprint, installed_versions
from meddel_hf.runtime.reading import CURE, intact
from meddel_hf.runtime.records import Records, check_files, recorded_files
from meddel_hf.runtime.resume import ANOTHER_FOLDER, BEGUN, begin, begun, check_same, state
from meddel_hf.runtime.tables import exactly, read_schema, read_table

UNREADABLE, COPIES, VIEW = "unreadable.parquet", "copies.safetensors", "view.png"
REMARKS = "remarks.parquet"

StoreDtype = Literal["float32", "float16"]
_DTYPES = {"float32": "<f4", "float16": "<f2"}
_TABLE = pa.schema([("row", pa.int64()), ("id", pa.string()), ("reason", pa.string())])
_DIGEST = pa.field("digest", pa.binary(16))
_REMARK = pa.field("remark", pa.string())  # of the shards that have one
_REMARKED = exactly(row=pa.int64(), id=pa.string(), remark=pa.string())
_CONTENT = b"content"
_NAMES = ("encoder", "pool", "revision")  # how inputs were called; their fingerprints say whether they are the same
_EARLIER = {"view": "whole", "store_dtype": "float32"}  # what versions did that did not record it
_INPUTS = {"pool": "data set", "encoder": "encoder"}


@dataclass(frozen=True, eq=False, repr=False)
class EmbeddingStore:
    """A finished folder of embeddings, read-only. `n` below is the number of rows with an embedding.

    fingerprint:      of the store, named by what is made from it.
    pool_fingerprint: of the data set that was embedded.
    pool_spec:        what was typed as POOL on the command line, or None.
    row_ids:          True where the data set had no id column, so that ids are row numbers.
    """

    folder: Path
    manifest: Manifest
    trust: bool = False
    _checked: set[str] = field(default_factory=set, init=False)

    @classmethod
    def load(cls, path: str | Path, *, trust: bool = False) -> EmbeddingStore:
        """Open a folder: every file is there and has its recorded size; what is read is compared with its checksum.

        trust: do without the checksums, where something else (a file system, a copy that was verified) answers for
        the files. Raises IncompleteStore where the folder is not finished or damaged, Mismatch where it is another
        step's; so does every property that reads a file.
        """
        folder = Path(path)
        if state(folder) == "begun":
            raise IncompleteStore(f"{folder} was begun but not finished: run the same `meddel embed` again to resume")
        store = cls(folder, Manifest.read(folder, "embeddings"), trust)
        check_files(folder, store.records, store._cure, trust=True)
        return store

    @property
    def records(self) -> Records:
        """Size and checksum of every file, by its name; stores of before the common record have their own."""
        return self.manifest.files or self.manifest.details.get("files", {})

    def verify(self) -> None:
        """Read every file and compare its checksum, at once. Raises IncompleteStore that names a damaged one."""
        check_files(self.folder, self.records, self._cure)

    @property
    def _cure(self) -> str:
        return f"copy it again, or delete {self.folder} and embed again"

    def _sound(self, name: str) -> Path:
        """Path of a file whose checksum is as recorded; looked at once, just before the file is read."""
        if not self.trust and name not in self._checked:
            check_files(self.folder, {name: self.records[name]} if name in self.records else {}, self._cure)
            self._checked.add(name)
        return self.folder / name

    def __len__(self) -> int:
        return int(self.manifest.details["readable"])

    def __repr__(self) -> str:
        arguments = self.manifest.arguments
        return (
            f"EmbeddingStore({str(self.folder)!r}: {len(self):,} of {self.manifest.details['rows']:,} rows, "
            f"{self.dim} numbers each, {arguments['pooling']} of {arguments['encoder']} in {arguments['precision']})"
        )

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @property
    def dim(self) -> int:
        return int(self.manifest.details["dim"])

    @property
    def poolings(self) -> tuple[Pooling, ...]:
        """What `pooled` has; the first is that of `embeddings`."""
        pooling = self.manifest.arguments.get("pooling", "cls")
        return ("cls", "mean") if pooling == "both" else (pooling,)

    @property
    def view(self) -> str:
        """What the encoder saw of frames, "whole" or "auto"."""
        return str(self.manifest.arguments.get("view", _EARLIER["view"]))

    @property
    def dtype(self) -> np.dtype:
        """Of the numbers in the files, float32 or float16; whoever reads them gets float32."""
        return np.dtype(_DTYPES[self.manifest.arguments.get("store_dtype", _EARLIER["store_dtype"])])

    @property
    def row_ids(self) -> bool:
        return bool(self.manifest.details["row_ids"])

    @property
    def pool_fingerprint(self) -> str:
        return self.manifest.parents["pool"]

    @property
    def pool_spec(self) -> str | None:
        answer: str | None = self.manifest.arguments["pool"]
        return answer

    @cached_property
    def embeddings(self) -> np.ndarray:
        """(n, d) float32, unit length, in pool order; mapped from the file where there is one shard of float32, else in
        memory. `blocks` and `reader` read a part at a time."""
        return self._joined("embeddings", np.empty((len(self), self.dim), np.float32))

    @cached_property
    def _mean(self) -> np.ndarray:
        return self._joined("mean", np.empty((len(self), self.dim), np.float32))

    @cached_property
    def thumbnails(self) -> np.ndarray | None:
        """(n, 32, 32) uint8, in pool order; None of a store that was made without them."""
        if not self.has_thumbnails:
            return None
        return self._joined("thumbnails", np.empty((len(self), SIDE, SIDE), np.uint8))

    @property
    def has_thumbnails(self) -> bool:
        return self.manifest.arguments.get("thumbnails") == SIDE

    def thumbnails_of(self, rows: np.ndarray) -> np.ndarray:
        """(len(rows), 32, 32) uint8 of these rows, in any order, read from their shards alone."""
        answer = np.empty((len(rows), SIDE, SIDE), np.uint8)
        number = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(number):
            here = number == shard
            answer[here] = self._whole_shard(int(shard), "thumbnails")[rows[here] - self._starts[shard]]
        return answer

    @cached_property
    def sizes(self) -> np.ndarray | None:
        """(n, 2) int64, in pool order: pixels of each frame, and bytes of the file that it is stored as (0 of one that
        was decoded elsewhere). None of a store of an earlier version, which noted none."""
        if "sizes" not in self.tensors:
            return None
        return self._joined("sizes", np.empty((len(self), 2), np.int64))

    def pooled(self, pooling: Pooling) -> np.ndarray:
        """As `embeddings`, of another pooling. Raises InvalidArgument where the store does not hold it."""
        return self.embeddings if self._tensor(pooling) == "embeddings" else self._mean

    def reader(self, pooling: Pooling | None = None) -> RowSource:
        """Reads rows of a pooling, that of `embeddings` by default, from the shards. Raises as `pooled` does."""
        tensor = self._tensor(pooling or self.poolings[0])
        return StoredRows(self._starts, self.dim, self.dtype, partial(self._whole_shard, tensor=tensor))

    def blocks(self, rows_per_block: int, pooling: Pooling | None = None) -> Iterator[np.ndarray]:
        """The embeddings, (m, d) float32 in memory, one block of rows after another; the last may be shorter."""
        checks.count("rows_per_block", rows_per_block, 1)
        reader = self.reader(pooling)
        for start in range(0, len(self), rows_per_block):
            yield reader.read(start, min(start + rows_per_block, len(self)))

    def _tensor(self, pooling: Pooling) -> str:
        if pooling not in self.poolings:
            raise InvalidArgument(
                f"{self.folder} holds embeddings of pooling {' and '.join(self.poolings)}, not {pooling}: embed with "
                f"--pooling {pooling} into another folder"
            )
        return "embeddings" if pooling == self.poolings[0] else "mean"

    @cached_property
    def copies(self) -> Copies | None:
        """Mild copies of some frames, or None where none were embedded."""
        return Copies.load(self._sound(COPIES)) if COPIES in self.records else None

    def with_copies(self, copies: Copies, calibration: dict[str, Any]) -> EmbeddingStore:
        """Add mild copies and what they say of near-duplicates. The fingerprint stays: the pool is as it was."""
        copies.save(self.folder / COPIES)
        files = {**self.records, **recorded_files(self.folder, [COPIES])}
        details = {**self.manifest.details, "calibration": calibration}
        return EmbeddingStore(self.folder, replace(self.manifest, details=details, files=files).write(self.folder))

    @cached_property
    def rows(self) -> np.ndarray:
        """(n,) int64: the pool's row number of each embedding, ascending."""
        rows = self._joined("rows", np.empty(len(self), np.int64))
        if len(rows) and not (rows[0] >= 0 and rows[-1] < self.manifest.details["rows"] and (np.diff(rows) > 0).all()):
            raise IncompleteStore(f"{self.folder} is damaged (its row numbers do not ascend): {CURE}")
        return rows

    @cached_property
    def pool_ids(self) -> list[str]:
        """The id of every pool row, in pool order, unreadable ones included."""
        answer: list[str] = self.pool_id_column.to_pylist()
        return answer

    @cached_property
    def digests(self) -> pa.FixedSizeBinaryArray | None:
        """Digest of the bytes of every pool row's frame, in pool order, 16 bytes, or null where they could not be read.

        None of a store of an earlier version, which noted none.
        """
        tables = [self._sound(f"{name}.parquet") for name in self._shards]
        if not all(_DIGEST.name in read_schema(table)[0].names for table in tables):
            return None
        column = pa.concat_tables([read_table(table, pa.schema([_DIGEST])) for table in tables])[_DIGEST.name]
        return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)

    @cached_property
    def pool_id_column(self) -> pa.ChunkedArray:
        """As `pool_ids`, string; a tenth of their memory."""
        tables = [read_table(self._sound(f"{name}.parquet"), exactly(id=pa.string())) for name in self._shards]
        return pa.concat_tables(tables)["id"]

    @cached_property
    def unreadable(self) -> pa.Table:
        """row int64, id string, reason string of every pool row without an embedding."""
        return read_table(self._sound(UNREADABLE), _TABLE)

    @cached_property
    def remarks(self) -> pa.Table:
        """row int64, id string, remark string of every pool row of which its owner should know something."""
        if REMARKS not in self.records:
            return _REMARKED.empty_table()
        return read_table(self._sound(REMARKS), _REMARKED)

    @cached_property
    def tensors(self) -> list[str]:
        """Names of what every shard holds of its readable rows, besides their numbers, ascending."""
        there = [tensor_names(self.folder / f"{shard}.safetensors") for shard in self._shards]
        return sorted(set(there[0]).intersection(*there[1:]) - {"rows"})

    @cached_property
    def _shards(self) -> list[str]:
        return [Path(name).stem for name in sorted(self.records) if name.endswith(".safetensors") and name != COPIES]

    @cached_property
    def _starts(self) -> np.ndarray:
        """Number of the first embedding of each shard, and of all, (shards + 1,) int64."""
        sizes = [len(self._mapped(name, "rows", sound=False)) for name in self._shards]
        starts = np.cumsum([0, *sizes])
        self._check_number(int(starts[-1]), len(self))
        return starts

    def _joined(self, tensor: str, whole: np.ndarray) -> np.ndarray:
        """One tensor of all shards: the mapped file itself where there is one, else read into `whole`."""
        if len(self._shards) == 1:
            only = self._mapped(self._shards[0], tensor)
            if only.dtype == whole.dtype:
                return only
        at = 0
        for name in self._shards:
            part = self._mapped(name, tensor)
            if at + len(part) <= len(whole):
                whole[at : at + len(part)] = part
            at += len(part)
        self._check_number(at, len(whole))
        whole.flags.writeable = False
        return whole

    def _whole_shard(self, number: int, tensor: str) -> np.ndarray:
        part = self._mapped(self._shards[number], tensor)
        self._check_number(len(part), int(self._starts[number + 1] - self._starts[number]))
        return part

    def _check_number(self, there: int, expected: int) -> None:
        if there != expected:
            raise IncompleteStore(f"{self.folder} holds {there:,} embeddings, expected {expected:,}: {CURE}")

    def _mapped(self, shard: str, tensor: str, *, sound: bool = True) -> np.ndarray:
        """sound: False where the shape alone is of interest, so that no checksum is waited for."""
        kinds = {"rows": ("<i8", ()), "thumbnails": ("|u1", (SIDE, SIDE)), "sizes": ("<i8", (2,))}
        file = f"{shard}.safetensors"
        path = self._sound(file) if sound else self.folder / file
        return mapped(path, tensor, *kinds.get(tensor, (self.dtype.str, (self.dim,))))


@dataclass(frozen=True)
class Shard:
    """What is written for one row range: `ids` and `reasons` of every row, `embeddings` of the readable ones.

    tensors: further ones of the readable rows: `mean`, their embeddings by the mean over patches where `embeddings` are
             the CLS token's and both are wanted; `thumbnails`; `sizes`.
    content: digest of what a stream held in this range, so that a resumed run notices another stream; "" otherwise.
    digests: of the bytes of every row's frame, 16 bytes, or None where they could not be read; None: not noted.
    remarks: what the owner of every row's frame should know of it, or None; empty: nothing of any.
    """

    index: int
    start: int
    ids: list[str]
    reasons: list[str | None]
    embeddings: np.ndarray
    content: str = ""
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    digests: Sequence[bytes | None] | None = None
    remarks: Sequence[str | None] = ()


@dataclass(frozen=True)
class StoreWriter:
    """A store while it is being made. Any number of processes may write different shards at the same time."""

    folder: Path
    arguments: Mapping[str, Any]
    parents: Mapping[str, str]

    @classmethod
    def begin(
        cls, folder: Path, arguments: Mapping[str, Any], parents: Mapping[str, str], *, claim: bool = True
    ) -> StoreWriter:
        """Claim an empty folder, or resume one that was begun with the same inputs and options.

        claim: False in all processes but one, which check the folder just the same and leave it as it is.
        Raises Mismatch where it was begun, or finished, with others; InvalidArgument where it holds something else.
        """
        folder.mkdir(parents=True, exist_ok=True)
        wanted = {"arguments": dict(arguments), "parents": dict(parents), "versions": installed_versions()}
        match state(folder):
            case "finished":
                there = asdict(Manifest.read(folder, "embeddings"))
                _check_same(folder, there, {**wanted, "versions": {}})
            case "begun":
                there = begun(folder)
                with intact(folder / BEGUN, f"delete {folder} and embed again"):
                    _check_same(folder, there, wanted)
            case "new":
                check_target(folder, "embeddings")
                there = wanted
                if claim:
                    begin(folder, there)
        writer = cls(folder, there["arguments"], dict(parents))
        if claim:
            sweep(folder)
            writer._tidy()
        return writer

    @property
    def finished(self) -> bool:
        return state(self.folder) == "finished"

    def shards(self) -> dict[int, int]:
        """Shards that are there, whole and made from the same inputs and options: number -> rows, ascending.

        Raises IncompleteStore where a file of a finished store is damaged; of an unfinished one, it is written anew.
        """
        rows_of: dict[int, int | None] = {}
        if self.finished:
            store = EmbeddingStore.load(self.folder)
            store.verify()
            of_it = [ShardFiles.of(self.folder, name) for name in store._shards]
            rows_of = {shard.index: read_schema(shard.table)[1] for shard in of_it}
        for shard in ShardFiles.recorded(self.folder):
            rows_of.setdefault(shard.index, shard.rows(self._made_from))
        return {index: rows for index, rows in sorted(rows_of.items()) if rows is not None}

    @property
    def _made_from(self) -> str:
        """Digest of inputs and options, but not of how inputs were called: what binds a shard to its store."""
        options = {key: value for key, value in self.arguments.items() if key not in _NAMES}
        return fingerprint(json.dumps([options, dict(self.parents)], sort_keys=True))

    def content(self, index: int) -> str:
        """What `write` was given as the content of a shard that is there."""
        metadata = read_schema(ShardFiles(self.folder, index).table)[0].metadata or {}
        return str(metadata.get(_CONTENT, b"").decode())

    def write(self, shard: Shard) -> None:
        """Write one shard; it counts as there once what is recorded of it is."""
        rows = np.arange(shard.start, shard.start + len(shard.ids), dtype=np.int64)
        readable = np.array([reason is None for reason in shard.reasons], dtype=bool)
        table = pa.table({"row": rows, "id": shard.ids, "reason": pa.array(shard.reasons, pa.string())}, schema=_TABLE)
        if shard.digests is not None:
            table = table.append_column(_DIGEST, pa.array(shard.digests, _DIGEST.type))
        if any(shard.remarks):
            table = table.append_column(_REMARK, pa.array(shard.remarks, _REMARK.type))
        table = table.replace_schema_metadata({_CONTENT: shard.content.encode()} if shard.content else None)
        tensors = {"embeddings": shard.embeddings, "rows": rows[readable], **shard.tensors}
        stored = _DTYPES[self.arguments.get("store_dtype", _EARLIER["store_dtype"])]
        tensors |= {name: tensors[name].astype(stored) for name in ("embeddings", "mean") if name in tensors}
        tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
        ShardFiles(self.folder, shard.index).write(table, tensors, self._made_from)

    def finish(self, *, dim: int, row_ids: bool) -> EmbeddingStore:
        """Write unreadable.parquet and the manifest from the shards; the same bytes whoever wrote those, and when."""
        shards = [ShardFiles(self.folder, index) for index in self.shards()]
        tables = [read_table(shard.table, _TABLE).replace_schema_metadata() for shard in shards]
        table = pa.concat_tables(tables) if tables else _TABLE.empty_table()
        if not np.array_equal(table["row"].to_numpy(), np.arange(len(table))):
            raise IncompleteStore(f"{self.folder} lacks shards: run the same command again")
        if len(table) == 0:
            raise InvalidDataset("the pool has no rows: nothing to embed")
        unreadable = table.filter(pc.is_valid(table["reason"]))
        with whole_file(self.folder / UNREADABLE) as aside:
            pq.write_table(unreadable, aside)
        remarks = _remarks(shards)
        if remarks is not None:
            with whole_file(self.folder / REMARKS) as aside:
                pq.write_table(remarks, aside)
        files: Records = {name: facts for shard in shards for name, facts in shard.records().items()}
        files |= recorded_files(self.folder, [UNREADABLE, *[REMARKS] * (remarks is not None)])
        parents = dict(self.parents)
        if "pool" not in parents:
            parents["pool"] = fingerprint("stream", *[self.content(shard.index) for shard in shards])
        options = {key: value for key, value in self.arguments.items() if key not in _NAMES}
        sums = [files[name]["xxh3"] for name in sorted(files)]
        files |= recorded_files(self.folder, [VIEW] if (self.folder / VIEW).is_file() else [])
        identity = json.dumps([options, parents, sums], sort_keys=True)
        readable = len(table) - len(unreadable)
        details = {"rows": len(table), "readable": readable, "dim": dim, "row_ids": row_ids}
        manifest = Manifest(
            "embeddings", fingerprint(identity), dict(self.arguments), parents, details, files=files
        ).write(self.folder)
        self._tidy()
        return EmbeddingStore(self.folder, manifest)

    def _tidy(self) -> None:
        """Remove what a finished store does not need any more, of this run or of one that was killed at its end."""
        if self.finished:
            there = EmbeddingStore.load(self.folder).records
            for shard in ShardFiles.recorded(self.folder):
                if shard.tensors.name in there:
                    shard.record.unlink()
            if COPIES not in there:  # a run died before the manifest knew of them
                (self.folder / COPIES).unlink(missing_ok=True)
            (self.folder / BEGUN).unlink(missing_ok=True)


def _remarks(shards: Sequence[ShardFiles]) -> pa.Table | None:
    """What the shards hold of remarks; None where they hold none."""
    with_some = [shard.table for shard in shards if _REMARK.name in read_schema(shard.table)[0].names]
    if not with_some:
        return None
    columns = pa.schema([_TABLE.field("row"), _TABLE.field("id"), _REMARK])
    whole = pa.concat_tables([read_table(table, columns).replace_schema_metadata() for table in with_some])
    return whole.filter(pc.is_valid(whole[_REMARK.name])).cast(_REMARKED)


def _check_same(folder: Path, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    known = str(there["parents"].get("pool"))
    if known != wanted["parents"].get("pool", known) and is_by_names_and_sizes(known):
        raise Occupied(
            f"{folder} was made by an earlier version, which knew frames by their names and sizes and not by what "
            "they hold, so that it cannot be resumed: embed into another folder",
            folder,
        )
    old_version = f"finish it with that version, {ANOTHER_FOLDER}"
    for kind, called, cure in (
        ("parents", _INPUTS.__getitem__, ANOTHER_FOLDER),
        ("arguments", str, ANOTHER_FOLDER),
        ("versions", "{} version".format, old_version),
    ):
        names = [name for name in wanted[kind] if kind != "arguments" or name not in _NAMES]
        before, now = (
            {called(name): each[kind].get(name, _EARLIER.get(name)) for name in names} for each in (there, wanted)
        )
        check_same(folder, before, now, cure=cure)

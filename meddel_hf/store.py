"""The embedding store: a folder of shards by row range, each written whole or not at all, read memory-mapped.

    shard-00000.safetensors   embeddings (m, d) float32, unit length; rows (m,) int64, ascending: the readable rows
    shard-00000.parquet       row, id, reason (null where readable) of every row in the shard's range
    unreadable.parquet        row, id, reason of every frame without an embedding
    manifest.json             written last; until then begun.json says what the shards are being made from

Shard k covers the rows k · shard_rows and on, so its bytes do not depend on who writes it, or when.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from meddel_hf.errors import IncompleteStore, InvalidArgument, InvalidDataset, Mismatch
from meddel_hf.files import sweep, whole_file
from meddel_hf.runtime.reading import CURE, intact, read_json
from meddel_hf.runtime.tables import exactly, read_schema, read_table
from meddel_hf.schema import MANIFEST, Manifest, fingerprint, installed_versions

BEGUN = "begun.json"
UNREADABLE = "unreadable.parquet"

_TABLE = pa.schema([("row", pa.int64()), ("id", pa.string()), ("reason", pa.string())])
_CONTENT = b"content"
_DTYPES = {"F32": "<f4", "I64": "<i8"}
_NAMES = ("encoder", "pool", "revision")  # how inputs were called; their fingerprints say whether they are the same
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

    @classmethod
    def load(cls, path: str | Path) -> EmbeddingStore:
        """Open a folder; every file is there and has its recorded size (`verify` reads them too).

        Raises IncompleteStore where the folder is not finished or damaged, Mismatch where it is another step's.
        """
        folder = Path(path)
        if (folder / BEGUN).is_file() and not (folder / MANIFEST).is_file():
            raise IncompleteStore(f"{folder} was begun but not finished: run the same `meddel embed` again to resume")
        manifest = Manifest.read(folder, "embeddings")
        for name, facts in manifest.details["files"].items():
            size = (folder / name).stat().st_size if (folder / name).is_file() else None
            if size != facts["bytes"]:
                found = "is missing" if size is None else f"has {size} bytes, expected {facts['bytes']}"
                raise IncompleteStore(f"{folder / name} {found}: copy it again, or delete {MANIFEST} and embed again")
        return cls(folder, manifest)

    def verify(self) -> None:
        """Read every file and compare its checksum. Raises IncompleteStore and names the damaged ones."""
        files = self.manifest.details["files"]
        damaged = [name for name, facts in files.items() if _sha256(self.folder / name) != facts["sha256"]]
        if damaged:
            raise IncompleteStore(f"{self.folder} is damaged: {', '.join(damaged)} changed since they were written")

    def __len__(self) -> int:
        return self.manifest.details["readable"]

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
        return self.manifest.details["dim"]

    @property
    def row_ids(self) -> bool:
        return self.manifest.details["row_ids"]

    @property
    def pool_fingerprint(self) -> str:
        return self.manifest.parents["pool"]

    @property
    def pool_spec(self) -> str | None:
        return self.manifest.arguments["pool"]

    @cached_property
    def embeddings(self) -> np.ndarray:
        """(n, d) float32, unit length, in pool order; mapped from the file where there is one shard, else in memory."""
        return self._joined("embeddings", np.empty((len(self), self.dim), np.float32))

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
        tables = [read_table(self.folder / f"{name}.parquet", exactly(id=pa.string())) for name in self._shards]
        return pa.concat_tables(tables)["id"].to_pylist()

    @cached_property
    def unreadable(self) -> pa.Table:
        """row int64, id string, reason string of every pool row without an embedding."""
        return read_table(self.folder / UNREADABLE, _TABLE)

    @property
    def _shards(self) -> list[str]:
        return [Path(name).stem for name in self.manifest.details["files"] if name.endswith(".safetensors")]

    def _joined(self, tensor: str, whole: np.ndarray) -> np.ndarray:
        """One tensor of all shards: the mapped file itself where there is one, else read into `whole`."""
        if len(self._shards) == 1:
            return self._mapped(self._shards[0], tensor)
        at = 0
        for name in self._shards:
            part = self._mapped(name, tensor)
            if at + len(part) <= len(whole):
                whole[at : at + len(part)] = part
            at += len(part)
        if at != len(whole):
            raise IncompleteStore(f"{self.folder} holds {at:,} embeddings, expected {len(whole):,}: {CURE}")
        whole.flags.writeable = False
        return whole

    def _mapped(self, shard: str, tensor: str) -> np.ndarray:
        return _mapped(self.folder / f"{shard}.safetensors", tensor, self.dim if tensor == "embeddings" else None)


@dataclass(frozen=True)
class Shard:
    """What is written for one row range: `ids` and `reasons` of every row, `embeddings` of the readable ones.

    content: digest of what a stream held in this range, so that a resumed run notices another stream; "" otherwise.
    """

    index: int
    start: int
    ids: list[str]
    reasons: list[str | None]
    embeddings: np.ndarray
    content: str = ""


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
        if (folder / MANIFEST).is_file():
            found = asdict(Manifest.read(folder, "embeddings"))
            _compare(folder, found, {**wanted, "versions": {}})
        elif (folder / BEGUN).is_file():
            with intact(folder / BEGUN, "delete the folder, and embed again"):
                found = read_json(folder / BEGUN)
                _compare(folder, found, wanted)
        elif any(not path.name.startswith(".") for path in folder.iterdir()):
            raise InvalidArgument(f"{folder} is not empty and holds no embeddings: choose another folder")
        else:
            found = wanted
            if claim:
                with whole_file(folder / BEGUN) as aside:
                    aside.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        if claim:
            sweep(folder)
        return cls(folder, found["arguments"], found["parents"])

    @property
    def finished(self) -> bool:
        return (self.folder / MANIFEST).is_file()

    def shards(self) -> dict[int, int]:
        """Shards that are there: number -> rows, ascending."""
        found = sorted(
            int(path.stem.removeprefix("shard-"))
            for path in self.folder.glob("shard-*.safetensors")
            if _is_whole(path) and path.with_suffix(".parquet").is_file()
        )
        return {index: read_schema(self._path(index, "parquet"))[1] for index in found}

    def content(self, index: int) -> str:
        """What `write` was given as the content of a shard that is there."""
        metadata = read_schema(self._path(index, "parquet"))[0].metadata or {}
        return metadata.get(_CONTENT, b"").decode()

    def write(self, shard: Shard) -> None:
        """Write one shard; it counts as there once its safetensors file has its name."""
        from safetensors.numpy import save

        rows = np.arange(shard.start, shard.start + len(shard.ids), dtype=np.int64)
        readable = np.array([reason is None for reason in shard.reasons], dtype=bool)
        schema = _TABLE.with_metadata({_CONTENT: shard.content.encode()}) if shard.content else _TABLE
        table = pa.table({"row": rows, "id": shard.ids, "reason": pa.array(shard.reasons, pa.string())}, schema=schema)
        with whole_file(self._path(shard.index, "parquet")) as aside:
            pq.write_table(table, aside)
        with whole_file(self._path(shard.index, "safetensors")) as aside:
            # Not save_file, which makes a file that its owner alone can read.
            aside.write_bytes(save({"embeddings": np.ascontiguousarray(shard.embeddings), "rows": rows[readable]}))

    def finish(self, *, dim: int, row_ids: bool) -> EmbeddingStore:
        """Write unreadable.parquet and the manifest from the shards; the same bytes whoever wrote those, and when."""
        indices = list(self.shards())
        tables = [read_table(self._path(index, "parquet"), _TABLE).replace_schema_metadata() for index in indices]
        table = pa.concat_tables(tables) if tables else _TABLE.empty_table()
        if not np.array_equal(table["row"].to_numpy(), np.arange(len(table))):
            raise IncompleteStore(f"{self.folder} lacks shards: run the same command again")
        if len(table) == 0:
            raise InvalidDataset("the pool has no rows: nothing to embed")
        unreadable = table.filter(pc.is_valid(table["reason"]))
        with whole_file(self.folder / UNREADABLE) as aside:
            pq.write_table(unreadable, aside)
        paths = [self._path(index, kind) for index in indices for kind in ("safetensors", "parquet")]
        files = {
            path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)}
            for path in [*paths, self.folder / UNREADABLE]
        }
        parents = dict(self.parents)
        if "pool" not in parents:
            parents["pool"] = fingerprint("stream", *[self.content(index) for index in indices])
        options = {key: value for key, value in self.arguments.items() if key not in _NAMES}
        identity = json.dumps([options, parents, [facts["sha256"] for facts in files.values()]], sort_keys=True)
        readable = len(table) - len(unreadable)
        details = {"rows": len(table), "readable": readable, "dim": dim, "row_ids": row_ids, "files": files}
        manifest = Manifest("embeddings", fingerprint(identity), dict(self.arguments), parents, details)
        manifest.write(self.folder)
        (self.folder / BEGUN).unlink(missing_ok=True)
        return EmbeddingStore.load(self.folder)

    def _path(self, index: int, kind: str) -> Path:
        return self.folder / f"shard-{index:05d}.{kind}"


def _compare(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    cure = "choose another folder, or delete this one"
    for role, value in wanted["parents"].items():
        if found["parents"].get(role) != value:
            raise Mismatch(
                f"{folder} was begun with another {_INPUTS[role]} (fingerprint {found['parents'].get(role)}, now "
                f"{value}): {cure}"
            )
    for key, value in wanted["arguments"].items():
        if key not in _NAMES and found["arguments"].get(key) != value:
            raise Mismatch(f"{folder} was begun with {key} {found['arguments'].get(key)!r}, now {value!r}: {cure}")
    for package, version in wanted["versions"].items():
        if found["versions"].get(package) != version:
            raise Mismatch(
                f"{folder} was begun with {package} {found['versions'].get(package)}, this is {version}: finish it "
                f"with that version, {cure}"
            )


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """(tensors by name, byte where their data begin) of a safetensors file."""
    with intact(path), path.open("rb") as file:
        length, size = int.from_bytes(file.read(8), "little"), path.stat().st_size
        if length > size - 8:
            raise ValueError(f"a header of {length:,} bytes in a file of {size:,}")
        found = json.loads(file.read(length))
        tensors = {name: entry for name, entry in found.items() if name != "__metadata__"}
        for entry in tensors.values():
            start, end = entry["data_offsets"]
            width = np.dtype(_DTYPES[entry["dtype"]]).itemsize
            if not 0 <= start <= end or end - start != width * math.prod(entry["shape"]):
                raise ValueError(f"a tensor of shape {entry['shape']} in the bytes {start} to {end}")
        return tensors, 8 + length


def _is_whole(path: Path) -> bool:
    try:
        tensors, start = _header(path)
    except IncompleteStore:
        return False
    return bool(tensors) and path.stat().st_size == start + max(entry["data_offsets"][1] for entry in tensors.values())


def _mapped(path: Path, tensor: str, width: int | None) -> np.ndarray:
    """A tensor of the file, which is not read. width: of an embedding; None: the tensor has one axis."""
    tensors, start = _header(path)
    entry = tensors.get(tensor, {})
    shape, dtype = tuple(entry.get("shape", ())), _DTYPES.get(entry.get("dtype", ""))
    if dtype != (_DTYPES["I64"] if width is None else _DTYPES["F32"]) or shape[1:] != (
        () if width is None else (width,)
    ):
        raise IncompleteStore(f"{path} is damaged ({tensor!r} is {dtype} of shape {shape}): {CURE}")
    begins = start + entry["data_offsets"][0]
    if path.stat().st_size < start + entry["data_offsets"][1]:
        raise IncompleteStore(f"{path} is damaged (it ends before its tensors do): {CURE}")
    return np.empty(shape, dtype) if 0 in shape else np.memmap(path, dtype, "r", begins, shape)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

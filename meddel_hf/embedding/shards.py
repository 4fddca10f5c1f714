"""The files of one shard of an embedding store: a table, tensors and, until the store is finished, a record of both."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from meddel_hf.errors import IncompleteStore
from meddel_hf.runtime.files import whole_file
from meddel_hf.runtime.reading import CURE, intact
from meddel_hf.runtime.records import Records, check_files, read_facts, recorded_files, write_facts

_DTYPES = {"F16": "<f2", "F32": "<f4", "I64": "<i8", "U8": "|u1"}


@dataclass(frozen=True)
class ShardFiles:
    """Shard number `index` in the folder of a store."""

    folder: Path
    index: int

    @classmethod
    def of(cls, folder: Path, stem: str) -> ShardFiles:
        return cls(folder, int(stem.removeprefix("shard-")))

    @classmethod
    def recorded(cls, folder: Path) -> list[ShardFiles]:
        """Shards that have a record, as they have until the store is finished."""
        return [cls.of(folder, path.stem) for path in sorted(folder.glob("shard-*.json"))]

    @property
    def table(self) -> Path:
        return self.folder / f"shard-{self.index:05d}.parquet"

    @property
    def tensors(self) -> Path:
        return self.table.with_suffix(".safetensors")

    @property
    def record(self) -> Path:
        return self.table.with_suffix(".json")

    def write(self, table: pa.Table, tensors: dict[str, np.ndarray], made_from: str) -> None:
        """Write both files and then their record; its checksums are of what was to be written, not of what is there."""
        from safetensors.numpy import save

        file = io.BytesIO()
        pq.write_table(table, file)
        # Not save_file, which makes a file that its owner alone can read.
        contents: dict[Path, bytes] = {self.table: file.getvalue(), self.tensors: save(tensors)}
        files: Records = {}
        for path, content in contents.items():
            with whole_file(path) as aside:
                aside.write_bytes(content)
            files[path.name] = {"bytes": len(content), "xxh3": xxhash.xxh3_128_hexdigest(content)}
        write_facts(self.record, {"made_from": made_from, "rows": len(table), "files": files})

    def rows(self, made_from: str) -> int | None:
        """Rows of the shard; None where it is missing or damaged, or was made from something else."""
        try:
            facts = read_facts(self.record, "")
            if facts["made_from"] != made_from:
                return None
            check_files(self.folder, facts["files"], "")
            return int(facts["rows"])
        except (IncompleteStore, KeyError):
            return None

    def records(self) -> Records:
        """What the manifest of the finished store records of the shard."""
        if self.record.is_file():
            answer: Records = read_facts(self.record, "run the same command again")["files"]
            return answer
        return recorded_files(self.folder, [self.table.name, self.tensors.name])


def tensor_names(path: Path) -> Collection[str]:
    """Of the tensors of a safetensors file. Raises IncompleteStore where the file is damaged."""
    return _header(path)[0].keys()


def mapped(path: Path, tensor: str, dtype: str, inner: tuple[int, ...]) -> np.ndarray:
    """A tensor of a safetensors file, mapped from it. dtype: as numpy writes it; inner: its shape without the rows.

    Raises IncompleteStore where the file is damaged, or the tensor another.
    """
    tensors, start = _header(path)
    entry = tensors.get(tensor, {})
    shape, there = tuple(entry.get("shape", ())), _DTYPES.get(entry.get("dtype", ""))
    if not shape or (there, shape[1:]) != (dtype, inner):
        raise IncompleteStore(f"{path} is damaged ({tensor!r} is {there} of shape {shape}): {CURE}")
    if path.stat().st_size < start + entry["data_offsets"][1]:
        raise IncompleteStore(f"{path} is damaged (it ends before its tensors do): {CURE}")
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", start + entry["data_offsets"][0], shape)


# safetensors' safe_open copies a tensor for numpy (2.1 GB in memory for 1.1 GB), and tells no offset to map it from.
def _header(path: Path) -> tuple[dict[str, Any], int]:
    """(tensors by name, byte where their data begin) of a safetensors file."""
    with intact(path), path.open("rb") as file:
        length, size = int.from_bytes(file.read(8), "little"), path.stat().st_size
        if length > size - 8:
            raise ValueError(f"a header of {length:,} bytes in a file of {size:,}")
        header = json.loads(file.read(length))
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        for entry in tensors.values():
            start, end = entry["data_offsets"]
            width = np.dtype(_DTYPES[entry["dtype"]]).itemsize
            if not 0 <= start <= end or end - start != width * math.prod(entry["shape"]):
                raise ValueError(f"a tensor of shape {entry['shape']} in the bytes {start} to {end}")
        return tensors, 8 + length

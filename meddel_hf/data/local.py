"""Data set folders on this machine, opened by what their files hold.

`load_dataset` keeps the rows of a folder in a cache whose key is the folder's name and its card: two folders of one
name, or one that was written again, give the older rows. Here each content of a folder has a cache of its own, below
`$HF_DATASETS_CACHE/meddel_hf`; one that was not used for a month is removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, IterableDataset, load_dataset, load_dataset_builder, load_from_disk
from datasets.exceptions import DatasetGenerationError
from filelock import FileLock, Timeout

from meddel_hf.data.identity import data_set_fingerprint
from meddel_hf.errors import InvalidDataset
from meddel_hf.runtime.digests import UNREAD, file_digests
from meddel_hf.runtime.manifest import Manifest, fingerprint, step_of
from meddel_hf.runtime.progress import no_bars
from meddel_hf.runtime.regular import open_regular

_UNUSED = 30 * 86_400  # seconds
_COMMIT = 40  # hex digits
_PART = re.compile(r"(.*)(\d{5})-of-(\d{5})")  # how files of one split are numbered, from 0, by some from 1


class NoSuchSplit(Exception):
    """A data set has no split of that name; `splits` are those that it has."""

    def __init__(self, splits: Iterable[str]) -> None:
        super().__init__(", ".join(splits))
        self.splits = list(splits)


def open_folder(folder: Path, config: str | None = None, split: str = "train") -> Dataset:
    """What `load_dataset(folder, config, split=split)` answers when it was never asked before.

    Its fingerprint goes by content (identity.py). Raises NoSuchSplit, InvalidDataset where a file is missing, cannot be
    read or changes meanwhile, and whatever `load_dataset` raises.
    """
    files = _data_files(folder, config, split)
    paths = [Path(file) for names in files.values() for file in names if "://" not in file]
    before = file_digests(paths)
    _check_read(paths, before)
    _check_recorded(folder, paths, before)
    told = dict(zip(map(str, paths), before, strict=True))
    parts = [f"{part}\0{file}\0{told.get(file, '')}" for part, names in files.items() for file in names]
    cache = cached_pools() / fingerprint(os.path.realpath(folder), config or "", *parts)
    with _in_use(cache), no_bars():
        try:
            with _unheard():
                dataset = load_dataset(str(folder.absolute()), config, split=split, cache_dir=str(cache))
        except (DatasetGenerationError, ValueError) as error:  # the latter where there are no rows
            _check_tables([path for path in paths if path.suffix == ".parquet"])
            raise InvalidDataset(f"{folder} cannot be read: {_first_line(error.__cause__ or error)}") from error
        if file_digests(paths) != before:
            shutil.rmtree(cache, ignore_errors=True)
            raise InvalidDataset(f"files of {folder} changed while they were being read: run the same command again")
    _sweep()
    identity = data_set_fingerprint(dataset, [told.get(file, file) for file in files[split]])
    return Dataset(dataset.data, dataset.info, dataset.split, dataset._indices, identity)


def stream_folder(folder: Path, config: str | None, split: str) -> IterableDataset:
    """The same, row by row. Raises NoSuchSplit, and whatever `load_dataset` raises."""
    _data_files(folder, config, split)
    with tempfile.TemporaryDirectory() as nothing:  # the cache would know the features of an older folder
        return load_dataset(str(folder.absolute()), config, split=split, streaming=True, cache_dir=nothing)


def open_saved(folder: Path) -> Dataset | dict[str, Dataset]:
    """What `save_to_disk` wrote, or its splits by name; fingerprints go by content."""
    saved = load_from_disk(str(folder))
    if isinstance(saved, DatasetDict):
        return {name: _identified(part, folder / name) for name, part in saved.items()}
    return _identified(saved, folder)


def kind_of_data(folder: Path) -> str:
    """What `load_dataset` reads a folder as: "parquet", "imagefolder", "csv" and so on; "" where it does not."""
    try:
        with tempfile.TemporaryDirectory() as nothing:
            return str(load_dataset_builder(str(folder.absolute()), cache_dir=nothing).name)
    except Exception:  # it says no in many ways
        return ""


def comes_from_the_hub(builder: Any) -> bool:
    """False for two things that `load_dataset` answers to a mistyped folder.

    "csv" or "imagefolder" reads whatever lies in the current directory; without a network, a bare name opens the rows
    that the cache holds of some folder of that name (the Hub's are kept under a commit, 40 hex digits).
    """
    return builder.repo_id is not None and (builder.name != "cache" or len(builder.hash or "") == _COMMIT)


def holds_images(table: Path) -> bool:
    """Whether a Parquet or Arrow file has a column of images: bytes, or `bytes` and `path` as `datasets` has it.

    A column of lists of them too.
    """
    try:
        with open_regular(table) as file:
            schema = pq.read_schema(file) if table.suffix.lower() == ".parquet" else _arrow_schema(file)
    except (OSError, pa.ArrowException):
        return False
    return any(map(_is_image, schema.types))


def _arrow_schema(file: IO[bytes]) -> pa.Schema:
    """Of both forms of an Arrow file: a stream, as `datasets` writes it, or one with a footer, as Feather is."""
    try:
        return pa.ipc.open_stream(file).schema
    except pa.ArrowInvalid:
        file.seek(0)
        return pa.ipc.open_file(file).schema


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_image(kind.value_type)
    if pa.types.is_struct(kind):
        return "bytes" in {part.name for part in kind}
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _identified(dataset: Dataset, folder: Path) -> Dataset:
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    paths = [folder / entry["filename"] for entry in state["_data_files"]]
    digests = file_digests(paths)
    _check_read(paths, digests)
    identity = data_set_fingerprint(dataset, digests)
    return Dataset(dataset.data, dataset.info, dataset.split, dataset._indices, identity)


def _data_files(folder: Path, config: str | None, split: str) -> Mapping[str, list[str]]:
    """split -> its files, as `load_dataset` finds them now."""
    with tempfile.TemporaryDirectory() as nothing:  # a builder reads what the cache knows of an older folder
        builder: Any = load_dataset_builder(str(folder.absolute()), config, cache_dir=nothing)
    files = {str(name): [str(file) for file in names] for name, names in (builder.config.data_files or {}).items()}
    if split not in files:
        raise NoSuchSplit(files)
    _check_links(files[split])
    _check_all_there(files[split])
    return files


def _check_links(files: list[str]) -> None:
    """Raise InvalidDataset where a shard beside these is a link to nothing, which `datasets` leaves out in silence."""
    series: dict[Path, set[str]] = {}
    for file in files:
        series.setdefault(Path(file).parent, set()).add(re.sub(r"\d+", "#", Path(file).name))
    for folder, names in series.items():
        if not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            if path.is_symlink() and not path.exists() and re.sub(r"\d+", "#", path.name) in names:
                raise InvalidDataset(f"{path} is a link to nothing: fetch its content first (git annex get)")


def _check_all_there(files: list[str]) -> None:
    """Raise InvalidDataset where files say that they are of three, and there are fewer in their folder."""
    series = {(Path(file).parent, found[1], found[3]) for file in files if (found := _PART.match(Path(file).name))}
    for folder, name, count in sorted(series):
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        there = {
            int(found[2]) for each in names if (found := _PART.match(each)) and (found[1], found[3]) == (name, count)
        }
        if 0 < len(there) < int(count):
            first = 1 if int(count) in there else 0
            missing = min(set(range(first, first + int(count))) - there)
            raise InvalidDataset(
                f"{folder} holds {len(there):,} of the {int(count):,} files {name}...-of-{count}, not number "
                f"{missing}: fetch all of them, or rename those that you mean"
            )


def _check_recorded(folder: Path, paths: list[Path], digests: list[str]) -> None:
    """Raise InvalidDataset where a step wrote the folder, and a file of frames is not what its manifest records.

    Folders of earlier versions record none. What people may write into, as labels into a metadata.jsonl, is theirs.
    """
    if step_of(folder) is None or not (recorded := Manifest.read(folder).files):
        return
    for path, digest in zip(paths, digests, strict=True):
        known = recorded.get(path.relative_to(folder.absolute()).as_posix(), {}).get("xxh3", digest)
        if known != digest and path.suffix != ".jsonl":
            raise InvalidDataset(
                f"{path} changed since it was written (its checksum is another): copy it again, or run the step that "
                f"wrote {folder} again"
            )


def _check_read(paths: list[Path], digests: list[str]) -> None:
    for path, digest in zip(paths, digests, strict=True):
        if digest.startswith(UNREAD):
            raise InvalidDataset(f"{path} cannot be read: {digest.removeprefix(UNREAD)}")


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Without the lines that `datasets` logs of a file that it cannot read: the error that follows says it."""
    before = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(before)


def _check_tables(paths: list[Path]) -> None:
    """Raise InvalidDataset where Parquet files are damaged, differ in their columns, or hold no rows."""
    known: dict[frozenset[str], Path] = {}
    types: dict[str, tuple[pa.DataType, Path]] = {}
    odd_type = ""
    rows = 0
    for path in paths:
        try:
            with open_regular(path) as file:
                table = pq.read_metadata(file)
        except (OSError, pa.ArrowException) as error:
            raise InvalidDataset(f"{path} is no Parquet file, or damaged: fetch it again") from error
        rows += table.num_rows
        columns = table.schema.to_arrow_schema()
        known.setdefault(frozenset(columns.names), path)
        for column in columns:
            first_type, where = types.setdefault(column.name, (column.type, path))
            if not odd_type and first_type != column.type:
                odd_type = f"column {column.name!r} is of type {first_type} in {where} and {column.type} in {path}"
    if paths and not rows:
        raise InvalidDataset(f"{paths[0]} has no rows")
    if len(known) > 1:
        (names, first), (others, second), *_ = known.items()
        odd = ", ".join(sorted(names ^ others))
        raise InvalidDataset(f"only one of {first} and {second} has {odd}: give all files of a split the same columns")
    if odd_type:
        raise InvalidDataset(f"{odd_type}: give it one type in all files of a split")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def cached_pools() -> Path:
    return Path(datasets.config.HF_DATASETS_CACHE).expanduser() / "meddel_hf"


@contextlib.contextmanager
def _in_use(cache: Path) -> Any:
    """Hold a cache, so that no other process sweeps it just now."""
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{cache}.lock"):
        cache.mkdir(exist_ok=True)  # it may have been swept while this process waited
        os.utime(cache)
        yield


def _sweep() -> None:
    """Remove the caches that were not used for a month."""
    for cache in cached_pools().iterdir():
        with contextlib.suppress(OSError, Timeout):
            if cache.is_dir() and time.time() - cache.stat().st_mtime > _UNUSED:
                with FileLock(f"{cache}.lock", timeout=0):
                    if time.time() - cache.stat().st_mtime > _UNUSED:
                        shutil.rmtree(cache, ignore_errors=True)
                Path(f"{cache}.lock").unlink(missing_ok=True)

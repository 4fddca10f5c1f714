"""The pool of frames: from what a user types to a data set, and from a data set to ids, fingerprint and raw frames."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash
from datasets import (
    Dataset,
    DatasetDict,
    Image,
    IterableDataset,
    get_dataset_config_names,
    load_dataset,
    load_dataset_builder,
)

from meddel_hf.data.decoding import file_bytes
from meddel_hf.data.folders import Beside, check_holds_frames, image_folder, is_declared, is_saved_to_disk, read_as_rows
from meddel_hf.data.identity import fingerprint_of, frame_digests, keeps_fingerprint, named_files, row_contents
from meddel_hf.data.ids import checked_ids_of
from meddel_hf.data.local import NoSuchSplit, comes_from_the_hub, open_folder, open_saved, stream_folder
from meddel_hf.data.scan import Scan
from meddel_hf.data.spec import parse_spec
from meddel_hf.errors import InvalidArgument, InvalidDataset, UnreadableImage
from meddel_hf.runtime.similar import did_you_mean, meant_beside
from meddel_hf.schema import ID, IMAGE

_DIGEST = re.compile("[0-9a-f]{32}")
_OF_NOTHING = xxhash.xxh3_128_hexdigest(b"")  # an empty file holds no frame


@dataclass(frozen=True)
class Pool:
    """A data set made ready: checked, ids read, frames undecoded.

    frames:      the data set with raw images in `image_column` (and, of a stream, the ids).
    ids:         one string for every row, without repeats; None where the data set is a stream.
    id_column:   None where the data set has none, so that ids are row numbers.
    fingerprint: of the data set (data/identity.py); None for a stream, which has none until its end.
    held:        file that a row names instead of holding bytes -> digest of what was in it when the pool was opened.
    """

    frames: Dataset | IterableDataset
    image_column: str
    id_column: str | None
    ids: list[str] | None
    fingerprint: str | None
    held: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, dataset: Any, *, image_column: str = IMAGE, id_column: str | None = ID) -> Pool:
        """Raises InvalidDataset where the image column is missing, or an id is missing or repeated."""
        if isinstance(dataset, (DatasetDict, dict)):
            raise InvalidDataset(f"got a dictionary of splits ({', '.join(dataset)}): pass one of them")
        if not isinstance(dataset, (Dataset, IterableDataset)):
            raise InvalidDataset(f"expected a datasets.Dataset or IterableDataset, got {type(dataset).__name__}")
        columns = dataset.column_names or list(next(iter(dataset), {}))  # a stream may learn them from its first row
        if not columns or (isinstance(dataset, Dataset) and len(dataset) == 0):
            raise InvalidDataset("the data set has no rows: nothing to embed")
        _check_image_column(columns, dataset.features or {}, image_column)
        if id_column not in columns:
            if id_column not in (None, ID):
                has = f"it has {', '.join(columns)}{did_you_mean(id_column, columns)}"
                raise InvalidDataset(f"the data set has no id column {id_column!r}; {has}")
            id_column = None
        plain = dataset.with_format(None)
        if isinstance(dataset, IterableDataset):
            needed = plain.select_columns([image_column] + [id_column] * (id_column is not None))
            return cls(_undecoded(needed, image_column), image_column, id_column, None, None)
        ids = checked_ids_of(dataset, id_column) if id_column else [str(row) for row in range(len(dataset))]
        frames = _undecoded(plain.select_columns([image_column]), image_column)
        named = list(named_files(frames, image_column).values())
        held = dict(zip(named, frame_digests(named), strict=True))
        return cls(frames, image_column, id_column, ids, fingerprint_of(dataset, image_column), held)

    def digests(self) -> pa.FixedSizeBinaryArray:
        """Digest of the bytes that each row's frame is stored as, 16 bytes; null where there are none to read.

        Files that are remembered are not read; rows that hold bytes are. Not for a stream.
        """
        named = named_files(self.frames, self.image_column)
        digests = [""] * len(self.frames)
        if len(named) < len(digests):
            digests = row_contents(self.frames, self.image_column)
        for row, name in named.items():
            digests[row] = self.held[name]
        known = [
            bytes.fromhex(digest) if _DIGEST.fullmatch(digest) and digest != _OF_NOTHING else None for digest in digests
        ]
        return pa.array(known, pa.binary(16))

    def read(self, frame: Any) -> Any:
        """A frame of `frames` with its bytes, where its row names a file.

        Raises UnreadableImage where that cannot be read, or is no longer what it was when the pool was opened.
        """
        name = frame.get("path") if isinstance(frame, Mapping) and frame.get("bytes") is None else frame
        if not isinstance(name, str) or (known := self.held.get(name)) is None:
            return frame
        data = file_bytes(name)
        if xxhash.xxh3_128_hexdigest(data) != known:
            raise UnreadableImage("changed since the pool was opened")
        return data


def load_pool(spec: str | Path, *, include: str | None = None, streaming: bool = False) -> Dataset | IterableDataset:
    """Open what a user calls a pool: a folder of images, a data set folder, or a Hub id, images left undecoded.

    spec:      a path or a Hub id, with `:config` and `@split` where needed, such as "datadel:polypgen2021_c3@train";
               the split is train unless said otherwise.
    include:   of a folder of images, only the files whose path inside it matches this pattern, such as "*/images/*"
               (`*` matches any characters, slashes too).
    streaming: read rows as they come instead of preparing the data set first.

    Of a folder of images, ids are paths without suffix, in sorted order; `scan_of` tells what else stands there. A
    metadata.csv (or .jsonl, .parquet) with a column file_name, in it or a folder below, gives its columns, as text.
    A folder is read anew, never from a cache that goes by its name; its fingerprint goes by content (data/identity.py).
    Raises InvalidDataset where there is no such pool, configuration or split, or where a folder can be read in two
    ways, and InvalidArgument where an option does not fit the pool.
    """
    path, config, split = parse_spec(str(spec))
    folder = Path(path)
    check_holds_frames(folder)
    scan = Scan.of(folder.absolute()) if folder.is_dir() and not is_declared(folder) else None
    if scan is not None:
        rows = read_as_rows(scan, include, chosen=bool(config or split))
        if rows is None:
            if config or split:
                raise InvalidArgument(
                    f"{path} is a folder of images and has no configurations or splits: drop ':' and '@'"
                )
            beside = Beside.of(scan)
            dataset = image_folder(scan, include, beside)
            return _with_scan(
                dataset.to_iterable_dataset() if streaming else dataset, beside.told(scan.matching(include))
            )
        scan = rows
    if include is not None:
        raise InvalidArgument(f"include chooses files of a folder of images, and {path} is a data set: drop it")
    if folder.is_file() or (not folder.is_dir() and _looks_like_a_path(path)):
        what = "is a file" if folder.is_file() else "does not exist"
        meant = "" if folder.is_file() else meant_beside(folder, folders=True)
        raise InvalidDataset(f"{path} {what}: expected a folder of images, a data set folder, or a Hub id{meant}")
    if not folder.is_dir() and "/" not in path:  # before the Hub is asked, again and again where there is no network
        raise InvalidDataset(
            f"{path} is no folder here, and no Hub id, which names an owner too, as in owner/{path}"
            f"{meant_beside(folder, folders=True)}"
        )
    if folder.is_dir() and is_saved_to_disk(folder):
        saved = _saved_to_disk(folder, config, split)
        return saved.to_iterable_dataset() if streaming else saved
    return _with_scan(_hub_or_folder(path, config, split or "train", streaming), scan)


def name_of(spec: str) -> str:
    """What a pool is called for short: "kvasir_seg" of "datadel:kvasir_seg@train"."""
    return spec.rstrip("/").rpartition("/")[2].rpartition(":")[2].partition("@")[0]


def _looks_like_a_path(path: str) -> bool:
    return path.startswith(("/", ".", "~")) or path.count("/") > 1 or "\\" in path


def _with_scan(dataset: Any, scan: Scan | None) -> Any:
    if scan is not None:
        dataset.scan = scan  # see scan_of
    return dataset


def _saved_to_disk(folder: Path, config: str | None, split: str | None) -> Dataset:
    if config:
        raise InvalidArgument(f"{folder} was written by save_to_disk and has no configurations: drop ':{config}'")
    try:
        saved = open_saved(folder)
    except InvalidDataset:
        raise
    except Exception as error:  # what reads a damaged file raises nearly anything
        raise InvalidDataset(_why_not_opened(str(folder), None, error)) from error
    if isinstance(saved, dict):
        if (split or "train") not in saved:
            has = f"it has {', '.join(saved)} (add @split){did_you_mean(split, saved)}"
            raise InvalidDataset(f"{folder} has no split {split or 'train'!r}; {has}")
        saved = saved[split or "train"]
    elif split:
        raise InvalidArgument(f"{folder} holds one data set without splits: drop '@{split}'")
    return _undecoded(saved, IMAGE)


def _hub_or_folder(path: str, config: str | None, split: str, streaming: bool) -> Dataset | IterableDataset:
    folder = Path(path)
    try:
        if folder.is_dir():
            return _undecoded((stream_folder if streaming else open_folder)(folder, config, split), IMAGE)
        builder = load_dataset_builder(path, config)
        if not comes_from_the_hub(builder):
            raise InvalidDataset(
                f"{path} is no folder here and was not found on the Hub: check the path, or the network"
            )
        splits = builder.config.data_files or builder.info.splits or {}
        if split not in splits:
            raise NoSuchSplit(splits)
        return _undecoded(load_dataset(path, config, split=split, streaming=streaming), IMAGE)
    except NoSuchSplit as error:
        raise InvalidDataset(_no_such_split(path, split, error.splits)) from error
    except InvalidDataset:
        raise
    except Exception as error:  # the Hub and file readers fail in many ways; the cause stays chained
        raise InvalidDataset(_why_not_opened(path, config, error)) from error


def _no_such_split(path: str, split: str, splits: Iterable[str]) -> str:
    return (
        f"{path} has no split {split!r}: choose one with '@name' from {', '.join(splits)}{did_you_mean(split, splits)}"
    )


def _why_not_opened(path: str, config: str | None, error: Exception) -> str:
    configs: list[str] = []
    if isinstance(error, ValueError):  # from load_dataset_builder: the configuration is missing, or unknown
        with contextlib.suppress(Exception):  # the first error is the one to tell
            configs = get_dataset_config_names(path)
    if config not in configs and len(configs) > 1:
        what = f"has no configuration {config!r}" if config else "has several configurations"
        return f"{path} {what}: choose one with ':name' from {', '.join(configs)}{did_you_mean(config, configs)}"
    what = "" if Path(path).is_dir() else "is no folder here and "
    return f"{path} {what}cannot be opened as a data set: {(str(error) or type(error).__name__).splitlines()[0]}"


def _undecoded(dataset: Any, image_column: str) -> Any:
    """The same rows with images as they are stored; a fingerprint that goes by content stays.

    Images that another program than `datasets` wrote become images too: bytes and path in any column, and bytes or
    paths alone in the image column.
    """
    raw = dataset
    for name, feature in (dataset.features or {}).items():
        if name == image_column and (isinstance(feature, Image) or _is_plain(feature) or _is_bytes_and_path(feature)):
            raw = raw.cast_column(name, Image(decode=False))
        elif _is_bytes_and_path(feature):
            raw = raw.cast_column(name, Image())
    if raw is not dataset and isinstance(raw, Dataset) and keeps_fingerprint(dataset):
        raw = Dataset(raw.data, raw.info, raw.split, raw._indices, dataset._fingerprint)
    return raw


def _check_image_column(columns: list[str], features: Mapping[str, Any], image_column: str) -> None:
    if image_column not in columns:
        raise InvalidDataset(
            f"the data set has no image column {image_column!r}; it has {', '.join(columns)}: name the right one with "
            f"image_column (--image-column){did_you_mean(image_column, columns)}"
        )
    feature = features.get(image_column)
    if not (feature is None or isinstance(feature, Image) or _is_plain(feature) or _is_bytes_and_path(feature)):
        raise InvalidDataset(f"column {image_column!r} holds {feature}: expected images, their bytes, or their paths")


def _is_bytes_and_path(feature: Any) -> bool:
    """Whether a column is what `datasets` stores of an image, without a word that it is one.

    Where every path is None, pandas and pyarrow write a column of nulls.
    """
    if not isinstance(feature, Mapping) or not {"bytes"} <= feature.keys() <= {"bytes", "path"}:
        return False
    path = feature.get("path")
    return _is_plain(feature["bytes"]) and (path is None or _is_plain(path) or getattr(path, "dtype", "") == "null")


def _is_plain(feature: Any) -> bool:
    """Whether a column holds texts, or bytes."""
    return getattr(feature, "dtype", "") in ("string", "large_string", "binary", "large_binary")

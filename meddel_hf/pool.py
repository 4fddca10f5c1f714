"""The pool of frames: from what a user types to a data set, and from a data set to ids, fingerprint and raw frames."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from datasets import (
    Dataset,
    DatasetDict,
    DatasetInfo,
    Features,
    Image,
    IterableDataset,
    Value,
    get_dataset_config_names,
    load_dataset,
    load_dataset_builder,
    load_from_disk,
)

from meddel_hf.errors import InvalidArgument, InvalidDataset
from meddel_hf.schema import ID, IMAGE, fingerprint

IMAGE_SUFFIXES = (
    ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif",
    ".tiff", ".webp",
)  # fmt: skip
_DATA_SUFFIXES = (".parquet", ".arrow", ".csv", ".json", ".jsonl")
_SHOWN = 3  # examples in an error message


@dataclass(frozen=True)
class Pool:
    """A data set made ready: checked, ids read, frames undecoded.

    frames:      the data set with raw images in `image_column` (and, of a stream, the ids).
    ids:         one string for every row, without repeats; None where the data set is a stream.
    id_column:   None where the data set has none, so that ids are row numbers.
    fingerprint: of the data set; None for a stream, which has none until its end.
    """

    frames: Dataset | IterableDataset
    image_column: str
    id_column: str | None
    ids: list[str] | None
    fingerprint: str | None

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
                raise InvalidDataset(f"the data set has no id column {id_column!r}; it has {', '.join(columns)}")
            id_column = None
        plain = dataset.with_format(None)
        if isinstance(dataset, IterableDataset):
            needed = plain.select_columns([image_column] + [id_column] * (id_column is not None))
            return cls(_undecoded(needed, image_column), image_column, id_column, None, None)
        ids = _ids(dataset, id_column) if id_column else [str(row) for row in range(len(dataset))]
        frames = _undecoded(plain.select_columns([image_column]), image_column)
        return cls(frames, image_column, id_column, ids, dataset._fingerprint)


def load_pool(spec: str, *, include: str | None = None, streaming: bool = False) -> Dataset | IterableDataset:
    """Open what a user calls a pool: a folder of images, a data set folder, or a Hub id, images left undecoded.

    spec:      a path or a Hub id, with `:config` and `@split` where needed, such as "datadel:polypgen2021_c3@train";
               the split is train unless said otherwise.
    include:   of a folder of images, only the files whose path inside it matches this pattern, such as "*/images/*"
               (`*` matches any characters, slashes too).
    streaming: read rows as they come instead of preparing the data set first.

    Of a folder of images, ids are paths without suffix, in sorted order. Raises InvalidDataset where there is no such
    pool, configuration or split, and InvalidArgument where an option does not fit the pool.
    """
    path, config, split = _parse(spec)
    folder = Path(path)
    if folder.is_dir() and not _is_dataset(folder):
        if config or split:
            raise InvalidArgument(f"{path} is a folder of images and has no configurations or splits: drop ':' and '@'")
        dataset = _image_folder(folder.absolute(), include)
        return dataset.to_iterable_dataset() if streaming else dataset
    if include is not None:
        raise InvalidArgument(f"include chooses files of a folder of images, and {path} is a data set: drop it")
    if folder.is_file() or (not folder.is_dir() and _looks_like_a_path(path)):
        found = "is a file" if folder.is_file() else "does not exist"
        raise InvalidDataset(f"{path} {found}: expected a folder of images, a data set folder, or a Hub id")
    if folder.is_dir() and _is_saved_to_disk(folder):
        saved = _saved_to_disk(folder, config, split)
        return saved.to_iterable_dataset() if streaming else saved
    return _hub_or_folder(path, config, split or "train", streaming)


def name_of(spec: str) -> str:
    """What a pool is called for short: "kvasir_seg" of "datadel:kvasir_seg@train"."""
    return spec.rstrip("/").rpartition("/")[2].rpartition(":")[2].partition("@")[0]


def _parse(spec: str) -> tuple[str, str | None, str | None]:
    """Read "path:config@split" as (path, config or None, split or None)."""
    rest, split = _cut(spec, "@")
    path, config = _cut(rest, ":")
    return path, config, split


def _cut(text: str, mark: str) -> tuple[str, str | None]:
    """What stands before and after the last mark; a path that exists is not cut."""
    before, found, after = text.rpartition(mark)
    return (before, after) if found and not Path(text).exists() else (text, None)


def _looks_like_a_path(path: str) -> bool:
    return path.startswith(("/", ".", "~")) or path.count("/") > 1 or "\\" in path


def _files(folder: Path) -> list[str]:
    """Relative paths of all files below a folder, hidden ones left out, sorted; links to folders are followed."""
    found: list[str] = []
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith((".", "__MACOSX"))]
        seen.add(real)
        found += [Path(root, name).relative_to(folder).as_posix() for name in files if not name.startswith(".")]
    return sorted(found)


def _is_saved_to_disk(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _is_dataset(folder: Path) -> bool:
    readme = folder / "README.md"
    has_configs = readme.is_file() and "\nconfigs:" in readme.read_text(encoding="utf-8", errors="replace")
    if has_configs or _is_saved_to_disk(folder):
        return True
    files = _files(folder)
    holds_images = any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in files)
    return not holds_images and any(name.endswith(_DATA_SUFFIXES) for name in files)


def _image_folder(folder: Path, include: str | None) -> Dataset:
    names = [name for name in _files(folder) if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    chosen = [name for name in names if include is None or fnmatchcase(name, include)]
    if not chosen:
        found = f"none of its {len(names):,} images matches {include!r}" if names else "it holds no images"
        example = f", such as {names[0]}" if names else f"; looked for {' '.join(sorted(IMAGE_SUFFIXES))}"
        raise InvalidDataset(f"{folder}: {found}{example}")
    ids = [name.removesuffix(Path(name).suffix) for name in chosen]
    _check_unique(ids, f"{folder}: two files of one name differ in suffix only; choose with include (--include)")
    odd = next((name for name in chosen if name.encode("utf-8", "replace").decode() != name), None)
    if odd is not None:
        raise InvalidDataset(f"{folder}: the file name {odd!r} is not UTF-8, so it cannot be an id: rename the file")
    features = Features({ID: Value("string"), IMAGE: Image(decode=False)})
    sizes = [f"{name}\0{(folder / name).stat().st_size}" for name in chosen]
    rows = Dataset.from_dict({ID: ids, IMAGE: [str(folder / name) for name in chosen]}, features=features)
    return Dataset(rows.data, DatasetInfo(features=features), fingerprint=fingerprint("folder of images", *sizes))


def _saved_to_disk(folder: Path, config: str | None, split: str | None) -> Dataset:
    if config:
        raise InvalidArgument(f"{folder} was written by save_to_disk and has no configurations: drop ':{config}'")
    dataset = load_from_disk(str(folder))
    if isinstance(dataset, DatasetDict):
        if (split or "train") not in dataset:
            raise InvalidDataset(
                f"{folder} has no split {split or 'train'!r}; it has {', '.join(dataset)} (add @split)"
            )
        dataset = dataset[split or "train"]
    elif split:
        raise InvalidArgument(f"{folder} holds one data set without splits: drop '@{split}'")
    return _undecoded(dataset, IMAGE)


def _hub_or_folder(path: str, config: str | None, split: str, streaming: bool) -> Dataset | IterableDataset:
    try:
        builder = load_dataset_builder(path, config)
        splits = builder.config.data_files or builder.info.splits or {}
        if split not in splits:
            raise InvalidDataset(_no_such_split(path, split, splits))
        dataset = load_dataset(path, config, split=split, streaming=streaming)
    except InvalidDataset:
        raise
    except Exception as error:  # the Hub and file readers fail in many ways; the cause stays chained
        raise InvalidDataset(_why_not_opened(path, config, error)) from error
    if Path(path).is_dir() and isinstance(dataset, Dataset):
        files = sorted(os.path.relpath(file, path) for file in builder.config.data_files[split])
        sizes = [f"{name}\0{(Path(path) / name).stat().st_size}" for name in files]
        digest = fingerprint("data set folder", config or "", split, *sizes)
        plain = _undecoded(dataset, IMAGE)
        return Dataset(plain.data, plain.info, plain.split, fingerprint=digest)
    return _undecoded(dataset, IMAGE)


def _no_such_split(path: str, split: str, splits: Iterable[str]) -> str:
    return f"{path} has no split {split!r}: choose one with '@name' from {', '.join(splits)}"


def _why_not_opened(path: str, config: str | None, error: Exception) -> str:
    configs: list[str] = []
    if isinstance(error, ValueError):  # from load_dataset_builder: the configuration is missing, or unknown
        with contextlib.suppress(Exception):  # the first error is the one to tell
            configs = get_dataset_config_names(path)
    if config not in configs and len(configs) > 1:
        found = f"has no configuration {config!r}" if config else "has several configurations"
        return f"{path} {found}: choose one with ':name' from {', '.join(configs)}"
    found = "" if Path(path).is_dir() else "is no folder here and "
    return f"{path} {found}cannot be opened as a data set: {(str(error) or type(error).__name__).splitlines()[0]}"


def _undecoded(dataset: Any, image_column: str) -> Any:
    feature = (dataset.features or {}).get(image_column)
    return dataset.cast_column(image_column, Image(decode=False)) if isinstance(feature, Image) else dataset


def _check_image_column(columns: list[str], features: Mapping[str, Any], image_column: str) -> None:
    if image_column not in columns:
        raise InvalidDataset(
            f"the data set has no image column {image_column!r}; it has {', '.join(columns)}: name the right one with "
            "image_column (--image-column)"
        )
    feature = features.get(image_column)
    if not (feature is None or isinstance(feature, Image) or getattr(feature, "dtype", "") in ("string", "binary")):
        raise InvalidDataset(f"column {image_column!r} holds {feature}: expected images, their bytes, or their paths")


def _ids(dataset: Dataset, column: str) -> list[str]:
    ids = dataset.with_format(None).select_columns([column])[:][column]
    return check_ids(ids, first_row=0)


def check_ids(ids: Iterable[Any], *, first_row: int) -> list[str]:
    """Ids as strings. Raises InvalidDataset where one is missing, repeated, or neither a string nor an integer."""
    ids = list(ids)
    missing = [str(first_row + row) for row, value in enumerate(ids) if value is None or value == ""]
    if missing:
        raise InvalidDataset(f"{len(missing)} rows have no id, such as row {', '.join(missing[:_SHOWN])}")
    odd = next((value for value in ids if not isinstance(value, (str, int)) or isinstance(value, bool)), None)
    if odd is not None:
        raise InvalidDataset(f"ids must be strings or integers, got {odd!r}")
    texts = [str(value) for value in ids]
    _check_unique(texts, "ids must be unique")
    return texts


def _check_unique(ids: list[str], message: str) -> None:
    repeated = [text for text, count in Counter(ids).items() if count > 1]
    if repeated:
        shown = ", ".join(repr(text) for text in repeated[:_SHOWN])
        raise InvalidDataset(f"{message}: {len(repeated)} stand more than once, such as {shown}")

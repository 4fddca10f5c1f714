"""Folders that do not say what they are: one of images, or a data set whose tables hold them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from datasets import Dataset, DatasetInfo, Features, Image, Value

from meddel_hf.data.identity import frame_digests, frames_fingerprint
from meddel_hf.data.ids import check_unique
from meddel_hf.data.local import holds_images, kind_of_data
from meddel_hf.data.scan import DATA_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES, Scan, Skipped
from meddel_hf.errors import InvalidDataset
from meddel_hf.schema import ID, IMAGE


def is_saved_to_disk(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` wrote a folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def is_declared(folder: Path) -> bool:
    """Whether a folder says itself that it is a data set."""
    readme = folder / "README.md"
    has_configs = readme.is_file() and "\nconfigs:" in readme.read_text(encoding="utf-8", errors="replace")
    return has_configs or is_saved_to_disk(folder)


def read_as_rows(scan: Scan, include: str | None, *, chosen: bool) -> Scan | None:
    """None of a folder of images; of a data set, its pictures that are not looked at.

    Where tables with images stand beside pictures, `load_dataset` decides: by where its shards stand, or by number.
    chosen: a configuration or split was named, as only a data set has them.
    """
    if not scan.pictures:
        return replace(scan, skipped=()) if scan.of_kind(DATA_SUFFIXES) else None
    if include is not None:
        return None
    tables = [name for name in scan.of_kind((".parquet", ".arrow")) if holds_images(scan.folder / name)]
    if not tables:
        return None
    if not chosen and kind_of_data(scan.folder) not in ("parquet", "arrow"):
        raise InvalidDataset(
            f"{scan.folder} holds {len(scan.pictures):,} pictures and {len(tables):,} tables with images, such as "
            f"{tables[0]}: name the folder of the tables, or the pictures with include (--include)"
        )
    note = (
        f"{scan.folder} was read as a data set, by tables such as {tables[0]}, as load_dataset does; its pictures, "
        f"such as {scan.pictures[0]}, were left out: choose them with include (--include)"
    )
    left = tuple(Skipped(name, Path(name).suffix.lower()) for name in scan.pictures)
    return replace(scan, pictures=(), skipped=left, notes=(note,))


def image_folder(scan: Scan, include: str | None) -> Dataset:
    """The pictures of a folder as a data set, columns id and image (undecoded). Raises InvalidDataset where none is."""
    folder, chosen = scan.folder, scan.matching(include).pictures
    if not chosen:
        raise InvalidDataset(f"{folder}: {_why_no_images(scan, include)}")
    ids = [name.removesuffix(Path(name).suffix) for name in chosen]
    check_unique(ids, f"{folder}: two files of one name differ in suffix only; choose with include (--include)")
    odd = next((name for name in chosen if name.encode("utf-8", "replace").decode() != name), None)
    if odd is not None:
        raise InvalidDataset(f"{folder}: the file name {odd!r} is not UTF-8, so it cannot be an id: rename the file")
    features = Features({ID: Value("string"), IMAGE: Image(decode=False)})
    paths = [str(folder / name) for name in chosen]
    identity = frames_fingerprint(ids, frame_digests(paths))
    rows = Dataset.from_dict({ID: ids, IMAGE: paths}, features=features)
    return Dataset(rows.data, DatasetInfo(features=features), fingerprint=identity)


def _why_no_images(scan: Scan, include: str | None) -> str:
    if scan.pictures:
        return f"none of its {len(scan.pictures):,} images matches {include!r}, such as {scan.pictures[0]}"
    if videos := scan.of_kind(VIDEO_SUFFIXES):
        return f"it holds no images, but {len(videos):,} videos, such as {videos[0]}: cut them into frames first"
    return f"it holds no images; {scan.told or 'it is empty'}; looked for {' '.join(IMAGE_SUFFIXES)}"

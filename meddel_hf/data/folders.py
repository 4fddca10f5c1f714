"""Folders that do not say what they are: one of images, or a data set whose tables hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datasets import Dataset, DatasetInfo, Features, Image, Value

from meddel_hf.data.frame_table import FrameTable, shown, tables_in
from meddel_hf.data.identity import frame_digests, frames_fingerprint, with_rows
from meddel_hf.data.ids import check_unique
from meddel_hf.data.local import holds_images, kind_of_data
from meddel_hf.data.scan import DATA_SUFFIXES, IMAGE_SUFFIXES, Scan, Skipped
from meddel_hf.errors import InvalidDataset
from meddel_hf.runtime.manifest import COMMAND_OF, Step, step_of
from meddel_hf.runtime.similar import composed, with_composed
from meddel_hf.runtime.words import plural
from meddel_hf.schema import ID, IMAGE

_DATA_SETS: tuple[Step, ...] = ("datadel", "near-copies", "pool", "subset")
_WHAT: dict[Step, str] = {
    "embeddings": "it holds embeddings", "selection": "it is a selection", "pretraining": "it is a pre-training run",
    "segmentation": "it is a segmentation run", "probe": "it holds a probe's scores", "benchmark": "it is a benchmark",
    "report": "it is a report", "audit": "it is an audit",
}  # fmt: skip


def check_holds_frames(folder: Path) -> None:
    """Raises InvalidDataset of a folder of a step that makes no data set: what stands in it are no frames of a pool."""
    step = step_of(folder)
    if step is None or step in _DATA_SETS:
        return
    by = f"`meddel {COMMAND_OF[step]}`" if step in _WHAT else "an earlier step"
    what = _WHAT.get(step, f"it holds its {step}")
    cure = "give the pool that was embedded" if step in ("embeddings", "selection") else "give the pool itself"
    raise InvalidDataset(f"{folder} was written by {by} ({what}, not a pool of frames): {cure}")


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
            f"{scan.folder} holds {plural(len(scan.pictures), 'picture')} and "
            f"{plural(len(tables), 'table')} with images, such as {tables[0]}: name the folder of the tables, or the "
            "pictures with include (--include)"
        )
    note = (
        f"{scan.folder} was read as a data set, by tables such as {tables[0]}, as load_dataset does; its pictures, "
        f"such as {scan.pictures[0]}, were left out: choose them with include (--include)"
    )
    left = tuple(Skipped(name, Path(name).suffix.lower()) for name in scan.pictures)
    return replace(scan, pictures=(), skipped=left, notes=(note,))


def image_folder(scan: Scan, include: str | None, beside: Beside | None) -> Dataset:
    """The pictures of a folder as a data set: id, image (undecoded), and what a table beside them says.

    Raises InvalidDataset where there is no picture.
    """
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
    columns = {} if beside is None else beside.columns_of(chosen)
    if columns:
        features = Features({**features, **dict.fromkeys(columns, Value("string"))})
        identity = with_rows(identity, columns)
    rows = Dataset.from_dict({ID: ids, IMAGE: paths, **columns}, features=features)
    return Dataset(rows.data, DatasetInfo(features=features), fingerprint=identity)


@dataclass(frozen=True)
class Beside:
    """What tables beside the pictures of a folder say of them, as `imagefolder` of `datasets` reads metadata.csv.

    rows: relative path of a picture -> values by column. notes: what a user should know. tables: paths that were read.
    """

    rows: dict[str, dict[str, str | None]]
    notes: tuple[str, ...]
    tables: tuple[str, ...]

    @classmethod
    def of(cls, scan: Scan) -> Beside:
        """A table that is none is left aside, with a note. Columns that a pool has anyway are left out."""
        rows: dict[str, dict[str, str | None]] = {}
        notes, read = [], []
        pictures = with_composed({name: name for name in scan.pictures})
        for name, below in tables_in([one.path for one in scan.skipped]):
            try:
                table = FrameTable.read(scan.folder / name)
            except InvalidDataset as error:
                notes.append(f"{error}; its columns were left out")
                continue
            read.append(name)
            found = {row: pictures.get(below + row) or pictures.get(composed(below + row)) for row in table.rows}
            strangers = [row for row, picture in found.items() if picture is None]
            if strangers:
                count = len(strangers)
                notes.append(
                    f"{name} names {plural(count, 'file that is no picture', 'files that are no pictures')} "
                    f"here: {shown(strangers, count)}"
                )
            if own := [column for column in table.columns if column in (ID, IMAGE)]:
                notes.append(f"the column {own[0]!r} of {name} was left out: ids are paths of the pictures")
            for row, picture in found.items():
                if picture is not None:
                    values = table.rows[row]
                    rows[picture] = {
                        table.fields[key]: value for key, value in values.items() if key not in (ID, IMAGE)
                    }
        without = [name for name in scan.pictures if name not in rows]
        if rows and without:
            pictures_without = plural(len(without), "picture")
            say = f"{' and '.join(read)} {'says' if len(read) == 1 else 'say'}"
            notes.append(f"{say} nothing of {pictures_without}: {shown(without, len(without))}")
        return cls(rows, tuple(notes), tuple(read))

    def columns_of(self, pictures: Sequence[str]) -> dict[str, list[str | None]]:
        """Values of each picture, by column; those of a column that a picture's table has not are None."""
        names = list(dict.fromkeys(column for values in self.rows.values() for column in values))
        return {column: [self.rows.get(name, {}).get(column) for name in pictures] for column in names}

    def told(self, scan: Scan) -> Scan:
        """The scan with notes, and without the tables among the files that were not looked at."""
        skipped = tuple(one for one in scan.skipped if one.path not in self.tables)
        return replace(scan, skipped=skipped, notes=(*scan.notes, *self.notes))


def _why_no_images(scan: Scan, include: str | None) -> str:
    if scan.pictures:
        one = len(scan.pictures) == 1
        none = "its one image does not match" if one else f"none of its {len(scan.pictures):,} images matches"
        return f"{none} {include!r}, such as {scan.pictures[0]}"
    if scan.notes:
        return f"it holds no images; {scan.notes[-1]}"
    return (
        f"it holds no images; {scan.told}; looked for {' '.join(IMAGE_SUFFIXES)}"
        if scan.told
        else "it holds no images: it is empty"
    )

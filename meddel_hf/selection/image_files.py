"""The kept frames as image files in folders, which people look at and every program reads.

    images/ward-1/0001.jpg    masks/ward-1/0001.png    metadata.jsonl

`load_dataset` opens it with all columns: metadata.jsonl has a line for each frame, in the pool's order.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Image
from PIL import Image as Pillow

from meddel_hf.data.cells import Cell, holds_images
from meddel_hf.data.columns import class_name
from meddel_hf.data.outgoing import METADATA
from meddel_hf.data.privacy import Cleaner
from meddel_hf.data.scan import IMAGE_SUFFIXES
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.progress import tqdm
from meddel_hf.schema import IMAGE, MASK

_FOLDERS = {IMAGE: "images", MASK: "masks"}
_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "JPEG2000": ".jp2", "TIFF": ".tif", "PPM": ".ppm"}
_LONGEST = 200  # bytes of a part of a path, which file systems bound at 255


def write_images(opened: Dataset, cleaner: Cleaner, folder: Path) -> list[str]:
    """Write frames, masks and other single images as files, and metadata.jsonl; returns their names in the folder.

    Files have the bytes that they had in the pool, and are called as the ids where these can be paths, else by number.
    Raises InvalidArgument where a column has several images a row, such as a list of them.
    """
    images = [name for name, feature in cleaner.published.items() if isinstance(feature, Image)]
    nested = [name for name, feature in cleaner.published.items() if name not in images and holds_images(feature)]
    if nested:
        raise InvalidArgument(
            f"the column {nested[0]!r} holds images in lists or structs, which image files cannot show: leave out "
            "as_images (--images), or the column"
        )
    names, places = [METADATA], _Places()
    with (
        tqdm(total=len(opened), desc="writing", unit="frame", delay=5, leave=False) as bar,
        (folder / METADATA).open("w", encoding="utf-8") as lines,
    ):
        for number, table in enumerate(cleaner.rows(opened)):
            row: dict[str, Any] = table.to_pylist()[0]
            place = places.of(str(row.get(cleaner.id_column or "", number)), number)
            told: dict[str, Any] = {}
            for column in images:
                cell: Cell | None = row.pop(column)
                key = "file_name" if column == IMAGE else f"{column}_file_name"
                told[key] = None
                if cell is not None and cell["bytes"] is not None:
                    told[key] = f"{_FOLDERS.get(column, column)}/{place}{_suffix(place, cell)}"
                    path = folder / told[key]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(cell["bytes"])
                    names.append(told[key])
            row = {column: _told(value, cleaner.published[column]) for column, value in row.items()}
            lines.write(json.dumps(told | row, ensure_ascii=False, default=str) + "\n")
            bar.update()
    return names


def _told(value: Any, feature: Any) -> Any:
    """As JSON has it: a class by its name, and null for a number that is none."""
    if isinstance(feature, ClassLabel):
        return class_name(value, feature)
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Places:
    """Paths for ids, none twice, also where a file system takes "A" for "a"."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def of(self, id: str, number: int) -> str:
        parts = id.split("/")
        above = {"/".join(parts[:depth]).lower() for depth in range(1, len(parts))}
        taken = id.lower() in self._files | self._folders or above & self._files
        if taken or not all(map(_can_be_a_name, parts)):
            return f"{number:08d}"
        self._files.add(id.lower())
        self._folders |= above
        return id


def _can_be_a_name(part: str) -> bool:
    strange = any(ord(character) < 32 or character in '\\:*?"<>|$' for character in part)  # datasets fills in $HOME
    return bool(part.strip(". ")) and not strange and len(part.encode("utf-8", "surrogatepass")) <= _LONGEST


def _suffix(place: str, cell: Cell) -> str:
    """Of the file: as the image was called, else as its bytes say; none where the id has it."""
    if Path(place).suffix.lower() in IMAGE_SUFFIXES:
        return ""
    called = Path(cell["path"] or "").suffix.lower()
    if called in IMAGE_SUFFIXES:
        return called
    try:
        with Pillow.open(io.BytesIO(cell["bytes"])) as image:
            kind = str(image.format)
    except (OSError, Pillow.DecompressionBombError, ValueError, SyntaxError):
        return ".img"
    return _SUFFIXES.get(kind, f".{kind.lower()}")

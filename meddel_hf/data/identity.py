"""The identity of a pool: its ids and the content of its frames, however they are stored.

A pool that `load_pool` opens from this machine has a fingerprint that begins with `frames-`: the same for a folder of
images and for a Parquet file with the same ids and bytes, wherever they lie; another once a byte of a frame is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from meddel_hf.data.decoding import MOST_BYTES
from meddel_hf.data.ids import ids_of
from meddel_hf.runtime.digests import UNREAD, file_digests
from meddel_hf.runtime.manifest import fingerprint
from meddel_hf.runtime.memory import Memory
from meddel_hf.runtime.progress import tqdm
from meddel_hf.schema import ID, IMAGE

if TYPE_CHECKING:
    from datasets import Dataset

_FRAMES, _ROWS = "frames-", "-rows-"
_KNOWN_FRAMES = re.compile(f"{_FRAMES}[0-9a-f]{{32}}")
_BY_NAMES_AND_SIZES = re.compile("[0-9a-f]{32}")  # what this package wrote before it looked at content
_BATCH = 256  # rows


def frame_digests(files: Iterable[str]) -> list[str]:
    """Digests of image files, as `file_digests` gives them; one that is too large to be a frame is not read."""
    return file_digests([Path(file) for file in files], "frames", MOST_BYTES)


def frames_fingerprint(ids: Iterable[Any], contents: Iterable[str]) -> str:
    """Identity of frames in their order: `contents` are digests, as `file_digests` and `row_contents` give them."""
    return _FRAMES + fingerprint(*(f"{id}\0{content}" for id, content in zip(ids, contents, strict=True)))


def with_rows(frames: str, columns: Mapping[str, Sequence[Any]]) -> str:
    """Identity of frames together with what else is said of them, as `data_set_fingerprint` has it."""
    rows = fingerprint(*(f"{name}\0{value}" for name, values in columns.items() for value in values))
    return f"{frames}{_ROWS}{rows[:16]}"


def data_set_fingerprint(dataset: Dataset, files: Sequence[str]) -> str:
    """Identity of a data set on this machine: of its frames, then of all that its files hold, at most 64 characters.

    files: digests of the files that the rows were read from, in their order.
    """
    rows = fingerprint(*files, str(dataset.features))
    if IMAGE not in dataset.column_names:
        return f"rows-{rows}"
    key = fingerprint("frames of", rows)
    frames = Memory.usual().derived(key)
    if frames is None or not _KNOWN_FRAMES.fullmatch(frames):
        contents = row_contents(dataset, IMAGE)
        frames = frames_fingerprint(_ids(dataset), contents)
        if not named_files(dataset, IMAGE):  # files can change without the rows that name them
            Memory.usual().remember(key, frames)
    return f"{frames}{_ROWS}{rows[:16]}"


def fingerprint_of(dataset: Dataset, image_column: str = IMAGE) -> str:
    """Identity of a data set as a pool of frames.

    Of a data set that another program opened, it is the one that `datasets` gives it; files that its rows name count
    with their content.
    """
    own = str(dataset._fingerprint)
    frames = own.partition(_ROWS)[0]
    if image_column == IMAGE and _KNOWN_FRAMES.fullmatch(frames):
        return frames
    if image_column not in dataset.column_names:
        return own
    named = named_files(dataset, image_column).values()
    return f"files-{fingerprint(own, *frame_digests(named))}" if named else own


def keeps_fingerprint(dataset: Dataset) -> bool:
    """Whether a data set was opened from this machine, so that its fingerprint goes by content."""
    return str(dataset._fingerprint).startswith((_FRAMES, "rows-"))


def same_pool(dataset: Dataset, known: str) -> bool:
    """Whether a data set is the one that was known by this fingerprint, whichever its image column was."""
    from datasets import Image

    columns = [name for name, feature in dataset.features.items() if isinstance(feature, Image) or name == IMAGE]
    return known == dataset._fingerprint or any(known == fingerprint_of(dataset, column) for column in columns)


def frames_changed(dataset: Dataset, known: str) -> bool:
    """True where the fingerprints of both say what frames hold, and not the same; False also where one does not say."""
    frames = str(dataset._fingerprint).partition(_ROWS)[0]
    return frames != known and all(_KNOWN_FRAMES.fullmatch(text) for text in (frames, known))


def is_by_names_and_sizes(known: str) -> bool:
    """Whether a fingerprint is of the kind that earlier versions wrote, which does not see what files hold."""
    return _BY_NAMES_AND_SIZES.fullmatch(known) is not None


def row_contents(dataset: Dataset, column: str) -> list[str]:
    """A digest of the undecoded image in each row: of its bytes, or of the file that the row names."""
    contents: list[str] = []
    named: dict[int, str] = {}
    with tqdm(total=len(dataset), desc="reading frames", unit=" frames", delay=5, leave=False) as bar:
        for stored, paths in _stored(dataset, column):
            for data, path in zip(stored, paths, strict=True):
                if data.is_valid:
                    contents.append(xxhash.xxh3_128_hexdigest(data.as_buffer()))
                    continue
                name = path.as_py()
                if name is not None and "://" not in name:
                    named[len(contents)] = name
                contents.append(name or f"{UNREAD}no image")
            bar.update(len(stored))
    for row, digest in zip(named, frame_digests(named.values()), strict=True):
        contents[row] = digest
    return contents


def named_files(dataset: Dataset, column: str) -> dict[int, str]:
    """row -> file on this machine, of the rows that name one instead of holding an image's bytes."""
    named: dict[int, str] = {}
    start = 0
    for stored, paths in _stored(dataset, column):
        for slot in pc.indices_nonzero(pc.and_(stored.is_null(), paths.is_valid())).to_pylist():
            if "://" not in (name := paths[slot].as_py()):
                named[start + slot] = name
        start += len(stored)
    return named


def _stored(dataset: Dataset, column: str) -> Iterable[tuple[pa.Array, pa.Array]]:
    """(bytes, paths) of the rows, some hundred at a time; null where a row has none."""
    for batch in dataset.with_format("arrow").select_columns([column]).iter(_BATCH):
        for chunk in batch[column].chunks:
            if pa.types.is_struct(chunk.type):
                names = {field.name for field in chunk.type}
                parts = [
                    pc.struct_field(chunk, name) if name in names else pa.nulls(len(chunk), kind)
                    for name, kind in (("bytes", pa.binary()), ("path", pa.string()))
                ]
                yield parts[0], parts[1]
            elif pa.types.is_binary(chunk.type) or pa.types.is_large_binary(chunk.type):
                yield chunk, pa.nulls(len(chunk), pa.string())
            elif pa.types.is_nested(chunk.type):  # of no images
                yield pa.nulls(len(chunk), pa.binary()), pa.nulls(len(chunk), pa.string())
            else:
                yield pa.nulls(len(chunk), pa.binary()), chunk.cast(pa.string())


def _ids(dataset: Dataset) -> Iterable[Any]:
    return ids_of(dataset) if ID in dataset.column_names else range(len(dataset))

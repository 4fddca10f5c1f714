"""Frames of a pool for training: decoded once into a folder that many runs share, or decoded live.

Either way a frame is squeezed to a square of `stored_side` pixels first, and views are cropped from that: so a run is
the same, to the last bit, with and without the folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from filelock import FileLock
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.data.batches import Batch, TableBatches, read_ahead, spans
from meddel_hf.data.images import Preprocessing, prepare
from meddel_hf.data.pool import Pool
from meddel_hf.errors import IncompleteStore, InvalidDataset, MedDELError, Mismatch, UnreadableImage
from meddel_hf.runtime.files import MANIFEST, sweep
from meddel_hf.runtime.manifest import Manifest, fingerprint, step_folder
from meddel_hf.runtime.progress import Progress
from meddel_hf.runtime.reading import CURE, intact
from meddel_hf.runtime.tables import exactly, read_table

PIXELS, UNREADABLE = "frames.npy", "unreadable.parquet"
_BILINEAR = 2  # Pillow's number; what ViT's image processor does
_BATCH = 64
_UNREADABLE_COLUMNS = exactly(row=pa.int64(), id=pa.string(), reason=pa.string())


def stored_side(image_size: int) -> int:
    """Side in pixels at which a frame is kept for views of `image_size`: 4/3 of it, a multiple of 8.

    A random crop of 20 to 100 % of the area is 77 % of the frame wide on average: at 4/3 (1 / 0.75) such a crop is read
    at its own resolution, the smallest are magnified 1.7 times, the whole frame is reduced by a quarter.
    """
    return -(-image_size // 6) * 8


class Frames(Protocol):
    """What views are cropped from."""

    @property
    def side(self) -> int: ...

    def read(self, rows: Sequence[int]) -> Sequence[NDArray[np.uint8]]:
        """The frames of these rows of the pool, (side, side, 3) uint8 each; not to be written to."""


@dataclass(frozen=True)
class LiveFrames:
    """Frames decoded when they are asked for. Raises UnreadableImage for one that cannot be."""

    pool: Pool
    side: int

    def read(self, rows: Sequence[int]) -> list[NDArray[np.uint8]]:
        sources = self.pool.frames[[int(row) for row in rows]][self.pool.image_column]
        return [self._decoded(row, source) for row, source in zip(rows, sources, strict=True)]

    def _decoded(self, row: int, source: Any) -> NDArray[np.uint8]:
        try:
            pixels = prepare(self.pool.read(source), squeezed(self.side))
            return np.array(pixels)  # a copy: torch warns of what it must not write to
        except UnreadableImage as error:
            frame = self.pool.ids[row] if self.pool.ids else row
            raise UnreadableImage(
                f"frame {frame} could be decoded before the training, and no longer: {error}"
            ) from None

    def unreadable(self, rows: Sequence[int], workers: int, progress: Progress | None = None) -> dict[int, str]:
        """Decode these rows once, to know beforehand which cannot be: row -> reason."""
        table = self.pool.frames
        part = self.pool if len(rows) == len(table) else replace(self.pool, frames=table.select(rows))
        reasons: dict[int, str] = {}
        for batch in _decoded(part, len(rows), self.side, workers):
            bad = {rows[batch.start + slot]: why for slot, why in enumerate(batch.reasons) if why is not None}
            reasons.update(bad)
            if progress is not None:
                progress.update(len(batch.reasons))
        return reasons


@dataclass(frozen=True, eq=False)
class CachedFrames:
    """All frames of a pool, decoded once: a memory-mapped file, of which only what is read is in memory.

    pixels:  (n, side, side, 3) uint8; zeros where a frame is unreadable.
    reasons: row -> why it is.
    pool:    fingerprint of the pool that they are of.
    """

    folder: Path
    pixels: NDArray[np.uint8]
    reasons: Mapping[int, str]
    fingerprint: str
    pool: str

    @property
    def side(self) -> int:
        return int(self.pixels.shape[1])

    def __len__(self) -> int:
        return len(self.pixels)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process maps the file, which this one has checked; it is not sent there.
        return partial(CachedFrames.load, trust=True), (self.folder,)

    def read(self, rows: Sequence[int]) -> list[NDArray[np.uint8]]:
        return [self.pixels[row] for row in rows]

    @classmethod
    def load(cls, folder: str | Path, *, trust: bool = False) -> CachedFrames:
        """Open a folder, once its files were compared with their checksums; with `trust`, their sizes alone are.

        Raises IncompleteStore or Mismatch where the folder is no such cache, or not a whole one.
        """
        folder = Path(folder)
        manifest = Manifest.read(folder, "frames")
        cure = f"delete {folder}, and the frames are decoded again"
        manifest.check(folder, trust=trust, cure=cure)
        # "c": a change stays in memory. None is made, but torch warns of arrays that do not allow it.
        with intact(folder / PIXELS, cure):
            pixels = np.load(folder / PIXELS, mmap_mode="c", allow_pickle=False)
        wanted = manifest.details.get("shape")
        if list(pixels.shape) != wanted or pixels.dtype != np.uint8:
            raise IncompleteStore(
                f"{folder / PIXELS} holds {pixels.dtype} of shape {pixels.shape}, its manifest says {wanted}: {cure}"
            )
        reasons = read_unreadable(folder / UNREADABLE, cure)
        return cls(folder, pixels, reasons, manifest.fingerprint, manifest.parents["pool"])


def cache_folder(folder: Path, pool: Pool, side: int) -> Path:
    """Where the frames of a pool at a side stand in a folder that may hold those of several."""
    return folder / f"{pool.fingerprint}-{side}"


def decode_once(
    pool: Pool,
    folder: str | Path,
    image_size: int,
    *,
    workers: int = 0,
    progress: Progress | None = None,
    trust: bool = False,
) -> CachedFrames:
    """The frames of a whole pool, decoded into `folder` unless they are there; whole or not at all.

    image_size: side of the views that will be cropped from them. workers: processes that decode; 0: this one.
    trust:      of frames that are there, compare sizes and not checksums.
    Takes 3 * stored_side² bytes a frame. Raises InvalidDataset for a stream, OSError where the disk is full.
    """
    if not isinstance(pool.frames, Dataset) or pool.ids is None:
        raise InvalidDataset("a stream cannot be read in random order: prepare the data set first (no streaming)")
    side = stored_side(image_size)
    target = cache_folder(Path(folder), pool, side)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{target.name}.lock"):  # of several runs, one decodes
        if not (target / MANIFEST).is_file():
            _decode(pool, target, side, workers, progress)
            trust = True  # the frames were written just now
    there = CachedFrames.load(target, trust=trust)
    if there.pool != pool.fingerprint or there.pixels.shape != (len(pool.ids), side, side, 3):
        raise Mismatch(
            f"{target} holds {len(there):,} frames of {there.side} px of another pool ({there.pool}, expected "
            f"{pool.fingerprint}): delete it, and they are decoded again"
        )
    return there


def _decode(pool: Pool, target: Path, side: int, workers: int, progress: Progress | None) -> None:
    sweep(target.parent)
    ids = pool.ids or []
    with step_folder(target, "frames") as aside:
        reasons = _write_pixels(pool, aside / PIXELS, side, workers, progress)
        write_unreadable(aside / UNREADABLE, reasons, ids)
        digest = fingerprint("frames", str(pool.fingerprint), str(side), repr(sorted(reasons.items())))
        arguments = {"side": side, "resample": _BILINEAR, "draft": True}
        details = {"shape": [len(ids), side, side, 3], "unreadable": len(reasons), "ids": _ids_digest(pool)}
        parents = {"pool": str(pool.fingerprint)}
        Manifest("frames", digest, arguments, parents, details).write(aside, [PIXELS, UNREADABLE])


def write_unreadable(path: Path, reasons: Mapping[int, str], ids: Sequence[str]) -> None:
    """reasons: row -> why it cannot be read. ids: of every row of the pool."""
    table = {"row": list(reasons), schema.ID: [ids[row] for row in reasons], schema.REASON: list(reasons.values())}
    pq.write_table(pa.table(table, schema=_UNREADABLE_COLUMNS), path)


def read_unreadable(path: Path, cure: str = CURE) -> dict[int, str]:
    """The reasons that `write_unreadable` wrote. Raises IncompleteStore where the file is damaged."""
    table = read_table(path, _UNREADABLE_COLUMNS, cure=cure)
    return dict(zip(table["row"].to_pylist(), table[schema.REASON].to_pylist(), strict=True))


def older_copies(folder: Path, pool: Pool, image_size: int) -> list[Path]:
    """Decoded frames of the same ids and side that are not this pool's: most likely of its frames as they were."""
    target = cache_folder(folder, pool, stored_side(image_size))
    copies = []
    for path in sorted(folder.glob(f"*-{stored_side(image_size)}/{MANIFEST}")):
        with suppress(MedDELError):  # what is damaged is told when it is used
            ids = Manifest.read(path.parent, "frames").details.get("ids")
            if path.parent != target and ids is not None and ids == _ids_digest(pool):
                copies.append(path.parent)
    return copies


def _ids_digest(pool: Pool) -> str | None:
    """None where ids are row numbers, which many pools have in common."""
    return fingerprint("ids", *pool.ids) if pool.id_column is not None and pool.ids is not None else None


def squeezed(side: int) -> Preprocessing:
    """A frame brought to a square, as the image processor of the written encoder does."""
    return Preprocessing((side, side), None, _BILINEAR, 1 / 255, (0.0,) * 3, (1.0,) * 3)


def _write_pixels(pool: Pool, path: Path, side: int, workers: int, progress: Progress | None) -> dict[int, str]:
    """Write the .npy file front to back: a full disk is then an error, where a mapped file would kill the process."""
    rows = len(pool.frames)
    reasons: dict[int, str] = {}
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (rows, side, side, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        for batch in _decoded(pool, rows, side, workers):
            file.write(np.ascontiguousarray(batch.pixels).data)
            reasons.update({batch.start + slot: why for slot, why in enumerate(batch.reasons) if why is not None})
            if progress is not None:
                progress.update(len(batch.reasons))
    return reasons


def _decoded(pool: Pool, rows: int, side: int, workers: int) -> Iterator[Batch]:
    batches = TableBatches(pool, spans(rows, rows, _BATCH, [0]), squeezed(side))
    yield from read_ahead(batches, min(workers, len(batches)))

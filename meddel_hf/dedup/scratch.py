"""Rows of a pool in keep order, in a file of no name: groups that are compared stand together and are read at once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray

from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.cosines import BLOCK, Rows, Vectors
from meddel_hf.neighbors.row_source import RowSource, blocks, blocks_of, wide
from meddel_hf.runtime.files import existing
from meddel_hf.runtime.shared_work import PartsGone, SharedWork, digest_of
from meddel_hf.runtime.sizes import written
from meddel_hf.runtime.threads import own_threads

_REGROUPING = "regrouping"
_GAP = 8  # rows that are read although nobody asks for them, so that two reads become one


@dataclass(frozen=True, eq=False)
class Pieces:
    """Bounds of the parts of keep order that are in memory at once: whole groups, or parts of one that is larger.

    bounds: places in keep order, ascending, from 0 to the number of rows. rows: in a part, at most.
    """

    bounds: Rows
    rows: int

    @classmethod
    def of(cls, sizes: Sequence[int], rows: int) -> Pieces:
        """sizes: rows in each group, one after another in keep order."""
        bounds, end = [0], 0
        for size in sizes:
            if end > bounds[-1] and end + size - bounds[-1] > rows:
                bounds.append(end)
            if size > rows:
                bounds += [*range(end + rows, end + size, rows), end + size]
            end += size
        return cls(np.array([*bounds, end] if end > bounds[-1] else bounds, np.int64), rows)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return pairwise(self.bounds.tolist())


class _Joined:
    """Files that are read as one. ends: bytes before each, and of all."""

    def __init__(self, paths: Sequence[Path], ends: Sequence[int]) -> None:
        self.paths, self.ends, self.place = paths, np.array(ends), 0

    def seek(self, place: int) -> None:
        self.place = place

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer, or a part of it where a file ends. Raises PartsGone where the files went."""
        which = int(np.searchsorted(self.ends, self.place, side="right")) - 1
        most = int(self.ends[which + 1]) - self.place
        try:
            with self.paths[which].open("rb", buffering=0) as file:
                file.seek(self.place - int(self.ends[which]))
                count = file.readinto(buffer[:most])
        except FileNotFoundError as error:
            raise PartsGone(f"{self.paths[which]} went while this process was at work") from error
        self.place += count or 0
        return count or 0


@dataclass(frozen=True, eq=False)
class Scratch:
    """Rows by their places in keep order.

    at: (m,) int64, where in the file the row of each place stands: rows of a piece stand together, in the pool's order.
    dtype: of the file. wide: of what is read.
    """

    file: IO[bytes] | _Joined
    at: Rows
    dim: int
    dtype: np.dtype
    wide: np.dtype

    @classmethod
    def shared(cls, work: SharedWork, source: RowSource, order: Rows, pieces: Pieces, rows_at_once: int) -> Scratch:
        """As `of`, in files that several processes write and all read: of each block of the source its rows, by piece.

        Raises InvalidArgument where the disk has no room.
        """
        n, dim = source.shape
        starts = [start for start, _ in blocks_of(n, rows_at_once)] + [n]
        place, at = np.full(n, -1, np.int64), np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        by_piece, ends = [], [0]
        for start, stop in pairwise(starts):
            piece = np.searchsorted(pieces.bounds, place[start:stop], side="right") - 1
            rows = np.argsort(piece, kind="stable")[np.count_nonzero(piece < 0) :]
            by_piece.append(rows)
            at[place[start + rows]] = ends[-1] + np.arange(len(rows))
            ends.append(ends[-1] + len(rows))

        def write(part: int, path: Path) -> None:
            rows = source.read(starts[part], starts[part + 1])[by_piece[part]]
            _as_stored(rows, source.stored).tofile(path)

        if not any(work.folder.glob(f"{_REGROUPING}-*")):
            _check_room(len(order) * dim * source.stored.itemsize, existing(work.folder))
        # The first row tells spaces apart: of one store there may be two in one selection.
        question = digest_of(order, pieces.bounds, starts, dim, source.stored.str, source.read(0, 1))
        costs = [float(stop - start) for start, stop in pairwise(starts)]
        paths = list(work.files(_REGROUPING, question, costs, write, sync=True))
        size = dim * source.stored.itemsize
        return cls(_Joined(paths, [end * size for end in ends]), at, dim, source.stored, source.dtype)

    @classmethod
    @contextmanager
    def of(cls, source: RowSource, order: Rows, pieces: Pieces, rows_at_once: int, folder: Path) -> Iterator[Scratch]:
        """Copy the rows of `order`, row numbers in keep order, into a file in `folder`, which ends with the block.

        rows_at_once: of the source, held in memory. Raises InvalidArgument where the disk has no room.
        """
        n, dim = source.shape
        _check_room(len(order) * dim * source.stored.itemsize, folder)
        place = np.full(n, -1, np.int64)
        place[order] = np.arange(len(order))
        # Without a name the file is gone when the process is, however that ends.
        with tempfile.TemporaryFile(dir=folder, prefix=".meddel-", buffering=0) as file:
            scratch = cls(file, np.empty(len(order), np.int64), dim, source.stored, source.dtype)
            free_at = pieces.bounds[:-1].copy()
            for start, rows in blocks(source, rows_at_once):
                scratch._add(rows, place[start : start + len(rows)], pieces, free_at)
            yield scratch

    def _add(self, rows: NDArray[np.floating], places: Rows, pieces: Pieces, free_at: Rows) -> None:
        """Write a block, each row to the next free place of its piece; rows without a place are left out."""
        piece = np.searchsorted(pieces.bounds, places, side="right") - 1  # -1: no place
        by_piece = np.argsort(piece, kind="stable")
        used, first = np.unique(piece[by_piece], return_index=True)
        ends = [*first[1:].tolist(), len(rows)]
        for number, begin, end in zip(used.tolist(), first.tolist(), ends, strict=True):
            if number >= 0:
                here = by_piece[begin:end]
                self.at[places[here]] = free_at[number] + np.arange(len(here))
                self._write(int(free_at[number]), _as_stored(rows[here], self.dtype))
                free_at[number] += len(here)

    def __len__(self) -> int:
        return len(self.at)

    def read(self, start: int, stop: int) -> NDArray[np.floating]:
        """Rows at the places from `start` to before `stop`, (stop - start, dim)."""
        return self.take(np.arange(start, stop))

    def take(self, places: Rows) -> NDArray[np.floating]:
        """Rows at these places, (len(places), dim), in their order."""
        at = self.at[places]
        order = np.argsort(at, kind="stable")
        ascending = at[order]
        result = np.empty((len(places), self.dim), self.wide)
        breaks = np.flatnonzero(np.diff(ascending) > _GAP) + 1
        for begin, end in pairwise([0, *breaks.tolist(), len(ascending)] if len(ascending) else []):
            first = int(ascending[begin])
            part = self._read(first, int(ascending[end - 1]) + 1 - first)

            def put(start: int, part: NDArray[np.floating] = part, first: int = first, end: int = end) -> None:
                some = slice(start, min(start + BLOCK, end))
                result[order[some]] = wide(part[ascending[some] - first])

            with own_threads() as threads:
                threads.each(put, range(begin, end, BLOCK))
        return result

    def vectors(self, start: int, stop: int, *, copy: bool = True) -> Vectors:
        """As `read`, ready for cosines. copy: as of `Vectors.prepare`."""
        return Vectors.prepare(self.read(start, stop), copy=copy)

    def _write(self, first: int, rows: NDArray[np.floating]) -> None:
        assert not isinstance(self.file, _Joined)
        self.file.seek(first * self.dim * self.dtype.itemsize)
        left = np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data
        while len(left):  # a write may be shorter than asked for
            left = left[self.file.write(left) :]

    def _read(self, first: int, rows: int) -> NDArray[np.floating]:
        part = np.empty((rows, self.dim), self.dtype)
        self.file.seek(first * self.dim * self.dtype.itemsize)
        left = part.reshape(-1).view(np.uint8).data
        while len(left):
            count = self.file.readinto(left)  # type: ignore[union-attr]
            if not count:
                raise EOFError("the scratch file ends before its rows do")
            left = left[count:]
        return part


def _as_stored(rows: NDArray[np.floating], dtype: np.dtype) -> NDArray[np.floating]:
    """Rows of a source as they stand in its store: in float16 by torch, several times as fast as by numpy."""
    if dtype != np.float16:
        return rows.astype(dtype, copy=False)
    return torch.from_numpy(rows).half().numpy()


def _check_room(needed: int, folder: Path) -> None:
    """needed: bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InvalidArgument(
            f"rows are regrouped in a scratch file of {written(needed)}, and {folder} has {written(free)} free: "
            "write to another disk (--out of select, TMPDIR of sweep, scratch in Python), or give more memory"
        )

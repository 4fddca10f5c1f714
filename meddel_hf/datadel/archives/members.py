"""Reading single files out of folders and archives, lazily: nothing is unpacked to disk."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from meddel_hf.datadel.archives.entries import Container, Entry, stamp_of
from meddel_hf.errors import UnreadableArchive

# Whatever a damaged archive makes its reader raise.
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, NotImplementedError,
          RuntimeError, ValueError, OverflowError, struct.error, IndexError, KeyError)  # fmt: skip
MAX_FILE = 256_000_000  # bytes of a file that is read whole; videos are streamed
_MAX_NESTED_ZIP = 200_000_000  # bytes: its index stands at its end, so it is held in memory
_OPEN_ARCHIVES = 8
_CURSORS = 4


class Members:
    """Reads entries; keeps the archives open that were used last. One per process, not for several threads."""

    def __init__(self, containers: Sequence[Container]) -> None:
        self._containers = containers
        self._open: OrderedDict[int, zipfile.ZipFile | Cursors] = OrderedDict()

    def read(self, entry: Entry) -> bytes:
        """Content of a file. Raises UnreadableArchive, whose message is the reason."""
        if entry.size > MAX_FILE:
            raise UnreadableArchive(f"too large: {entry.size:,} bytes, at most {MAX_FILE:,} are read")
        with self.reading(entry) as file:
            data = file.read(entry.size + 1)
        if len(data) != entry.size:
            raise UnreadableArchive(f"unfinished: {len(data):,} bytes of {entry.size:,}")
        return data

    @contextmanager
    def reading(self, entry: Entry) -> Iterator[IO[bytes]]:
        """A seekable file from its beginning. Raises UnreadableArchive where it, or its archive, is damaged, is no
        longer a plain file, or was changed since the files were listed."""
        where = self._on_disk(entry)
        self._check_unchanged(*where)
        try:
            with self.stream(entry) as file:
                yield file
        except DAMAGE as error:
            from_what = "" if self._containers[entry.container].kind == "folder" else " from its archive"
            raise UnreadableArchive(f"cannot be read{from_what}: {said(error)}") from error
        self._check_unchanged(*where)

    def stream(self, entry: Entry) -> IO[bytes]:
        """A seekable file from its beginning. Raises one of DAMAGE."""
        container = self._containers[entry.container]
        if container.kind == "folder":
            return open_plain(_path(container, entry))
        archive = self._archive(entry.container)
        if isinstance(archive, zipfile.ZipFile):
            return archive.open(archive.infolist()[entry.position])
        return io.BufferedReader(Slice(archive, entry.position, entry.size))

    def _on_disk(self, entry: Entry) -> tuple[Path, int | None]:
        """The file on disk that holds an entry, and its time of change as it was listed."""
        container = self._containers[entry.container]
        if container.kind == "folder":
            return _path(container, entry), entry.stamp
        if isinstance(container.place, Path):
            return container.place, container.stamp
        return self._on_disk(container.place)

    def _check_unchanged(self, path: Path, stamp: int | None) -> None:
        try:
            now = stamp_of(path.stat())
        except OSError as error:
            raise UnreadableArchive(f"cannot be read: {said(error)}") from error
        if now != stamp:
            raise UnreadableArchive(f"{path.name} was changed while the build ran: build again")

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def _archive(self, number: int) -> zipfile.ZipFile | Cursors:
        if number not in self._open:
            if len(self._open) == _OPEN_ARCHIVES:
                self._open.popitem(last=False)[1].close()
            container = self._containers[number]
            if container.kind == "zip":
                self._open[number] = open_zip(self._containers, container)
            else:
                self._open[number] = Cursors(lambda: open_stream(self._containers, container), container.in_order)
        self._open.move_to_end(number)
        return self._open[number]


class Cursors:
    """Random reads of a stream that is fast only forwards: of a few positions, the nearest one before goes on.

    So frames and masks of one tar.gz, which lie far apart but each in order, are read in one pass each.
    """

    def __init__(self, fresh: Callable[[], IO[bytes]], in_order: bool) -> None:
        self._fresh, self._limit = fresh, _CURSORS if in_order else 1
        self._in_order = in_order
        self._streams: list[IO[bytes]] = []  # the one used last stands last

    def read(self, position: int, size: int) -> bytes:
        before = [s for s in self._streams if s.tell() <= position or not self._in_order]
        if before:
            stream = max(before, key=lambda s: s.tell())
            self._streams.remove(stream)
        else:
            if len(self._streams) == self._limit:
                self._streams.pop(0).close()
            stream = self._fresh()
        self._streams.append(stream)
        stream.seek(position)
        return stream.read(size)

    def close(self) -> None:
        while self._streams:
            self._streams.pop().close()


class Slice(io.RawIOBase):
    """A part of a stream as a file of its own."""

    def __init__(self, cursors: Cursors, start: int, size: int) -> None:
        self._cursors, self._start, self._size, self._at = cursors, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._cursors.read(self._start + self._at, max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def open_zip(containers: Sequence[Container], container: Container) -> zipfile.ZipFile:
    """Raises one of DAMAGE, and UnreadableArchive where a zip inside an archive is too large to be held."""
    if isinstance(container.place, Path):
        return zipfile.ZipFile(container.place)
    if container.place.size > _MAX_NESTED_ZIP:
        size = f"{container.place.size:,}"
        raise UnreadableArchive(f"a zip of {size} bytes inside an archive: unpack the outer one first")
    members = Members(containers)
    try:
        with members.stream(container.place) as file:
            return zipfile.ZipFile(io.BytesIO(file.read(_MAX_NESTED_ZIP)))
    finally:
        members.close()


def open_stream(containers: Sequence[Container], container: Container) -> IO[bytes]:
    """The decompressed bytes of a tar, from their beginning. Raises one of DAMAGE."""
    with ExitStack() as stack:
        raw: Any
        if isinstance(container.place, Path):
            raw = stack.enter_context(open_plain(container.place))
        else:
            members = Members(containers)
            stack.callback(members.close)
            raw = stack.enter_context(members.stream(container.place))
        if container.compression:
            raw = stack.enter_context(_OPENERS[container.compression](raw))
        return Opened(raw, stack.pop_all())  # type: ignore[return-value]  # has what readers of a tar call


class Opened:
    """A stream that closes all that it was opened through."""

    def __init__(self, stream: IO[bytes], stack: ExitStack) -> None:
        self.read, self.seek, self.tell, self.close = stream.read, stream.seek, stream.tell, stack.close

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


_OPENERS: dict[str, Callable[[Any], Any]] = {"gz": lambda raw: gzip.GzipFile(fileobj=raw), "bz2": bz2.BZ2File,
                                             "xz": lzma.LZMAFile}  # fmt: skip


def open_plain(path: Path) -> IO[bytes]:
    """Open a plain file. Raises OSError where it is none: a named pipe would block, a device may never end."""
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(f"{path.name} is no longer a plain file")
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def _path(container: Container, entry: Entry) -> Path:
    """Where a file of a folder lies on disk."""
    assert isinstance(container.place, Path)  # a folder is on disk
    return container.place / entry.path[len(container.prefix) :].lstrip("/")


def said(error: Exception) -> str:
    """The error's message, the same on every run and machine."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(re.sub(r"<[^>]*>", "", text).split()) or type(error).__name__

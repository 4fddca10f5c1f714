"""Only regular files are opened: a named pipe, a socket, a device and links to them are refused at once."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = {
    stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}  # fmt: skip
_WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class NotRegular(OSError):
    """What stands under a path is no regular file; `strerror` says what it is."""


class TooLarge(OSError):
    """A file is larger than what is read of one; `strerror` says both sizes."""

    def __init__(self, size: int, most: int, path: str | Path) -> None:
        super().__init__(errno.EFBIG, f"too large: {size:,} bytes, at most {most:,} are read", str(path))


def stat_regular(path: str | Path, most: int | None = None) -> os.stat_result:
    """What `os.stat` says, links followed.

    Raises NotRegular, TooLarge where there are more than `most` bytes, or the OSError of a path that leads nowhere.
    """
    state = os.stat(path)
    _check(state, path)
    if most is not None and state.st_size > most:
        raise TooLarge(state.st_size, most, path)
    return state


def open_regular(path: str | Path) -> BinaryIO:
    """Open for reading, without ever waiting for a writer. Raises NotRegular, or the OSError of `open`."""
    stat_regular(path)  # before it is opened: that alone can do something to a device
    file = os.open(path, os.O_RDONLY | _WITHOUT_WAITING)
    try:
        _check(os.fstat(file), path)  # another may stand there by now
        return os.fdopen(file, "rb")
    except BaseException:
        os.close(file)
        raise


def read_regular(path: str | Path, most: int) -> bytes:
    """All bytes of a file of at most `most` bytes. Raises TooLarge, NotRegular, and as `open_regular`."""
    with open_regular(path) as file:
        data = file.read(most + 1) if os.fstat(file.fileno()).st_size <= most else b""
        if data is None:  # as of /proc/kmsg, which calls itself a regular file
            raise NotRegular(errno.EAGAIN, "not a file: it has nothing to read yet", str(path))
        size = len(data) or os.fstat(file.fileno()).st_size
    if size > most:
        raise TooLarge(size, most, path)
    return data


def why_not_read(error: OSError) -> str:
    """The reason that is listed for a file: without its path, the same on every run."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "file not found"
    if isinstance(error, PermissionError):
        return "permission denied"
    if error.errno == errno.ELOOP:
        return "a link that leads to itself"
    return error.strerror or type(error).__name__


def _check(status: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")
        raise NotRegular(errno.EINVAL, f"not a file: {kind}", str(path))

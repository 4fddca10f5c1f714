"""Walking a folder on disk: plain files, and what cannot or must not be opened, each with its reason. Nothing hangs."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from meddel_hf.data.scan import SYSTEM_FOLDERS
from meddel_hf.datadel.archives.entries import Inode, Kind

HIDDEN = "hidden: its name begins with a dot, or is an operating system's"  # the reason
_HIDDEN = re.compile(rf"^(\..*|{'|'.join(map(re.escape, SYSTEM_FOLDERS))}|Thumbs\.db|desktop\.ini)$")
_MAX_VISITS = 8  # of one folder, through links
_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A plain file, whatever links lead to it. name: its path below the folder, with slashes."""

    name: str
    path: Path
    facts: os.stat_result


@dataclass(frozen=True, slots=True)
class Odd:
    """What is not read, and why."""

    name: str
    reason: str
    kind: Kind = "kept out"


def walk(root: Path, leave_out: Path | None = None, *, inside: bool = False) -> Iterator[Found | Odd]:
    """Everything below a folder, in sorted order, links followed; `leave_out` and what it holds are not.

    A folder that lies in itself by a link is not entered again, and none is entered more than _MAX_VISITS times.
    inside: links that lead out of the folder are not followed.
    """
    limit = Path(os.path.realpath(root)) if inside else None
    omitted = _inode(leave_out.stat()) if leave_out is not None and leave_out.is_dir() else None
    visits: Counter[Inode] = Counter()
    todo: list[tuple[str, Path, frozenset[Inode]]] = [("", root, frozenset([_inode(root.stat())]))]
    while todo:
        below, folder, above = todo.pop()
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            yield Odd(below or ".", f"a folder that cannot be listed: {error.strerror}")
            continue
        inner = []
        for name in names:
            path, shown = folder / name, f"{below}/{name}".lstrip("/")
            looked_at = _leading_out(path, shown, limit) or _looked_at(path, shown)
            if isinstance(looked_at, Odd) or stat.S_ISREG(looked_at.facts.st_mode):
                yield looked_at
                continue
            inode = _inode(looked_at.facts)
            visits[inode] += 1
            if inode == omitted:
                continue
            if inode in above:
                yield Odd(shown, "a link to a folder that holds it: not entered again", "not read")
            elif visits[inode] > _MAX_VISITS:
                yield Odd(shown, f"a folder that links lead to more than {_MAX_VISITS} times: not entered again")
            else:
                inner.append((shown, path, above | {inode}))
        todo += reversed(inner)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is a system's or a tool's, not the data's."""
    return _HIDDEN.match(name) is not None


def _leading_out(path: Path, shown: str, limit: Path | None) -> Odd | None:
    """Of a link that leads out of a folder: that it is not followed."""
    if limit is None or not path.is_symlink() or is_hidden(path.name):
        return None
    real = os.path.realpath(path)
    if Path(real).is_relative_to(limit) or not os.path.exists(real):
        return None
    return Odd(shown, "a link that leads out of the folder: not followed; copy what it leads to, or name its folder")


def _looked_at(path: Path, shown: str) -> Found | Odd:
    """A plain file or a folder, or why it is neither."""
    if is_hidden(path.name):
        return Odd(shown, HIDDEN, "not read")
    try:
        facts = path.stat()
    except OSError as error:
        return Odd(shown, _unreachable(path, error))
    what = _SPECIAL.get(stat.S_IFMT(facts.st_mode))
    if what is not None:
        return Odd(shown, f"{'a link to ' if path.is_symlink() else ''}{what}: only plain files are read")
    return Found(shown, path, facts)


def _unreachable(path: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "a link that leads back to itself"
    if error.errno == errno.ENOENT and path.is_symlink():
        return "a link to a file that is not there: file not found"
    return f"cannot be read: {error.strerror}"


def _inode(facts: os.stat_result) -> Inode:
    return facts.st_dev, facts.st_ino

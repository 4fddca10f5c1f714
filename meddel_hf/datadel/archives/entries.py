"""Files by name: where each lies, in which folder or archive."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Compression = Literal["", "gz", "bz2", "xz"]
Kind = Literal["kept out", "remark", "not read"]
Inode = tuple[int, int]  # device, and number of the file there


@dataclass(frozen=True, slots=True)
class Container:
    """A folder on disk, or an archive: on disk, or a file inside another container.

    prefix: path of its content as sources see it, such as "raw/kvasir-seg" for raw/kvasir-seg.zip.
    place:  where it lies: a path on disk, or the entry of the archive that holds it.
    inode, stamp: of an archive on disk, as it was listed: see `stamp_of`.
    """

    kind: Literal["folder", "zip", "tar"]
    prefix: str
    place: Path | Entry
    compression: Compression = ""
    inode: Inode | None = None
    stamp: int | None = None

    @property
    def in_order(self) -> bool:
        """Whether its files are read fast only in the order in which they lie: a compressed or nested tar."""
        return self.kind == "tar" and (self.compression != "" or not isinstance(self.place, Path))


def stamp_of(status: os.stat_result) -> int:
    """Another one whenever a file was written, even where its time of modification was set back afterwards."""
    return status.st_mtime_ns + status.st_ctime_ns


@dataclass(frozen=True, slots=True)
class Entry:
    """One file. folder and name: its path as sources see it; stamp: changes when the content does, as far as a listing
    tells (CRC-32 in a zip, `stamp_of` elsewhere); position: index in a zip, first byte in a tar; inode: of a file
    on disk, the same whatever links lead to it."""

    folder: str
    name: str
    size: int
    stamp: int
    container: int = field(repr=False)  # so that repr tells a file, whatever else lies beside it
    position: int = 0
    inode: Inode | None = field(default=None, repr=False, compare=False)

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}"

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0] or self.name

    @property
    def suffix(self) -> str:
        """In lower case, with its dot."""
        return os.path.splitext(self.name)[1].lower()


@dataclass(frozen=True, slots=True)
class Problem:
    """What a build did not take, and why. source is None where no source claims the file, as with a damaged archive.

    kind: "kept out": a frame, table or archive that should have been built and was not;
          "remark":   a frame or video that was built; the reason tells what of it was left out or put right;
          "not read": a file that no source knows as one of its own.
    """

    source: str | None
    path: str
    reason: str
    kind: Kind = "kept out"


@dataclass
class Tree:
    """All files by folder, in sorted order. problems: what could not be listed, or must not be read."""

    containers: list[Container] = field(default_factory=list)
    folders: dict[str, list[Entry]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def note(self, path: str, reason: str, kind: Kind = "kept out") -> None:
        """Add a problem that no source claims; bytes of a name that are not text are shown as such."""
        self.problems.append(Problem(None, path.encode("utf-8", "backslashreplace").decode(), reason, kind))

    def identity(self, entry: Entry) -> tuple[int, ...]:
        """The same for one file on disk, or in an archive, whatever names and links it was met under."""
        container = self.containers[entry.container]
        if container.kind == "folder":
            return entry.inode or ()
        if isinstance(container.place, Path):
            return (*(container.inode or ()), entry.position)
        return (*self.identity(container.place), entry.position)

    def find(self, pattern: str) -> Iterator[tuple[re.Match[str], list[Entry]]]:
        """Folders whose path matches (anywhere, in any case), with their files by name."""
        compiled = re.compile(pattern, re.IGNORECASE)
        for folder, entries in self.folders.items():
            match = compiled.search(folder)
            if match:
                yield match, entries

    def files(self, pattern: str, name: str, suffixes: Iterable[str] | None = None) -> Iterator[Entry]:
        """Files whose folder matches `pattern` and whose whole name matches `name` (in any case)."""
        compiled, wanted = re.compile(name, re.IGNORECASE), suffixes and set(suffixes)
        for _, entries in self.find(pattern):
            yield from (e for e in entries if compiled.fullmatch(e.name) and (not wanted or e.suffix in wanted))

    def order(self, entry: Entry) -> tuple[str, int]:
        """Sorts files as they are read fast: by path, but in archive order where that is the only fast one."""
        container = self.containers[entry.container]
        return (container.prefix, entry.position) if container.in_order else (entry.path, 0)

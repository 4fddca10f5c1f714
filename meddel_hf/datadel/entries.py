"""Files by name: where each lies, in which folder or archive."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Compression = Literal["", "gz", "bz2", "xz"]


@dataclass(frozen=True, slots=True)
class Container:
    """A folder on disk, or an archive: on disk, or a file inside another container.

    prefix: path of its content as sources see it, such as "raw/kvasir-seg" for raw/kvasir-seg.zip.
    place:  where it lies: a path on disk, or the entry of the archive that holds it.
    """

    kind: Literal["folder", "zip", "tar"]
    prefix: str
    place: Path | Entry
    compression: Compression = ""

    @property
    def in_order(self) -> bool:
        """Whether its files are read fast only in the order in which they lie: a compressed or nested tar."""
        return self.kind == "tar" and (self.compression != "" or not isinstance(self.place, Path))


@dataclass(frozen=True, slots=True)
class Entry:
    """One file. folder and name: its path as sources see it; stamp: changes when the content does, as far as a listing
    tells (CRC-32 in a zip, time of change elsewhere); position: index in a zip, first byte in a tar."""

    folder: str
    name: str
    size: int
    stamp: int
    container: int = field(repr=False)  # so that repr tells a file, whatever else lies beside it
    position: int = 0

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
    """A file that is kept out, and why. source is None where no source claims it, as with a damaged archive."""

    source: str | None
    path: str
    reason: str


@dataclass
class Tree:
    """All files by folder, in sorted order. problems: what could not be listed, or must not be read."""

    containers: list[Container] = field(default_factory=list)
    folders: dict[str, list[Entry]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

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

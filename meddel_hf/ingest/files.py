"""Files of a folder, also inside archives, by what they are; links and archives lead nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from meddel_hf.data.scan import (
    DICOM_SUFFIXES,
    IMAGE_SUFFIXES,
    SLIDE_SUFFIXES,
    VIDEO_SUFFIXES,
    VOLUME_SUFFIXES,
)
from meddel_hf.datadel.archives.entries import Container, Entry, Problem
from meddel_hf.datadel.archives.members import Members
from meddel_hf.datadel.archives.scan import scan
from meddel_hf.datadel.convert.videos import SUFFIXES as BUILT_VIDEOS
from meddel_hf.errors import UnreadableArchive

Kind = Literal["picture", "video", "dicom", "nifti", "slide"]
VIDEOS = tuple(sorted({*VIDEO_SUFFIXES, *BUILT_VIDEOS}))
TIFFS = (".tif", ".tiff")  # slides where they have levels
_PREAMBLE, _MAGIC = 128, b"DICM"


@dataclass(frozen=True, slots=True)
class File:
    """path: below the folder that was named, with slashes; an archive is a folder, without its suffix. root: which."""

    path: str
    entry: Entry
    root: int

    @property
    def suffix(self) -> str:
        """In lower case; of 1.2.840.10008, as DICOM files are called, none."""
        lower = self.path.lower()
        if lower.endswith(".nii.gz"):
            return ".nii.gz"
        suffix = PurePosixPath(lower).suffix
        return "" if suffix[1:].isdigit() else suffix

    @property
    def stem(self) -> str:
        """The path without suffix: what ids are made of."""
        return self.path[: len(self.path) - len(self.suffix)]

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]


@dataclass
class Listing:
    """Everything below some folders. roots: containers of each; problems: what cannot be read, or must not be."""

    roots: list[list[Container]] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, folder: Path, leave_out: Path) -> None:
        """List one more folder, or archive. Raises InvalidDataset where it is neither."""
        tree = scan([folder], leave_out=leave_out, inside=True)
        root = len(self.roots)
        self.roots.append(tree.containers)
        self.files += [File(_below(e.path), e, root) for entries in tree.folders.values() for e in entries]
        self.problems += [replace(problem, path=_below(problem.path)) for problem in tree.problems]


class Library:
    """Reads the files of a listing. One per process."""

    def __init__(self, roots: Sequence[Sequence[Container]]) -> None:
        self._roots = roots
        self._members = [Members(containers) for containers in roots]

    def read(self, file: File) -> bytes:
        """All of a file. Raises UnreadableArchive, whose message is the reason; so does each of the next two."""
        _check_holds_something(file)
        return self._members[file.root].read(file.entry)

    @contextmanager
    def reading(self, file: File) -> Iterator[IO[bytes]]:
        """The file, seekable, from its beginning."""
        _check_holds_something(file)
        with self._members[file.root].reading(file.entry) as stream:
            yield stream

    def on_disk(self, file: File) -> Path:
        """Where it lies. Raises UnreadableArchive for one in an archive too."""
        _check_holds_something(file)
        container = self._roots[file.root][file.entry.container]
        if container.kind != "folder" or not isinstance(container.place, Path):
            raise UnreadableArchive("a slide in an archive: unpack it first")
        return container.place / file.entry.path[len(container.prefix) :].lstrip("/")

    def close(self) -> None:
        for members in self._members:
            members.close()


def kind_of(file: File, library: Library, *, slides: bool) -> Kind | None:
    """What a file is by its suffix, or its first bytes where it has none; None of what holds no picture.

    slides: a TIFF with levels is one.
    """
    suffix = file.suffix
    if suffix in TIFFS and slides and _has_levels(file, library):
        return "slide"
    if suffix in IMAGE_SUFFIXES:
        return "picture"
    if suffix in VIDEOS:
        return "video"
    if suffix in VOLUME_SUFFIXES:
        return "nifti"
    if suffix in SLIDE_SUFFIXES:
        return "slide"
    if suffix in DICOM_SUFFIXES or (not suffix and _says_dicom(file, library)):
        return "dicom"
    return None


def stems_twice(files: Iterable[File]) -> tuple[File, File] | None:
    """Two files of one id, if there are any."""
    known: dict[str, File] = {}
    for file in files:
        if known.setdefault(file.stem, file) is not file:
            return known[file.stem], file
    return None


def _check_holds_something(file: File) -> None:
    """Before a reader says of nothing what is damaged in it."""
    if not file.entry.size:
        raise UnreadableArchive("empty file")


def _says_dicom(file: File, library: Library) -> bool:
    try:
        with library.reading(file) as stream:
            return stream.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] == _MAGIC
    except UnreadableArchive:
        return False


def _has_levels(file: File, library: Library) -> bool:
    import tifffile

    try:
        with library.reading(file) as stream, tifffile.TiffFile(stream, name=file.entry.name) as tiff:
            return len(tiff.series[0].levels) > 1
    except Exception:  # damaged: as a picture it is refused, with the reason
        return False


def _below(path: str) -> str:
    """Without the name of the folder that was named."""
    return path.partition("/")[2] or path

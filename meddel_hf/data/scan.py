"""What stands in a folder of images: the pictures, and every other file, so that none is left out without a word."""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from meddel_hf.runtime.files import whole_file
from meddel_hf.runtime.regular import open_regular, why_not_read
from meddel_hf.runtime.shard import is_first
from meddel_hf.runtime.words import plural

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg",
    ".jpx", ".mpo", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
)  # fmt: skip
DATA_SUFFIXES = (".parquet", ".arrow", ".csv", ".json", ".jsonl")
VIDEO_SUFFIXES = (
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv",
    ".ts", ".vob", ".webm", ".wmv",
)  # fmt: skip
DICOM_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
VOLUME_SUFFIXES = (".nii", ".nii.gz")
SLIDE_SUFFIXES = (".svs", ".ndpi", ".scn", ".bif", ".qptiff")  # of scanners
# What operating systems and network storage keep beside the files: thumbnails, and what was deleted.
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN")
SKIPPED = "skipped.parquet"
_NAMES_OF_MASKS = ("mask", "masks", "annotation", "annotations", "ground truth", "groundtruth", "gt", "segmentation")
# How names of masks end, where one frame may have several, and how they begin.
_ENDING = re.compile(r"[_-](masks?|seg|segmentation|gt|labels?|annotations?)([_-]?\d+)?$", re.IGNORECASE)
_BEGINNING = re.compile(r"(^|/)masks?[_-](?=[^/]+$)", re.IGNORECASE)
_FRAMES = ("", "img_", "image_", "frame_")  # what stands in its place in the name of the frame
_NO_SUFFIX = "no suffix"
_DICOM_AT, _DICOM = 128, b"DICM"
_KINDS_SHOWN = 6


@dataclass(frozen=True)
class Skipped:
    """A file that was not looked at. path: relative to the folder. kind: its suffix in small letters, or what it is."""

    path: str
    kind: str


@dataclass(frozen=True)
class Scan:
    """What was found below a folder; hidden files, hidden folders and SYSTEM_FOLDERS are not.

    pictures: relative paths of the files whose suffix is a picture's, sorted; some of them may not be readable.
    skipped:  every other file, sorted by path.
    notes:    what a user should know besides, one sentence each.
    """

    folder: Path
    pictures: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, folder: Path) -> Scan:
        pictures, skipped = [], []
        for name, why in _files(folder):
            kind = why or _kind(name)
            if kind in IMAGE_SUFFIXES:
                pictures.append(name)
            else:
                skipped.append(Skipped(name, kind))
        skipped.sort(key=lambda one: one.path)
        return cls(folder, tuple(sorted(pictures)), tuple(skipped))._noted()

    def matching(self, include: str | None) -> Scan:
        """Only the files whose path inside the folder matches a pattern; `*` matches any characters, slashes too."""
        if include is None:
            return self
        pictures = tuple(name for name in self.pictures if fnmatchcase(name, include))
        skipped = tuple(one for one in self.skipped if fnmatchcase(one.path, include))
        return Scan(self.folder, pictures, skipped)._noted()

    def __deepcopy__(self, memo: Any) -> Scan:
        return self  # frozen: a data set that is copied keeps the same one

    def _noted(self) -> Scan:
        """With a note where pictures seem to be masks, and where there is what `meddel pool` makes frames of."""
        return replace(self, notes=(*self.notes, *filter(None, (self._of_masks(), self._of_others()))))

    def _of_masks(self) -> str | None:
        masks = [name for name in self.pictures if is_mask(f"{self.folder.name}/{name}")]
        if masks and len(masks) == len(self.pictures):
            return f"all pictures stand in folders of masks, such as {masks[0]}: is this the folder of the frames?"
        where, named = "stand in folders of masks", {PurePosixPath(name).parent.name for name in masks[:1]}
        if len(masks) == 1:
            where = "stands in a folder of masks"
        if not masks:
            called = called_masks(self.pictures)
            masks, named = list(called), set(called.values()) - {""}
            where = "is called the mask of another" if len(masks) == 1 else "are called masks of others"
        if not masks:
            return None
        options = " ".join(f"--masks {shlex.quote(name)}" for name in sorted(named))
        pair = f", or pair them with their frames: {self._command(options)}" if options else ""
        return (
            f"{len(masks):,} of {plural(len(self.pictures), 'picture')} {where}, such as {masks[0]}: choose with "
            f"include (--include){pair}"
        )

    def _of_others(self) -> str | None:
        kinds = {
            "video": self.of_kind(VIDEO_SUFFIXES), "DICOM file": self._dicoms(),
            "volume": [one.path for one in self.skipped if one.path.lower().endswith(VOLUME_SUFFIXES)],
            "slide": self.of_kind(SLIDE_SUFFIXES),
        }  # fmt: skip
        there = {what: names for what, names in kinds.items() if names}
        if not there:
            return None
        counted = " and ".join(f"{len(names):,} {what}{'s' * (len(names) > 1)}" for what, names in there.items())
        first = _plain(next(iter(there.values()))[0])
        return f"{counted} can be made into frames, such as {first}: {self._command('--fps 1' * ('video' in there))}"

    def _command(self, options: str) -> str:
        """What makes a pool of the folder."""
        return " ".join(filter(None, ("meddel pool", shlex.quote(str(self.folder)), options, "--out pool")))

    def _dicoms(self) -> list[str]:
        """By their suffix; those without one, where the first of them says so."""
        bare = self.of_kind((_NO_SUFFIX,))
        return self.of_kind(DICOM_SUFFIXES) + (bare if bare and _says_dicom(self.folder / bare[0]) else [])

    def of_kind(self, suffixes: tuple[str, ...]) -> list[str]:
        """Paths of the files that were not looked at and have one of these suffixes."""
        return [one.path for one in self.skipped if one.kind in suffixes]

    @property
    def told(self) -> str:
        """What was not looked at, in a few words: "3 files were not looked at (.dcm 2, no suffix 1)"; "" if nothing."""
        if not self.skipped:
            return ""
        counts = Counter(one.kind for one in self.skipped)
        shown = sorted(counts, key=lambda kind: (-counts[kind], kind))
        parts = [f"{_plain(kind)} {counts[kind]:,}" for kind in shown[:_KINDS_SHOWN]]
        if len(shown) > _KINDS_SHOWN:
            parts.append(f"{len(shown) - _KINDS_SHOWN:,} more kinds")
        were = plural(len(self.skipped), "file was", "files were")
        return f"{were} not looked at ({', '.join(parts)})"

    def save(self, folder: Path) -> None:
        """Write skipped.parquet, columns path and kind, where a file was not looked at; remove an older one if not."""
        if not self.skipped:
            (folder / SKIPPED).unlink(missing_ok=True)
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {name: [_plain(getattr(one, name)) for one in self.skipped] for name in ("path", "kind")}
        with whole_file(folder / SKIPPED) as aside:
            pq.write_table(pa.table(columns), aside)


def scan_of(dataset: Any) -> Scan | None:
    """What was found in the folder that `load_pool` made a data set of; None of any other data set."""
    scan = vars(dataset).get("scan")
    return scan if isinstance(scan, Scan) else None


def tell(dataset: Any) -> None:
    """Log what was not looked at in the folder of a data set; one process of several does."""
    if (scan := scan_of(dataset)) is None or not is_first():
        return
    for line in (scan.told, *scan.notes):
        if line:
            log.warning("note: %s", line)


def _files(folder: Path) -> Iterator[tuple[str, str | None]]:
    """(relative path, why it cannot be a picture or None) of the files below a folder, each folder visited once.

    Links to folders are followed; a folder that stands below `folder` itself goes by its own name, not by a link's. One
    that leads to a folder above `folder` is not: it would bring in whatever lies beside it.
    """
    visited: set[str] = set()
    home = os.path.realpath(folder)
    waiting = [folder]
    while waiting:
        links: list[Path] = []
        for start in waiting:
            broken: list[OSError] = []
            for root, folders, names in os.walk(start, onerror=broken.append):
                if (real := os.path.realpath(root)) in visited:
                    folders.clear()
                    yield _relative(Path(root), folder), "a folder that was read already, through a link"
                    continue
                if root != str(folder) and home.startswith(real.rstrip("/") + "/"):
                    folders.clear()
                    yield _relative(Path(root), folder), "a link to a folder above, which is not followed"
                    continue
                folders[:] = sorted(name for name in folders if not name.startswith((".", *SYSTEM_FOLDERS)))
                visited.add(real)
                links += [Path(root, name) for name in folders if os.path.islink(Path(root, name))]
                for name in names:
                    if not name.startswith("."):
                        yield _relative(Path(root, name), folder), _no_picture(Path(root, name))
            for error in broken:
                yield _relative(Path(error.filename), folder), f"a folder that cannot be read ({why_not_read(error)})"
        waiting = sorted(links)


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _no_picture(path: Path) -> str | None:
    """A link to nothing that has no picture's suffix may be one to a folder of pictures: say so."""
    if path.suffix.lower() in IMAGE_SUFFIXES or not path.is_symlink() or path.exists():
        return None
    return "a link to nothing"


def _kind(name: str) -> str:
    """Suffix in small letters; the last number of a DICOM file's name, such as 1.2.840.10008, is none."""
    suffix = PurePosixPath(name).suffix.lower()
    return _NO_SUFFIX if suffix[1:].isdigit() or len(suffix) < 2 else suffix


def _says_dicom(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(_DICOM_AT + len(_DICOM))[_DICOM_AT:] == _DICOM
    except OSError:
        return False


def is_mask(name: str) -> bool:
    """Whether a folder of a path is called so."""
    return any(part.lower() in _NAMES_OF_MASKS for part in PurePosixPath(name).parts[:-1])


def ending_of_mask(stem: str) -> str:
    """The end of a name without suffix that says that it is a mask, such as _mask, -seg or _Mask_2; "" of any other."""
    found = _ENDING.search(stem)
    return found[0] if found else ""


def called_masks(names: Sequence[str]) -> dict[str, str]:
    """Of paths those that are called masks of others, such as 0001_mask.png or mask_0001.png where there is a 0001.

    Each with the end of its name, without suffix, that says so; "" where the beginning does.
    """
    stems = {name: name.removesuffix(PurePosixPath(name).suffix) for name in names}
    there = set(stems.values())
    masks = {}
    for name, stem in stems.items():
        ending = ending_of_mask(stem)
        begins = _BEGINNING.search(stem)
        if ending and stem.removesuffix(ending) in there:
            masks[name] = ending
        elif begins and any(
            stem[: begins.start()] + begins[1] + one + stem[begins.end() :] in there for one in _FRAMES
        ):
            masks[name] = ""
    return masks


def _plain(text: str) -> str:
    """A name that is no UTF-8, as text that can be printed and stored."""
    return text.encode("utf-8", "backslashreplace").decode()

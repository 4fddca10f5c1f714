"""Which file is the mask of which frame: by a folder's name, or by the ending of the file's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from meddel_hf.data.ids import folder_of
from meddel_hf.data.scan import ending_of_mask
from meddel_hf.errors import InvalidArgument, UnreadableImage
from meddel_hf.ingest.files import File
from meddel_hf.runtime.similar import composed


@dataclass(frozen=True)
class Rules:
    """Which files are masks, and which are frames.

    endings: of names without suffix. folders: names or relative paths of folders, with * where needed. roots: folders
    elsewhere, by their number in the listing. images: the same for frames, an ending or a folder; None: all others.
    """

    endings: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    roots: tuple[int, ...] = ()
    images: str | None = None

    def mask_base(self, file: File) -> str | None:
        """The folder of masks that a file lies in, "" of one by its ending or in one elsewhere; None of no mask."""
        if file.root in self.roots:
            return ""
        for pattern in self.folders:
            if (base := base_of(file, pattern)) is not None:
                return base
        name = _name(file)
        return "" if any(name.endswith(ending) and name != ending for ending in self.endings) else None

    def image_base(self, file: File) -> str | None:
        """The folder of frames that a file lies in, "" where all are frames; None of no frame."""
        if self.images is None:
            return ""
        if is_ending(self.images):
            return "" if _name(file).endswith(self.images) else None
        return base_of(file, self.images)


def is_ending(text: str) -> bool:
    return text.startswith(("_", "-", ".")) and "/" not in text and text not in (".", "..")


def base_of(file: File, pattern: str) -> str | None:
    """The highest folder above a file whose path, or the end of it, fits a pattern."""
    parts = file.folder.split("/") if file.folder else []
    for length in range(1, len(parts) + 1):
        base = "/".join(parts[:length])
        if fnmatchcase(base, pattern) or fnmatchcase(base, f"*/{pattern}"):
            return base
    return None


def where(text: str, folder: Path, files: Iterable[File], option: str) -> str | Path:
    """What was typed as a folder: its pattern inside `folder`, or the path of one elsewhere.

    Raises InvalidArgument where there is neither.
    """
    plain = text.rstrip("/") or text
    if any(base_of(file, plain) is not None for file in files):
        return plain
    path = Path(text).resolve()
    if path.is_dir() and path.is_relative_to(folder.resolve()) and path != folder.resolve():
        return path.relative_to(folder.resolve()).as_posix()
    if path.is_dir() and path != folder.resolve():
        return path
    raise InvalidArgument(
        f"{option} {text!r} is no folder with pictures in {folder} or elsewhere: expected a folder's name, a path, "
        "or an ending of names, such as _mask"
    )


@dataclass
class Pairs:
    """frames: path without suffix -> its masks. alone: masks without a frame, or of several, and why."""

    frames: dict[str, list[File]] = field(default_factory=dict)
    alone: list[tuple[File, str]] = field(default_factory=list)


def paired(frames: Sequence[File], masks: Sequence[File], rules: Rules) -> Pairs:
    """Each mask with its frame: of the same name, in the same folder below that of the masks or of the frames.

    A mask at north/masks/p1/0001_mask.png is that of north/p1/0001 or, failing that, of north/ANY/p1/0001. In a folder
    elsewhere p1/0001.png is that of p1/0001. With `images` only that folder, or ending, is left out of a frame's path.
    """
    index = _Index(frames, rules, {composed(folder_of(rules.mask_base(mask) or "")) for mask in masks})
    pairs = Pairs()
    for mask in masks:
        places = _places(mask, rules)
        candidates = next(
            filter(None, (index.find(parent, below, _is_in_folder(mask, rules)) for parent, below in places)), []
        )
        if len(candidates) == 1:
            pairs.frames.setdefault(candidates[0].stem, []).append(mask)
        elif candidates:
            pairs.alone.append((mask, f"a mask that {len(candidates)} frames fit, such as {candidates[0].path} and "
                                f"{candidates[1].path}: name the frames' folder with --images"))  # fmt: skip
        else:
            pairs.alone.append((mask, "a mask without a frame"))
    return pairs


def _places(mask: File, rules: Rules) -> Iterator[tuple[str, str]]:
    """(folder above that of the masks, path below it) that the frame of a mask may have, the likeliest first."""
    base, in_folder = rules.mask_base(mask) or "", _is_in_folder(mask, rules)
    below = mask.stem[len(base) :].lstrip("/")
    endings = rules.endings
    if in_folder:
        yield folder_of(base), below
        endings = (*endings, ending_of_mask(below))
    for ending in endings:
        if ending and below.endswith(ending) and not below.endswith(f"/{ending}") and below != ending:
            yield folder_of(base), below[: -len(ending)]


def _is_in_folder(mask: File, rules: Rules) -> bool:
    """Whether a folder tells that it is a mask, and not the ending of its name."""
    return bool(rules.mask_base(mask)) or mask.root in rules.roots


class _Index:
    """Frames by what their masks may be called; an ü is one, in one character or two."""

    def __init__(self, frames: Sequence[File], rules: Rules, parents: set[str]) -> None:
        self._direct: dict[str, list[File]] = {}
        self._beside: dict[tuple[str, str], list[File]] = {}
        self._elsewhere: dict[str, list[File]] = {}
        for frame in frames:
            base = composed(rules.image_base(frame) or "")
            stem = composed(frame.stem)
            if rules.images is not None and is_ending(rules.images):
                stem = stem.removesuffix(rules.images)
            below = stem[len(base) :].lstrip("/")
            if base:
                self._beside.setdefault((folder_of(base), below), []).append(frame)
            else:
                self._direct.setdefault(stem, []).append(frame)
                for parent, rest in _without_one_folder(stem):
                    if parent in parents:
                        self._beside.setdefault((parent, rest), []).append(frame)
            self._elsewhere.setdefault(f"{folder_of(base)}/{below}".lstrip("/"), []).append(frame)
        self._roots = rules.roots

    def find(self, parent: str, below: str, in_folder: bool) -> list[File]:
        """Frames at a place; in_folder: also in a folder beside that of the masks."""
        parent, below = composed(parent), composed(below)
        direct = self._direct.get(f"{parent}/{below}" if parent else below)
        if direct or not in_folder:
            return direct or []
        elsewhere = self._elsewhere.get(below, []) if self._roots and not parent else []
        return self._beside.get((parent, below)) or elsewhere


def _without_one_folder(stem: str) -> Iterator[tuple[str, str]]:
    """a/b/c/0001 -> ("", b/c/0001), (a, c/0001), (a/b, 0001)"""
    parts = stem.split("/")
    for place in range(len(parts) - 1):
        yield "/".join(parts[:place]), "/".join(parts[place + 1 :])


def _name(file: File) -> str:
    return file.stem.rpartition("/")[2]


def only(found: Sequence[File]) -> File | None:
    """The mask of a frame, None where it has none. Raises UnreadableImage where it has several."""
    if len(found) > 1:
        raise UnreadableImage(f"{len(found)} masks: {', '.join(sorted(mask.path for mask in found))}: leave one")
    return found[0] if found else None

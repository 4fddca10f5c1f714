"""What becomes of each file of a folder, before any picture is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from meddel_hf.data.frame_table import shown
from meddel_hf.data.scan import called_masks, is_mask
from meddel_hf.datadel.archives.entries import Container, Problem
from meddel_hf.errors import InvalidArgument, InvalidDataset
from meddel_hf.ingest import extras, masks
from meddel_hf.ingest.columns import Described, described
from meddel_hf.ingest.files import File, Kind, Library, Listing, kind_of, stems_twice
from meddel_hf.ingest.masks import Pairs, Rules
from meddel_hf.ingest.reading import Reading
from meddel_hf.runtime.words import is_or_are, plural

GROUP_BYTES = 100_000_000  # of the files that one process reads in one go
_VIDEO_GROWS = 4  # frames of a video, stored one by one, are larger than it


@dataclass(frozen=True)
class Item:
    """A file that becomes one frame or several. masks: found for it. values: by column, of its path and the table."""

    file: File
    kind: Kind
    masks: tuple[File, ...] = ()
    values: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Plan:
    """items: sorted by path. problems: what is not read, and why. roots: containers for `Library`."""

    items: tuple[Item, ...]
    problems: tuple[Problem, ...]
    roots: list[list[Container]]
    described: Described

    @property
    def has_dicom(self) -> bool:
        return any(item.kind == "dicom" for item in self.items)

    def groups(self) -> list[tuple[Item, ...]]:
        """Runs of items up to GROUP_BYTES, the same whoever reads them."""
        groups: list[list[Item]] = [[]]
        size = 0
        for item in self.items:
            weight = item.file.entry.size * (_VIDEO_GROWS if item.kind == "video" else 1)
            if groups[-1] and size + weight > GROUP_BYTES:
                groups.append([])
                size = 0
            groups[-1].append(item)
            size += weight
        return [tuple(group) for group in groups if group]


@dataclass(frozen=True)
class Wishes:
    """Which files are frames and masks, and what is said of them; names as in `make_pool`."""

    images: str | None
    masks: tuple[str, ...]
    include: str | None
    exclude: str | None
    parts: tuple[str, ...]
    table: Path | None
    keep: tuple[str, ...]
    allow_missing: bool


def plan(folder: Path, out: Path, wishes: Wishes, reading: Reading) -> Plan:
    """Raises InvalidArgument where options do not fit the files, a library is missing or masks are not told;
    InvalidDataset where there is no frame, or two files of one id."""
    listing = Listing()
    listing.add(folder, out)
    rules = _rules(wishes, folder, listing, out)
    kinds, problems = _kinds(listing, folder, wishes, rules, reading)
    found = [file for file in kinds if rules.mask_base(file) is not None]
    frames = [file for file in kinds if rules.mask_base(file) is None]
    if not frames:
        raise InvalidDataset(_nothing(folder, listing, problems, found))
    _check(folder, frames, kinds, rules, reading)
    pairs = masks.paired(frames, found, rules)
    if found and not pairs.frames:
        raise InvalidArgument(
            f"none of {plural(len(found), 'mask')} fits a frame: masks such as {found[0].path}, frames such as "
            f"{frames[0].path}; both must have one name, and one path below their folders (--images names that "
            "of the frames)"
        )
    said = described(frames, folder, wishes.parts, wishes.table, wishes.keep, wishes.allow_missing)
    items, odd = _items(frames, kinds, pairs, said)
    table = wishes.table.name if wishes.table is not None else ""
    absent = [Problem(None, row, f"the table {table} names it, and there is no such file") for row in said.unknown]
    return Plan(items, (*listing.problems, *problems, *odd, *absent), listing.roots, said)


def _kinds(
    listing: Listing, folder: Path, wishes: Wishes, rules: Rules, reading: Reading
) -> tuple[dict[File, Kind], list[Problem]]:
    """Kinds of the files that are frames or masks, sorted by path; and why others are neither."""
    library = Library(listing.roots)
    kinds: dict[File, Kind] = {}
    problems = []
    try:
        for file in sorted(listing.files, key=lambda file: (file.root, file.path)):
            kind = kind_of(file, library, slides=reading.tile is not None)
            why = _left_out(file, kind, wishes, rules)
            if why is None and kind is not None:
                kinds[file] = kind
            elif why is not None and not _is_table(file, folder, wishes.table):
                problems.append(Problem(None, file.path, why, "not read"))
    finally:
        library.close()
    return kinds, problems


def _items(
    frames: Sequence[File], kinds: Mapping[File, Kind], pairs: Pairs, said: Described
) -> tuple[tuple[Item, ...], list[Problem]]:
    """Frames with their masks and values; and masks that are nobody's, or of a kind that does not fit."""
    items = []
    odd = [Problem(None, mask.path, why) for mask, why in pairs.alone]
    for file in frames:
        mine, kind = pairs.frames.get(file.stem, []), kinds[file]
        fitting = tuple(mask for mask in mine if _fits(kind, kinds[mask]))
        strange = [mask for mask in mine if mask not in fitting]
        odd += [Problem(None, mask.path, f"a mask of {file.path}, which is a {kind}: left out") for mask in strange]
        items.append(Item(file, kind, fitting, tuple(sorted(said.by_path[file.path].items()))))
    return tuple(items), odd


def _rules(wishes: Wishes, folder: Path, listing: Listing, out: Path) -> Rules:
    files = tuple(listing.files)
    endings, folders, roots = [], [], []
    for text in wishes.masks:
        if masks.is_ending(text):
            endings.append(text)
            continue
        place = masks.where(text, folder, files, "--masks")
        if isinstance(place, str):
            folders.append(place)
        else:
            roots.append(len(listing.roots))
            listing.add(place, out)
    images = wishes.images
    if images is not None and not masks.is_ending(images):
        inside = masks.where(images, folder, files, "--images")
        if not isinstance(inside, str):
            raise InvalidArgument(f"--images {images!r} lies outside of {folder}: name that folder as FOLDER")
        images = inside
    return Rules(tuple(endings), tuple(folders), tuple(roots), images)


def _left_out(file: File, kind: Kind | None, wishes: Wishes, rules: Rules) -> str | None:
    """Why a file is neither a frame nor a mask."""
    if kind is None:
        return "no picture, video, DICOM file, volume or slide by its name"
    if wishes.exclude is not None and not file.root and fnmatchcase(file.path, wishes.exclude):
        return "matches --exclude"
    if rules.mask_base(file) is not None:
        return None if kind in ("picture", "nifti") else f"a {kind} among the masks"
    if wishes.include is not None and not fnmatchcase(file.path, wishes.include):
        return "does not match --include"
    return "not in the folder that --images names" if rules.image_base(file) is None else None


def _check(folder: Path, frames: Sequence[File], kinds: Mapping[File, Kind], rules: Rules, reading: Reading) -> None:
    twice = stems_twice(frames)
    if twice is not None:
        what = "differ in suffix only" if twice[0].path != twice[1].path else "stand in a folder and in an archive"
        raise InvalidDataset(
            f"{twice[0].path} and {twice[1].path} {what}, and would have one id: leave one of them out (--include, "
            "--exclude)"
        )
    named = _like_masks(folder, [file for file in frames if kinds[file] == "picture"])
    if named and rules.images is None:
        if len(named) == len(frames):
            cure = "is this the folder of the frames? Name it with --images where it is"
        else:
            ending = next(iter(named.values()))
            cure = (
                f"name them with --masks{f' {ending}' if ending else ''}, leave them out (--exclude), or name the "
                "frames with --images"
            )
        are = plural(len(named), "picture is called a mask", "pictures are called masks")
        raise InvalidArgument(f"{are}, such as {next(iter(named))}: {cure}")
    by_kind: dict[Kind, list[File]] = {"dicom": [], "nifti": []}
    if reading.tile is not None:
        by_kind["slide"] = []
    for file in frames:
        if kinds[file] in by_kind:
            by_kind[kinds[file]].append(file)
    for kind, files in by_kind.items():
        extras.check(kind, files)


def _like_masks(folder: Path, pictures: Sequence[File]) -> dict[str, str]:
    """Paths of pictures in folders that are called masks, or that are called so where their frame lies beside.

    Each with the ending of its name that says so, or "".
    """
    paths = [file.path for file in pictures]
    called = called_masks(paths)
    return {path: called.get(path, "") for path in paths if path in called or is_mask(f"{folder.name}/{path}")}


def _fits(kind: Kind, mask: Kind) -> bool:
    """Whether a mask of a kind can be one of a file of a kind."""
    return mask == ("nifti" if kind == "nifti" else "picture") and kind in ("picture", "dicom", "nifti")


def _is_table(file: File, folder: Path, table: Path | None) -> bool:
    return table is not None and not file.root and (folder / file.path).resolve() == table.resolve()


def _nothing(folder: Path, listing: Listing, problems: Sequence[Problem], found: Sequence[File]) -> str:
    if found:
        return (
            f"{'the one picture' if len(found) == 1 else f'all {len(found):,} pictures'} of {folder} "
            f"{is_or_are(len(found))} masks by --masks, such as {found[0].path}: no frame is left"
        )
    if not listing.files:
        why = f" ({problems[0].path}: {problems[0].reason})" if problems else ""
        return f"{folder} holds no files{why}: name the folder of the frames"
    names = [PurePosixPath(file.path).as_posix() for file in listing.files]
    return (
        f"{folder} holds no frames that can be read, but {plural(len(names), 'file')}, such as "
        f"{shown(names, len(names))}: expected pictures, videos, DICOM files, NIfTI volumes or slides, in it or in "
        "its archives"
    )

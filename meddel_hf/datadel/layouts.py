"""Ways of laying out files that several sources share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from meddel_hf.datadel.archives.entries import Entry, Problem, Tree

IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
AT = r"(?:^|/)"  # where a folder's name begins


@dataclass(frozen=True)
class Pair:
    """A frame and its mask (None where there is none); folder is what `images` matched as `folder`, or ""."""

    image: Entry
    mask: Entry | None
    folder: str = ""


class ByStem:
    """Files by name without suffix. Where a set was met twice, each frame gets the file of its own copy of the set."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._found: dict[str, list[Entry]] = {}
        for entry in entries:
            self._found.setdefault(entry.stem, []).append(entry)

    def get(self, stem: str, near: Entry) -> Entry | None:
        """The file of that stem that shares most of its path with `near`, the first in sorted order of several."""
        return max(self._found.get(stem, ()), key=lambda entry: _shared(entry, near), default=None)


def _shared(entry: Entry, near: Entry) -> int:
    """How many folders two paths have in common from their beginning."""
    pairs = zip(entry.folder.split("/"), near.folder.split("/"), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def pairs(
    tree: Tree,
    images: str,
    masks: str,
    mask_stem: Callable[[str], str] = lambda stem: stem,
    suffixes: tuple[str, ...] = IMAGES,
) -> Iterator[Pair]:
    """Frames of the folders that match `images`, each with the mask of the folders that match `masks`.

    mask_stem: the mask's name without suffix, from the frame's.
    """
    by_stem = ByStem(tree.files(masks, ".*", IMAGES))
    for match, entries in tree.find(images):
        folder = match.groupdict().get("folder") or ""
        for entry in entries:
            if entry.suffix in suffixes:
                yield Pair(entry, by_stem.get(mask_stem(entry.stem), entry), folder)


def pranet(tree: Tree, test_set: str, train_names: str | None = None) -> Iterator[tuple[Pair, str]]:
    """Frames of one set in the layout of PraNet's zips, with "test" or "train".

    test_set: its folder's name below TestDataset; train_names: pattern of its names among TrainDataset's.
    """
    tests = rf"TestDataset/{test_set}"
    yield from ((p, "test") for p in pairs(tree, rf"{tests}/images?$", rf"{tests}/masks?$"))
    if train_names is not None:
        mine = re.compile(train_names)
        for pair in pairs(tree, r"TrainDataset/images?$", r"TrainDataset/masks?$"):
            if mine.fullmatch(pair.image.stem):
                yield pair, "train"


def stem_of(name: str) -> str:
    """A name, as a table of the owner lists it, without the suffix of an image."""
    suffix = next((suffix for suffix in IMAGES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def stems_of(text: bytes) -> Iterator[str]:
    """Of the frames that a text of the owner lists, one a line."""
    return map(stem_of, text.decode("utf-8-sig", "replace").split())


def absent(source: str, table: str, listed: Iterable[str], there: Iterable[str]) -> Iterator[Problem]:
    """A problem for each name that a table of the owner lists and that is not there."""
    for name in sorted(set(listed) - set(there)):
        yield Problem(source, name, f"no such frame, though {table} lists it")

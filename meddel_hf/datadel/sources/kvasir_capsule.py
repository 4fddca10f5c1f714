"""Kvasir-Capsule: 47,238 labelled frames of 43 capsule videos, and 117 videos, of one centre."""

from __future__ import annotations

import re
from collections.abc import Iterator

from meddel_hf.datadel.archives.entries import Entry, Problem, Tree
from meddel_hf.datadel.archives.tables import rows
from meddel_hf.datadel.convert import videos
from meddel_hf.datadel.layouts import absent
from meddel_hf.datadel.source import Box, Centre, Item, Licence, OddBox, Published, Reader, Source

_COUNTS = {
    "Ampulla of vater": 10, "Angiectasia": 866, "Blood - fresh": 446, "Blood - hematin": 12, "Erosion": 506,
    "Erythema": 159, "Foreign body": 776, "Ileocecal valve": 4189, "Lymphangiectasia": 592,
    "Normal clean mucosa": 34338, "Polyp": 55, "Pylorus": 1529, "Reduced mucosal view": 2906, "Ulcer": 854,
}  # fmt: skip
_FRAME = re.compile(r"(?P<video>[0-9a-f]{16})_(?P<number>\d+)", re.IGNORECASE)


def _key(name: str) -> str:
    return re.sub(r"[^a-z]+", " ", name.lower()).strip()


_LABELS = {_key(name): name for name in _COUNTS}


def _read(tree: Tree, read: Reader) -> Iterator[Item | Problem]:
    splits, boxes = _official_splits(tree, read), {}
    tables = list(tree.files(".", r"metadata\.csv"))
    for table in tables:
        boxes.update(_boxes(read(table)))
    built = set()
    for match, entries in tree.find(r"(?:^|/)(?P<name>[^/]+)$"):
        for entry in entries:
            frame = _FRAME.fullmatch(entry.stem)
            if frame is None or entry.suffix not in (".jpg", ".jpeg", ".png"):
                continue
            label = _LABELS.get(_key(match["name"]), match["name"])
            built.add(entry.stem)
            box = boxes.get(entry.stem)
            yield Item(
                f"labelled_images/{label}/{entry.stem}", entry, "labelled", boxes=tuple(_box(box, label)),
                label=label, group=frame["video"].lower(), official_split=splits.get(entry.stem),
            )  # fmt: skip
    if built:
        yield from absent("kvasir_capsule", "metadata.csv", boxes, built)
    yield from (_video(entry) for entry in tree.files(r"(un)?labelled_videos$", ".*", videos.SUFFIXES))


def _video(entry: Entry) -> Item:
    folder = "unlabelled_videos" if entry.folder.lower().endswith("unlabelled_videos") else "labelled_videos"
    return Item(f"{folder}/{entry.stem}", entry, "videos", group=entry.stem.lower(), video=True)


def _boxes(table: bytes) -> dict[str, list[str]]:
    """The corners x1, y1 ... x4, y4 by stem, as they are written; an empty list where a frame has none."""
    by_stem = {}
    for row in rows(table, ";"):
        name = row.get("filename") or ""
        if _FRAME.match(name):
            corners = [(row.get(f"{axis}{number}") or "").strip() for number in range(1, 5) for axis in "xy"]
            by_stem[name.rpartition(".")[0] or name] = corners if any(corners) else []
    return by_stem


def _box(corners: list[str] | None, label: str) -> Iterator[Box | OddBox]:
    """The upright rectangle around a quadrilateral."""
    if corners and not all(map(_is_number, corners)):
        yield OddBox(f"expected the numbers x1, y1 to x4, y4, found {' '.join(corners)[:60]!r}")
    elif corners:
        across, down = map(float, corners[0::2]), list(map(float, corners[1::2]))
        left, *_, right = sorted(across)
        yield Box.corners(label, left, min(down), right, max(down))


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,9}(\.\d*)?", text) is not None


def _official_splits(tree: Tree, read: Reader) -> dict[str, str]:
    """ "split 0" or "split 1" by stem, of the owner's split_0.csv and split_1.csv."""
    by_stem = {}
    for table in tree.files(".", r"split_[01]\.csv"):
        for row in rows(read(table)):
            stem = (row.get("filename") or "").rpartition(".")[0]
            if _FRAME.fullmatch(stem):
                by_stem[stem] = table.stem.lower().replace("_", " ")
    return by_stem


SOURCE = Source(
    name="kvasir_capsule",
    title="Kvasir-Capsule",
    role="pretraining",
    home="https://datasets.simula.no/kvasir-capsule/ and https://osf.io/dv2ag/",
    archives="labelled_images/<class>.tar.gz (or labelled_images.zip with them), labelled_videos/*.mp4, "
    "unlabelled_videos/*.mp4, metadata.csv",
    licence=Licence(
        "CC BY 4.0",
        True,
        "open for research and education; competitions and commercial use need the "
        "owners' prior written permission; the article must be cited",
    ),
    citation="Smedsrud et al., Kvasir-Capsule, a video capsule endoscopy dataset, Scientific Data 8:142 (2021), "
    "doi 10.1038/s41597-021-00920-z",
    centres=(Centre("Bærum Hospital, Vestre Viken Hospital Trust", "Norway"),),
    read=_read,
    labels=tuple(_COUNTS),
    box_labels=tuple(_COUNTS),
    published=(Published(47238, "labelled"), *(Published(n, "labelled", label=name) for name, n in _COUNTS.items())),
    notes="Frames come from few videos, so many are near-duplicates; seven videos are in both official splits.",
)

"""HyperKvasir: 10,662 labelled, 99,417 unlabelled and 1,000 segmented frames, and 373 videos, of one centre."""

from __future__ import annotations

from collections.abc import Iterator

from meddel_hf.datadel.archives.entries import Problem, Tree
from meddel_hf.datadel.archives.tables import rows
from meddel_hf.datadel.convert import videos
from meddel_hf.datadel.convert.boxes import kvasir_tables
from meddel_hf.datadel.layouts import AT, IMAGES, absent, pairs
from meddel_hf.datadel.source import Centre, Item, Licence, Mask, Overlap, Published, Reader, Source

# Folder name, which is the label here -> (name in the owner's split files, frames). Their README has a third spelling.
_CLASSES = {
    "barretts": ("barretts", 41), "barretts-short-segment": ("short-segment-barretts", 53),
    "bbps-0-1": ("bbps-0-1", 646), "bbps-2-3": ("bbps-2-3", 1148), "cecum": ("normal-cecum", 1009),
    "dyed-lifted-polyps": ("dyed-lifted-polyps", 1002), "dyed-resection-margins": ("dyed-resection-margins", 989),
    "esophagitis-a": ("oesophagitis-a", 403), "esophagitis-b-d": ("oesophagitis-b-d", 260),
    "hemorrhoids": ("hemorroids", 6), "ileum": ("ileum", 9), "impacted-stool": ("impacted-stool", 131),
    "polyps": ("polyp", 1028), "pylorus": ("normal-pylorus", 999), "retroflex-rectum": ("retroflex-rectum", 391),
    "retroflex-stomach": ("retroflex-stomach", 764),
    "ulcerative-colitis-grade-0-1": ("ulcerative-colitis-grade-0-1", 35),
    "ulcerative-colitis-grade-1": ("ulcerative-colitis-grade-1", 201),
    "ulcerative-colitis-grade-1-2": ("ulcerative-colitis-grade-1-2", 11),
    "ulcerative-colitis-grade-2": ("ulcerative-colitis-grade-2", 443),
    "ulcerative-colitis-grade-2-3": ("ulcerative-colitis-grade-2-3", 28),
    "ulcerative-colitis-grade-3": ("ulcerative-colitis-grade-3", 133), "z-line": ("normal-z-line", 932),
}  # fmt: skip
_README_NAMES = {f"ulcerative-colitis-{grade}": f"ulcerative-colitis-grade-{grade}" for grade in ("0-1", "1-2", "2-3")}
_FOLDER_OF = {**{split: folder for folder, (split, _) in _CLASSES.items()}, **_README_NAMES}


def _label(name: str) -> str:
    """The folder's name of a class, from any of the owner's three spellings; an unknown name stays as it is."""
    plain = name.strip().lower().replace("_", "-").replace(" ", "-")
    return plain if plain in _CLASSES else _FOLDER_OF.get(plain, name)


def _read(tree: Tree, read: Reader) -> Iterator[Item | Problem]:
    yield from _labelled(tree, read)
    yield from _segmented(tree, read)
    for entry in tree.files(rf"(?:{AT}|-)unlabeled-images(?:/images)?$", ".*", IMAGES):
        yield Item(f"unlabeled-images/images/{entry.stem}", entry, "unlabelled")
    for entry in tree.files(r"(?:^|[/-])labeled-videos(?:/|$)", ".*", videos.SUFFIXES):
        below = entry.path[entry.path.lower().rindex("labeled-videos") :].rpartition(".")[0]
        yield Item(below, entry, "videos", group=entry.stem, video=True)


def _labelled(tree: Tree, read: Reader) -> Iterator[Item | Problem]:
    folds = _official_folds(tree, read)
    built = set()
    pattern = rf"{AT}(?P<tract>(?:lower|upper)-gi-tract)/(?P<kind>[^/]+)/(?P<name>[^/]+)$"
    for match, entries in tree.find(pattern):
        if "labeled-videos" in match.string.lower():
            continue
        label = _label(match["name"])
        for entry in entries:
            if entry.suffix in IMAGES:
                built.add(entry.stem)
                path = f"labeled-images/{match['tract'].lower()}/{match['kind'].lower()}/{label}/{entry.stem}"
                yield Item(path, entry, "labelled", label=label, official_split=folds.get(entry.name))
    for table in tree.files(".", r"image-labels\.csv"):
        listed = {(row.get("Video file") or "").removesuffix(".jpg") for row in rows(read(table))}
        if built:
            yield from absent("hyper_kvasir", table.name, listed - {""}, built)


def _official_folds(tree: Tree, read: Reader) -> dict[str, str]:
    """ "fold 0" or "fold 1" by file name, of the owner's two-fold split."""
    by_stem = {}
    for table in tree.files(".", r"2_fold_split\.csv"):
        for row in rows(read(table), ";"):
            if row.get("file-name") and row.get("split-index"):
                by_stem[row["file-name"]] = f"fold {row['split-index']}"
    return by_stem


def _segmented(tree: Tree, read: Reader) -> Iterator[Item | Problem]:
    here = r"(?:^|[/-])segmented-images/"
    boxes, odd = kvasir_tables("hyper_kvasir", tree.files(here[:-1] + "$", r"bounding-boxes\.json"), read)
    yield from odd
    stems = set()
    for pair in pairs(tree, here + "images$", here + "masks$"):
        stem = pair.image.stem
        stems.add(stem)
        masks = (Mask(pair.mask),) if pair.mask else ()
        yield Item(f"segmented-images/images/{stem}", pair.image, "segmented", masks, boxes.get(stem, ()),
                   label="polyps", expects_mask=True)  # fmt: skip
    yield from absent("hyper_kvasir", "bounding-boxes.json", boxes, stems)


SOURCE = Source(
    name="hyper_kvasir",
    title="HyperKvasir",
    role="pretraining",
    home="https://datasets.simula.no/hyper-kvasir/",
    archives="hyper-kvasir-labeled-images.zip, hyper-kvasir-unlabeled-images.zip, hyper-kvasir-segmented-images.zip, "
    "hyper-kvasir-labeled-videos.zip, or hyper-kvasir.zip with all of them",
    licence=Licence(
        "CC BY 4.0",
        True,
        "open for research and education; competitions and commercial use need the "
        "owners' prior written permission; the article must be cited",
    ),
    citation="Borgli et al., HyperKvasir, a comprehensive multi-class image and video dataset for gastrointestinal "
    "endoscopy, Scientific Data 7:283 (2020), doi 10.1038/s41597-020-00622-y",
    centres=(Centre("Bærum Hospital, Vestre Viken", "Norway"),),
    read=_read,
    labels=tuple(_CLASSES),
    box_labels=("polyp",),
    published=(
        Published(10662, "labelled"),
        Published(99417, "unlabelled"),
        Published(1000, "segmented"),
        *(Published(count, "labelled", label=name) for name, (_, count) in _CLASSES.items()),
    ),
    overlaps=(
        Overlap("hyper_kvasir", "segmented frames stand among the labelled polyps too", by_name=True),
        Overlap("kvasir_seg", "Kvasir-SEG's frames are HyperKvasir's polyps, under other names", by_name=True),
        Overlap("kvasir_instrument", "its frames come from the unlabelled ones", by_name=True),
        Overlap("imageclefmed", "its frames come from HyperKvasir", by_name=True),
    ),
    notes="The owners' 2-fold split is in official_split where 2_fold_split.csv is among the files.",
)

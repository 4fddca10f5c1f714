"""EAD2019: endoscopic artefacts, 2,991 frames of six centres; detection boxes, and masks as TIFFs of five pages."""

from __future__ import annotations

from collections.abc import Iterator

from meddel_hf.datadel.archives.entries import Entry, Problem, Tree
from meddel_hf.datadel.layouts import AT, IMAGES, ByStem
from meddel_hf.datadel.source import BoxFile, Centre, Item, Licence, Mask, Published, Reader, Source

_CLASSES = ("specularity", "saturation", "artifact", "blur", "contrast", "bubbles", "instrument", "blood")
_TESTS = r"(?:detection|generali[sz]ation|\w*segmentation)"
_PAGES = ("instrument", "specularity", "artifact", "bubbles", "saturation")  # order of a mask's pages


def _read(tree: Tree, read: Reader) -> Iterator[Item | Problem]:
    for _, entries in tree.find(rf"{AT}trainingData_detection$"):
        texts = {entry.stem: entry for entry in entries if entry.suffix == ".txt"}
        for entry in entries:
            if entry.suffix in IMAGES:
                boxes = texts.get(entry.stem)
                box_file = BoxFile(boxes, "yolo", _CLASSES) if boxes else ()
                yield Item(f"trainingData_detection/{entry.stem}", entry, "detection train", boxes=box_file,
                           official_split="train")  # fmt: skip
    folder = rf"{AT}trainingData_semanticSegmentation"
    masks = ByStem(tree.files(rf"{folder}$", ".*", (".tif", ".tiff")))
    for entry in tree.files(rf"{folder}/0_original_images$", ".*", IMAGES):
        mask = masks.get(entry.stem, entry) or masks.get(f"{entry.stem}_mask", entry)
        found_masks = (Mask(mask, pages=_PAGES),) if mask else ()
        path = f"trainingData_semanticSegmentation/0_original_images/{entry.stem}"
        yield Item(path, entry, "segmentation train", found_masks, official_split="train", expects_mask=True)
    yield from map(_test, tree.files(rf"{AT}test_?(?:images|data)[^/]*_{_TESTS}$", ".*", IMAGES))


def _test(entry: Entry) -> Item:
    folder = entry.folder.rpartition("/")[2]
    kind = next(kind for kind in ("detection", "generali", "segmentation") if kind in folder.lower())
    part = f"{'generalisation' if kind == 'generali' else kind} test"
    return Item(f"{folder}/{entry.stem}", entry, part, official_split="test")


SOURCE = Source(
    name="ead2019",
    title="EAD2019",
    role="downstream",
    home="https://ead2019.grand-challenge.org/ and https://data.mendeley.com/datasets/c7fjbxcgj9",
    archives="trainingData_detection/, trainingData_semanticSegmentation/, testImages_EAD2019.zip",
    licence=Licence("CC BY-NC 3.0", True, "with attribution, not for commercial purposes", "third party"),
    citation="Ali et al., An objective comparison of detection and segmentation algorithms for artefacts in clinical "
    "endoscopy, Scientific Reports 10:2748 (2020), doi 10.1038/s41598-020-59413-5; arXiv 1905.03209",
    centres=(
        Centre("John Radcliffe Hospital, Oxford", "United Kingdom", sure="unsure"),
        Centre("ICL Cancer Institute, Nancy", "France", sure="unsure"),
        Centre("Ambroise Paré, Boulogne-Billancourt", "France", sure="unsure"),
        Centre("Istituto Oncologico Veneto, Padova", "Italy", sure="unsure"),
        Centre("University Hospital Vaudois, Lausanne", "Switzerland", sure="unsure"),
        Centre("Botkin Clinical City Hospital, Moscow", "Russia", sure="unsure"),
    ),
    read=_read,
    box_labels=_CLASSES,
    published=(
        Published(2991),
        Published(2147, "detection train"),
        Published(195, "detection test"),
        Published(52, "generalisation test"),
        Published(475, "segmentation train"),
        Published(122, "segmentation test"),
    ),
    notes="mask is the union of five artefact classes, which may overlap: each stands in class_masks/ead2019.",
)

"""EDD2020: endoscopic diseases, 386 frames of four centres; five classes that may overlap; masks in three forms."""

from __future__ import annotations

from collections.abc import Iterator

from meddel_hf.datadel.archives.entries import Entry, Problem, Tree
from meddel_hf.datadel.layouts import AT, IMAGES, ByStem
from meddel_hf.datadel.source import BoxFile, Centre, Item, Licence, Mask, Published, Reader, Source

_CLASSES = ("BE", "suspicious", "HGD", "cancer", "polyp")  # also the order of a mask's pages
_BY_KEY = {name.lower(): name for name in _CLASSES}


def _read(tree: Tree, read: Reader) -> Iterator[Item | Problem]:
    """Masks are <frame>_<class>.tif, <frame>_<class>_mask.tif, or <frame>_mask.tif with a page for each class."""
    root = rf"{AT}EDD2020[^/]*/(?:[^/]+/)*?"
    images = list(tree.files(rf"{root}originalImages$", ".*", IMAGES))
    masks: dict[str, list[Mask]] = {_frame(entry, entry.stem): [] for entry in images}
    for entry in tree.files(rf"{root}masks$", ".*", IMAGES):
        frame, mask = _mask(entry, masks)
        if mask is None:
            yield Problem("edd2020", entry.path, f"a mask of no frame or class that is known: {', '.join(_CLASSES)}")
        else:
            masks[frame].append(mask)
    boxes = ByStem(tree.files(rf"{root}bbox$", ".*", (".txt",)))
    for entry in images:
        source_of_boxes = boxes.get(entry.stem, entry)
        mine = tuple(masks[_frame(entry, entry.stem)])
        yield Item(f"originalImages/{entry.stem}", entry, "frames", mine,
                   BoxFile(source_of_boxes, "corners last") if source_of_boxes else (), expects_mask=True)  # fmt: skip


def _frame(entry: Entry, stem: str) -> str:
    """Tells a frame of one copy of the set from the same frame of another one, by a file of either folder."""
    return f"{entry.folder.rpartition('/')[0]}/{stem}"


def _mask(entry: Entry, frames: dict[str, list[Mask]]) -> tuple[str, Mask | None]:
    stem = entry.stem.removesuffix("_mask")
    if (whole := _frame(entry, stem)) in frames:
        return whole, Mask(entry, pages=_CLASSES)
    before, _, name = stem.rpartition("_")
    if (frame := _frame(entry, before)) in frames and name.lower() in _BY_KEY:
        return frame, Mask(entry, _BY_KEY[name.lower()])
    return stem, None


SOURCE = Source(
    name="edd2020",
    title="EDD2020",
    role="downstream",
    home="https://edd2020.grand-challenge.org/ and https://dx.doi.org/10.21227/f8xg-wb80",
    archives="EDD2020_release-I_2020-01-15_v2.zip, or EndoCV2020-Endoscopy-Disease-Detection-Segmentation-"
    "subChallenge_data.zip",
    licence=Licence("CC BY-NC 4.0", True, "with attribution, not for commercial purposes"),
    citation="Ali et al., Deep learning for detection and segmentation of artefact and disease instances in "
    "gastrointestinal endoscopy, Medical Image Analysis 70:102002 (2021); arXiv 2003.03376",
    centres=(
        Centre("Ambroise Paré, Boulogne-Billancourt", "France", sure="unsure"),
        Centre("Centro di Riferimento Oncologico IRCCS, Aviano", "Italy", sure="unsure"),
        Centre("Istituto Oncologico Veneto, Padova", "Italy", sure="unsure"),
        Centre("John Radcliffe Hospital, Oxford", "United Kingdom", sure="unsure"),
    ),
    read=_read,
    box_labels=_CLASSES,
    published=(Published(386),),
    notes="mask is the union of five classes, which may overlap: each stands in class_masks/edd2020. Texts by the "
    "owners say 380 frames, the release holds 386.",
)

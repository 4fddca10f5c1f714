"""PolypGen2021: single frames of six centres with masks and boxes, and sequences with and without polyps."""

from __future__ import annotations

import re
from collections.abc import Iterator

from meddel_hf.datadel.archives.entries import Problem, Tree
from meddel_hf.datadel.layouts import AT, IMAGES, ByStem, pairs
from meddel_hf.datadel.source import BoxFile, Centre, Item, Licence, Mask, Published, Reader, Source

_SINGLE = (256, 301, 457, 227, 208, 88)  # frames of C1 to C6


def _mask_stem(stem: str) -> str:
    """C3_EndoCV2021_00489_.jpg has the mask C3_EndoCV2021_00489_mask.jpg."""
    return f"{stem.rstrip('_')}_mask"


def _read(tree: Tree, read: Reader) -> Iterator[Item | Problem]:
    for number in range(1, 7):
        root = rf"{AT}data_C{number}"
        texts = ByStem(tree.files(rf"{root}/bbox_C{number}$", ".*", (".txt",)))
        for pair in pairs(tree, rf"{root}/images_C{number}$", rf"{root}/masks_C{number}$", _mask_stem):
            stem = pair.image.stem
            names = (_mask_stem(stem), stem, stem.rstrip("_"))
            text = next(filter(None, (texts.get(name, pair.image) for name in names)), None)
            yield Item(
                f"data_C{number}/images_C{number}/{stem}", pair.image, "single frames",
                (Mask(pair.mask),) if pair.mask else (), BoxFile(text, "corners first") if text else (),
                center=f"c{number}", expects_mask=True,
            )  # fmt: skip
    yield from _positive_sequences(tree)
    yield from _negative_sequences(tree)


def _positive_sequences(tree: Tree) -> Iterator[Item]:
    root = rf"{AT}sequenceData/positive/(?P<seq>seq\d+)"
    for match, entries in tree.find(rf"{root}/images_(?P=seq)$"):
        seq = match["seq"]
        here = rf"{AT}sequenceData/positive/{seq}"
        masks = ByStem(tree.files(rf"{here}/masks_{seq}$", ".*", IMAGES))  # stray .txt files lie there too
        texts = ByStem(tree.files(rf"{here}/bbox(?!_image)[^/]*$", ".*", (".txt",)))
        for entry in entries:
            if entry.suffix in IMAGES:
                mask = masks.get(_mask_stem(entry.stem), entry) or masks.get(entry.stem, entry)
                text = texts.get(entry.stem, entry) or texts.get(_mask_stem(entry.stem), entry)
                yield Item(
                    f"sequenceData/positive/{seq}/images_{seq}/{entry.stem}", entry, "positive sequences",
                    (Mask(mask),) if mask else (), BoxFile(text, "corners first") if text else (),
                    label="positive", center=_centre(entry.stem), group=seq, expects_mask=True,
                )  # fmt: skip


def _negative_sequences(tree: Tree) -> Iterator[Item]:
    for match, entries in tree.find(rf"{AT}sequenceData/negativeOnly/(?P<seq>seq\d+_neg)(?:/[^/]+)*$"):
        for entry in entries:
            if entry.suffix in IMAGES:
                path = f"sequenceData/negativeOnly/{match['seq']}/{entry.stem}"
                yield Item(path, entry, "negative sequences", label="negative", center=_centre(entry.stem),
                           group=match["seq"])  # fmt: skip


def _centre(stem: str) -> str | None:
    """Frames of sequences are called seq<k>_C<i>_..."""
    centre = re.search(r"(?:^|_)C([1-6])(?:_|$)", stem, re.IGNORECASE)
    return f"c{centre[1]}" if centre else None


SOURCE = Source(
    name="polypgen2021",
    title="PolypGen2021",
    role="downstream",
    home="https://www.synapse.org/#!Synapse:syn26376615 (an account is needed)",
    archives="PolypGen2021_MultiCenterData_v3.zip",
    licence=Licence("CC BY 4.0", True, "for educational and research purposes, and the paper must be cited"),
    citation="Ali, Jha, Ghatwary et al., A multi-centre polyp detection and segmentation dataset for generalisability "
    "assessment, Scientific Data 10:75 (2023), doi 10.1038/s41597-023-01981-y",
    centres=(  # the order is the paper's table's; that the folders follow it is assumed
        Centre("Ambroise Paré, Paris", "France", "c1", "unsure"),
        Centre("Istituto Oncologico Veneto, Padova", "Italy", "c2", "unsure"),
        Centre("Centro di Riferimento Oncologico IRCCS", "Italy", "c3", "unsure"),
        Centre("Oslo University Hospital", "Norway", "c4", "unsure"),
        Centre("John Radcliffe Hospital, Oxford", "United Kingdom", "c5", "unsure"),
        Centre("University of Alexandria", "Egypt", "c6", "unsure"),
    ),
    read=_read,
    labels=("positive", "negative"),
    box_labels=("polyp",),
    published=(
        Published(1537, "single frames"),
        Published(2225, "positive sequences"),
        Published(4275, "negative sequences"),
        *(Published(n, "single frames", f"c{i}", sure="verified" if i in (3, 5, 6) else "unsure")
          for i, n in enumerate(_SINGLE, 1)),
    ),
    notes="label is the folder's word for the frames of sequences; single frames have none, and 125 of their masks are "
    "empty. imagesAll_positive/ repeats other frames and is not read.",
)  # fmt: skip

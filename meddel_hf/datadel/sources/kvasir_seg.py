"""Kvasir-SEG: 1,000 polyp frames with JPEG masks and boxes, of one trust of four hospitals."""

from __future__ import annotations

from collections.abc import Iterator

from meddel_hf.datadel.archives.entries import Problem, Tree
from meddel_hf.datadel.convert.boxes import kvasir_tables
from meddel_hf.datadel.layouts import AT, ByStem, Pair, absent, pairs, pranet, stems_of
from meddel_hf.datadel.source import Boxes, BoxFile, Centre, Item, Licence, Mask, Overlap, Published, Reader, Source

_ROOT = rf"{AT}kvasir-?seg"


def _read(tree: Tree, read: Reader) -> Iterator[Item | Problem]:
    """The owner's zip (kavsir_bboxes.json: the misspelling is theirs), the repack with bbox/*.csv, PraNet's zips."""
    boxes, odd = kvasir_tables("kvasir_seg", tree.files(rf"{_ROOT}$", r"k(av|va)sir_bboxes\.json"), read)
    yield from odd
    texts = ByStem(tree.files(rf"{_ROOT}/bbox$", ".*", (".csv",)))
    splits = {}
    for table in tree.files(r"kvasir[-_]?seg", r"(train|val)\.txt"):
        splits.update(dict.fromkeys(stems_of(read(table)), table.stem.lower()))
    built = set()
    frames = pairs(tree, rf"{_ROOT}/images$", rf"{_ROOT}/masks$")
    for pair in (*frames, *(pair for pair, _ in pranet(tree, "Kvasir", r"cj[a-z0-9]+|ck[a-z0-9]+"))):
        stem = pair.image.stem
        built.add(stem)
        text = texts.get(stem, pair.image)
        yield _item(pair, boxes.get(stem) or (BoxFile(text, "csv") if text else ()), splits.get(stem))
    yield from absent("kvasir_seg", "kavsir_bboxes.json", boxes, built)


def _item(pair: Pair, boxes: Boxes, split: str | None) -> Item:
    masks = (Mask(pair.mask),) if pair.mask else ()
    return Item(
        f"images/{pair.image.stem}", pair.image, "frames", masks, boxes, official_split=split, expects_mask=True
    )


SOURCE = Source(
    name="kvasir_seg",
    title="Kvasir-SEG",
    role="downstream",
    home="https://datasets.simula.no/kvasir-seg/",
    archives="kvasir-seg.zip, its repack with bbox/*.csv, or PraNet's TrainDataset.zip and TestDataset.zip",
    licence=Licence(
        "research and education only",
        False,
        "restricted to research and educational purposes; commercial use needs prior written permission",
    ),
    citation="Jha et al., Kvasir-SEG: A Segmented Polyp Dataset, MMM 2020, pp 451-462, "
    "doi 10.1007/978-3-030-37734-2_37",
    centres=(Centre("Vestre Viken Health Trust (four hospitals)", "Norway"),),
    read=_read,
    box_labels=("polyp",),
    published=(Published(1000),),
    overlaps=(
        Overlap("kvasir_sessile", "all 196 of its frames are here, under the same names", by_name=True),
        Overlap("hyper_kvasir", "its frames are HyperKvasir's polyps, under other names", by_name=True),
    ),
    notes="official_split is MediaEval 2020's train and val (880 and 120), where its files are there.",
)

"""Kvasir-Instrument: 590 frames with masks and boxes of instruments, of one centre, with an official split."""

from __future__ import annotations

from collections.abc import Iterator

from meddel_hf.datadel.archives.entries import Problem, Tree
from meddel_hf.datadel.convert.boxes import kvasir_tables
from meddel_hf.datadel.layouts import AT, absent, pairs, stems_of
from meddel_hf.datadel.source import Centre, Item, Licence, Mask, Overlap, Published, Reader, Source

_ROOT = rf"{AT}kvasir-instrument[^/]*"


def _read(tree: Tree, read: Reader) -> Iterator[Item | Problem]:
    """images and masks are folders, or images.tar.gz and masks.tar.gz, which may repeat the folder's name inside."""
    boxes, odd = kvasir_tables("kvasir_instrument", tree.files(rf"{_ROOT}$", r"bboxes\.json"), read)
    yield from odd
    splits = {}
    for table in tree.files(rf"{_ROOT}$", r"(train|test)\.txt"):
        splits.update(dict.fromkeys(stems_of(read(table)), table.stem.lower()))
    built = set()
    for pair in pairs(tree, rf"{_ROOT}/images(?:/images)?$", rf"{_ROOT}/masks(?:/masks)?$"):
        stem = pair.image.stem
        built.add(stem)
        masks = (Mask(pair.mask, red=True),) if pair.mask else ()
        yield Item(f"images/{stem}", pair.image, "frames", masks, boxes.get(stem, ()),
                   official_split=splits.get(stem), expects_mask=True)  # fmt: skip
    yield from absent("kvasir_instrument", "bboxes.json or a split file", {*boxes, *splits}, built)


SOURCE = Source(
    name="kvasir_instrument",
    title="Kvasir-Instrument",
    role="downstream",
    home="https://datasets.simula.no/kvasir-instrument/",
    archives="kvasir-instrument.zip",
    licence=Licence(
        "research and education only",
        False,
        "restricted to research and education purposes; commercial use needs prior written permission",
    ),
    citation="Jha et al., Kvasir-Instrument: Diagnostic and Therapeutic Tool Segmentation Dataset in Gastrointestinal "
    "Endoscopy, MMM 2021, pp 218-229, doi 10.1007/978-3-030-67835-7_19",
    centres=(Centre("Bærum Hospital, Vestre Viken", "Norway"),),
    read=_read,
    published=(Published(590),),
    overlaps=(
        Overlap("hyper_kvasir", "its frames come from the unlabelled ones", by_name=True),
        Overlap("imageclefmed", "some of its frames are there too", by_name=True),
    ),
)

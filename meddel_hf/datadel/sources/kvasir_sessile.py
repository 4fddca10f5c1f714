"""Kvasir-Sessile: 196 frames of sessile polyps; all of them are in Kvasir-SEG."""

from __future__ import annotations

from collections.abc import Iterator

from meddel_hf.datadel.archives.entries import Problem, Tree
from meddel_hf.datadel.layouts import AT, pairs
from meddel_hf.datadel.source import Centre, Item, Licence, Mask, Overlap, Published, Reader, Source

_ROOT = rf"{AT}(?:sessile-main-Kvasir-SEG|kvasir-?sessile)"


def _read(tree: Tree, read: Reader) -> Iterator[Item | Problem]:
    for pair in pairs(tree, rf"{_ROOT}/images$", rf"{_ROOT}/masks$"):
        masks = (Mask(pair.mask),) if pair.mask else ()
        yield Item(f"images/{pair.image.stem}", pair.image, "frames", masks, expects_mask=True)


SOURCE = Source(
    name="kvasir_sessile",
    title="Kvasir-Sessile",
    role="downstream",
    home="https://datasets.simula.no/downloads/kvasir-sessile.zip",
    archives="kvasir-sessile.zip",
    licence=Licence("research and education only", False, "as Kvasir-SEG, of which it is a part"),
    citation="Jha et al., A Comprehensive Study on Colorectal Polyp Segmentation With ResUNet++, Conditional Random "
    "Field and Test-Time Augmentation, IEEE JBHI (2021)",
    centres=(Centre("Vestre Viken Health Trust (four hospitals)", "Norway"),),
    read=_read,
    published=(Published(196),),
    overlaps=(Overlap("kvasir_seg", "all of its frames are there, under the same names", by_name=True),),
)

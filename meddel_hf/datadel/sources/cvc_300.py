"""CVC-300: the 60 test frames of EndoScene that papers on polyp segmentation use, or the 300 of CVC-EndoSceneStill."""

from __future__ import annotations

from collections.abc import Iterator

from meddel_hf.datadel.archives.entries import Problem, Tree
from meddel_hf.datadel.layouts import AT, pairs, pranet
from meddel_hf.datadel.source import Centre, Item, Licence, Mask, Overlap, Published, Reader, Source

_OF_COLONDB = 300  # in the repack of 912 frames, numbers up to this one are CVC-300's, the others CVC-ClinicDB's


def _read(tree: Tree, read: Reader) -> Iterator[Item | Problem]:
    for pair, _ in pranet(tree, "CVC-300"):
        masks = (Mask(pair.mask),) if pair.mask else ()
        yield Item(f"bbdd/{pair.image.stem}", pair.image, "test frames", masks, expects_mask=True)
    for pair in pairs(tree, rf"{AT}CVC-300/bbdd$", rf"{AT}CVC-300/gtpolyp$"):
        masks = (Mask(pair.mask),) if pair.mask else ()
        yield Item(f"bbdd/{pair.image.stem}", pair.image, "CVC-EndoSceneStill", masks, expects_mask=True)
    for split in ("train", "valid", "test"):
        where = rf"(?:polyps?_?912|EndoScene)[^/]*/(?:[^/]+/)*{split}"
        for pair in pairs(tree, rf"{where}/images$", rf"{where}/masks2$"):
            if pair.image.stem.isdigit() and int(pair.image.stem) <= _OF_COLONDB:
                masks = (Mask(pair.mask),) if pair.mask else ()
                yield Item(f"bbdd/{pair.image.stem}", pair.image, "CVC-EndoSceneStill", masks,
                           official_split=split, expects_mask=True)  # fmt: skip


SOURCE = Source(
    name="cvc_300",
    title="CVC-300",
    role="downstream",
    home="https://pages.cvc.uab.es/CVC-Colon/index.php/databases/cvc-endoscenestill/",
    archives="PraNet's TestDataset.zip (CVC-300, 60 frames), CVC-EndoSceneStill/CVC-300/{bbdd,gtpolyp}, or its repack "
    "polyps912/{train,valid,test}/{images,masks2}",
    licence=Licence("not stated", False, "no licence is known: treat as research only", "unsure"),
    citation="Vázquez et al., A Benchmark for Endoluminal Scene Segmentation of Colonoscopy Images, Journal of "
    "Healthcare Engineering 2017",
    centres=(Centre("as CVC-ColonDB", "Ireland", sure="unsure"),),
    read=_read,
    published=(Published(60, "test frames"),),
    overlaps=(Overlap("cvc_colondb", "both show frames of the same sequences"),),
)

"""ETIS-Larib: 196 frames of one centre; the owner's masks have the prefix p, PraNet's copy has none."""

from __future__ import annotations

from collections.abc import Iterator

from meddel_hf.datadel.archives.entries import Problem, Tree
from meddel_hf.datadel.layouts import AT, pairs, pranet
from meddel_hf.datadel.source import Centre, Item, Licence, Mask, Published, Reader, Source

_ROOT = rf"{AT}ETIS-?Larib-?PolypDB"


def _read(tree: Tree, read: Reader) -> Iterator[Item | Problem]:
    frames = pairs(tree, rf"{_ROOT}$", rf"{_ROOT}/Ground[ _]?Truth$", lambda stem: f"p{stem}")
    for pair in (*frames, *(pair for pair, _ in pranet(tree, "ETIS-LaribPolypDB"))):
        if pair.image.stem.isdigit():  # flat copies keep p1.tif beside 1.tif
            masks = (Mask(pair.mask),) if pair.mask else ()
            yield Item(f"ETIS-LaribPolypDB/{int(pair.image.stem)}", pair.image, "frames", masks, expects_mask=True)


SOURCE = Source(
    name="etis_larib",
    title="ETIS-Larib Polyp DB",
    role="downstream",
    home="https://polyp.grand-challenge.org/ETISLarib/",
    archives="ETIS-LaribPolypDB.rar (unpack it first), or PraNet's TestDataset.zip",
    licence=Licence("research only", False, "copyright Lariboisière hospital and ETIS laboratory", "unsure"),
    citation="Silva et al., Toward embedded detection of polyps in WCE images for early diagnosis of colorectal "
    "cancer, IJCARS 9(2):283-293 (2014), doi 10.1007/s11548-013-0926-3",
    centres=(Centre("Lariboisière Hospital (AP-HP), Paris", "France", sure="third party"),),
    read=_read,
    published=(Published(196),),
)

"""CVC-ClinicDB: 612 frames of 29 sequences, of one centre. Pillow cannot read the owner's TIFF frames."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from meddel_hf.datadel.archives.entries import Problem, Tree
from meddel_hf.datadel.layouts import AT, Pair, pairs, pranet
from meddel_hf.datadel.source import Centre, Item, Licence, Mask, Overlap, Published, Reader, Source

# Number of the first frame of each sequence; they are contiguous (metadata.csv of the repack).
_FIRST = (1, 26, 51, 68, 79, 104, 127, 152, 178, 200, 206, 228, 253, 278, 298, 318, 343, 364, 384, 409, 429, 448, 467,
          479, 504, 529, 547, 572, 592)  # fmt: skip
_FRAMES = 612


def _read(tree: Tree, read: Reader) -> Iterator[Item | Problem]:
    """The owner's folders, the repack with PNG and TIFF copies (PNG first: it need not be converted), PraNet's zips."""
    root = rf"{AT}CVC-?Clinic-?DB[^/]*/(?:[^/]+/)*?"
    for kind in ("PNG/", "", "TIFF?/"):
        inner = rf"(?:{root}{kind}|{AT}{kind})" if kind else root
        yield from map(_item, pairs(tree, rf"{inner}Original$", rf"{inner}Ground[ _]?Truth$"))
    for pair, _ in pranet(tree, "CVC-ClinicDB", r"\d+"):
        yield _item(pair)


def _item(pair: Pair) -> Item | Problem:
    stem = pair.image.stem
    if not (stem.isdigit() and 1 <= int(stem) <= _FRAMES):
        return Problem(
            "cvc_clinicdb", pair.image.path, f"not a frame of this set: expected a number from 1 to {_FRAMES}"
        )
    sequence = f"seq{bisect_right(_FIRST, int(stem))}"
    masks = (Mask(pair.mask),) if pair.mask else ()
    return Item(f"Original/{int(stem)}", pair.image, "frames", masks, group=sequence, expects_mask=True)


SOURCE = Source(
    name="cvc_clinicdb",
    title="CVC-ClinicDB",
    role="downstream",
    home="https://polyp.grand-challenge.org/CVCClinicDB/",
    archives="CVC-ClinicDB.rar (unpack it first), its repack with PNG and TIF folders, or PraNet's TrainDataset.zip "
    "and TestDataset.zip",
    licence=Licence(
        "research and education only",
        False,
        "copyright Hospital Clinic, Barcelona: the use of the images "
        "is only permitted for research and educational purposes",
    ),
    citation="Bernal et al., WM-DOVA maps for accurate polyp highlighting in colonoscopy, Computerized Medical Imaging "
    "and Graphics 43:99-111 (2015)",
    centres=(Centre("Hospital Clínic, Barcelona", "Spain"),),
    read=_read,
    published=(Published(_FRAMES),),
    overlaps=(Overlap("cvc_300", "both are parts of CVC-EndoSceneStill"),),
    notes="group is the sequence: split by it, not by frame.",
)

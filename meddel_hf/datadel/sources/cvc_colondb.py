"""CVC-ColonDB: the 380 frames that papers use (PraNet's copy), or the owner's 300 with four files each."""

from __future__ import annotations

import re
from collections.abc import Iterator

from meddel_hf.datadel.archives.entries import Problem, Tree
from meddel_hf.datadel.layouts import AT, pranet
from meddel_hf.datadel.source import Centre, Item, Licence, Mask, Overlap, Published, Reader, Source


def _read(tree: Tree, read: Reader) -> Iterator[Item | Problem]:
    any_there = False
    for pair, _ in pranet(tree, "CVC-ColonDB"):
        any_there = True
        masks = (Mask(pair.mask),) if pair.mask else ()
        yield Item(f"images/{pair.image.stem}", pair.image, "380", masks, expects_mask=True)
    if any_there:  # the owner's 300 are most likely among them, under numbers that nobody has compared
        return
    for match, entries in tree.find(rf"{AT}CVC-?ColonDB[^/]*(?:/[^/]+)*$"):
        if re.search("TestDataset", match.string, re.IGNORECASE):
            continue
        stems = {entry.stem.lower(): entry for entry in entries if entry.suffix == ".bmp"}
        for stem, entry in stems.items():
            if stem.isdigit():
                mask = stems.get(f"p{stem}")
                masks = (Mask(mask),) if mask else ()
                yield Item(f"CVC-ColonDB/{int(stem)}", entry, "300", masks, expects_mask=True)


SOURCE = Source(
    name="cvc_colondb",
    title="CVC-ColonDB",
    role="downstream",
    home="http://mv.cvc.uab.es/projects/colon-qa/cvccolondb",
    archives="PraNet's TestDataset.zip (CVC-ColonDB, 380 frames), or the owner's CVC-ColonDB (N.bmp, pN.bmp, ...)",
    licence=Licence("not stated", False, "the owner's page states none: treat as research only", "unsure"),
    citation="Bernal, Sánchez, Vilariño, Towards automatic polyp detection with a polyp appearance model, Pattern "
    "Recognition 45(9):3166-3182 (2012)",
    centres=(Centre("Beaumont Hospital, Dublin", "Ireland", sure="unsure"),),
    read=_read,
    published=(Published(380, "380"), Published(300, "300")),
    overlaps=(Overlap("cvc_300", "both show frames of the same sequences"),),
    notes="Where PraNet's 380 frames are found, the owner's 300 are not read: most likely they are among them.",
)

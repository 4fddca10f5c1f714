"""ImageCLEFmed MEDVQA-GI 2023: frames with questions and answers; masks of polyps and of instruments."""

from __future__ import annotations

import json
from collections.abc import Iterator

from meddel_hf.datadel.archives.entries import Entry, Problem, Tree
from meddel_hf.datadel.layouts import AT, IMAGES, absent
from meddel_hf.datadel.source import Centre, Item, Licence, Mask, Overlap, Published, Reader, Source

_ROOT = rf"{AT}(?P<root>ImageCLEFmed[^/]*)/(?:[^/]+/)*?"


def _read(tree: Tree, read: Reader) -> Iterator[Item | Problem]:
    masks: dict[str, list[Mask]] = {}
    for match, entries in tree.find(rf"{_ROOT}masks(?:/[^/]+)*$"):
        for entry in entries:
            if entry.suffix in IMAGES:
                frame = f"{match.string[: match.end('root')]}/{entry.stem.split('_')[0]}"
                masks.setdefault(frame, []).append(Mask(entry, _class_of(entry)))
    built = set()
    for match, entries in tree.find(rf"{_ROOT}images$"):
        split = "test" if "test" in match["root"].lower() else "development"
        for entry in entries:
            if entry.suffix in IMAGES:
                built.add(entry.stem)
                mine = masks.get(f"{match.string[: match.end('root')]}/{entry.stem}", ())
                yield Item(f"images/{entry.stem}", entry, split, tuple(mine),
                           official_split=split)  # fmt: skip
    for table in tree.files(_ROOT.replace("/(?:[^/]+/)*?", "$"), r"gt\.json"):
        yield from _absent(table, read(table), built)


def _class_of(entry: Entry) -> str | None:
    """The mask's class, where its folder or name tells: how the owner names them is not known for sure."""
    where = entry.path.lower()
    words = where[where.rindex("masks") :]
    return "polyp" if "polyp" in words else "instrument" if "instrument" in words else None


def _absent(table: Entry, text: bytes, built: set[str]) -> Iterator[Problem]:
    try:
        listed = {str(row["ImageID"]).rpartition(".")[0] or str(row["ImageID"]) for row in json.loads(text)}
    except (ValueError, KeyError, TypeError) as error:
        yield Problem("imageclefmed", table.path, f"expected a list of {{ImageID, Labels}}: {type(error).__name__}")
        return
    yield from absent("imageclefmed", table.name, listed, built)


SOURCE = Source(
    name="imageclefmed",
    title="ImageCLEFmed MEDVQA-GI 2023",
    role="downstream",
    home="https://github.com/simula/ImageCLEFmed-MEDVQA-GI-2023",
    archives="ImageCLEFmed-MEDVQA-GI-2023-Development-Dataset.zip and its test zip",
    licence=Licence(
        "not stated", False, "none is stated; its frames are HyperKvasir's and Kvasir-Instrument's", "unsure"
    ),
    citation="Hicks et al., Overview of ImageCLEFmedical 2023: Medical Visual Question Answering for Gastrointestinal "
    "Tract, CLEF 2023",
    centres=(Centre("as HyperKvasir", "Norway", sure="unsure"),),
    read=_read,
    box_labels=("polyp", "instrument"),
    published=(Published(2000, "development"), Published(1938, "test"), Published(66662, sure="unsure")),
    overlaps=(
        Overlap("hyper_kvasir", "its frames come from there", by_name=True),
        Overlap("kvasir_instrument", "its frames come from there", by_name=True),
    ),
    notes="The 66,662 frames of the DataDEL paper are confirmed nowhere.",
)

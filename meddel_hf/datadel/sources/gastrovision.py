"""GastroVision: 8,000 frames of two centres, 27 classes told by folders; file names repeat between classes."""

from __future__ import annotations

from collections.abc import Iterator

from meddel_hf.datadel.archives.entries import Problem, Tree
from meddel_hf.datadel.archives.tables import rows
from meddel_hf.datadel.layouts import AT, IMAGES, absent
from meddel_hf.datadel.source import Centre, Item, Licence, Published, Reader, Source

_COUNTS = {
    "Accessory tools": 1266, "Angiectasia": 17, "Barrett's esophagus": 95, "Blood in lumen": 171, "Cecum": 113,
    "Colon diverticula": 29, "Colon polyps": 820, "Colorectal cancer": 139, "Duodenal bulb": 205,
    "Dyed-lifted-polyps": 141, "Dyed-resection-margins": 246, "Erythema": 15, "Esophageal varices": 7,
    "Esophagitis": 107, "Gastric polyps": 65, "Gastroesophageal_junction_normal z-line": 330, "Ileocecal valve": 200,
    "Mucosal inflammation large bowel": 29, "Normal esophagus": 140,
    "Normal mucosa and vascular pattern in the large bowel": 1467, "Normal stomach": 969, "Pylorus": 393,
    "Resected polyps": 92, "Resection margins": 25, "Retroflex rectum": 67, "Small bowel_terminal ileum": 846,
    "Ulcer": 6,
}  # fmt: skip


def _key(name: str) -> str:
    """Copies differ in case, and have underscores for spaces, even within one name."""
    return " ".join(name.lower().replace("_", " ").split())


_LABELS = {_key(name): name for name in _COUNTS}


def _read(tree: Tree, read: Reader) -> Iterator[Item | Problem]:
    splits = _official_splits(tree, read)
    built = set()
    for match, entries in tree.find(rf"{AT}gastrovision(?:-\w+)?/(?:(?:train|val|validate|test)/)?(?P<folder>[^/]+)$"):
        label = _LABELS.get(_key(match["folder"]), match["folder"])
        if _key(match["folder"]) in ("train", "val", "validate", "test", "split"):
            continue
        for entry in entries:
            if entry.suffix in IMAGES:
                key = f"{label}/{entry.name}"
                built.add(key)
                yield Item(f"{label}/{entry.stem}", entry, "labelled", label=label, official_split=splits.get(key))
    for table in tree.files(".", r"GastroVision_metadata\.csv"):
        listed = {f"{_label(row)}/{row.get('Filename')}" for row in rows(read(table))}
        if built:
            yield from absent("gastrovision", table.name, listed, built)


def _label(row: dict[str, str]) -> str:
    return _LABELS.get(_key(row.get("Class") or ""), row.get("Class") or "")


def _official_splits(tree: Tree, read: Reader) -> dict[str, str]:
    """Split by "label/file name", where the owner's CSVs (columns Filename and Class) are there."""
    by_stem = {}
    for table in tree.files(r"gastrovision|(?:^|/)split$", r"(train|validate|test)\.csv"):
        for row in rows(read(table)):
            if row.get("Filename") and row.get("Class"):
                by_stem[f"{_label(row)}/{row['Filename']}"] = table.stem.lower()
    return by_stem


SOURCE = Source(
    name="gastrovision",
    title="GastroVision",
    role="pretraining",
    home="https://osf.io/84e7f/",
    archives="Gastrovision.zip, or the folder Gastrovision/<class>/",
    licence=Licence("CC BY 4.0", False, "said to be CC BY 4.0, but the owners' repository names no licence", "unsure"),
    citation="Jha, Sharma et al., GastroVision: A Multi-class Endoscopy Image Dataset for Computer Aided "
    "Gastrointestinal Disease Detection, ML4MHD at ICML 2023, arXiv 2307.08140",
    centres=(
        Centre("Bærum Hospital", "Norway"),
        Centre("Karolinska University Hospital", "Sweden"),
    ),
    read=_read,
    labels=tuple(_COUNTS),
    published=(Published(8000), *(Published(count, label=label) for label, count in _COUNTS.items())),
)

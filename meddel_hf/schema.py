"""What steps agree on: column names, and the manifest that every folder carries."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from meddel_hf.errors import IncompleteStore, Mismatch
from meddel_hf.files import whole_file

MANIFEST = "manifest.json"

ID = "id"
IMAGE = "image"

# The other columns of DataDEL, the same in every configuration; their types stand in datadel/rows.py.
MASK = "mask"
BOXES = "boxes"
LABEL = "label"
SOURCE = "source"
CENTER = "center"
GROUP = "group"
OFFICIAL_SPLIT = "official_split"
WIDTH = "width"
HEIGHT = "height"

# Columns of a selection's rows.parquet, one row for every row of the pool, in the pool's order.
KEPT = "kept"
REASON = "reason"
DUPLICATE_OF = "duplicate_of"
SIMILARITY = "similarity"
CLUSTER = "cluster"
DISTANCE = "distance"

# Columns of a downstream run's scores.parquet, one row for every tested frame; see scores.py.
SET = "set"
SCORE = "score"
INTERSECTION = "intersection"
UNION = "union"

Reason = Literal["unreadable", "outlier", "near-duplicate", "not-selected"]
Step = Literal[
    "datadel", "embeddings", "selection", "subset", "frames", "pretraining", "segmentation", "probe", "benchmark",
    "report",
]  # fmt: skip

_RECORDED_PACKAGES = ("meddel-hf", "torch", "transformers", "datasets", "numpy", "pillow")


@dataclass(frozen=True)
class Manifest:
    """Identity card of a step's folder, stored as `manifest.json`.

    fingerprint: hex digest of what the step made; a child names it in `parents`, so that a mismatched pair is an error.
    parents:     role -> fingerprint of what the step was made from, such as {"pool": "3f2a…"}.
    details:     facts of the step that a reader wants to see, such as {"rows": 5150, "dim": 768}.
    """

    step: Step
    fingerprint: str
    arguments: dict[str, Any] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: installed_versions())

    def write(self, folder: Path) -> None:
        with whole_file(folder / MANIFEST) as aside:
            aside.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path, step: Step) -> Manifest:
        """Raises IncompleteStore where there is no manifest, Mismatch where the folder is another step's."""
        path = folder / MANIFEST
        if not path.is_file():
            raise IncompleteStore(
                f"{folder} has no {MANIFEST}: it is not a finished {step} folder; run that step first"
            )
        found = cls(**json.loads(path.read_text(encoding="utf-8")))
        if found.step != step:
            raise Mismatch(f"{folder} is a folder of step {found.step!r}, expected {step!r}")
        return found


def installed_versions() -> dict[str, str]:
    """Version of each package whose release can change a result."""
    return {name: metadata.version(name) for name in _RECORDED_PACKAGES if _installed(name)}


def fingerprint(*parts: str | bytes) -> str:
    """32 hex digits over the parts, each told apart from its neighbours by its length."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:32]


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True

"""Which files of a folder are a step's, and which are somebody else's: those that nobody may take for an output.

A manifest says what its step wrote. Names tell of what no manifest records: of work that is not finished, of what
stands beside a finished one, and of folders of versions that recorded nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from meddel_hf.runtime.files import files_below, is_aside

_MODEL = r"((preprocessor_)?config\.json|model\.safetensors)"
_CHECKPOINTS = (
    r"checkpoints/([0-9a-f]+/)?checkpoint-\d+/(((preprocessor_|generation_)?config|trainer_state|record"
    r"|model\.safetensors\.index)\.json|model(-\d+-of-\d+)?\.safetensors|(optimizer|scheduler|scaler)\.(pt|bin)"
    r"|rng_state(_\d+)?\.pth|training_args\.bin)"
)
# Step -> what it writes beside the files that its manifest records.
_BESIDE = {
    "embeddings": r"shard-\d+\.json|(skipped|unreadable|remarks)\.parquet|view\.png|copies\.safetensors",
    "pretraining": _CHECKPOINTS,
    "segmentation": _CHECKPOINTS,
    "subset": r"README\.md",
    "datadel": r"README\.md|preview/[^/]+\.png|\.build/.+",
}
# Step -> what it writes, of those whose early versions recorded nothing, and of those that go on where they stopped.
_WRITTEN = {
    "embeddings": r"shard-\d+\.(safetensors|parquet)",
    "selection": (
        r"(rows|pairs|order|density|map|drawn-(pairs|order|density))\.parquet|index\.html"
        r"|(retention|duplicates|left-out|in-reference|outliers)\.png"
    ),
    "subset": r"data/train-[^/]+\.parquet",
    "datadel": r"(data|class_masks)/.+\.parquet|(rejected|leaks)\.parquet",
    "pretraining": rf"((objective|snapshots/samples-\d+)/)?{_MODEL}|(log|unreadable)\.parquet",
    "segmentation": rf"model/{_MODEL}|overlays\.png|scores\.parquet",
    "probe": r"scores\.parquet",
    "report": r"report\.(html|md)|figures/[^/]+\.png|tables/[^/]+\.csv",
}
STEPS = tuple({**_BESIDE, **_WRITTEN})
GO_ON = ("embeddings", "pretraining", "segmentation")  # where they were stopped
_NOBODYS = (".DS_Store", "Thumbs.db", ".replacing")  # as systems leave them, and as `forget` does


def is_beside(name: str, steps: Collection[str]) -> bool:
    """Whether one of these steps writes a file of that name, and does not record it."""
    return any(re.fullmatch(_BESIDE[step], name) for step in steps if step in _BESIDE)


def is_written(name: str, steps: Collection[str]) -> bool:
    """Whether one of these steps writes a file of that name, as far as names tell."""
    return is_beside(name, steps) or any(re.fullmatch(_WRITTEN[step], name) for step in steps if step in _WRITTEN)


def files_in(folder: Path) -> Iterator[str]:
    """Names of files and links, sorted; what processes write aside, and what is nobody's, is left out."""
    for name in sorted(files_below(folder)):
        if not any(is_aside(part) or part in _NOBODYS for part in PurePosixPath(name).parts):
            yield name

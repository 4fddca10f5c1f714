"""The evidence of a benchmark in one file: plan, gate, who was kept, the score of every frame; no weights or frames."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from meddel_hf import schema
from meddel_hf.benchmark.axis import recorded
from meddel_hf.benchmark.cells import (
    CELL,
    CELLS,
    CHOICES,
    DIVERGED,
    EXCLUDED,
    GATE,
    LABELS,
    MEASURES,
    PLAN,
    POOL,
    REDUNDANCY,
    SELECTION,
    TASKS,
)  # fmt: skip
from meddel_hf.benchmark.evidence import cure
from meddel_hf.benchmark.results import read
from meddel_hf.downstream.labels.compare import FILE as CHOSEN
from meddel_hf.downstream.scores import FILE
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.files import MANIFEST, check_can_write, whole_file
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.tables import read_table
from meddel_hf.selection.table import ROWS

_AS_THEY_ARE = (
    PLAN, MANIFEST, GATE, REDUNDANCY, POOL, EXCLUDED, *(f"{LABELS}/*/{CHOICES}/{name}" for name in (MANIFEST, CHOSEN)),
    *(f"{CELLS}/*/*/*/{name}" for name in (CELL, DIVERGED, MEASURES, f"{TASKS}/*/{FILE}")),
)  # fmt: skip
_SELECTIONS = f"{CELLS}/*/*/*/{SELECTION}"


def pack(runs: str | Path, out: str | Path) -> int:
    """Write a .tar.xz that `meddel report` reads once it is unpacked; the same runs give the same bytes.

    Returns its size in bytes. Of selections it holds id, kept and reason. Raises IncompleteStore where the folder is
    not one of benchmark runs or holds a damaged file, Mismatch where it is another step's or its cells do not belong
    together, InvalidArgument where the file is not called .tar.xz, or the runs are of several redundancies.
    """
    runs, out = Path(runs), Path(out)
    if levels := recorded(runs):
        names = ", ".join(str(level) for level in levels.values())
        raise InvalidArgument(f"{runs} holds runs of several redundancies: pack each by itself, {names}")
    Manifest.read(runs, "benchmark")
    if not out.name.endswith(".tar.xz"):
        raise InvalidArgument(f"{out} would be a .tar.xz file: call it so")
    check_can_write(out)
    for cell in read(runs).cells:  # raises where something is damaged
        _ = cell.scores, cell.snapshots, cell.measures
    contents = {path: path.read_bytes() for pattern in _AS_THEY_ARE for path in runs.glob(pattern)}
    for folder in runs.glob(_SELECTIONS):
        if (folder / MANIFEST).is_file():
            contents.update(_selection(folder))
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(out) as aside, tarfile.open(aside, "w:xz") as archive:
        for path, data in sorted(contents.items()):
            member = tarfile.TarInfo(f"{out.name.removesuffix('.tar.xz')}/{path.relative_to(runs).as_posix()}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.stat().st_size


def _selection(folder: Path) -> dict[Path, bytes]:
    """Its rows with three columns, and a manifest that records them so.

    The rows are not compressed: the ids are the same in every cell, and xz sees that.
    """
    manifest = Manifest.read(folder, "selection")
    manifest.check(folder, [ROWS], cure=cure(folder.parent))
    table = read_table(folder / ROWS, [schema.ID, schema.KEPT, schema.REASON])
    with tempfile.TemporaryDirectory() as scratch:
        pq.write_table(
            table.replace_schema_metadata(), Path(scratch) / ROWS, compression="none", use_dictionary=[schema.REASON]
        )
        manifest.write(Path(scratch), [ROWS])
        return {folder / path.name: path.read_bytes() for path in Path(scratch).iterdir()}

"""The evidence of a benchmark in one file: plan, gate, who was kept, the score of every frame; no weights or frames."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow.parquet as pq

from meddel_hf import schema
from meddel_hf.benchmark.places import CELL, CELLS, EXCLUDED, GATE, PLAN, POOL, SELECTION, TASKS
from meddel_hf.errors import InvalidArgument
from meddel_hf.files import whole_file
from meddel_hf.runtime.tables import read_table
from meddel_hf.scores import FILE
from meddel_hf.selection import ROWS

_WHOLE = (
    PLAN, schema.MANIFEST, GATE, POOL, EXCLUDED, f"{CELLS}/*/*/*/{CELL}", f"{CELLS}/*/*/*/{TASKS}/*/{FILE}",
    f"{CELLS}/*/*/*/{SELECTION}/{schema.MANIFEST}",
)  # fmt: skip
_KEPT = f"{CELLS}/*/*/*/{SELECTION}/{ROWS}"


def pack(runs: str | Path, out: str | Path) -> int:
    """Write a .tar.xz that `meddel report` reads once it is unpacked; the same runs give the same bytes.

    Returns its size in bytes. Of selections it holds id, kept and reason. Raises IncompleteStore or Mismatch where the
    folder is not one of benchmark runs, InvalidArgument where the file is not called .tar.xz.
    """
    runs, out = Path(runs), Path(out)
    schema.Manifest.read(runs, "benchmark")
    if not out.name.endswith(".tar.xz"):
        raise InvalidArgument(f"{out} would be a .tar.xz file: call it so")
    out.parent.mkdir(parents=True, exist_ok=True)
    kept = set(runs.glob(_KEPT))
    found = sorted({path for pattern in _WHOLE for path in runs.glob(pattern)} | kept)
    with whole_file(out) as aside, tarfile.open(aside, "w:xz") as archive:
        for path in found:
            data = _rows(path) if path in kept else path.read_bytes()
            member = tarfile.TarInfo(f"{out.name.removesuffix('.tar.xz')}/{path.relative_to(runs).as_posix()}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.stat().st_size


def _rows(path: Path) -> bytes:
    """Uncompressed: the ids are the same in every cell, and xz sees that."""
    table = read_table(path, [schema.ID, schema.KEPT, schema.REASON])
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(), file, compression="none", use_dictionary=[schema.REASON])
    return file.getvalue()

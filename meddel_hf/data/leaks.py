"""Frames that are known to stand in another source too: the list that `meddel build` leaves beside its data sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from meddel_hf.data.spec import parse_spec

FILE = "leaks.parquet"


def leaks(spec: str) -> Iterator[tuple[str, str]]:
    """(id, id of the same frame in another source) of the folder that a POOL names; none where it has no such list."""
    path = Path(parse_spec(spec)[0]) / FILE
    if path.is_file():
        import pyarrow as pa

        from meddel_hf.runtime.tables import read_table

        columns = pa.schema([("id", pa.string()), ("in_id", pa.string())])
        table = read_table(path, columns, cure="copy it again, or build the data set again").drop_null()
        yield from zip(table["id"].to_pylist(), table["in_id"].to_pylist(), strict=True)

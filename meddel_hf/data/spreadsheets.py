"""Text for spreadsheets: what comes from data is read as text there, never as a formula."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # how OWASP's "CSV injection" says that formulas begin


def as_text(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: text that looks like one gets an apostrophe; numbers stay."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def text_columns_safe(table: pa.Table) -> pa.Table:
    """The table with `as_text` applied to its columns of text and their names."""
    columns = [
        pa.array(map(as_text, table.column(i).to_pylist()), field.type)
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        else table.column(i)
        for i, field in enumerate(table.schema)
    ]
    return pa.table(columns, names=[as_text(name) for name in table.column_names])

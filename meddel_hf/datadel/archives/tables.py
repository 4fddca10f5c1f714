"""Tables of the owners in CSV, line by line: an odd line costs itself, not those after it."""

from __future__ import annotations

import csv
from collections.abc import Iterator


def rows(data: bytes, delimiter: str = ",") -> Iterator[dict[str, str]]:
    """Each line below the head by column name; of a line that is too short only the columns that it has."""
    lines = filter(str.strip, data.decode("utf-8-sig", "replace").splitlines())
    head = next(lines, "")
    names = _words(head, delimiter)
    for line in lines:
        yield dict(zip(names, _words(line, delimiter), strict=False))


def _words(line: str, delimiter: str) -> list[str]:
    """A quote that is not closed says nothing: the csv module would take the lines after it along."""
    if line.count('"') % 2 == 0:
        try:
            return next(csv.reader([line], delimiter=delimiter))
        except csv.Error:  # a field of more than 131,072 characters
            pass
    return [word.strip('"') for word in line.split(delimiter)]

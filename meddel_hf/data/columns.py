"""Columns of a pool by their names, and their values as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from meddel_hf.runtime.similar import composed
from meddel_hf.schema import CENTER, GROUP, LABEL, OFFICIAL_SPLIT, PATIENT, VIDEO

if TYPE_CHECKING:
    from datasets import ClassLabel


# What people's paths and tables say of frames.
FIELDS = (CENTER, PATIENT, VIDEO, LABEL, GROUP, OFFICIAL_SPLIT)
_SPELLINGS = {"centre": CENTER}


def recognised(name: str, known: Iterable[str], synonyms: Mapping[str, str] | None = None) -> str:
    """The known name that a person wrote in other letters, with spaces around, or in British spelling; else the name
    itself, without spaces around. synonyms: other names, in small letters -> the known one."""
    plain = composed(name).strip().casefold()
    meant = {**_SPELLINGS, **(synonyms or {})}.get(plain, plain)
    return meant if meant in known else name.strip()


def texts_of(dataset: Any, column: str) -> list[str | None]:
    """A column of single values as text, row by row; None of every row where the data set has no such column."""
    if column not in dataset.column_names:
        return [None] * len(dataset)
    return as_texts(dataset.with_format(None).select_columns([column])[:][column], dataset.features[column])


def as_texts(values: Sequence[Any], feature: Any) -> list[str | None]:
    """Single values of a column whose feature that is, as text; class labels by their names, of which -1 is none.

    A number that is none (NaN) is how tables say that a value is missing.
    """
    from datasets import ClassLabel  # not above: `meddel --help` reads the modules that need this one

    if isinstance(feature, ClassLabel):
        return [class_name(value, feature) for value in values]
    return [None if value is None or value != value else number_text(value) for value in values]


def class_name(value: int | None, feature: ClassLabel) -> str | None:
    """A class label by its name; None of -1, which is none."""
    return None if value is None or value < 0 else str(feature.int2str(value))


def number_text(value: Any) -> str:
    """7.0 is 7: a column of whole numbers of which one is missing is one of floats to pandas."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

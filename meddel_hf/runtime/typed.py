"""Records that are read from plain values: pydantic checks kinds and ranges, and what it finds becomes one sentence.

pydantic is imported where a record is read or checked, and not before: `meddel --help` does without.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.reading import shown
from meddel_hf.runtime.similar import did_you_mean

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

    Made = TypeVar("Made")

_KINDS = {
    "int_type": "a whole number", "float_type": "a number", "bool_type": "true or false", "string_type": "text",
    "tuple_type": "a list", "dict_type": "a mapping", "finite_number": "a finite number",
}  # fmt: skip
_OF_KEYS = ("unexpected_keyword_argument", "invalid_key", "missing")
_OF_UNIONS = ("union_tag_invalid", "union_tag_not_found", "model_attributes_type")


@dataclass(frozen=True)
class Range:
    """Of a number: from low to high, both included; whole bounds for whole numbers, as in `Range(1, 16_384)`."""

    low: float
    high: float

    def words(self, value: float) -> str:
        """What a value beyond it should be."""
        if isinstance(self.high, float):
            return f"from {self.low:g} to {self.high:g}"
        return f"at least {self.low}" if value < self.low else f"at most {self.high:,}"

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return {**handler(source), "ge": self.low, "le": self.high}


@dataclass(frozen=True)
class Rule:
    """Of any value: a function that passes it on, or raises InvalidArgument with what follows the place."""

    passes: Callable[[Any], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core.core_schema import no_info_after_validator_function

        return no_info_after_validator_function(self.passes, handler(source))


def clean_text(text: str) -> str:
    """No control characters, which no path may hold, and no halves of characters, which no file may."""
    if any(ord(character) < 32 or 0xD800 <= ord(character) < 0xE000 for character in text):
        raise InvalidArgument(f"holds characters that no text has: {shown(text)}")
    return text


Text = Annotated[str, Rule(clean_text)]


class Record:
    """Base of dataclasses that `read` makes; nothing is converted but whole numbers to numbers."""

    __pydantic_config__ = {"strict": True, "extra": "forbid", "allow_inf_nan": False}  # noqa: RUF012  # read by pydantic

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Strict in its fields; itself made from a mapping, which pydantic's strict dataclasses refuse."""
        schema = handler(source)
        handler.resolve_ref_schema(schema)["strict"] = False
        return schema


def read(kind: type[Made], value: Any, where: str) -> Made:
    """A mapping of plain values, such as YAML gives, as a `Record`.

    where: the values are from, such as a file. Raises InvalidArgument, with the place, for what does not fit.
    """
    from pydantic import ValidationError

    adapter: TypeAdapter[Made] = _adapter(cast(Any, kind))  # mypy holds that no class can be hashed
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise InvalidArgument(_sentence(error.errors(include_url=False), kind, where)) from error


def check(record: Record) -> None:
    """Kinds and ranges of the fields of a record that was made in Python."""
    from pydantic import ValidationError

    for name, kind in _hints(type(record)).items():
        try:
            _adapter(kind).validate_python(getattr(record, name), strict=True)
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            nothing = " or nothing" if NoneType in get_args(kind) and detail["type"] in _KINDS else ""
            raise InvalidArgument(f"{name} {_wrong(detail, kind, nothing)}") from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def _sentence(details: Sequence[ErrorDetails], kind: Any, where: str) -> str:
    """The first error: keys before values, of the outermost record, and unknown ones before missing ones."""

    def order(detail: ErrorDetails) -> tuple[int, int]:
        of_keys = detail["type"] in _OF_KEYS
        return (len(detail["loc"]), _OF_KEYS.index(detail["type"])) if of_keys else (sys.maxsize, 0)

    first = min(details, key=order)
    of, loc, value = first["type"], first["loc"], first["input"]
    inside, place = _place(kind, loc[:-1] if of in _OF_KEYS else loc, where)
    if of in _OF_KEYS:
        names = [str(one["loc"][-1]) for one in details if one["type"] == of and one["loc"][:-1] == loc[:-1]]
        if of == "missing":
            return f"{place} lacks {', '.join(names)}"
        known = _hints(_bare(inside))
        meant = did_you_mean(min(names), known)
        return f"{place} has the unknown key {shown(min(names))}: expected {', '.join(known)}{meant}"
    if of in _OF_UNIONS:
        tag = value.get("kind") if isinstance(value, Mapping) else None
        kinds = _records(inside)
        return f"{place}: kind must be one of {', '.join(kinds)}, got {shown(tag)}{did_you_mean(tag, kinds)}"
    if of == "value_error" and is_dataclass(_bare(inside)):  # its own checks
        return f"{place}: {first['ctx']['error']}"
    hint = "; write 1.0e-3, since YAML takes 1e-3 for text" if of == "float_type" and isinstance(value, str) else ""
    return f"{place} {_wrong(first, inside)}{hint}"


def _wrong(detail: ErrorDetails, kind: Any, more: str = "") -> str:
    """What is wrong with a value of this kind. more: that would do as well."""
    of, meant = detail["type"], ""
    if of == "value_error":  # a rule's own words
        return str(detail["ctx"]["error"])
    if of == "dataclass_type":
        words = f"a mapping of {', '.join(_hints(_bare(kind)))}"
    elif of == "literal_error":
        choices = get_args(_bare(kind))
        words, meant = f"one of {', '.join(choices)}", did_you_mean(detail["input"], choices)
    elif of in ("greater_than_equal", "less_than_equal"):
        marks = [mark for part in (kind, *get_args(kind)) for mark in getattr(part, "__metadata__", ())]
        words = next(mark for mark in marks if isinstance(mark, Range)).words(detail["input"])
    else:
        words = _KINDS.get(of, detail["msg"])
    return f"must be {words}{more}, got {shown(detail['input'])}{meant}"


def _place(kind: Any, loc: Sequence[str | int], where: str) -> tuple[Any, str]:
    """(kind of the value that pydantic names by `loc`, the same place in words)."""
    for step in loc:
        kind = _bare(kind)
        origin = get_origin(kind)
        if is_dataclass(kind):
            kind, where = _hints(kind)[str(step)], f"{where}: {step}"
        elif origin is tuple:
            kind, where = get_args(kind)[0], f"{where}[{step}]"
        elif origin is Mapping:
            kind, where = get_args(kind)[1], f"{where}.{step}"
        elif step == "[key]":
            where = f"a key of {where.rpartition('.')[0]}"
        else:
            kind = _records(kind)[str(step)]
    return kind, where


def _records(union: Any) -> dict[str, Any]:
    """The records that a value may be, by what their field `kind` says."""
    return {get_args(_hints(record)["kind"])[0]: record for record in get_args(_bare(union))}


def _bare(kind: Any) -> Any:
    """The kind without its marks, and without "or None", which is written last."""
    while get_origin(kind) is Annotated or NoneType in get_args(kind):
        kind = get_args(kind)[0]
    return kind

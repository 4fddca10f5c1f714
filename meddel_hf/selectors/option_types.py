"""Options of another package's selector, held to what its class says that they are: text is no truth value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import isclass, signature
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.checks import is_number, is_whole
from meddel_hf.runtime.reading import shown
from meddel_hf.runtime.similar import did_you_mean

_PLAIN: Mapping[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number", is_whole),
    float: ("a number", is_number),
    str: ("text (in quotes where it looks like a number)", lambda value: isinstance(value, str)),
    NoneType: ("none", lambda value: value is None),
}


def check_types(build: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise InvalidArgument for an option that is not of its annotation: bool, int, float, str, Literal, or unions of
    these and None. Other annotations, and none, are not checked. A whole number is a number; true and false are none.
    """
    hints, defaults = _hints(build), _defaults(build)
    for name, value in options.items():
        if name in defaults and value is defaults[name]:
            continue
        if getattr(value, "ndim", None) == 0:
            value = value.item()  # of numpy
        kinds = _alternatives(hints.get(name, Any))
        if all(map(_is_plain, kinds)) and not any(_is(value, kind) for kind in kinds):
            words = " or ".join(map(_words, kinds))
            choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
            meant = did_you_mean(value, [choice for choice in choices if isinstance(choice, str)])
            raise InvalidArgument(f"{name} must be {words}, got {shown(value)}{meant}")


def _hints(build: Callable[..., Any]) -> dict[str, Any]:
    """Argument -> its annotation; none of any where one of them names what cannot be found."""
    try:
        return get_type_hints(build.__init__ if isclass(build) else build)
    except (NameError, AttributeError, TypeError, SyntaxError):  # such as a text that is no type
        return {}


def _defaults(build: Callable[..., Any]) -> dict[str, Any]:
    try:
        return {name: one.default for name, one in signature(build).parameters.items()}
    except (TypeError, ValueError):
        return {}


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """Of a union its members."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _is_plain(kind: Any) -> bool:
    return any(kind is plain for plain in _PLAIN) or get_origin(kind) is Literal


def _is(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(kind))
    return _PLAIN[kind][1](value)


def _words(kind: Any) -> str:
    if get_origin(kind) is not Literal:
        return _PLAIN[kind][0]
    choices = ", ".join(map(repr, get_args(kind)))
    return f"one of {choices}" if len(get_args(kind)) > 1 else choices

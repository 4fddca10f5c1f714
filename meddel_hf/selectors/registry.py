"""Selectors by name: this package's own, and those that other packages register as entry points.

A package adds one without a change here, in its own setup.cfg:

    [options.entry_points]
    meddel_hf.selectors =
        mine = my_package.my_module:MySelector

MySelector is called with retention=, seed= and its options, and returns what has `select(embeddings, pool=None)`; see
`protocol.Selector`. Nothing heavy is imported before a selector is made.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from meddel_hf.errors import InvalidArgument, MedDELError
from meddel_hf.runtime.similar import did_you_mean
from meddel_hf.selectors.option_types import check_types

if TYPE_CHECKING:
    from meddel_hf.selectors.protocol import Selector

GROUP = "meddel_hf.selectors"


@dataclass(frozen=True)
class _BuiltIn:
    """A class of this package, and the options that its name already settles."""

    home: str
    settled: dict[str, Any] = field(default_factory=dict)


_BUILT_IN = {
    "dedup": _BuiltIn("Dedup"),
    "meddel": _BuiltIn("MedDEL"),
    "random": _BuiltIn("Random"),
    "random-stratified": _BuiltIn("RandomStratified"),
    "semdedup": _BuiltIn("SemDeDup"),
    "k-centre": _BuiltIn("KCentre"),
    "prototypes-easy": _BuiltIn("Prototypicality", {"keep": "easy"}),
    "prototypes-hard": _BuiltIn("Prototypicality", {"keep": "hard"}),
    "density": _BuiltIn("DensityQuotas"),
    "balanced": _BuiltIn("Balanced"),
    "typiclust": _BuiltIn("TypiClust"),
    "max-herding": _BuiltIn("MaxHerding"),
    "retrieval": _BuiltIn("Retrieval"),
}


def names() -> list[str]:
    """Every selector's name: the built-in ones, then those of other packages, sorted. Loads none of them."""
    return [*_BUILT_IN, *sorted({point.name for point in entry_points(group=GROUP)} - set(_BUILT_IN))]


def check_known(name: str) -> None:
    """Raise InvalidArgument for a name that no selector has, or more than one; loads none of them."""
    _home(name)


def make(name: str, /, *, retention: float | None, seed: int = 0, **options: Any) -> Selector:
    """The selector of that name, ready to `select`.

    retention: None for one that can do without, as Dedup and, with an eta, MedDEL can.
    options: plain values, as from YAML or `parse_option`; which ones there are, `options_of` tells.
    Raises InvalidArgument for an unknown name, option or value, MedDELError where another package's selector is broken.
    """
    build, settled = _builder(name)
    known = _options(name, build, settled)
    unknown = [key for key in options if known is not None and key not in known]
    if unknown:
        has = f"its options are {', '.join(known or [])}" if known else "it has none"
        raise InvalidArgument(
            f"selector {name!r} has no option {unknown[0]!r}; {has}{did_you_mean(unknown[0], known or [])}"
        )
    if name not in _BUILT_IN:  # those check more of theirs than a type
        check_types(build, options)
    try:
        selector: Selector = build(retention=retention, seed=seed, **settled, **options)
    except MedDELError:
        raise
    except (TypeError, ValueError) as error:  # such as a comparison of a number with text
        raise InvalidArgument(f"selector {name!r} cannot be made with {_written_out(options)}: {error}") from error
    if not callable(getattr(selector, "select", None)):
        raise MedDELError(
            f"selector {name!r} made a {type(selector).__name__}, which has no select(embeddings, pool=None): tell its "
            "authors"
        )
    return selector


def options_of(name: str) -> list[str]:
    """Names of the options of a selector, besides retention and seed; loads its class."""
    return _options(name, *_builder(name)) or []


def parse_option(text: str) -> tuple[str, Any]:
    """Read "key=value" as typed on a command line: ("scope", "pool"), ("n_clusters", 30), ("epsilon", None).

    A value is a whole number, a number, true, false, none, or else text, as is all that stands in quotes; commas make a
    tuple of values. A key's "-" are read as "_".
    """
    key, equals, value = text.partition("=")
    key = key.strip().replace("-", "_")
    if not equals or not key.isidentifier():
        raise InvalidArgument(f"an option is written key=value, such as scope=pool; got {text!r}")
    if quoted := _QUOTED.fullmatch(value.strip()):
        return key, quoted["text"]
    if "," in value:
        return key, tuple(_literal(part.strip()) for part in value.split(",") if part.strip())
    return key, _literal(value.strip())


_QUOTED = re.compile(r"(['\"])(?P<text>[^'\"]*)\1")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "none": None, "null": None}


def _literal(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if any(character.isdigit() for character in text):  # "nan" and "inf" are text
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
    return text


def _written_out(options: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in options.items()) or "these values"


def _builder(name: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """What makes the selector of that name, and the options that are settled already."""
    home = _home(name)
    if isinstance(home, EntryPoint):
        return _loaded(home), {}
    return getattr(import_module("meddel_hf.selectors"), home.home), home.settled


def _home(name: str) -> _BuiltIn | EntryPoint:
    """Where the selector of that name stands."""
    points = list(entry_points(group=GROUP, name=name))
    if name in _BUILT_IN:
        if points:
            raise InvalidArgument(
                f"{_distribution(points[0])} registers a selector {name!r}, a name that this package has itself: "
                "uninstall it, or have its authors choose another name"
            )
        return _BUILT_IN[name]
    if not points:
        raise InvalidArgument(
            f"there is no selector {name!r}; there are {', '.join(names())}{did_you_mean(name, names())}"
        )
    if len(points) > 1:
        raise InvalidArgument(
            f"{' and '.join(map(_distribution, points))} both register a selector {name!r}: uninstall one of them"
        )
    return points[0]


def _loaded(point: EntryPoint) -> Callable[..., Any]:
    what = f"selector {point.name!r} of {_distribution(point)}"
    try:
        build: Callable[..., Any] = point.load()
    except Exception as error:  # another package's code may fail in any way; the cause stays chained
        raise MedDELError(
            f"{what} cannot be loaded from {point.value}: {type(error).__name__}: {error}; reinstall or uninstall it"
        ) from error
    if not callable(build):
        raise MedDELError(f"{what}: {point.value} is a {type(build).__name__}, expected a class; tell its authors")
    return build


def _options(name: str, build: Callable[..., Any], settled: dict[str, Any]) -> list[str] | None:
    """Names of options; None where the class takes any."""
    parameters = inspect.signature(build).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for needed in ("retention", "seed"):
        if needed not in parameters and not open_ended:
            raise MedDELError(
                f"selector {name!r} takes no {needed}=, as every selector must ({', '.join(parameters)}): tell its "
                "authors"
            )
    if open_ended:
        return None
    return [key for key in parameters if key not in ("retention", "seed", *settled)]


def _distribution(point: EntryPoint) -> str:
    return f"the package {point.dist.name!r}" if point.dist is not None else "another package"

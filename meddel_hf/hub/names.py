"""A manifest as others may see it: names in place of local paths, also where a path is a key."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.network import public, public_name


def published(manifest: Manifest) -> Manifest:
    """The manifest without local paths: in what it says, in the keys of `details`, and in the roles of `parents`.

    A path has one name wherever it stands. Of several that would have the same, all but the first get a number:
    `/ward/frames` beside a data set called `frames` becomes `frames-2`.
    """
    names = _names(manifest)
    parents = {}
    for role, digest in manifest.parents.items():
        kind, space, name = role.partition(" ")  # such as "test frames"
        parents[f"{kind}{space}{names.get(name, name)}"] = digest
    arguments, details = public(manifest.arguments, names), _renamed(public(manifest.details, names), names)
    return replace(manifest, arguments=arguments, parents=parents, details=details)


def _names(manifest: Manifest) -> dict[str, str]:
    """Names of paths that are keys, and of what stands beside them."""
    roles = [role.partition(" ")[2] for role in manifest.parents]
    beside = [keys for keys in (*_keys(manifest.details), roles) if any(public_name(key) != key for key in keys)]
    texts = dict.fromkeys(key for keys in beside for key in keys)
    names: dict[str, str] = {}
    for text in sorted(texts, key=lambda text: public_name(text) != text):  # what is a name already keeps it
        names[text] = _free(public_name(text), names.values())
    return names


def _free(name: str, taken: Collection[str]) -> str:
    return name if name not in taken else next(new for n in count(2) if (new := f"{name}-{n}") not in taken)


def _keys(value: Any) -> Iterator[list[str]]:
    """Keys of each mapping, however deep it stands."""
    if isinstance(value, dict):
        yield list(map(str, value))
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        yield from _keys(inner)


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {names.get(str(key), str(key)): _renamed(inner, names) for key, inner in value.items()}
    return [_renamed(inner, names) for inner in value] if isinstance(value, list) else value

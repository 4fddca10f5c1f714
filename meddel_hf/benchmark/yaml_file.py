"""YAML that a user wrote, read with bounds: its size, its depth, what aliases unfold to; a key that stands twice is
refused, and so is all that is no plain value (dates are text)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.reading import reason, shown

_MOST_BYTES, _DEEPEST, _MOST_VALUES = 1 << 18, 40, 50_000
_MERGE = "tag:yaml.org,2002:merge"  # <<: *defaults
_PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")


def read_yaml(path: Path, what: str) -> Any:
    """Plain values: None, bool, int, float, str, lists and dictionaries with text for keys.

    what: it is, for the sentence. Raises InvalidArgument.
    """
    if not path.is_file():
        raise InvalidArgument(f"{path} is not there: expected {what}")
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise InvalidArgument(f"{path} is larger than {_MOST_BYTES:,} bytes: expected {what}")
    try:
        text = content.decode("utf-8")
        _check_depth(text)
        root = yaml.compose(text, _Loader)
        _count(root, [])
        return _Loader(text).construct_document(root) if root is not None else None
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {error}") from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidArgument(f"{path} is not YAML: {reason(error)}") from error


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """The loader of plain values."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            if not isinstance(key, yaml.ScalarNode) or not isinstance(name := self.construct_object(key), str):
                raise InvalidArgument(f"line {key.start_mark.line + 1}: a key is text, got {shown(_source(key))}")
            line = key.start_mark.line + 1
            if name in seen:
                raise InvalidArgument(f"line {line}: the key {shown(name)} stands in line {seen[name]} already")
            seen[name] = line
        answer: dict[str, Any] = super().construct_mapping(node, deep=True)
        return answer


_Loader.yaml_constructors = {
    **{f"tag:yaml.org,2002:{name}": yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{name}"] for name in _PLAIN},
    None: yaml.SafeLoader.construct_undefined,
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in _PLAIN or tag == _MERGE]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _check_depth(text: str) -> None:
    """Events come one by one, however deep they lie; composing them calls itself for every level."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise InvalidArgument(f"line {event.start_mark.line + 1}: lists and mappings are nested too deeply")


def _count(node: Any, above: list[Any]) -> int:
    """Values below a node once its aliases are unfolded."""
    if any(node is other for other in above):
        raise InvalidArgument(f"line {node.start_mark.line + 1}: a value holds itself")
    total = 1
    for child in _children(node):
        total += _count(child, [*above, node])
        if total > _MOST_VALUES:
            raise InvalidArgument(f"it holds more than {_MOST_VALUES:,} values once its aliases are unfolded")
    return total


def _children(node: Any) -> Iterator[Any]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _source(node: Any) -> str:
    return node.value if isinstance(node, yaml.ScalarNode) else f"a {node.id}"

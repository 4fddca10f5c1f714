"""What is written down of files, so that damage is found and named; and JSON that carries a checksum of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import xxhash

from meddel_hf.errors import IncompleteStore
from meddel_hf.runtime.files import checksum, whole_file
from meddel_hf.runtime.reading import read_json

Records = dict[str, dict[str, Any]]  # name relative to a folder -> {"bytes": size, "xxh3": XXH3-128 in hex}

_CHECKSUM, _DIGITS = "checksum", 32  # of a JSON file's other keys


def write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write a JSON file that carries a checksum of its content."""
    content = json.loads(json.dumps(facts, sort_keys=True))  # as it will be read: lists, keys that are text
    with whole_file(path) as aside:
        # Last, so that a damaged name of it is not taken for a file of before there were checksums.
        aside.write_text(json.dumps({**content, _CHECKSUM: _digest(content)}, indent=1) + "\n", encoding="utf-8")


def read_facts(path: Path, cure: str) -> dict[str, Any]:
    """What `write_facts` wrote; without a checksum it was written before there were any, and is taken as it stands.

    Raises IncompleteStore, with the cure, where the file is damaged.
    """
    facts = read_json(path, cure)
    last = next(reversed(facts.values()), None)
    unnamed = _CHECKSUM not in facts and isinstance(last, str) and len(last) == _DIGITS
    said = facts.pop(_CHECKSUM, None)
    if unnamed or (said is not None and said != _digest(facts)):
        raise IncompleteStore(f"{path} is damaged (its checksum is another): {cure}")
    return facts


def recorded_files(folder: Path, names: Iterable[str]) -> Records:
    """What is to be recorded of files in a folder."""
    paths = {name: folder / name for name in sorted(names)}
    return {name: {"bytes": path.stat().st_size, "xxh3": checksum(path)} for name, path in paths.items()}


def check_files(folder: Path, records: Mapping[str, Mapping[str, Any]], cure: str, *, trust: bool = False) -> None:
    """Read files again and compare them with what was recorded of them; with `trust`, compare their sizes alone.

    Older stores have SHA-256 instead of XXH3-128, which takes many times as long.
    Raises IncompleteStore that names what is missing or damaged, with the cure.
    """
    for name, facts in records.items():
        path = folder / name
        if not isinstance(facts, Mapping) or not ("xxh3" in facts or "sha256" in facts):
            raise IncompleteStore(f"{folder} has a damaged record of {name}: {cure}")
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            what = "is missing"
        elif size != facts.get("bytes"):
            what = f"has {size:,} bytes, expected {_count(facts.get('bytes'))}"
        elif not trust and not _is_as_recorded(path, facts):
            what = "changed since it was written (its checksum is another)"
        else:
            continue
        raise IncompleteStore(f"{path} {what}: {cure}")


def _is_as_recorded(path: Path, facts: Mapping[str, Any]) -> bool:
    if "xxh3" in facts:
        return bool(checksum(path) == facts["xxh3"])
    with path.open("rb") as file:
        return bool(hashlib.file_digest(file, "sha256").hexdigest() == facts["sha256"])


def _digest(content: Mapping[str, Any]) -> str:
    """Checksum of a mapping, whatever its order and layout."""
    return xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def _count(size: Any) -> str:
    return f"{size:,}" if isinstance(size, int) else repr(size)

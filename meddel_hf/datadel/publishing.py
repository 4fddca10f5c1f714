"""Which sources of a built DataDEL others may not publish again."""

from __future__ import annotations

from pathlib import Path

from meddel_hf.datadel.registry import SOURCES
from meddel_hf.datadel.source import Source
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest


def forbidden(folder: Path) -> list[Source]:
    """Sources in a folder whose licence forbids publishing them again.

    Known of what `meddel build` made, and of what `meddel filter` took from that; none elsewhere.
    """
    if not (folder / MANIFEST).is_file():
        return []
    manifest = Manifest.read(folder)
    if manifest.step not in ("datadel", "subset"):
        return []
    named = [SOURCES[name] for name in manifest.details.get("sources", ()) if name in SOURCES]
    return [source for source in named if not source.licence.redistribution]


def check(folder: Path, private: bool | None) -> None:
    """Raises InvalidArgument, naming the sources, where a folder may not become public and `private` is not asked."""
    kept_back = [] if private else forbidden(folder)
    if kept_back:
        named = "; ".join(f"{source.name} ({source.licence.name}: {source.licence.note})" for source in kept_back)
        raise InvalidArgument(
            f"{folder} holds sources that others may not publish again: {named}. Push it with --private, or build "
            "without them (--source)"
        )

"""What of a data set's folder goes to the Hub, and what stays: beside a manifest only what the step wrote is sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from meddel_hf.data.outgoing import METADATA, files_in
from meddel_hf.data.scan import SKIPPED
from meddel_hf.datadel import preview
from meddel_hf.datadel.shards.output import REJECTED
from meddel_hf.errors import IncompleteStore, InvalidArgument
from meddel_hf.hub.repository import CARD
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.words import first_of
from meddel_hf.selection.card import OURS

_DATA_SETS = ("datadel", "pool", "subset")
_OF_THEIR_OWNER = (CARD, METADATA)  # which people write into: a licence, labels
_LISTS = (REJECTED, SKIPPED)  # of a pool: names of files that were not taken, as some were on purpose
_KEY = ".key"  # of hashed ids
_SHOWN = 3


@dataclass(frozen=True)
class Contents:
    """A folder's files, by their names relative to it: those that go, without the manifest, and those that stay."""

    manifest: Manifest | None
    going: tuple[str, ...]
    staying: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path) -> Contents:
        """Of a folder with a manifest go the files that it records and the card; of another all but keys of ids.

        Raises InvalidArgument where the folder is that of a step which makes nothing for others; IncompleteStore where
        a file is missing, or another than the manifest records.
        """
        there = [path.relative_to(folder).as_posix() for path in files_in(folder)]
        if not (folder / MANIFEST).is_file():
            going = [name for name in there if not name.endswith(_KEY)]
            return cls(None, tuple(going), _others(there, going))
        manifest = Manifest.read(folder)
        if manifest.step not in _DATA_SETS:
            raise InvalidArgument(
                f"{folder} is a folder of step {manifest.step!r}, which is not made for others: push a selection, a "
                "subset, a pool, a DataDEL folder, a report or a model"
            )
        _check(folder, manifest)
        # Earlier versions recorded nothing; what they wrote is known by its names.
        recorded = manifest.files or [name for name in there if any(fnmatchcase(name, each) for each in OURS)]
        going = sorted({CARD, *recorded, *_previews(folder, manifest)} - {MANIFEST})
        if manifest.step == "pool":
            going = [name for name in going if name not in _LISTS]
        return cls(manifest, tuple(going), _others(there, going))

    def told(self) -> str | None:
        """A line on what stays; None where all goes."""
        if not self.staying:
            return None
        return f"not sent, and left here: {first_of(self.staying, _SHOWN)}"


def _check(folder: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise IncompleteStore(f"{folder / MANIFEST} is damaged: it records {name}, which is outside the folder")
        if name in _OF_THEIR_OWNER and not (folder / name).is_file():
            raise IncompleteStore(f"{folder / name} is missing: copy it again, or run the step again")
    manifest.check(folder, [name for name in manifest.files if name not in _OF_THEIR_OWNER])


def _previews(folder: Path, manifest: Manifest) -> list[str]:
    """Contact sheets, which the card of a DataDEL folder shows."""
    configs = manifest.details.get("configs", {}) if manifest.step == "datadel" else {}
    names = [f"{preview.FOLDER}/{name}.png" for name in configs]
    return [name for name in names if (folder / name).is_file()]


def _others(there: Iterable[str], going: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(there) - set(going) - {MANIFEST}))

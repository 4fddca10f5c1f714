"""Several folders are replaced together: all of them, or none, whenever a process is killed.

    with Replacement.begin(folder, [other, ...]) as replacement:
        ...  # write the new files of each folder into replacement.staged(folder), its manifest last
        replacement.commit({folder: names of files that go, ...})

New files are written into a hidden folder inside each; until `commit` the old ones stay as they are. `commit` first
notes, in the first folder, what is to be done; from then on the work is finished by whoever comes next, who calls
`finish_pending`. Meanwhile a folder has no manifest, so that nobody reads a mixture.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from meddel_hf.errors import IncompleteStore
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.records import read_facts, write_facts

STAGE, _COMMITTED = ".replacing", "committed.json"
_CURE = "delete that file, if nothing else of the folder is missing"


@dataclass(frozen=True)
class Replacement:
    """folders: those that are replaced together; what is to be done is noted in the first."""

    folders: Sequence[Path]

    @classmethod
    @contextmanager
    def begin(cls, first: Path, others: Sequence[Path] = ()) -> Iterator[Replacement]:
        """What a killed run left staged, and did not commit, is removed; so is what an error leaves."""
        replacement = cls([first.resolve(), *(other.resolve() for other in others)])
        try:
            for folder in replacement.folders:
                shutil.rmtree(folder / STAGE, ignore_errors=True)
                (folder / STAGE).mkdir()
            yield replacement
        finally:
            if not (replacement.folders[0] / STAGE / _COMMITTED).is_file():
                for folder in replacement.folders:
                    shutil.rmtree(folder / STAGE, ignore_errors=True)

    def staged(self, folder: Path) -> Path:
        """Where the new files of a folder are written."""
        return folder.resolve() / STAGE / "new"

    def commit(self, gone: Mapping[Path, Sequence[str]], report: str = "") -> None:
        """Put what is staged in the place of what is there.

        gone: of each folder, files that have no successor. report: what a run that finishes this one should say.
        """
        first = self.folders[0]
        names = {os.path.relpath(folder.resolve(), first): sorted(files) for folder, files in gone.items()}
        for folder in self.folders:
            _sync_all(folder / STAGE)
        # Seen from the first, so that all of them may be moved together before the work is finished.
        facts = {"folders": [os.path.relpath(each, first) for each in self.folders], "gone": names, "report": report}
        write_facts(first / STAGE / _COMMITTED, facts)
        finish_pending(first)


def finish_pending(folder: Path) -> str | None:
    """Finish what a killed run had committed, and return its report; None where there is nothing of the kind.

    Raises IncompleteStore, and changes nothing, where one of the folders is not where the run left it.
    """
    folder = folder.resolve()
    noted = folder / STAGE / _COMMITTED
    if not noted.is_file():
        return None
    facts = read_facts(noted, _CURE)
    places = {name: Path(os.path.normpath(folder / name)) for name in facts["folders"]}  # earlier versions: absolute
    for place in places.values():
        if not any((there / MANIFEST).is_file() for there in (place, place / STAGE / "new")):
            raise IncompleteStore(
                f"{place} is not what a run left that was killed while it replaced it together with {folder}: put all "
                "folders back where they were, and run the same command again"
            )
    for name in reversed(places):  # the one that holds the note comes last
        _put_in_place(places[name], facts["gone"].get(name, []))
    shutil.rmtree(folder / STAGE)
    report: str = facts["report"]
    return report


def _put_in_place(folder: Path, gone: Sequence[str]) -> None:
    new = folder / STAGE / "new"
    if (new / MANIFEST).is_file():  # it moves last: without it, all is done
        (folder / MANIFEST).unlink(missing_ok=True)
        for name in gone:
            (folder / name).unlink(missing_ok=True)
        for path in sorted(new.iterdir(), key=lambda path: path.name == MANIFEST):
            os.replace(path, folder / path.name)
    if not (folder / STAGE / _COMMITTED).is_file():
        shutil.rmtree(folder / STAGE, ignore_errors=True)


def _sync_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

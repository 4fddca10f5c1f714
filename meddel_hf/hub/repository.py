"""Files of a step to the Hub, with a card and the record of how they came about, in one commit."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from meddel_hf.hub.names import published
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.network import hub_errors, made_repository

CARD = "README.md"


@dataclass(frozen=True)
class Repository:
    """A repository, and how it is written to.

    repo_id: such as "user/name". private, token: as huggingface_hub has them. license: such as "apache-2.0", which only
    who made what is published can name. kind: as huggingface_hub's repo_type.
    """

    repo_id: str
    private: bool | None = None
    token: str | None = None
    license: str | None = None
    kind: Literal["model", "dataset"] = "model"

    @property
    def name(self) -> str:
        return self.repo_id.partition("/")[2] or self.repo_id

    def upload(
        self,
        folder: Path,
        names: Sequence[str],
        card: str | None,
        manifest: Manifest | None,
        message: str,
        *,
        older: Sequence[str],
    ) -> str:
        """Publish files of a folder, a card, and the record of how they came about; returns the address.

        names: of the files, relative to the folder. card: None where it is one of them. manifest: None where there is
        none. older: patterns of what an earlier push left, which goes where this one does not bring it along.
        Raises HubFailed where the Hub refuses.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=self.token)
        with hub_errors(self.repo_id):
            address = made_repository(api, self.repo_id, self.kind, self.private)
        with self._room(folder) as place:
            for name in names:
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                self._copy(folder / name, place / name)
            if card is not None:
                (place / CARD).write_text(card, encoding="utf-8")
            if manifest is not None:
                recorded = [name for name in names if name != CARD]  # people change cards on the Hub
                published(manifest).write(place, recorded)
            with hub_errors(self.repo_id):
                api.upload_folder(
                    repo_id=self.repo_id,
                    repo_type=self.kind,
                    folder_path=place,
                    commit_message=message,
                    delete_patterns=[CARD, MANIFEST, *older],
                )
        return address

    @contextmanager
    def _room(self, folder: Path) -> Iterator[Path]:
        """Where the files of a folder are put together."""
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)

    def _copy(self, file: Path, place: Path) -> None:
        """Put a file there as it is to go."""
        place.symlink_to(file.resolve())

"""Files of a step to the Hub, with a card and the record of how they came about, in one commit."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copyfile
from typing import Literal

from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.network import hub_errors, made_repository, public

_CARD = "README.md"


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
        self, folder: Path, names: Sequence[str], card: str, manifest: Manifest, message: str, *, older: Sequence[str]
    ) -> str:
        """Publish files of a folder, a card, and the record of how they came about; returns the address.

        names: of the files, relative to the folder. older: patterns of what an earlier push left, which goes where this
        one does not bring it along. Raises HubFailed where the Hub refuses.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=self.token)
        with hub_errors(self.repo_id):
            address = made_repository(api, self.repo_id, self.kind, self.private)
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch)
            for name in names:
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                self._copy(folder / name, place / name)
            (place / _CARD).write_text(card, encoding="utf-8")
            shown = replace(manifest, arguments=public(manifest.arguments), details=public(manifest.details))
            shown.write(place, names)
            with hub_errors(self.repo_id):
                api.upload_folder(
                    repo_id=self.repo_id,
                    repo_type=self.kind,
                    folder_path=place,
                    commit_message=message,
                    delete_patterns=[_CARD, MANIFEST, *older],
                )
        return address

    def _copy(self, file: Path, place: Path) -> None:
        copyfile(file, place)

"""What encoders and segmentation models have in common on their way to the Hub."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copyfile
from typing import Any

from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.network import hub_errors, public

FILES = ("config.json", "model.safetensors", "preprocessor_config.json")


@dataclass(frozen=True)
class ModelRepository:
    """A repository of a model, and how it is written to.

    repo_id: such as "user/name". private, token: as huggingface_hub has them. license: of the weights, such as
    "apache-2.0", which only who trained them can name.
    """

    repo_id: str
    private: bool | None = None
    token: str | None = None
    license: str | None = None

    @property
    def name(self) -> str:
        return self.repo_id.partition("/")[2] or self.repo_id

    def front_matter(self, **facts: Any) -> str:
        """What a card begins with: what the Hub reads of it."""
        from huggingface_hub import ModelCardData

        data = ModelCardData(library_name="transformers", license=self.license, **facts)
        return f"---\n{data.to_yaml()}\n---\n"

    def upload(self, folder: Path, card: str, manifest: Manifest, message: str) -> str:
        """Publish the model that `folder` holds, a card, and the record of how it came about; returns the address.

        Raises HubFailed where the Hub refuses.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=self.token)
        with hub_errors(self.repo_id):
            address = api.create_repo(self.repo_id, repo_type="model", private=self.private, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch)
            for name in FILES:
                copyfile(folder / name, place / name)
            (place / "README.md").write_text(card, encoding="utf-8")
            shown = replace(manifest, arguments=public(manifest.arguments), details=public(manifest.details))
            shown.write(place, FILES)
            with hub_errors(self.repo_id):
                api.upload_folder(
                    repo_id=self.repo_id,
                    repo_type="model",
                    folder_path=place,
                    commit_message=message,
                    delete_patterns=["README.md", "manifest.json", *FILES],  # what an earlier push left
                )
        return str(address)


def provenance(manifest: Manifest) -> list[tuple[str, str]]:
    """Of what a model was made, and by which versions: rows of its card's table."""

    def listed(facts: Mapping[str, str]) -> str:
        return ", ".join(f"{name} {value}" for name, value in sorted(facts.items()))

    return [("fingerprints", listed(manifest.parents)), ("versions", listed(manifest.versions))]

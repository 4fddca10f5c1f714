"""What encoders and segmentation models have in common on their way to the Hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meddel_hf.hub.repository import Repository
from meddel_hf.runtime.manifest import Manifest

CONFIG = "config.json"
FILES = (CONFIG, "model.safetensors", "preprocessor_config.json")


class ModelRepository(Repository):
    """A repository of a model. license: of the weights."""

    def front_matter(self, **facts: Any) -> str:
        """What a card begins with: what the Hub reads of it."""
        from huggingface_hub import ModelCardData

        data = ModelCardData(library_name="transformers", license=self.license, **facts)
        return f"---\n{data.to_yaml()}\n---\n"

    def _copy(self, file: Path, place: Path) -> None:
        """A configuration goes without the places that its encoders were read from, as older ones hold them."""
        if file.name != CONFIG:
            super()._copy(file, place)
            return
        facts = _blank(json.loads(file.read_text(encoding="utf-8")), "_name_or_path")
        place.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def upload_model(self, folder: Path, card: str, manifest: Manifest, message: str) -> str:
        """Publish the model that `folder` holds; see `upload`."""
        return self.upload(folder, FILES, card, manifest, message, older=FILES)


def _blank(value: Any, key: str) -> Any:
    """Facts with an empty text under a key, however deep it stands."""
    if isinstance(value, dict):
        return {name: "" if name == key else _blank(inner, key) for name, inner in value.items()}
    return [_blank(inner, key) for inner in value] if isinstance(value, list) else value


def provenance(manifest: Manifest) -> list[tuple[str, str]]:
    """Of what a model was made, and by which versions: rows of its card's table."""

    def listed(facts: Mapping[str, str]) -> str:
        return ", ".join(f"{name} {value}" for name, value in sorted(facts.items()))

    return [("fingerprints", listed(manifest.parents)), ("versions", listed(manifest.versions))]

"""What encoders and segmentation models have in common on their way to the Hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meddel_hf.hub.repository import Repository
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.network import everywhere

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
        facts = everywhere(
            json.loads(file.read_text(encoding="utf-8")), lambda key, text: "" if key == "_name_or_path" else text
        )
        place.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def upload_model(self, folder: Path, card: str, manifest: Manifest, message: str) -> str:
        """Publish the model that `folder` holds; see `upload`."""
        return self.upload(folder, FILES, card, manifest, message, older=FILES)


def provenance(manifest: Manifest) -> list[tuple[str, str]]:
    """Of what a model was made, and by which versions: rows of its card's table. manifest: as it is published."""

    def listed(facts: Mapping[str, str]) -> str:
        return ", ".join(f"{name} {value}" for name, value in sorted(facts.items()))

    return [("fingerprints", listed(manifest.parents)), ("versions", listed(manifest.versions))]

"""A segmentation model to the Hub: its weights, how pixels are prepared, and a card with what it scored on what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meddel_hf.hub.models import ModelRepository, provenance
from meddel_hf.hub.names import published
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.words import plural
from meddel_hf.schema import MODEL
from meddel_hf.selection.card import PAPER, TAGS, cell, table_of


def push_segmentation(path: str | Path, to: ModelRepository) -> str:
    """Publish the model of a folder that `meddel segment` wrote; returns its address.

    Scores of single frames, whose ids they name, and overlays, which show frames, stay here. Raises IncompleteStore
    where files of the model are damaged; HubFailed where the Hub refuses.
    """
    folder = Path(path)
    manifest = Manifest.read(folder, "segmentation")
    manifest.check(folder, [name for name in manifest.files if name.startswith(f"{MODEL}/")])
    return to.upload_model(folder / MODEL, segmentation_card(manifest, to), manifest, "Segmentation model")


def segmentation_card(manifest: Manifest, to: ModelRepository) -> str:
    """README.md of a segmentation model: what it is for, how it is opened, what it scored, by which recipe."""
    manifest = published(manifest)
    return f"""{to.front_matter(pipeline_tag="image-segmentation", tags=[*TAGS, "segmentation"])}
# {to.name}

A segmentation model, an encoder with a head on its features, trained with [meddel_hf]({PAPER}). For research; not a
medical device.

```python
import meddel_hf.downstream.segmentation.model  # tells transformers of the model; no remote code runs
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

model = AutoModelForSemanticSegmentation.from_pretrained("{to.repo_id}")
processor = AutoImageProcessor.from_pretrained("{to.repo_id}")
logits = model(**processor(image, return_tensors="pt")).logits
```

## What it scored

{_scores(manifest.details.get("tested") or {})}

## How it was trained

{table_of(_facts(manifest))}

No frame is in these files. Weights can hold traces of what they were trained on: whoever may not have the frames
should not have weights that were trained on few of them for long.
"""


def _scores(tested: dict[str, dict[str, float]]) -> str:
    measures = list(dict.fromkeys(measure for values in tested.values() for measure in values))
    lines = [f"| test set | {' | '.join(measures)} |", f"|---|{'---:|' * len(measures)}"]
    for name, values in tested.items():
        numbers = " | ".join(f"{values[measure]:.4f}" if measure in values else "" for measure in measures)
        lines.append(f"| {cell(name)} | {numbers} |")
    return "\n".join(lines)


def _facts(manifest: Manifest) -> list[tuple[str, Any]]:
    details, recipe = manifest.details, manifest.arguments.get("recipe") or {}
    loss = details.get("loss")
    return [
        ("encoder", details.get("encoder")),
        ("trained on", f"{plural(details.get('frames', 0), 'frame')} with masks"),
        ("loss at the end", None if loss is None else f"{loss:.4f}"),
        ("seed", manifest.arguments.get("seed")),
        *((name, recipe[name]) for name in sorted(recipe)),
        *provenance(manifest),
    ]

"""An encoder to the Hub: its weights, how pixels are prepared, and a card that says what it was trained on and how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meddel_hf.hub.models import ModelRepository, provenance
from meddel_hf.hub.names import published
from meddel_hf.pretraining.result import PreTraining, Summary
from meddel_hf.runtime.words import plural
from meddel_hf.selection.card import PAPER, TAGS, table_of


def push_encoder(path: str | Path, to: ModelRepository) -> str:
    """Publish the encoder of a folder that `meddel pretrain` wrote, as a model; returns its address.

    The whole model, its log and its snapshots stay here. Raises IncompleteStore where files are damaged; HubFailed
    where the Hub refuses.
    """
    run = PreTraining.load(path)
    run.verify()
    return to.upload_model(run.encoder, encoder_card(run, to), run.manifest, "Encoder")


def encoder_card(run: PreTraining, to: ModelRepository) -> str:
    """README.md of an encoder: what it is for, how it is opened, what it saw, by which recipe and versions."""
    objective = str(run.manifest.arguments.get("objective", "mae"))
    return f"""{to.front_matter(pipeline_tag="image-feature-extraction", tags=[*TAGS, objective])}
# {to.name}

An image encoder, pre-trained by `{objective}` with [meddel_hf]({PAPER}). For research; not a medical device.
{_seen(run.summary)}

```python
from transformers import AutoImageProcessor, AutoModel

model = AutoModel.from_pretrained("{to.repo_id}")
processor = AutoImageProcessor.from_pretrained("{to.repo_id}")
features = model(**processor(image, return_tensors="pt")).last_hidden_state
```

`meddel embed frames --encoder {to.repo_id} --out embeddings` takes it as it is.

## How it was trained

{table_of(_facts(run))}

No frame is in these files. Weights can hold traces of what they were trained on: whoever may not have the frames
should not have weights that were trained on few of them for long.
"""


def _seen(summary: Summary) -> str:
    if summary.loss is None:
        return "These are initial weights: nothing was trained."
    return f"It saw {plural(summary.frames, 'frame')}, {summary.epochs:.3g} times each."


def _facts(run: PreTraining) -> list[tuple[str, Any]]:
    manifest, summary = published(run.manifest), run.summary
    recipe = manifest.arguments
    chosen = f"{summary.frames:,} of {summary.pool:,} frames of the pool"
    return [
        ("pool", manifest.details.get("pool")),
        ("trained on", f"{chosen}, chosen by a selection" if "selection" in manifest.parents else chosen),
        ("left out as unreadable", summary.unreadable or None),
        ("left out by id", summary.excluded or None),
        ("samples seen", f"{summary.samples:,}"),
        ("loss at the end", None if summary.loss is None else f"{summary.loss:.4f}"),
        ("precision, device, processes", f"{summary.precision}, {summary.device}, {summary.processes}"),
        *((name, recipe[name]) for name in sorted(recipe) if name not in ("objective", "frames", "excluded")),
        *provenance(manifest),
    ]

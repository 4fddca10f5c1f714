"""An encoder to the Hub: its weights, how pixels are prepared, and a card that says what it was trained on and how."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from typing import Any

from meddel_hf.pretraining.result import PreTraining, Summary
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.network import hub_errors, public, public_name
from meddel_hf.selection.card import PAPER, TAGS, table_of

FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
_OWN = ("README.md", "manifest.json", *FILES)  # what an earlier push left


def push_encoder(
    path: str | Path,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    license: str | None = None,
) -> str:
    """Publish the encoder of a folder that `meddel pretrain` wrote, as a model; returns its address.

    license: of the weights, such as "apache-2.0", which only who trained them can name.
    The whole model, its log and its snapshots stay here. Raises IncompleteStore where files are damaged; HubFailed
    where the Hub refuses.
    """
    from huggingface_hub import HfApi

    run = PreTraining.load(path)
    run.verify()
    api = HfApi(token=token)
    with hub_errors(repo_id):
        address = api.create_repo(repo_id, repo_type="model", private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in FILES:
            copyfile(run.encoder / name, folder / name)
        (folder / "README.md").write_text(encoder_card(run, repo_id, license), encoding="utf-8")
        shown = replace(run.manifest, arguments=public(run.manifest.arguments), details=public(run.manifest.details))
        shown.write(folder, FILES)
        with hub_errors(repo_id):
            api.upload_folder(
                repo_id=repo_id,
                repo_type="model",
                folder_path=folder,
                commit_message="Encoder",
                delete_patterns=list(_OWN),
            )
    return str(address)


def encoder_card(run: PreTraining, repo_id: str, license: str | None = None) -> str:
    """README.md of an encoder: what it is for, how it is opened, what it saw, by which recipe and versions."""
    from huggingface_hub import ModelCardData

    objective = str(run.manifest.arguments.get("objective", "mae"))
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="image-feature-extraction",
        tags=[*TAGS, objective],
        license=license,
    )
    return f"""---
{data.to_yaml()}
---

# {repo_id.partition("/")[2] or repo_id}

An image encoder, pre-trained by `{objective}` with [meddel_hf]({PAPER}). For research; not a medical device.
{_seen(run.summary)}

```python
from transformers import AutoImageProcessor, AutoModel

model = AutoModel.from_pretrained("{repo_id}")
processor = AutoImageProcessor.from_pretrained("{repo_id}")
features = model(**processor(image, return_tensors="pt")).last_hidden_state
```

`meddel embed frames --encoder {repo_id} --out embeddings` takes it as it is.

## How it was trained

{table_of(_facts(run))}

No frame is in these files. Weights can hold traces of what they were trained on: whoever may not have the frames
should not have weights that were trained on few of them for long.
"""


def _seen(summary: Summary) -> str:
    if summary.loss is None:
        return "These are initial weights: nothing was trained."
    return f"It saw {summary.frames:,} frames {summary.epochs:.3g} times each."


def _facts(run: PreTraining) -> list[tuple[str, Any]]:
    manifest: Manifest = run.manifest
    summary = run.summary
    recipe = public(manifest.arguments)
    pool = manifest.details.get("pool")
    chosen = f"{summary.frames:,} of {summary.pool:,} frames of the pool"
    return [
        ("pool", pool and public_name(str(pool))),
        ("trained on", f"{chosen}, chosen by a selection" if "selection" in manifest.parents else chosen),
        ("left out as unreadable", summary.unreadable or None),
        ("left out by id", summary.excluded or None),
        ("samples seen", f"{summary.samples:,}"),
        ("loss at the end", None if summary.loss is None else f"{summary.loss:.4f}"),
        ("precision, device, processes", f"{summary.precision}, {summary.device}, {summary.processes}"),
        *((name, recipe[name]) for name in sorted(recipe) if name not in ("objective", "frames", "excluded")),
        ("fingerprints", ", ".join(f"{name} {digest}" for name, digest in sorted(manifest.parents.items()))),
        ("versions", ", ".join(f"{name} {version}" for name, version in sorted(manifest.versions.items()))),
    ]

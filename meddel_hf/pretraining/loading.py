"""Whole models of pre-training, read back: nothing of them may be missing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch

from meddel_hf.embedding.loading import quiet
from meddel_hf.errors import InvalidArgument

# Nothing is drawn during a run: of a ViT's configuration, and of a ConvNeXt's.
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
NO_DROPPED_PATHS = {"drop_path_rate": 0.0}


def load_whole(kind: Any, folder: str, new: Collection[str] = (), /, **config: Any) -> Any:
    """A model of class `kind`, in float32. config: what of its configuration is to be otherwise.

    new: weights that have their initial values where the folder lacks them.
    Raises InvalidArgument where other weights of it are missing.
    """
    with quiet():
        model, report = kind.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **config
        )
    missing = sorted(set(report["missing_keys"]) - set(new))
    missing += sorted(str(key) for key in report.get("mismatched_keys", ()))
    if missing:
        raise InvalidArgument(
            f"{folder} lacks {len(missing)} weights of a {kind.__name__}, such as {missing[0]}: they would be random; "
            "expected the whole model that was pre-trained, not its encoder alone"
        )
    return model

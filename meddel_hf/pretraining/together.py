"""What objectives share that bring views of a frame together."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig

from meddel_hf.pretraining.colours import changed
from meddel_hf.pretraining.encoders import normalised

GLOBAL, LOCAL = "global", "local"


def recoloured(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Views as `views.together` hands them out -> their colours changed: (B, V, 3, H, W) float32 in [0, 1], of each
    size."""
    answer, first = {}, 0
    for name in (GLOBAL, LOCAL):
        if name in batch:
            pixels = batch[name]
            last = first + pixels.shape[1]
            how = (batch[what][:, first:last].flatten(0, 1) for what in ("matrix", "lift", "sigma"))
            answer[name] = changed(pixels.flatten(0, 1).float() / 255, *how).unflatten(0, pixels.shape[:2])
            first = last
    return answer


def coloured(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same, normalised as the encoder takes it."""
    return {name: normalised(views, 1.0) for name, views in recoloured(batch).items()}


def sub_configuration(config: PreTrainedConfig | dict[str, Any] | None) -> PreTrainedConfig:
    """Of an encoder, from its content as a file holds it; none: a ViT's, as transformers asks for to compare with."""
    if isinstance(config, PreTrainedConfig):
        return config
    content = dict(config or {})
    return AutoConfig.for_model(content.pop("model_type", "vit"), **content)

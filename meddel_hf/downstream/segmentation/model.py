"""A segmentation model from an encoder, and to a folder that transformers opens.

Importing this module tells transformers of the models: afterwards `AutoModelForSemanticSegmentation.from_pretrained`
and `AutoConfig` know what `save_pretrained` wrote, without remote code.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSemanticSegmentation

from meddel_hf.data.images import Preprocessing
from meddel_hf.downstream.segmentation import convolutional, vit
from meddel_hf.downstream.segmentation.architecture import Head, SegmentationModel
from meddel_hf.embedding.encoder import load_pretrained
from meddel_hf.embedding.loading import explained
from meddel_hf.errors import InvalidArgument


def predicted_mask(logits: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """Class of every pixel of one frame: logits (C, h, w) -> (height, width) uint8, the greatest of bilinear logits."""
    large = nn.functional.interpolate(logits[None].float(), size=size, mode="bilinear", align_corners=False)[0]
    best, classes = large[0], torch.zeros(size, dtype=torch.uint8)
    for label in range(1, len(large)):  # argmax over the first axis takes thirty times as long
        better = large[label] > best
        classes[better], best = label, torch.maximum(best, large[label])
    return classes.numpy()


def from_encoder(
    name_or_path: str,
    *,
    seed: int,
    head: Head = Head(),  # noqa: B008  # frozen
    image_size: int | None = None,
    revision: str | None = None,
) -> tuple[SegmentationModel, Preprocessing, str]:
    """A model with the weights of an encoder and a head that `seed` draws; its preprocessing; the encoder's digest.

    name_or_path: Hub id or folder of a ViT, an MAE (its decoder is left out), a ResNet or a ConvNeXt, with safetensors
                  weights.
    image_size:   side of the frames in pixels; other than a ViT's own, its position embeddings are interpolated.
    Raises InvalidArgument where that is no such encoder, lacks weights, or does not fit the size.
    """
    encoder = load_pretrained(name_or_path, revision=revision)
    config: Any = encoder.model.config
    if config.model_type not in (*vit.TYPES, *convolutional.TYPES):
        raise InvalidArgument(
            f"{name_or_path} is a {config.model_type}: expected a ViT, an MAE, a ResNet or a ConvNeXt of transformers"
        )
    preprocessing = encoder.preprocessing
    if image_size is not None:
        preprocessing = replace(preprocessing, resize=(image_size, image_size), crop=None)
    if preprocessing.crop is not None:
        raise InvalidArgument(
            f"the image processor of {name_or_path} crops frames to {preprocessing.size}, so their masks would not be "
            "predicted whole: give image_size (--image-size)"
        )
    kind = vit if config.model_type in vit.TYPES else convolutional
    with explained(name_or_path):
        return kind.with_head(encoder, preprocessing, head, seed), preprocessing, encoder.fingerprint


def save(model: SegmentationModel, preprocessing: Preprocessing, folder: Path) -> None:
    """Write config.json, model.safetensors and the image processor's preprocessor_config.json."""
    model.save_pretrained(folder)
    height, width = preprocessing.size
    processor = {
        "image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": height, "width": width},
        "resample": preprocessing.resample, "do_rescale": True, "rescale_factor": preprocessing.scale,
        "do_normalize": True, "image_mean": preprocessing.mean, "image_std": preprocessing.std,
    }  # fmt: skip
    text = json.dumps(processor, indent=2, sort_keys=True) + "\n"
    (folder / "preprocessor_config.json").write_text(text, encoding="utf-8")


for config, model in (
    (vit.ViTSegmentationConfig, vit.ViTForSegmentation),
    (convolutional.ConvSegmentationConfig, convolutional.ConvForSegmentation),
):
    AutoConfig.register(config.model_type, config)
    AutoModelForSemanticSegmentation.register(config, model)

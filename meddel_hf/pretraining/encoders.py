"""Encoders of pre-training: vision transformers and convolutional networks of transformers, new, loaded and written."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    ConvNextConfig,
    ConvNextModel,
    PreTrainedConfig,
    PreTrainedModel,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTModel,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from meddel_hf.embedding.loading import quiet
from meddel_hf.errors import InvalidArgument
from meddel_hf.pretraining.loading import NO_DROPOUT, NO_DROPPED_PATHS
from meddel_hf.pretraining.recipe import Preset, Recipe
from meddel_hf.training.across import SharedBatchNorm2d

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as MAE has them
TYPES = ("vit", "resnet", "convnext")  # of configurations

_VITS = {  # width, heads; 12 layers, the MLP four times as wide (arXiv 2010.11929, 2012.12877)
    "tiny": (192, 3),
    "small": (384, 6),
    "base": (768, 12),
}
_LAYERS = 12
_RESNETS: dict[Preset, dict[str, Any]] = {  # arXiv 1512.03385, Table 1; the first has no other source than this
    "resnet-nano": {"embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [1] * 4, "layer_type": "basic"},
    "resnet-18": {"embedding_size": 64, "hidden_sizes": [64, 128, 256, 512], "depths": [2] * 4, "layer_type": "basic"},
    "resnet-50": {"hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3], "layer_type": "bottleneck"},
}
_CONVNEXTS: dict[Preset, dict[str, Any]] = {  # arXiv 2201.03545; the first has no other source than this
    "convnext-nano": {"hidden_sizes": [32, 64, 128, 256], "depths": [1, 1, 2, 1]},
    "convnext-tiny": {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3]},
}
_OF_A_VIT = (
    "image_size", "patch_size", "num_channels", "hidden_size", "num_hidden_layers", "num_attention_heads",
    "intermediate_size", "layer_norm_eps", "qkv_bias", "hidden_act", "initializer_range",
)  # fmt: skip
MASK_TOKEN = "embeddings.mask_token"  # of a ViT: stands for hidden patches, of which an encoder in use sees none


def vit_settings(recipe: Recipe) -> dict[str, Any]:
    """What the configuration of a recipe's ViT says."""
    width, heads = _VITS[recipe.preset]
    return {
        "image_size": recipe.image_size, "patch_size": recipe.patch_size, "hidden_size": width,
        "num_hidden_layers": recipe.layers or _LAYERS, "num_attention_heads": heads, "intermediate_size": 4 * width,
    }  # fmt: skip


def configuration(recipe: Recipe) -> PreTrainedConfig:
    """Of the encoder that a recipe names."""
    if recipe.preset in _RESNETS:
        return ResNetConfig(**_RESNETS[recipe.preset])
    if recipe.preset in _CONVNEXTS:
        return ConvNextConfig(**_CONVNEXTS[recipe.preset], image_size=recipe.image_size)
    return ViTConfig(**vit_settings(recipe))


def encoder(config: PreTrainedConfig, *, hides: bool = False) -> PreTrainedModel:
    """An encoder with initial weights, drawn from torch's random state. hides: patches of its frames can be hidden.

    Batch normalisation goes over the frames of all processes. Raises InvalidArgument for a model of another type.
    """
    if config.model_type == "resnet":
        return cast(PreTrainedModel, SharedBatchNorm2d.instead(ResNetModel(cast(ResNetConfig, config))))
    if config.model_type == "convnext":
        return ConvNextModel(cast(ConvNextConfig, config))
    if config.model_type != "vit":
        raise InvalidArgument(f"an encoder of type {config.model_type!r} is given: expected one of {', '.join(TYPES)}")
    return ViTModel(cast(ViTConfig, config), add_pooling_layer=False, use_mask_token=hides)


def load_encoder_to_train(folder: str, config: PreTrainedConfig, *, hides: bool = False) -> PreTrainedModel:
    """An encoder of a folder or Hub id. Raises InvalidArgument where weights of it are missing, but for the mask's."""
    with quiet():
        there, report = AutoModel.from_pretrained(
            folder, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise InvalidArgument(f"{folder} lacks {len(missing)} weights of its encoder, such as {missing[0]}")
    for name, value in {**NO_DROPOUT, **NO_DROPPED_PATHS}.items():
        if hasattr(config, name):
            setattr(config, name, value)
    model = encoder(config, hides=hides)
    weights = {name: value for name, value in there.state_dict().items() if not name.startswith("pooler.")}
    model.load_state_dict(weights, strict=not hides)
    return model


def width(config: PreTrainedConfig) -> int:
    """Length of the features of a frame."""
    return int(config.hidden_sizes[-1] if hasattr(config, "hidden_sizes") else config.hidden_size)


def tokens(model: PreTrainedModel, pixels: Tensor, hidden: Tensor | None = None) -> Tensor:
    """(B, 3, H, W), normalised -> (B, 1 + P, d) of a ViT, frames of any side; (B, 1, d) of a convolutional encoder.

    The first is what stands for the frame: the class token, or the mean over all places. hidden: (B, P) bool.
    """
    if model.config.model_type != "vit":
        pooled: Tensor = model(pixel_values=pixels).pooler_output
        return pooled.flatten(1).unsqueeze(1)
    own = (model.config.image_size,) * 2
    answer: Tensor = model(
        pixel_values=pixels, bool_masked_pos=hidden, interpolate_pos_encoding=tuple(pixels.shape[2:]) != own
    ).last_hidden_state
    return answer


def alone(trained: nn.Module, config: Any) -> PreTrainedModel:
    """A copy of an encoder for use, on the processor, of the classes that `AutoModel` makes.

    The pooler of a ViT, which no objective trains, is the hyperbolic tangent alone.
    """
    weights = {name: value.detach().cpu() for name, value in trained.state_dict().items()}
    config = copy.deepcopy(config)  # a model notes its class there when it is written
    model: PreTrainedModel
    with torch.random.fork_rng(devices=[]):
        if config.model_type == "resnet":
            model = ResNetModel(config)
        elif config.model_type == "convnext":
            model = ConvNextModel(config)
        else:
            vit = ViTConfig(**{name: getattr(config, name) for name in _OF_A_VIT})
            model = ViTModel(vit)
            weights.pop(MASK_TOKEN, None)
            weights["pooler.dense.weight"] = torch.eye(vit.hidden_size)
            weights["pooler.dense.bias"] = torch.zeros(vit.hidden_size)
    model.load_state_dict({name: value.contiguous() for name, value in weights.items()})  # none missing, none left over
    model.eval()  # type: ignore[no-untyped-call]
    return model


def normalised(pixels: Tensor, most: float = 255.0) -> Tensor:
    """(..., 3, H, W) of values from 0 to `most` -> float32, less the mean, over the standard deviation of each
    channel."""
    mean, std = (most * torch.tensor(value).view(3, 1, 1) for value in (MEAN, STD))
    mean, share = (each.to(pixels.device, non_blocking=True) for each in (mean, 1 / std))
    return (pixels.float() - mean).mul_(share)


def save(model: PreTrainedModel, side: int, folder: Path) -> None:
    """Write an encoder with its image processor. side: of the frames that it was trained on, in pixels."""
    with quiet():
        model.save_pretrained(folder)
        processor = ViTImageProcessorPil(
            size={"height": side, "width": side}, image_mean=list(MEAN), image_std=list(STD)
        )
        processor.save_pretrained(folder)

"""Objectives that paint what is hidden of a frame: MAE and SimMIM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    ViTConfig,
    ViTForMaskedImageModeling,
    ViTMAEConfig,
    ViTMAEForPreTraining,
)

from meddel_hf.pretraining.encoders import alone, normalised, vit_settings
from meddel_hf.pretraining.loading import NO_DROPOUT, load_whole
from meddel_hf.pretraining.recipe import Preset, Recipe
from meddel_hf.pretraining.views import uncropped

_DECODERS: dict[Preset, tuple[int, int, int]] = {  # width, layers, heads; base as in MAE, the others in proportion
    "tiny": (128, 2, 4),
    "small": (256, 4, 8),
    "base": (512, 8, 16),
}


class ColourlessMAE(ViTMAEForPreTraining):
    """transformers' MAE with mean and variance of each colour taken out of what a patch is to be painted as.

    As published, a patch is normalised over all its values. In endoscopy red is above green, and green above blue, in
    nearly every patch: most of that target's variance is then the patch's mean colour (`colour_share`).
    """

    def patchify(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False) -> Tensor:
        """(B, 3, H, W) -> (B, P, patch² · 3): what the loss then takes for the patches' values."""
        patches: Tensor = super().patchify(pixel_values, interpolate_pos_encoding)
        return by_channel(patches) if self.config.norm_pix_loss else patches


def by_channel(patches: Tensor) -> Tensor:
    """(B, P, patch² · 3), colours last -> the same, each colour of a patch with mean 0 and variance 1."""
    colours = patches.unflatten(-1, (-1, 3))
    variance = colours.var(dim=-2, keepdim=True)
    even: Tensor = (colours - colours.mean(dim=-2, keepdim=True)) / (variance + 1e-6).sqrt()
    return even.flatten(-2)


def colour_share(patches: Tensor) -> float:
    """Share of the variance of MAE's target ("patch") that is the patches' mean colour, in [0, 1].

    patches: (B, P, patch² · 3), colours last. Normalised over all its values, a patch has variance 1; what of it lies
    between its three colours can be painted without seeing any structure.
    """
    colours = patches.double().unflatten(-1, (-1, 3))
    whole = colours.flatten(-2).var(dim=-1, correction=0)
    between = colours.mean(dim=-2).var(dim=-1, correction=0)
    return float((between / whole.clamp(min=1e-12)).mean())


def told_by_colour(frames: Sequence[NDArray[np.uint8]], recipe: Recipe) -> float:
    """`colour_share` of whole frames, (side, side, 3) each, at the recipe's image and patch size."""
    pixels = normalised(uncropped(frames, recipe.image_size))
    size, side = recipe.patch_size, recipe.image_size // recipe.patch_size
    patches = pixels.unflatten(3, (side, size)).unflatten(2, (side, size)).permute(0, 2, 4, 3, 5, 1)
    return colour_share(patches.flatten(3).flatten(1, 2))


class MaskedAutoencoder:
    """MAE (He et al., arXiv 2111.06377): the encoder sees the patches that are left, a decoder paints the others."""

    model_type = "vit_mae"

    def new(self, recipe: Recipe) -> PreTrainedModel:
        width, layers, heads = _DECODERS[recipe.preset]
        config = ViTMAEConfig(
            **vit_settings(recipe), mask_ratio=recipe.mask_ratio, norm_pix_loss=recipe.norm_pix_loss,
            decoder_hidden_size=width, decoder_num_hidden_layers=layers, decoder_num_attention_heads=heads,
            decoder_intermediate_size=4 * width,
        )  # fmt: skip
        model = _class(recipe)(config)
        _begin(model)
        return _with_fixed_positions(model)

    def load(self, folder: str, recipe: Recipe | None = None) -> PreTrainedModel:
        if recipe is None:
            return _with_fixed_positions(load_whole(ViTMAEForPreTraining, folder))
        settings = {"mask_ratio": recipe.mask_ratio, "norm_pix_loss": recipe.norm_pix_loss}
        return _with_fixed_positions(load_whole(_class(recipe), folder, **settings, **NO_DROPOUT))

    def inputs(self, batch: dict[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
        return {"pixel_values": batch["pixels"], "noise": batch["ranks"].float()}  # those of the lowest noise are kept

    def encoder(self, model: PreTrainedModel) -> PreTrainedModel:
        return _vit(model)


class SimMIM:
    """SimMIM (Xie et al., arXiv 2111.09886): hidden patches become a learned token, one layer paints them; L1 loss."""

    model_type = "vit"

    def new(self, recipe: Recipe) -> PreTrainedModel:
        return ViTForMaskedImageModeling(ViTConfig(**vit_settings(recipe), encoder_stride=recipe.patch_size))

    def load(self, folder: str, recipe: Recipe | None = None) -> PreTrainedModel:
        model: PreTrainedModel = load_whole(ViTForMaskedImageModeling, folder, **NO_DROPOUT)
        return model

    def inputs(self, batch: dict[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
        return {"pixel_values": batch["pixels"], "bool_masked_pos": batch["ranks"] >= recipe.kept_patches}

    def encoder(self, model: PreTrainedModel) -> PreTrainedModel:
        return _vit(model)


def _vit(model: PreTrainedModel) -> PreTrainedModel:
    """A ViTMAE's own encoder embeds its patches in random order unless its masking is switched off; a ViT does not."""
    trained: Any = model.vit
    return alone(trained, model.config)


def _class(recipe: Recipe) -> type[ViTMAEForPreTraining]:
    return ColourlessMAE if recipe.target == "channel" else ViTMAEForPreTraining


def _begin(model: ViTMAEForPreTraining) -> None:
    """Initial weights that transformers 5.23 leaves out of a model made from a configuration.

    Positions of encoder and decoder are all zero there, as are the class and the mask token, and patches are projected
    by narrow normal weights: the decoder then cannot know which patch it is to paint. Here as in MAE's own code.
    """
    embeddings, decoder, deviation = model.vit.embeddings, model.decoder, model.config.initializer_range
    side = math.isqrt(embeddings.patch_embeddings.num_patches)
    with torch.no_grad():
        for table in (embeddings.position_embeddings, decoder.decoder_pos_embed):
            table.copy_(sine_positions(side, table.shape[-1]))
        nn.init.xavier_uniform_(embeddings.patch_embeddings.projection.weight.flatten(1))
        for token in (embeddings.cls_token, decoder.mask_token):
            nn.init.normal_(token, std=deviation)


def sine_positions(side: int, width: int) -> Tensor:
    """(1, 1 + side², width): a zero row for the class token, then the patches row by row (MAE's layout).

    The first half tells the column, the second the row; each half holds width / 4 sines, then as many cosines, of
    frequencies from 1 down to nearly 1 / 10,000.
    """
    frequency = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angle = torch.arange(side, dtype=torch.float64).unsqueeze(1) * frequency  # (side, width / 4)
    axis = torch.cat([angle.sin(), angle.cos()], 1)  # (side, width / 2)
    across, down = axis.repeat(side, 1), axis.repeat_interleave(side, 0)
    patches = torch.cat([across, down], 1)
    return torch.cat([torch.zeros(1, patches.shape[1]), patches]).unsqueeze(0).float()


def _with_fixed_positions(model: PreTrainedModel) -> PreTrainedModel:
    """from_pretrained makes the fixed positions trainable."""
    parts: Any = model
    for table in (parts.vit.embeddings.position_embeddings, parts.decoder.decoder_pos_embed):
        table.requires_grad_(False)
    return model

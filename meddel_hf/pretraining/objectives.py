"""Pre-training objectives: a model for each, what it is fed, and its encoder as a plain ViT."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    PreTrainedModel,
    ViTConfig,
    ViTForMaskedImageModeling,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTModel,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from meddel_hf.embedding.encoder import check_weights
from meddel_hf.embedding.loading import explained, quiet
from meddel_hf.errors import InvalidArgument
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.runtime.manifest import fingerprint
from meddel_hf.schema import WHOLE

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as MAE has them

_ENCODERS = {  # width, heads; 12 layers, the MLP four times as wide (arXiv 2010.11929, 2012.12877)
    "tiny": (192, 3),
    "small": (384, 6),
    "base": (768, 12),
}
_DECODERS = {  # width, layers, heads; base as in MAE, the others in proportion
    "tiny": (128, 2, 4),
    "small": (256, 4, 8),
    "base": (512, 8, 16),
}
_LAYERS = 12


class Objective(Protocol):
    """How to learn from frames without labels."""

    model_type: str

    def new(self, recipe: Recipe) -> PreTrainedModel:
        """A model with initial weights, drawn from torch's random state."""

    def load(self, folder: str, **config: Any) -> PreTrainedModel:
        """The model of a folder or Hub id. Raises InvalidArgument where weights of it are missing."""

    def inputs(self, pixels: Tensor, ranks: Tensor, recipe: Recipe) -> dict[str, Tensor]:
        """Arguments of the model. pixels: (B, 3, H, W), normalised. ranks: (B, patches), see `views.ranks`."""


class MaskedAutoencoder:
    """MAE (He et al., arXiv 2111.06377): the encoder sees the patches that are left, a decoder paints the others."""

    model_type = "vit_mae"

    def new(self, recipe: Recipe) -> PreTrainedModel:
        width, layers, heads = _DECODERS[recipe.preset]
        config = ViTMAEConfig(
            **_encoder(recipe), mask_ratio=recipe.mask_ratio, norm_pix_loss=recipe.norm_pix_loss,
            decoder_hidden_size=width, decoder_num_hidden_layers=layers, decoder_num_attention_heads=heads,
            decoder_intermediate_size=4 * width,
        )  # fmt: skip
        model = ViTMAEForPreTraining(config)
        _begin(model)
        return _with_fixed_positions(model)

    def load(self, folder: str, **config: Any) -> PreTrainedModel:
        return _with_fixed_positions(_loaded(ViTMAEForPreTraining, folder, config))

    def inputs(self, pixels: Tensor, ranks: Tensor, recipe: Recipe) -> dict[str, Tensor]:
        return {"pixel_values": pixels, "noise": ranks.float()}  # the model keeps the patches of the lowest noise


class SimMIM:
    """SimMIM (Xie et al., arXiv 2111.09886): hidden patches become a learned token, one layer paints them; L1 loss."""

    model_type = "vit"

    def new(self, recipe: Recipe) -> PreTrainedModel:
        return ViTForMaskedImageModeling(ViTConfig(**_encoder(recipe), encoder_stride=recipe.patch_size))

    def load(self, folder: str, **config: Any) -> PreTrainedModel:
        kept = {key: value for key, value in config.items() if key not in _OF_MAE}
        model: PreTrainedModel = _loaded(ViTForMaskedImageModeling, folder, kept)
        return model

    def inputs(self, pixels: Tensor, ranks: Tensor, recipe: Recipe) -> dict[str, Tensor]:
        return {"pixel_values": pixels, "bool_masked_pos": ranks >= recipe.kept_patches}


_OF_MAE = ("mask_ratio", "norm_pix_loss")
_OF_THE_ENCODER = (
    "image_size", "patch_size", "num_channels", "hidden_size", "num_hidden_layers", "num_attention_heads",
    "intermediate_size", "layer_norm_eps", "qkv_bias", "hidden_act", "initializer_range",
)  # fmt: skip
OBJECTIVES: dict[str, Objective] = {"mae": MaskedAutoencoder(), "simmim": SimMIM()}


def build(recipe: Recipe, seed: int) -> PreTrainedModel:
    """The model that a run begins with, in float32 on the processor: the same for every device and process.

    Raises InvalidArgument where `recipe.start` cannot be continued from, or does not fit image_size and patch_size.
    """
    objective = OBJECTIVES[recipe.objective]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if recipe.start is None:
            return objective.new(recipe)
        return _start(objective, recipe)


def suit(model: PreTrainedModel, device: torch.device, precision: str, recipe: Recipe) -> None:
    """Make a model ready to be trained on a device, in bf16 or float32.

    On a processor, torch's fused attention is slow backwards in bf16. Measured without it on ViT-Tiny and one core:
    36 % more samples/s at 96 px with 4 layers, 65 % at 112 px with 12.
    """
    if recipe.gradient_checkpointing:
        # The older name is deprecated in transformers 5.23, and the newer unknown to 5.0.
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    if device.type == "cpu" and precision == "bf16":
        for module in model.modules():  # MAE's decoder has a configuration of its own
            config: Any = getattr(module, "config", None)
            if config is not None:
                config._attn_implementation = "eager"


def normalised(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 -> float32, less the mean, over the standard deviation of each channel."""
    mean, std = (255 * torch.tensor(value, device=pixels.device).view(3, 1, 1) for value in (MEAN, STD))
    return pixels.float().sub_(mean).mul_(1 / std)


def masked(batch: dict[str, NDArray[Any]], recipe: Recipe, device: torch.device) -> dict[str, Tensor]:
    """What `Views` hands out -> the arguments of the model, on its device."""
    pixels = torch.from_numpy(batch["pixels"]).to(device, non_blocking=True)
    ranks = torch.from_numpy(batch["ranks"]).to(device, non_blocking=True)
    return OBJECTIVES[recipe.objective].inputs(normalised(pixels), ranks, recipe)


def encoder_of(model: PreTrainedModel) -> ViTModel:
    """The encoder alone, as a ViTModel on the processor; it gives the hidden states that it gives inside the model.

    A ViTMAE's own encoder embeds its patches in random order unless its masking is switched off; a ViT has nothing to
    switch off. The ViT's pooler, which no objective trains, is the hyperbolic tangent alone.
    """
    with torch.random.fork_rng(devices=[]):
        vit: ViTModel = ViTModel(ViTConfig(**{name: getattr(model.config, name) for name in _OF_THE_ENCODER})).eval()
    weights = {name: value.detach().cpu() for name, value in cast(nn.Module, model.vit).state_dict().items()}
    weights.pop("embeddings.mask_token", None)
    weights["pooler.dense.weight"] = torch.eye(vit.config.hidden_size)
    weights["pooler.dense.bias"] = torch.zeros(vit.config.hidden_size)
    vit.load_state_dict(weights)  # strict: no weight is missing, none is left over
    return vit


def fingerprint_of(model: PreTrainedModel) -> str:
    """32 hex digits over weights and their names."""
    parts: list[str | bytes] = []
    for name, tensor in sorted(model.state_dict().items()):
        parts += [f"{name} {tuple(tensor.shape)}", tensor.float().cpu().numpy().tobytes()]
    return fingerprint(*parts)


def save_encoder(model: PreTrainedModel, folder: Path) -> None:
    """Write the encoder with its image processor: `meddel embed --encoder FOLDER` takes it, and so does AutoModel."""
    side = model.config.image_size
    with quiet():
        encoder_of(model).save_pretrained(folder)
        processor = ViTImageProcessorPil(
            size={"height": side, "width": side}, image_mean=list(MEAN), image_std=list(STD)
        )
        processor.save_pretrained(folder)


def _encoder(recipe: Recipe) -> dict[str, Any]:
    width, heads = _ENCODERS[recipe.preset]
    return {
        "image_size": recipe.image_size, "patch_size": recipe.patch_size, "hidden_size": width,
        "num_hidden_layers": recipe.layers or _LAYERS, "num_attention_heads": heads, "intermediate_size": 4 * width,
    }  # fmt: skip


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


def _with_fixed_positions(model: ViTMAEForPreTraining) -> ViTMAEForPreTraining:
    """from_pretrained makes the fixed positions trainable."""
    for table in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
        table.requires_grad_(False)
    return model


def _start(objective: Objective, recipe: Recipe) -> PreTrainedModel:
    """The model that a recipe continues from. No dropout: a run must not depend on what was drawn before."""
    start = str(recipe.start)
    folder = str(Path(start) / WHOLE) if (Path(start) / WHOLE).is_dir() else start
    check_weights(Path(folder))
    with quiet(), explained(start, "start"):
        config = AutoConfig.from_pretrained(folder)
    if config.model_type != objective.model_type:
        raise InvalidArgument(
            f"start {start!r} is a model of type {config.model_type!r}, and {recipe.objective} trains "
            f"{objective.model_type!r}: choose the objective that it was trained with"
        )
    for name in ("image_size", "patch_size"):
        has, wanted = getattr(config, name), getattr(recipe, name)
        if has != wanted:
            raise InvalidArgument(f"start {start!r} has {name} {has}, the recipe {wanted}: make them equal")
    with quiet(), explained(start, "start"):
        return objective.load(
            folder, mask_ratio=recipe.mask_ratio, norm_pix_loss=recipe.norm_pix_loss, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )  # fmt: skip


def _loaded(kind: Any, folder: str, config: dict[str, Any]) -> Any:
    with quiet():
        model, report = kind.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **config
        )
    missing = sorted(report["missing_keys"]) + sorted(str(key) for key in report.get("mismatched_keys", ()))
    if missing:
        raise InvalidArgument(
            f"{folder} lacks {len(missing)} weights of a {kind.__name__}, such as {missing[0]}: they would be random; "
            "expected the whole model that was pre-trained, not its encoder alone"
        )
    return model

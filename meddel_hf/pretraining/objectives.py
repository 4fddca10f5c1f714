"""Pre-training objectives by name: a model for each, what it is fed, and its encoder as a plain model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from meddel_hf.embedding.encoder import check_weights
from meddel_hf.embedding.loading import explained, quiet
from meddel_hf.errors import InvalidArgument
from meddel_hf.pretraining import encoders
from meddel_hf.pretraining.colours import ON_HOST
from meddel_hf.pretraining.contrastive import Contrastive
from meddel_hf.pretraining.device_views import viewed
from meddel_hf.pretraining.distillation import Distillation
from meddel_hf.pretraining.encoders import normalised
from meddel_hf.pretraining.masked import MaskedAutoencoder, SimMIM
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.pretraining.views import FRAMES
from meddel_hf.runtime.manifest import fingerprint
from meddel_hf.schema import WHOLE
from meddel_hf.training.transfer import sent


class Objective(Protocol):
    """How to learn from frames without labels."""

    model_type: str

    def new(self, recipe: Recipe) -> PreTrainedModel:
        """A model with initial weights, drawn from torch's random state."""

    def load(self, folder: str, recipe: Recipe | None = None) -> PreTrainedModel:
        """The model of a folder or Hub id, with what the recipe says of its loss.

        Raises InvalidArgument where weights of it are missing.
        """

    def inputs(self, batch: dict[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
        """Arguments of the model, of what `views_of` gives; of masked views, pixels are normalised already."""

    def encoder(self, model: PreTrainedModel) -> PreTrainedModel:
        """The encoder alone, on the processor; it gives the hidden states that it gives inside the model."""


@runtime_checkable
class WithHead(Protocol):
    """An objective that compares views by what a head makes of the encoder's features."""

    def around(self, folder: str, config: PreTrainedConfig, recipe: Recipe) -> PreTrainedModel:
        """A model with a new head on the encoder of a folder or Hub id."""

    def head(self, model: PreTrainedModel, views: Tensor) -> Tensor:
        """(B, 3, H, W), normalised -> (B, d) what views are compared by."""


_HOST = torch.device("cpu")
OBJECTIVES: dict[str, Objective] = {
    "mae": MaskedAutoencoder(), "simmim": SimMIM(), "simclr": Contrastive(), "dino": Distillation()
}  # fmt: skip


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
    36 % more samples/s at 96 px with 4 layers, 65 % at 112 px with 12. Convolutions are quicker where the colours of a
    pixel lie together: 1.3 to 2 times on one core, ResNet of 16 to 128 channels, 32 to 64 px.
    """
    if recipe.is_convolutional:
        module: Any = model
        module.to(memory_format=torch.channels_last)
    if recipe.gradient_checkpointing:
        # The older name is deprecated in transformers 5.23, and the newer unknown to 5.0.
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    if device.type == "cpu" and precision == "bf16":
        for module in model.modules():  # MAE's decoder has a configuration of its own
            config: Any = getattr(module, "config", None)
            if config is not None:
                config._attn_implementation = "eager"


def model_inputs(batch: Mapping[str, NDArray[Any] | Tensor], recipe: Recipe, device: torch.device) -> dict[str, Tensor]:
    """What `views_of` gives, cut or uncut -> the arguments of the model, on its device. Nothing waits for that."""
    tensors = {name: sent(values, _HOST if name in ON_HOST else device) for name, values in batch.items()}
    if FRAMES in tensors:
        tensors = viewed(tensors, recipe)
    if "pixels" in tensors:
        tensors["pixels"] = normalised(tensors["pixels"])
    return OBJECTIVES[recipe.objective].inputs(tensors, recipe)


def fingerprint_of(model: PreTrainedModel) -> str:
    """32 hex digits over weights and their names."""
    parts: list[str | bytes] = []
    for name, tensor in sorted(model.state_dict().items()):
        parts += [f"{name} {tuple(tensor.shape)}", tensor.float().cpu().numpy().tobytes()]
    return fingerprint(*parts)


def save_encoder(model: PreTrainedModel, recipe: Recipe, folder: Path) -> None:
    """Write the encoder with its image processor: `meddel embed --encoder FOLDER` takes it, and so does AutoModel."""
    encoders.save(OBJECTIVES[recipe.objective].encoder(model), model.config.image_size, folder)


def _start(objective: Objective, recipe: Recipe) -> PreTrainedModel:
    """The model that a recipe continues from."""
    start = str(recipe.start)
    folder = str(Path(start) / WHOLE) if (Path(start) / WHOLE).is_dir() else start
    check_weights(Path(folder))
    with quiet(), explained(start, "start"):
        config = AutoConfig.from_pretrained(folder)
        if config.model_type != objective.model_type and folder != start and isinstance(objective, WithHead):
            folder, config = start, AutoConfig.from_pretrained(start)  # of another objective: its encoder will do
    is_encoder = isinstance(objective, WithHead) and config.model_type in encoders.TYPES
    if config.model_type != objective.model_type and not is_encoder:
        raise InvalidArgument(
            f"start {start!r} is a model of type {config.model_type!r}, and {recipe.objective} trains "
            f"{objective.model_type!r}: choose the objective that it was trained with"
        )
    _check_start(start, config, recipe)
    with quiet(), explained(start, "start"):
        if isinstance(objective, WithHead) and is_encoder:
            return objective.around(folder, config, recipe)
        return objective.load(folder, recipe)


def _check_start(start: str, config: Any, recipe: Recipe) -> None:
    """What a recipe is checked for by its preset holds for the start too, and their sizes are equal."""
    inside = getattr(config, "encoder", config)
    family = inside.model_type.removesuffix("_mae")
    if family != recipe.family:
        raise InvalidArgument(
            f"start {start!r} is a {inside.model_type}, and preset {recipe.preset} is none: name a preset of that "
            "family, whatever its size"
        )
    sizes = {name: (getattr(config, name, None), getattr(recipe, name)) for name in ("projection", "prototypes")}
    if family == "vit":  # the others take frames of any side
        sizes |= {name: (getattr(inside, name), getattr(recipe, name)) for name in ("image_size", "patch_size")}
    for name, (there, wanted) in sizes.items():
        if there not in (None, wanted):
            raise InvalidArgument(f"start {start!r} has {name} {there}, the recipe {wanted}: make them equal")

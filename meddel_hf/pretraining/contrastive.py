"""SimCLR: of a batch's views, each has to find the other view of its frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from meddel_hf.pretraining.encoders import alone, configuration, encoder, load_encoder_to_train, tokens, width
from meddel_hf.pretraining.loading import load_whole
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.pretraining.together import coloured, sub_configuration
from meddel_hf.training.across import gathered, place
from meddel_hf.training.checkpoints import WholeModel


@dataclass
class ContrastiveOutput(ModelOutput):
    """loss: scalar."""

    loss: Tensor | None = None


class SimCLRConfig(PreTrainedConfig):
    """Configuration of `SimCLR`.

    encoder:     of the encoder, or its content. image_size: side of the frames in pixels.
    projection:  width of what views are compared by. loss_temperature: transformers keeps `temperature` to itself.
    """

    model_type = "meddel-simclr"
    has_no_defaults_at_init = True

    def __init__(
        self,
        encoder: PreTrainedConfig | dict[str, Any] | None = None,
        image_size: int = 224,
        projection: int = 128,
        loss_temperature: float = 0.1,
        **more: Any,
    ) -> None:
        self.encoder = sub_configuration(encoder)
        self.image_size, self.projection, self.loss_temperature = image_size, projection, loss_temperature
        super().__init__(**more)


class SimCLR(WholeModel):
    """SimCLR (Chen et al., arXiv 2002.05709): an encoder and a two-layer head, whose output views are compared by."""

    config_class = SimCLRConfig
    config: SimCLRConfig
    main_input_name = "views"
    supports_gradient_checkpointing = True

    def __init__(self, config: SimCLRConfig) -> None:
        super().__init__(config)
        self.encoder = encoder(config.encoder)
        d = width(config.encoder)
        self.head = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, config.projection))
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, views: Tensor, return_dict: bool | None = None) -> ContrastiveOutput:
        """views: (B, 2, 3, H, W), normalised, two of each frame."""
        features = tokens(self.encoder, views.transpose(0, 1).flatten(0, 1))[:, 0]
        return ContrastiveOutput(loss=contrast(self.head(features), self.config.loss_temperature))


def contrast(projected: Tensor, temperature: float) -> Tensor:
    """NT-Xent, the mean over this process's 2B views; all processes' views are what they are told apart from.

    projected: (2B, d), the first views of B frames, then their second views, in the same order.
    """
    mine = functional.normalize(projected.float(), dim=1)
    everyone = gathered(mine)
    n, first = len(mine), place() * len(mine)
    here = torch.arange(n, device=mine.device)
    with torch.autocast(mine.device.type, enabled=False):
        likeness = mine @ everyone.T / temperature
    itself = torch.arange(likeness.shape[1], device=mine.device) == (first + here)[:, None]
    return functional.cross_entropy(likeness.masked_fill(itself, -torch.inf), first + here.roll(n // 2))


class Contrastive:
    """SimCLR."""

    model_type = SimCLRConfig.model_type

    def new(self, recipe: Recipe) -> PreTrainedModel:
        return self._around(configuration(recipe), recipe)

    def around(self, folder: str, config: PreTrainedConfig, recipe: Recipe) -> PreTrainedModel:
        """With a new head on the encoder of a folder."""
        trained = load_encoder_to_train(folder, config)
        model = self._around(config, recipe)
        model.encoder.load_state_dict(trained.state_dict())
        return model

    def _around(self, config: PreTrainedConfig, recipe: Recipe) -> SimCLR:
        return SimCLR(SimCLRConfig(config, recipe.image_size, recipe.projection, recipe.temperature))

    def load(self, folder: str, recipe: Recipe | None = None) -> PreTrainedModel:
        settings: dict[str, Any] = {}
        if recipe is not None:
            settings = {"loss_temperature": recipe.temperature, "image_size": recipe.image_size}
        return cast(PreTrainedModel, load_whole(SimCLR, folder, **settings))

    def inputs(self, batch: dict[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
        return {"views": coloured(batch)["global"]}

    def encoder(self, model: PreTrainedModel) -> PreTrainedModel:
        parts: Any = model
        return alone(parts.encoder, parts.config.encoder)

    def head(self, model: PreTrainedModel, views: Tensor) -> Tensor:
        """(B, 3, H, W), normalised -> (B, d) what views are compared by."""
        parts: Any = model
        return cast(Tensor, parts.head(tokens(parts.encoder, views)[:, 0]))


AutoConfig.register(SimCLRConfig.model_type, SimCLRConfig)

"""DINO: a student learns to say of one view what a teacher, its own running mean, says of another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from meddel_hf.pretraining.encoders import (
    MASK_TOKEN,
    alone,
    configuration,
    encoder,
    load_encoder_to_train,
    tokens,
    width,
)
from meddel_hf.pretraining.loading import load_whole
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.pretraining.together import GLOBAL, LOCAL, coloured, sub_configuration
from meddel_hf.training.across import summed
from meddel_hf.training.checkpoints import WholeModel

_CENTRE_MOMENTUM = 0.9
_HIDDEN, _BOTTLENECK = 4, 2  # widths of the head: 2,048 and 256 for a ViT-Small in the paper; here they go with d


@dataclass
class DistillationOutput(ModelOutput):
    """loss: scalar."""

    loss: Tensor | None = None


class DINOConfig(PreTrainedConfig):
    """Configuration of `DINO`.

    encoder:     of the encoder, or its content. image_size: side of the global views in pixels.
    prototypes:  that views are assigned to. loss_temperature: of the student.
    teacher_temperature, momentum: of the teacher.
    masked_loss: weight of iBOT's loss on hidden patches; 0: none are hidden.
    """

    model_type = "meddel-dino"
    has_no_defaults_at_init = True

    def __init__(
        self,
        encoder: PreTrainedConfig | dict[str, Any] | None = None,
        image_size: int = 224,
        prototypes: int = 65_536,
        loss_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        momentum: float = 0.996,
        masked_loss: float = 0.0,
        **more: Any,
    ) -> None:
        self.encoder = sub_configuration(encoder)
        self.image_size, self.prototypes, self.loss_temperature = image_size, prototypes, loss_temperature
        self.teacher_temperature, self.momentum, self.masked_loss = teacher_temperature, momentum, masked_loss
        super().__init__(**more)


class Head(nn.Module):
    """Three layers, then the cosine to each prototype (a last layer whose weights have norm 1)."""

    def __init__(self, d: int, prototypes: int) -> None:
        super().__init__()
        hidden = _HIDDEN * d
        self.layers = nn.Sequential(
            nn.Linear(d, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, d // _BOTTLENECK)
        )
        self.prototypes = nn.Linear(d // _BOTTLENECK, prototypes, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(..., d) -> (..., prototypes)"""
        short = functional.normalize(self.layers(features), dim=-1)
        return functional.linear(short, functional.normalize(self.prototypes.weight, dim=1))


class Half(nn.Module):
    """Student or teacher: an encoder with its head."""

    def __init__(self, config: DINOConfig) -> None:
        super().__init__()
        self.encoder = encoder(config.encoder, hides=bool(config.masked_loss))
        self.head = Head(width(config.encoder), config.prototypes)


class DINO(WholeModel):
    """DINO (Caron et al., arXiv 2104.14294), with iBOT's loss on hidden patches (Zhou et al., arXiv 2111.07832) where
    `masked_loss` is above 0: both by one head."""

    config_class = DINOConfig
    config: DINOConfig
    main_input_name = "views"
    supports_gradient_checkpointing = True
    centre: Tensor
    patch_centre: Tensor

    def __init__(self, config: DINOConfig) -> None:
        super().__init__(config)
        self.student, self.teacher = Half(config), Half(config)
        for name in ("centre", "patch_centre"):
            self.register_buffer(name, torch.zeros(config.prototypes))
        self.seen: dict[str, tuple[Tensor, int]] = {}  # since the last step: sum of the teacher's answers, their number
        self.teacher.requires_grad_(False)
        self.post_init()  # type: ignore[no-untyped-call]

    def begin(self) -> None:
        """The teacher is the student."""
        self.teacher.load_state_dict(self.student.state_dict())

    def forward(
        self,
        views: Tensor,
        local: Tensor | None = None,
        hidden: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> DistillationOutput:
        """views: (B, 2, 3, H, W), normalised. local: (B, L, 3, h, w). hidden: (B, 2, P) bool, patches of the views."""
        flat = views.transpose(0, 1).flatten(0, 1)
        masks = None if hidden is None else hidden.transpose(0, 1).flatten(0, 1)
        with torch.no_grad():
            told = tokens(self.teacher.encoder, flat)
            answers = self.teacher.head(told[:, 0]).float()
            self._note("centre", answers)
        own = tokens(self.student.encoder, flat, masks)
        said = list(self.student.head(own[:, 0]).float().chunk(2))
        if local is not None:
            features = tokens(self.student.encoder, local.transpose(0, 1).flatten(0, 1))[:, 0]
            said += self.student.head(features).float().chunk(local.shape[1])
        targets = self._targets(answers, self.centre).chunk(2)
        pairs = [(i, j) for i, j in product(range(2), range(len(said))) if i != j]
        loss = torch.stack([self._cross_entropy(targets[i], said[j]).mean() for i, j in pairs]).mean()
        if masks is not None:
            loss = loss + self.config.masked_loss * self._patches(told[:, 1:][masks], own[:, 1:][masks])
        return DistillationOutput(loss=loss)

    def _patches(self, told: Tensor, own: Tensor) -> Tensor:
        """iBOT's loss; told, own: (M, d), what teacher and student make of the patches that are hidden."""
        with torch.no_grad():
            answers = self.teacher.head(told).float()
            self._note("patch_centre", answers)
        return self._cross_entropy(self._targets(answers, self.patch_centre), self.student.head(own).float()).mean()

    def _targets(self, answers: Tensor, centre: Tensor) -> Tensor:
        return ((answers - centre) / self.config.teacher_temperature).softmax(dim=-1)

    def _cross_entropy(self, target: Tensor, said: Tensor) -> Tensor:
        return -(target * (said / self.config.loss_temperature).log_softmax(dim=-1)).sum(dim=-1)

    def _note(self, centre: str, answers: Tensor) -> None:
        total, count = self.seen.get(centre, (torch.zeros_like(answers[0]), 0))
        self.seen[centre] = total + answers.sum(dim=0), count + len(answers)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """The teacher follows, and so do the centres. progress: share of the run that is done, in (0, 1]."""
        share = 1 - teacher_momentum(self.config.momentum, progress)
        torch._foreach_lerp_(list(self.teacher.parameters()), list(self.student.parameters()), share)
        for name, (total, count) in self.seen.items():
            everywhere = summed(torch.cat([total, total.new_full((1,), count)]))
            mean = everywhere[:-1] / everywhere[-1].clamp(min=1)
            getattr(self, name).lerp_(mean, 1 - _CENTRE_MOMENTUM)
        self.seen = {}


def teacher_momentum(start: float, progress: float) -> float:
    """From `start` at progress 0 to 1 at progress 1, along half a cosine."""
    return 1 - (1 - start) * (1 + math.cos(math.pi * progress)) / 2


class Distillation:
    """DINO."""

    model_type = DINOConfig.model_type

    def new(self, recipe: Recipe) -> PreTrainedModel:
        model = self._around(configuration(recipe), recipe)
        model.begin()
        return model

    def around(self, folder: str, config: PreTrainedConfig, recipe: Recipe) -> PreTrainedModel:
        """With new heads on the encoder of a folder."""
        trained = load_encoder_to_train(folder, config, hides=recipe.hides)
        model = self._around(config, recipe)
        model.student.encoder.load_state_dict(trained.state_dict())
        model.begin()
        return model

    def _around(self, config: PreTrainedConfig, recipe: Recipe) -> DINO:
        return DINO(DINOConfig(config, recipe.image_size, **_settings(recipe)))

    def load(self, folder: str, recipe: Recipe | None = None) -> PreTrainedModel:
        settings = {} if recipe is None else {**_settings(recipe), "image_size": recipe.image_size}
        new = () if recipe is None else tuple(f"{half}.encoder.{MASK_TOKEN}" for half in ("student", "teacher"))
        model = load_whole(DINO, folder, new, **settings)
        model.teacher.requires_grad_(False)
        return cast(PreTrainedModel, model)

    def inputs(self, batch: dict[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
        views = coloured(batch)
        inputs = {"views": views[GLOBAL]}
        if LOCAL in views:
            inputs["local"] = views[LOCAL]
        if "ranks" in batch:
            inputs["hidden"] = batch["ranks"] >= recipe.kept_patches
        return inputs

    def encoder(self, model: PreTrainedModel) -> PreTrainedModel:
        """The teacher's, as the authors use it."""
        parts: Any = model
        return alone(parts.teacher.encoder, parts.config.encoder)

    def head(self, model: PreTrainedModel, views: Tensor) -> Tensor:
        """(B, 3, H, W), normalised -> (B, d // 2) what the teacher compares with prototypes."""
        parts: Any = model
        return cast(Tensor, parts.teacher.head.layers(tokens(parts.teacher.encoder, views)[:, 0]))


def _settings(recipe: Recipe) -> dict[str, Any]:
    names = ("prototypes", "teacher_temperature", "momentum", "masked_loss")
    return {name: getattr(recipe, name) for name in names} | {"loss_temperature": recipe.temperature}


AutoConfig.register(DINOConfig.model_type, DINOConfig)

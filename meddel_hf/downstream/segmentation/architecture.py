"""What all segmentation models have in common: an encoder, a head on its features, one class for every pixel."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PretrainedConfig
from transformers.modeling_outputs import SemanticSegmenterOutput

from meddel_hf.errors import InvalidArgument
from meddel_hf.training.across import summed
from meddel_hf.training.checkpoints import WholeModel

IGNORED = 255  # label of pixels that count for nothing


class SegmentationConfig(PretrainedConfig):
    """What the configurations of segmentation models have in common.

    hidden_size: width of the head's hidden layer.
    dice_weight: weight of the Dice loss beside the cross entropy; 0 leaves it out.
    """

    has_no_defaults_at_init = True

    def __init__(self, hidden_size: int = 256, dice_weight: float = 0.0, num_labels: int = 2, **more: Any) -> None:
        self.hidden_size, self.dice_weight = hidden_size, dice_weight
        if "id2label" not in more:  # a saved configuration holds the names, and they say how many there are
            more["num_labels"] = num_labels
        super().__init__(**more)


@dataclass(frozen=True)
class Head:
    """What a head is to be. hidden_size: width of its hidden layer. dice_weight: of the Dice loss beside the cross
    entropy; 0 leaves it out. num_labels: classes, the background among them."""

    hidden_size: int = 256
    dice_weight: float = 0.0
    num_labels: int = 2


class SegmentationModel(WholeModel):
    """An encoder with a head. Features are what `encode` gives and the head reads: a tensor, a row for each frame."""

    base_model_prefix = "encoder"
    main_input_name = "pixel_values"
    encoder: nn.Module
    head: nn.Module

    @property
    @abstractmethod
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the logits of a frame."""

    @abstractmethod
    def encode(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) normalised pixels -> (B, ...) features."""

    @abstractmethod
    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """(B, ...) features of `encode` -> (B, num_labels, h, w) logits."""

    def check_step(self, frames: int) -> None:
        """Raises InvalidArgument where the model cannot be trained whole on so many frames in a step."""

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        features: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> SemanticSegmenterOutput:
        """Logits of each class on the grid, (B, num_labels, h, w), and the loss where labels are given.

        While it is trained, the loss is that of the frames of all processes; each must be given some.

        pixel_values: (B, 3, H, W), normalised as the encoder's image processor does.
        labels:       (B, H', W') int64 class of each pixel, of any size; 255 does not count.
        features:     (B, ...) what `encode` gave, instead of pixel_values: the encoder is not run.
        """
        if features is None:
            if pixel_values is None:
                raise InvalidArgument("the model needs pixel_values, or features that encode() gave: got neither")
            features = self.encode(pixel_values)
        logits = self.classify(features)
        loss = None
        if labels is not None:
            loss = segmentation_loss(logits, labels, self.config.dice_weight, together=self.training)
        return SemanticSegmenterOutput(loss=loss, logits=logits)


Model = TypeVar("Model", bound=SegmentationModel)


def drawn(kind: type[Model], config: PretrainedConfig, seed: int) -> Model:
    """A new model, to be used, its weights drawn by `seed`; the process' random state stays what it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config)
    model.eval()  # type: ignore[no-untyped-call]
    return model


def segmentation_loss(
    logits: torch.Tensor, labels: torch.Tensor, dice_weight: float = 0.0, *, together: bool = False
) -> torch.Tensor:
    """Mean cross entropy of the pixels, after the logits were brought to the labels' size (bilinear), plus Dice.

    logits: (B, C, h, w). labels: (B, H, W) int64; 255 does not count. The Dice loss is 1 - 2·I / (P + R) of every class
    but the background, over all pixels of the batch, with probabilities as soft members.
    together: the batch is what all processes hold, each a part. Each gets the same loss, and the mean of their
              gradients, which DistributedDataParallel takes, is that of one process with the whole batch.
    """
    large = nn.functional.interpolate(logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
    counted, logs = labels != IGNORED, large.log_softmax(dim=1)
    lost = nn.functional.nll_loss(logs, labels, ignore_index=IGNORED, reduction="sum")
    sums = [torch.stack([lost, counted.sum().to(lost.dtype)])]
    if dice_weight:
        claimed = logs[:, 1:].exp() * counted[:, None]
        classes = torch.arange(1, large.shape[1], device=labels.device)
        true = (labels[:, None] == classes[None, :, None, None]).float()
        sums += [(claimed * true).sum(dim=(0, 2, 3)), (claimed + true).sum(dim=(0, 2, 3))]
    parts = torch.cat(sums)
    if together:  # in one message: of two, processes might send the gradients in different orders, and wait for ever
        parts = summed(parts)
    (lost, pixels), *members = parts.split([len(part) for part in sums])
    loss: torch.Tensor = lost / pixels.clamp(min=1)
    if members:
        common, both = members
        loss = loss + dice_weight * (1 - (2 * common + 1) / (both + 1)).mean()
    return loss

"""`ConvForSegmentation`: a ResNet or ConvNeXt with a head on the feature maps of all its stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig

from meddel_hf.data.images import Preprocessing
from meddel_hf.downstream.segmentation.architecture import Head, SegmentationConfig, SegmentationModel, drawn
from meddel_hf.embedding.encoder import Pretrained
from meddel_hf.errors import InvalidArgument
from meddel_hf.schema import CONV_SEGMENTATION
from meddel_hf.training.across import SharedBatchNorm2d

TYPES = ("resnet", "convnext", "convnextv2")


class ConvSegmentationConfig(SegmentationConfig):
    """Configuration of `ConvForSegmentation`.

    encoder:     configuration of a ResNet or ConvNeXt, or its content.
    image_size:  (height, width) of frames in pixels. maps: (height, width) of each stage's feature map of such a frame.
    """

    model_type = CONV_SEGMENTATION
    sub_configs = {"encoder": AutoConfig}  # noqa: RUF012  # transformers declares it so

    def __init__(
        self,
        encoder: PretrainedConfig | dict[str, Any] | None = None,
        image_size: Sequence[int] = (224, 224),
        maps: Sequence[Sequence[int]] = ((56, 56), (28, 28), (14, 14), (7, 7)),
        **more: Any,
    ) -> None:
        facts = (
            encoder.to_dict() if isinstance(encoder, PretrainedConfig) else {"model_type": "resnet", **(encoder or {})}
        )
        facts.pop("_name_or_path", None)  # where the encoder lay is no part of the model
        self.encoder = AutoConfig.for_model(**facts)
        self.image_size, self.maps = list(image_size), [list(size) for size in maps]
        super().__init__(**more)


class MapsHead(nn.Module):
    """A layer norm and a linear layer for the map of each stage, their sum on the finest grid, and a classifier.

    The decoder of SegFormer (arXiv 2105.15203) without its dropout; layer norms stand for its batch norm, so that a
    frame's answer does not depend on its batch. The sum is one linear layer on the maps of all stages, concatenated.
    """

    def __init__(self, dims: Sequence[int], hidden: int, labels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(dim) for dim in dims])
        self.hidden = nn.ModuleList([nn.Linear(dim, hidden, bias=not at) for at, dim in enumerate(dims)])
        self.activation = nn.GELU()
        self.classify = nn.Linear(hidden, labels)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """(B, D, h, w) of each stage, the finest first -> (B, labels, h, w) of that one"""
        size, parts = maps[0].shape[-2:], []
        for values, norm, hidden in zip(maps, self.norms, self.hidden, strict=True):
            part = hidden(norm(values.movedim(1, -1))).movedim(-1, 1)
            parts.append(nn.functional.interpolate(part, size=size, mode="bilinear", align_corners=False))
        answer: torch.Tensor = self.classify(self.activation(sum(parts)).movedim(1, -1)).movedim(-1, 1)
        return answer


class ConvForSegmentation(SegmentationModel):
    """Convolutional encoder and a head on the maps of all its stages.

    Trained whole, batch normalisation goes over the frames of all processes.
    """

    config_class = ConvSegmentationConfig
    config: ConvSegmentationConfig

    def __init__(self, config: ConvSegmentationConfig) -> None:
        super().__init__(config)
        self.encoder = SharedBatchNorm2d.instead(AutoModel.from_config(config.encoder))
        if hasattr(self.encoder, "layernorm"):  # of the mean over the last map, which no head reads
            self.encoder.layernorm = nn.Identity()
        self.head = MapsHead(self._dims, config.hidden_size, int(config.num_labels or 2))
        self.post_init()  # type: ignore[no-untyped-call]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the first stage's map."""
        height, width = self.config.maps[0]
        return height, width

    def encode(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) normalised pixels -> (B, N) the maps of all stages, one after the other."""
        return torch.cat([values.flatten(1) for values in stages(self.encoder, pixel_values)], dim=1)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """(B, N) -> (B, num_labels, h, w)"""
        shapes = [(dim, height, width) for dim, (height, width) in zip(self._dims, self.config.maps, strict=True)]
        parts = features.split([dim * height * width for dim, height, width in shapes], dim=1)
        answer: torch.Tensor = self.head([part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)])
        return answer

    def check_step(self, frames: int) -> None:
        """Batch normalisation needs two values of a channel: two frames, or a map of more than one place."""
        normalises = any(isinstance(module, SharedBatchNorm2d) for module in self.modules())
        if frames == 1 and normalises and [1, 1] in self.config.maps:
            height, width = self.config.image_size
            raise InvalidArgument(
                f"the last map of a frame of {height} x {width} pixels is 1 x 1, and a step has one frame: batch "
                "normalisation needs more; choose a larger batch_size (--batch-size) or image_size (--image-size), or "
                "train the head alone (frozen, --frozen)"
            )

    @property
    def _dims(self) -> list[int]:
        return list(self.config.encoder.hidden_sizes)


def stages(encoder: nn.Module, pixel_values: torch.Tensor) -> Sequence[torch.Tensor]:
    """(B, 3, H, W) normalised pixels -> the feature map of each stage, (B, D, h, w), the finest first."""
    states: Sequence[torch.Tensor] = encoder(pixel_values=pixel_values, output_hidden_states=True).hidden_states
    return states[1:]  # the first is what the stages are given


def with_head(encoder: Pretrained, preprocessing: Preprocessing, head: Head, seed: int) -> ConvForSegmentation:
    """The encoder's weights in a new model for frames of that size, its head drawn by `seed`."""
    trained: Any = encoder.model.config
    try:
        with torch.inference_mode():
            maps = [values.shape[-2:] for values in stages(encoder.model, torch.zeros(1, 3, *preprocessing.size))]
    except RuntimeError as error:
        size = " x ".join(map(str, preprocessing.size))
        raise InvalidArgument(
            f"frames of {size} pixels are too small for the stages of {encoder.name}: choose a larger image_size "
            "(--image-size)"
        ) from error
    config = ConvSegmentationConfig(trained, preprocessing.size, maps, **asdict(head))
    model = drawn(ConvForSegmentation, config, seed)
    wanted = model.encoder.state_dict()
    model.encoder.load_state_dict({name: value for name, value in encoder.model.state_dict().items() if name in wanted})
    return model

"""`ViTForSegmentation`: a vision transformer with an MLP head on its patch tokens."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import nn
from transformers import ViTConfig, ViTModel

from meddel_hf.data.images import Preprocessing
from meddel_hf.downstream.segmentation.architecture import Head, SegmentationConfig, SegmentationModel, drawn
from meddel_hf.embedding.encoder import Pretrained
from meddel_hf.errors import InvalidArgument
from meddel_hf.schema import VIT_SEGMENTATION

TYPES = ("vit", "vit_mae")  # their weights have the same names once the decoder of the latter is left out
_POSITIONS = "embeddings.position_embeddings"
_SHARED = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "hidden_dropout_prob",
    "attention_probs_dropout_prob", "initializer_range", "layer_norm_eps", "image_size", "patch_size", "num_channels",
    "qkv_bias",
)  # fmt: skip


class ViTSegmentationConfig(SegmentationConfig):
    """Configuration of `ViTForSegmentation`. encoder: a ViTConfig, or its content."""

    model_type = VIT_SEGMENTATION
    sub_configs = {"encoder": ViTConfig}  # noqa: RUF012  # transformers declares it so

    def __init__(self, encoder: ViTConfig | dict[str, Any] | None = None, **more: Any) -> None:
        self.encoder = encoder if isinstance(encoder, ViTConfig) else ViTConfig(**(encoder or {}))
        super().__init__(**more)


class PatchHead(nn.Module):
    """Two-layer perceptron on every patch token, after a layer norm."""

    def __init__(self, dim: int, hidden: int, labels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.hidden = nn.Linear(dim, hidden)
        self.activation = nn.GELU()
        self.classify = nn.Linear(hidden, labels)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, N, D) -> (B, N, labels)"""
        answer: torch.Tensor = self.classify(self.activation(self.hidden(self.norm(tokens))))
        return answer


class ViTForSegmentation(SegmentationModel):
    """ViT encoder and MLP head: the downstream model of arXiv 2401.17542."""

    config_class = ViTSegmentationConfig
    config: ViTSegmentationConfig
    encoder: ViTModel
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["ViTEmbeddings", "ViTLayer"]  # noqa: RUF012  # transformers declares it so

    def __init__(self, config: ViTSegmentationConfig) -> None:
        super().__init__(config)
        self.encoder = ViTModel(config.encoder, add_pooling_layer=False)
        self.head = PatchHead(config.encoder.hidden_size, config.hidden_size, int(config.num_labels or 2))
        self.post_init()  # type: ignore[no-untyped-call]

    @property
    def grid(self) -> tuple[int, int]:
        """Patches in the height and in the width of a frame."""
        (height, width), patch = self.encoder.embeddings.image_size, int(self.encoder.embeddings.patch_size)  # type: ignore[arg-type]
        return height // patch, width // patch

    def encode(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) normalised pixels -> (B, N, D) patch tokens after the final layer norm, row by row."""
        answer: torch.Tensor = self.encoder(pixel_values=pixel_values).last_hidden_state[:, 1:]
        return answer

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """(B, N, D) -> (B, num_labels, h, w)"""
        answer: torch.Tensor = self.head(features).transpose(1, 2).unflatten(2, self.grid)
        return answer


def with_head(encoder: Pretrained, preprocessing: Preprocessing, head: Head, seed: int) -> ViTForSegmentation:
    """The encoder's weights in a new model for frames of that size, its head drawn by `seed`."""
    trained: Any = encoder.model.config
    patch = trained.patch_size
    if not isinstance(patch, int):
        raise InvalidArgument(f"{encoder.name} has patches of {patch} pixels: expected square ones, one number")
    if any(side % patch for side in preprocessing.size):
        raise InvalidArgument(
            f"frames of {' x '.join(map(str, preprocessing.size))} pixels are not whole patches of {patch}: "
            f"choose an image size that is a multiple of {patch}"
        )
    vit = ViTConfig(**{name: getattr(trained, name) for name in _SHARED})
    vit.image_size = list(preprocessing.size) if len(set(preprocessing.size)) > 1 else preprocessing.size[0]
    model = drawn(ViTForSegmentation, ViTSegmentationConfig(encoder=vit, **asdict(head)), seed)
    weights = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    weights[_POSITIONS] = _positions(weights[_POSITIONS], model.grid)
    model.encoder.load_state_dict(weights)
    return model


def _positions(trained: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """(1, 1 + M, D) position embeddings of a square grid of M patches -> (1, 1 + h·w, D), bicubic as transformers does.

    >>> _positions(torch.zeros(1, 5, 3), (4, 2)).shape
    torch.Size([1, 9, 3])
    """
    side = round((trained.shape[1] - 1) ** 0.5)
    if grid == (side, side):
        return trained
    square = trained[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    other = nn.functional.interpolate(square, size=grid, mode="bicubic", align_corners=False)
    return torch.cat([trained[:, :1], other.flatten(2).transpose(1, 2)], dim=1)

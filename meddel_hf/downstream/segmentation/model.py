"""`ViTForSegmentation`: a vision transformer with an MLP head on its patch tokens, one class for every pixel.

Importing this module tells transformers of it: afterwards `AutoModelForSemanticSegmentation.from_pretrained(folder)`
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
from transformers import (
    AutoConfig,
    AutoModelForSemanticSegmentation,
    PretrainedConfig,
    ViTConfig,
    ViTModel,
)
from transformers.modeling_outputs import SemanticSegmenterOutput

from meddel_hf.data.images import Preprocessing
from meddel_hf.embedding.encoder import Encoder, load_encoder
from meddel_hf.embedding.loading import explained
from meddel_hf.errors import InvalidArgument
from meddel_hf.training.checkpoints import WholeModel

IGNORED = 255  # label of pixels that count for nothing
_POSITIONS = "embeddings.position_embeddings"
_VITS = ("vit", "vit_mae")  # their weights have the same names once the decoder of the latter is left out
_SHARED = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "hidden_dropout_prob",
    "attention_probs_dropout_prob", "initializer_range", "layer_norm_eps", "image_size", "patch_size", "num_channels",
    "qkv_bias",
)  # fmt: skip


class ViTSegmentationConfig(PretrainedConfig):
    """Configuration of `ViTForSegmentation`.

    encoder:     a ViTConfig, or its content.
    hidden_size: width of the head's hidden layer.
    dice_weight: weight of the Dice loss beside the cross entropy; 0 leaves it out.
    """

    model_type = "meddel-vit-segmentation"
    sub_configs = {"encoder": ViTConfig}  # noqa: RUF012  # transformers declares it so
    has_no_defaults_at_init = True

    def __init__(
        self,
        encoder: ViTConfig | dict[str, Any] | None = None,
        hidden_size: int = 256,
        dice_weight: float = 0.0,
        num_labels: int = 2,
        **more: Any,
    ) -> None:
        self.encoder = encoder if isinstance(encoder, ViTConfig) else ViTConfig(**(encoder or {}))
        self.hidden_size, self.dice_weight = hidden_size, dice_weight
        if "id2label" not in more:  # a saved configuration holds the names, and they say how many there are
            more["num_labels"] = num_labels
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


class ViTForSegmentation(WholeModel):
    """ViT encoder and MLP head: the downstream model of arXiv 2401.17542."""

    config_class = ViTSegmentationConfig
    config: ViTSegmentationConfig
    base_model_prefix = "encoder"
    main_input_name = "pixel_values"
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

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        tokens: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> SemanticSegmenterOutput:
        """Logits of each class on the grid of patches, (B, num_labels, h, w), and the loss where labels are given.

        pixel_values: (B, 3, H, W), normalised as the encoder's image processor does.
        labels:       (B, H', W') int64 class of each pixel, of any size; 255 does not count.
        tokens:       (B, N, D) what `encode` gave, instead of pixel_values: the encoder is not run.
        """
        if tokens is None:
            if pixel_values is None:
                raise InvalidArgument("the model needs pixel_values, or tokens that encode() gave: got neither")
            tokens = self.encode(pixel_values)
        logits = self.head(tokens).transpose(1, 2).unflatten(2, self.grid)
        loss = None if labels is None else segmentation_loss(logits, labels, self.config.dice_weight)
        return SemanticSegmenterOutput(loss=loss, logits=logits)


def segmentation_loss(logits: torch.Tensor, labels: torch.Tensor, dice_weight: float = 0.0) -> torch.Tensor:
    """Mean cross entropy of the pixels, after the logits were brought to the labels' size (bilinear), plus Dice.

    logits: (B, C, h, w). labels: (B, H, W) int64; 255 does not count. The Dice loss is 1 - 2·I / (P + R) of every class
    but the background, over all pixels of the batch, with probabilities as soft members.
    """
    large = nn.functional.interpolate(logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
    counted, logs = labels != IGNORED, large.log_softmax(dim=1)
    loss = nn.functional.nll_loss(logs, labels, ignore_index=IGNORED, reduction="sum") / counted.sum().clamp(min=1)
    if dice_weight:
        claimed = logs[:, 1:].exp() * counted[:, None]
        classes = torch.arange(1, large.shape[1], device=labels.device)
        true = (labels[:, None] == classes[None, :, None, None]).float()
        common, both = (claimed * true).sum(dim=(0, 2, 3)), (claimed + true).sum(dim=(0, 2, 3))
        loss = loss + dice_weight * (1 - (2 * common + 1) / (both + 1)).mean()
    return loss


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
    num_labels: int = 2,
    hidden_size: int = 256,
    dice_weight: float = 0.0,
    image_size: int | None = None,
    revision: str | None = None,
) -> tuple[ViTForSegmentation, Preprocessing, str]:
    """A model with the weights of an encoder and a head that `seed` draws; its preprocessing; the encoder's digest.

    name_or_path: Hub id or folder of a ViT or of an MAE (its decoder is left out), with safetensors weights.
    image_size:   side of the frames in pixels; other than the encoder's, its position embeddings are interpolated.
    Raises InvalidArgument where that is no such encoder, lacks weights, or does not fit the size.
    """
    encoder = load_encoder(name_or_path, precision="float32", revision=revision)
    config: Any = encoder.model.config
    if config.model_type not in _VITS:
        raise InvalidArgument(f"{name_or_path} is a {config.model_type}: expected a ViT or an MAE of transformers")
    preprocessing = encoder.preprocessing
    if image_size is not None:
        preprocessing = replace(preprocessing, resize=(image_size, image_size), crop=None)
    if preprocessing.crop is not None:
        raise InvalidArgument(
            f"the image processor of {name_or_path} crops frames to {preprocessing.size}, so their masks would not be "
            "predicted whole: give image_size (--image-size)"
        )
    patch = config.patch_size
    if not isinstance(patch, int):
        raise InvalidArgument(f"{name_or_path} has patches of {patch} pixels: expected square ones, one number")
    with explained(name_or_path):
        model = _with_head(encoder, preprocessing, seed, num_labels, hidden_size, dice_weight)
    return model, preprocessing, encoder.fingerprint


def _with_head(
    encoder: Encoder, preprocessing: Preprocessing, seed: int, num_labels: int, hidden_size: int, dice_weight: float
) -> ViTForSegmentation:
    """The encoder's weights in a new model of that size."""
    trained: Any = encoder.model.config
    patch = trained.patch_size
    vit = ViTConfig(**{name: getattr(trained, name) for name in _SHARED})
    vit.image_size = list(preprocessing.size) if len(set(preprocessing.size)) > 1 else preprocessing.size[0]
    if any(side % patch for side in preprocessing.size):
        raise InvalidArgument(
            f"frames of {' x '.join(map(str, preprocessing.size))} pixels are not whole patches of {patch}: "
            f"choose an image size that is a multiple of {patch}"
        )
    config = ViTSegmentationConfig(encoder=vit, hidden_size=hidden_size, dice_weight=dice_weight, num_labels=num_labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ViTForSegmentation(config)
    weights = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    weights[_POSITIONS] = _positions(weights[_POSITIONS], model.grid)
    model.encoder.load_state_dict(weights)
    model.eval()  # type: ignore[no-untyped-call]
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


def save(model: ViTForSegmentation, preprocessing: Preprocessing, folder: Path) -> None:
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


AutoConfig.register(ViTSegmentationConfig.model_type, ViTSegmentationConfig)
AutoModelForSemanticSegmentation.register(ViTSegmentationConfig, ViTForSegmentation)

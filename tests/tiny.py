"""A small vision transformer with random weights, and frames that it can tell apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import ViTConfig, ViTModel
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil


def tiny_encoder(folder: Path, seed: int = 0) -> Path:
    """32 x 32 pixels in patches of 8, 32 numbers, two layers."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = ViTModel(ViTConfig(**sizes, image_size=32, patch_size=8, initializer_range=0.3))
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def textured(seed: int, size: tuple[int, int] = (80, 64)) -> Image.Image:
    """A smooth picture of random colours, (width, height) in pixels; another one for each seed."""
    pixels = np.random.default_rng(seed).integers(20, 220, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)

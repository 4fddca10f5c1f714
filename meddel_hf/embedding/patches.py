"""The patch tokens of an encoder, for heads that say something of every place of a frame."""

from __future__ import annotations

import numpy as np
import torch

from meddel_hf.embedding.encoder import _DTYPES, Encoder, _normalised, _tokens
from meddel_hf.errors import InvalidArgument


def patch_grid(encoder: Encoder) -> tuple[int, int]:
    """(rows, columns) of patches in a frame. Raises InvalidArgument where the encoder does not name its patch size."""
    side = getattr(encoder.model.config, "patch_size", None)
    if not isinstance(side, int):
        raise InvalidArgument(f"{encoder.name} has patches of {side} pixels: expected square ones, one number")
    height, width = encoder.preprocessing.size
    return height // side, width // side


def patch_tokens(encoder: Encoder, pixels: np.ndarray) -> torch.Tensor:
    """The last hidden state of each patch after the final layer norm, (B, P, d) float32, on the encoder's device.

    pixels: (B, H, W, 3) uint8 at `preprocessing.size`. Patches go row by row of the frame.
    """
    with torch.inference_mode():
        ready = _normalised(pixels, encoder.preprocessing, encoder.device, _DTYPES[encoder.precision])
        return _tokens(encoder.model, ready)[:, encoder.prefix :].float()

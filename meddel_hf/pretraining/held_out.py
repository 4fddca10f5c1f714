"""A finished run on frames that it has not seen: its features of two views of each, and its loss on them.

The views are the same for every run of an image size: made by one policy (`VIEWS`) from one seed, whatever the run's
recipe was, so that runs are compared frame by frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from meddel_hf.embedding.encoder import Encoder, load_encoder
from meddel_hf.pretraining.encoders import normalised
from meddel_hf.pretraining.objectives import OBJECTIVES, WithHead, model_inputs
from meddel_hf.pretraining.recipe import AnyPooling, Recipe
from meddel_hf.pretraining.result import PreTraining
from meddel_hf.pretraining.together import GLOBAL, recoloured
from meddel_hf.pretraining.views import GLOBAL_VIEWS, together, uncropped, views_of
from meddel_hf.runtime.manifest import Manifest

TRUNK, HEAD = "trunk", "head"
VIEWS = Recipe(objective="simclr", preset="tiny", crop=0.2, flips="horizontal", jitter=0.5, grey=0.2, blur=0.0)
_BATCH = 128
_SEED = 0  # of the views and masks

Frames = Sequence[NDArray[np.uint8]]


def two_views(frames: Frames, side: int) -> NDArray[np.uint8]:
    """(n, 2, side, side, 3) of n square frames, by `VIEWS`; frame i is sample i."""
    recipe = VIEWS.but(image_size=side, patch_size=side)  # no ViT is made of it: patches are no matter
    parts = []
    for start in range(0, len(frames), _BATCH):
        part = frames[start : start + _BATCH]
        batch = together(part, np.arange(start, start + len(part)), recipe, _SEED)
        views = recoloured({name: torch.from_numpy(values) for name, values in batch.items()})[GLOBAL]
        parts.append(views.mul(255).round().to(torch.uint8).permute(0, 1, 3, 4, 2).numpy())
    return np.concatenate(parts)


def view_features(
    encoder: Path, run: Path, frames: Frames, *, whole: bool, pooling: AnyPooling = "auto", device: torch.device
) -> dict[str, NDArray[np.float32]]:
    """Features of two views of each frame, (n, 2, d): of the encoder ("trunk") and, where there is one, of the head.

    encoder: folder of one that `run`, a finished run, wrote. whole: it is the last one, that the run's head is of.
    pooling: of the encoder's tokens; "auto" is what the objective trained, the mean where it trained none.
    """
    recipe, trunk = recipe_of(run), _trunk(encoder, run, pooling, device)
    views = two_views(frames, trunk.preprocessing.size[0])
    parts = [trunk(part).cpu().numpy() for part in _batches(views)]
    features = {TRUNK: np.concatenate(parts).reshape(len(frames), GLOBAL_VIEWS, -1)}
    objective = OBJECTIVES[recipe.objective]
    if whole and isinstance(objective, WithHead):
        model: Any = objective.load(str(PreTraining.load(run).objective))
        model.to(device).eval()
        with torch.inference_mode():
            heads = [objective.head(model, _normalised(part, device)).cpu().numpy() for part in _batches(views)]
        features[HEAD] = np.concatenate(heads).reshape(len(frames), GLOBAL_VIEWS, -1)
    return features


def scene_features(
    encoder: Path, run: Path, frames: Frames, *, pooling: AnyPooling = "auto", device: torch.device
) -> NDArray[np.float32]:
    """(n, d) of whole frames, brought to the encoder's side; arguments as of `view_features`."""
    trunk = _trunk(encoder, run, pooling, device)
    side = trunk.preprocessing.size[0]
    parts = []
    for start in range(0, len(frames), _BATCH):
        pixels = uncropped(frames[start : start + _BATCH], side)
        parts.append(trunk(pixels.permute(0, 2, 3, 1).numpy()).cpu().numpy())
    return np.concatenate(parts)


def held_out_loss(run: PreTraining, frames: Frames, *, device: torch.device) -> float:
    """The objective's mean loss on frames that it did not see, in whole batches of 128 (or one of them all).

    The same views and masks for all runs of a recipe. frames: at the side that the recipe's views are cropped from.
    """
    recipe = recipe_of(run.folder)
    objective = OBJECTIVES[recipe.objective]
    model: Any = objective.load(str(run.objective), recipe)
    model.to(device).eval()
    size = min(_BATCH, len(frames))
    losses = []
    with torch.inference_mode():
        for start in range(0, len(frames) - size + 1, size):
            batch = views_of(frames[start : start + size], np.arange(start, start + size), recipe, _SEED)
            losses.append(float(model(**model_inputs(batch, recipe, device)).loss))
    return sum(losses) / len(losses)


def recipe_of(folder: Path) -> Recipe:
    """What a finished run was trained by, but for what is no part of its result."""
    arguments = Manifest.read(folder, "pretraining").arguments
    return Recipe(**{field.name: arguments[field.name] for field in fields(Recipe) if field.name in arguments})


def _trunk(encoder: Path, run: Path, pooling: AnyPooling, device: torch.device) -> Encoder:
    wanted: AnyPooling = pooling if pooling != "auto" or recipe_of(run).is_joint else "mean"
    return load_encoder(str(encoder), pooling=wanted, precision="float32", device=device)


def _batches(views: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """(n, 2, ...) -> parts of (2 n, ...)"""
    flat = views.reshape(-1, *views.shape[2:])
    for start in range(0, len(flat), _BATCH):
        yield flat[start : start + _BATCH]


def _normalised(views: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    return normalised(torch.from_numpy(views.transpose(0, 3, 1, 2).copy()).to(device))

"""Recipes to begin with: for each objective, what fits minutes or an hour of two cores, or a day of a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Literal, get_args

from meddel_hf.pretraining.recipe import ObjectiveName, Recipe, complete
from meddel_hf.runtime import checks

Budget = Literal["minutes", "hour", "gpu-day"]

_VIEWS = {"batch_size": 128, "learning_rate": 2e-3, "blur": 0.0}  # frames of few pixels are blurred as they are
_PATCHES = {"preset": "tiny", "batch_size": 64, "learning_rate": 1e-3}
_SMALL_MAE = {**_PATCHES, "target": "channel"}  # docs/results/pre-training/README.md says what that gives
_SMALL_DINO = {"local_crops": 4, "local_size": 32, "prototypes": 4096, "momentum": 0.99, "clip": 3.0}
_DAY = {"preset": "small", "batch_size": 512, "learning_rate": 5e-4, "samples": 5_000_000}

_CHANGES: Mapping[tuple[ObjectiveName, Budget], Mapping[str, Any]] = {
    ("mae", "minutes"): {**_SMALL_MAE, "layers": 4, "image_size": 96, "samples": 40_000},
    ("mae", "hour"): {**_SMALL_MAE, "image_size": 112, "samples": 300_000},
    ("mae", "gpu-day"): _DAY,
    ("simmim", "minutes"): {**_PATCHES, "layers": 4, "image_size": 96, "samples": 20_000, "mask_ratio": 0.6},
    ("simmim", "hour"): {**_PATCHES, "image_size": 112, "samples": 150_000, "mask_ratio": 0.6},
    ("simmim", "gpu-day"): {**_DAY, "mask_ratio": 0.6},
    ("simclr", "minutes"): {**_VIEWS, "preset": "resnet-nano", "image_size": 64, "samples": 150_000},
    ("simclr", "hour"): {**_VIEWS, "preset": "resnet-nano", "image_size": 96, "samples": 1_000_000},
    ("simclr", "gpu-day"): {**_DAY, "temperature": 0.2},
    ("dino", "minutes"): {**_VIEWS, **_SMALL_DINO, "preset": "resnet-nano", "image_size": 64, "samples": 100_000},
    ("dino", "hour"): {**_VIEWS, **_SMALL_DINO, "preset": "resnet-nano", "image_size": 96, "samples": 600_000},
    ("dino", "gpu-day"): {**_DAY, "clip": 3.0, "weight_decay": 0.04},
}


def worth_naming(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of the fields that differ between two records of recipes; of those that another objective brings along,
    since both have what their own begins with, under whatever budget, none: nobody typed them."""
    before, now = complete(before), complete(now)
    order = dict.fromkeys([*(field.name for field in fields(Recipe)), *before, *now])
    names = [name for name in order if before.get(name) != now.get(name)]
    if before["objective"] == now["objective"]:
        return names
    return [name for name in names if name == "objective" or not (_begins(before, name) and _begins(now, name))]


def _begins(record: Mapping[str, Any], name: str) -> bool:
    """Whether a recipe of the record's objective begins with the value that it has there."""
    begun = [recipe_for(record["objective"], budget) for budget in (None, *get_args(Budget))]
    return record.get(name) in [getattr(recipe, name) for recipe in begun]


def recipe_for(objective: ObjectiveName = "mae", budget: Budget | None = None, **changes: Any) -> Recipe:
    """A recipe to begin with.

    budget:  "minutes" (about five on two cores), "hour" (on two cores), "gpu-day" (5 million frames, ViT-Small), or
             None: the paper's recipe with mae and simmim, "gpu-day" with simclr and dino, which the paper has not.
    changes: fields of the recipe that are to be otherwise.
    Raises InvalidArgument for what is no objective or budget, or no recipe.
    """
    checks.choice("objective", objective, get_args(ObjectiveName))
    if budget is not None:
        checks.choice("budget", budget, get_args(Budget))
    elif objective in ("simclr", "dino"):
        budget = "gpu-day"
    settings = dict(_CHANGES[objective, budget]) if budget is not None else {}
    if changes.get("norm_pix_loss") is False:
        settings.pop("target", None)  # of what is normalised
    return replace(Recipe(), **{"objective": objective, **settings, **changes})

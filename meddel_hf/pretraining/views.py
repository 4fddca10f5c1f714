"""Views of frames: which frame a sample shows, its crops, their mirroring, masks and colours, each a function of its
number.

Sample s of a run is the same whatever process or worker makes it, whether the run was interrupted, and whatever stands
before it: random numbers are not drawn one after the other but computed from (seed, s).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.utils.data import Dataset

from meddel_hf.errors import MedDELError
from meddel_hf.pretraining.colours import drawn
from meddel_hf.pretraining.frame_cache import Frames
from meddel_hf.pretraining.recipe import Flips, Recipe
from meddel_hf.training.samples import crops, order, ranks

GLOBAL_VIEWS = 2
FRAMES = "frames"  # of a batch whose views are not cut yet
_MIRRORED: dict[Flips, tuple[bool, bool]] = {"none": (False, False), "horizontal": (True, False), "both": (True, True)}
_OF_A_VIEW, _OF_COLOURS, _OF_MASKS = 16, 6, 4096  # random numbers: of each view, of those its colours', then of masks

Batch = dict[str, NDArray[Any]]


class Views(Dataset[Any]):
    """The samples of a run, in the order in which they are seen.

    frames: where pixels come from. rows: of the pool, those that are trained on; each epoch shows every one once.
    uncut:  hand out whole frames, and where to cut them: for a device that does so itself.
    """

    def __init__(self, frames: Frames, rows: Sequence[int], recipe: Recipe, seed: int, *, uncut: bool = False) -> None:
        self.frames, self.rows = frames, np.asarray(rows, np.int64)
        self.recipe, self.seed, self.uncut = recipe, seed, uncut

    def __len__(self) -> int:
        return self.recipe.steps * self.recipe.batch_size

    def __getitem__(self, sample: int) -> dict[str, Any]:
        return self.__getitems__([sample])

    def __getitems__(self, samples: Sequence[int]) -> dict[str, Any]:
        """Of m samples what `views_of` gives.

        Or {"error": MedDELError}: raised in a worker process, it would reach the user as a page of traceback.
        """
        numbers = np.asarray(samples, np.int64)
        try:
            frames = self.frames.read(self.rows[order(numbers, len(self.rows), self.seed)].tolist())
        except MedDELError as error:
            return {"error": error}
        return views_of(frames, numbers, self.recipe, self.seed, uncut=self.uncut)


def as_one_batch(batch: Any) -> Any:
    """Collate: `Views` hands out whole batches."""
    return batch


def views_of(
    frames: Sequence[NDArray[np.uint8]], samples: NDArray[np.int64], recipe: Recipe, seed: int, *, uncut: bool = False
) -> Batch:
    """What the recipe's objective is shown of m square frames, (side, side, 3) each, by their samples' numbers.

    uncut: leave the cutting to `device_views`. Instead of views, "frames" (m, side, side, 3) uint8, "boxes" and
           "mirrored" as of `cuts` are given, beside the same numbers.
    """
    if uncut:
        boxes, mirrored = cuts(samples, frames[0].shape[0], recipe, seed)
        cut: Batch = {FRAMES: np.stack(frames), "boxes": boxes, "mirrored": mirrored}
        return {**cut, **_numbers(samples, recipe, seed)}
    return together(frames, samples, recipe, seed) if recipe.is_joint else masked(frames, samples, recipe, seed)


def masked(frames: Sequence[NDArray[np.uint8]], samples: NDArray[np.int64], recipe: Recipe, seed: int) -> Batch:
    """One view of each frame: "pixels" (m, 3, H, W) uint8 and "ranks" (m, patches) int16."""
    boxes, mirrored = cuts(samples, frames[0].shape[0], recipe, seed)
    pixels = cropped(frames, boxes[:, 0], mirrored[:, 0], recipe.image_size)
    return {"pixels": pixels.numpy(), **_numbers(samples, recipe, seed)}


def together(frames: Sequence[NDArray[np.uint8]], samples: NDArray[np.int64], recipe: Recipe, seed: int) -> Batch:
    """V views of each frame, of which the first two are global, the others DINO's local ones.

    "global" (m, 2, 3, H, W) uint8, "local" (m, V - 2, 3, h, w) uint8 where there are any; of all of them "matrix"
    (m, V, 3, 3), "lift" and "sigma" (m, V) float32, see `colours`; "ranks" (m, 2, patches) int16 where patches are
    hidden.
    """
    boxes, mirrored = cuts(samples, frames[0].shape[0], recipe, seed)
    batch: Batch = {}
    for name, views, size in sizes(recipe):
        parts = [cropped(frames, boxes[:, view], mirrored[:, view], size).numpy() for view in views]
        batch[name] = np.stack(parts, axis=1)
    return {**batch, **_numbers(samples, recipe, seed)}


def sizes(recipe: Recipe) -> list[tuple[str, range, int]]:
    """Of an objective that brings views together: "global", and "local" where there are any, which views these are, and
    their side in pixels."""
    all_of_them = [
        ("global", range(GLOBAL_VIEWS), recipe.image_size),
        ("local", range(GLOBAL_VIEWS, recipe.views), recipe.local_size),
    ]
    return [(name, views, size) for name, views, size in all_of_them if views]


def cuts(
    samples: NDArray[np.int64], side: int, recipe: Recipe, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where V views of m square frames are cut, (m, V, 4), and whether they are mirrored, (m, V, 2); see `crops`."""
    boxes, mirrored = [], []
    for view in range(recipe.views):
        smallest, largest = (recipe.crop, 1.0) if view < GLOBAL_VIEWS else (recipe.local_crop, recipe.crop)
        where, how = crops(
            samples, seed, side, smallest, _MIRRORED[recipe.flips], largest=largest, first=view * _OF_A_VIEW
        )
        boxes.append(where)
        mirrored.append(how)
    return np.stack(boxes, axis=1), np.stack(mirrored, axis=1)


def _numbers(samples: NDArray[np.int64], recipe: Recipe, seed: int) -> Batch:
    """What goes with the views: colours of those that are brought together, and ranks where patches are hidden."""
    if not recipe.is_joint:
        return {"ranks": ranks(samples, seed, recipe.patches)}
    colours = [drawn(samples, seed, recipe, view * _OF_A_VIEW + _OF_COLOURS) for view in range(recipe.views)]
    names = ("matrix", "lift", "sigma")
    batch: Batch = {name: np.stack([getattr(one, name) for one in colours], axis=1) for name in names}
    if recipe.hides:
        of_views = (_OF_MASKS + view * recipe.patches for view in range(GLOBAL_VIEWS))
        batch["ranks"] = np.stack([ranks(samples, seed, recipe.patches, first=first) for first in of_views], axis=1)
    return batch


def uncropped(frames: Sequence[NDArray[np.uint8]], size: int) -> torch.Tensor:
    """Whole frames, scaled: (m, 3, size, size) uint8."""
    boxes = np.tile([0, 0, *frames[0].shape[:2]], (len(frames), 1))
    return cropped(frames, boxes, np.zeros((len(frames), 2), bool), size)


def cropped(
    frames: Sequence[NDArray[np.uint8]], boxes: NDArray[np.int64], mirrored: NDArray[np.bool_], size: int
) -> torch.Tensor:
    """Cut and scale: (m, 3, size, size) uint8. Bilinear with antialiasing, on bytes: torch has vector code for that."""
    views = []
    for frame, (left, top, width, height) in zip(frames, boxes.tolist(), strict=True):
        part = torch.from_numpy(frame)[top : top + height, left : left + width].permute(2, 0, 1).unsqueeze(0)
        views.append(functional.interpolate(part, (size, size), mode="bilinear", antialias=True))
    pixels = torch.cat(views).contiguous()
    for axis, chosen in ((3, mirrored[:, 0]), (2, mirrored[:, 1])):
        if chosen.any():
            where = torch.from_numpy(chosen)
            pixels[where] = pixels[where].flip(axis)
    return pixels

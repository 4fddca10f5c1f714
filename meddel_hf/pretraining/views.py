"""Views of frames: which frame a sample shows, its crop, its mirroring and its mask, each a function of its number.

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
from meddel_hf.pretraining.frame_cache import Frames
from meddel_hf.pretraining.recipe import Flips, Recipe
from meddel_hf.training.samples import crops, order, ranks

_MIRRORED: dict[Flips, tuple[bool, bool]] = {"none": (False, False), "horizontal": (True, False), "both": (True, True)}


class Views(Dataset[Any]):
    """The samples of a run, in the order in which they are seen.

    frames: where pixels come from. rows: of the pool, those that are trained on; each epoch shows every one once.
    """

    def __init__(self, frames: Frames, rows: Sequence[int], recipe: Recipe, seed: int) -> None:
        self.frames, self.rows = frames, np.asarray(rows, np.int64)
        self.recipe, self.seed = recipe, seed

    def __len__(self) -> int:
        return self.recipe.steps * self.recipe.batch_size

    def __getitem__(self, sample: int) -> dict[str, Any]:
        return self.__getitems__([sample])

    def __getitems__(self, samples: Sequence[int]) -> dict[str, Any]:
        """Of m samples: "pixels" (m, 3, H, W) uint8 and "ranks" (m, patches) int16, as numpy arrays.

        Or {"error": MedDELError}: raised in a worker process, it would reach the user as a page of traceback.
        """
        numbers = np.asarray(samples, np.int64)
        try:
            frames = self.frames.read(self.rows[order(numbers, len(self.rows), self.seed)].tolist())
        except MedDELError as error:
            return {"error": error}
        boxes, mirrored = crops(numbers, self.seed, self.frames.side, self.recipe.crop, _MIRRORED[self.recipe.flips])
        pixels = cropped(frames, boxes, mirrored, self.recipe.image_size)
        return {"pixels": pixels.numpy(), "ranks": ranks(numbers, self.seed, self.recipe.patches)}


def as_one_batch(batch: Any) -> Any:
    """Collate: `Views` hands out whole batches."""
    return batch


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

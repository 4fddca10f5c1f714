"""`Recipe`: how a model is pre-trained. The defaults are the paper's (arXiv 2401.17542, Section 4 and Table 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.checks import LARGEST_BATCH, LARGEST_SIDE
from meddel_hf.runtime.devices import Precision
from meddel_hf.runtime.typed import Range, Record, Text, check

ObjectiveName = Literal["mae", "simmim"]
Preset = Literal["tiny", "small", "base"]
Flips = Literal["none", "horizontal", "both"]

_LOG_ENTRIES = 1000  # lines of a run's log at most: enough for any curve, and few enough to be saved with checkpoints


@dataclass(frozen=True)
class Recipe(Record):
    """How a model is pre-trained; the same for every selection that is compared.

    objective:     "mae" (arXiv 2111.06377), or "simmim" (arXiv 2111.09886).
    preset:        ViT-Tiny, -Small or -Base, 12 layers of width 192, 384 or 768; MAE's decoder goes with it.
    start:         Hub id or folder of a model to continue from; its architecture takes the place of the preset's.
    image_size:    side of the frames in pixels; a multiple of patch_size.
    layers:        of the encoder; None: the preset's 12.
    samples:       views seen over the whole run, whatever the number of frames (Table 2: 200 x 88,282 for every
                   retention); whole batches count. 0: no training, the initial weights are written.
    batch_size:    views in one step, over all processes and accumulated parts.
    accumulation:  parts that a process computes one after the other for one step; for batches that do not fit.
    learning_rate: peak, after a linear warm-up over the share `warmup` of the run; then half a cosine down to 0.
    beta1, beta2, weight_decay: of AdamW. There is no clipping of gradients, as in MAE.
    mask_ratio:    share of the patches that is hidden, in (0, 1).
    norm_pix_loss: MAE's target is each patch with its own mean and variance taken out.
    crop:          smallest area of a random crop, as a share of the frame in (0, 1]; its aspect is 3:4 to 4:3.
    flips:         mirror views at random: left-right, and top-bottom too with "both".
    precision:     "auto" is bf16 where the processor or GPU runs it natively, else float32; weights stay float32.
    gradient_checkpointing: less memory for more time. compile: torch.compile, slow at its first step.
    snapshots:     encoders written on the way, at even parts of the budget, the last one at its end.
    checkpoint_samples: about how many samples an interruption costs at most.
    """

    objective: ObjectiveName = "mae"
    preset: Preset = "base"
    start: Text | None = None
    image_size: Annotated[int, Range(1, LARGEST_SIDE)] = 224
    patch_size: Annotated[int, Range(1, LARGEST_SIDE)] = 16
    layers: Annotated[int, Range(1, 1000)] | None = None
    samples: Annotated[int, Range(0, 10**12)] = 17_656_400
    batch_size: Annotated[int, Range(1, LARGEST_BATCH)] = 16
    accumulation: Annotated[int, Range(1, LARGEST_BATCH)] = 1
    learning_rate: Annotated[float, Range(0.0, 10.0)] = 1.5e-4
    warmup: Annotated[float, Range(0.0, 1.0)] = 0.05
    beta1: Annotated[float, Range(0.0, 1.0)] = 0.9
    beta2: Annotated[float, Range(0.0, 1.0)] = 0.95
    weight_decay: Annotated[float, Range(0.0, 10.0)] = 0.05
    mask_ratio: Annotated[float, Range(0.0, 1.0)] = 0.75
    norm_pix_loss: bool = True
    crop: Annotated[float, Range(0.01, 1.0)] = 0.2
    flips: Flips = "horizontal"
    precision: Precision = "auto"
    gradient_checkpointing: bool = False
    compile: bool = False
    snapshots: Annotated[int, Range(0, 10_000)] = 0
    checkpoint_samples: Annotated[int, Range(1, 10**12)] = 100_000

    def __post_init__(self) -> None:
        check(self)
        self._check_parts()

    def _check_parts(self) -> None:
        if self.image_size % self.patch_size:
            near = max(1, round(self.image_size / self.patch_size)) * self.patch_size
            raise InvalidArgument(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}: use {near}, say"
            )
        if not 0 < self.kept_patches < self.patches:
            raise InvalidArgument(
                f"mask_ratio {self.mask_ratio:g} hides {self.patches - self.kept_patches} of {self.patches} patches: "
                "at least one must be hidden and one be seen"
            )
        if 0 < self.samples < self.batch_size:
            raise InvalidArgument(f"samples {self.samples} do not fill one batch of {self.batch_size}")
        if self.batch_size % self.accumulation:
            raise InvalidArgument(
                f"batch_size {self.batch_size} does not divide into {self.accumulation} parts (accumulation)"
            )
        if self.snapshots > max(self.steps, 1):
            raise InvalidArgument(f"{self.snapshots} snapshots do not fit into {self.steps} steps")

    @property
    def patches(self) -> int:
        return (self.image_size // self.patch_size) ** 2

    @property
    def kept_patches(self) -> int:
        """Patches that the model sees; the very rounding of transformers' ViTMAE."""
        return int(self.patches * (1 - self.mask_ratio))

    @property
    def steps(self) -> int:
        return self.samples // self.batch_size

    @property
    def log_steps(self) -> int:
        """Steps between two lines of the log."""
        return max(1, math.ceil(self.steps / _LOG_ENTRIES))

    @property
    def checkpoint_steps(self) -> int:
        """Steps between two checkpoints: whole lines of the log, so that a resumed run writes the same ones."""
        return max(1, round(self.checkpoint_samples / self.batch_size / self.log_steps)) * self.log_steps

    @property
    def snapshot_steps(self) -> list[int]:
        return [self.steps * part // self.snapshots for part in range(1, self.snapshots + 1)] if self.steps else []

    def but(self, **changes: Any) -> Recipe:
        """The same recipe with some fields changed."""
        return replace(self, **changes)

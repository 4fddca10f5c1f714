"""How a segmentation model is trained; light to import, so that the command line knows the defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.checks import LARGEST_BATCH, LARGEST_SIDE
from meddel_hf.runtime.devices import Precision
from meddel_hf.runtime.typed import Range, Record, check


@dataclass(frozen=True)
class SegmentationRecipe(Record):
    """How a segmentation model is trained; the same for every encoder that is compared.

    frozen:        train the head alone, on features that the encoder computes once; else encoder and head.
    num_labels:    classes, the background among them; 2 for masks of 0 and 255.
    image_size:    side of the frames in pixels that the encoder sees; None: what its image processor says.
    epochs:        passes over the training frames. batch_size: frames in a step, over all processes.
    learning_rate: peak of a cosine after a linear warm-up; None: 1e-3 frozen, 3e-4 whole.
    warmup:        share of the steps, in [0, 1). weight_decay: of AdamW.
    hidden_size:   width of the head's hidden layer.
    dice_weight:   weight of the Dice loss beside the cross entropy.
    flips:         mirror frames left-right and top-bottom; None: where the whole model is trained. A head gained
                   nothing from mirrored features, which take four passes of the encoder.
    smallest_crop: least share of its area that a random crop shows, in (0, 1]; 1 crops nothing; whole training only.
    precision:     "auto" is bf16 where the processor or GPU runs it natively, else float32.
    """

    frozen: bool = False
    num_labels: Annotated[int, Range(2, 10**9)] = 2
    image_size: Annotated[int, Range(1, LARGEST_SIDE)] | None = None
    epochs: Annotated[int, Range(1, 10**9)] = 40
    batch_size: Annotated[int, Range(1, LARGEST_BATCH)] = 16
    learning_rate: float | None = None
    warmup: float = 0.05
    weight_decay: float = 0.05
    hidden_size: Annotated[int, Range(1, 1 << 20)] = 256
    dice_weight: float = 1.0
    flips: bool | None = None
    smallest_crop: float = 0.5
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        check(self)
        if self.num_labels > 255:
            raise InvalidArgument(f"num_labels is {self.num_labels}: a mask of one byte holds at most 255 classes")
        if self.learning_rate is not None and not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise InvalidArgument(f"learning_rate must be above 0, got {self.learning_rate}")
        if not 0 <= self.warmup < 1:
            raise InvalidArgument(f"warmup is a share of the steps in [0, 1), got {self.warmup}")
        if not 0 < self.smallest_crop <= 1:
            raise InvalidArgument(f"smallest_crop is a share of the frame in (0, 1], got {self.smallest_crop}")
        for name in ("weight_decay", "dice_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidArgument(f"{name} must be 0 or more, got {getattr(self, name)}")

    @property
    def mirrored(self) -> bool:
        """Whether frames are flipped."""
        return self.flips if self.flips is not None else not self.frozen

    @property
    def rate(self) -> float:
        """The learning rate at its peak."""
        return self.learning_rate if self.learning_rate is not None else 1e-3 if self.frozen else 3e-4

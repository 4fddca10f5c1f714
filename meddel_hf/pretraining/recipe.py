"""`Recipe`: how a model is pre-trained. The defaults are the paper's (arXiv 2401.17542, Section 4 and Table 2)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, Literal, get_args

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.checks import LARGEST_BATCH, LARGEST_SIDE
from meddel_hf.runtime.devices import Precision
from meddel_hf.runtime.typed import Range, Record, Text, check

ObjectiveName = Literal["mae", "simmim", "simclr", "dino"]
Preset = Literal[
    "tiny", "small", "base", "resnet-nano", "resnet-18", "resnet-50", "convnext-nano", "convnext-tiny"
]  # fmt: skip
Flips = Literal["none", "horizontal", "both"]
Target = Literal["patch", "channel"]
AnyPooling = Literal["auto", "cls", "mean"]  # of an encoder's tokens; "auto": what the objective trained

_LOG_ENTRIES = 1000  # lines of a run's log at most: enough for any curve, and few enough to be saved with checkpoints
SMALLEST_FOR_CONVOLUTIONS = 32  # pixels: they reduce a frame's side 32 times
_VITS: tuple[Preset, ...] = ("tiny", "small", "base")
_JOINT: tuple[ObjectiveName, ...] = ("simclr", "dino")
_OF_SOME: Mapping[str, tuple[ObjectiveName, ...]] = {  # fields that the other objectives have no use for
    "target": ("mae",), "norm_pix_loss": ("mae",), "mask_ratio": ("mae", "simmim", "dino"),
    "jitter": _JOINT, "grey": _JOINT, "blur": _JOINT, "temperature": _JOINT, "projection": ("simclr",),
    "prototypes": ("dino",), "teacher_temperature": ("dino",), "momentum": ("dino",), "local_crops": ("dino",),
    "local_size": ("dino",), "local_crop": ("dino",), "masked_loss": ("dino",),
}  # fmt: skip
_LATER = (  # fields that the records of older runs lack; those runs had their defaults
    "target", "clip", "jitter", "grey", "blur", "temperature", "projection", "prototypes", "teacher_temperature",
    "momentum", "local_crops", "local_size", "local_crop", "masked_loss",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe(Record):
    """How a model is pre-trained; the same for every selection that is compared.

    objective:     "mae" (arXiv 2111.06377) or "simmim" (arXiv 2111.09886) paint what is hidden of a frame; "simclr"
                   (arXiv 2002.05709) and "dino" (arXiv 2104.14294) bring views of a frame together.
    preset:        ViT-Tiny, -Small or -Base, 12 layers of width 192, 384 or 768; MAE's decoder goes with it. Or, for
                   simclr and dino, a convolutional encoder: resnet-18, resnet-50 (arXiv 1512.03385), resnet-nano (one
                   block a stage, widths 16 to 128), convnext-tiny (arXiv 2201.03545), convnext-nano (32 to 256).
    start:         Hub id or folder of a model to continue from; its architecture takes the place of the preset's, which
                   is of the same family. simclr and dino begin from an encoder alone, too.
    image_size:    side of the frames in pixels; a multiple of patch_size.
    patch_size, layers: of a ViT; layers None: the preset's 12.
    samples:       frames seen over the whole run, whatever their number (Table 2: 200 x 88,282 for every retention);
                   whole batches count. 0: no training, the initial weights are written.
    batch_size:    frames in one step, over all processes and accumulated parts.
    accumulation:  parts that a process computes one after the other for one step; for batches that do not fit.
    learning_rate: peak, after a linear warm-up over the share `warmup` of the run; then half a cosine down to 0.
    beta1, beta2, weight_decay: of AdamW. clip: greatest norm of the gradients; 0 (as in MAE): they are not clipped.
    mask_ratio:    share of the patches that is hidden, in (0, 1). Of dino, where masked_loss is above 0.
    norm_pix_loss: MAE's target is each patch with its own mean and variance taken out;
    target:        over all its values ("patch", as published), or in each colour by itself ("channel").
    crop:          smallest area of a random crop, as a share of the frame in (0, 1]; its aspect is 3:4 to 4:3.
    flips:         mirror views at random: left-right, and top-bottom too with "both".
    jitter:        strength of the change of colours in a view, in [0, 1], at a chance of 0.8 (SimCLR's; 1 is its
                   strongest). grey, blur: chance that a view is grey, is blurred.
    temperature:   of SimCLR's loss, or of DINO's student. projection: width of what SimCLR compares.
    prototypes:    that DINO assigns views to. teacher_temperature: of its teacher, who follows the student with
                   `momentum` at the start of the run, rising to 1.
    local_crops:   small views of a frame for DINO, `local_size` pixels wide, of areas from `local_crop` to `crop`.
    masked_loss:   weight of iBOT's loss on hidden patches (arXiv 2111.07832) beside DINO's; ViT alone.
    precision:     "auto" is bf16 where the processor or GPU runs it natively, else float32; weights stay float32.
    gradient_checkpointing: less memory for more time. compile: torch.compile, slow at its first step.
    snapshots:     encoders written on the way, at even parts of the budget, the last one at its end.
    checkpoint_samples: about how many samples an interruption costs at most.

    A field that the objective has no use for has its default, or InvalidArgument is raised.
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
    beta1: Annotated[float, Range(0.0, 0.999999)] = 0.9
    beta2: Annotated[float, Range(0.0, 0.999999)] = 0.95
    weight_decay: Annotated[float, Range(0.0, 10.0)] = 0.05
    clip: Annotated[float, Range(0.0, 1e6)] = 0.0
    mask_ratio: Annotated[float, Range(0.0, 1.0)] = 0.75
    norm_pix_loss: bool = True
    target: Target = "patch"
    crop: Annotated[float, Range(0.01, 1.0)] = 0.2
    flips: Flips = "horizontal"
    jitter: Annotated[float, Range(0.0, 1.0)] = 0.5
    grey: Annotated[float, Range(0.0, 1.0)] = 0.2
    blur: Annotated[float, Range(0.0, 1.0)] = 0.5
    temperature: Annotated[float, Range(0.001, 10.0)] = 0.1
    projection: Annotated[int, Range(1, 65_536)] = 128
    prototypes: Annotated[int, Range(2, 1_048_576)] = 65_536
    teacher_temperature: Annotated[float, Range(0.001, 10.0)] = 0.04
    momentum: Annotated[float, Range(0.0, 1.0)] = 0.996
    local_crops: Annotated[int, Range(0, 64)] = 8
    local_size: Annotated[int, Range(1, LARGEST_SIDE)] = 96
    local_crop: Annotated[float, Range(0.01, 1.0)] = 0.05
    masked_loss: Annotated[float, Range(0.0, 100.0)] = 0.0
    precision: Precision = "auto"
    gradient_checkpointing: bool = False
    compile: bool = False
    snapshots: Annotated[int, Range(0, 10_000)] = 0
    checkpoint_samples: Annotated[int, Range(1, 10**12)] = 100_000

    def __post_init__(self) -> None:
        check(self)
        self._check_objective()
        self._check_sizes()
        self._check_parts()

    def _check_objective(self) -> None:
        for field in fields(self):
            users = _OF_SOME.get(field.name, get_args(ObjectiveName))
            if self.objective not in users and getattr(self, field.name) != field.default:
                raise InvalidArgument(
                    f"{field.name} is of {' and '.join(users)}, and {self.objective} has no use for it: leave it out"
                )
        if self.is_convolutional and not self.is_joint:
            raise InvalidArgument(
                f"{self.objective} hides patches of a ViT, and {self.preset} has none: choose one of "
                f"{', '.join(_VITS)}, or the objective {' or '.join(_JOINT)}"
            )
        self._check_useless()

    def _check_useless(self) -> None:
        """Fields that would change nothing beside what others are."""
        defaults = {field.name: field.default for field in fields(self)}
        if self.is_convolutional:
            for name in ("masked_loss", "layers", "patch_size", "gradient_checkpointing"):
                if getattr(self, name) != defaults[name]:
                    raise InvalidArgument(f"{name} is of a ViT, and {self.preset} is none: leave it out")
        if self.compile and self.masked_loss and self.local_crops:  # torch 2.13 fails at shapes that it makes variable
            raise InvalidArgument(
                "compile does not go with both masked_loss and local_crops: leave out one of the three"
            )
        wanted = (
            ("target", self.norm_pix_loss, "norm_pix_loss"),
            ("mask_ratio", self.hides or self.objective == "simclr", "masked_loss above 0"),
        )
        for name, used, by in wanted:
            if not used and getattr(self, name) != defaults[name]:
                raise InvalidArgument(f"{name} changes nothing without {by}: give that, or leave it out")

    def _check_sizes(self) -> None:
        names = ("image_size", "local_size") if self.objective == "dino" and self.local_crops else ("image_size",)
        for name in names:
            side = getattr(self, name)
            if self.is_convolutional:
                if side < SMALLEST_FOR_CONVOLUTIONS:
                    raise InvalidArgument(
                        f"{name} {side} is too small for {self.preset}, which reduces a side "
                        f"{SMALLEST_FOR_CONVOLUTIONS} times: use {SMALLEST_FOR_CONVOLUTIONS} at least"
                    )
            elif side % self.patch_size:
                near = max(1, round(side / self.patch_size)) * self.patch_size
                raise InvalidArgument(
                    f"{name} {side} is not a multiple of patch_size {self.patch_size}: use {near}, say"
                )
        if self.hides and not 0 < self.kept_patches < self.patches:
            raise InvalidArgument(
                f"mask_ratio {self.mask_ratio:g} hides {self.patches - self.kept_patches} of {self.patches} patches: "
                "at least one must be hidden and one be seen"
            )
        if self.objective == "dino" and self.local_crops and self.local_crop > self.crop:
            raise InvalidArgument(
                f"local_crop {self.local_crop:g} is above crop {self.crop:g}: local views are smaller"
            )

    def _check_parts(self) -> None:
        if 0 < self.samples < self.batch_size:
            raise InvalidArgument(f"samples {self.samples} do not fill one batch of {self.batch_size}")
        if self.batch_size % self.accumulation:
            raise InvalidArgument(
                f"batch_size {self.batch_size} does not divide into {self.accumulation} parts (accumulation)"
            )
        if self.is_joint and self.accumulation > 1 and (self.objective == "simclr" or self.preset_has_batches):
            less = "" if self.is_convolutional else " or gradient_checkpointing"
            raise InvalidArgument(
                f"accumulation {self.accumulation} would compare a frame with those of its part alone, and not of its "
                f"batch ({self.objective}, {self.preset}): use 1, with more processes{less}"
            )
        if self.batch_size < 2 and (self.objective == "simclr" or self.preset_has_batches):
            what = "simclr nothing to compare a frame with"
            if self.objective != "simclr":
                what = f"{self.preset} nothing to normalise by"
            raise InvalidArgument(f"batch_size 1 leaves {what}: use 2 at least")
        if self.snapshots > max(self.steps, 1):
            raise InvalidArgument(f"{self.snapshots} snapshots do not fit into {self.steps} steps")

    @property
    def is_joint(self) -> bool:
        """Whether views of a frame are brought together, and nothing is painted."""
        return self.objective in _JOINT

    @property
    def views(self) -> int:
        """Of each frame: two, and DINO's local ones."""
        if not self.is_joint:
            return 1
        return 2 + self.local_crops if self.objective == "dino" else 2

    @property
    def family(self) -> str:
        """Of the encoder: "vit", "resnet" or "convnext"."""
        return "vit" if self.preset in _VITS else self.preset.partition("-")[0]

    @property
    def is_convolutional(self) -> bool:
        return self.family != "vit"

    @property
    def preset_has_batches(self) -> bool:
        """Whether a frame's features depend on the others of its batch (batch normalisation)."""
        return self.family == "resnet"

    @property
    def hides(self) -> bool:
        """Whether patches are hidden."""
        return self.objective in ("mae", "simmim") or bool(self.masked_loss)

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

    def recorded(self) -> dict[str, Any]:
        """Plain values for a record; fields that came later are left out at their default, so that an older run of the
        same recipe has the same record."""
        return recorded(asdict(self))


def recorded(plain: Mapping[str, Any]) -> dict[str, Any]:
    """`Recipe.recorded` of plain values."""
    later = complete({})
    return {name: value for name, value in plain.items() if name not in later or value != later[name]}


def complete(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with the defaults of the fields that it lacks, so that two can be compared name by name."""
    return {**{field.name: field.default for field in fields(Recipe) if field.name in _LATER}, **record}

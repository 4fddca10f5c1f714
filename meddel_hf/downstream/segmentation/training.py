"""Training a segmentation model through `Trainer`: samples that depend on seed and position alone.

Sample i of a run is frame permutation(seed, epoch)[i mod n], augmented by a generator of (seed, i). So neither the
number of processes nor an interruption changes what is learned from, and a resumed run ends where the other would.
"""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from PIL import Image
from transformers import TrainerCallback, TrainingArguments

from meddel_hf.data.images import Preprocessing
from meddel_hf.downstream.segmentation.architecture import SegmentationModel
from meddel_hf.downstream.segmentation.masked_frames import Decoded
from meddel_hf.downstream.segmentation.recipe import SegmentationRecipe
from meddel_hf.errors import Diverged, InvalidArgument
from meddel_hf.runtime.progress import Progress
from meddel_hf.training.checkpoints import check, checkpoint_at, last_recorded, record
from meddel_hf.training.samples import by_generator, crop_box, generator, order
from meddel_hf.training.trainer import SampleTrainer, arguments

if TYPE_CHECKING:
    from accelerate import PartialState

log = logging.getLogger(__name__)
_CHECKPOINTS = 10  # at most in a run: what an interruption costs is a tenth
_FEWEST_STEPS = 50  # between two of them
_INFERENCE_BATCH = 64
Resolved = Literal["bf16", "float32"]


class Samples(Protocol):
    """What a model is trained on: `frames` of them, and batches for given sample numbers."""

    frames: int

    def batch(self, samples: Sequence[int]) -> dict[str, np.ndarray]:
        """Made ahead of the model, in a worker process where there are any."""

    def inputs(self, batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """What the model is called with, made of a batch in the model's process."""


class FrameSamples:
    """Frames and masks, each flipped and cropped in its own way: for training the whole model."""

    def __init__(self, decoded: Decoded, preprocessing: Preprocessing, recipe: SegmentationRecipe, seed: int) -> None:
        self.decoded, self.preprocessing, self.recipe, self.seed = decoded, preprocessing, recipe, seed
        self.frames = len(decoded.pixels)

    def batch(self, samples: Sequence[int]) -> dict[str, np.ndarray]:
        """pixels (B, H, W, 3) and masks (B, H, W), uint8."""
        pixels, masks = zip(*[self._view(sample) for sample in samples], strict=True)
        return {"pixels": np.stack(pixels), "masks": np.stack(masks)}

    def inputs(self, batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """pixel_values (B, 3, H, W) float32 and labels (B, H, W) int64."""
        pixels = normalised(batch["pixels"], self.preprocessing)
        return {"pixel_values": pixels, "labels": torch.from_numpy(batch["masks"]).long()}

    def _view(self, sample: int) -> tuple[np.ndarray, np.ndarray]:
        (row,) = order(np.array([sample]), self.frames, self.seed, by_generator)
        pixels, mask = self.decoded.pixels[row], self.decoded.masks[row]
        draw = generator(sample, self.seed)
        if self.recipe.smallest_crop < 1:
            box = crop_box(draw, mask.shape, self.recipe.smallest_crop)
            size = mask.shape[::-1]
            pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, box=box))
            mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST, box=box))
        if not self.recipe.mirrored:
            return pixels, mask
        view = int(draw.integers(4))
        return flipped(pixels, view), flipped(mask, view)


class FeatureSamples:
    """Features of every frame, and of its mirror images, computed once: for training the head alone."""

    def __init__(self, features: list[torch.Tensor], masks: np.ndarray, seed: int) -> None:
        """features: for each view (see `flipped`) (n, ...). masks: (n, H, W) uint8."""
        self.features, self.masks, self.seed = features, masks, seed
        self.frames = len(masks)

    def batch(self, samples: Sequence[int]) -> dict[str, np.ndarray]:
        """views and rows (B,) int64 of the frames."""
        rows = order(np.array(samples), self.frames, self.seed, by_generator)
        draws = [generator(sample, self.seed) for sample in samples]
        return {"views": np.array([draw.integers(len(self.features)) for draw in draws]), "rows": rows}

    def inputs(self, batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """features (B, ...) float32 and labels (B, H, W) int64, which may be coarser than the frames."""
        places = list(zip(batch["views"].tolist(), batch["rows"].tolist(), strict=True))
        features = torch.stack([self.features[view][row] for view, row in places])
        masks = np.stack([flipped(self.masks[row], view) for view, row in places])
        return {"features": features.float(), "labels": torch.from_numpy(masks).long()}


def flipped(array: np.ndarray, view: int) -> np.ndarray:
    """View 0 as it is, 1 left and right swapped, 2 top and bottom swapped, 3 both; (H, W, ...)."""
    array = array[:, ::-1] if view % 2 else array
    return np.ascontiguousarray(array[::-1] if view >= 2 else array)


def normalised(pixels: np.ndarray, preprocessing: Preprocessing) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32, as the encoder's image processor does."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().mul_(preprocessing.scale).sub_(mean).div_(std)


def encoded_views(
    model: SegmentationModel,
    pixels: np.ndarray,
    preprocessing: Preprocessing,
    device: torch.device,
    precision: Resolved,
    views: int,
) -> list[torch.Tensor]:
    """Features of every frame in each of the first `views` views: (n, ...) each, in `precision`, on the host."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    def of(frames: np.ndarray, view: int) -> torch.Tensor:
        mirrored = np.stack([flipped(frame, view) for frame in frames])
        return model.encode(normalised(mirrored, preprocessing).to(device)).to("cpu", dtype)

    model.to(device).eval()  # type: ignore[arg-type]  # transformers wraps nn.Module.to
    with torch.no_grad(), computing(device, precision):
        return [by_batches(pixels, partial(of, view=view)) for view in range(views)]


def logits_of(
    model: SegmentationModel,
    pixels: np.ndarray,
    preprocessing: Preprocessing,
    device: torch.device,
    precision: Resolved,
) -> torch.Tensor:
    """(n, C, h, w) float32 on the host, of (n, H, W, 3) uint8 frames."""

    def of(frames: np.ndarray) -> torch.Tensor:
        logits: torch.Tensor = model(pixel_values=normalised(frames, preprocessing).to(device)).logits
        return logits.float().cpu()

    model.to(device).eval()  # type: ignore[arg-type]  # transformers wraps nn.Module.to
    with torch.no_grad(), computing(device, precision):
        return by_batches(pixels, of)


def by_batches(pixels: np.ndarray, of: Callable[[np.ndarray], torch.Tensor]) -> torch.Tensor:
    """(n, ...), what `of` answers to (n, H, W, 3) frames, a batch at a time: nothing but the answer is held whole."""
    answer = torch.empty(0)
    for start in range(0, len(pixels), _INFERENCE_BATCH):
        part = of(pixels[start : start + _INFERENCE_BATCH])
        if not start:
            answer = part.new_empty((len(pixels), *part.shape[1:]))
        answer[start : start + len(part)] = part
    return answer


@contextlib.contextmanager
def computing(device: torch.device, precision: Resolved) -> Iterator[None]:
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        yield


@dataclass(frozen=True)
class Fitted:
    """steps: done here, not before an interruption. loss: the mean over the last tenth of them; where none was left,
    what the last checkpoint says; None where that is an earlier version's."""

    steps: int
    loss: float | None


def fit(
    model: SegmentationModel,
    samples: Samples,
    recipe: SegmentationRecipe,
    checkpoints: Path,
    processes: PartialState,
    *,
    seed: int,
    device: torch.device,
    precision: Resolved,
    workers: int,
    shown: bool,
) -> Fitted:
    """Train the model in place, from the last checkpoint where there is one.

    checkpoints: folder of this run alone, named by its digest; written with whole fine-tuning only, a head is trained
    in seconds. Raises Diverged where the loss is not finite, the last checkpoint stays; IncompleteStore where that is
    damaged.
    """
    if recipe.batch_size % processes.num_processes:
        raise InvalidArgument(
            f"a batch of {recipe.batch_size} frames cannot be shared by {processes.num_processes} processes: "
            "choose a batch_size (--batch-size) that is a multiple of them"
        )
    steps = math.ceil(recipe.epochs * samples.frames / recipe.batch_size)
    on_cpu = device.type == "cpu"
    settings = arguments(
        checkpoints, device, steps=steps, warmup=recipe.warmup, learning_rate=recipe.rate,
        per_device_train_batch_size=recipe.batch_size // processes.num_processes, weight_decay=recipe.weight_decay,
        bf16=precision == "bf16", seed=seed % 2**32, save_strategy="no" if recipe.frozen else "steps",
        save_steps=max(_FEWEST_STEPS, steps // _CHECKPOINTS), dataloader_pin_memory=not on_cpu,
    )  # fmt: skip
    workers = 0 if on_cpu or recipe.frozen else workers
    with Progress(shown=shown) as bar:
        trainer = _Trainer(model, settings, samples, recipe.batch_size, bar, workers)
        last = last_recorded(checkpoints)
        if last is not None:
            check(last, checkpoints.name)
        elif processes.is_main_process and next(checkpoints.glob("checkpoint-*"), None):
            log.warning(
                "note: no checkpoint in %s is whole (a run was stopped while it wrote one, or is an earlier "
                "version's): the training begins anew", checkpoints,
            )  # fmt: skip
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)  # forward as it was before
    return Fitted(len(trainer.losses), trainer.loss)


class _Trainer(SampleTrainer):
    """Stops where the loss is not finite; a checkpoint counts, and replaces the one before, once all of it is there."""

    def __init__(
        self,
        model: SegmentationModel,
        settings: TrainingArguments,
        samples: Samples,
        batch_size: int,
        bar: Progress,
        workers: int,
    ) -> None:
        self.samples = samples
        self.losses: list[float] = []
        numbers = range(settings.max_steps * batch_size)
        super().__init__(model, settings, numbers, samples.batch, _Rhythm(bar), workers)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return super()._prepare_inputs(self.samples.inputs(inputs))

    def _save_checkpoint(self, model: Any, trial: Any = None) -> None:
        if self.loss is not None:
            self.state.log_history.append({"step": self.state.global_step, "loss": self.loss})
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # each process writes its random state there
        if self.args.should_save:
            folder = Path(str(self.args.output_dir))
            written = checkpoint_at(folder, self.state.global_step)
            record(written, folder.name)
            for before in set(folder.glob("checkpoint-*")) - {written}:
                shutil.rmtree(before, ignore_errors=True)

    @property
    def loss(self) -> float | None:
        """As `Fitted` has it."""
        if last := self.losses[-max(1, len(self.losses) // 10) :]:
            return sum(last) / len(last)
        saved = [entry["loss"] for entry in self.state.log_history if "loss" in entry]
        return saved[-1] if saved else None

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        self.losses.append(float(loss))
        if not math.isfinite(self.losses[-1]):
            kept = last_recorded(Path(str(self.args.output_dir)))
            raise Diverged(
                f"the loss is {self.losses[-1]} at step {self.state.global_step + 1} of {self.args.max_steps}: lower "
                f"learning_rate (--learning-rate {self.args.learning_rate / 10:g}) or compute in float32 (--precision "
                f"float32); {f'the last good weights are in {kept}' if kept else 'no checkpoint was written yet'}",
                self.state.global_step + 1,
            )
        return loss


class _Rhythm(TrainerCallback):
    """Moves the bar on."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.bar.begin("training", state.max_steps, "steps", state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.bar.update()

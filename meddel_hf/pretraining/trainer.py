"""`Trainer` of transformers for a pre-training run that may be killed at any moment and goes on as if it had not been.

What is changed: checkpoints are whole or absent and never hold numbers that are not finite; resumed weights are really
those of the checkpoint; a loss that is not finite ends the run at its step; and no norm of gradients is computed, which
the log does not have.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from meddel_hf.embedding.loading import quiet
from meddel_hf.errors import Diverged
from meddel_hf.pretraining.objectives import OBJECTIVES, model_inputs, suit
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.pretraining.views import Views, as_one_batch
from meddel_hf.runtime.files import whole_folder
from meddel_hf.runtime.progress import Progress
from meddel_hf.training.checkpoints import check, checkpoint_at, last_checkpoint, record, step_of, written
from meddel_hf.training.trainer import BATCHES_AHEAD, SampleTrainer, arguments
from meddel_hf.training.transfer import has_shared_room, large_as_tensors


@runtime_checkable
class Following(Protocol):
    """A model that changes after each step by more than its gradients."""

    def after_step(self, progress: float) -> None:
        """progress: share of the run that is done, in (0, 1]."""


class PretrainingTrainer(SampleTrainer):
    """Trains `model` on `views`, checkpoints in `folder`.

    precision: "bf16" or "float32". workers: processes that make views ahead of the model; 0: this one makes them.
    snapshot:  called on the main process after the steps that the recipe names, with the model and the samples seen.
    progress:  is told of every step, on every process.
    made_from: digest of what the run is of; a checkpoint of another is not gone on from.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        views: Views,
        folder: Path,
        *,
        recipe: Recipe,
        precision: str,
        device: torch.device,
        processes: int,
        workers: int,
        seed: int,
        snapshot: Callable[[PreTrainedModel, int], None],
        progress: Progress,
        made_from: str = "",
    ) -> None:
        self.folder, self.network = folder, model
        self.recipe, self.precision = recipe, precision
        self.snapshot, self.progress, self.made_from = snapshot, progress, made_from
        suit(model, device, precision, recipe)
        self.seconds_before = 0.0  # of the run before it was interrupted
        frames = recipe.batch_size // recipe.accumulation  # of all processes
        in_flight = BATCHES_AHEAD * workers * frames * 3 * views.frames.side**2  # bytes
        collate = large_as_tensors if views.uncut and has_shared_room(in_flight) else as_one_batch
        super().__init__(
            model, _arguments(recipe, folder, device, processes, seed), views, collate, _Rhythm(self), workers
        )
        self.first_bad = torch.zeros((), dtype=torch.int64, device=self.args.device)  # step; 0: none so far
        self.began = time.monotonic()

    def go_on(self) -> None:
        """Train to the end of the budget, from the last checkpoint where there is one."""
        checkpoint = last_checkpoint(self.folder)
        if checkpoint is not None:
            check(checkpoint, self.made_from)
        self.began = time.monotonic()
        with quiet():
            self.train(resume_from_checkpoint=str(checkpoint) if checkpoint is not None else None)
        self._check_weights()

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        if "error" in inputs:
            raise inputs["error"]
        return model_inputs(inputs, self.recipe, self.args.device)

    def compute_loss_context_manager(self) -> contextlib.ExitStack:
        """Ours rather than Accelerate's autocast, which copies every output of the model to float32."""
        stack = super().compute_loss_context_manager()
        stack.enter_context(torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.precision == "bf16"))
        return stack

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        loss = model(**inputs).loss
        # Noted on the device, looked at with the log: a look at every step would make a GPU wait.
        bad = ~torch.isfinite(loss.detach()) & (self.first_bad == 0)
        self.first_bad = torch.where(bad, self.state.global_step + 1, self.first_bad)
        return loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        return grad_norm  # computed for the log alone otherwise, which does not have it

    @property
    def seconds(self) -> float:
        """Seconds of training, those before an interruption included."""
        return self.seconds_before + time.monotonic() - self.began

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" not in logs:  # a summary of the run; ours is another
            return
        if not math.isfinite(logs["loss"]):
            raise self._diverged(int(self.first_bad))
        super().log({**logs, "seconds": self.seconds}, start_time)
        self.progress.note(logs["loss"])

    def _diverged(self, step: int) -> Diverged:
        last = last_checkpoint(self.folder)
        kept = f"the checkpoint of step {step_of(last):,} stays" if last else "there is no checkpoint yet"
        at = f"at step {step:,} of" if step else "within the last"
        return Diverged(
            f"the loss is no longer a finite number {at} {self.state.max_steps:,} steps; {kept}: begin another run "
            f"with a lower learning_rate (it was {self.recipe.learning_rate:g}), or with precision float32",
            step or None,
        )

    def _check_weights(self) -> None:
        finite = torch.stack([parameter.detach().isfinite().all() for parameter in self.network.parameters()])
        if not bool(finite.all()):
            raise self._diverged(self.state.global_step)

    def _save_checkpoint(self, model: Any, trial: Any = None) -> None:
        """Main process only: everything but the weights' one copy is the same everywhere, random states included."""
        if not self.args.should_save:
            return
        self._check_weights()
        target = checkpoint_at(self.folder, self.state.global_step)
        before = last_checkpoint(self.folder)
        what = f"the checkpoint of step {self.state.global_step:,}"
        with written(what, self.folder, self.folder), quiet(), whole_folder(target) as aside:
            self.network.save_pretrained(aside)
            self._save_optimizer_and_scheduler(str(aside))
            self.state.save_to_json(str(aside / "trainer_state.json"))
            record(aside, self.made_from)
        if before is not None and before != target:
            shutil.rmtree(before, ignore_errors=True)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """`Trainer` of transformers 5.23 loads by the names in the file, which are not those of ViTMAE's layers: they
        would stay as they are, with no more than a warning. `from_pretrained` translates; nothing may be missing."""
        loaded = OBJECTIVES[self.recipe.objective].load(resume_from_checkpoint)
        self.network.load_state_dict(loaded.state_dict())

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """No random number is drawn during a run: views and masks are computed from the numbers of the samples."""

    def _load_callback_state(self) -> None:
        """Called once the state is there."""
        if self.state.log_history:
            self.seconds_before = float(self.state.log_history[-1].get("seconds", 0.0))


class _Rhythm(TrainerCallback):
    """When to log, to write a checkpoint, to write a snapshot."""

    def __init__(self, trainer: PretrainingTrainer) -> None:
        self.trainer, self.recipe = trainer, trainer.recipe
        self.snapshots = set(trainer.recipe.snapshot_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        step, last = state.global_step, state.global_step >= state.max_steps
        if isinstance(self.trainer.network, Following):
            self.trainer.network.after_step(step / state.max_steps)
        control.should_log = last or step % self.recipe.log_steps == 0
        control.should_save = not last and step % self.recipe.checkpoint_steps == 0
        if step in self.snapshots and args.should_save:
            self.trainer._check_weights()
            self.trainer.snapshot(self.trainer.network, step * self.recipe.batch_size)
        self.trainer.progress.update(self.recipe.batch_size)


def _arguments(recipe: Recipe, folder: Path, device: torch.device, processes: int, seed: int) -> TrainingArguments:
    return arguments(
        folder,
        device,
        steps=recipe.steps,
        warmup=recipe.warmup,
        per_device_train_batch_size=recipe.batch_size // processes // recipe.accumulation,
        gradient_accumulation_steps=recipe.accumulation,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        adam_beta1=recipe.beta1,
        adam_beta2=recipe.beta2,
        max_grad_norm=recipe.clip,
        torch_compile=recipe.compile,
        seed=seed,
        save_strategy="no",  # `_Rhythm` says when
        logging_nan_inf_filter=False,
        label_names=[],
        dataloader_pin_memory=device.type == "cuda",  # by a thread, of batches that come as tensors
    )

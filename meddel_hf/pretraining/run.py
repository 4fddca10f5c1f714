"""One pre-training run: its frames, its folder, its end."""

from __future__ import annotations

import json
import logging
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from accelerate import PartialState
from transformers import PreTrainedModel

from meddel_hf.embedding.loading import quiet
from meddel_hf.errors import InvalidDataset
from meddel_hf.pretraining.frame_cache import (
    CachedFrames,
    Frames,
    LiveFrames,
    cache_folder,
    decode_once,
    older_copies,
    read_unreadable,
    stored_side,
    write_unreadable,
)
from meddel_hf.pretraining.masked import told_by_colour
from meddel_hf.pretraining.objectives import build, fingerprint_of, save_encoder
from meddel_hf.pretraining.recipe import Recipe, complete
from meddel_hf.pretraining.result import LOG, UNREADABLE, PreTraining, Summary, log_table, snapshot_folder
from meddel_hf.pretraining.trainer import PretrainingTrainer
from meddel_hf.pretraining.training_set import Choice
from meddel_hf.pretraining.views import Views
from meddel_hf.runtime.devices import resolve_precision
from meddel_hf.runtime.files import MANIFEST, files_below, sweep, whole_file, whole_folder
from meddel_hf.runtime.manifest import Manifest, check_target, fingerprint
from meddel_hf.runtime.processes import cores
from meddel_hf.runtime.progress import Progress
from meddel_hf.runtime.reading import intact
from meddel_hf.runtime.records import check_files, recorded_files
from meddel_hf.runtime.resume import BEGUN, begin, begun, check_same, state
from meddel_hf.runtime.spacing import evenly_spaced
from meddel_hf.schema import SNAPSHOTS, WHOLE
from meddel_hf.training.checkpoints import last_checkpoint, step_of, written

log = logging.getLogger(__name__)
CHECKPOINTS = "checkpoints"
_MOST_WHO_HAND_OUT = 8  # processes, of frames that were decoded once: each manages 2,000 samples/s of 224 px and more
_LOOKED_AT, _MOST_BY_COLOUR = 256, 0.8  # frames, share of MAE's target above which the user is told
# Fields of a recipe that do not change the result, but for rounding; `start` counts by its weights, not by its name.
_NO_PART_OF_THE_RESULT = ("checkpoint_samples", "start", "accumulation", "gradient_checkpointing", "compile")


@dataclass(frozen=True, eq=False)
class Run:
    """A recipe on the frames of a choice, in the folder `out`."""

    out: Path
    choice: Choice
    recipe: Recipe
    seed: int
    device: torch.device
    processes: PartialState
    workers: int
    workers_are_free: bool
    progress: bool
    trust: bool = False

    @cached_property
    def model(self) -> PreTrainedModel:
        """What the run begins with."""
        return build(self.recipe, self.seed)

    def finished(self) -> PreTraining | None:
        """The run, if it is there. Raises Mismatch where the folder holds another one, finished or begun."""
        match state(self.out):
            case "finished":
                there = PreTraining.load(self.out)
                self._check_same(asdict(there.manifest))
                there.verify()
                if self.processes.is_main_process:
                    self._tidy()  # where the run was killed between its manifest and this
                if self._is_told:
                    log.info("%s: %s; nothing was left to do", self.out, there.summary)
                return there
            case "begun":
                with intact(self.out / BEGUN, "delete the folder, and begin again"):
                    self._check_same(begun(self.out))
            case "new":
                check_target(self.out, "pretraining")
        return None

    def train(self, frames: Path | None, spec: str | None) -> PreTraining:
        """Do what is left of the run, and write its result."""
        precision = resolve_precision(self.recipe.precision, self.device)
        model = self.model  # before the folder is claimed: what cannot be built leaves no trace
        main = self.processes.is_main_process
        self.processes.wait_for_everyone()  # no process looks into the folder any more
        if main:
            self._claim()
        source = self._source(frames)
        rows, unreadable = self._readable(source)
        self._warn_of_colour(source, rows)
        with Progress(shown=self._is_told) as bar, _own_random_state(), quiet():
            history, seconds = [], 0.0
            if self.recipe.steps:
                done = step_of(last_checkpoint(self.out / CHECKPOINTS)) * self.recipe.batch_size
                if done and self._is_told:
                    log.info("%s samples are done already: going on with the rest", f"{done:,}")
                bar.begin("training", self.recipe.steps * self.recipe.batch_size, "samples", done)
                trainer = PretrainingTrainer(
                    model, Views(source, rows, self.recipe, self.seed, uncut=self._cuts_on_device),
                    self.out / CHECKPOINTS, recipe=self.recipe, precision=precision, device=self.device,
                    processes=self.processes.num_processes,
                    workers=self._view_workers(source), seed=self.seed, snapshot=self._snapshot, progress=bar,
                    made_from=fingerprint(json.dumps(self._identity, sort_keys=True)),
                )  # fmt: skip
                trainer.go_on()
                history, seconds = trainer.state.log_history, trainer.seconds
                model = trainer.network
        if main:
            self._finish(model, history, self._summary(rows, unreadable, history, seconds, precision), spec)
        self.processes.wait_for_everyone()
        result = PreTraining.load(self.out)
        if self._is_told:
            log.info("%s: %s", self.out, result.summary)
        return result

    @cached_property
    def _identity(self) -> dict[str, dict[str, Any]]:
        """What the result depends on, but for rounding: not on the device, nor on the number of processes."""
        recipe = {k: value for k, value in self.recipe.recorded().items() if k not in _NO_PART_OF_THE_RESULT}
        arguments = {**recipe, "seed": self.seed, "excluded": self.choice.excluded, "frames": self.choice.digest}
        start = {"start": fingerprint_of(self.model)} if self.recipe.start is not None else {}
        return {"arguments": arguments, "parents": {**self.choice.parents, **start}}

    def _check_same(self, there: dict[str, Any]) -> None:
        """there: `_identity` of what stands in the folder; arguments that it has besides do not count."""
        arguments, parents = complete(self._identity["arguments"]), self._identity["parents"]
        before = {name: complete(there["arguments"]).get(name) for name in arguments}
        check_same(self.out, {**before, **there["parents"]}, {**arguments, **parents})

    def _claim(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        for folder in (self.out, self.out / CHECKPOINTS, self.out / SNAPSHOTS):
            sweep(folder)
        if state(self.out) == "new":
            begin(self.out, self._identity)

    def _tidy(self) -> None:
        shutil.rmtree(self.out / CHECKPOINTS, ignore_errors=True)
        (self.out / BEGUN).unlink(missing_ok=True)

    def _source(self, folder: Path | None) -> Frames:
        if folder is None or not self.recipe.steps:
            return LiveFrames(self.choice.pool, stored_side(self.recipe.image_size))
        there = cache_folder(folder, self.choice.pool, stored_side(self.recipe.image_size)) / MANIFEST
        if self.processes.is_main_process and not there.is_file():
            with Progress(shown=self._is_told) as bar, written("the decoded frames", folder):
                bar.begin("decoding", len(self.choice.pool.ids or ()), "frames")
                decode_once(self.choice.pool, folder, self.recipe.image_size, workers=self._decoders, progress=bar)
            for copy in older_copies(folder, self.choice.pool, self.recipe.image_size):
                log.warning(
                    "note: %s holds a decoded copy of frames with the same ids and other content: delete it where "
                    "those pixels must go",
                    copy,
                )
        self.processes.wait_for_everyone()
        trust = self.trust or not self.processes.is_main_process  # one of them reads all pixels
        decoded = decode_once(self.choice.pool, folder, self.recipe.image_size, trust=trust)
        self.processes.wait_for_everyone()
        return decoded

    def _readable(self, source: Frames) -> tuple[list[int], dict[int, str]]:
        """Rows to train on, and why the others cannot be: row -> reason."""
        path, ids = self.out / UNREADABLE, self.choice.pool.ids or []
        if self.processes.is_main_process and not path.is_file():
            rows = self.choice.rows
            if isinstance(source, CachedFrames):
                chosen = set(rows)
                reasons = {row: why for row, why in source.reasons.items() if row in chosen}
            elif isinstance(source, LiveFrames) and self.recipe.steps:
                with Progress(shown=self._is_told) as bar:
                    bar.begin("checking", len(rows), "frames")
                    reasons = source.unreadable(rows, self._decoders, bar)
            else:
                reasons = {}
            with whole_file(path) as aside:
                write_unreadable(aside, reasons, ids)
            begin(self.out, {**begun(self.out), "files": recorded_files(self.out, [UNREADABLE])})
        self.processes.wait_for_everyone()
        check_files(self.out, begun(self.out).get("files", {}), "delete it and run the same command again")
        bad = read_unreadable(path)
        rows = [row for row in self.choice.rows if row not in bad]
        if not rows:
            first = next(iter(bad))
            raise InvalidDataset(
                f"none of the {len(bad):,} chosen frames can be read, such as {ids[first]}: {bad[first]}"
            )
        return rows, bad

    def _warn_of_colour(self, source: Frames, rows: list[int]) -> None:
        """Where MAE could do most of its work without seeing any structure."""
        recipe = self.recipe
        if not (self._is_told and recipe.steps and recipe.objective == "mae" and recipe.norm_pix_loss):
            return
        sample = [rows[at] for at in evenly_spaced(len(rows), _LOOKED_AT)]
        if recipe.target == "patch" and (share := told_by_colour(source.read(sample), recipe)) > _MOST_BY_COLOUR:
            log.warning(
                "note: %.0f %% of the variance of what MAE is to paint of these frames is the mean colour of a patch, "
                "which takes no structure to know: target channel (--target channel) takes it out",
                100 * share,
            )

    @property
    def _is_told(self) -> bool:
        """Whether this process tells the user how far it is."""
        return self.progress and self.processes.is_main_process

    @property
    def _decoders(self) -> int:
        """Processes that decode while the model does not compute."""
        return max(self.workers, cores()) if self.workers_are_free else self.workers

    @property
    def _cuts_on_device(self) -> bool:
        """A processor is quicker frame by frame; a GPU is quicker than the processes that would cut for it."""
        return self.device.type != "cpu"

    def _view_workers(self, source: Frames) -> int:
        """Cutting views out of decoded frames is too little work for a processor to share it with another process, and
        to hand out whole ones is work for few."""
        if not (self.workers_are_free and isinstance(source, CachedFrames)):
            return self.workers
        return 0 if self.device.type == "cpu" else min(self.workers, _MOST_WHO_HAND_OUT)

    def _snapshot(self, model: PreTrainedModel, samples: int) -> None:
        folder = snapshot_folder(self.out, samples)
        what = f"the encoder after {samples:,} samples"
        with written(what, folder, self.out / CHECKPOINTS), whole_folder(folder) as aside:
            save_encoder(model, self.recipe, aside)

    def _summary(
        self, rows: list[int], unreadable: dict[int, str], history: list[dict[str, Any]], seconds: float, precision: str
    ) -> Summary:
        samples = self.recipe.steps * self.recipe.batch_size
        return Summary(
            pool=len(self.choice.pool.ids or ()), selected=self.choice.selected, excluded=self.choice.excluded,
            unreadable=len(unreadable), frames=len(rows), samples=samples, epochs=samples / len(rows),
            loss=history[-1]["loss"] if history else None, seconds=round(seconds, 3),
            processes=self.processes.num_processes, device=self.device.type, precision=precision,
        )  # fmt: skip

    def _finish(
        self, model: PreTrainedModel, history: list[dict[str, Any]], summary: Summary, spec: str | None
    ) -> None:
        """Write the result; it counts as there once its manifest is."""
        what = written("the result", self.out, self.out / CHECKPOINTS)
        with what, quiet(), whole_folder(self.out, replaced=()) as aside:
            model.save_pretrained(aside / WHOLE)
            save_encoder(model, self.recipe, aside)
            pq.write_table(log_table(history, self.recipe.batch_size, summary.frames), aside / LOG)
            digest = fingerprint((aside / "model.safetensors").read_bytes())
            files = recorded_files(aside, files_below(aside))
            before = [name for name in (UNREADABLE, SNAPSHOTS) if (self.out / name).exists()]
            files |= recorded_files(self.out, files_below(self.out, before))
            details = {"summary": asdict(summary), "pool": spec}
            Manifest("pretraining", digest, **self._identity, details=details, files=files).write(aside)
        self._tidy()


@contextmanager
def _own_random_state() -> Iterator[None]:
    """`Trainer` seeds Python, numpy and torch: the caller's states are as before afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)

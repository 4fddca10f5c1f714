"""One cell: select, pre-train, test; each step goes on where it was stopped, and `cell.json` is written last."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate import PartialState

from meddel_hf.benchmark.cells import (
    CELL,
    DIVERGED,
    MEASURES,
    PRETRAINING,
    SELECTION,
    TASKS,
    CellPlan,
    read_json,
)  # fmt: skip
from meddel_hf.benchmark.data import Material
from meddel_hf.benchmark.duplicates import without_duplicates
from meddel_hf.benchmark.evidence import FILES, GROUND, PARENTS, of_scores
from meddel_hf.benchmark.measures import MEASURED, Measuring
from meddel_hf.benchmark.place import DISTINCT, LADDER, UNTRAINED
from meddel_hf.benchmark.plan import Arm, InstanceTask
from meddel_hf.benchmark.retrieval import LOSS, Trained, retrieve
from meddel_hf.benchmark.task_data import ProbeData, RetrievalData, SegmentationData
from meddel_hf.data.ids import ids_of
from meddel_hf.downstream.probing.probe import probe
from meddel_hf.downstream.scores import FILE, Scores
from meddel_hf.downstream.segmentation.segment import segment
from meddel_hf.embedding.embed import embed
from meddel_hf.embedding.encoder import load_encoder
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import Diverged, MedDELError, Mismatch, named
from meddel_hf.pretraining.pretrain import pretrain
from meddel_hf.pretraining.result import PreTraining
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest, fingerprint
from meddel_hf.runtime.records import write_facts
from meddel_hf.schema import MODEL
from meddel_hf.selection.answer import Origin
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors.protocol import Embeddings, PoolRows
from meddel_hf.selectors.registry import make

MASKED = "masked"  # in the folder of decoded frames: those of segmentation tasks
_SECONDS, _WORK = "seconds.json", "work"


@dataclass(frozen=True, eq=False)
class CellRun:
    """A cell in its folder.

    store:  embeddings of the pool; None where the cell selects nothing, or a rung of the ladder: at random.
    frames: folder of decoded frames that all cells share. progress: show how far pre-training is.
    ground: digest of the benchmark, see `evidence.ground`.
    measuring: measures what the selection covers; None where the cell has no store.
    """

    cell: CellPlan
    folder: Path
    material: Material
    store: EmbeddingStore | None
    frames: Path
    processes: PartialState
    device: str
    progress: bool
    ground: str | None
    measuring: Measuring | None

    def run(self) -> None:
        """Do what is left of the cell. Errors say which cell they are of; Diverged is written down before it is raised.

        What diverged is not tried again, since the same seed would diverge again, until its diverged.json is deleted.
        """
        try:
            selection = self._select()
            encoder = self._pretrain(selection)
            self._test(encoder)
        except MedDELError as error:
            if isinstance(error, Diverged):
                self._note(error)
            raise named(self.cell.place.words, error) from error
        if self._main:
            shutil.rmtree(self.folder / _WORK, ignore_errors=True)
            (self.folder / DIVERGED).unlink(missing_ok=True)
            write_facts(self.folder / CELL, self._facts(encoder, selection))
        self.processes.wait_for_everyone()

    def _note(self, error: Diverged) -> None:
        """Write diverged.json. By the first process that sees it: the others may be waiting inside a step."""
        sentence = str(error).replace(f"{self.folder.parents[3]}{os.sep}", "")
        facts = {
            "arm": self.cell.label, "retention": self.cell.retention, "seed": self.cell.seed,
            "step": error.step, "sentence": sentence, GROUND: self.ground,
        }  # fmt: skip
        write_facts(self.folder / DIVERGED, facts)

    @property
    def _main(self) -> bool:
        return bool(self.processes.is_main_process)

    def _select(self) -> Selection | None:
        arm = self.cell.arm
        if arm is None:
            return None
        folder = self.folder / SELECTION
        if self._main and not (folder / MANIFEST).is_file():
            with self._timed("selection"):
                selection = self._selected(arm)
            selection.save(folder)
        self.processes.wait_for_everyone()
        selection = Selection.load(folder)
        self._check_selection(selection, folder)
        if self._main and self.measuring is not None:
            self.measuring.write(selection, self.folder)
        return selection

    def _selected(self, arm: Arm) -> Selection:
        if arm.label == DISTINCT:  # what is distinct, whatever share that is
            assert self.store is not None
            return without_duplicates(self.store, self.folder.parents[3], self.cell.seed)
        selector = make(arm.selector, retention=self.cell.retention, seed=self.cell.seed, **arm.options)
        return selector.select(self._frames_of_pool(), pool=self.material.pool)

    def _frames_of_pool(self) -> Embeddings:
        """What a selector chooses from; of a rung of the ladder every frame, as it needs no embeddings."""
        if self.cell.label != LADDER:
            assert self.store is not None
            return self.store
        ids = ids_of(self.material.pool)
        origin = Origin(self.material.fingerprint, row_ids=False)
        return PoolRows(np.arange(len(ids)), ids, origin)

    def _check_selection(self, selection: Selection, folder: Path) -> None:
        """Raises Mismatch where what stands in the cell was selected for another one, or from other embeddings."""
        asked = None if self.cell.label == DISTINCT else self.cell.retention
        there = {
            "retention": selection.settings.get("retention", asked),
            "seed": selection.settings.get("seed", self.cell.seed),
            "embeddings": selection.origin.embeddings,
        }
        embeddings = None if self.cell.label == LADDER or self.store is None else self.store.fingerprint
        wanted = {"retention": asked, "seed": self.cell.seed, "embeddings": embeddings}
        for name, value in wanted.items():
            if there[name] != value:
                raise Mismatch(
                    f"{folder} holds a selection with another {name} ({there[name]}, expected {value}): delete "
                    f"{self.folder}, and the same command runs the cell again"
                )

    def _pretrain(self, selection: Selection | None) -> PreTraining:
        recipe = self.material.plan.pretraining
        assert recipe is not None  # a plan without one has no cells
        if not self.cell.retention:
            recipe = recipe.but(samples=0, snapshots=0)
        return pretrain(
            self.material.pool, self.folder / PRETRAINING, recipe=recipe, selection=selection, frames=self.frames,
            seed=self.cell.seed, device=self.device, progress=self.progress,
        )  # fmt: skip

    def _test(self, trained: PreTraining) -> None:
        """Every task on the encoder, and on those that were exported on the way (`TASK@SAMPLES`)."""
        last = trained.summary.samples
        encoders = {"": trained.encoder}
        encoders |= {f"@{samples}": path for samples, path in trained.snapshots.items() if samples < last}
        for suffix, encoder in encoders.items():
            for name, data in self.material.tasks.items():
                out = self.folder / TASKS / f"{name}{suffix}"
                if isinstance(data, SegmentationData):
                    self._segment(data, encoder, out)
                elif isinstance(data, RetrievalData):
                    self._retrieve(data, Trained(trained, encoder, whole=not suffix), out)
                else:
                    self._probe(data, encoder, out, suffix)
        if last in trained.snapshots and self._main:  # the curve's last point is the result
            for name in self.material.tasks:
                out = self.folder / TASKS / f"{name}@{last}"
                out.mkdir(exist_ok=True)
                shutil.copyfile(self.folder / TASKS / name / FILE, out / FILE)

    def _segment(self, data: SegmentationData, encoder: Path, out: Path) -> None:
        with self._timed(out.name):
            segment(
                data.train, data.tests, encoder, out, recipe=data.task.recipe, seed=self.cell.seed, device=self.device,
                progress=False, frames=self.frames / MASKED, overlays=data.task.overlays,
                copies=self.cell.label == UNTRAINED,  # the data are those of every cell: a few tell it
            )  # fmt: skip
        if self._main:
            shutil.rmtree(out / MODEL, ignore_errors=True)  # the encoder again, with a head that trains in seconds

    def _probe(self, data: ProbeData, encoder: Path, out: Path, suffix: str) -> None:
        task = data.task
        if (out / MANIFEST).is_file():
            Scores.load(out)
            made_with = Manifest.read(out, "probe").parents.get("encoder")
            if made_with not in (None, load_encoder(str(encoder), pooling=task.pooling).fingerprint):
                raise Mismatch(f"{out} was scored with another encoder than {encoder}: delete it, and run again")
            return
        shared = fingerprint(str(data.frames._fingerprint), task.pooling)[:12]  # tasks of the same frames share it
        with self._timed(out.name):
            store = embed(
                data.frames, str(encoder), self.folder / _WORK / f"{shared}{suffix}", pooling=task.pooling,
                calibrate=False, device=self.device, progress=False,
            )  # fmt: skip
            if self._main:
                probe(
                    store, data.labelled.labels, out, train=data.parts.train, test=data.parts.test,
                    groups=data.labelled.groups, method=task.method, neighbours=task.neighbours, seed=self.cell.seed,
                )  # fmt: skip
        self.processes.wait_for_everyone()

    def _retrieve(self, data: RetrievalData, trained: Trained, out: Path) -> None:
        if self._main:
            with self._timed(out.name):
                retrieve(data, trained, out, frames=self.frames, device=self.device)
        self.processes.wait_for_everyone()

    def _facts(self, trained: PreTraining, selection: Selection | None) -> dict[str, object]:
        parents = {"pretraining": trained.manifest.fingerprint}
        if selection is not None:
            parents["selection"] = selection.fingerprint
            if selection.origin.embeddings is not None:
                parents["embeddings"] = selection.origin.embeddings
        seconds, summary = read_json(self.folder / _SECONDS), trained.summary
        return {
            "arm": self.cell.label, "retention": self.cell.retention, "seed": self.cell.seed,
            "samples": summary.samples, "frames": summary.frames, "loss": summary.loss, LOSS: self._held_out(),
            "seconds_selection": seconds.get("selection", 0.0), "seconds_pretraining": summary.seconds,
            "seconds_tasks": {name: seconds[name] for name in seconds if name != "selection"},
            "device": summary.device, "precision": summary.precision, "processes": summary.processes,
            "tasks": {name: data.identity for name, data in self.material.tasks.items()},
            MEASURED: (self.folder / MEASURES).is_file(), GROUND: self.ground, PARENTS: parents,
            FILES: of_scores(self.folder),
        }  # fmt: skip

    def _held_out(self) -> dict[str, float]:
        """Task of kind instance -> the objective's loss on its frames."""
        tasks = (name for name, data in self.material.tasks.items() if isinstance(data.task, InstanceTask))
        return {name: Manifest.read(self.folder / TASKS / name, "retrieval").details[LOSS] for name in tasks}

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        """Note the seconds of a step in the folder, for the day on which the cell is finished."""
        began = time.monotonic()
        yield
        if self._main:
            self.folder.mkdir(parents=True, exist_ok=True)
            noted = read_json(self.folder / _SECONDS)
            noted.setdefault(what, round(time.monotonic() - began, 3))
            write_facts(self.folder / _SECONDS, noted)

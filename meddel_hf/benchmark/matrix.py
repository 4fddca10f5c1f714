"""The matrix of a plan: the gate's cells first, then, where some task passed it, every arm; killed runs go on."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow.parquet as pq
from accelerate import PartialState
from filelock import FileLock, Timeout

from meddel_hf.benchmark import gate, labels
from meddel_hf.benchmark.cell import CellRun
from meddel_hf.benchmark.cells import (
    CELL,
    EXCLUDED,
    PLAN,
    POOL,
    TASKS,
    CellPlan,
    Shard,
    arm_cells,
    gate_cells,
    is_finished,
    read_json,
)  # fmt: skip
from meddel_hf.benchmark.data import Material
from meddel_hf.benchmark.estimate import left
from meddel_hf.benchmark.evidence import ground
from meddel_hf.benchmark.plan import Plan
from meddel_hf.benchmark.results import Verdict
from meddel_hf.data.pool import Pool
from meddel_hf.downstream.scores import Scores
from meddel_hf.embedding.embed import embed
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.pretraining.frame_cache import decode_once
from meddel_hf.runtime.files import MANIFEST, check_can_write, whole_file
from meddel_hf.runtime.manifest import Manifest, check_target, fingerprint
from meddel_hf.runtime.processes import agreed, decoding_workers, launched_processes
from meddel_hf.runtime.progress import Progress
from meddel_hf.runtime.resume import check_same

EMBEDDINGS, FRAMES, LOCKS = "embeddings", "frames", ".locks"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a call did and what it left.

    ran:      cells that this call finished. waiting: gate cells that other shards have yet to finish; while there are
              any, no selector is run. locked: cells that another process is running. verdicts: None until the gate is
              decided. labelled: tasks of kind labels that are finished, by this call or before.
    """

    ran: int
    waiting: tuple[CellPlan, ...]
    locked: tuple[CellPlan, ...]
    verdicts: dict[str, Verdict] | None
    labelled: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return self.verdicts is not None and any(verdict.passed for verdict in self.verdicts.values())


def run(
    plan: Plan,
    runs: str | Path,
    *,
    shard: Shard = Shard(),  # noqa: B008  # frozen
    gate_only: bool = False,
    frames: str | Path | None = None,
    device: str = "auto",
    say: Say | None = None,
    progress: bool = False,
) -> Outcome:
    """Run what is missing of a plan in the folder `runs`.

    shard:  only this part of the cells; other parts may be run elsewhere at the same time, in the same folder.
    frames: folder of decoded frames, shared by all cells; None: inside `runs`.
    say:    takes a line for each finished cell. progress: show how far each pre-training is, on stderr.

    A plan may grow between two calls (arms, retentions, seeds, tasks); finished cells stay. Raises Mismatch where it
    changed otherwise, and whatever a step raises, with the cell's name in front.
    """
    runs = Path(runs)
    matrix = _Matrix(plan, runs, shard, Path(frames or runs / FRAMES), device, say or (lambda line: None), progress)
    matrix.prepare()
    labelled = () if gate_only else matrix.choose_labels()
    if not plan.trained_tasks:
        return Outcome(0, (), (), {}, labelled)
    first = matrix.run(gate_cells(plan))
    waiting = tuple(cell for cell in gate_cells(plan) if not is_finished(cell, matrix.runs, plan))
    if agreed(len(waiting), matrix.processes):
        return Outcome(first.ran, waiting, first.locked, None, labelled)
    verdicts = matrix.decide()
    if gate_only or not plan.arms or not any(verdict.passed for verdict in verdicts.values()):
        return Outcome(first.ran, (), first.locked, verdicts, labelled)
    rest = matrix.run(arm_cells(plan))
    return Outcome(first.ran + rest.ran, (), (*first.locked, *rest.locked), verdicts, labelled)


@dataclass(frozen=True)
class _Done:
    ran: int
    locked: tuple[CellPlan, ...]


@dataclass(frozen=True, eq=False)
class _Matrix:
    plan: Plan
    runs: Path
    shard: Shard
    frames: Path
    device: str
    say: Say
    progress: bool

    @cached_property
    def processes(self) -> PartialState:
        return launched_processes(self.device)

    @cached_property
    def material(self) -> Material:
        return Material.of(self.plan)

    @cached_property
    def store(self) -> EmbeddingStore | None:
        """Embeddings of the pool, made by whoever comes first."""
        if not self.plan.arms:
            return None
        assert self.plan.embedding is not None
        with self._alone("embeddings"):
            store = embed(
                self.material.pool, self.plan.embedding.encoder, self.runs / EMBEDDINGS,
                pooling=self.plan.embedding.pooling, device=self.device, progress=self.progress,
            )  # fmt: skip
        return store

    @cached_property
    def decoded(self) -> Path:
        """Folder of the pool's decoded frames: once for all cells and shards."""
        assert self.plan.pretraining is not None  # asked for by cells alone
        pool, side = Pool.of(self.material.pool), self.plan.pretraining.image_size
        with self._alone("frames"):
            if self.processes.is_main_process:
                with Progress(shown=self.progress) as bar:
                    bar.begin("decoding", len(self.material.pool), "frames")
                    workers = decoding_workers("auto", self.processes)
                    decode_once(pool, self.frames, side, workers=workers, progress=bar)
        return self.frames

    def prepare(self) -> None:
        """Check the data and the folder before any work, and write down what is run on what."""
        _check_selectors(self.plan)
        wanted = self._manifest()
        if self._holds_something_else() or not self.runs.is_dir():
            check_target(self.runs, "benchmark")
        check_can_write(self.runs)
        if not self.processes.is_main_process:
            return  # the others wait in `run`, before they look at the cells
        self.runs.mkdir(parents=True, exist_ok=True)
        with FileLock(self.runs / LOCKS / "manifest.lock"):
            if (self.runs / MANIFEST).is_file():
                _check_comparable(Manifest.read(self.runs, "benchmark"), wanted, self.runs)
            for name, table in ((POOL, self.material.table()), (EXCLUDED, self.material.excluded)):
                with whole_file(self.runs / name) as aside:
                    pq.write_table(table, aside, compression="zstd")
            with whole_file(self.runs / PLAN) as aside:
                aside.write_text(self.plan.yaml(), encoding="utf-8")
            wanted.write(self.runs, [POOL, EXCLUDED, PLAN])

    def _holds_something_else(self) -> bool:
        """More than what stands there before the manifest does; another shard may be writing it just now."""
        names = [path.name for path in self.runs.iterdir()] if self.runs.is_dir() else []
        return any(name not in (PLAN, POOL, EXCLUDED) and not name.startswith(".") for name in names)

    def run(self, cells: Sequence[CellPlan]) -> _Done:
        """Run this shard's cells that are not finished and that no other process is running."""
        todo = [cell for cell in self.shard.part(list(cells)) if not is_finished(cell, self.runs, self.plan)]
        self.processes.wait_for_everyone()  # all have looked before one of them writes
        ran, locked = 0, []
        for cell in todo:
            with self._claimed(cell) as mine:
                if not mine:
                    locked.append(cell)
                    continue
                began = time.monotonic()
                store = self.store if cell.arm else None
                folder = cell.folder(self.runs)
                CellRun(
                    cell, folder, self.material, store, self.decoded, self.processes, self.device, self.progress,
                    ground(self._manifest()),
                ).run()  # fmt: skip
                ran += 1
                if self.processes.is_main_process:
                    rest = left(self.runs, len(todo) - ran - len(locked))
                    line = _line(cell, folder, self.plan)
                    self.say(f"[{ran}/{len(todo)}] {line}; {time.monotonic() - began:.0f} s{rest}")
        return _Done(ran, tuple(locked))

    def choose_labels(self) -> tuple[str, ...]:
        """Run what is missing of this shard's tasks of kind labels. Returns the names of all that are finished."""
        tasks = self.plan.label_tasks
        for task in tasks[self.shard.index - 1 :: self.shard.of]:
            with self._alone(f"labels-{task.name}"):
                labels.run(self.plan, task, self.runs, self.device, self.processes, self.say)
        return tuple(task.name for task in tasks if (labels.folder(self.runs, task.name) / MANIFEST).is_file())

    def decide(self) -> dict[str, Verdict]:
        verdicts = gate.verdicts(self.plan, self.runs)
        if self.processes.is_main_process:
            gate.record(self.plan, self.runs, verdicts, ground(self._manifest()))
        self.processes.wait_for_everyone()
        return verdicts

    @contextmanager
    def _claimed(self, cell: CellPlan) -> Iterator[bool]:
        """True for all processes of this launch, or False where another launch is at the cell."""
        lock = FileLock(self.runs / LOCKS / f"{cell.label}-{cell.place.percent}-{cell.seed}.lock", timeout=0)
        mine = True
        if self.processes.is_main_process:
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout:
                mine = False
        try:
            yield bool(agreed(int(mine), self.processes))
        finally:
            lock.release()

    @contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        """Hold what shards share while it is made; others wait."""
        lock = FileLock(self.runs / LOCKS / f"{what}.lock")
        if self.processes.is_main_process:
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            yield
            self.processes.wait_for_everyone()
        finally:
            lock.release()

    def _manifest(self) -> Manifest:
        tasks = {name: data.identity for name, data in self.material.tasks.items()}
        details = {
            "plan": self.plan.plain(), "tasks": tasks, "pool_frames": len(self.material.pool),
            "excluded": len(self.material.excluded), "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        }  # fmt: skip
        arguments = {"pretraining": self.plan.plain()["pretraining"], "embedding": self.plan.plain()["embedding"]}
        made = fingerprint(self.material.fingerprint, repr(arguments), repr(sorted(tasks.items())))
        return Manifest("benchmark", made, arguments, {"pool": self.material.fingerprint}, details)


def _check_selectors(plan: Plan) -> None:
    """Every arm can be made: a wrong option is found before the first hour of training."""
    from meddel_hf.selectors.registry import make

    for arm in plan.arms:
        for retention in (share for share in plan.retentions if share < 1):
            make(arm.selector, retention=retention, seed=plan.seeds[0], **arm.options)


def _check_comparable(before: Manifest, now: Manifest, runs: Path) -> None:
    """Raises Mismatch where finished cells would no longer be comparable with new ones."""
    arms = [{arm["label"]: arm for arm in manifest.details["plan"]["arms"]} for manifest in (before, now)]
    pairs = [("pool", before.parents["pool"], now.parents["pool"])]
    pairs += [(name, before.arguments[name], now.arguments[name]) for name in ("pretraining", "embedding")]
    pairs += [(f"arm {label}", arms[0][label], arms[1][label]) for label in arms[0] if label in arms[1]]
    tasks = [manifest.details["tasks"] for manifest in (before, now)]
    pairs += [(f"task {name}", tasks[0][name], tasks[1][name]) for name in tasks[0] if name in tasks[1]]
    known = [(name, old, new) for name, old, new in pairs if old is not None]
    check_same(
        runs,
        {name: old for name, old, _ in known},
        {name: new for name, _, new in known},
        "was run with",
        "cells of both cannot be compared; choose another folder",
    )


def _line(cell: CellPlan, folder: Path, plan: Plan) -> str:
    facts = read_json(folder / CELL)
    scores = ", ".join(
        f"{task.name} {Scores.load(folder / TASKS / task.name).value():.4f}" for task in plan.trained_tasks
    )
    trained = f"{facts['frames']:,} frames, " if cell.retention else ""
    return f"{cell.place.words}: {trained}{scores}"

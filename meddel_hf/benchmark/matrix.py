"""The matrix of a plan: the gates' cells first, then, where some task passed them, every arm; killed runs go on."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from accelerate import PartialState
from filelock import FileLock, Timeout

from meddel_hf.benchmark import duplicates, gate, labels
from meddel_hf.benchmark.arms import check_arms
from meddel_hf.benchmark.cell import CellRun
from meddel_hf.benchmark.cells import (
    CELL,
    EXCLUDED,
    LOCKS,
    PLAN,
    POOL,
    TASKS,
    CellPlan,
    Divergence,
    arm_cells,
    distinct_cells,
    diverged,
    gate_cells,
    is_pretrained,
    is_settled,
    random_cells,
    read_json,
)  # fmt: skip
from meddel_hf.benchmark.data import Material
from meddel_hf.benchmark.estimate import left
from meddel_hf.benchmark.evidence import ground
from meddel_hf.benchmark.measures import Measuring
from meddel_hf.benchmark.place import LADDER, series
from meddel_hf.benchmark.plan import HEADROOM, InstanceTask, Plan, Trained
from meddel_hf.benchmark.rungs import ladder_cells
from meddel_hf.benchmark.verdicts import Redundancy, Verdict
from meddel_hf.data.near_copies import copies_of
from meddel_hf.data.pool import Pool
from meddel_hf.downstream.scores import Scores
from meddel_hf.embedding.embed import embed
from meddel_hf.embedding.encoder import load_encoder
from meddel_hf.embedding.loading import check_at_hand
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import Diverged, InvalidArgument, met_in
from meddel_hf.pretraining.budgets import worth_naming
from meddel_hf.pretraining.frame_cache import decode_once
from meddel_hf.pretraining.recipe import complete
from meddel_hf.runtime.files import MANIFEST, check_can_write, whole_file
from meddel_hf.runtime.manifest import Manifest, check_target, fingerprint
from meddel_hf.runtime.processes import agreed, decoding_workers, launched_processes
from meddel_hf.runtime.progress import Progress
from meddel_hf.runtime.resume import check_same
from meddel_hf.runtime.shard import Shard
from meddel_hf.runtime.words import plural

EMBEDDINGS, FRAMES = "embeddings", "frames"
Say = Callable[[str], None]
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a call did and what it left.

    ran:      cells that this call finished. waiting: cells that other shards have yet to finish: of the gates, before
              which no selector is run, or of the ladder. locked: cells that another process is running. verdicts: None
              until the gates are decided. redundancy: of the pool; None where it was not asked. diverged: cells of this
              plan that did, now or before. labelled: tasks of kind labels that are finished, by this call or before.
    """

    ran: int
    waiting: tuple[CellPlan, ...]
    locked: tuple[CellPlan, ...]
    verdicts: dict[str, Verdict] | None
    labelled: tuple[str, ...] = ()
    redundancy: Redundancy | None = None
    diverged: tuple[Divergence, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether there is a task on which selectors can be ranked."""
        return self.verdicts is not None and any(verdict.can_rank for verdict in self.verdicts.values())


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
    where: str = "plan",
) -> Outcome:
    """Run what is missing of a plan in the folder `runs`.

    shard:  only this part of the cells; other parts may be run elsewhere at the same time, in the same folder.
    frames: folder of decoded frames, shared by all cells; None: inside `runs`.
    say:    takes a line for each finished cell. progress: show how far each pre-training is, on stderr.
    where:  the plan is from, such as its file; errors in what it names begin with the place in it.

    A plan may grow between two calls (arms, retentions, seeds, tasks); finished cells stay. A cell that diverges is
    written down, and the others run; where several processes were launched, Diverged is raised, since they cannot part
    in the middle of a step, and the next call goes on with the others. Raises Mismatch where the plan changed
    otherwise, and whatever else a step raises, with the cell's name in front.
    """
    matrix = _Matrix.of(plan, runs, shard, frames, device, say, progress, where)
    matrix.prepare()
    labelled = () if gate_only else matrix.choose_labels()
    if not plan.trained_tasks:
        return Outcome(0, (), (), {}, labelled)
    cells, done = gate_cells(plan), _Done()
    done += matrix.run(cells)
    redundancy = None
    if not matrix.waiting(cells) and matrix.asks_headroom():
        redundancy = matrix.redundancy
        beyond = [*random_cells(plan), *distinct_cells(plan, redundancy.worth_removing)]
        done += matrix.run(beyond)
        cells += beyond
    if waiting := matrix.waiting(cells):
        return Outcome(done.ran, waiting, done.locked, None, labelled, redundancy, matrix.diverged(cells))
    verdicts = matrix.decide(redundancy)
    if any(verdict.can_rank for verdict in verdicts.values()) and not gate_only:
        done += matrix.run(arm_cells(plan))
        cells += [cell for cell in arm_cells(plan) if cell not in cells]
    return Outcome(done.ran, (), done.locked, verdicts, labelled, redundancy, matrix.diverged(cells))


def check(plan: Plan, runs: str | Path, where: str = "plan") -> Material:
    """Raise what `run` would raise before any work, and write nothing. Returns what it works on."""
    matrix = _Matrix.of(plan, runs, Shard(), None, "auto", None, False, where)
    matrix.check()
    return matrix.material


def run_ladder(
    plan: Plan,
    runs: str | Path,
    *,
    shard: Shard = Shard(),  # noqa: B008  # frozen
    frames: str | Path | None = None,
    device: str = "auto",
    say: Say | None = None,
    progress: bool = False,
    where: str = "plan",
) -> Outcome:
    """Run what is missing of a plan's ladder: random subsets of growing size, the full pool and no pre-training.

    In the folder of the plan's runs, with its seeds; no gate is asked, and no embedding is needed. Arguments, errors
    and what diverges as in `run`. Raises InvalidArgument where the plan pre-trains nothing.
    """
    if not plan.trained_tasks:
        raise InvalidArgument(
            "the plan pre-trains nothing: a ladder needs a pool, pretraining and a task that tests it"
        )
    matrix = _Matrix.of(plan, runs, shard, frames, device, say, progress, where)
    matrix.prepare()
    cells = ladder_cells(plan, len(matrix.material.pool))
    done = matrix.run(cells)
    return Outcome(done.ran, matrix.waiting(cells), done.locked, None, diverged=matrix.diverged(cells))


@dataclass(frozen=True)
class _Done:
    ran: int = 0
    locked: tuple[CellPlan, ...] = ()

    def __add__(self, other: _Done) -> _Done:
        return _Done(self.ran + other.ran, (*self.locked, *other.locked))


@dataclass(frozen=True, eq=False)
class _Matrix:
    plan: Plan
    runs: Path
    shard: Shard
    frames: Path
    device: str
    say: Say
    progress: bool
    where: str

    @classmethod
    def of(
        cls,
        plan: Plan,
        runs: str | Path,
        shard: Shard,
        frames: str | Path | None,
        device: str,
        say: Say | None,
        progress: bool,
        where: str,
    ) -> _Matrix:
        runs = Path(runs)
        return cls(
            plan, runs, shard, Path(frames or runs / FRAMES), device, say or (lambda line: None), progress, where
        )

    @cached_property
    def processes(self) -> PartialState:
        return launched_processes(self.device)

    @cached_property
    def material(self) -> Material:
        return Material.of(self.plan, self.where)

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
    def measuring(self) -> Measuring:
        assert self.store is not None  # asked of cells that select from it
        return Measuring(self.store, self.material.pool)

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

    @cached_property
    def redundancy(self) -> Redundancy:
        """How many near-duplicates the pool holds, looked for by whoever comes first."""
        assert self.store is not None  # asked where there are arms
        with self._alone("redundancy"):
            if self.processes.is_main_process:
                duplicates.find(self.store, self.runs)
        return duplicates.read(self.runs)

    def check(self) -> Manifest:
        """Look at selectors, data, encoder and what was run before. Returns the manifest of what is asked."""
        check_arms(self.plan, self.where)
        embedded = (self.runs / EMBEDDINGS / MANIFEST).is_file()
        if self.plan.embedding is not None and not embedded:
            with met_in(f"{self.where}: embedding: encoder"):
                check_at_hand(self.plan.embedding.encoder, None)
        _check_retentions(self.plan, len(self.material.pool), self.where)
        for task in self.plan.label_tasks:
            labels.check(task, f"{self.where}: {self.plan.place_of(task)}")
        for share in filter(None, self.plan.redundancy):
            with met_in(f"{self.where}: redundancy"):
                copies_of(len(self.material.pool), share)
        wanted = self._manifest()
        if (self.runs / MANIFEST).is_file():
            _check_comparable(Manifest.read(self.runs, "benchmark"), wanted, self.runs)
        if self.plan.embedding is not None and not embedded:
            with met_in(f"{self.where}: embedding"):
                load_encoder(self.plan.embedding.encoder, pooling=self.plan.embedding.pooling)
        return wanted

    def prepare(self) -> None:
        """Check the data and the folder before any work, and write down what is run on what."""
        wanted = self.check()
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
        """Run this shard's cells that are not settled and that no other process is running.

        So processes that are given no shards share the cells too: each takes the next that is free.
        """
        todo = [cell for cell in self.shard.part(list(cells)) if not is_settled(cell, self.runs, self.plan)]
        self.processes.wait_for_everyone()  # all have looked before one of them writes
        ran, bad, locked = 0, 0, []
        for cell in todo:
            with self._claimed(cell) as mine:
                if not mine:
                    locked.append(cell)
                    continue
                if agreed(int(is_settled(cell, self.runs, self.plan)), self.processes):
                    continue  # by another process, since this one looked
                began = time.monotonic()
                line = self._run_cell(cell)
                ran, bad = (ran + 1, bad) if line else (ran, bad + 1)
                if line and self.processes.is_main_process:
                    rest = left(self.runs, len(todo) - ran - bad - len(locked))
                    self.say(f"[{ran + bad}/{len(todo)}] {line}; {time.monotonic() - began:.0f} s{rest}")
        return _Done(ran, tuple(locked))

    def _run_cell(self, cell: CellPlan) -> str:
        """What to say of it; nothing where it diverged, which is said here."""
        store = self.store if cell.arm and cell.label != LADDER else None
        folder = cell.folder(self.runs)
        frames = self.frames if is_pretrained(cell, self.runs) else self.decoded
        try:
            CellRun(
                cell, folder, self.material, store, frames, self.processes, self.device, self.progress,
                ground(self._manifest()), None if store is None else self.measuring,
            ).run()  # fmt: skip
        except Diverged as error:
            if self.processes.num_processes > 1:
                raise  # the others may be waiting inside the step: the next call goes on with the other cells
            self.say(f"diverged, and is left out: {error}")
            return ""
        return _line(cell, folder, self.plan) if self.processes.is_main_process else cell.place.words

    def waiting(self, cells: Sequence[CellPlan]) -> tuple[CellPlan, ...]:
        """Cells that other shards have yet to finish; none for any process where the main one sees none."""
        waiting = tuple(cell for cell in cells if not is_settled(cell, self.runs, self.plan))
        return (waiting or tuple(cells)) if agreed(len(waiting), self.processes) else ()

    def diverged(self, cells: Sequence[CellPlan]) -> tuple[Divergence, ...]:
        return tuple(diverged(list(cells), self.runs))

    def asks_headroom(self) -> bool:
        """Whether the second gate is asked: the plan does, and the first lets some task through."""
        learned = gate.GateRuns(self.plan, self.runs).verdicts()
        asks = HEADROOM in self.plan.asked_gates and any(verdict.learns for verdict in learned.values())
        return bool(agreed(int(asks), self.processes))

    def choose_labels(self) -> tuple[str, ...]:
        """Run what is missing of this shard's tasks of kind labels. Returns the names of all that are finished."""
        tasks = self.plan.label_tasks
        for task in tasks[self.shard.index - 1 :: self.shard.of]:
            with self._alone(f"labels-{task.name}"):
                labels.run(self.plan, task, self.runs, self.device, self.processes, self.say, self.where)
        return tuple(task.name for task in tasks if (labels.folder(self.runs, task.name) / MANIFEST).is_file())

    def decide(self, redundancy: Redundancy | None) -> dict[str, Verdict]:
        gates = gate.GateRuns(self.plan, self.runs, redundancy)
        verdicts = gates.verdicts()
        if self.processes.is_main_process:
            gates.record(verdicts, ground(self._manifest()))
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


def _check_retentions(plan: Plan, frames: int, where: str) -> None:
    """Every arm keeps a frame of so many."""
    if plan.trained_tasks and plan.arms and plan.smallest is not None and not round(plan.smallest * frames):
        raise InvalidArgument(
            f"{where}: retentions: retention {plan.smallest:g} of a pool of {plural(frames, 'frame')} is no frame at "
            f"all: ask for at least {1 / frames:.2g}"
        )


def _check_comparable(before: Manifest, now: Manifest, runs: Path) -> None:
    """Raises Mismatch where finished cells would no longer be comparable with new ones."""
    arms = [{arm["label"]: arm for arm in manifest.details["plan"]["arms"]} for manifest in (before, now)]
    pairs: list[tuple[str, Any, Any]] = [("pool", before.parents["pool"], now.parents["pool"])]
    pairs += [("pretraining", *_recipes(before.arguments["pretraining"], now.arguments["pretraining"]))]
    pairs += [("embedding", before.arguments["embedding"], now.arguments["embedding"])]
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


def _recipes(before: Facts | None, now: Facts | None) -> tuple[Facts | None, Facts | None]:
    """Of two records the fields in which they differ, without those that only follow from another one."""
    if before is None or now is None:
        return before, now
    names = worth_naming(before, now)
    old, new = ({name: complete(one).get(name) for name in names} for one in (before, now))
    return old, new


def _line(cell: CellPlan, folder: Path, plan: Plan) -> str:
    facts = read_json(folder / CELL)
    scores = ", ".join(_scores_of(task, Scores.load(folder / TASKS / task.name)) for task in plan.trained_tasks)
    trained = f"{plural(facts['frames'], 'frame')}, " if cell.retention else ""
    return f"{cell.place.words}: {trained}{scores}"


def _scores_of(task: Trained, scores: Scores) -> str:
    """Of kind instance each series by itself."""
    if isinstance(task, InstanceTask) and len(scores.sets) > 1:
        return ", ".join(f"{series(task.name, one)} {scores.of(one).value():.4f}" for one in scores.sets)
    return f"{task.name} {scores.value():.4f}"

"""What a plan works on: the pool without what is tested, and for each task the frames that train and are tested."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, concatenate_datasets

from meddel_hf import schema
from meddel_hf.benchmark.left_out import LISTED, SAME_FRAME, SAME_GROUP, TESTED
from meddel_hf.benchmark.plan import Plan, PoolPart, ProbeTask, SegmentationTask, Trained
from meddel_hf.benchmark.task_data import TaskData, ids_in, opened, renamed, task_data
from meddel_hf.data.columns import texts_of
from meddel_hf.data.groups import groups_of, names_groups
from meddel_hf.data.ids import as_there, folders_among, is_a_folder, leaves_nothing_out
from meddel_hf.data.leaks import leaks
from meddel_hf.data.pool import Pool, name_of
from meddel_hf.data.spec import parse_spec
from meddel_hf.errors import InvalidArgument, InvalidDataset, met_in
from meddel_hf.runtime.manifest import fingerprint
from meddel_hf.runtime.reading import read_lines, shown

log = logging.getLogger(__name__)

_TEXTS = (schema.SOURCE, schema.CENTER, schema.LABEL, schema.GROUP)
_COLUMNS = [schema.ID, schema.IMAGE, *_TEXTS]
_NOTHING = Dataset.from_dict({name: [] for name in _COLUMNS})  # pool of a plan that pre-trains nothing


@dataclass(frozen=True, eq=False)
class Material:
    """pool: id, image (undecoded), source, center, label, group. excluded: columns id and why, of what was left out."""

    plan: Plan
    pool: Dataset
    excluded: pa.Table
    tasks: Mapping[str, TaskData]

    @classmethod
    def of(cls, plan: Plan, where: str = "plan") -> Material:
        """Open everything that the plan names. Raises InvalidDataset or InvalidArgument where something is missing.

        where: the plan is from, such as its file; errors begin with it and the place in it.
        """
        tasks = {task.name: task_data(task, f"{where}: {plan.place_of(task)}") for task in plan.trained_tasks}
        with met_in(where):
            return cls._of(plan, tasks)

    @classmethod
    def _of(cls, plan: Plan, tasks: Mapping[str, TaskData]) -> Material:
        """With the pool, and what is left out of it for the tasks."""
        parts = [_part(part, place) for place, part in enumerate(plan.pool)]
        whole = concatenate_datasets(parts) if parts else _NOTHING
        with met_in("pool"):
            ids = (Pool.of(whole).ids or []) if parts else []  # raises where one is repeated
        why = _excluded(plan, set(ids), tasks)
        left = [row for row, id in enumerate(ids) if id not in why]
        if parts and not left:
            raise InvalidDataset(f"no frame of the pool is left: all {len(ids):,} are tested downstream, or excluded")
        digest = fingerprint("pool", *(str(part._fingerprint) for part in parts), *sorted(why))
        gone = pa.table({schema.ID: [id for id in ids if id in why], "why": [why[id] for id in ids if id in why]})
        return cls(plan, renamed(whole.select(left), digest), gone, tasks)

    @cached_property
    def fingerprint(self) -> str:
        return str(self.pool._fingerprint)

    def table(self) -> pa.Table:
        """What was selected from, without the images."""
        return self.pool.with_format("arrow").select_columns([schema.ID, *_TEXTS])[:]


def _part(part: PoolPart, place: int) -> Dataset:
    with met_in(f"pool[{place}]"):
        return _rows(part)


def _rows(part: PoolPart) -> Dataset:
    dataset = opened(part.pool)
    if schema.ID not in dataset.column_names:
        raise InvalidDataset(f"{part.pool} has no column {schema.ID!r}, by which frames are told apart")
    digest = fingerprint(str(dataset._fingerprint), str(part))
    if part.match is not None:
        rows = [row for row, id in enumerate(ids_in(dataset)) if fnmatchcase(id, part.match)]
        if not rows:
            like = shown(ids_in(dataset)[0])
            raise InvalidDataset(f"match: no id of {part.pool} matches {part.match!r}: ids look like {like}")
        dataset = dataset.select(rows)
    n = len(dataset)
    source = part.source or name_of(part.pool)
    columns = dataset.with_format(None).select_columns([name for name in _TEXTS if name in dataset.column_names])
    told: dict[str, list[Any]] = columns[:] if columns.column_names else {}
    frames = Pool.of(dataset).frames
    assert isinstance(frames, Dataset)
    texts = {name: [_text(value) for value in told.get(name, [None] * n)] for name in _TEXTS}
    texts[schema.SOURCE] = [value or source for value in texts[schema.SOURCE]]
    texts[schema.GROUP] = groups_of(dataset)
    for name, values in {schema.ID: ids_in(dataset), **texts}.items():
        frames = frames.add_column(name, pa.array(values, pa.string()))
    return renamed(frames.select_columns(_COLUMNS), digest)


def _excluded(plan: Plan, pool: set[str], tasks: Mapping[str, TaskData]) -> dict[str, str]:
    """id of the pool -> why it is left out."""
    why: dict[str, str] = {}
    tested: dict[str, str] = {}
    for name, data in tasks.items():
        tested.update(dict.fromkeys(data.tested, name))
    for id in sorted(pool & set(tested)):
        why[id] = f"{TESTED} {tested[id]}"
    for id, other in _leaks(plan):
        if id in pool and other in tested:
            why.setdefault(id, f"{SAME_FRAME} {other}, tested in {tested[other]}")
    groups = _groups(plan)
    of_tested = {groups[id]: id for id in sorted(tested) if id in groups}
    for id in sorted(pool):
        kin = of_tested.get(groups[id]) if id in groups else None
        if kin is not None:
            group = groups[id][1]
            why.setdefault(id, f"{SAME_GROUP} ({group}) as {kin}, tested in {tested[kin]}")
    for place, file in enumerate(plan.exclude):
        path = Path(file)
        with met_in(f"exclude[{place}]"):
            if not path.is_file():
                raise InvalidArgument(f"{file} is not there: expected a file of ids, one a line")
            listed = as_there(read_lines(path, "a list of ids"), pool)
        if pool and listed and pool.isdisjoint(listed):
            log.warning("warning: exclude: %s %s", file, leaves_nothing_out(len(listed), listed[0], min(pool)))
        for name, below in folders_among(set(listed) - pool, pool).items():
            log.warning("note: exclude: %s: %s, which stay: list their ids", file, is_a_folder(name, below))
        for id in pool.intersection(listed):
            why.setdefault(id, f"{LISTED} {path.name}")
    return why


def _groups(plan: Plan) -> dict[str, tuple[str, str]]:
    """id -> (source, group) of all data sets that the plan names, those of the pool and those of tasks."""
    places = [(part.pool, part.source) for part in plan.pool]
    places += [(spec, None) for task in plan.trained_tasks for spec in _specs(task)]
    groups: dict[str, tuple[str, str]] = {}
    for spec, called in dict.fromkeys(places):
        dataset = opened(spec)
        if not names_groups(dataset):
            continue
        rows = zip(ids_in(dataset), texts_of(dataset, schema.SOURCE), groups_of(dataset), strict=True)
        for id, source, group in rows:
            if group is not None:
                groups.setdefault(id, (source or called or name_of(spec), group))
    return groups


def _leaks(plan: Plan) -> Iterator[tuple[str, str]]:
    """(id, id of the same frame in another source) from all folders that the plan names."""
    specs = [part.pool for part in plan.pool]
    for task in plan.trained_tasks:
        specs += _specs(task)
    for folder in dict.fromkeys(parse_spec(spec)[0] for spec in specs):
        yield from leaks(folder)


def _specs(task: Trained) -> list[str]:
    """Data sets that a task names."""
    if isinstance(task, ProbeTask):
        return [task.labels]
    return [task.train, *task.test.values()] if isinstance(task, SegmentationTask) else [task.frames]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)

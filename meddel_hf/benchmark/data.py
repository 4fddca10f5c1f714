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
from datasets import Dataset, DatasetInfo, concatenate_datasets

from meddel_hf import schema
from meddel_hf.benchmark.left_out import LISTED, SAME_FRAME, SAME_GROUP, TESTED
from meddel_hf.benchmark.plan import (
    InstanceTask,
    Plan,
    PoolPart,
    ProbeTask,
    SceneTask,
    SegmentationTask,
    Trained,
)
from meddel_hf.data.columns import texts_of
from meddel_hf.data.groups import groups_of, names_groups
from meddel_hf.data.ids import as_there, folders_among, ids_of, is_a_folder, leaves_nothing_out
from meddel_hf.data.leaks import leaks
from meddel_hf.data.pool import Pool, load_pool, name_of
from meddel_hf.data.spec import parse_spec
from meddel_hf.downstream.probing.classifiers import check_neighbours
from meddel_hf.downstream.probing.labels import Labelled, Parts, check_parts, check_tested, check_trained
from meddel_hf.downstream.retrieval import check_scenes
from meddel_hf.downstream.segmentation.masked_frames import LabelledFrames, with_masks
from meddel_hf.downstream.splits import OFFICIAL, split
from meddel_hf.errors import InvalidArgument, InvalidDataset, MedDELError, named
from meddel_hf.runtime.manifest import fingerprint
from meddel_hf.runtime.reading import read_lines
from meddel_hf.runtime.similar import did_you_mean

log = logging.getLogger(__name__)

_TEXTS = (schema.SOURCE, schema.CENTER, schema.LABEL, schema.GROUP)
_COLUMNS = [schema.ID, schema.IMAGE, *_TEXTS]
_NOTHING = Dataset.from_dict({name: [] for name in _COLUMNS})  # pool of a plan that pre-trains nothing


@dataclass(frozen=True, eq=False)
class SegmentationData:
    """Frames with masks: a training set, and test sets by name."""

    task: SegmentationTask
    train: Dataset
    tests: Mapping[str, Dataset]

    @property
    def tested(self) -> set[str]:
        return {id for dataset in self.tests.values() for id in _ids(dataset)}

    @cached_property
    def identity(self) -> str:
        parts = [f"{name} {dataset._fingerprint}" for name, dataset in self.tests.items()]
        return fingerprint(repr(self.task), str(self.train._fingerprint), *parts)


@dataclass(frozen=True, eq=False)
class ProbeData:
    """Labelled frames: those that train or are tested, and which of them do what."""

    task: ProbeTask
    frames: Dataset
    labelled: Labelled
    parts: Parts

    @property
    def tested(self) -> set[str]:
        return {id for ids in self.parts.test.values() for id in ids}

    @cached_property
    def identity(self) -> str:
        said = [repr(self.task), str(self.frames._fingerprint), repr(sorted(self.labelled.labels.items()))]
        parts = [self.parts.train, *(self.parts.test[name] for name in sorted(self.parts.test))]
        return fingerprint(*said, *(" ".join(sorted(ids)) for ids in parts))


@dataclass(frozen=True, eq=False)
class RetrievalData:
    """Frames that are not pre-trained on, to be found among one another. groups: id -> video, patient or sequence."""

    task: InstanceTask | SceneTask
    frames: Dataset
    groups: Mapping[str, str]

    @property
    def tested(self) -> set[str]:
        return set(_ids(self.frames))

    @cached_property
    def identity(self) -> str:
        return fingerprint(repr(self.task), str(self.frames._fingerprint), repr(sorted(self.groups.items())))


TaskData = SegmentationData | ProbeData | RetrievalData


@dataclass(frozen=True, eq=False)
class Material:
    """pool: id, image (undecoded), source, center, label, group. excluded: columns id and why, of what was left out."""

    plan: Plan
    pool: Dataset
    excluded: pa.Table
    tasks: Mapping[str, TaskData]

    @classmethod
    def of(cls, plan: Plan) -> Material:
        """Open everything that the plan names. Raises InvalidDataset or InvalidArgument where something is missing."""
        tasks = {task.name: _checked(task) for task in plan.trained_tasks}
        parts = [_part(part, place) for place, part in enumerate(plan.pool)]
        whole = concatenate_datasets(parts) if parts else _NOTHING
        ids = (Pool.of(whole).ids or []) if parts else []  # raises where one is repeated
        why = _excluded(plan, set(ids), tasks)
        left = [row for row, id in enumerate(ids) if id not in why]
        if parts and not left:
            raise InvalidDataset(f"no frame of the pool is left: all {len(ids):,} are tested downstream, or excluded")
        digest = fingerprint("pool", *(str(part._fingerprint) for part in parts), *sorted(why))
        gone = pa.table({schema.ID: [id for id in ids if id in why], "why": [why[id] for id in ids if id in why]})
        return cls(plan, _named(whole.select(left), digest), gone, tasks)

    @cached_property
    def fingerprint(self) -> str:
        return str(self.pool._fingerprint)

    def table(self) -> pa.Table:
        """What was selected from, without the images."""
        return self.pool.with_format("arrow").select_columns([schema.ID, *_TEXTS])[:]


def _part(part: PoolPart, place: int) -> Dataset:
    dataset = opened(part.pool)
    if schema.ID not in dataset.column_names:
        raise InvalidDataset(f"pool[{place}], {part.pool}, has no column {schema.ID!r}, by which frames are told apart")
    digest = fingerprint(str(dataset._fingerprint), str(part))
    if part.match is not None:
        rows = [row for row, id in enumerate(_ids(dataset)) if fnmatchcase(id, part.match)]
        if not rows:
            raise InvalidDataset(f"pool[{place}]: no id of {part.pool} matches {part.match!r}")
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
    for name, values in {schema.ID: _ids(dataset), **texts}.items():
        frames = frames.add_column(name, pa.array(values, pa.string()))
    return _named(frames.select_columns(_COLUMNS), digest)


def _checked(task: Trained) -> TaskData:
    """What a task trains and tests on. Errors of what it would refuse after the first pre-training say whose it is."""
    data = _task(task)
    try:
        if isinstance(data, SegmentationData):
            for name, frames in {f"{task.name}, training": data.train, **data.tests}.items():
                LabelledFrames.of(frames, name, data.task.recipe.num_labels)
        elif isinstance(data, ProbeData):
            labels, train = data.labelled.labels, set(data.parts.train)
            check_parts(train, {name: set(ids) for name, ids in data.parts.test.items()}, labels, data.labelled.groups)
            classes = sorted({labels[id] for id in train})
            check_trained(classes)
            if data.task.method == "knn":
                check_neighbours(data.task.neighbours, len(train))
            for name, ids in data.parts.test.items():
                check_tested(name, [labels[id] for id in ids], classes)
    except MedDELError as error:
        raise named(task.name, error) from error
    return data


def _task(task: Trained) -> TaskData:
    if isinstance(task, ProbeTask):
        return _probe(task)
    if not isinstance(task, SegmentationTask):
        return _retrieval(task)
    train, tests = _masked(task, task.train), {}
    if task.test_share:
        digest = fingerprint(str(train._fingerprint), repr((task.split, task.test_share)))
        train, tests[task.name] = split(train, test_share=task.test_share, official=OFFICIAL[task.split]).of(train)
        train = _named(train, fingerprint(digest, "train"))
        tests[task.name] = _named(tests[task.name], fingerprint(digest, "test"))
    tests.update({name: _masked(task, spec) for name, spec in task.test.items()})
    return SegmentationData(task, train, tests)


def _probe(task: ProbeTask) -> ProbeData:
    dataset = opened(task.labels)
    labelled = Labelled.of(dataset, task.target)
    if task.test_match is not None:
        parts = labelled.matched(task.train_match, {task.name: task.test_match})
    else:
        halves = labelled.split(official=OFFICIAL[task.split])
        parts = Parts(halves.train, {task.name: halves.test["test"]}, halves.left_out, halves.by)
    wanted = {*parts.train, *parts.test[task.name]}
    rows = [row for row, id in enumerate(_ids(dataset)) if id in wanted]
    digest = fingerprint(str(dataset._fingerprint), *sorted(wanted))
    frames = dataset.select(rows).select_columns([schema.ID, schema.IMAGE])
    return ProbeData(task, _named(frames, digest), labelled, parts)


def _retrieval(task: InstanceTask | SceneTask) -> RetrievalData:
    dataset = opened(task.frames)
    column = task.group if isinstance(task, SceneTask) else None
    if column is not None and column not in dataset.column_names:
        meant = did_you_mean(column, dataset.column_names)
        raise InvalidDataset(
            f"{task.name}: {task.frames} has no column {column!r}, which names the video, sequence or patient of each "
            f"frame; it has {', '.join(dataset.column_names)}: name one of them as group{meant}"
        )
    ids, digest = _ids(dataset), fingerprint(str(dataset._fingerprint), str(task.match))
    rows = [row for row, id in enumerate(ids) if task.match is None or fnmatchcase(id, task.match)]
    if not rows:
        raise InvalidDataset(f"{task.name}: no id of {task.frames} matches {task.match!r}")
    named = groups_of(dataset) if column is None else texts_of(dataset, column)
    groups = {ids[row]: value for row in rows if (value := named[row]) is not None}
    if column is not None:
        check_scenes(list(groups.values()), task.name, column)
    elif len(rows) < 2:
        raise InvalidDataset(
            f"{task.name}: {task.frames} has one frame to be found among others: expected two at least"
        )
    frames = dataset.select(rows).select_columns([schema.ID, schema.IMAGE])
    return RetrievalData(task, _named(frames, digest), groups)


def _masked(task: SegmentationTask, spec: str) -> Dataset:
    dataset = opened(spec)
    if not task.masked_only:
        return dataset
    return _named(with_masks(dataset), fingerprint(str(dataset._fingerprint), "masked only"))


def opened(spec: str) -> Dataset:
    """A data set whose fingerprint goes by what it holds, as `load_pool` gives it."""
    dataset = load_pool(spec)
    assert isinstance(dataset, Dataset)  # load_pool does not stream unless told to
    return dataset


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
    for file in plan.exclude:
        path = Path(file)
        if not path.is_file():
            raise InvalidArgument(f"exclude names {file}, which is not there: expected a file of ids, one a line")
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
        rows = zip(_ids(dataset), texts_of(dataset, schema.SOURCE), groups_of(dataset), strict=True)
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


def _ids(dataset: Dataset) -> list[str]:
    if schema.ID not in dataset.column_names:
        raise InvalidDataset(f"a data set has no column {schema.ID!r}; it has {', '.join(dataset.column_names)}")
    return ids_of(dataset)


def _named(dataset: Dataset, fingerprint: str) -> Dataset:
    info = DatasetInfo(features=dataset.features)
    return Dataset(dataset.data, info, dataset.split, dataset._indices, fingerprint)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)

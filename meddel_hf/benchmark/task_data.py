"""What the tasks of a plan are tested on: for each the frames that train and those that are tested.

Errors begin with the place in the plan: the file, the task, and the key that names what was opened or read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from datasets import Dataset, DatasetInfo

from meddel_hf import schema
from meddel_hf.benchmark.plan import InstanceTask, ProbeTask, SceneTask, SegmentationTask, Trained
from meddel_hf.data.columns import texts_of
from meddel_hf.data.groups import groups_of
from meddel_hf.data.ids import ids_of
from meddel_hf.data.pool import load_pool
from meddel_hf.downstream.probing.classifiers import check_neighbours
from meddel_hf.downstream.probing.labels import Labelled, Parts, check_parts, check_tested, check_trained
from meddel_hf.downstream.retrieval import check_scenes
from meddel_hf.downstream.segmentation.masked_frames import LabelledFrames, with_masks
from meddel_hf.downstream.splits import OFFICIAL, split
from meddel_hf.errors import InvalidDataset, met_in
from meddel_hf.runtime.manifest import fingerprint
from meddel_hf.runtime.reading import shown
from meddel_hf.runtime.similar import did_you_mean


@dataclass(frozen=True, eq=False)
class SegmentationData:
    """Frames with masks: a training set, and test sets by name."""

    task: SegmentationTask
    train: Dataset
    tests: Mapping[str, Dataset]

    @property
    def tested(self) -> set[str]:
        return {id for dataset in self.tests.values() for id in ids_in(dataset)}

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
        return set(ids_in(self.frames))

    @cached_property
    def identity(self) -> str:
        return fingerprint(repr(self.task), str(self.frames._fingerprint), repr(sorted(self.groups.items())))


TaskData = SegmentationData | ProbeData | RetrievalData


def task_data(task: Trained, place: str) -> TaskData:
    """Open what a task names, and check what would be refused after the first pre-training.

    place: of the task in the plan, with which errors begin. Raises what `load_pool` raises, InvalidDataset and
    InvalidArgument.
    """
    with met_in(place):
        if isinstance(task, ProbeTask):
            return _probe(task)
        return _segmentation(task) if isinstance(task, SegmentationTask) else _retrieval(task)


def opened(spec: str) -> Dataset:
    """A data set whose fingerprint goes by what it holds, as `load_pool` gives it."""
    dataset = load_pool(spec)
    assert isinstance(dataset, Dataset)  # load_pool does not stream unless told to
    return dataset


def ids_in(dataset: Dataset) -> list[str]:
    """Its ids. Raises InvalidDataset where it has none."""
    if schema.ID not in dataset.column_names:
        raise InvalidDataset(f"a data set has no column {schema.ID!r}; it has {', '.join(dataset.column_names)}")
    return ids_of(dataset)


def renamed(dataset: Dataset, fingerprint: str) -> Dataset:
    """The same rows under another fingerprint."""
    info = DatasetInfo(features=dataset.features)
    return Dataset(dataset.data, info, dataset.split, dataset._indices, fingerprint)


def _segmentation(task: SegmentationTask) -> SegmentationData:
    tests: dict[str, Dataset] = {}
    with met_in("train"):
        train = _masked(task, task.train)
    if task.test_share:
        with met_in("split"):
            digest = fingerprint(str(train._fingerprint), repr((task.split, task.test_share)))
            train, tests[task.name] = split(train, test_share=task.test_share, official=OFFICIAL[task.split]).of(train)
        train = renamed(train, fingerprint(digest, "train"))
        tests[task.name] = renamed(tests[task.name], fingerprint(digest, "test"))
    for name, spec in task.test.items():
        with met_in(f"test.{name}"):
            tests[name] = _masked(task, spec)
    return SegmentationData(task, train, tests)


def _masked(task: SegmentationTask, spec: str) -> Dataset:
    dataset = opened(spec)
    if task.masked_only:
        dataset = renamed(with_masks(dataset), fingerprint(str(dataset._fingerprint), "masked only"))
    LabelledFrames.of(dataset, spec, task.recipe.num_labels)  # raises where a mask, or an id, is missing
    return dataset


def _probe(task: ProbeTask) -> ProbeData:
    with met_in("labels"):
        dataset = opened(task.labels)
        ids = ids_in(dataset)
    with met_in("target"):
        labelled = Labelled.of(dataset, task.target)
    parts = _parts(task, labelled)
    _check_probe(task, labelled, parts)
    wanted = {*parts.train, *parts.test[task.name]}
    rows = [row for row, id in enumerate(ids) if id in wanted]
    digest = fingerprint(str(dataset._fingerprint), *sorted(wanted))
    frames = dataset.select(rows).select_columns([schema.ID, schema.IMAGE])
    return ProbeData(task, renamed(frames, digest), labelled, parts)


def _parts(task: ProbeTask, labelled: Labelled) -> Parts:
    """By patterns where the plan gives them, else by the split."""
    if task.test_match is None:
        with met_in("split"):
            halves = labelled.split(official=OFFICIAL[task.split])
        return Parts(halves.train, {task.name: halves.test["test"]}, halves.left_out, halves.by)
    with met_in("test_match"):
        labelled.matching(task.test_match)
    if task.train_match is not None:
        with met_in("train_match"):
            labelled.matching(task.train_match)
    return labelled.matched(task.train_match, {task.name: task.test_match})


def _check_probe(task: ProbeTask, labelled: Labelled, parts: Parts) -> None:
    labels, train = labelled.labels, set(parts.train)
    check_parts(train, {name: set(ids) for name, ids in parts.test.items()}, labels, labelled.groups)
    classes = sorted({labels[id] for id in train})
    check_trained(classes)
    if task.method == "knn":
        check_neighbours(task.neighbours, len(train))
    for name, ids in parts.test.items():
        check_tested(name, [labels[id] for id in ids], classes)


def _retrieval(task: InstanceTask | SceneTask) -> RetrievalData:
    with met_in("frames"):
        dataset = opened(task.frames)
        ids = ids_in(dataset)
    column = task.group if isinstance(task, SceneTask) else None
    if column is not None and column not in dataset.column_names:
        meant = did_you_mean(column, dataset.column_names)
        raise InvalidDataset(
            f"group: {task.frames} has no column {column!r}, which names the video, sequence or patient of each "
            f"frame; it has {', '.join(dataset.column_names)}: name one of them as group{meant}"
        )
    digest = fingerprint(str(dataset._fingerprint), str(task.match))
    rows = [row for row, id in enumerate(ids) if task.match is None or fnmatchcase(id, task.match)]
    if not rows:
        raise InvalidDataset(f"match: no id of {task.frames} matches {task.match!r}: ids look like {shown(ids[0])}")
    named = groups_of(dataset) if column is None else texts_of(dataset, column)
    groups = {ids[row]: value for row in rows if (value := named[row]) is not None}
    if column is not None:
        with met_in("group"):
            check_scenes(list(groups.values()), column)
    elif len(rows) < 2:
        raise InvalidDataset(f"frames: {task.frames} has one frame to be found among others: expected two at least")
    frames = dataset.select(rows).select_columns([schema.ID, schema.IMAGE])
    return RetrievalData(task, renamed(frames, digest), groups)

"""What frames are labelled as, and which of them train: from a data set, its folders, its owners' split or a seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from datasets import Dataset

from meddel_hf.data.columns import as_texts, texts_of
from meddel_hf.data.groups import groups_of
from meddel_hf.data.ids import check_ids
from meddel_hf.downstream.splits import TEST_SHARE, grouped_split, official_split
from meddel_hf.errors import InvalidArgument, InvalidDataset
from meddel_hf.runtime.similar import did_you_mean
from meddel_hf.runtime.words import first_of, plural
from meddel_hf.schema import FOLDER, ID, LABEL, OFFICIAL_SPLIT

_SHOWN = 3  # examples in an error message


@dataclass(frozen=True)
class Parts:
    """Ids that train, and those of each test set. left_out: labelled frames in neither. by: what parted them."""

    train: tuple[str, ...]
    test: Mapping[str, tuple[str, ...]]
    left_out: int
    by: Literal["match", "official", "group", "frame"]


@dataclass(frozen=True)
class Labelled:
    """The labelled frames of a data set, in its order.

    labels: id -> class. groups: id -> video, sequence or patient, of the frames that have one.
    official: id -> the owners' name of its part, of those that have one. unlabelled: how many rows have no label.
    """

    labels: Mapping[str, str]
    groups: Mapping[str, str]
    official: Mapping[str, str]
    unlabelled: int

    @classmethod
    def of(cls, dataset: Dataset, target: str = LABEL) -> Labelled:
        """target: a column of text, whole numbers or class labels, or "folder": the folder that holds the image.

        Without an id column, ids are row numbers. Raises InvalidDataset where there is no such column, or no label.
        """
        columns = dataset.column_names
        if target not in columns and target != FOLDER:
            meant = did_you_mean(target, columns)
            raise InvalidDataset(
                f"the data set has no column {target!r}; it has {', '.join(columns)}: name one of them as "
                f"target, or {FOLDER!r} for the name of the folder that holds the image{meant}"
            )
        wanted = [name for name in {ID, target} if name in columns]
        rows = dataset.with_format(None).select_columns(wanted)[:] if wanted else {}
        ids = check_ids(rows[ID], first_row=0) if ID in rows else [str(row) for row in range(len(dataset))]
        texts = _texts(rows[target], dataset, target) if target in columns else [_folder(id) for id in ids]
        labels = {id: label for id, label in zip(ids, texts, strict=True) if label is not None}
        if not labels:
            raise InvalidDataset(f"no row has a {target}: nothing to train a probe on")

        def named(values: Sequence[Any]) -> dict[str, str]:
            return {id: str(value) for id, value in zip(ids, values, strict=True) if value is not None and id in labels}

        official = named(texts_of(dataset, OFFICIAL_SPLIT))
        return cls(labels, named(groups_of(dataset)), official, len(ids) - len(labels))

    def matched(self, train: str | None, test: Mapping[str, str]) -> Parts:
        """Parts by fnmatch patterns on ids (`*` matches slashes too); without one for train, all that is not tested."""
        tested = {name: self.matching(pattern) for name, pattern in test.items()}
        anywhere = {id for ids in tested.values() for id in ids}
        chosen = tuple(id for id in self.labels if id not in anywhere) if train is None else self.matching(train)
        return Parts(chosen, tested, len(self.labels) - len(anywhere.union(chosen)), "match")

    def matching(self, pattern: str) -> tuple[str, ...]:
        """Ids that match an fnmatch pattern. Raises InvalidArgument where none does."""
        ids = tuple(id for id in self.labels if fnmatchcase(id, pattern))
        if not ids:
            raise InvalidArgument(f"no id matches {pattern!r}: ids look like {next(iter(self.labels))!r}")
        return ids

    def split(self, *, official: bool | None = None, test_share: float = TEST_SHARE, seed: int = 0) -> Parts:
        """The owners' split where there is one, else a seeded one that parts no group and shares out every class.

        official: None takes the owners' split where the rows name one, True demands it, False never takes it.
        """
        ids = list(self.labels)
        groups = [self.groups.get(id) for id in ids]
        owners = None if official is False else official_split(ids, groups, [self.official.get(id) for id in ids])
        if owners is not None:
            return Parts(owners.train, {"test": owners.test}, len(owners.left_out), "official")
        if official:
            raise InvalidDataset(f"no official split: {OFFICIAL_SPLIT!r} does not name both a training and a test part")
        tested: set[str] = set()
        for members in self._groups_by_class().values():
            part = [id for group in members.values() for id in group]
            if len(members) > 1:  # a class of one group can only train
                tested.update(
                    grouped_split(part, [self.groups.get(id) for id in part], test_share=test_share, seed=seed).test
                )
        if not tested:
            raise InvalidDataset("each class is of one group: no split leaves a class in both parts")
        train = tuple(id for id in ids if id not in tested)
        return Parts(train, {"test": tuple(id for id in ids if id in tested)}, 0, "group" if self.groups else "frame")

    def _groups_by_class(self) -> dict[str, dict[tuple[str, ...], list[str]]]:
        """class -> group -> ids; a group of several classes goes by the one that most of its frames have."""
        members: dict[tuple[str, ...], list[str]] = {}
        for id in self.labels:
            members.setdefault(("group", self.groups[id]) if id in self.groups else ("id", id), []).append(id)
        by_class: dict[str, dict[tuple[str, ...], list[str]]] = {}
        for group, ids in members.items():
            counts = Counter(self.labels[id] for id in ids)
            main = min(counts, key=lambda label: (-counts[label], label))
            by_class.setdefault(main, {})[group] = ids
        return by_class


def check_parts(
    train: set[str], test: Mapping[str, set[str]], labels: Mapping[str, str], groups: Mapping[str, str]
) -> None:
    """Raises InvalidDataset where a part is empty, a frame has no label, or train and test share an id or a group."""
    if not train or not test or not all(test.values()):
        empty = "train" if not train else next((name for name, ids in test.items() if not ids), "test")
        raise InvalidDataset(f"no frame is in {empty}: a probe needs frames to train on and frames to be tested on")
    tested = set().union(*test.values())
    unlabelled = sorted((train | tested).difference(labels))
    if unlabelled:
        raise InvalidDataset(
            f"{plural(len(unlabelled), 'frame has', 'frames have')}"
            f" no label, such as {examples(unlabelled)}: leave them out"
        )
    both = sorted(train & tested)
    if both:
        raise InvalidDataset(
            f"{plural(len(both), 'frame is', 'frames are')}"
            f" in train and in test, such as {examples(both)}: keep each in one"
        )
    shared = sorted({groups.get(id, id) for id in train} & {groups.get(id, id) for id in tested})
    if shared:
        raise InvalidDataset(
            f"{plural(len(shared), 'group has', 'groups have')}"
            f" frames in train and in test, such as {examples(shared)}: their frames look "
            "alike, and the score would be too good; keep each group in one part"
        )


def check_trained(classes: Sequence[str]) -> None:
    """classes: of the frames that train. Raises InvalidDataset where there is nothing to tell apart."""
    if len(classes) < 2:
        what = f"one class, {classes[0]!r}" if classes else "no readable frame"
        raise InvalidDataset(f"the training frames hold {what}: a probe needs two classes to tell apart")


def check_tested(name: str, truth: list[str], known: list[str]) -> None:
    """truth: classes of a test set's frames; known: those trained. Raises InvalidDataset where that tests nothing."""
    if not truth:
        raise InvalidDataset(f"test set {name!r} has no readable frame")
    if len(set(truth)) < 2:
        raise InvalidDataset(
            f"test set {name!r} holds one class, {truth[0]!r}: always answering it would score 1; test on more classes"
        )
    if not set(truth) & set(known):
        raise InvalidDataset(
            f"test set {name!r} holds {examples(sorted(set(truth)))}, the training frames {examples(known)}: none is "
            "in both"
        )


def examples(names: Sequence[str]) -> str:
    """The first names, and how many more."""
    return first_of(list(map(repr, names)), _SHOWN)


def _texts(values: Sequence[Any], dataset: Dataset, target: str) -> list[str | None]:
    feature = dataset.features[target]
    odd = next((value for value in values if not isinstance(value, (str, int, type(None)))), None)
    if odd is not None:
        raise InvalidDataset(f"column {target!r} holds {str(odd)[:60]!r}: expected classes, as text or whole numbers")
    return as_texts(values, feature)


def _folder(id: str) -> str:
    head, _, _ = id.rpartition("/")
    if not head:
        raise InvalidDataset(
            f"the id {id!r} names no folder: the target {FOLDER!r} needs ids such as 'Train/Polyp/0001'"
        )
    return head.rpartition("/")[2]

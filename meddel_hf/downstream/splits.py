"""Splits into training and test: the owners' own where there is one, else a seeded one that parts no group.

A group is a video, a sequence or a patient: its frames look alike, so a model that saw one of them has seen the others.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from meddel_hf.data.columns import texts_of
from meddel_hf.data.groups import groups_of
from meddel_hf.data.ids import ids_of
from meddel_hf.errors import InvalidArgument, InvalidDataset
from meddel_hf.schema import ID, OFFICIAL_SPLIT

TEST_SHARE = 0.2
OFFICIAL = {"auto": None, "official": True, "seeded": False}  # as typed -> the argument `official` of a split
_TRAINING = {"train", "training", "development", "dev", "fold 0", "split 0"}
_TEST = {"test", "testing", "fold 1", "split 1"}
_VALIDATION = {"val", "valid", "validate", "validation"}


@dataclass(frozen=True)
class Split:
    """Ids of a data set by what they are for.

    train, test: in the data set's order.
    left_out:    of an official split: rows that it names in neither part, its validation rows where it has test rows
                 too, and training rows of a video or sequence that its test part holds frames of.
    by:          "official", "group" (no group is parted) or "frame" (the data set names no groups).
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    left_out: tuple[str, ...]
    by: Literal["official", "group", "frame"]

    def of(self, dataset: Any) -> tuple[Any, Any]:
        """(training rows, test rows) of the data set that was split, as data sets."""
        train, test = set(self.train), set(self.test)
        ids = ids_of(dataset)
        return (
            dataset.select([row for row, id in enumerate(ids) if id in train]),
            dataset.select([row for row, id in enumerate(ids) if id in test]),
        )


def split(dataset: Any, *, test_share: float = TEST_SHARE, official: bool | None = None, seed: int = 0) -> Split:
    """Split a data set with DataDEL's columns (`id`, and `official_split` where it has it), by `groups_of` its rows.

    test_share: of frames, in (0, 1); met as closely as whole groups allow. An official split has its own.
    official:   None takes the owners' split where the rows name one, True demands it, False never takes it.
    Raises InvalidDataset where there are no ids, an official split is demanded or not understood, or one part is empty.
    """
    if ID not in dataset.column_names:
        raise InvalidDataset(f"a split needs the column {ID!r}; the data set has {', '.join(dataset.column_names)}")
    ids = [str(id) for id in dataset.with_format(None).select_columns([ID])[:][ID]]
    groups, names = groups_of(dataset), texts_of(dataset, OFFICIAL_SPLIT)
    if official is not False:
        owners = official_split(ids, groups, names)
        if owners is not None:
            return owners
        if official:
            raise InvalidDataset(
                f"no official split: the column {OFFICIAL_SPLIT!r} names no test or validation rows beside training "
                "ones; ask for a seeded split"
            )
    return grouped_split(ids, groups, test_share=test_share, seed=seed)


def official_split(ids: Sequence[str], groups: Sequence[str | None], names: Sequence[str | None]) -> Split | None:
    """The owners' split, or None where it has not both parts.

    names: each row's own, such as "train", "val", "test", "development", "fold 0"; case does not count. The first fold
    trains, the second tests. Where no row is named a test row, the validation rows are the test (Kvasir-SEG's 880 and
    120 of MediaEval 2020). Raises InvalidDataset for a name that is none of these.
    """
    named = [None if name is None else name.strip().lower() for name in names]
    unknown = {name for name in named if name is not None} - _TRAINING - _TEST - _VALIDATION
    if unknown:
        raise InvalidDataset(
            f"{OFFICIAL_SPLIT} holds {min(unknown)!r}: expected one of "
            f"{', '.join(sorted(_TRAINING | _TEST | _VALIDATION))}; ask for a seeded split, which does not read it"
        )
    test_names = _TEST if any(name in _TEST for name in named) else _VALIDATION
    test = {id for id, name in zip(ids, named, strict=True) if name in test_names}
    tested = {group for id, group in zip(ids, groups, strict=True) if id in test and group is not None}
    rows = list(zip(ids, groups, named, strict=True))
    train = {id for id, group, name in rows if name in _TRAINING and group not in tested}
    if not test or not train:
        return None
    return _split(ids, train, test, "official")


def grouped_split(ids: Sequence[str], groups: Sequence[str | None], *, test_share: float, seed: int) -> Split:
    """A seeded split that parts no group; a row without a group is a group of its own.

    Groups are taken in an order that the seed and their names give, each into the test part if that brings the part
    closer to its share. The answer depends on ids, groups, share and seed, and not on the order of the rows.
    scikit-learn's GroupShuffleSplit takes a share of the groups, which is another one of frames where videos differ.
    """
    if not 0 < test_share < 1:
        raise InvalidArgument(f"test_share must lie between 0 and 1, got {test_share}")
    members = Counter(_key(id, group) for id, group in zip(ids, groups, strict=True))
    if len(members) < 2:
        raise InvalidDataset(
            f"{len(ids)} rows of {len(members)} group cannot be split without parting it: give test sets of their own, "
            "and train on all rows (a test share of 0)"
        )
    target, taken = test_share * len(ids), 0
    order = sorted(members, key=lambda key: _draw(seed, key))
    test: set[str] = set()
    for key in order:
        if abs(taken + members[key] - target) < abs(taken - target) and len(test) < len(members) - 1:
            test.add(key)
            taken += members[key]
    if not test:  # each group alone is more than twice the share
        test.add(min(order, key=lambda key: members[key]))
    chosen = {id for id, group in zip(ids, groups, strict=True) if _key(id, group) in test}
    whole = any(group is not None for group in groups)
    return _split(ids, set(ids) - chosen, chosen, "group" if whole else "frame")


def _key(id: str, group: str | None) -> str:
    return f"id {id}" if group is None else f"group {group}"


def _draw(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed} {key}".encode("utf-8", "surrogatepass")).digest()


def _split(ids: Sequence[str], train: set[str], test: set[str], by: Literal["official", "group", "frame"]) -> Split:
    return Split(
        tuple(id for id in ids if id in train),
        tuple(id for id in ids if id in test),
        tuple(id for id in ids if id not in train and id not in test),
        by,
    )

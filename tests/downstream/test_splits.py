"""Splits: no group is parted, whatever the data; the owners' split where there is one."""

from __future__ import annotations

from collections import Counter

import pytest
from datasets import ClassLabel, Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from meddel_hf.downstream.splits import grouped_split, official_split, split
from meddel_hf.errors import InvalidArgument, InvalidDataset

GROUPS = st.lists(st.sampled_from([None, "a", "b", "c", "video 1", "video 2"]), min_size=2, max_size=60)


def ids_of(groups) -> list[str]:
    return [f"f/{row}" for row in range(len(groups))]


@settings(deadline=None)
@given(groups=GROUPS, seed=st.integers(0, 5), share=st.floats(0.05, 0.95), order=st.randoms())
def test_no_group_is_parted_and_rows_may_come_in_any_order(groups, seed, share, order):
    ids = ids_of(groups)
    units = Counter(group or id for id, group in zip(ids, groups, strict=True))
    if len(units) < 2:
        with pytest.raises(InvalidDataset, match="cannot be split"):
            grouped_split(ids, groups, test_share=share, seed=seed)
        return
    found = grouped_split(ids, groups, test_share=share, seed=seed)
    group_of = dict(zip(ids, groups, strict=True))
    train, test = ({group_of[id] or id for id in part} for part in (found.train, found.test))
    assert train
    assert test
    assert not train & test
    assert sorted(found.train + found.test) == sorted(ids)
    # As close to the share as the largest unit allows: one more or one fewer would miss by at least as much.
    assert abs(len(found.test) - share * len(ids)) <= max(units.values())
    rows = list(zip(ids, groups, strict=True))
    order.shuffle(rows)
    again = grouped_split([id for id, _ in rows], [group for _, group in rows], test_share=share, seed=seed)
    assert set(again.test) == set(found.test)


@pytest.mark.parametrize("column", ["patient", "study", "video", "group"])
def test_whatever_column_says_what_belongs_together_is_not_parted(column):
    of = [f"p{row // 3}" for row in range(30)]
    dataset = Dataset.from_dict({"id": ids_of(of), column: of})
    parts = split(dataset, seed=1)
    place = dict(zip(ids_of(of), of, strict=True))
    assert parts.by == "group"
    assert not {place[id] for id in parts.train} & {place[id] for id in parts.test}


def test_frames_without_groups_are_split_to_the_frame_and_by_the_seed():
    ids = ids_of([None] * 1000)
    parts = [grouped_split(ids, [None] * 1000, test_share=0.2, seed=seed) for seed in (0, 0, 1)]
    assert [len(part.test) for part in parts] == [200, 200, 200]
    assert parts[0] == parts[1] != parts[2]
    assert parts[0].by == "frame"
    overlap = len(set(parts[0].test) & set(parts[2].test))
    assert 20 < overlap < 60  # 40 by chance


@pytest.mark.parametrize(
    ("names", "train", "test"),
    [
        (["train"] * 6 + ["val"] * 2, 6, 2),  # Kvasir-SEG: its validation rows are the test
        (["train"] * 4 + ["valid"] * 2 + ["test"] * 2, 4, 2),  # CVC-300: three parts, the middle one is left out
        (["development"] * 5 + ["Test"] * 3, 5, 3),  # ImageCLEFmed
        (["fold 0"] * 4 + ["fold 1"] * 4, 4, 4),  # HyperKvasir
        ([None] * 2 + ["train"] * 4 + ["test"] * 2, 4, 2),
    ],
)
def test_official_splits(names, train, test):
    ids = ids_of(names)
    found = official_split(ids, [None] * 8, names)
    assert (len(found.train), len(found.test), len(found.left_out)) == (train, test, 8 - train - test)
    assert found.by == "official"


def test_an_official_split_that_parts_a_video_keeps_its_test_part():
    """Seven videos of Kvasir-Capsule are in both official splits."""
    groups = ["v1", "v1", "v2", "v2", "v3", "v3"]
    names = ["split 0", "split 1", "split 0", "split 0", "split 1", "split 1"]
    found = official_split(ids_of(groups), groups, names)
    assert found.train == ("f/2", "f/3")
    assert found.test == ("f/1", "f/4", "f/5")
    assert found.left_out == ("f/0",)


def data(**columns) -> Dataset:
    return Dataset.from_dict({"id": ids_of(next(iter(columns.values()))), **columns})


def test_split_of_a_data_set():
    dataset = data(group=["a"] * 4 + ["b"] * 4 + ["c"] * 2)
    found = split(dataset, test_share=0.3)
    train, test = found.of(dataset)
    assert train["id"][:] == list(found.train)
    assert test["id"][:] == list(found.test)
    assert not set(train["group"]) & set(test["group"])
    assert found.by == "group"


def test_an_official_split_of_class_labels_is_read_by_their_names():
    kinds = ClassLabel(names=["train", "test"])
    dataset = data(official_split=[0, 0, 1, 1, -1]).cast_column("official_split", kinds)
    found = split(dataset)
    assert (found.by, found.train, found.test) == ("official", tuple(dataset["id"][:2]), tuple(dataset["id"][2:4]))


def test_only_training_rows_named_means_a_seeded_split():
    dataset = data(official_split=["train"] * 10)  # as of EAD2019's frames with masks
    assert split(dataset).by == "frame"
    with pytest.raises(InvalidDataset, match="names no test"):
        split(dataset, official=True)


def test_errors_name_the_cure():
    named = data(official_split=["train", "part 7"])
    with pytest.raises(InvalidDataset, match=r"'part 7'.*ask for a seeded split"):
        split(named)
    assert split(named, official=False).by == "frame"
    with pytest.raises(InvalidDataset, match="without parting it"):
        split(data(group=["a", "a"]))
    with pytest.raises(InvalidArgument, match="between 0 and 1"):
        split(data(group=["a", "b"]), test_share=1.5)
    with pytest.raises(InvalidDataset, match="needs the column 'id'"):
        split(Dataset.from_dict({"image": [1]}))

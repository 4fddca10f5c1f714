"""Ids as Arrow holds them are those that Python's lists hold, and what is unsound is refused by both alike."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from meddel_hf.data.ids import (
    as_there,
    check_ids,
    checked_id_array,
    checked_ids_of,
    folders_among,
    id_array,
    ids_of,
    is_a_folder,
)
from meddel_hf.data.leaks import leaks
from meddel_hf.errors import InvalidArgument, InvalidDataset


@pytest.mark.parametrize("ids", [["a", "b/c", "ä"], [3, 1, 2], []], ids=str)
def test_sound_ids(ids):
    data = Dataset.from_dict({"id": ids})
    wanted = [str(id) for id in ids]
    assert (
        ids_of(data)
        == checked_ids_of(data)
        == id_array(data).to_pylist()
        == checked_id_array(data).to_pylist()
        == wanted
    )
    few = data.select([len(ids) - 1]) if ids else data  # rows that `datasets` reads through indices
    assert checked_id_array(few).to_pylist() == wanted[-1:]


@pytest.mark.parametrize(
    ("ids", "match"),
    [
        (["a", None], "1 rows? ha.* no id, such as row 1"),
        (["", "a"], "no id, such as row 0"),
        (["a", "b", "a"], "ids must be unique: 1 .*'a'"),
        ([1.5, 2.5], "ids must be strings or integers, got 1.5"),
        ([True, False], "ids must be strings or integers, got True"),
    ],
    ids=str,
)
def test_unsound_ids_are_refused(ids, match):
    data = Dataset.from_dict({"id": ids})
    for refuse in (checked_ids_of, checked_id_array, lambda data: check_ids(data["id"][:], first_row=0)):
        with pytest.raises(InvalidDataset, match=match):
            refuse(data)
    assert id_array(data).to_pylist() == ids_of(data) == [str(id) for id in ids]


def test_listed_ids_are_those_of_the_pool_but_for_spaces_and_the_way_an_umlaut_is_written():
    composed, parted = "M\u00fcller/1", "Mu\u0308ller/1"
    there = {"a", "b c", parted}
    assert as_there(["a ", " b c", composed, "other "], there) == ["a", "b c", parted, "other "]
    assert as_there(["a"], there | {"a "}) == ["a"]
    with pytest.raises(
        InvalidArgument, match=r"1 listed id is the name of a file, such as a\.png, whose id is a: write"
    ):
        as_there(["a.png", "other.png"], there)


@pytest.mark.parametrize("spec", ["{}", "{}:all", "{}@train", "{}:all@train"])
def test_the_list_of_leaks_is_that_of_the_folder_whatever_part_of_it_is_named(spec, tmp_path):
    folder = tmp_path / "11:30" / "datadel"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"id": ["a"], "in_id": ["b"]}), folder / "leaks.parquet")
    assert list(leaks(spec.format(folder))) == [("a", "b")]


def test_a_folder_among_listed_ids_is_told_with_what_lies_below_it():
    there = {"Su\u0308d/p01/a", "Su\u0308d/p01/b/c", "Su\u0308d/p011/a", "clip/000001", "p"}
    listed = ["S\xfcd/p01", " S\xfcd/p01/b/ ", "clip.mp4", "nobody", "Nord/p01", "", "p"]
    assert folders_among(listed, there) == {
        "S\xfcd/p01": ("Su\u0308d/p01/a", "Su\u0308d/p01/b/c"),
        "S\xfcd/p01/b": ("Su\u0308d/p01/b/c",),
        "clip": ("clip/000001",),
    }
    assert is_a_folder("p01", [f"p01/{n}" for n in range(7)]) == (
        "p01 is no frame; 7 frames lie below it: p01/0, p01/1, p01/2, p01/3, p01/4 and 2 more"
    )

"""Ids as Arrow holds them are those that Python's lists hold, and what is unsound is refused by both alike."""

from __future__ import annotations

import pytest
from datasets import Dataset

from meddel_hf.data.ids import check_ids, checked_id_array, checked_ids_of, id_array, ids_of
from meddel_hf.errors import InvalidDataset


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

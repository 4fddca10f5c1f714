"""What belongs together, and what two data sets share of it, counted by hand."""

from __future__ import annotations

from datasets import Dataset

from meddel_hf.data.groups import groups_of, names_groups, shared_groups


def test_a_frame_belongs_to_its_group_else_its_patient_study_or_video():
    dataset = Dataset.from_dict(
        {
            "id": list("abcdef"),
            "video": ["v1", "v1", "v2", "v2", None, "v3"],
            "study": [None, None, "s1", None, None, None],
            "patient": [7, None, 8, None, None, None],
            "group": ["g1", "", None, None, None, None],
        }
    )
    assert groups_of(dataset) == ["g1", "v1", "8", "v2", None, "v3"]
    assert names_groups(dataset)


def test_a_data_set_that_names_nothing():
    dataset = Dataset.from_dict({"id": ["a", "b"]})
    assert groups_of(dataset) == [None, None]
    assert not names_groups(dataset)
    assert shared_groups(dataset, dataset) == []


def test_what_is_shared_is_counted_by_column_and_said_once():
    patients, others = ["p1", "p1", "p2", None], ["p1", "p3", "p1"]
    pool = Dataset.from_dict({"patient": patients, "group": patients, "video": list("abcd")})
    test = Dataset.from_dict({"patient": others, "group": others, "video": list("xyz")})
    first, second = shared_groups(pool, test)
    assert (first.column, first.names, first.pool, first.test) == ("patient", ("p1",), 2, 2)
    assert (first.pool_frames, first.test_frames) == (2, 2)
    assert str(first).startswith("warning: 1 of the 2 patients of the test set has frames in the pool too (2 of its")
    assert str(second) == "none of the 3 videos of the test set has the name of one in the pool"


def test_copies_tell_of_groups_that_are_called_otherwise():
    pool = Dataset.from_dict({"patient": ["west/Doe", "west/Roe", "Poe"]})
    test = Dataset.from_dict({"patient": ["Doe", "Roe", "Poe", None]})
    (shared,) = shared_groups(pool, test)
    told = shared.among([("Doe", "west/Doe"), ("Doe", "west/Doe"), ("Poe", "Poe"), (None, "west/Roe"), ("Roe", None)])
    assert told.renamed == (("Doe", "west/Doe"),)
    first, second = str(told).split("\n")
    assert first.startswith("warning: 1 of the 3 patients of the test set has frames in the pool too")
    assert second.startswith("warning: copies are of patients that have other names in the pool: 1 of the 3 of the ")
    assert second.endswith("test set, Doe (west/Doe in the pool)")


def test_one_of_them_is_no_many():
    pool = Dataset.from_dict({"study": ["1", "2"], "patient": ["a", "b"]})
    shared, apart = shared_groups(pool, Dataset.from_dict({"study": ["1"], "patient": ["c"]}))[::-1]
    assert str(shared).startswith("warning: the one study of the test set has frames in the pool too (1 of its frames,")
    assert str(apart) == "no patient of the pool has the name of the one of the test set"


def test_names_out_of_the_data_are_safe_on_a_terminal():
    dataset = Dataset.from_dict({"patient": ["\x1b[31mp"]})
    (shared,) = shared_groups(dataset, dataset)
    assert "\x1b" not in str(shared)


def test_a_patient_is_the_same_where_another_has_no_number():
    """pandas makes floats of whole numbers of which one is missing."""
    whole, parted = ({"id": ["a", "b"], "patient": numbers} for numbers in ([7, 8], [7.0, None]))
    assert groups_of(Dataset.from_dict(whole)) == ["7", "8"]
    assert groups_of(Dataset.from_dict(parted)) == ["7", None]

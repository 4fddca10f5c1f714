"""What stands in a folder: how far it is, and whether it is what is asked for now."""

from __future__ import annotations

import pytest

from meddel_hf.errors import IncompleteStore, Mismatch
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.resume import begin, begun, check_same, difference, state


def test_a_folder_is_new_then_begun_then_finished(tmp_path):
    assert state(tmp_path / "absent") == "new"
    assert state(tmp_path) == "new"
    begin(tmp_path, {"arguments": {"seed": 1}})
    assert state(tmp_path) == "begun"
    assert begun(tmp_path)["arguments"] == {"seed": 1}
    Manifest("probe", "0" * 32).write(tmp_path)
    assert state(tmp_path) == "finished", "a manifest counts, whatever stands beside it"


def test_a_damaged_note_is_no_beginning_of_anything(tmp_path):
    begin(tmp_path, {"seed": 1})
    path = tmp_path / "begun.json"
    path.write_text(path.read_text().replace("1", "2", 1))
    with pytest.raises(IncompleteStore, match=r"begun\.json.*delete .* and run the same command again"):
        begun(tmp_path)


def test_the_same_is_the_same_also_as_it_comes_out_of_a_file(tmp_path):
    check_same(tmp_path, {"by": ["a", "b"], "seed": 0}, {"by": ("a", "b"), "seed": 0})


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ({"seed": 0}, {"seed": 1}, r"was made with another seed \(0, now 1\): choose another folder"),
        ({"seed": 0}, {"seed": 0, "rate": 0.1}, r"another rate \(None, now 0\.1\)"),
        ({"seed": 0, "start": "f"}, {"seed": 0}, r"another start \('f', now None\)"),
        ({"recipe": {"a": 1, "b": 2}}, {"recipe": {"a": 1, "b": 3}}, r"another recipe \(b 2, now 3\)"),
        ({"on": True}, {"on": 1.5}, r"another on \(True, now 1\.5\)"),
        ({"rank": "1"}, {"rank": 1}, r"another rank \('1', now 1\)"),
        ({"column": "None"}, {"column": None}, r"another column \('None', now None\)"),
    ],
)
def test_the_first_difference_is_told(tmp_path, before, now, words):
    with pytest.raises(Mismatch, match=words):
        check_same(tmp_path, before, now, "was made with")


def test_of_mappings_only_what_differs_is_told():
    assert difference({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 5, "d": 4}) == "b 2, now 5, c 3, now None, d None, now 4"

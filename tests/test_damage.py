"""Damage in what a step wrote is told by whoever reads it, in one sentence, or changes nothing."""

from __future__ import annotations

import pytest
from damage import Found, fuzz, outputs

FLIPS = 12


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Found:
    return fuzz(outputs(tmp_path_factory.mktemp("outputs")), FLIPS, seed=8)


def test_no_damage_changes_an_answer_or_ends_in_a_traceback(found):
    assert not found.faults, "\n".join(found.faults)


def test_damage_was_done(found):
    """A reader that reads nothing would tell nothing. What is unfinished is written anew, to the same bytes."""
    for kind, counts in found.counts.items():
        good, other = ("harmless", "told") if kind == "unfinished store" else ("told", "harmless")
        assert counts[good] > counts[other], f"{kind}: {counts}"

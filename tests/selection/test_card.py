"""What a card says of a choice is what the selector did, and no more."""

from __future__ import annotations

from dataclasses import replace

import oracle
import pytest
from datasets import Dataset

from meddel_hf import Dedup, MedDEL
from meddel_hf.selection.card import for_others, how_chosen
from meddel_hf.selectors import Random, SemDeDup

X = oracle.clumps(120, 8, seed=1, spread=0.15)
POOL = Dataset.from_dict({"id": [str(row) for row in range(120)], "center": ["a", "b"] * 60})
LEFT_OUT = "are left out in the embedding space of an encoder"


@pytest.mark.parametrize(
    ("selector", "words", "outliers"),
    [
        (Dedup(eta=0.95), f"near-duplicates {LEFT_OUT}.", False),
        (Dedup(0.1, eta=0.95), f"near-duplicates {LEFT_OUT}, and of the frames that are left a part is drawn.", False),
        (MedDEL(retention=0.1), f"outliers and near-duplicates {LEFT_OUT}.", True),
        (MedDEL(retention=0.1, epsilon=None), f"near-duplicates {LEFT_OUT}.", False),
        (SemDeDup(0.1), f"near-duplicates {LEFT_OUT}.", False),
        (Random(0.1), "frames are chosen by the selector random.", False),
    ],
)
def test_steps_that_a_selector_has_are_told_and_no_others(selector, words, outliers):
    selection = selector.select(X)
    assert words in how_chosen(selection)
    assert ("outliers" in how_chosen(selection)) == ("outliers" in str(selection.summary)) == outliers


def test_options_that_were_not_used_are_left_out():
    arguments = [
        next(line for line in how_chosen(selection).splitlines() if line.startswith("| other arguments"))
        for selection in (
            Dedup(eta=0.95).select(X, pool=POOL), Dedup(0.1, eta=0.95).select(X, pool=POOL),
            Dedup(0.1, eta=0.95, then="stratified", by="center").select(X, pool=POOL),
            Dedup(0.1, eta=0.95, then="random", per="center", min_per={"center": 2}).select(X, pool=POOL),
        )
    ]  # fmt: skip
    words = ("then=", "by=", "per=", "shares=", "min_per=")
    assert [[word for word in words if f" {word}" in line] for line in arguments] == [
        [], ["then="], ["then=", "by="], ["then=", "per=", "shares=", "min_per="],
    ]  # fmt: skip
    assert "min_per={'center': 2}" in arguments[3]


def test_notes_for_others_name_no_place_and_where_ids_are_hashed_there_are_none():
    notes = ("the pool '/home/jdoe/secret study/frames' cannot be opened", "always kept: ward/Mueller-Hans-1950")
    selection = replace(Random(0.1).select(X), notes=notes)
    told = " ".join(for_others(selection, None).notes)
    assert "jdoe" not in told
    assert "Mueller" in told  # as ids, which are published as they are
    assert for_others(selection, b"k" * 32).notes == ()

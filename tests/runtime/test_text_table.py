"""Tables of the terminal: words begin, and numbers end, at one place."""

from __future__ import annotations

from meddel_hf.runtime.text_table import aligned

ROWS = [("set", "frames", "score"), ("a long one", "9", "0.5"), ("b", "1,000", "0.25")]


def test_words_begin_and_numbers_end_at_one_place():
    assert aligned(ROWS).splitlines() == [
        "set         frames  score",
        "a long one       9    0.5",
        "b            1,000   0.25",
    ]
    assert aligned(ROWS, words=3).splitlines()[1:] == ["a long one  9       0.5", "b           1,000   0.25"]
    assert aligned(ROWS, words=0).splitlines()[0] == "       set  frames  score"

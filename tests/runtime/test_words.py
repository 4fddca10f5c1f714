"""Counts in words."""

from __future__ import annotations

from meddel_hf.runtime.words import any_of, is_or_are, plural, verb


def test_one_is_one_and_all_others_are_many():
    assert [plural(n, "frame") for n in (0, 1, 2, 1000)] == ["0 frames", "1 frame", "2 frames", "1,000 frames"]
    assert [plural(n, "level of it", "levels of it") for n in (1, 2)] == ["1 level of it", "2 levels of it"]


def test_what_follows_a_count():
    assert [is_or_are(n) for n in (0, 1, 2, 1000)] == ["are", "is", "are", "are"]
    assert [verb(n, "excludes", "exclude") for n in (0, 1, 2)] == ["exclude", "excludes", "exclude"]


def test_all_of_a_count_where_it_is_denied():
    assert [any_of(n, "test set") for n in (1, 3)] == ["the one test set", "any of 3 test sets"]

"""Text that would be a formula in a spreadsheet is text."""

from __future__ import annotations

import csv

import pyarrow as pa
import pytest

from meddel_hf.data.spreadsheets import as_text, text_columns_safe
from meddel_hf.report.document import Data

HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_that_begins_like_a_formula_gets_an_apostrophe(text):
    assert as_text(text) == "'" + text


def test_numbers_and_other_text_stay():
    assert [as_text(value) for value in (-0.5, -3, None, True, "a=1", "", "random")] == [
        -0.5, -3, None, True, "a=1", "", "random"
    ]  # fmt: skip


def test_a_table_of_the_report(tmp_path):
    Data("scores", ("arm", "score"), (("=HYPERLINK(1)", -0.25), ("random", None))).write(tmp_path)
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["arm", "score"], ["'=HYPERLINK(1)", "-0.25"], ["random", ""]]


def test_a_table_of_arrow():
    table = text_columns_safe(pa.table({"=a": ["-x", None, "y"], "n": [-1.5, 2.0, None]}))
    assert table.to_pydict() == {"'=a": ["'-x", None, "y"], "n": [-1.5, 2.0, None]}

"""Measures against counts and against the eigenvalues of the whole matrix of cosines."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import oracle
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from meddel_hf import Dedup, MedDEL
from meddel_hf.errors import InvalidDataset
from meddel_hf.selection.measures import Values, covered, farthest, kept_of, sequences, shared_by, vendi
from meddel_hf.selectors import Random

X = oracle.clumps(120, 8, seed=1, spread=0.15)


def pool() -> Dataset:
    features = Features({"id": Value("string"), "center": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    columns = {
        "id": [str(row) for row in range(120)], "center": [None if row < 10 else f"c{row % 30}" for row in range(120)],
        "label": [row % 2 if row < 100 else -1 for row in range(120)],
    }  # fmt: skip
    return Dataset.from_dict(columns, features=features)


def test_what_is_kept_of_each_value_is_counted():
    selection, data = Random(0.1, seed=3).select(X), pool()
    kept = kept_of(selection, data, "center")
    counts = {value: (rows, there) for value, rows, there in kept.rows}
    for value in {f"c{number}" for number in range(30)}:
        ids = [row["id"] for row in data if row["center"] == value]
        assert counts.pop(value) == (len(ids), len(set(ids) & set(selection.kept)))
    assert not counts
    assert [rows for _, rows, _ in kept.rows] == sorted((rows for _, rows, _ in kept.rows), reverse=True)
    assert len(kept.lost) == sum(there == 0 for _, _, there in kept.rows) > 5
    warning = kept.warning(selection)
    assert "nothing is kept of center" in warning
    assert f"and {len(kept.lost) - 5} more: --selector dedup with --min-per center=1" in warning
    assert "and 18 more" in str(kept)
    assert kept.without == (10, sum(int(id) < 10 for id in selection.kept)), "ten rows have no centre"
    assert str(kept).splitlines()[-1].split() == [
        "no",
        "center",
        "10",
        str(kept.without[1]),
        f"{kept.without[1] / 10:.2%}",
    ]
    assert [value for value, _, _ in kept_of(selection, data, "label").rows] == ["no", "yes"]
    assert kept_of(selection, data, "site") is None
    assert [each.column for each in covered(selection, data)] == ["center", "label"]
    assert covered(selection, None) == []


def test_a_centre_of_which_nothing_is_kept_is_told_with_what_would_change_that():
    """Rows 0 and 1 are one frame, of two centres; the second centre has nothing else."""
    x = oracle.noise(40, 16)
    x[1] = x[0]
    data = Dataset.from_dict({"id": [str(row) for row in range(40)], "center": ["a", "b"] + ["a"] * 38})
    for selection, cure in (
        (Dedup(0.05, eta=0.9, then="random"), "--min-per center=1 keeps a frame of each at least"),
        (Random(0.05), "--selector dedup with --min-per center=1 keeps a frame of each at least"),
        (Dedup(eta=0.9), "all its frames are near-duplicates of frames that stay, or unreadable"),
        (
            Dedup(0.5, eta=0.9, then="random", min_per={"center": 1}),
            "all its frames are near-duplicates of frames that stay, or unreadable",
        ),
    ):
        made = selection.select(x, pool=data)
        (kept,) = covered(made, data)
        assert kept.lost == ["b"]
        assert kept.warning(made) == f"nothing is kept of center b: {cure}"
    assert "center: b (0) have fewer than 1 distinct frames; all of those are kept" in made.notes


def test_a_number_that_is_none_is_no_value():
    data = Dataset.from_dict({"id": [str(row) for row in range(120)], "dose": [float("nan"), 1.5, None] * 40})
    kept = kept_of(Random(1.0).select(X), data, "dose")
    assert (kept.rows, kept.without) == ((("1.5", 40, 40),), (80, 80))


def test_videos_of_which_a_frame_is_kept_are_counted():
    groups = [None if row % 5 == 0 else f"video {row % 13}" for row in range(120)]
    data = pool().add_column("group", groups)
    for seed in range(3):
        selection = Random(0.1, seed=seed).select(X)
        counted = sequences(selection, data)
        assert counted == Values(13, len({groups[int(id)] for id in selection.kept} - {None}))
    assert sequences(selection, pool()) is None
    assert sequences(selection, None) is None


def test_a_pool_that_grew_counts_what_was_selected_from():
    step = Dedup(eta=0.9).first_step(X)
    grown = Dataset.from_dict({"id": [*map(str, range(119, -1, -1)), "new"], "center": ["a", "b"] * 60 + ["a"]})
    assert sum(rows for _, rows, _ in kept_of(step, grown, "center").rows) == 120
    assert kept_of(step, grown, "center").rows == kept_of(Dedup(eta=0.9).select(X), grown, "center").rows
    assert kept_of(step, grown.select(range(119)), "center") is None, "an id is missing"
    with pytest.raises(InvalidDataset, match=r"pool must be a datasets.Dataset, got str"):
        covered(step, "pool")


def test_the_farthest_frame_is_the_one_least_like_any_kept_one():
    cosine = oracle.cosines(X)
    for selection in (
        Dedup(0.1, eta=0.95, then="random").select(X), MedDEL(retention=0.1, scope="pool", epsilon=None).select(X),
    ):  # fmt: skip
        kept = selection.table["kept"].to_numpy()
        nearest = cosine[:, kept].max(axis=1)
        id, value = farthest(selection)
        assert value == nearest[~kept].min().astype("f4") == nearest[int(id)].astype("f4")
    assert farthest(Random(0.1).select(X)) is None
    assert farthest(Random(1.0).select(X)) is None


def test_vendi_is_the_entropy_of_the_eigenvalues_of_all_cosines():
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(oracle.cosines(X) / len(X))
    values = values[values > 1e-10]
    assert vendi(unit) == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-4)
    assert vendi(np.eye(7)) == pytest.approx(7)
    assert vendi(np.repeat(np.eye(7)[:1], 9, axis=0)) == pytest.approx(1)


def test_columns_of_floors_caps_and_shares_are_counted_too_and_folders_without_a_pool():
    ids = [f"{'ab'[row % 2]}/{'p' + str(row % 40)}/{row}" for row in range(120)]
    data = Dataset.from_dict({"id": ids, "site": ["x"] * 120, "age": [row % 3 for row in range(120)]})
    chosen = Random(0.1, seed=3).select(X)
    selection = replace(
        chosen,
        table=chosen.table.set_column(0, "id", pa.array(ids)),
        settings={"min_per": {"folder": 5}, "max_per": {"age": 9, "folder": 7}, "per": "site"},
        origin=replace(chosen.origin, row_ids=False),
    )
    assert shared_by(selection.settings) == ("folder", "age", "site")
    by_column = {kept.column: kept for kept in covered(selection, data, shared_by(selection.settings))}
    assert sorted(by_column) == ["age", "folder", "site"]
    assert by_column["site"].rows == (("x", 120, 12),)
    folders = Counter(id.rpartition("/")[0] for id in selection.kept)
    assert {value: kept for value, _, kept in by_column["folder"].rows if kept} == dict(folders)
    assert len(by_column["folder"].rows) == 40
    assert "  and 28 more, " in str(by_column["folder"])
    assert [kept.column for kept in covered(selection, None, ("folder", "age"))] == ["folder"]
    assert kept_of(selection, data, "folder") == by_column["folder"]
    assert covered(chosen, None, ("folder",)) == [], "ids are no paths"

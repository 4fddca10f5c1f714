"""Measures against counts and against the eigenvalues of the whole matrix of cosines."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from meddel_hf import Dedup, MedDEL
from meddel_hf.selection.measures import covered, distinct, farthest, kept_of, vendi
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
    assert "nothing is kept of center" in kept.warning
    assert f"and {len(kept.lost) - 5} more: --min-per center=1" in kept.warning
    assert "and 18 more" in str(kept)
    assert [value for value, _, _ in kept_of(selection, data, "label").rows] == ["no", "yes"]
    assert kept_of(selection, data, "site") is None
    assert [each.column for each in covered(selection, data)] == ["center", "label"]
    assert covered(selection, None) == []


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


def test_scenes_are_counted_once():
    step = Dedup(eta=0.9).select(X)
    scene = [row["duplicate_of"] or row["id"] for row in step.table.to_pylist()]
    for seed in range(3):
        selection = Random(0.3, seed=seed).select(X)
        assert distinct(step, selection) == len({scene[int(id)] for id in selection.kept})
    assert distinct(step, step) == step.summary.kept


def test_vendi_is_the_entropy_of_the_eigenvalues_of_all_cosines():
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(oracle.cosines(X) / len(X))
    values = values[values > 1e-10]
    assert vendi(unit) == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-4)
    assert vendi(np.eye(7)) == pytest.approx(7)
    assert vendi(np.repeat(np.eye(7)[:1], 9, axis=0)) == pytest.approx(1)

"""A sweep: the retention at each eta, as if each had been selected by itself."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import oracle
import pytest

from meddel_hf import MedDEL
from meddel_hf.errors import InvalidArgument

ETAS = [0.9, 0.5, 0.7, 0.8]


@pytest.mark.parametrize("scope", ["cluster", "pool"])
@pytest.mark.parametrize("settings", [{}, {"engine": "blocks"}, {"rule": "semdedup"}, {"keep": "farthest"}], ids=str)
def test_every_point_is_what_a_select_of_its_own_gives(scope, settings):
    x = oracle.clumps(250, 8, spread=0.4)
    curve = MedDEL(scope=scope, epsilon=1.1, **settings).sweep(x, ETAS)
    assert [selection.eta for selection in curve] == sorted(ETAS)
    assert len(curve) == 4
    for selection in curve:
        alone = MedDEL(eta=selection.eta, scope=scope, epsilon=1.1, **settings).select(x)
        assert selection.table.equals(alone.table)
        assert selection.settings == alone.settings


def test_retention_is_the_oracles_and_rises_with_eta():
    x = oracle.clumps(300, 8, spread=0.4)
    unit = x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    order = np.argsort(-oracle.cosines(x, unit.sum(axis=0)[None])[:, 0], kind="stable")
    cosine = oracle.cosines(x)
    curve = MedDEL(scope="pool", epsilon=None).sweep(x, ETAS)
    counts = [int(oracle.greedy(cosine, [order], eta).sum()) for eta in sorted(ETAS)]
    table = curve.table.to_pydict()
    assert table["images"] == counts
    assert table["retention"] == [count / 300 for count in counts]
    assert table["near_duplicates"] == [300 - count for count in counts]
    assert table["outliers"] == [0] * 4
    # Table 2 of the paper: epochs times images is that of 200 epochs of all; 5 % are trained for 4,000.
    assert table["epochs"] == [round(200 * 300 / count) for count in counts]
    assert counts == sorted(counts)


def test_the_curve_prints_as_a_table():
    curve = MedDEL(scope="pool", epsilon=None).sweep(np.eye(4), [0.5, 0.7])
    assert [line.split() for line in str(curve).splitlines()] == [
        ["eta", "images", "retention", "epochs"],
        ["0.5", "4", "100.00%", "200"],
        ["0.7", "4", "100.00%", "200"],
    ]


def test_a_retention_or_eta_of_the_selector_does_not_matter():
    x = oracle.clumps(100, 8)
    plain = MedDEL(epsilon=None).sweep(x, [0.8])
    for settings in ({"retention": 0.9}, {"eta": 0.3}):
        assert MedDEL(epsilon=None, **settings).sweep(x, [0.8]).table == plain.table


def test_a_sweep_without_more_is_over_the_etas_of_table_2():
    table = (Path(__file__).parents[1] / "data" / "table2.csv").read_text(encoding="utf-8")
    etas = sorted(float(row["eta"]) for row in csv.DictReader(table.splitlines()) if float(row["eta"]) < 1)
    assert [selection.eta for selection in MedDEL(epsilon=None).sweep(oracle.clumps(100, 8))] == etas


@pytest.mark.parametrize("scope", ["cluster", "pool"])
def test_a_sweep_over_retentions_is_what_each_gives_alone(scope):
    x = oracle.clumps(200, 8, spread=0.4)
    curve = MedDEL(scope=scope, epsilon=None, eta=0.9).sweep(x, retention=[0.5, 0.05, 0.2])
    assert [selection.summary.kept for selection in curve] == [10, 40, 100]
    for selection, share in zip(curve, (0.05, 0.2, 0.5), strict=True):
        alone = MedDEL(retention=share, scope=scope, epsilon=None).select(x)
        assert selection.table.equals(alone.table)
        assert selection.settings == alone.settings


def test_sweeps_that_cannot_be():
    x = oracle.noise(10, 3)
    with pytest.raises(InvalidArgument, match="leave max_iterations at 1"):
        MedDEL(eta=0.9, max_iterations=2).sweep(x, [0.5])
    with pytest.raises(InvalidArgument, match=r"eta must be 'auto' or a cosine in \[-1, 1\], got 1\.5"):
        MedDEL(epsilon=None).sweep(x, [0.5, 1.5])
    with pytest.raises(InvalidArgument, match=r"an eta of a sweep must be a cosine in \[-1, 1\], got 'auto'"):
        MedDEL(epsilon=None).sweep(x, [0.5, "auto"])
    with pytest.raises(InvalidArgument, match="at least one eta"):
        MedDEL(epsilon=None).sweep(x, [])
    with pytest.raises(InvalidArgument, match="over eta or over retention: give one"):
        MedDEL(epsilon=None).sweep(x, [0.5], retention=[0.1])
    for wrong in ([], 0.1, "0.1"):
        with pytest.raises(InvalidArgument, match="at least one retention"):
            MedDEL(epsilon=None).sweep(x, retention=wrong)
    with pytest.raises(InvalidArgument, match=r"retention must be a fraction .* write 0\.05"):
        MedDEL(epsilon=None).sweep(x, retention=[0.1, "5%"])

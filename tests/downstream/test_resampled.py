"""The corrected resampled t interval: by hand, by simulation where the truth is known, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from meddel_hf.downstream.resampled import resampled_interval
from meddel_hf.errors import InvalidArgument

T_4 = 2.776  # 97.5 % quantile of t with 4 degrees of freedom, from a printed table


def test_by_hand():
    results = [0.02, 0.05, -0.01, 0.04, 0.00]  # mean 0.02, squared deviations 0, 9, 9, 4, 4 ten-thousandths
    interval = resampled_interval(results, 0.2)
    half = T_4 * np.sqrt((1 / 5 + 0.25) * 0.0026 / 4)
    assert interval.value == pytest.approx(0.02)
    assert (interval.low, interval.high) == pytest.approx((0.02 - half, 0.02 + half), abs=1e-5)
    assert not interval.shown
    assert resampled_interval([0.02, 0.021, 0.019, 0.02], 0.2).shown


def test_without_correlation_it_is_the_plain_t_interval():
    results = np.random.default_rng(0).normal(size=5)
    interval = resampled_interval(results, 0)
    assert interval.high - interval.value == pytest.approx(T_4 * results.std(ddof=1) / np.sqrt(5), rel=1e-3)


# ---- how often it holds the truth: a nearest-mean classifier on frames of two classes, 20 splits, paired with random


def farthest(x: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    return np.argsort(-(x**2).sum(axis=1))[:k]


def centremost(x: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    return np.argsort((x**2).sum(axis=1))[:k]


def at_random(x: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(len(x))[:k]


def accuracy(x, y, train, test) -> float:
    means = [
        x[train][y[train] == c].mean(axis=0) if (y[train] == c).any() else np.full(x.shape[1], 9.0) for c in (0, 1)
    ]
    answers = np.linalg.norm(x[test] - means[0], axis=1) > np.linalg.norm(x[test] - means[1], axis=1)
    return float(np.mean([(answers[y[test] == c] == c).mean() for c in (0, 1)]))


def experiment(rng: np.random.Generator, choose, n: int, k: int, splits: int = 20) -> tuple[np.ndarray, float]:
    """(splits,) differences from random of one data set, and the share of chosen frames that two splits share"""
    y = np.arange(n) % 2
    x = rng.normal(size=(n, 5))
    x[:, 0] += 0.7 * (2 * y - 1)
    differences, member = [], np.zeros((splits, n))
    for split in range(splits):
        order = rng.permutation(n)
        test, pool = order[: n // 5], order[n // 5 :]
        random = np.mean([accuracy(x, y, pool[at_random(x[pool], k, rng)], test) for _ in range(5)])
        chosen = pool[choose(x[pool], k, rng)]
        member[split, chosen] = 1
        differences.append(accuracy(x, y, chosen, test) - random)
    common = member @ member.T / k
    return np.array(differences), float((common.sum() - splits) / (splits**2 - splits))


@pytest.fixture(scope="module")
def experiments():
    rng = np.random.default_rng(1)
    rules = {"random": at_random, "farthest": farthest, "centremost": centremost}
    return {name: [experiment(rng, rule, 300, 16) for _ in range(150)] for name, rule in rules.items()}


def holds(experiments, correlation) -> float:
    """Share of experiments whose interval holds the mean over all of them; correlation: of an experiment's overlap."""
    truth = np.mean([differences for differences, _ in experiments])
    intervals = [resampled_interval(differences, correlation(overlap)) for differences, overlap in experiments]
    return float(np.mean([interval.low <= truth <= interval.high for interval in intervals]))


@pytest.mark.parametrize("rule", ["random", "farthest"])
def test_corrected_intervals_hold_the_truth(experiments, rule):
    assert holds(experiments[rule], lambda overlap: 0.2) >= 0.94


def test_plain_intervals_are_too_narrow_where_choices_repeat(experiments):
    assert holds(experiments["farthest"], lambda overlap: 0) < 0.85


def test_a_selector_that_takes_the_same_frames_needs_the_cautious_interval(experiments):
    """Frames nearest to the middle are the same ones in every split, and their luck is."""
    assert holds(experiments["centremost"], lambda overlap: 0.2) < 0.85
    assert holds(experiments["centremost"], lambda overlap: max(overlap, 0.2)) >= 0.94


# ---- refused


@pytest.mark.parametrize(
    ("results", "correlation", "level", "words"),
    [
        ([0.1], 0.2, 0.95, "two of them at least"),
        ([0.1, float("nan")], 0.2, 0.95, "finite"),
        ([0.1, 0.2], 1, 0.95, "correlation"),
        ([0.1, 0.2], 0.2, 95, "level"),
    ],
)
def test_refused(results, correlation, level, words):
    with pytest.raises(InvalidArgument, match=words):
        resampled_interval(results, correlation, level=level)

"""A classifier on chosen frames alone: against least squares, and what classes that were not chosen count as."""

from __future__ import annotations

import numpy as np
import pytest

from meddel_hf.downstream.labels.classes import ClassTask
from meddel_hf.downstream.probing.classifiers import Ridge
from meddel_hf.errors import InvalidArgument


def task(seed: int = 0, sizes=(60, 30, 10), dim: int = 20, apart: float = 1.0) -> ClassTask:
    rng = np.random.default_rng(seed)
    at = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    features = rng.normal(0, apart, (len(sizes), dim))[at] + rng.normal(0, 1, (len(at), dim))
    return ClassTask(features.astype(np.float32), [f"class {k}" for k in at], [str(row) for row in range(len(at))])


def balanced(truth: list[str], answers: list[str]) -> float:
    right = {name: [said == name for said, true in zip(answers, truth, strict=True) if true == name] for name in truth}
    return sum(sum(each) / len(each) for each in right.values()) / len(right)


def least_squares(task: ClassTask, chosen: np.ndarray, test: np.ndarray, penalty: float) -> list[str]:
    """Answers of weighted ridge on standardised features, solved as one least-squares problem."""
    x = task.features.astype(np.float64)
    mean, scale = x[chosen].mean(axis=0), x[chosen].std(axis=0)
    x = (x - mean) / scale
    names = sorted({task.labels[row] for row in chosen})
    y = np.array([names.index(task.labels[row]) for row in chosen])
    root = np.sqrt(len(chosen) / len(names) / np.bincount(y))[y][:, None]
    d = x.shape[1]
    left = np.vstack([
        np.hstack([x[chosen] * root, root]), np.hstack([np.sqrt(penalty * len(chosen)) * np.eye(d), np.zeros((d, 1))])
    ])  # fmt: skip
    right = np.vstack([(2 * np.eye(len(names))[y] - 1) * root, np.zeros((d, len(names)))])
    weights = np.linalg.lstsq(left, right, rcond=None)[0]
    return [names[k] for k in (np.hstack([x[test], np.ones((len(test), 1))]) @ weights).argmax(axis=1)]


def test_few_frames_are_fitted_with_the_documented_penalty():
    subject = task()
    rng = np.random.default_rng(5)
    for _ in range(5):
        order = rng.permutation(100)
        chosen, test = order[:12], order[40:]
        answers = least_squares(subject, chosen, test, penalty=20 / 20)
        assert subject.score(chosen, test) == pytest.approx(balanced([subject.labels[row] for row in test], answers))


def test_many_frames_choose_their_penalty_on_held_out_groups():
    subject = task(sizes=(60, 60))
    chosen, test = np.arange(60), np.arange(60, 120)
    y = np.array([int(subject.labels[row][-1]) for row in chosen])
    penalty = Ridge.fit(subject.features[chosen], y, [subject.groups[row] for row in chosen]).penalty
    answers = least_squares(subject, chosen, test, penalty)
    assert subject.score(chosen, test) == pytest.approx(balanced([subject.labels[row] for row in test], answers))


def test_what_is_not_chosen_does_not_count():
    subject = task()
    order = np.random.default_rng(5).permutation(100)
    chosen, test = order[:16], order[60:]
    before = subject.score(chosen, test)
    features, labels = subject.features.copy(), list(subject.labels)
    for row in order[16:60]:
        features[row], labels[row] = 1e3, "class 0"
    assert ClassTask(features, labels, subject.groups).score(chosen, test) == before


def test_a_class_that_was_not_chosen_is_never_right():
    subject = task(apart=50)  # told apart without an error, so that only the class that is missing is wrong
    names = np.array(subject.labels)
    chosen = np.concatenate([np.flatnonzero(names == "class 0")[:8], np.flatnonzero(names == "class 1")[:8]])
    test = np.setdiff1d(np.arange(100), chosen)
    assert subject.score(chosen, test) == pytest.approx(2 / 3)
    assert subject.score(chosen[:8], test) == pytest.approx(1 / 3)  # of one class, which is then always the answer


def test_refused():
    with pytest.raises(InvalidArgument, match="one of each for every frame"):
        ClassTask(np.zeros((3, 2), np.float32), ["a", "b"], ["1", "2", "3"])

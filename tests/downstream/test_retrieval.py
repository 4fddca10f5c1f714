"""Retrieval against every pair looked at one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from meddel_hf.downstream.retrieval import instance_scores, scene_scores
from meddel_hf.errors import InvalidDataset

N = 9
IDS = [f"f{row}" for row in range(N)]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return math.fsum(a * b) / math.sqrt(math.fsum(a * a) * math.fsum(b * b))


def nearest(features: np.ndarray, row: int) -> int:
    return max(
        (other for other in range(len(features)) if other != row), key=lambda o: cosine(features[row], features[o])
    )


@pytest.mark.parametrize("noise", [0.1, 1.0, 3.0])
def test_instances_are_found_as_by_looking_at_every_pair(noise):
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(N, 1, 6)) * rng.uniform(0.1, 9, (N, 1, 1))
    views = (frames + noise * rng.normal(size=(N, 2, 6))).astype(np.float32)
    scores = instance_scores({"trunk": views, "head": views[:, ::-1, :3]}, IDS, ["a", "b", "c"] * 3)
    assert (scores.measure, scores.sets) == ("accuracy", ["trunk", "head"])
    for name, given in (("trunk", views), ("head", views[:, ::-1, :3])):
        flat = given.astype(np.float64).reshape(2 * N, -1)
        hits = [nearest(flat, row) == (row + 1 if row % 2 == 0 else row - 1) for row in range(2 * N)]
        expected = np.reshape(hits, (N, 2)).mean(axis=1)
        part = scores.of(name)
        np.testing.assert_array_equal(part.table["score"].to_numpy(), expected)
        assert part.value() == pytest.approx(np.mean(hits))
        assert part.table["group"].to_pylist() == ["a", "b", "c"] * 3


def test_an_encoder_that_sees_everything_finds_all_and_a_constant_one_no_more_than_one():
    everything = np.repeat(np.eye(N, dtype=np.float32)[:, None], 2, axis=1)
    assert instance_scores({"trunk": everything}, IDS, IDS).value() == 1
    constant = np.ones((N, 2, 4), np.float32)
    assert instance_scores({"trunk": constant}, IDS, IDS).value() <= 1 / N
    nearly = constant + 1e-7 * np.random.default_rng(0).random((N, 2, 4)).astype(np.float32)
    assert instance_scores({"trunk": nearly}, IDS, IDS).value() < 0.5


def test_scenes_are_found_as_by_looking_at_every_pair():
    rng = np.random.default_rng(1)
    groups = ["v1", "v2", "v1", "alone", "v2", "v3", "v3", "v3", "lonely"]
    place = {name: rng.normal(size=5) for name in groups}
    features = np.stack([place[g] + 0.8 * rng.normal(size=5) for g in groups]).astype(np.float32)
    scores = scene_scores("video", features, IDS, groups)
    asked = [row for row, group in enumerate(groups) if groups.count(group) > 1]
    assert scores.table["id"].to_pylist() == [IDS[row] for row in asked]
    expected = [float(groups[nearest(features.astype(np.float64), row)] == groups[row]) for row in asked]
    assert scores.table["score"].to_pylist() == expected
    assert 0 < scores.value() < 1
    assert scores.sets == ["video"]
    assert scores.table["label"].to_pylist() == scores.table["group"].to_pylist() == [groups[row] for row in asked]


def test_a_constant_encoder_finds_scenes_by_chance_at_most():
    groups = [f"v{row // 2}" for row in range(40)]
    scores = scene_scores("video", np.ones((40, 3), np.float32), [str(row) for row in range(40)], groups)
    assert scores.value() <= 2 / 40


def test_what_cannot_be_told_apart_is_refused():
    with pytest.raises(InvalidDataset, match="1 frame is left to find among others: expected two at least"):
        instance_scores({"trunk": np.ones((1, 2, 3), np.float32)}, ["a"], ["a"])
    with pytest.raises(InvalidDataset, match="1 of 3 groups hold two frames or more: expected two such groups"):
        scene_scores("video", np.ones((4, 3), np.float32), list("abcd"), ["v", "v", "w", "x"])


def test_a_dead_encoder_finds_nothing_and_stops_nothing():
    """Zeros, or numbers that are not: as of a network whose last layer has died on some frames."""
    rng = np.random.default_rng(2)
    views = rng.normal(size=(N, 2, 4)).astype(np.float32)
    views[:, 1] = views[:, 0]
    views[2], views[5, 1], views[7, 0, 1] = 0, 0, np.nan
    found = instance_scores({"trunk": views}, IDS, IDS).table["score"].to_pylist()
    assert [found[row] for row in (2, 5, 7)] == [0, 0, 0]
    assert [found[row] for row in (0, 1, 3, 4, 6, 8)] == [1] * 6
    assert instance_scores({"trunk": np.zeros((N, 2, 4), np.float32)}, IDS, IDS).value() == 0
    groups = [f"v{row // 2}" for row in range(8)]
    features = np.repeat(np.eye(4, dtype=np.float32), 2, axis=0)
    features[3] = 0
    assert scene_scores("v", features, IDS[:8], groups).table["score"].to_pylist() == [1, 1, 0, 0, 1, 1, 1, 1]

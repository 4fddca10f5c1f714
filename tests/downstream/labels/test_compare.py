"""Selectors compared by what is learned from their choices: pairing, seeds, budgets, resumption; labels stay unseen."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from meddel_hf.downstream.labels.arms import Chooser
from meddel_hf.downstream.labels.budgets import check_budget, frames_of, named
from meddel_hf.downstream.labels.classes import ClassTask
from meddel_hf.downstream.labels.compare import FILE, PARTS, compare_choices, load_outcomes
from meddel_hf.downstream.labels.outcomes import COLUMNS, Outcomes, markdown, text
from meddel_hf.downstream.labels.sets import class_task
from meddel_hf.downstream.labels.task import Frames
from meddel_hf.downstream.probing.labels import Labelled
from meddel_hf.embedding.store import EmbeddingStore, Shard, StoreWriter
from meddel_hf.errors import IncompleteStore, InvalidArgument, InvalidDataset, Mismatch

K_CENTRE = Chooser("k-centre", "k-centre")


def pool(folder, sizes=(150, 12, 12, 12), seed: int = 0, **columns) -> tuple[EmbeddingStore, Dataset]:
    """Frames of a class each in a heap of its own, the first heap far larger; with a store that holds them."""
    rng = np.random.default_rng(seed)
    at = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    vectors = np.eye(8)[at] + rng.normal(0, 0.08, (len(at), 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    ids = [f"frame/{row:03}" for row in range(len(at))]
    dataset = Dataset.from_dict({"id": ids, "label": [f"class {k}" for k in at], **columns})
    writer = StoreWriter.begin(folder, {"encoder": "a", "pool": None, "revision": None}, {"pool": dataset._fingerprint})
    writer.write(Shard(0, 0, ids, [None] * len(ids), vectors))
    return writer.finish(dim=8, row_ids=False), dataset


@pytest.fixture
def made(tmp_path) -> tuple[Frames, ClassTask]:
    return class_task(*pool(tmp_path / "store"))


def rows(outcomes: Outcomes) -> list[dict]:
    return outcomes.table.to_pylist()


# ---- what is learned


def test_choosing_rare_classes_beats_random(made, tmp_path):
    """Of 8 frames k-centre takes every heap, random mostly the large one."""
    outcomes = compare_choices(*made, [K_CENTRE], tmp_path / "out", budgets=(8,), splits=6)
    line = next(line for line in outcomes.lines() if line.arm == "k-centre")
    assert line.mean > 0.9
    assert line.versus_random.low > 0.1
    assert "k-centre | **+" in markdown(outcomes)
    head, chance, far, _, said = text(outcomes).splitlines()
    assert head.split() == ["frames", "to", "label", "8"]
    assert chance.split() == ["random,", "score", f"{100 * outcomes.lines()[0].mean:.1f}"]
    assert far.startswith("k-centre, difference  +")
    assert "*" in far
    assert said.startswith(
        "random: balanced accuracy in per cent; the others: their difference from random in percentage"
    )


def test_a_score_is_that_of_the_chosen_frames(made, tmp_path):
    """Each row again, from its ids alone: what was chosen lay in the pool, and the task says that score."""
    frames, task = made
    outcomes = compare_choices(frames, task, [K_CENTRE], tmp_path / "out", budgets=(6, 0.1), splits=3)
    assert len(outcomes.table) == 3 * 2 * (10 + 1)
    place = {id: row for row, id in enumerate(frames.ids)}
    for row in rows(outcomes):
        could, test = frames.split(row["split"])
        chosen = np.array([place[id] for id in row["chosen"]])
        assert set(chosen) <= set(could)
        assert not set(chosen) & set(test)
        assert len(chosen) == row["frames"] == (6 if row["budget"] == "6" else round(0.1 * len(could)))
        assert (row["pool"], row["tested"]) == (len(could), len(test))
        assert row["score"] == task.score(chosen, test)


def test_random_is_drawn_with_seeds_of_its_own_in_each_split(made, tmp_path):
    outcomes = compare_choices(*made, [], tmp_path / "out", budgets=(6,), splits=3)
    assert len({row["seed"] for row in rows(outcomes)}) == len({tuple(row["chosen"]) for row in rows(outcomes)}) == 30


def test_an_arm_that_is_random_is_the_baseline(made, tmp_path):
    arms = [K_CENTRE, Chooser("chance", "random", draws=4)]
    outcomes = compare_choices(*made, arms, tmp_path / "out", budgets=(6,), splits=2)
    assert outcomes.random == "chance"
    assert outcomes.arms == ["chance", "k-centre"]
    assert sum(row["arm"] == "chance" for row in rows(outcomes)) == 8


# ---- no label reaches a selector


def test_selectors_read_what_is_known_before_labelling(tmp_path):
    columns = {"center": ["c1", "c2"] * 93, "group": [None] * 186}
    frames, _ = class_task(*pool(tmp_path / "store", **columns))
    assert sorted(frames.columns.column_names) == ["center", "group", "source"]
    by_centre = Chooser("centres", "random-stratified", {"by": "center"})
    chosen = by_centre.chosen(frames.vectors, frames.columns, 10, 0)
    assert sum(frames.columns[int(row)]["center"] == "c1" for row in chosen) == 5
    with pytest.raises(InvalidDataset, match="no column 'label'"):
        Chooser("labels", "random-stratified", {"by": "label"}).chosen(frames.vectors, frames.columns, 10, 0)


def test_stratified_draws_go_by_centre_and_source_also_where_neither_is_known(made):
    frames, _ = made
    chosen = Chooser("strata", "random-stratified").chosen(frames.vectors, frames.columns, 10, 0)
    assert len(chosen) == 10


def test_what_is_chosen_does_not_depend_on_labels(made):
    frames, _ = made
    could, _ = frames.split(0)
    first = K_CENTRE.chosen(frames.vectors[could], frames.columns.select(could), 7, 3)
    other = Frames(frames.ids, frames.vectors, frames.groups, frames.strata[::-1], frames.columns)
    assert K_CENTRE.chosen(other.vectors[could], other.columns.select(could), 7, 3).tolist() == first.tolist()


# ---- splits


def test_splits_part_no_group_and_share_out_every_class(tmp_path):
    store, dataset = pool(tmp_path / "store", group=[f"video {row // 3}" for row in range(186)])
    frames, _ = class_task(store, dataset)
    parts = [frames.split(seed) for seed in range(5)]
    for could, test in parts:
        assert sorted([*could, *test]) == list(range(186))
        assert not {frames.groups[row] for row in could} & {frames.groups[row] for row in test}
    assert len({tuple(test) for _, test in parts}) == 5
    frames, _ = class_task(*pool(tmp_path / "other"))
    for could, test in (frames.split(seed) for seed in range(5)):
        for part, least in ((could, 9), (test, 2)):
            counts = [sum(frames.strata[row] == f"class {k}" for row in part) for k in range(4)]
            assert min(counts) >= least


# ---- going on


def test_a_stopped_run_goes_on(made, tmp_path):
    """Stopped after every line, it is continued, and ends with the table of a run that was not stopped."""
    whole = compare_choices(*made, [K_CENTRE], tmp_path / "whole", budgets=(6,), splits=3)

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    for _ in range(6):
        with pytest.raises(KeyboardInterrupt):
            compare_choices(*made, [K_CENTRE], tmp_path / "out", budgets=(6,), splits=3, say=stop)
    with pytest.raises(IncompleteStore):
        load_outcomes(tmp_path / "out")
    outcomes = compare_choices(*made, [K_CENTRE], tmp_path / "out", budgets=(6,), splits=3, say=stop)
    assert outcomes.table.equals(whole.table)
    read = load_outcomes(tmp_path / "out")
    assert read.table.equals(whole.table)
    assert (read.random, read.measure) == ("random", "balanced-accuracy")


def test_arms_and_splits_are_added(made, tmp_path):
    out = tmp_path / "out"
    compare_choices(*made, [K_CENTRE], out, budgets=(6,), splits=2)
    before = {path: path.stat().st_mtime_ns for path in (out / PARTS).rglob("*.parquet")}
    more = [K_CENTRE, Chooser("easy", "prototypes-easy")]
    outcomes = compare_choices(*made, more, out, budgets=(6,), splits=3)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert outcomes.splits == 3
    assert outcomes.arms == ["random", "k-centre", "easy"]


def test_another_comparison_is_refused(made, tmp_path):
    frames, task = made
    compare_choices(frames, task, [], tmp_path / "out", budgets=(6,), splits=2)
    with pytest.raises(Mismatch, match="another budgets"):
        compare_choices(frames, task, [], tmp_path / "out", budgets=(8,), splits=2)
    other = ClassTask(frames.vectors[:, ::-1], frames.strata, frames.groups)
    with pytest.raises(Mismatch, match="another task"):
        compare_choices(frames, other, [], tmp_path / "out", budgets=(6,), splits=2)


def test_options_under_the_same_label_are_another_arm(made, tmp_path):
    first = compare_choices(*made, [Chooser("mine", "k-centre")], tmp_path / "out", budgets=(6,), splits=2)
    arm = Chooser("mine", "k-centre", {"first": "medoid"})
    second = compare_choices(*made, [arm], tmp_path / "out", budgets=(6,), splits=2)
    fresh = compare_choices(*made, [arm], tmp_path / "fresh", budgets=(6,), splits=2)
    assert second.table.equals(fresh.table)
    assert not second.table.equals(first.table)


def test_a_damaged_part_is_named(made, tmp_path):
    compare_choices(*made, [], tmp_path / "out", budgets=(6,), splits=2)
    part = next((tmp_path / "out" / PARTS).rglob("*.parquet"))
    part.write_bytes(part.read_bytes()[:200])
    with pytest.raises(IncompleteStore, match="delete it, and the same command runs it again"):
        compare_choices(*made, [], tmp_path / "out", budgets=(6,), splits=2)


def test_a_changed_table_is_refused(made, tmp_path):
    compare_choices(*made, [], tmp_path / "out", budgets=(6,), splits=2)
    table = pq.read_table(tmp_path / "out" / FILE)
    pq.write_table(table.slice(1), tmp_path / "out" / FILE)
    with pytest.raises(IncompleteStore):
        load_outcomes(tmp_path / "out")


# ---- summaries


def outcomes_of(scores: dict[str, list[list[float]]], chosen=lambda arm, split: ["a", "b"]) -> Outcomes:
    """scores: arm -> split -> draws."""
    values = [
        (arm, "2", 2, 80, 20, split, 100 * split + draw, score, chosen(arm, split))
        for arm, by_split in scores.items()
        for split, draws in enumerate(by_split)
        for draw, score in enumerate(draws)
    ]
    return Outcomes(
        pa.table([pa.array(column) for column in zip(*values, strict=True)], schema=COLUMNS), "random", "miou"
    )


def test_differences_are_paired_by_split():
    outcomes = outcomes_of({"random": [[0.4, 0.6], [0.7, 0.7], [0.1, 0.3]], "mine": [[0.6], [0.8], [0.3]]})
    difference = outcomes.difference("mine", "2")
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.1, 0.1, 0.1))  # three times 0.1
    assert outcomes.tested_share("2") == pytest.approx(0.2)


def test_interval_by_hand():
    outcomes = outcomes_of({"random": [[0.5], [0.5], [0.5]], "mine": [[0.5], [0.6], [0.7]]})
    difference = outcomes.difference("mine", "2")
    half = 4.303 * np.sqrt((1 / 3 + 0.25) * 0.01)  # 97.5 % quantile of t with 2 degrees of freedom
    assert (difference.low, difference.high) == pytest.approx((0.1 - half, 0.1 + half), abs=1e-4)


def test_no_difference_beyond_what_is_possible():
    difference = outcomes_of({"random": [[0.5], [0.1]], "mine": [[0.5], [0.9]]}).difference("mine", "2")
    assert (difference.low, difference.high) == (-1, 1)  # scores lie in [0, 1]; t alone gives 0.4 and 6.2 either way


def test_overlap_is_what_two_splits_have_in_common():
    sets = {0: ["a", "b"], 1: ["b", "c"], 2: ["d", "e"]}
    outcomes = outcomes_of({"random": [[0.5, 0.1]] * 3, "mine": [[0.5]] * 3}, lambda arm, split: sets[split])
    assert outcomes.overlap("mine", "2") == pytest.approx((0.5 + 0 + 0) / 3)
    assert outcomes.overlap("random", "2") == pytest.approx((0.5 + 0 + 0) / 3)


def test_the_cautious_interval_is_wider_where_choices_repeat():
    scores = {"random": [[0.5]] * 4, "mine": [[0.6], [0.7], [0.65], [0.68]]}
    same = next(line for line in outcomes_of(scores).lines() if line.arm == "mine")
    assert same.overlap == 1
    assert same.versus_random.shown
    assert not same.cautious.shown
    other = outcomes_of(scores, lambda arm, split: [f"{split} a", f"{split} b"])
    line = next(line for line in other.lines() if line.arm == "mine")
    assert (line.cautious.low, line.cautious.high) == (line.versus_random.low, line.versus_random.high)


def test_an_arm_that_was_not_run_is_named():
    with pytest.raises(InvalidArgument, match="no score at 16"):
        outcomes_of({"random": [[0.5]] * 2}).by_split("random", "16")


# ---- sets


def test_small_classes_are_left_out(tmp_path):
    frames, task = class_task(*pool(tmp_path / "store", sizes=(30, 20, 3)), rarest=10)
    assert len(frames) == 50
    assert set(task.labels) == {"class 0", "class 1"}
    with pytest.raises(InvalidDataset, match="nothing is there to tell apart"):
        class_task(*pool(tmp_path / "other", sizes=(30, 20, 3)), rarest=25)


def test_other_features_than_those_chosen_by(tmp_path):
    store, dataset = pool(tmp_path / "store")
    other, _ = pool(tmp_path / "other", seed=1)
    frames, task = class_task(store, dataset, features=other)
    assert np.array_equal(frames.vectors, store.embeddings)
    assert np.array_equal(task.features, other.embeddings)


def test_a_frame_that_is_not_embedded_is_named(tmp_path):
    store, dataset = pool(tmp_path / "store")
    labelled = Labelled({"frame/000": "a", "frame/999": "b"}, {}, {}, 0)
    with pytest.raises(Mismatch, match="frame/999"):
        Frames.of(store, dataset, labelled)


# ---- budgets and arguments


def test_budgets():
    assert frames_of(16, 100) == 16
    assert frames_of(0.1, 95) == round(9.5)
    assert named(16) == "16"
    assert named(0.1) == "10%"
    assert named(0.005) == "0.5%"
    for budget in (1, 0, -3, 1.0, 1.5, "16", True, float("nan")):
        with pytest.raises(InvalidArgument, match="a budget is"):
            check_budget(budget)
    for budget in (101, 0.001):
        with pytest.raises(InvalidArgument, match="that may be chosen"):
            frames_of(budget, 100)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"budgets": ()}, "budgets"),
        ({"budgets": (8, 8)}, "repeat"),
        ({"splits": 1}, "splits"),
        ({"budgets": (5000,)}, "that may be chosen"),
        ({"arms": [K_CENTRE, K_CENTRE]}, "labelled"),
    ],
)
def test_refused(made, tmp_path, change, words):
    arguments = {"arms": [], "budgets": (6,), "splits": 2, **change}
    with pytest.raises(InvalidArgument, match=words):
        compare_choices(*made, arguments.pop("arms"), tmp_path / "out", **arguments)


def test_a_wrong_option_is_told_before_any_work():
    with pytest.raises(InvalidArgument, match="no option"):
        Chooser("mine", "k-centre", {"colour": "red"})

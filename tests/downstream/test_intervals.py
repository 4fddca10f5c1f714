"""Intervals against closed forms and against experiments whose truth is known; pairing, groups, sets, alignment."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pyarrow as pa
import pytest

from meddel_hf.downstream.intervals import compare, expected_by_chance, interval, simultaneous_level
from meddel_hf.downstream.scores import COLUMNS, Scores
from meddel_hf.errors import InvalidArgument, Mismatch

T2 = 4.302652729696142  # 97.5 % point of Student's t with 2 degrees of freedom, from tables
T1 = 12.706204736432095


def run(values, groups=None, sets=None, ids=None, labels=None, measure="accuracy") -> Scores:
    """Scores of a probe: one frame for each value."""
    n = len(values)
    ids = ids or [f"frame-{i}" for i in range(n)]
    rows = {
        "id": ids,
        "set": sets or ["test"] * n,
        "group": ids if groups is None else [str(group) for group in groups],
        "label": labels or ["a"] * n,
        "score": np.asarray(values, np.float32),
        "intersection": [None] * n,
        "union": [None] * n,
    }
    return Scores(pa.table(rows, schema=COLUMNS), measure)


def experiment(rng, *, seeds=3, groups=40, size=1, by_seed=0.03, by_group=0.1, noise=0.1, mean=0.5) -> list[Scores]:
    """Runs of crossed random effects: value = mean + seed + group + noise; all clear of 0 and 1."""
    of_group = np.arange(groups).repeat(size)
    values = mean + rng.normal(0, by_seed, (seeds, 1)) + rng.normal(0, by_group, groups)[of_group]
    values = values + rng.normal(0, noise, (seeds, groups * size))
    return [run(each.clip(0, 1), of_group) for each in values]


def width(found) -> float:
    return found.high - found.low


def test_seeds_alone_give_students_interval():
    """Where every frame of a run scores the same, the seeds are all there is."""
    means = [0.5, 0.53, 0.58]
    found = interval([run([mean] * 30) for mean in means])
    half = T2 * np.std(means, ddof=1) / np.sqrt(3)
    assert found.value == pytest.approx(np.mean(means), abs=1e-6)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=1e-5)
    two = interval([run([0.5] * 30), run([0.51] * 30)])
    assert width(two) / 2 == pytest.approx(T1 * 0.005, rel=1e-3)
    assert (found.seeds, found.groups, found.frames, found.level) == (3, 30, 30, 0.95)


def test_frames_alone_give_the_interval_of_a_mean():
    """One seed: the draws must agree with the standard error of a mean of 100 frames."""
    values = np.random.default_rng(0).random(100)
    found = interval([run(values)], draws=20_000)
    expected = 1.9842 * values.std(ddof=1) / 10  # t, 99 degrees of freedom
    assert width(found) / 2 == pytest.approx(expected, rel=0.02)
    assert "one seed" in found.notes[0]
    assert not interval([run(values), run(values[::-1])]).notes


def test_balanced_accuracy_moves_as_the_means_of_its_classes_do():
    rng = np.random.default_rng(1)
    right = (rng.random(300) < 0.7).astype(float)
    labels = ["rare"] * 60 + ["common"] * 240
    found = interval([run(right, labels=labels, measure="balanced-accuracy")], draws=20_000)
    parts = [right[:60], right[60:]]
    error = np.sqrt(sum(part.var(ddof=1) / len(part) for part in parts)) / 2
    assert found.value == pytest.approx(np.mean([part.mean() for part in parts]))
    assert width(found) / 2 == pytest.approx(1.97 * error, rel=0.03)  # t, about 190 degrees of freedom


@pytest.mark.parametrize(
    "truth",
    [
        {"by_seed": 0.1, "by_group": 0.01, "noise": 0.01},
        {"by_seed": 0.02, "by_group": 0.1, "noise": 0.1},
        {"by_seed": 0.0, "by_group": 0.1, "noise": 0.1},
        {"by_seed": 0.0, "by_group": 0.0, "noise": 0.1},
        {"by_seed": 0.02, "by_group": 0.1, "noise": 0.05, "seeds": 5, "groups": 8, "size": 5},
        {"by_seed": 0.0, "by_group": 0.1, "noise": 0.1, "seeds": 1, "groups": 60},
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(truth):
    """400 experiments: at 95 % the count stays within three standard errors, 0.917 to 0.983, unless by bad luck."""
    rng = np.random.default_rng(2)
    found = [interval(experiment(rng, **truth), draws=200) for _ in range(400)]
    covered = np.mean([each.low <= 0.5 <= each.high for each in found])
    assert 0.917 <= covered <= 0.983


def test_differences_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        hard, luck = rng.normal(0, 0.1, 50), rng.normal(0, 0.05, 3)  # both arms see the same frames and seeds
        arms = [
            [run((mean + hard + rng.normal(0, 0.02, 50) + luck[k] + rng.normal(0, 0.01)).clip(0, 1)) for k in range(3)]
            for mean in (0.55, 0.5)
        ]
        found = compare(*arms, draws=200)
        covered += found.low <= 0.05 <= found.high
    assert 0.917 <= covered / 400 <= 0.983


def test_pairing_takes_out_what_both_arms_share():
    rng = np.random.default_rng(4)
    hard, luck = rng.normal(0, 0.15, 200), [0.0, 0.05, -0.05]
    a = [run((0.55 + hard + each + rng.normal(0, 0.01, 200)).clip(0, 1)) for each in luck]
    b = [run((0.5 + hard + each + rng.normal(0, 0.01, 200)).clip(0, 1)) for each in luck]
    paired = compare(a, b)
    unpaired = np.hypot(width(interval(a)), width(interval(b)))
    assert paired.shown
    assert paired.value == pytest.approx(0.05, abs=0.01)
    assert width(paired) < unpaired / 5
    shuffled = compare(a, [b[1], b[2], b[0]])  # other seeds than a's
    assert width(shuffled) > 3 * width(paired)
    assert not shuffled.shown


def test_frames_of_a_video_count_as_one():
    rng = np.random.default_rng(5)
    runs = experiment(rng, groups=20, size=15, by_seed=0, noise=0.01)
    frames = [Scores(each.table.set_column(2, "group", each.table["id"]), each.measure) for each in runs]
    assert interval(runs).groups == 20
    assert width(interval(runs)) > 3 * width(interval(frames))


def test_groups_are_drawn_within_their_test_set():
    """The sets differ, their frames do not: nothing can move, however often each frame is drawn."""
    values, sets = [0.9] * 10 + [0.1] * 30, ["easy"] * 10 + ["hard"] * 30
    found = interval([run(values, sets=sets)])
    assert width(found) == pytest.approx(0, abs=1e-9)
    assert found.value == pytest.approx(0.3)
    mixed = interval([run(values)])
    assert width(mixed) > 0.1


def test_a_group_name_in_two_sets_is_two_groups():
    groups = list("aabbcc") * 2
    found = interval([run(np.linspace(0, 1, 12), groups, sets=["x"] * 6 + ["y"] * 6)])
    assert found.groups == 6


def test_frames_are_joined_on_ids():
    rng = np.random.default_rng(6)
    a, b = experiment(rng), experiment(rng)
    expected = compare(a, b)
    order = rng.permutation(len(a[0]))
    moved = [Scores(each.table.take(pa.array(order)), each.measure) for each in b]
    assert compare(a, moved) == expected


def test_runs_that_were_tested_on_other_frames_are_refused():
    values = [0.1, 0.5, 0.9]
    other = run(values, ids=["frame-0", "frame-1", "frame-9"])
    for arms in (([run(values)], [other]), ([other], [run(values)]), ([run(values)], [run(values[:2])])):
        with pytest.raises(Mismatch, match=r"different frames .*lacks 'frame-\d' of test"):
            compare(*arms)
    with pytest.raises(Mismatch, match="disagree on the group"):
        compare([run(values)], [run(values, groups=[1, 1, 2])])
    with pytest.raises(Mismatch, match="disagree on the label"):
        interval([run(values), run(values, labels=["a", "a", "b"])])
    with pytest.raises(Mismatch, match="different measures"):
        interval([run(values), run(values, measure="balanced-accuracy")])
    assert interval([run(values), run(values, measure="balanced-accuracy")], measure="accuracy").value == pytest.approx(
        0.5
    )


def test_equal_arms_show_no_difference():
    runs = experiment(np.random.default_rng(7))
    found = compare(runs, runs)
    assert (found.value, found.low, found.high, found.shown) == (0, 0, 0, False)
    assert str(found) == "+0.000 (+0.000 to +0.000), no difference shown"


def test_the_other_way_round_is_the_negative():
    rng = np.random.default_rng(8)
    a, b = experiment(rng), experiment(rng, mean=0.8, by_seed=0.01)
    there, back = compare(a, b), compare(b, a)
    assert there.shown
    assert there.high < 0
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert "no difference" not in str(there)


def test_one_group_says_nothing_of_others():
    runs = [run([0.4, 0.5, 0.7], groups=[1, 1, 1]), run([0.5, 0.5, 0.7], groups=[1, 1, 1])]
    found = interval(runs)
    assert (found.low, found.high) == (0, 1)
    assert "too few groups" in found.notes[0]
    assert not compare(runs, runs[::-1]).shown


def test_two_seeds_far_apart_are_no_fault_of_the_frames():
    found = interval([run([0.1] * 30), run([0.9] * 30)])
    assert (found.groups, found.low, found.high) == (30, 0, 1)  # t of one degree of freedom: 12.7 times 0.4
    assert found.notes == ("too few seeds, or too few groups of frames, to say where the value lies",)


def test_a_rare_class_is_told():
    labels = ["common"] * 40 + ["rare"] * 4
    right = [1.0, 0.0] * 22
    found = interval([run(right, labels=labels, measure="balanced-accuracy")] * 2)
    assert found.rarest == 4
    assert found.notes == ("a class has 4 groups of frames only: the interval may be too narrow",)
    assert not interval([run(right, labels=labels)] * 2).notes  # the accuracy asks for no classes
    videos = interval([run(right, [i // 20 for i in range(44)], labels=labels, measure="balanced-accuracy")] * 2)
    assert (videos.groups, videos.rarest) == (3, 1)


def test_intervals_stay_within_what_is_possible():
    found = interval([run([1.0] * 19 + [0.0]), run([1.0] * 20), run([1.0] * 20)])
    assert found.high == 1
    assert 0 <= found.low < found.value
    assert interval([run([0.0] * 10 + [1.0] * 10)], level=1 - 1e-12).low == 0


def test_higher_levels_are_wider_and_draws_repeat():
    runs = experiment(np.random.default_rng(9))
    assert width(interval(runs, level=0.8)) < width(interval(runs)) < width(interval(runs, level=0.99))
    assert interval(runs, seed=1) == interval(runs, seed=1)
    assert interval(runs, seed=1) != interval(runs, seed=2)


def test_sets_keep_their_share_and_their_spread():
    """Three frames that differ and twelve that do not: the standard error of a stratified mean, by hand."""
    values, sets = [0.2, 0.5, 0.8] + [0.6] * 12, ["small"] * 3 + ["large"] * 12
    found = interval([run(values, sets=sets)], draws=20_000)
    error = 3 / 15 * np.std(values[:3], ddof=1) / np.sqrt(3)
    assert width(found) / 2 == pytest.approx(2.1604 * error, rel=0.03)  # t, 15 groups - 2 sets = 13 degrees of freedom


def test_a_video_that_outweighs_all_others_is_worth_few_groups():
    """39 frames and a video of 1,000: the mean is that of the video, of which there is one."""
    groups = [0] * 1000 + list(range(1, 40))
    values = np.random.default_rng(10).normal(0.5, 0.003, 40)[groups]
    at = {level: width(interval([run(values, groups)], level=level)) for level in (0.5, 0.95)}
    assert at[0.95] / at[0.5] == pytest.approx(T1, rel=1e-3)  # 1 degree of freedom, at which the 75 % point is 1
    even = {level: width(interval([run(values[999:])], level=level)) for level in (0.5, 0.95)}
    assert even[0.95] / even[0.5] == pytest.approx(2.0227 / 0.6808, rel=1e-3)  # 39 degrees of freedom


def test_memory_is_bounded():
    runs = [run(np.random.default_rng(seed).random(20_000)) for seed in range(3)]
    interval(runs, draws=2)
    tracemalloc.start()
    interval(runs, draws=2000)  # all draws at once would take 320 MB
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80e6


def test_many_comparisons():
    assert expected_by_chance(40) == pytest.approx(2)
    assert expected_by_chance(0) == 0
    assert simultaneous_level(1) == pytest.approx(0.95)
    # Twelve arms against one rival, nothing there: all intervals hold zero at once in 95 % of the experiments or more.
    level, all_held, some_shown = simultaneous_level(12), 0, 0
    rng = np.random.default_rng(11)
    for _ in range(60):
        rival = [run(rng.normal(0.5, 0.1, 30).clip(0, 1))]
        arms = [[run(rng.normal(0.5, 0.1, 30).clip(0, 1))] for _ in range(12)]
        all_held += not any(compare(arm, rival, draws=200, level=level).shown for arm in arms)
        some_shown += any(compare(arm, rival, draws=200).shown for arm in arms)
    assert all_held >= 52  # 57 expected at least; 52 is three standard errors below
    assert some_shown >= 8  # without the correction a third of the experiments would claim something


@pytest.mark.parametrize("ask", [{"draws": 1}, {"level": 0}, {"level": 95}, {"measure": "dice"}, {"measure": "f1"}])
def test_arguments_out_of_range(ask):
    with pytest.raises(InvalidArgument):
        interval([run([0.1, 0.2])], **ask)


def test_arms_need_the_same_number_of_runs():
    one = run([0.1, 0.2])
    with pytest.raises(InvalidArgument, match="have 2 and 1 runs"):
        compare([one, one], [one])
    with pytest.raises(InvalidArgument, match="at least one run"):
        compare([], [])
    for bad in (lambda: expected_by_chance(-1), lambda: simultaneous_level(0), lambda: simultaneous_level(3, 1.0)):
        with pytest.raises(InvalidArgument):
            bad()


def test_no_warnings_at_the_edges():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interval([run([0.3, 0.3])])
        interval([run([0.3, 0.4]), run([0.3, 0.4])])
        compare([run([1, 0], labels=["a", "b"], measure="balanced-accuracy")], [run([0, 1], labels=["a", "b"])],
                measure="balanced-accuracy")  # fmt: skip

"""Measures of scores against `normdel.mean_iou` and plain loops; files; errors."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from normdel import image_ious, mean_iou

from meddel_hf.downstream.scores import COLUMNS, Scores
from meddel_hf.errors import IncompleteStore, InvalidArgument, Mismatch


def masks(seed: int, n: int = 14, classes: int = 4) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(predictions, references): some frames are empty in both, class 3 never occurs."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(2):
        frames = [rng.integers(0, classes - 1, (5, 6)) * (rng.random((5, 6)) < 0.5) for _ in range(n)]
        frames[0] = frames[1] = np.zeros((5, 6), np.int64)
        made.append(frames)
    return made[0], made[1]


def of_masks(predictions: list[np.ndarray], references: list[np.ndarray], classes: int = 4, **columns) -> Scores:
    pairs = list(zip(predictions, references, strict=True))
    labels = range(1, classes)
    rows = {
        "id": [f"frame-{i}" for i in range(len(pairs))],
        "set": ["polyps"] * len(pairs),
        "group": [f"frame-{i}" for i in range(len(pairs))],
        "label": [None] * len(pairs),
        "score": image_ious(predictions, references, num_classes=classes),
        "intersection": [[int(((p == c) & (r == c)).sum()) for c in labels] for p, r in pairs],
        "union": [[int(((p == c) | (r == c)).sum()) for c in labels] for p, r in pairs],
    }
    return Scores(pa.table({**rows, **columns}, schema=COLUMNS), "miou")


def of_classes(labels: list[str], right: list[float], **columns) -> Scores:
    n = len(labels)
    ids = [f"frame-{i}" for i in range(n)]
    rows = {"id": ids, "set": ["test"] * n, "group": ids, "label": labels, "score": right}
    empty = {"intersection": [None] * n, "union": [None] * n}
    return Scores(pa.table({**rows, **empty, **columns}, schema=COLUMNS), "balanced-accuracy")


def repeated(frames: list[np.ndarray], weights: np.ndarray) -> list[np.ndarray]:
    return [frame for frame, times in zip(frames, weights, strict=True) for _ in range(int(times))]


@pytest.mark.parametrize(("measure", "over"), [("miou", "images"), ("miou-set", "set")])
def test_both_definitions_of_miou_are_those_of_the_metric(measure, over):
    predictions, references = masks(1)
    scores = of_masks(predictions, references)
    expected = mean_iou(predictions, references, over=over, num_classes=4)
    assert scores.value(measure) == pytest.approx(expected, abs=1e-7)  # scores are float32


@pytest.mark.parametrize(("measure", "over"), [("miou", "images"), ("miou-set", "set")])
def test_weights_are_how_often_a_frame_is_drawn(measure, over):
    predictions, references = masks(2)
    weights = np.random.default_rng(0).integers(0, 4, (20, len(predictions)))
    found = of_masks(predictions, references).values(weights, measure)
    for value, times in zip(found, weights, strict=True):
        drawn = repeated(predictions, times), repeated(references, times)
        assert value == pytest.approx(mean_iou(*drawn, over=over, num_classes=4), abs=1e-7)


@pytest.mark.parametrize("measure", ["miou", "miou-set", "dice"])
def test_nothing_there_and_nothing_claimed_is_1(measure):
    empty = [np.zeros((4, 4), np.int64)] * 3
    assert of_masks(empty, empty).value(measure) == 1
    predictions, references = masks(3)  # the first two frames are empty
    weights = np.zeros((1, len(predictions)))
    weights[0, :2] = 1
    assert of_masks(predictions, references).values(weights, measure)[0] == 1


def test_an_empty_draw_has_no_value():
    predictions, references = masks(4)
    scores = of_masks(predictions, references)
    for measure in ("miou", "miou-set", "dice"):
        assert np.isnan(scores.values(np.zeros((2, len(scores))), measure)).all()
    assert np.isnan(of_classes(["a", "b"], [1, 0]).values(np.zeros((1, 2)))).all()


def test_dice_is_the_mean_over_frames_of_the_mean_over_classes():
    predictions, references = masks(5)
    expected = []
    for p, r in zip(predictions, references, strict=True):
        of_frame = [
            2 * ((p == c) & (r == c)).sum() / ((p == c).sum() + (r == c).sum())
            for c in (1, 2, 3)
            if (p == c).any() or (r == c).any()
        ]
        expected.append(np.mean(of_frame) if of_frame else 1.0)
    assert of_masks(predictions, references).value("dice") == pytest.approx(np.mean(expected))


def test_balanced_accuracy_gives_every_class_the_same_say():
    labels = ["polyp"] * 2 + ["normal"] * 6
    scores = of_classes(labels, [1, 0, 1, 1, 1, 1, 1, 0])
    assert scores.value() == pytest.approx((1 / 2 + 5 / 6) / 2)
    assert scores.value("accuracy") == pytest.approx(6 / 8)
    only_normal = np.array([[0, 0, 1, 1, 1, 1, 1, 1]])  # a class that was not drawn does not count
    assert scores.values(only_normal)[0] == pytest.approx(5 / 6)


def test_sums_over_groups_give_the_same_measure():
    predictions, references = masks(6)
    scores = of_masks(predictions, references)
    groups = np.arange(len(scores)) % 5
    weights = np.random.default_rng(1).integers(0, 3, (7, 5))
    for measure in ("miou", "miou-set", "dice"):
        by_group = scores.ratios(measure).summed(groups, 5).values(weights)
        np.testing.assert_allclose(by_group, scores.values(weights[:, groups], measure))


def test_scores_of_one_set():
    scores = of_classes(["a", "b", "a", "b"], [1, 1, 0, 0], set=["easy", "easy", "hard", "hard"])
    assert scores.sets == ["easy", "hard"]
    assert (scores.of("easy").value(), scores.of("hard").value()) == (1, 0)
    with pytest.raises(InvalidArgument, match="'kvasir': expected one of easy, hard"):
        scores.of("kvasir")


def test_written_and_read(tmp_path):
    predictions, references = masks(7)
    scores = of_masks(predictions, references)
    scores.write(tmp_path)
    read = Scores.load(tmp_path)
    assert read.table.equals(scores.table)
    assert read.measure == "miou"
    assert [path.name for path in tmp_path.iterdir()] == ["scores.parquet"]


def test_a_folder_without_scores_is_named(tmp_path):
    with pytest.raises(IncompleteStore, match="not finished"):
        Scores.load(tmp_path)
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "scores.parquet")
    with pytest.raises(Mismatch, match="lacks the columns"):
        Scores.load(tmp_path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"score": [0.5, 1.5]}, r"fractions in \[0, 1\], got 0.5 to 1.5"),
        ({"score": [0.5, float("nan")]}, "NaN"),
        ({"score": [0.5, None]}, "1 of 2 rows of scores have no score"),
        ({"id": ["same", "same"]}, "repeat a frame"),
        ({"group": ["a", None]}, "have no group"),
        ({"label": ["a", None]}, "needs the label of every frame"),
    ],
)
def test_rows_that_are_no_scores(columns, message):
    with pytest.raises(InvalidArgument, match=message):
        of_classes(["a", "b"], columns.pop("score", [1, 0]), **columns)


def test_measures_of_masks_and_of_classes_are_kept_apart():
    predictions, references = masks(8)
    with pytest.raises(InvalidArgument, match="balanced-accuracy cannot be taken of masks; use miou"):
        of_masks(predictions, references).value("balanced-accuracy")
    with pytest.raises(InvalidArgument, match="dice cannot be taken of classes"):
        of_classes(["a", "b"], [1, 0]).value("dice")
    with pytest.raises(InvalidArgument, match="measure must be one of"):
        of_classes(["a", "b"], [1, 0]).value("f1")
    with pytest.raises(InvalidArgument, match="at least one"):
        Scores(COLUMNS.empty_table(), "miou")


def test_scores_show_every_measure_of_every_set():
    """Of three polyps one is told right, of the one normal frame that one: 2 of 4, and the mean of 1/3 and 1."""
    labels, right = ["polyp", "polyp", "polyp", "normal"], [1.0, 0.0, 0.0, 1.0]
    assert repr(of_classes(labels, right)) == (
        "Scores of 4 frames\naccuracy            0.5000  test\nbalanced-accuracy   0.6667  test"
    )
    told = repr(of_classes(labels, right, set=["a", "a", "b", "b"])).splitlines()
    assert [line.split() for line in told[1:]] == [
        ["accuracy", "0.5000", "a"], ["balanced-accuracy", "0.5000", "a"],
        ["accuracy", "0.5000", "b"], ["balanced-accuracy", "0.5000", "b"],
    ]  # fmt: skip
    predictions, references = masks(0)
    assert [line.split()[:2] for line in repr(of_masks(predictions, references)).splitlines()[1:]] == [
        ["miou", f"{mean_iou(predictions, references, num_classes=4):.4f}"],
        ["miou-set", f"{mean_iou(predictions, references, num_classes=4, over='set'):.4f}"],
        ["dice", f"{of_masks(predictions, references).value('dice'):.4f}"],
    ]

"""mIoU and NormDEL from masks: both definitions against an oracle on sets of pixels, and every error."""

from __future__ import annotations

import doctest
import math

import normdel.miou
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from normdel import image_ious, mean_iou

NAN = float("nan")
small_masks = st.integers(1, 5).flatmap(
    lambda width: st.lists(
        st.tuples(*[st.lists(st.integers(0, 3), min_size=width, max_size=width) for _ in range(2)]),
        min_size=1,
        max_size=4,
    )
)


def pixels(mask, label):
    """Coordinates of a label's pixels: the oracle's view of a mask."""
    return {(y, x) for y, row in enumerate(mask) for x, value in enumerate(row) if value == label}


def oracle(predictions, references, labels, over):
    """mIoU from sets of coordinates, straight from its two definitions."""

    def mean(values):
        return sum(values) / len(values) if values else 1.0

    def iou(pairs):
        either = sum(len(a | b) for a, b in pairs)
        return sum(len(a & b) for a, b in pairs) / either if either else None

    masks = list(zip(predictions, references, strict=True))
    groups = [[pair] for pair in masks] if over == "images" else [masks]
    per_group = []
    for group in groups:
        found = [iou([(pixels(a, label), pixels(b, label)) for a, b in group]) for label in labels]
        per_group.append(mean([value for value in found if value is not None]))
    return mean(per_group)


@given(small_masks, st.sampled_from(["images", "set"]), st.booleans())
def test_mean_iou_of_labels_equals_the_definitions(pairs, over, background):
    predictions, references = [[pair[0]] for pair in pairs], [[pair[1]] for pair in pairs]
    value = mean_iou(predictions, references, over=over, num_classes=4, background=background)
    assert value == pytest.approx(oracle(predictions, references, range(0 if background else 1, 4), over))


@given(small_masks, st.sampled_from(["images", "set"]), st.booleans(), st.sampled_from([1, 255, True]))
def test_mean_iou_of_binary_masks_equals_the_definitions(pairs, over, background, on):
    binary = [tuple([[value > 1 for value in mask]] for mask in pair) for pair in pairs]
    predictions, references = ([pair[side] for pair in binary] for side in (0, 1))
    expected = oracle(predictions, references, [False, True] if background else [True], over)
    given_masks = [np.where(mask, on, type(on)(0)) for mask in predictions]
    assert mean_iou(given_masks, references, over=over, background=background) == pytest.approx(expected)


def test_the_two_definitions_differ_and_images_of_different_sizes_mix():
    small, large = np.ones((2, 2), bool), np.ones((20, 20), bool)
    predictions, references = [np.zeros((2, 2), bool), large], [small, large]
    assert mean_iou(predictions, references) == 0.5
    assert mean_iou(predictions, references, over="set") == pytest.approx(400 / 404)
    assert image_ious(predictions, references).tolist() == [0.0, 1.0]


def test_ignored_pixels_do_not_count():
    assert mean_iou([[[1, 1, 2, 0]]], [[[1, 255, 2, 255]]], num_classes=3, ignore_index=255, background=True) == 1.0
    assert mean_iou([[[1, 1]]], [[[255, 255]]], num_classes=3, ignore_index=255) == 1.0


def test_two_empty_masks_agree_and_inputs_stay_as_they_were():
    prediction, reference = np.array([[0, 255]], np.uint8), np.array([[0, 0]], np.uint8)
    assert image_ious([reference, prediction], [reference, reference]).tolist() == [1.0, 0.0]
    assert prediction.tolist() == [[0, 255]]


MASK = [[0, 1], [1, 1]]
BAD_MASKS = [
    ({"predictions": [MASK], "references": [[[0, 1]]]}, r"prediction 0 has shape \(2, 2\) and its reference \(1, 2\)"),
    ({"predictions": [MASK, MASK], "references": [MASK]}, "2 predictions and 1 references: give pairs"),
    ({"predictions": [], "references": []}, "predictions is empty: expected at least one mask"),
    (
        {"predictions": [[[0, 7]]], "references": [[[0, 1]]]},
        "prediction 0 holds the value 7: a binary mask holds 0 and 1, or",
    ),
    ({"predictions": [[[0, 0.5]]], "references": [[[0, 1]]]}, "prediction 0 holds the value 0.5"),
    ({"predictions": [[[0, 1]]], "references": [[[1, 255]]]}, "reference 0 holds both 1 and 255"),
    ({"predictions": [[[0, NAN]]], "references": [[[0, 1]]]}, "prediction 0 holds the value nan"),
    (
        {"predictions": [[0, 1]], "references": [[0, 1]]},
        r"prediction 0 has shape \(2,\): expected a mask \(height, width\)",
    ),
    ({"predictions": [[[0], [0, 1]]], "references": [MASK]}, "prediction 0 is not a mask: its rows differ in length"),
    (
        {"predictions": [MASK], "references": [[["a", "b"]]]},
        "reference 0 is not a mask: it holds <U1, expected numbers",
    ),
    (
        {"predictions": [[[0, 3]]], "references": [[[0, 1]]], "num_classes": 3},
        r"prediction 0 holds the label 3: .* 0 ... 2",
    ),
    ({"predictions": [[[0, 1]]], "references": [[[0, -1]]], "num_classes": 3}, "reference 0 holds the label -1"),
    ({"predictions": [[[0, 1.5]]], "references": [[[0, 1]]], "num_classes": 3}, "prediction 0 holds the label 1.5"),
    ({"predictions": [MASK], "references": [MASK], "num_classes": 1}, "num_classes is 1: expected at least 2"),
    ({"predictions": [MASK], "references": [MASK], "ignore_index": 255}, "ignore_index needs num_classes"),
    (
        {"predictions": [MASK], "references": [MASK], "over": "pixels"},
        "over is 'pixels': expected one of 'images', 'set'",
    ),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD_MASKS)
def test_a_bad_mask_is_one_clear_error(load, arguments, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        mean_iou(**arguments)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=sentence):
        load("segmentation").compute(**arguments, retention=0.1)


def test_the_segmentation_config_scores_masks_of_many_sizes(load):
    generator = np.random.default_rng(0)
    references = [generator.integers(0, 2, (64 + i, 48)) for i in range(20)]
    predictions = [np.where(generator.random(mask.shape) < 0.2, 1 - mask, mask) for mask in references]
    metric = load("segmentation")
    miou = oracle([mask.tolist() for mask in predictions], [mask.tolist() for mask in references], [1], "images")
    results = metric.compute(predictions=predictions, references=references, retention=0.05, alpha=2)
    assert results["miou"] == pytest.approx(miou)
    assert results["del"] == pytest.approx(miou * math.exp(-0.1))
    assert results["normdel"] == pytest.approx(1 / (1 + math.exp(-miou * math.exp(-0.1))))
    for prediction, reference in zip(predictions[:10], references[:10], strict=True):
        metric.add(prediction=255 * prediction.astype(np.uint8), reference=reference.astype(bool))
    metric.add_batch(predictions=predictions[10:], references=references[10:])
    assert metric.compute(retention=0.05, alpha=2) == pytest.approx(results)
    over = metric.compute(predictions=predictions, references=references, retention=0.05, over="set", background=True)
    assert over["miou"] != results["miou"]


def test_a_retention_is_asked_for_beside_masks(load):
    with pytest.raises(ValueError, match="retention is missing: give the share"):
        load("segmentation").compute(predictions=[MASK], references=[MASK])
    with pytest.raises(ValueError, match="retention is 5: expected a fraction"):
        load("segmentation").compute(predictions=[MASK], references=[MASK], retention=5)
    with pytest.raises(ValueError, match="takes predictions and references"):
        load("segmentation").compute(predictions=[MASK], retention=0.1)


def test_the_docstring_examples_hold():
    failed, tried = doctest.testmod(normdel.miou)
    assert (failed, tried > 0) == (0, True)

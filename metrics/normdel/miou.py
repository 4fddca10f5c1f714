"""Mean intersection over union of segmentation masks, by either of its two definitions.

over="images": the IoU of each class in each image, averaged over the classes of the image, then over the images. Every
               image counts the same. Usual for polyps, and the default.
over="set":    intersections and unions summed over all images, one IoU per class, averaged over the classes. Every
               pixel counts the same. Usual for scene parsing (ADE20K, Cityscapes).

A class that neither the prediction nor the reference holds does not count there. Where no class counts, as when both
masks of an image are empty, nothing was there and nothing was claimed: the score is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Over = Literal["images", "set"]
Counts = NDArray[np.int64]


def mean_iou(
    predictions: Sequence[ArrayLike],
    references: Sequence[ArrayLike],
    *,
    over: Over = "images",
    num_classes: int | None = None,
    background: bool = False,
    ignore_index: int | None = None,
) -> float:
    """Mean IoU of n predicted masks, a fraction in [0, 1].

    predictions, references: n masks of shape (height, width); sizes may differ between images, not within a pair.
    num_classes:  None for binary masks (bool, 0 and 1, or 0 and 255); else the labels are 0 ... num_classes - 1.
    background:   whether class 0 counts as a class.
    ignore_index: a label of the references whose pixels do not count, such as 255; with num_classes only.
    Raises ValueError where masks do not pair up, are not masks, or hold other labels.

    >>> half, full = [[0, 255], [0, 0]], [[0, 255], [0, 255]]
    >>> mean_iou([half, full], [full, full])
    0.75
    >>> mean_iou([half], [full], background=True)  # the background's IoU is 2/3
    0.5833333333333333
    """
    if over not in get_args(Over):
        raise ValueError(f"over is {over!r}: expected one of {', '.join(map(repr, get_args(Over)))}")
    common, either = count_pixels(predictions, references, num_classes=num_classes, ignore_index=ignore_index)
    if over == "set":
        common, either = common.sum(axis=0, keepdims=True), either.sum(axis=0, keepdims=True)
    return float(_mean_over_classes(common, either, background).mean())


def image_ious(
    predictions: Sequence[ArrayLike],
    references: Sequence[ArrayLike],
    *,
    num_classes: int | None = None,
    background: bool = False,
    ignore_index: int | None = None,
) -> NDArray[np.float64]:
    """IoU of each image, (n,) float64 in [0, 1], averaged over its classes; the arguments are those of `mean_iou`.

    >>> image_ious([[[0, 1]], [[0, 0]]], [[[1, 1]], [[0, 0]]]).tolist()
    [0.5, 1.0]
    """
    common, either = count_pixels(predictions, references, num_classes=num_classes, ignore_index=ignore_index)
    return _mean_over_classes(common, either, background)


def count_pixels(
    predictions: Sequence[ArrayLike],
    references: Sequence[ArrayLike],
    *,
    num_classes: int | None = None,
    ignore_index: int | None = None,
) -> tuple[Counts, Counts]:
    """Pixels in the intersection and in the union of each class in each image: two (n, classes) int64."""
    if len(predictions) != len(references):
        raise ValueError(f"there are {len(predictions)} predictions and {len(references)} references: give pairs")
    if len(predictions) == 0:
        raise ValueError("predictions is empty: expected at least one mask")
    if num_classes is not None and num_classes < 2:
        raise ValueError(f"num_classes is {num_classes}: expected at least 2, or None for binary masks")
    if num_classes is None and ignore_index is not None:
        raise ValueError("ignore_index needs num_classes: a binary mask has no label to spare")
    counts = np.empty((2, len(predictions), num_classes or 2), dtype=np.int64)
    for i in range(len(predictions)):
        prediction, reference = as_mask(predictions[i], f"prediction {i}"), as_mask(references[i], f"reference {i}")
        if prediction.shape != reference.shape:
            raise ValueError(f"prediction {i} has shape {prediction.shape} and its reference {reference.shape}")
        if num_classes is None:
            counts[:, i] = _binary_counts(
                _foreground(prediction, f"prediction {i}"), _foreground(reference, f"reference {i}")
            )
        else:
            counts[:, i] = _label_counts(prediction, reference, i, num_classes, ignore_index)
    return counts[0], counts[1]


def as_mask(mask: ArrayLike, name: str) -> NDArray[Any]:
    """The mask as an array (height, width) of bool or numbers; `name` stands in the ValueError for anything else."""
    try:
        array = np.asarray(mask)
    except ValueError:
        raise ValueError(f"{name} is not a mask: its rows differ in length") from None
    if array.dtype.kind not in "buif":
        raise ValueError(f"{name} is not a mask: it holds {array.dtype}, expected numbers")
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: expected a mask (height, width)")
    return array


def _foreground(mask: NDArray[Any], name: str) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = mask != 0
    top = mask.max()
    if top not in (0, 1, 255) or (mask[inside] != top).any():
        other = mask[inside & (mask != 1) & (mask != 255)]
        found = f"the value {other[0]}" if other.size else "both 1 and 255"
        raise ValueError(
            f"{name} holds {found}: a binary mask holds 0 and 1, or 0 and 255; threshold it, or give num_classes"
        )
    return inside


def _binary_counts(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> Counts:
    """[intersections, unions] of background and foreground: (2, 2)."""
    common, either = np.count_nonzero(prediction & reference), np.count_nonzero(prediction | reference)
    return np.array([[prediction.size - either, common], [prediction.size - common, either]], dtype=np.int64)


def _label_counts(
    prediction: NDArray[Any], reference: NDArray[Any], i: int, num_classes: int, ignore_index: int | None
) -> Counts:
    """[intersections, unions] of every class: (2, num_classes)."""
    if ignore_index is not None:
        counted = reference != ignore_index
        prediction, reference = prediction[counted], reference[counted]
    for mask, name in ((prediction, f"prediction {i}"), (reference, f"reference {i}")):
        wrong = (mask < 0) | (mask >= num_classes)
        if mask.dtype.kind == "f":
            wrong |= mask % 1 != 0
        if wrong.any():
            raise ValueError(
                f"{name} holds the label {mask[wrong][0]}: expected whole numbers in 0 ... {num_classes - 1}"
            )
    pairs = prediction.astype(np.int64).ravel() * num_classes + reference.astype(np.int64).ravel()
    table = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    common = np.diagonal(table)
    return np.stack([common, table.sum(axis=0) + table.sum(axis=1) - common])


def _mean_over_classes(common: Counts, either: Counts, background: bool) -> NDArray[np.float64]:
    """(n, classes) counts -> (n,) IoU averaged over the classes that occur."""
    first = 0 if background else 1
    common, either = common[:, first:], either[:, first:]
    occurs = either > 0
    ious = np.divide(common, either, out=np.zeros(either.shape), where=occurs)
    number = occurs.sum(axis=1)
    return np.where(number > 0, ious.sum(axis=1) / np.maximum(number, 1), 1.0)

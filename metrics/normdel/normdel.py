"""NormDEL as a metric of the `evaluate` library, loaded by `evaluate.load`, never by `import`.

`evaluate` finds what to copy by reading the import lines: one module a line, and every sibling file imported here.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .formula import checked_fractions, del_index, normdel
from .miou import as_mask, mean_iou

if __name__ == "normdel.normdel":
    # As a submodule it would take the name of the function `normdel.normdel`, and `from normdel import normdel` break.
    raise ImportError('load the metric with evaluate.load("normdel"); the function is `from normdel import normdel`')

_DESCRIPTION = """\
NormDEL, the normalized data-effective learning index, weighs a downstream score m, such as mIoU, against the share R of
the pre-training data that it took: DEL = m * exp(-alpha * R), NormDEL = 1 / (1 + exp(-DEL)). It lies in [0.5, 0.7311);
more is better. Config "default" takes scores, config "segmentation" takes masks and computes their mIoU first.
"""

_CITATION = """\
@inproceedings{yang2024normdel,
  title     = {A Medical Data-Effective Learning Benchmark for Highly Efficient Pre-training of Foundation Models},
  author    = {Wenxuan Yang and Weimin Tan and Yuqi Sun and Bo Yan},
  booktitle = {ACM Multimedia},
  year      = {2024},
  note      = {arXiv:2401.17542}
}
"""

_DEFAULT_INPUTS = """
Args:
    performance (list of float): downstream scores, fractions in [0, 1].
    retention (list of float, or float): share of the pre-training pool kept for each score, or one for all, in (0, 1].
    alpha (float): what a unit of data costs, above 0. Defaults to 1, as in the paper.
    average ("mean" or None): the mean over the scores (default), or one value for each.

Returns:
    normdel: float in [0.5, 0.7311), or a list of them
    del: float in [0, 1), or a list of them

Examples:
    >>> import evaluate
    >>> metric = evaluate.load("normdel")
    >>> results = metric.compute(performance=[0.7095, 0.7202], retention=[0.05, 1.0], average=None)
    >>> [round(value, 4) for value in results["normdel"]]
    [0.6626, 0.5659]
"""

_SEGMENTATION_INPUTS = """
Args:
    predictions (list of masks): predicted masks (height, width): bool, 0 and 1, or 0 and 255; labels with num_classes.
    references (list of masks): reference masks, each of its prediction's shape.
    retention (float): share of the pre-training pool that was kept, in (0, 1].
    alpha (float): what a unit of data costs, above 0. Defaults to 1, as in the paper.
    over ("images" or "set"): mIoU as the mean over the images of each image's IoU (default), or of intersections and
        unions summed over the set.
    num_classes (int): labels are 0 ... num_classes - 1; None (default) for binary masks.
    background (bool): whether class 0 counts as a class. Defaults to False.
    ignore_index (int): a label of the references whose pixels do not count; with num_classes only.

Returns:
    normdel: float in [0.5, 0.7311)
    del: float in [0, 1)
    miou: float in [0, 1]

Examples:
    >>> import evaluate
    >>> metric = evaluate.load("normdel", "segmentation")
    >>> results = metric.compute(predictions=[[[0, 1], [0, 0]]], references=[[[0, 1], [0, 1]]], retention=0.05)
    >>> {name: round(value, 4) for name, value in results.items()}
    {'normdel': 0.6167, 'del': 0.4756, 'miou': 0.5}
"""

_CONFIGS = {
    "default": (
        datasets.Features({"performance": datasets.Value("float64"), "retention": datasets.Value("float64")}),
        _DEFAULT_INPUTS,
    ),
    # Masks wait as bytes: as nested lists, which evaluate would hand back, each pixel would take eight of them.
    "segmentation": (
        datasets.Features({"predictions": datasets.Value("binary"), "references": datasets.Value("binary")}),
        _SEGMENTATION_INPUTS,
    ),
}


# Each option of `_compute`, and what it is where it is not given; the other config's options are an error.
_OPTIONS: dict[str, dict[str, Any]] = {
    "default": {"average": "mean"},
    "segmentation": {"over": "images", "num_classes": None, "background": False, "ignore_index": None},
}


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _DEFAULT_INPUTS, _SEGMENTATION_INPUTS)
class Normdel(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """NormDEL from scores (config "default") or from masks (config "segmentation")."""

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in _CONFIGS:
            raise ValueError(f"normdel has the configs {', '.join(_CONFIGS)}, not {self.config_name!r}")
        features, inputs = _CONFIGS[self.config_name]
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=inputs,
            features=features,
            license="Apache-2.0",
            reference_urls=["https://arxiv.org/abs/2401.17542"],
        )

    def add(self, *, prediction: Any = None, reference: Any = None, **scores: Any) -> None:
        """Add one pair of masks, or one performance with its retention."""
        if self.config_name == "segmentation":
            self.add_batch(predictions=[prediction], references=[reference], **scores)
        else:
            self.add_batch(**{name: [value] for name, value in scores.items()})

    def add_batch(self, *, predictions: Any = None, references: Any = None, **scores: Any) -> None:
        """Add pairs of masks, or performances with their retentions; a bad value is refused before any is kept."""
        if self.config_name == "segmentation":
            predictions, references = _paired(predictions, references)
            super().add_batch(predictions=predictions, references=references, **scores)
            return
        missing = [name for name in ("performance", "retention") if scores.get(name) is None]
        if missing:
            raise ValueError(f"{missing[0]} is missing: config default takes performance and retention")
        performance, retention = checked_fractions(scores.pop("performance"), scores.pop("retention"))
        super().add_batch(performance=performance.ravel(), retention=retention.ravel(), **scores)

    def _compute(
        self,
        performance: Sequence[float] | None = None,
        retention: Sequence[float] | float | None = None,
        predictions: Sequence[bytes] | None = None,
        references: Sequence[bytes] | None = None,
        alpha: float = 1.0,
        average: str | None = "mean",
        over: str = "images",
        num_classes: int | None = None,
        background: bool = False,
        ignore_index: int | None = None,
    ) -> dict[str, Any]:
        given = {
            "average": average, "over": over, "num_classes": num_classes, "background": background,
            "ignore_index": ignore_index,
        }  # fmt: skip
        for config, options in _OPTIONS.items():
            for name, usual in options.items():
                if config != self.config_name and given[name] != usual:
                    raise ValueError(f"{name} is an option of config {config}, and this is config {self.config_name}")
        mine = {name: given[name] for name in _OPTIONS[self.config_name]}
        if self.config_name == "segmentation":
            return _from_masks(_or_none(predictions), _or_none(references), retention, alpha, **mine)
        return _from_scores(_or_none(performance), _or_none(retention), alpha, average)


def _or_none(values: Any) -> Any:
    """An empty list where nothing was given, which the functions refuse in a sentence."""
    return [] if values is None else values


def _from_scores(
    performance: Sequence[float], retention: Sequence[float] | float, alpha: float, average: str | None
) -> dict[str, Any]:
    if average not in ("mean", None):
        raise ValueError(f'average is {average!r}: expected "mean" or None')
    values = {"normdel": normdel(performance, retention, alpha), "del": del_index(performance, retention, alpha)}
    return {name: float(np.mean(value)) if average else np.asarray(value).tolist() for name, value in values.items()}


def _from_masks(
    predictions: Sequence[bytes],
    references: Sequence[bytes],
    retention: Sequence[float] | float | None,
    alpha: float,
    **definition: Any,
) -> dict[str, Any]:
    if retention is None:
        raise ValueError("retention is missing: give the share of the pre-training pool that was kept, in (0, 1]")
    miou = mean_iou(_Unpacked(predictions), _Unpacked(references), **definition)
    return {"normdel": normdel(miou, retention, alpha), "del": del_index(miou, retention, alpha), "miou": miou}


def _paired(predictions: Any, references: Any) -> tuple[list[bytes], list[bytes]]:
    if predictions is None or references is None:
        raise ValueError("config segmentation takes predictions and references: lists of masks, one of each a pair")
    if len(predictions) != len(references):
        raise ValueError(f"there are {len(predictions)} predictions and {len(references)} references: give pairs")
    return (
        [_packed(as_mask(mask, f"prediction {i}")) for i, mask in enumerate(predictions)],
        [_packed(as_mask(mask, f"reference {i}")) for i, mask in enumerate(references)],
    )


def _packed(mask: NDArray[Any]) -> bytes:
    """A mask as compressed bytes that keep its shape and type: 0.5 ms for 512 x 512 pixels, a hundredth of the size."""
    buffer = io.BytesIO()
    np.save(buffer, mask, allow_pickle=False)
    return zlib.compress(buffer.getvalue(), level=1)


class _Unpacked(Sequence[ArrayLike]):
    """Packed masks that unpack one by one as they are read."""

    def __init__(self, masks: Sequence[bytes]) -> None:
        self._masks = masks

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, i: Any) -> Any:
        return np.load(io.BytesIO(zlib.decompress(self._masks[i])), allow_pickle=False)

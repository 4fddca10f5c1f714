"""Telling classes apart: ridge regression on frozen features of the chosen frames.

Its penalty is chosen on held-out groups, unless a class has fewer of them than there are folds; then it is d / 20. Of
d = 192 features that is about the best of 1e-2 to 10 wherever folds are too few: 20 random draws of 16 and 32 frames
gave a balanced accuracy of 0.479 and 0.540 on GastroVision (chosen by folds 0.477 and 0.540) and 0.862 and 0.884 on
CP-CHILD (0.815 and 0.872). scikit-learn's LogisticRegression, whose best constant had to be looked up, gave 0.482 and
0.538, 0.870 and 0.892 (C = 0.01, class_weight="balanced"), and as it comes 0.436 and 0.472, 0.818 and 0.846.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from meddel_hf.downstream.labels.task import Rows
from meddel_hf.downstream.probing.classifiers import FOLDS, Ridge
from meddel_hf.downstream.scores import Measure
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.manifest import fingerprint


@dataclass(frozen=True, eq=False)
class ClassTask:
    """features: (n, d), of each frame. labels, groups: (n,) its class; the video, sequence or patient it is of."""

    features: NDArray[np.floating]
    labels: list[str]
    groups: list[str]

    def __post_init__(self) -> None:
        if not len(self.features) == len(self.labels) == len(self.groups):
            raise InvalidArgument(
                f"features, labels and groups are of {len(self.features):,}, {len(self.labels):,} and "
                f"{len(self.groups):,} frames: expected one of each for every frame"
            )

    @property
    def measure(self) -> Measure:
        return "balanced-accuracy"

    @cached_property
    def identity(self) -> str:
        return fingerprint(repr(self.labels), repr(self.groups), np.ascontiguousarray(self.features).tobytes())

    @cached_property
    def _names(self) -> NDArray[np.str_]:
        return np.array(self.labels)

    def score(self, chosen: Rows, test: Rows) -> float:
        """Balanced accuracy over the classes of the tested frames; a class that the chosen ones lack is never right.

        Of one class alone nothing is learned: it is the answer for every frame.
        """
        classes, of_chosen = np.unique(self._names[chosen], return_inverse=True)
        if len(classes) == 1:
            answers = np.repeat(classes, len(test))
        else:
            answers = classes[self._fitted(chosen, of_chosen.astype(np.int64)).predict(self.features[test])]
        truth = self._names[test]
        return float(np.mean([(answers[truth == name] == name).mean() for name in np.unique(truth)]))

    def _fitted(self, chosen: Rows, classes: NDArray[np.int64]) -> Ridge:
        """classes: (m,) of the chosen rows, from 0."""
        groups = [self.groups[row] for row in chosen]
        rarest = min(len({groups[at] for at in np.flatnonzero(classes == each)}) for each in range(classes.max() + 1))
        if rarest >= FOLDS:
            return Ridge.fit(self.features[chosen], classes, groups)
        fixed = self.features.shape[1] / 20
        return Ridge.fit(self.features[chosen], classes, [str(row) for row in chosen], penalties=[fixed])

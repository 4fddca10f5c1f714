"""Intervals of a mean over random splits of one data set into training and test.

Splits of one data set share most of their frames, so that their results are not independent: a plain t interval over
them is too narrow. If any two results correlate by r, the variance of their mean is (1/S + r / (1 - r)) times the
variance that is seen between them. The corrected resampled t interval takes for r the share of frames that are tested.

That is enough where what is trained on differs from split to split. A selector that takes the same few frames whenever
it can makes splits more alike. Where two splits share a part q of the frames that train, q is a cautious r: of a
symmetric function of independent frames, two values with a part q of their arguments in common correlate by q at most
(Hoeffding). How often such intervals hold the truth: tests/downstream/test_resampled.py.

Sources: Nadeau and Bengio, Inference for the Generalization Error, Machine Learning 52 (2003) 239-281, Section 4.2;
Hoeffding, Annals of Mathematical Statistics 19 (1948) 293-325, Theorem 5.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime import checks


@dataclass(frozen=True)
class Resampled:
    """A mean over splits and its interval. level: such as 0.95. splits: how many results it is the mean of."""

    value: float
    low: float
    high: float
    level: float
    splits: int

    @property
    def shown(self) -> bool:
        """Of a difference: whether its interval is clear of zero; where it is not, no difference is shown."""
        return self.low > 0 or self.high < 0


def resampled_interval(results: Sequence[float], correlation: float, *, level: float = 0.95) -> Resampled:
    """The corrected resampled t interval of the mean.

    results: one number a split, such as the paired difference of two arms; two at least.
    correlation: of any two of them, in [0, 1): 0.2 where a fifth of the frames is tested; 0 gives the plain t interval.
    Raises InvalidArgument for fewer results, for one that is not finite, or for another correlation or level.
    """
    from scipy.special import stdtrit

    values = np.asarray(results, np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise InvalidArgument(f"an interval over splits needs two of them at least, got {values.size}: run more splits")
    if not np.isfinite(values).all():
        raise InvalidArgument(f"a split's result must be a finite number, got {values[~np.isfinite(values)][0]}")
    if not (checks.is_number(correlation) and 0 <= correlation < 1):
        raise InvalidArgument(f"correlation must be a fraction in [0, 1), such as 0.2, got {correlation}")
    if not (checks.is_number(level) and 0 < level < 1):
        raise InvalidArgument(f"level must be a fraction between 0 and 1, such as 0.95, got {level}")
    n, mean = len(values), float(values.mean())
    variance = (1 / n + correlation / (1 - correlation)) * values.var(ddof=1)
    half = float(stdtrit(n - 1, (1 + level) / 2) * np.sqrt(variance))
    return Resampled(mean, mean - half, mean + half, level, n)

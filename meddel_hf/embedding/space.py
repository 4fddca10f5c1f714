"""A space to compare frames in: how tokens are pooled, and whether the pool's mean is subtracted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Pooling = Literal["cls", "mean"]
Poolings = Literal["auto", "both", "cls", "mean"]


@dataclass(frozen=True)
class Space:
    """pooling: the CLS token, or the mean over patch tokens. subtract_mean: of the pool, from the unit vectors."""

    pooling: Pooling
    subtract_mean: bool

    def __str__(self) -> str:
        pooled = {"cls": "CLS token", "mean": "mean over patches"}[self.pooling]
        return f"{pooled}, mean subtracted" if self.subtract_mean else pooled

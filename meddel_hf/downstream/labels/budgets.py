"""How many frames may be labelled, and how often that is tried."""

from __future__ import annotations

from typing import Any

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime import checks
from meddel_hf.runtime.reading import shown

Budget = int | float  # a number of frames, or a share of those that may be chosen
MOST_SPLITS, MOST_DRAWS = 10_000, 1000


def check_budget(budget: Any) -> None:
    """A whole number of frames, 2 at least, or a share of the pool in (0, 1)."""
    is_share = checks.is_number(budget) and 0 < budget < 1
    if not is_share and not (checks.is_whole(budget) and budget >= 2):
        raise InvalidArgument(
            f"a budget is a number of frames, 2 at least, or a share of the pool between 0 and 1; got {shown(budget)}"
        )


def frames_of(budget: Budget, pool: int) -> int:
    """How many of `pool` frames a budget is. Raises InvalidArgument for fewer than 2, and for more than there are."""
    frames = budget if isinstance(budget, int) else round(budget * pool)
    if not 2 <= frames <= pool:
        raise InvalidArgument(
            f"a budget of {named(budget)} is {frames:,} of {pool:,} frames that may be chosen: expected 2 at least, "
            "and no more than there are"
        )
    return frames


def named(budget: Budget) -> str:
    """ "16", "10%": as tables show it, and as text that is told apart."""
    return str(budget) if isinstance(budget, int) else f"{100 * budget:g}%"

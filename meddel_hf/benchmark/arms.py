"""The arms of a plan: selectors that are there, and can be made with their options. Told before any data are opened."""

from __future__ import annotations

from meddel_hf.benchmark.plan import Plan
from meddel_hf.errors import met_in
from meddel_hf.selectors.registry import check_known, make


def check_arms(plan: Plan, where: str = "plan") -> None:
    """Raise what is wrong with a selector or its options, with the place in the plan.

    where: the plan is from, such as its file. All names are looked at before the first selector is loaded, which takes
    seconds.
    """
    places = {f"{where}: arms[{at}], {arm.label}": arm for at, arm in enumerate(plan.arms)}
    for place, arm in places.items():
        with met_in(place):
            check_known(arm.selector)
    for place, arm in places.items():
        with met_in(place):
            for retention in [share for share in plan.retentions if share < 1] or [1.0]:
                make(arm.selector, retention=retention, seed=plan.seeds[0], **arm.options)

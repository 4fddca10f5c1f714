"""The figure of a task of kind labels: how far each selector lies above or below random, at every budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meddel_hf.benchmark.results import in_words
from meddel_hf.downstream.labels.outcomes import Line, Outcomes
from meddel_hf.report.document import Picture, slug
from meddel_hf.report.figures.drawing import Look, canvas, short
from meddel_hf.report.figures.spreads import named_rows, point_with_interval
from meddel_hf.report.pages.style import INK, MARKERS, PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW = 0.19  # inches


def choices(task: str, outcomes: Outcomes, lines: list[Line]) -> Picture | None:
    """lines: of the outcomes. None where there is no arm but random."""
    if all(line.versus_random is None for line in lines):
        return None
    unit = in_words(outcomes.measure)
    caption = (
        f"Difference in {unit} from {outcomes.random}, with corrected resampled intervals, paired over "
        f"{outcomes.splits} splits. Hollow: the interval contains zero, no difference shown."
    )
    alt = f"Differences from {outcomes.random} on {task}: a point with its interval for every selector and budget"
    return Picture(slug("labels", task), caption, alt, lambda: _draw(task, outcomes, lines))


def _draw(task: str, outcomes: Outcomes, lines: list[Line]) -> Figure:
    arms = [arm for arm in outcomes.arms if arm != outcomes.random]
    looks = {arm: Look(PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]) for i, arm in enumerate(arms)}
    by_place = {(line.arm, line.budget): line for line in lines}
    figure, axes = canvas(1.0 + _ROW * (len(arms) + 0.6) * len(outcomes.budgets))
    axes.axvline(0, color=INK, linewidth=0.9)
    y, rows = 0.0, []
    for budget in outcomes.budgets:
        for arm in arms:
            if (d := by_place[arm, budget].versus_random) is not None:
                point_with_interval(axes, y, d, looks[arm])
            rows.append((y, arm, looks[arm].colour))
            y += 1
        y += 0.6
    named_rows(axes, rows, [(budget, len(arms)) for budget in outcomes.budgets])
    axes.set_xlabel(f"{in_words(outcomes.measure)}, less that of {short(outcomes.random, 36)}")
    axes.set_title(short(task, 44))
    return figure

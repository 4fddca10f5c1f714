"""Figures of how things spread: differences with their intervals, and box plots of the frames' scores (Fig. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from meddel_hf import schema
from meddel_hf.benchmark.place import FULL, UNTRAINED, percent
from meddel_hf.benchmark.results import Target
from meddel_hf.downstream.intervals import Difference
from meddel_hf.downstream.resampled import Resampled
from meddel_hf.report.document import Picture, slug
from meddel_hf.report.figures.drawing import Look, canvas, looks, short
from meddel_hf.report.findings import Contrast, Findings, columns, in_full
from meddel_hf.report.pages.style import FAINT, INK, RULE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from meddel_hf.downstream.scores import Scores

_ROW = 0.185  # inches of a row
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def differences(f: Findings, target: Target, rival: str) -> Picture | None:
    """A row for every arm at every retention: its difference from a rival. None where nothing was compared."""
    contrasts = [c for c in f.against(rival, target) if c.arm in f.runs.arms]
    if not contrasts:
        return None
    name = in_full(rival)
    caption = (
        f"Difference in {target.unit} from {name}, with {f.draws.level:.0%} intervals, paired over seeds and frames. "
        "Hollow: the interval contains zero, no difference shown."
    )
    alt = f"Differences from {name} on {target.name}: a point with its interval for every selector and retention"
    against = "full" if rival == FULL else "rival"
    picture = slug("difference", against, target.name)
    return Picture(picture, caption, alt, lambda: _differences(f, target, contrasts, name))


def _differences(f: Findings, target: Target, contrasts: Sequence[Contrast], name: str) -> Figure:
    groups = [[c for c in contrasts if c.retention == r] for r in f.runs.retentions]
    groups = [group for group in groups if group]
    figure, axes = canvas(1.0 + _ROW * (len(contrasts) + 0.6 * len(groups)))
    by_arm, y, rows = looks(f.runs), 0.0, []
    axes.axvline(0, color=INK, linewidth=0.9)
    for group in groups:
        for contrast in group:
            point_with_interval(axes, y, contrast.difference, by_arm[contrast.arm])
            rows.append((y, contrast.arm, by_arm[contrast.arm].colour))
            y += 1
        y += 0.6
    named_rows(axes, rows, [(f"{percent(group[0].retention)} %", len(group)) for group in groups])
    axes.set_xlabel(f"{target.unit}, less that of {short(name, 36)}")
    axes.set_title(short(target.name, 44))
    return figure


def point_with_interval(axes: Axes, y: float, d: Difference | Resampled, look: Look) -> None:
    """Hollow where no difference is shown."""
    axes.plot([d.low, d.high], [y, y], color=look.colour, linewidth=1.6, solid_capstyle="butt")
    face = look.colour if d.shown else "#ffffff"
    axes.plot(d.value, y, marker=look.marker, color=look.colour, markerfacecolor=face, markersize=5.5, zorder=3)


def named_rows(axes: Axes, rows: Sequence[tuple[float, str, str]], groups: Sequence[tuple[str, int]]) -> None:
    """Arms' names in their colours at the left, and for each group of rows its name, such as "5 %", at the right."""
    axes.set_yticks([y for y, _, _ in rows], [short(arm, 18) for _, arm, _ in rows])
    for text, (_, _, colour) in zip(axes.get_yticklabels(), rows, strict=True):
        text.set_color(colour)
    at = 0
    for name, n in groups:
        ys = [y for y, _, _ in rows[at : at + n]]
        axes.annotate(
            name,
            (1.02, sum(ys) / n),
            xycoords=("axes fraction", "data"),
            va="center",
            fontweight="bold",
            annotation_clip=False,
        )
        if at:
            axes.axhline(ys[0] - 0.8, color=RULE, linewidth=0.7)
        at += n
    axes.set_ylim(rows[-1][0] + 0.8, -0.8)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.locator_params(axis="x", nbins=6)
    axes.set_axisbelow(True)


def boxes(f: Findings, target: Target) -> Picture | None:
    """Fig. 4: None of a probe, whose frames are right or wrong."""
    if not target.measure.startswith(("miou", "dice")):
        return None
    caption = (
        "IoU of single frames, each the mean over seeds: box from the first to the third quartile with the median, "
        "whiskers from 5 to 95 % of the frames, dot at the mean."
    )
    alt = f"Box plots of the frames' IoU on {target.name} for every selector and retention"
    return Picture(slug("boxes", target.name), caption, alt, lambda: _boxes(f, target))


def frame_scores(runs: Sequence[Scores]) -> NDArray[np.float64]:
    """(frames,): the score of each frame, mean over runs; joined on the id, in the order of the first run."""
    order = runs[0].table[schema.ID]
    rows = [pc.index_in(order, run.table[schema.ID].combine_chunks()) for run in runs]
    by_run = [run.table[schema.SCORE].take(at).to_numpy() for run, at in zip(runs, rows, strict=True)]
    answer: NDArray[np.float64] = np.mean(by_run, axis=0, dtype=np.float64)
    return answer


def _boxes(f: Findings, target: Target) -> Figure:
    by_arm = looks(f.runs)
    placed = [(arm, r) for arm, r in columns(f.runs) if f.runs.of(target, arm, r)]
    placed.sort(key=lambda column: (column[0] != FULL, column[0] != UNTRAINED, column[1]))
    figure, axes = canvas(0.8 + _ROW * 1.15 * len(placed))
    y, rows = 0.0, []
    groups: list[tuple[str, int]] = []
    for i, (arm, retention) in enumerate(placed):
        if i and placed[i - 1][1] != retention and arm not in (FULL, UNTRAINED):
            y += 0.6
        label = {FULL: "full pool", UNTRAINED: "no pre-training"}.get(arm, arm)
        _box(axes, y, frame_scores(list(f.runs.of(target, arm, retention).values())), by_arm[arm].colour)
        rows.append((y, label, by_arm[arm].colour))
        name = f"{percent(retention)} %"
        if groups and groups[-1][0] == name:
            groups[-1] = (name, groups[-1][1] + 1)
        else:
            groups.append((name, 1))
        y += 1
    named_rows(axes, rows, groups)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("IoU of a frame")
    axes.set_title(short(target.name, 44))
    return figure


def _box(axes: Axes, y: float, scores: NDArray[np.float64], colour: str) -> None:
    low, first, median, third, high = np.quantile(scores, _QUANTILES)
    axes.plot([low, high], [y, y], color=colour, linewidth=0.9)
    axes.barh(y, third - first, 0.62, first, color=colour, alpha=0.28, edgecolor="none")
    axes.plot([median, median], [y - 0.31, y + 0.31], color=colour, linewidth=1.8, solid_capstyle="butt")
    axes.plot(scores.mean(), y, "o", color=colour, markersize=3.2, markeredgecolor=FAINT, markeredgewidth=0.3)

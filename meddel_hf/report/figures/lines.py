"""Figures with lines: score over retention, score over samples seen (Fig. 3), NormDEL over alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from normdel import normdel

from meddel_hf.benchmark.place import FULL, UNTRAINED, percent
from meddel_hf.benchmark.results import Target
from meddel_hf.report.document import Picture, slug
from meddel_hf.report.figures.drawing import Look, canvas, label_ends, looks, short
from meddel_hf.report.findings import CurvePoint, Findings, Level
from meddel_hf.report.pages.style import FAINT
from meddel_hf.report.sections.limits import crossing
from meddel_hf.runtime.words import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT = 3.0
_CLEAR = 5  # arms whose intervals can be told apart in one figure
_ALPHAS = np.geomspace(0.001, 3, 200)


def retention_curve(f: Findings, target: Target) -> Picture | None:
    """None before any arm was run."""
    if not f.runs.retentions:
        return None
    intervals = f", {f.draws.level:.0%} intervals" if len(f.runs.arms) <= _CLEAR else " (intervals: in the table)"
    caption = (
        f"{target.unit} over the share of the pool that was kept: mean over seeds{intervals}. "
        "Lines across: the full pool, and no pre-training."
    )
    alt = f"Line chart of {target.unit} on {target.name} over retention, a line for each selector"
    return Picture(slug("retention", target.name), caption, alt, lambda: _retention_curve(f, target))


def _retention_curve(f: Findings, target: Target) -> Figure:
    figure, axes = canvas(_HEIGHT)
    ends = [_across(f, target, axes, arm) for arm in (FULL, UNTRAINED)]
    by_arm, arms = looks(f.runs), f.runs.arms
    for i, arm in enumerate(arms):
        levels = [level for r in f.runs.retentions if (level := f.level(target, arm, r))]
        if levels:
            # moved a little to the side of each other, so that intervals do not hide one another
            aside = 1.035 ** (i - (len(arms) - 1) / 2)
            x = [100 * level.retention * aside for level in levels]
            _with_intervals(axes, x, levels, by_arm[arm], len(arms) <= _CLEAR)
            ends.append((x[-1], levels[-1].score.value, arm, by_arm[arm].colour))
    _retention_axis(axes, f.runs.retentions)
    axes.set_ylabel(target.unit)
    axes.set_title(short(target.name, 44))
    axes.grid(axis="y")
    label_ends(axes, [end for end in ends if end], 15)
    return figure


def _across(f: Findings, target: Target, axes: Axes, arm: str) -> tuple[float, float, str, str] | None:
    """The level of the full pool, or of none, as a line from side to side; its label's place."""
    level, look = f.level(target, arm, 1.0 if arm == FULL else 0.0), looks(f.runs)[arm]
    if level is None:
        return None
    axes.axhline(level.score.value, color=look.colour, linewidth=1.1, linestyle=look.line, zorder=1)
    name = "full pool" if arm == FULL else "no pre-training"
    return 100 * max(f.runs.retentions, default=1.0) * 1.2, level.score.value, name, look.colour


def _with_intervals(axes: Axes, x: list[float], levels: list[Level], look: Look, shown: bool) -> None:
    y = np.array([level.score.value for level in levels])
    low, high = (np.array([getattr(level.score, end) for level in levels]) for end in ("low", "high"))
    axes.errorbar(
        x,
        y,
        [y - low, high - y] if shown else None,
        color=look.colour,
        marker=look.marker,
        linestyle=look.line,
        markersize=4.5,
        linewidth=1.4,
        elinewidth=0.9,
        zorder=3,
    )


def _retention_axis(axes: Axes, retentions: list[float]) -> None:
    shown = [100 * r for r in retentions]
    axes.set_xscale("log")
    axes.set_xticks(shown, [f"{percent(r)} %" for r in retentions])
    axes.set_xticks([], minor=True)
    axes.set_xlim(shown[0] / 1.2, shown[-1] * 1.2)
    axes.set_xlabel("share of the pool kept")


def training_curve(f: Findings, target: Target) -> Picture | None:
    """Fig. 3: None where fewer than two encoders were scored, as of a head, which the last one alone has."""
    points = [p for p in f.curves if p.target == target]
    if len({p.samples for p in points}) < 2:
        return None
    retentions = [r for r in f.runs.retentions if any(p.retention == r for p in points)] or [1.0]
    caption = (
        "Scores of encoders exported on the way, over the views that they have seen; the full pool's line stands in "
        "every panel, and that of no pre-training. The same samples are more epochs of a smaller subset (named above "
        "each panel)."
    )
    alt = f"Line charts of {target.unit} on {target.name} over samples seen, a panel for each retention"
    name = slug("epochs", target.name)
    return Picture(name, caption, alt, lambda: _training_curve(f, target, points, retentions))


def _training_curve(f: Findings, target: Target, points: list[CurvePoint], retentions: list[float]) -> Figure:
    figure, panels = canvas(1.0 + 1.6 * len(retentions), len(retentions), sharex=True, sharey=True, squeeze=False)
    by_arm, most = looks(f.runs), max(p.samples for p in points)
    unit, word = (1e6, "million") if most >= 2e6 else (1e3, "thousand")
    ends = []
    for axes, retention in zip(panels[:, 0], retentions, strict=True):
        for arm, at in [(FULL, 1.0), *((arm, retention) for arm in f.runs.arms)]:
            mine = sorted((p for p in points if p.arm == arm and p.retention == at), key=lambda p: p.samples)
            if mine:
                look = by_arm[arm]
                x, y = [p.samples / unit for p in mine], [p.score.value for p in mine]
                axes.plot(
                    x, y, color=look.colour, linestyle=look.line, marker=look.marker, markersize=3.5, linewidth=1.3
                )
                ends.append((axes, (x[-1], y[-1], "full pool" if arm == FULL else arm, look.colour)))
        if untrained := f.level(target, UNTRAINED, 0.0):
            look = by_arm[UNTRAINED]
            axes.axhline(untrained.score.value, color=look.colour, linestyle=look.line, linewidth=1.1)
            ends.append((axes, (most / unit, untrained.score.value, "no pre-training", look.colour)))
        epochs = max((p.epochs or 0 for p in points if p.retention == retention), default=0)
        axes.set_title(
            f"{percent(retention)} % kept" + (f": {plural(round(epochs), 'epoch')} at the end" if epochs else "")
        )
        axes.set_ylabel(target.unit)
        axes.grid(axis="y")
        axes.set_xlim(0, most / unit * 1.02)
    for axes in panels[:, 0]:
        label_ends(axes, [end for where, end in ends if where is axes], 9)
    panels[-1, 0].set_xlabel(f"samples seen, {word}")
    figure.suptitle(short(target.name, 44), fontsize=9.5, fontweight="bold", x=0.02, ha="left")
    return figure


def alpha_curve(f: Findings, target: Target) -> Picture | None:
    """NormDEL over alpha: of the full pool, and of the best arm at each retention. None where there are not two."""
    levels = [level for r in f.runs.retentions if (level := _best(f, target, r))]
    full = f.level(target, FULL, 1.0)
    levels += [full] if full else []
    if len(levels) < 2:
        return None
    caption = (
        "NormDEL over alpha (logarithmic): the arm with the best score at each retention, and the full pool. Dots: "
        "where a run overtakes the full pool. At the paper's alpha = 1 little but retention counts."
    )
    alt = f"Line chart of NormDEL on {target.name} over alpha from 0.001 to 3"
    return Picture(slug("alpha", target.name), caption, alt, lambda: _alpha_curve(f, target, levels))


def _best(f: Findings, target: Target, retention: float) -> Level | None:
    levels = [level for arm in f.runs.arms if (level := f.level(target, arm, retention)) and retention < 1]
    return max(levels, key=lambda level: level.score.value, default=None)


def _alpha_curve(f: Findings, target: Target, levels: list[Level]) -> Figure:
    figure, axes = canvas(_HEIGHT)
    by_arm, ends = looks(f.runs), []
    full = f.level(target, FULL, 1.0)
    for level in levels:
        m, colour = level.score.value, by_arm[level.arm].colour
        values = [normdel(m, level.retention, float(alpha)) for alpha in _ALPHAS]
        axes.plot(_ALPHAS, values, color=colour, linewidth=1.4)
        name = "full pool" if level.arm == FULL else f"{short(level.arm, 12)}, {percent(level.retention)} %"
        ends.append((float(_ALPHAS[-1]), values[-1], name, colour))
        if full and level is not full and min(m, full.score.value) > 0:
            alpha = crossing((m, level.retention), (full.score.value, 1.0))
            if alpha > _ALPHAS[0]:
                axes.plot(alpha, normdel(m, level.retention, alpha), "o", color=colour, markersize=5, zorder=4)
    axes.axvline(1, color=FAINT, linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_xticks([0.001, 0.01, 0.1, 1], ["0.001", "0.01", "0.1", "1\n(the paper)"])
    axes.set_xticks([], minor=True)
    axes.set_xlim(_ALPHAS[0], _ALPHAS[-1])
    axes.set_ylim(bottom=0.5)
    axes.set_xlabel("alpha: what a unit of data costs")
    axes.set_ylabel("NormDEL")
    axes.set_title(short(target.name, 44))
    axes.grid(axis="y")
    label_ends(axes, ends, 15)
    return figure

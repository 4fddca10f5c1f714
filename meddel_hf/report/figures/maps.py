"""Figures of counts and grids: what was removed (Fig. 5), who vanished, and how training sets carry over (Fig. 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from meddel_hf.benchmark.place import FULL, percent
from meddel_hf.benchmark.results import in_words
from meddel_hf.report.document import Picture, slug
from meddel_hf.report.figures.drawing import canvas, short
from meddel_hf.report.findings import Findings
from meddel_hf.report.pages.style import FAINT, RULE
from meddel_hf.report.sections.tables import REASONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHADES = {
    "kept": "#0072b2",
    "near-duplicate": "#d55e00",
    "outlier": "#b2568a",
    "not-selected": RULE,
    "unreadable": FAINT,
}
_MOST = 24  # origins that one grid shows


def removals(counts: Mapping[tuple[str, float], Mapping[str, float]]) -> Picture | None:
    """Fig. 5. counts: (arm, retention) -> reason or "kept" -> frames. None where nothing was selected."""
    if not counts:
        return None
    caption = (
        "What became of the pool's frames, mean over seeds. Near-duplicates and outliers go for a reason; a selector "
        "that only ranks or draws leaves the rest not selected."
    )
    alt = "Stacked bars: frames kept, near-duplicates, outliers and not selected, for every selector and retention"
    return Picture("removed", caption, alt, lambda: _removals(counts))


def _removals(counts: Mapping[tuple[str, float], Mapping[str, float]]) -> Figure:
    figure, axes = canvas(1.25 + 0.2 * len(counts))
    shown = [reason for reason in ("kept", *REASONS) if any(row[reason] for row in counts.values())]
    left = np.zeros(len(counts))
    for reason in shown:
        widths = np.array([row[reason] for row in counts.values()])
        axes.barh(range(len(counts)), widths, 0.72, left, color=_SHADES[reason], label=reason.replace("-", " "))
        left += widths
    axes.set_yticks(range(len(counts)), [f"{short(arm, 16)}, {percent(r)} %" for arm, r in counts])
    axes.set_ylim(len(counts) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlim(0, left.max())
    axes.set_xlabel("frames of the pool")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    figure.legend(loc="outside upper left", ncols=3, frameon=False, handlelength=1, columnspacing=1.2)
    return figure


def vanished(
    origins: Mapping[tuple[str, float], Mapping[str, tuple[float, int]]], retention: float, word: str
) -> Picture | None:
    """Who was kept: share of each origin's frames by arm at one retention. None where nothing was selected there.

    origins: (arm, retention) -> origin -> (frames kept, frames in the pool).
    """
    arms = [arm for arm, at in origins if at == retention]
    if not arms:
        return None
    caption = (
        f"Share of each {word}'s frames that is kept, mean over seeds; an even selection keeps the share above of "
        "each. Framed: nothing of it is left."
    )
    alt = f"Grid of the share kept, a row for each {word} and a column for each selector, at {percent(retention)} %"
    name = slug("origins", percent(retention).replace(".", "p"))
    return Picture(name, caption, alt, lambda: _vanished(origins, arms, retention))


def _vanished(
    origins: Mapping[tuple[str, float], Mapping[str, tuple[float, int]]], arms: Sequence[str], retention: float
) -> Figure:
    pool = {name: n for name, (_, n) in origins[arms[0], retention].items()}
    names = sorted(pool, key=lambda name: (-pool[name], name))
    few = sorted(pool, key=lambda name: min(origins[arm, retention][name][0] / pool[name] for arm in arms))
    if len(names) > _MOST:  # those that lose most must not be left out
        names = [name for name in names if name in few[:_MOST]]
    share = np.array([[origins[arm, retention][name][0] / pool[name] for arm in arms] for name in names])
    figure, axes = canvas(1.1 + 0.26 * len(names))
    ratio = np.log2(np.maximum(share, retention / 16) / retention)  # 0: as much as an even selection
    rows = [f"{short(name, 18)} ({pool[name]:,})" for name in names]
    texts = [[f"{100 * value:.{0 if value >= 0.1 else 1}f} %" if value else "0" for value in row] for row in share]
    _grid(axes, ratio, rows, arms, texts, colours="PuOr", limits=(-3, 3), framed=share == 0)
    axes.set_title(f"{percent(retention)} % kept")
    return figure


def carried_over(f: Findings, measure: str, arm: str, retention: float) -> Picture | None:
    """Fig. 6: trained on one set, tested on others. None where no task of this measure was tested on several sets."""
    targets = [t for t in f.runs.targets if t.measure == measure and not (t.only or t.series)]
    values = {(t.task, t.set): level.score.value for t in targets if (level := f.level(t, arm, retention))}
    if not values:
        return None
    name = "full pool" if arm == FULL else f"{arm}, {percent(retention)} %"
    unit = in_words(measure)
    caption = (
        f"{unit}, trained on the set at the left, tested on the one below. Above: what the encoder was pre-trained on."
    )
    alt = f"Grid of {unit}: training sets down, test sets across, encoder pre-trained on {name}"
    own = [v.score.value for v in f.levels if v.measure == measure and v.target in targets]
    picture = slug("carried-over", unit, arm, percent(retention))
    return Picture(picture, caption, alt, lambda: _carried_over(name, values, (min(own), max(own))))


def _carried_over(name: str, correlations: Mapping[tuple[str, str], float], limits: tuple[float, float]) -> Figure:
    """found: (task, test set) -> score; limits: of all arms, so that their figures share one scale."""
    tasks, sets = (list(dict.fromkeys(key[part] for key in correlations)) for part in (0, 1))
    values = np.array([[correlations.get((task, set), np.nan) for set in sets] for task in tasks])
    figure, axes = canvas(1.5 + 0.36 * len(tasks))
    texts = [[f"{value:.3f}" if np.isfinite(value) else "" for value in row] for row in values]
    _grid(axes, values, [short(task, 20) for task in tasks], sets, texts, colours="cividis", limits=limits)
    axes.set_title(short(name, 44))
    return figure


def _grid(
    axes: Axes,
    values: NDArray[np.float64],
    rows: Sequence[str],
    across: Sequence[str],
    texts: Sequence[Sequence[str]],
    *,
    colours: str,
    limits: tuple[float, float],
    framed: NDArray[np.bool_] | None = None,
) -> None:
    """A heat map as vectors, each cell with its number in black or white, whichever reads better."""
    mesh = axes.pcolormesh(
        values, cmap=colours, vmin=limits[0], vmax=limits[1] + 1e-9, edgecolor="#ffffff", linewidth=1
    )
    for r, line in enumerate(texts):
        for c, text in enumerate(line):
            red, green, blue, _ = mesh.cmap(mesh.norm(values[r, c]))
            dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5
            bold = framed is not None and framed[r, c]
            axes.text(c + 0.5, r + 0.5, text, ha="center", va="center", color="#ffffff" if dark else "#000000",
                      fontweight="bold" if bold else "normal")  # fmt: skip
            if bold:
                axes.add_patch(_frame(c, r))
    axes.set_xticks(np.arange(len(across)) + 0.5, [short(name, 14) for name in across])
    if max(map(len, across)) * len(across) > 44:
        axes.tick_params(axis="x", rotation=30)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _frame(column: int, row: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column + 0.06, row + 0.08), 0.88, 0.84, fill=False, edgecolor="#000000", linewidth=1.4)

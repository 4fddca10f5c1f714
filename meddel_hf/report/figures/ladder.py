"""The figure of a ladder: the score over the number of frames, with the levels of the full pool and of none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meddel_hf.benchmark.ladder import Ladder
from meddel_hf.benchmark.place import FULL, UNTRAINED
from meddel_hf.report.document import Picture, slug
from meddel_hf.report.figures.drawing import canvas, label_ends, looks, short
from meddel_hf.report.findings import Findings
from meddel_hf.report.pages.style import CHANCE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEIGHT = 3.0


def curve(f: Findings, ladder: Ladder) -> Picture:
    target = ladder.target
    caption = (
        f"{target.unit} over the number of frames pre-trained on, chosen at random: mean over seeds, the band its "
        f"{f.draws.level:.0%} interval. Lines across: the full pool, and no pre-training."
    )
    alt = f"Line chart of {target.unit} on {target.name} over the number of random frames"
    return Picture(slug("ladder", target.name), caption, alt, lambda: _curve(f, ladder))


def _curve(f: Findings, ladder: Ladder) -> Figure:
    figure, axes = canvas(_HEIGHT)
    by_arm, rungs = looks(f.runs), ladder.rungs
    frames, scores = [rung.frames for rung in rungs], [rung.score for rung in rungs]
    values = [score.value for score in scores]
    axes.fill_between(frames, [s.low for s in scores], [s.high for s in scores], color=CHANCE, alpha=0.25, linewidth=0)
    axes.plot(frames, values, color=CHANCE, marker="o", markersize=4.5, linewidth=1.4, zorder=3)
    levels = [(values[-1], "full pool", by_arm[FULL])]
    if ladder.untrained is not None:
        levels.append((ladder.untrained.value, "no pre-training", by_arm[UNTRAINED]))
    for value, _, look in levels:
        axes.axhline(value, color=look.colour, linewidth=1.1, linestyle=look.line, zorder=1)
    axes.set_xscale("log")
    axes.set_xticks(frames, [f"{n:,}" for n in frames])
    axes.set_xticks([], minor=True)
    axes.set_xlim(frames[0] / 1.2, frames[-1] * 1.2)
    axes.set_xlabel("frames, chosen at random")
    axes.set_ylabel(ladder.target.unit)
    axes.set_title(short(ladder.target.name, 44))
    axes.grid(axis="y")
    label_ends(axes, [(frames[-1] * 1.2, value, name, look.colour) for value, name, look in levels], 15)
    return figure

"""The figure of the redundancy axis: every arm's gain over random, over the share of near-copies in the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meddel_hf.benchmark.place import percent
from meddel_hf.benchmark.results import Target
from meddel_hf.report.document import Picture, slug
from meddel_hf.report.figures.drawing import canvas, label_ends, short
from meddel_hf.report.pages.style import INK, MARKERS, PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from meddel_hf.report.levels import Axis

_HEIGHT, _APART = 3.0, 1.2  # inches, percent between the intervals of arms


def gains(axis: Axis, target: Target) -> Picture:
    caption = (
        f"Gain in {target.unit} over random at the same retention, by the share of near-copies in the pool, with "
        "intervals. Zero: choosing does what chance does."
    )
    alt = f"Line chart of the gain over random on {target.name} over the share of near-copies"
    return Picture(slug("axis", target.name), caption, alt, lambda: _gains(axis, target))


def _gains(axis: Axis, target: Target) -> Figure:
    figure, axes = canvas(_HEIGHT)
    by_share = axis.gains(target)
    arms = list(dict.fromkeys(c.arm for contrasts in by_share.values() for c in contrasts))
    axes.axhline(0, color=INK, linewidth=0.9)
    ends = []
    for i, arm in enumerate(arms):
        colour, marker = PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]
        there = [(100 * share, c.difference) for share, cs in by_share.items() for c in cs if c.arm == arm]
        places = [share + (i - (len(arms) - 1) / 2) * _APART for share, _ in there]
        values = [d.value for _, d in there]
        axes.vlines(
            places, [d.low for _, d in there], [d.high for _, d in there], color=colour, linewidth=1.1, alpha=0.6
        )
        axes.plot(places, values, color=colour, marker=marker, markersize=4.5, linewidth=1.2)
        ends.append((places[-1], values[-1], arm, colour))
    shares = [100 * share for share in by_share]
    axes.set_xticks(shares, [f"{percent(share)} %" for share in by_share])
    right = max(shares) + 4
    axes.set_xlim(min(shares) - 4, right)
    axes.set_xlabel("near-copies in the pool")
    axes.set_ylabel(f"{target.unit}, less random's")
    axes.set_title(short(target.name, 44))
    axes.grid(axis="y")
    label_ends(axes, [(right, value, name, colour) for _, value, name, colour in ends], 15)
    return figure

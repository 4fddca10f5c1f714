"""What all figures share: size, type, an arm's look, labels beside lines, and how a figure becomes SVG and PNG.

Figures are as wide as a phone's column, so that their type stays readable there; on a desk they stand side by side.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meddel_hf.benchmark.place import FULL, UNTRAINED
from meddel_hf.benchmark.results import Runs
from meddel_hf.report.document import Picture
from meddel_hf.report.pages.style import CHANCE, FAINT, INK, MARKERS, PALETTE, RULE, variables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.1  # inches; 295 points, a little less than the column of a phone
_SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same figure everywhere
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "text.parse_math": False,  # a label out of the data is never a formula
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "meddel",  # the same bytes for the same figure
    "savefig.dpi": 200,
}


@dataclass(frozen=True)
class Look:
    """How an arm is drawn, the same in every figure."""

    colour: str
    marker: str
    line: str = "-"


def looks(runs: Runs) -> dict[str, Look]:
    """Random is grey and dashed, the full pool ink; the others take the palette in the plan's order."""
    by_arm = {FULL: Look(INK, "*"), UNTRAINED: Look(FAINT, "x", ":")}
    others = [arm for arm in runs.arms if arm != runs.rival]
    for i, arm in enumerate(others):
        by_arm[arm] = Look(PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)])
    if runs.rival is not None:
        by_arm[runs.rival] = Look(CHANCE, "o", "--")
    return by_arm


def canvas(height: float, rows: int = 1, **axes: Any) -> tuple[Figure, Any]:
    """A figure of the common width with its axes; without pyplot, hence without global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, **axes)


def render(picture: Picture) -> tuple[str, bytes]:
    """(SVG to stand inside a page, PNG)."""
    import matplotlib

    with matplotlib.rc_context(_SETTINGS):
        figure = picture.draw()
        figure.draw_without_rendering()  # lays it out
        figure.set_layout_engine("none")  # once, not again for each of the two files
        drawing, image = io.StringIO(), io.BytesIO()
        figure.savefig(drawing, format="svg", transparent=True, metadata=_NO_METADATA)
        figure.savefig(image, format="png", facecolor="white")
    return _inline(drawing.getvalue()), image.getvalue()


_NO_METADATA: Mapping[str, None] = {"Date": None, "Creator": None, "Format": None, "Type": None}


def _inline(svg: str) -> str:
    """Fit for a page that holds several: no prologue, no name spaces, no ids that repeat, the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)  # the page's own typeface
    for colour, name in variables().items():
        svg = svg.replace(colour, name)
    return svg.strip()


def short(text: str, length: int = 20) -> str:
    """A label that fits beside a figure."""
    return text if len(text) <= length else text[: length - 1] + "…"


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places for labels: as near to `values` as they can be, at least `gap` apart and inside low ... high.

    Labels that touch become a block, which sits around the mean of what its labels would like.
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    blocks: list[tuple[list[int], float]] = []  # (labels, centre)
    for i in order:
        block, centre = [i], values[i]
        while True:
            half = gap * (len(block) - 1) / 2
            centre = min(max(centre, low + half), high - half)
            if not blocks or centre - half - (blocks[-1][1] + gap * (len(blocks[-1][0]) - 1) / 2) >= gap - 1e-12:
                break
            block = blocks.pop()[0] + block
            wishes = [values[j] - gap * (k - (len(block) - 1) / 2) for k, j in enumerate(block)]
            centre = sum(wishes) / len(wishes)
        blocks.append((block, centre))
    placed = [0.0] * len(values)
    for block, centre in blocks:
        for k, i in enumerate(block):
            placed[i] = centre + gap * (k - (len(block) - 1) / 2)
    return placed


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]], lines: float) -> None:
    """Names at the right of the axes, level with where their lines end, never on one another.

    ends: (x, y, text, colour) of each, in data units; lines: how many lines of text the axes are high.
    """
    if not ends:
        return
    low, high = axes.get_ylim()
    right = axes.get_xlim()[1]
    places = spread([y for _, y, _, _ in ends], (high - low) / lines, low, high)
    for (x, y, text, colour), place in zip(ends, places, strict=True):
        axes.annotate(
            short(text),
            xy=(x, y),
            xytext=(1.03, (place - low) / (high - low)),
            textcoords="axes fraction",
            va="center",
            color=colour,
            annotation_clip=False,
            fontsize=8.5,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,
                "relpos": (0, 0.5),  # of the name: its left end, or the line would run through others
                "shrinkA": 1,
                "shrinkB": 3,
            },
        )
    axes.set_xlim(right=right)

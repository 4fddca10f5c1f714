"""Pictures of a selection: the retention curve, the largest groups of near-duplicates, the outliers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
from PIL import Image

from meddel_hf import schema
from meddel_hf.data.contact_sheet import COLUMNS, FAINT, GONE, KEPT, Frame, draw_sheet
from meddel_hf.data.images import decode
from meddel_hf.errors import UnreadableImage
from meddel_hf.runtime.files import whole_file
from meddel_hf.runtime.spacing import evenly_spaced

if TYPE_CHECKING:
    from datasets import Dataset

    from meddel_hf.selection.answer import Origin
    from meddel_hf.selection.selection import Selection

_ROWS, _DOUBTFUL = 8, 2  # lines of a sheet, and of pairs near the threshold
_CURVE_POINTS = 25
_REFERENCE = "in the reference: "
_EXACT = "exact, from the stored graph"
_PERCENT = (0.1, 1, 2, 5, 10, 20, 50, 100)


def draw_retention(selection: Selection, path: Path) -> None:
    """Share of the pool that stays over eta: exact points of the stored graph, or else a sampled estimate, and this
    selection."""
    from matplotlib.figure import Figure

    s = selection.summary
    stays = s.kept + s.not_selected  # what is left when near-duplicates went
    share = 100 * stays / s.pool
    floor = max(0.05, min(share, 5) / 2)  # per cent, where the vertical axis begins
    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    etas, least = list[float](), share
    if selection.graph is not None and selection.graph.floor < 0.99:
        points = _exact_points(selection, {} if s.eta is None else {s.eta: share}, floor)
        axes.plot(*zip(*points, strict=True), color="#2a5caa", marker="o", markersize=3.5, label=_EXACT)
        etas, least = _etas_seen(points, floor), min(kept for _, kept in points)
    elif selection.density is not None:
        edges = np.linspace(-1, 1, len(selection.density.stay))
        estimate = 100 * selection.density.stay / s.pool
        axes.plot(edges, estimate, color=FAINT, linestyle="--", linewidth=1.2, label="estimate from 256 rows")
        least = float(estimate.min())
        etas = edges[(estimate > max(floor, 1.1 * estimate.min())) & (estimate < 0.99 * estimate.max())].tolist()
    etas = [*etas, *([] if s.eta is None else [s.eta])] or [0.9]
    margin = max(0.04 * (max(etas) - min(etas)), 0.002)
    axes.set_xlim(max(-1, min(etas) - margin), min(1 + margin, max(etas) + margin))
    axes.ticklabel_format(axis="x", style="plain", useOffset=False)
    if s.eta is not None:
        word = "left by the first step" if s.not_selected else "this selection"
        axes.plot([s.eta], [share], "o", color=KEPT, markersize=9, label=f"{word}, {share:.1f}%")
    bottom = max(floor, 0.7 * min(least, share))
    ticks = _PERCENT if bottom < 20 else range(20, 101, 10)
    axes.set_yscale("log")
    axes.set_yticks(ticks, [f"{percent:g} %" for percent in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom, 115 if bottom < 20 else 103)
    axes.set_xlabel("eta: cosine above which two frames are near-duplicates")
    axes.set_ylabel("share of the pool that stays")
    drawn = f", {s.kept:,} of them are drawn" if s.not_selected else ""
    axes.set_title(f"{stays:,} of {s.pool:,} frames stay{drawn}", loc="left")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)
    with whole_file(path) as aside:
        figure.savefig(aside, format="png")


def _exact_points(selection: Selection, known: dict[float, float], floor: float) -> list[tuple[float, float]]:
    """(eta, per cent of the pool that stays), ascending, where the share changes most and around what is known.

    known: points that are there already: the selection's own. floor: per cent below which nothing is drawn.
    """
    assert selection.graph is not None
    lowest = max(-1.0, selection.graph.floor)
    points = {eta: selection.at(eta=eta).retention * 100 for eta in (lowest, 1.0)} | known
    while len(points) < _CURVE_POINTS:
        most, left, right = max(
            (_hidden(points, left, right, floor) * (2 if left in known or right in known else 1), left, right)
            for left, right in pairwise(sorted(points))
        )
        if most <= 0:
            break
        points[(left + right) / 2] = selection.at(eta=(left + right) / 2).retention * 100
    return sorted(points.items())


def _hidden(points: dict[float, float], left: float, right: float, floor: float) -> float:
    """How much a straight line between two points may hide: the change of the share, on both scales that are read."""
    if right - left < 1e-5:
        return 0.0
    low, high = max(points[left], floor), max(points[right], floor)
    return float(abs(high - low) / 100 + abs(np.log(high / low)) / 5)


def _etas_seen(points: Sequence[tuple[float, float]], floor: float) -> list[float]:
    """The ends of the part of a line in which something happens: above the floor, and not all the same."""
    begins = points[0][0]
    for (eta, share), (following, higher) in pairwise(points):
        if share < floor <= higher:
            begins = eta + (following - eta) * float(np.log(floor / share) / np.log(higher / share))
        elif share == higher == points[0][1]:
            begins = following
    ends = next((eta for eta, share in points if share == points[-1][1] and eta >= begins), points[-1][0])
    return [begins, ends]


def draw_duplicates(selection: Selection, pool: Dataset, path: Path) -> bool:
    """Contact sheet of the largest groups: the frame that stands for them first, then dropped ones from most to least
    alike; small groups share a line. Below, where there are more, the pairs that are nearest to the threshold, whether
    or not they stand above too.

    pool: the data set that was embedded. Returns False, and draws nothing, where there are no near-duplicates,
    and where the table does not say of which frames, as in what `meddel benchmark pack` wrote.
    """
    if schema.DUPLICATE_OF not in selection.table.column_names:
        return False
    gone = selection.table.filter(pc.equal(selection.table[schema.REASON], "near-duplicate"))
    if not len(gone):
        return False
    sizes = gone[schema.DUPLICATE_OF].value_counts().to_pylist()
    largest = sorted(sizes, key=lambda entry: (-entry["counts"], entry["values"]))[: _ROWS * COLUMNS]
    groups, kept = [], set(selection.kept)
    for entry in largest:
        rows = gone.filter(pc.equal(gone[schema.DUPLICATE_OF], entry["values"])).to_pylist()
        rows.sort(key=lambda row: (-row[schema.SIMILARITY], row[schema.ID]))
        shown = [rows[i] for i in evenly_spaced(len(rows), COLUMNS - 1)]
        stays = entry["values"] in kept
        word = f"{'kept' if stays else 'not selected'}, stands for {len(rows)}"
        frames = [Frame(entry["values"], word, KEPT if stays else FAINT)]
        frames += [_dropped(row) for row in shown]
        groups.append(frames)
    sheet: list[Sequence[Frame] | str] = [*_in_lines(groups)[:_ROWS]]
    drawn = {frame.id for line in sheet for frame in line if isinstance(frame, Frame)}
    doubtful = _DOUBTFUL * (COLUMNS // 2)
    if len(gone) > doubtful:
        pairs: list[list[Frame]] = []
        sheet.append("Nearest to the threshold: the pairs to doubt first")
        for row in gone.sort_by([(schema.SIMILARITY, "ascending"), (schema.ID, "ascending")])[:doubtful].to_pylist():
            stays = row[schema.DUPLICATE_OF] in kept
            first = Frame(row[schema.DUPLICATE_OF], "kept" if stays else "not selected", KEPT if stays else FAINT)
            pairs.append([first, _dropped(row)])
        sheet += _in_lines(pairs)
    what = "Pairs" if all(entry["counts"] == 1 for entry in largest) else "Groups"
    some = sum(group[0].id in drawn for group in groups) < len(sizes)
    drawn_of = f"the largest of {len(sizes):,}, " if some else ""
    count = f"{drawn_of}{selection.summary.near_duplicates:,} dropped in all"
    title = f"{what} of near-duplicates, the frame that stands for the others first ({count})"
    draw_sheet(title, sheet, _images_of(selection, sheet, pool), path)
    return True


def _dropped(row: dict[str, Any]) -> Frame:
    return Frame(row[schema.ID], f"near-duplicate, cosine {row[schema.SIMILARITY]:.4f}", GONE)


def _in_lines(groups: Sequence[Sequence[Frame]]) -> list[Sequence[Frame]]:
    """Groups one after the other, as many in a line as fit it whole."""
    lines: list[list[Frame]] = []
    for group in groups:
        if not lines or len(lines[-1]) + len(group) > COLUMNS:
            lines.append([])
        lines[-1] += group
    return [*lines]


def draw_left_out(selection: Selection, pool: Dataset, path: Path) -> bool:
    """Contact sheet of the frames that are least like what is kept, each after the kept frame nearest to it.

    Returns False, and draws nothing, where no frame is known to have been left out so.
    """
    if schema.NEAREST_KEPT not in selection.table.column_names:
        return False
    gone = selection.table.filter(pc.equal(selection.table[schema.REASON], "not-selected"))
    rows = gone.sort_by(schema.NEAREST_SIMILARITY).slice(0, _ROWS * (COLUMNS // 2)).to_pylist()
    if not rows:
        return False
    frames: list[Frame] = []
    for row in rows:
        frames.append(Frame(row[schema.NEAREST_KEPT], "kept", KEPT))
        frames.append(Frame(row[schema.ID], f"left out, cosine {row[schema.NEAREST_SIMILARITY]:.3f}", GONE))
    per_line = COLUMNS - COLUMNS % 2
    sheet = [frames[at : at + per_line] for at in range(0, len(frames), per_line)]
    title = f"Left out, least like anything kept: the nearest kept frame first ({len(gone):,} left out)"
    draw_sheet(title, sheet, _images_of(selection, sheet, pool), path)
    return True


def draw_outliers(selection: Selection, pool: Dataset, path: Path) -> bool:
    """Contact sheet of the farthest outliers. Returns False, and draws nothing, where there are none."""
    gone = selection.table.filter(pc.equal(selection.table[schema.REASON], "outlier")).to_pylist()
    if not gone:
        return False
    gone.sort(key=lambda row: (-row[schema.DISTANCE], row[schema.ID]))
    frames = [Frame(row[schema.ID], f"distance {row[schema.DISTANCE]:.3f}", GONE) for row in gone[: 4 * COLUMNS]]
    sheet = [frames[i : i + COLUMNS] for i in range(0, len(frames), COLUMNS)]
    title = f"Outliers, farthest first ({len(gone):,} dropped in all)"
    draw_sheet(title, sheet, _images_of(selection, sheet, pool), path)
    return True


def draw_in_reference(
    selection: Selection, pool: Dataset, reference: Dataset | None, origin: Origin, path: Path
) -> bool:
    """Contact sheet of frames that went for a frame of the reference, which stands before each: the pairs nearest to
    the threshold first, since those are to be doubted.

    reference: its frames; None where they are not at hand: their cells stay dark. origin: what was embedded as it.
    Returns False, and draws nothing, where no frame went so.
    """
    gone = selection.table.filter(pc.equal(selection.table[schema.REASON], "in-reference"))
    pairs = gone.filter(pc.is_valid(gone[schema.IN_REFERENCE]))  # others went for frames that are forgotten
    rows = pairs.sort_by(schema.REFERENCE_SIMILARITY).slice(0, _ROWS * (COLUMNS // 2)).to_pylist()
    if not rows:
        return False
    frames: list[Frame] = []
    for row in rows:
        frames.append(Frame(_REFERENCE + row[schema.IN_REFERENCE], "not to be selected", FAINT))
        frames.append(Frame(row[schema.ID], f"cosine {row[schema.REFERENCE_SIMILARITY]:.4f}", GONE))
    per_line = COLUMNS - COLUMNS % 2
    sheet = [frames[at : at + per_line] for at in range(0, len(frames), per_line)]
    title = f"Within reach of the reference, nearest to the threshold first ({len(gone):,} left out for it)"
    images = _images_of(selection, sheet, pool)
    if reference is not None:
        images |= images_of(reference, origin, sheet, _REFERENCE)
    draw_sheet(title, sheet, images, path)
    return True


def _images_of(selection: Selection, sheet: Sequence[Sequence[Frame] | str], pool: Dataset) -> dict[str, Image.Image]:
    return images_of(pool, selection.origin, sheet, known=selection.ids)


def images_of(
    pool: Dataset, origin: Origin, sheet: Sequence[Sequence[Frame] | str], before: str = "", known: Collection[str] = ()
) -> dict[str, Image.Image]:
    """Decoded frames of a sheet's cells, by id; one that cannot be decoded is left out.

    before: what stands before the ids of this data set in the cells. known: ids of the pool, see `Origin.ids_in`.
    """
    wanted = {frame.id for row in sheet for frame in row if isinstance(frame, Frame)}
    images = {}
    for row, id in enumerate(origin.ids_in(pool, known) or ()):
        if before + id in wanted:
            try:
                images[before + id] = decode(pool[row][origin.image_column])
            except UnreadableImage:
                continue
    return images

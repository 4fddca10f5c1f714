"""A picture of what bench_memory.py measured: work and memory over the number of rows, with the exponent of growth.

python benchmarks/draw_growth.py docs/results/growth/select.csv docs/results/growth/select.png
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

LARGE = 1_000_000  # rows from which nothing is named or drawn that is left out of larger pools
LINES = {"eta": ("at eta 0.8", "#1f6f8b", "o"), "retention": ("exactly 5 %", "#b5541c", "s")}


def plain(value: float, _: int) -> str:
    return f"{value:,.0f}"


def main(table: Path, picture: Path) -> None:
    measured: dict[str, list[tuple[int, float, float, str]]] = defaultdict(list)
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            here = int(row["rows"]), float(row["processor seconds"]), float(row["GB"]), row["memory"]
            measured[row["question"]].append(here)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    work, memory = figure.subplots(1, 2)
    for question, (label, colour, marker) in LINES.items():
        rows, seconds, gigabytes, _ = zip(*sorted(measured[question]), strict=True)
        large = np.array(rows) >= LARGE
        slope = np.polyfit(np.log(np.array(rows)[large]), np.log(np.array(seconds)[large]), 1)[0]
        work.loglog(rows, seconds, color=colour, marker=marker, label=f"{label}: from a million on as n^{slope:.2f}")
        memory.semilogx(rows, gigabytes, color=colour, marker=marker, label=label)
    allowed = sorted({(n, float(of.removesuffix("GB"))) for rows in measured.values() for n, _, _, of in rows})
    memory.step(*zip(*allowed, strict=True), where="mid", color="0.6", linestyle="--", label="--memory")
    work.set(xlabel="embeddings of 768 numbers", ylabel="processor seconds")
    memory.set(xlabel="embeddings of 768 numbers", ylabel="GB of the process's own", ylim=(0, None))
    work.yaxis.set_major_formatter(plain)
    work.yaxis.set_minor_formatter("")
    for axes in (work, memory):
        axes.xaxis.set_major_formatter(plain)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=9)
    figure.savefig(picture, dpi=150)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""How often intervals that say 95 % hold the truth, where the truth is known: ours and the plain bootstrap's.

    python benchmarks/simulate_intervals.py [--experiments 2000] [--draws 500] [--rare]

An experiment makes runs of crossed random effects: the score of a frame is the seed's luck, plus what its group is
like, plus noise of its own in every run (the three columns, as standard deviations); or, in the rows "right or wrong",
1 where that sum stays below a bound. A paired difference of two arms has the same form, so that these rows hold for
`compare` too. Rivals: "all drawn" draws seeds and groups anew and takes percentiles; "widened" does so with the seeds'
deviations times sqrt(S / (S - 1)); "frames only" draws groups and takes the seeds as given.

With --rare, another table: balanced accuracy over four classes of which one has few frames, ours alone.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from meddel_hf.downstream.intervals import interval
from meddel_hf.downstream.scores import COLUMNS, Scores

LEVEL = 0.95
MIDDLE, SCALE = 0.5, 0.03  # made scores lie in [0, 1]: effects are multiples of SCALE
RIVALS = ("all drawn", "widened", "frames only")


@dataclass(frozen=True)
class Truth:
    """seeds, groups: how many; seed, group, noise: standard deviations. bound: of right-or-wrong scores, else None.

    sizes: "one" frame in each group, "ten", or "uneven": from 1 to 200, most of them few.
    """

    seeds: int
    groups: int
    seed: float
    group: float
    noise: float
    bound: float | None = None
    sizes: str = "one"

    @property
    def value(self) -> float:
        if self.bound is None:
            return MIDDLE
        return float(ndtr(self.bound / np.sqrt(self.seed**2 + self.group**2 + self.noise**2)))

    def experiment(self, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """(seeds, frames) scores and (frames,) groups."""
        sizes = {"one": np.ones(self.groups), "ten": np.full(self.groups, 10)}.get(self.sizes)
        if sizes is None:
            sizes = np.ceil(rng.pareto(1.2, self.groups) + 1e-9).clip(1, 200)
        groups = np.repeat(np.arange(self.groups), sizes.astype(int))
        luck = rng.normal(0, self.seed, (self.seeds, 1)) + rng.normal(0, self.group, self.groups)[groups]
        scores = luck + rng.normal(0, self.noise, (self.seeds, len(groups)))
        return ((MIDDLE + SCALE * scores) if self.bound is None else (scores < self.bound).astype(float)), groups


TRUTHS = {
    "the seed decides": [Truth(s, 300, 1, 0.1, 0.1) for s in (2, 3, 5, 10)],
    "seed and frames alike": [Truth(s, 300, 0.1, 1, 1) for s in (2, 3, 5, 10)],
    "the frames decide": [Truth(s, 300, 0, 1, 1) for s in (1, 3, 5)],
    "noise alone": [Truth(s, 300, 0, 0, 1) for s in (3, 5)],
    "videos of ten frames": [Truth(3, 40, 0.1, 1, 1, sizes="ten")],
    "few groups": [Truth(3, 10, 0.1, 1, 1, sizes="ten"), Truth(3, 4, 0.1, 1, 1, sizes="ten"), Truth(1, 4, 0, 1, 1)],
    "groups of uneven size": [Truth(3, 100, 0.1, 1, 1, sizes="uneven"), Truth(3, 10, 0.1, 1, 1, sizes="uneven")],
    "right or wrong, 79 % right": [Truth(3, 300, 0.05, 1, 1, 1.15), Truth(3, 300, 0.3, 1, 1, 1.15)],
    "right or wrong, 97 % right": [Truth(3, 300, 0.3, 1, 1, 2.7), Truth(3, 60, 0.05, 1, 1, 2.7)],
}


def ours(
    scores: NDArray[np.float64], groups: NDArray[np.int64], draws: int, labels: list[str] | None = None
) -> tuple[float, float]:
    """Of the balanced accuracy where there are labels, else of the mean over frames."""
    n = len(groups)
    ids = [str(i) for i in range(n)]
    fixed = {"id": ids, "set": ["test"] * n, "group": [str(g) for g in groups], "label": labels or ["a"] * n}
    masks = {"intersection": [None] * n, "union": [None] * n}
    runs = [
        Scores(
            pa.table({**fixed, "score": each, **masks}, schema=COLUMNS), "balanced-accuracy" if labels else "accuracy"
        )
        for each in scores.astype("f4")
    ]
    found = interval(runs, draws=draws, level=LEVEL)
    return found.low, found.high


def rivals(
    scores: NDArray[np.float64], groups: NDArray[np.int64], draws: int, rng: np.random.Generator
) -> list[NDArray]:
    """(low, high) of each of RIVALS; draws of all groups, as the textbooks have it."""
    seeds, n_groups = len(scores), groups[-1] + 1
    sums = np.stack([np.bincount(groups, each) for each in scores], axis=1)  # (groups, seeds)
    at = rng.integers(n_groups, size=(draws, n_groups)) + n_groups * np.arange(draws)[:, None]
    counts = np.bincount(at.ravel(), minlength=draws * n_groups).reshape(draws, n_groups)
    drawn = counts @ sums / (counts @ np.bincount(groups))[:, None]  # (draws, seeds)
    which = rng.integers(seeds, size=(draws, seeds))
    both = np.take_along_axis(drawn, which, axis=1).mean(axis=1)
    each = scores.mean(axis=1)
    more = (each[which].mean(axis=1) - each.mean()) * (np.sqrt(seeds / max(seeds - 1, 1)) - 1)
    tails = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    return [np.quantile(found, tails) for found in (both, both + more, drawn.mean(axis=1))]


def rare(experiments: int, draws: int) -> None:
    """Frames are as hard as their own luck (variance 0.7) and that of the run (0.3) make them."""
    chances = np.array([0.9, 0.8, 0.6, 0.9])
    print("| frames of the rare class | seeds | meddel |", "|---" * 3 + "|", sep="\n")
    for few in (3, 15, 50):
        for seeds in (1, 3, 5):
            of_class = np.repeat(np.arange(4), (160, 30, few, 290))
            bounds, n, held = ndtri(chances)[of_class], len(of_class), 0
            rng = np.random.default_rng(0)
            for _ in range(experiments):
                hard = rng.normal(0, 0.7**0.5, n) + rng.normal(0, 0.3**0.5, (seeds, n))
                low, high = ours((hard < bounds).astype(float), np.arange(n), draws, [str(c) for c in of_class])
                held += low <= chances.mean() <= high
            print(f"| {few} | {seeds} | {100 * held / experiments:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--rare", action="store_true", help="the table of a rare class instead")
    args = parser.parse_args()
    if args.rare:
        rare(args.experiments, args.draws)
        return
    began = time.monotonic()
    names = ("meddel", *RIVALS)
    print(f"| truth | seeds | groups | seed | group | noise | {' | '.join(names)} | width over all drawn |")
    print("|---" * (7 + len(names)) + "|")
    for name, truths in TRUTHS.items():
        for truth in truths:
            rng = np.random.default_rng(0)
            held, width = np.zeros(len(names)), np.zeros(len(names))
            for _ in range(args.experiments):
                scores, groups = truth.experiment(rng)
                found = np.array([ours(scores, groups, args.draws), *rivals(scores, groups, args.draws, rng)])
                held += (found[:, 0] <= truth.value) & (truth.value <= found[:, 1])
                width += found[:, 1] - found[:, 0]
            covered = " | ".join(f"{100 * share:.1f}" for share in held / args.experiments)
            effects = " | ".join(f"{each:g}" for each in (truth.seed, truth.group, truth.noise))
            ratio = width[0] / width[1]
            print(f"| {name} | {truth.seeds} | {truth.groups} | {effects} | {covered} | {ratio:.2f} |", flush=True)
    print(f"\n{args.experiments:,} experiments a row, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()

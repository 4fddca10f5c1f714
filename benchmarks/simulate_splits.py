"""How often intervals over random splits of one data set hold the truth, where the truth is known.

    python benchmarks/simulate_splits.py [--experiments 200] [--frames 300] [--chosen 16]

A data set has frames of two classes in 5 dimensions. In each of 20 splits a fifth is tested, and of the rest a rule
chooses frames from which a nearest-mean classifier learns; its balanced accuracy less that of five random choices is a
split's result. The truth is the mean over all experiments, each with a data set of its own. Columns: share of the
chosen frames that two splits have in common; and how many of 100 intervals at 95 % hold the truth: plain t, corrected
(splits correlate by the fifth that is tested), cautious (by what they choose alike, where that is more).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from meddel_hf.downstream.resampled import resampled_interval

SPLITS, TESTED, DIMENSIONS, APART, RANDOM_DRAWS = 20, 5, 5, 0.7, 5
Points = NDArray[np.float64]
Rows = NDArray[np.int64]
Rule = Callable[[Points, int, np.random.Generator], Rows]


def at_random(x: Points, k: int, rng: np.random.Generator) -> Rows:
    return rng.permutation(len(x))[:k]


def farthest(x: Points, k: int, rng: np.random.Generator) -> Rows:
    return np.argsort(-(x**2).sum(axis=1))[:k]


def nearest(x: Points, k: int, rng: np.random.Generator) -> Rows:
    return np.argsort((x**2).sum(axis=1))[:k]


def k_centre(x: Points, k: int, rng: np.random.Generator) -> Rows:
    chosen = [int(((x - x.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    distance = ((x - x[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < k:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((x - x[chosen[-1]]) ** 2).sum(axis=1))
    return np.array(chosen)


RULES: dict[str, Rule] = {
    "at random": at_random, "farthest from the middle": farthest, "k-centre": k_centre,
    "nearest to the middle": nearest,
}  # fmt: skip


def accuracy(x: Points, y: Rows, train: Rows, test: Rows) -> float:
    """Balanced, of a nearest-mean classifier; where one class was not chosen, the other is always the answer."""
    there = [c for c in (0, 1) if (y[train] == c).any()]
    means = np.stack([x[train][y[train] == c].mean(axis=0) for c in there])
    answers = np.array(there)[((x[test][:, None] - means) ** 2).sum(axis=2).argmin(axis=1)]
    return float(np.mean([(answers[y[test] == c] == c).mean() for c in (0, 1)]))


def experiment(rng: np.random.Generator, rule: Rule, frames: int, k: int) -> tuple[Points, float]:
    """(a result for each split, share of the chosen frames that two splits have in common)"""
    y = np.arange(frames) % 2
    x = rng.normal(size=(frames, DIMENSIONS))
    x[:, 0] += APART * (2 * y - 1)
    results, member = np.empty(SPLITS), np.zeros((SPLITS, frames))
    for split in range(SPLITS):
        order = rng.permutation(frames)
        test, pool = order[: frames // TESTED], order[frames // TESTED :]
        random = np.mean([accuracy(x, y, pool[at_random(x[pool], k, rng)], test) for _ in range(RANDOM_DRAWS)])
        chosen = pool[rule(x[pool], k, rng)]
        member[split, chosen] = 1
        results[split] = accuracy(x, y, chosen, test) - random
    common = member @ member.T / k
    return results, float((common.sum() - SPLITS) / (SPLITS**2 - SPLITS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=200)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--chosen", type=int, default=16)
    args = parser.parse_args()
    print("| frames chosen | two splits choose alike | plain t | corrected | cautious |\n|---|---:|---:|---:|---:|")
    for name, rule in RULES.items():
        rng = np.random.default_rng(1)
        made = [experiment(rng, rule, args.frames, args.chosen) for _ in range(args.experiments)]
        truth = np.mean([results for results, _ in made])
        row = [f"{100 * np.mean([overlap for _, overlap in made]):.0f} %"]
        for least, alike in ((0.0, False), (1 / TESTED, False), (1 / TESTED, True)):
            intervals = [resampled_interval(r.tolist(), max(least, overlap if alike else 0.0)) for r, overlap in made]
            row.append(f"{100 * np.mean([i.low <= truth <= i.high for i in intervals]):.1f}")
        print(f"| {name} | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()

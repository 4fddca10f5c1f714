"""How often the gate of headroom is passed where nothing differs, and where something does: scores are made.

    python benchmarks/simulate_gates.py [--experiments 1000] [--draws 500]

An experiment makes runs of three arms, random, the full pool and the pool without near-duplicates: the score of a frame
is what the frame is like (0.12, as standard deviation; the same in all runs), plus the run's luck (0.01), plus noise
(0.03), plus what the full pool gains. Printed as Markdown: the share of experiments that pass, with one comparison (the
full pool's) and with two.
"""

from __future__ import annotations

import argparse

import numpy as np
import pyarrow as pa

from meddel_hf.benchmark.gate import headroom
from meddel_hf.downstream.scores import COLUMNS, Scores

FRAMES, FRAME, LUCK, NOISE = 100, 0.12, 0.01, 0.03


def arm(frames: np.ndarray, seeds: int, gain: float, rng: np.random.Generator) -> dict[int, Scores]:
    """Scores by seed, of frames that are as hard as `frames` says."""
    ids = [f"frame {number}" for number in range(FRAMES)]
    nothing = pa.nulls(FRAMES, pa.list_(pa.int64()))
    by_seed = {}
    for seed in range(seeds):
        values = np.clip(0.5 + gain + frames + rng.normal(0, LUCK) + rng.normal(0, NOISE, FRAMES), 0, 1)
        right = [ids, ["made"] * FRAMES, ids, ["one"] * FRAMES, values.astype(np.float32), nothing, nothing]
        by_seed[seed] = Scores(pa.table(right, names=COLUMNS.names).cast(COLUMNS), "accuracy")
    return by_seed


def passes(experiment: int, seeds: int, gain: float, draws: int) -> tuple[bool, bool]:
    """(with one comparison, with two)"""
    rng = np.random.default_rng(experiment)
    frames = rng.normal(0, FRAME, FRAMES)
    random, full, distinct = (arm(frames, seeds, each, rng) for each in (0.0, gain, 0.0))
    answers = [headroom(random, full, other, 0.05, draws=draws) for other in ({}, distinct)]
    one, two = (answer is not None and answer.passed for answer in answers)
    return one, two


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=500)
    args = parser.parse_args()
    print("| seeds | gain of the full pool | passed, one comparison | two |\n|---|---:|---:|---:|")
    for seeds in (2, 3, 5):
        for gain in (0.0, 0.01, 0.03):
            made = [passes(experiment, seeds, gain, args.draws) for experiment in range(args.experiments)]
            one, two = np.mean(made, axis=0)
            print(f"| {seeds} | {gain:g} | {one:.1%} | {two:.1%} |", flush=True)


if __name__ == "__main__":
    main()

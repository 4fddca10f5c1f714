"""What the selection core must answer, the long way: every cosine in float64, plain loops, nothing shared with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STEP = 2.0**-24  # cosines and thresholds are multiples of it


def grid(values):
    """Float64, rounded to the nearest multiple of 2^-24."""
    return np.rint(np.asarray(values, np.float64) / STEP) * STEP


def cosines(x, y=None) -> np.ndarray:
    """(n, m) float64 cosines of raw rows, on the grid."""
    x = np.asarray(x, np.float64)
    y = x if y is None else np.asarray(y, np.float64)
    x = x / np.sqrt((x**2).sum(axis=1, keepdims=True))
    y = y / np.sqrt((y**2).sum(axis=1, keepdims=True))
    return grid(x @ y.T)


def distances(cosine) -> np.ndarray:
    """Euclidean between unit vectors of that cosine."""
    return np.sqrt(np.maximum(0, 2 - 2 * np.asarray(cosine, np.float64)))


def greedy(cosine: np.ndarray, groups: Sequence[np.ndarray], eta: float) -> np.ndarray:
    """In keep order, a row goes if a row that stays is above eta; (n,) bool."""
    kept, above = np.zeros(len(cosine), bool), cosine > grid(eta)
    for order in groups:
        stays: list[int] = []
        for row in order:
            if not above[row, stays].any():
                stays.append(int(row))
        kept[stays] = True
    return kept


def semdedup(cosine: np.ndarray, groups: Sequence[np.ndarray], eta: float) -> np.ndarray:
    """A row goes if any row before it is above eta; (n,) bool."""
    kept, above = np.zeros(len(cosine), bool), cosine > grid(eta)
    for order in groups:
        for place, row in enumerate(order):
            kept[row] = not above[row, order[:place]].any()
    return kept


def nearest_kept(cosine: np.ndarray, groups: Sequence[np.ndarray], kept: np.ndarray):
    """For each row that goes: the kept row of its group of greatest cosine, ties to keep order; else -1 and -2."""
    where, value = np.full(len(cosine), -1), np.full(len(cosine), -2.0)
    for order in groups:
        stays = order[kept[order]]
        for row in order[~kept[order]]:
            if len(stays):
                where[row] = stays[np.argmax(cosine[row, stays])]  # argmax: the first of equals
                value[row] = cosine[row, where[row]]
    return where, value


def filled(cosine: np.ndarray, groups: Sequence[np.ndarray], kept: np.ndarray, target: int) -> np.ndarray:
    """`kept`, and the dropped rows least similar to it (ties to keep order) until `target` stay."""
    order = np.concatenate(groups)
    _, value = nearest_kept(cosine, groups, kept)
    dropped = [row for row in order if not kept[row]]
    chosen = sorted(dropped, key=lambda row: value[row])[: target - int(kept.sum())]  # sorted() is stable
    result = kept.copy()
    result[chosen] = True
    return result


def links(cosine: np.ndarray, groups: Sequence[np.ndarray], kept: np.ndarray, eta: float) -> set[tuple[int, int]]:
    """(row that stays, row that goes) of a group, above eta."""
    above = cosine > grid(eta)
    return {
        (int(one), int(other))
        for order in groups
        for one in order[kept[order]]
        for other in order[~kept[order]]
        if above[one, other]
    }


def scenes(cosine: np.ndarray, groups: Sequence[np.ndarray], kept: np.ndarray, eta: float) -> set[tuple[int, ...]]:
    """Rows that a chain of links joins, each ascending."""
    scene = {row: {row} for row in range(len(kept))}
    for one, other in links(cosine, groups, kept, eta):
        if scene[one] is not scene[other]:
            scene[one] |= scene[other]
            for row in scene[other]:
                scene[row] = scene[one]
    return {tuple(sorted(rows)) for rows in scene.values()}


def together(scene: np.ndarray) -> list[list[int]]:
    """Rows of the same number."""
    return [np.flatnonzero(scene == number).tolist() for number in np.unique(scene)]


def apart(cosine: np.ndarray, groups: Sequence[np.ndarray], kept: np.ndarray, eta: float) -> np.ndarray:
    """Rows that stay and share no near-duplicate with one of them that is earlier in keep order; (n,) bool."""
    answer, claimed, linked = kept.copy(), set(), links(cosine, groups, kept, eta)
    for row in np.concatenate(groups):
        copies = {other for one, other in linked if one == row}
        if copies & claimed:
            answer[row] = False
        else:
            claimed |= copies
    return answer


def pairs(cosine: np.ndarray, groups: Sequence[np.ndarray], floor: float) -> dict[tuple[int, int], float]:
    """(first, second) -> cosine, for pairs inside a group above `floor`."""
    found, lowest = {}, grid(floor)
    for order in groups:
        rows = sorted(int(row) for row in order)
        for place, first in enumerate(rows):
            found.update({(first, j): cosine[first, j] for j in rows[place + 1 :] if cosine[first, j] > lowest})
    return found


def clumps(n: int, d: int, seed: int = 0, spread: float = 0.25) -> np.ndarray:
    """(n, d) float32: about eight rows around each of n / 8 random directions, of random lengths."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, n // 8), d))
    rows = centres[rng.integers(0, len(centres), n)] + spread * rng.standard_normal((n, d))
    return (rows * rng.uniform(0.1, 10, (n, 1))).astype(np.float32)


def noise(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def integers(n: int, d: int = 3, seed: int = 0) -> np.ndarray:
    """(n, d) float32 of -2..2 without zero rows: many exact copies, and many cosines exactly equal to one another."""
    rows = np.random.default_rng(seed).integers(-2, 3, (n, d)).astype(np.float32)
    rows[~rows.any(axis=1), 0] = 1
    return rows


def copies(n: int, d: int, seed: int = 0) -> np.ndarray:
    """(n, d) float32: n / 5 different rows, each several times over."""
    return noise(max(1, n // 5), d, seed)[np.random.default_rng(seed + 1).integers(0, max(1, n // 5), n)]


def near_equal(n: int, d: int, seed: int = 0) -> np.ndarray:
    """(n, d) float32: one direction and noise of 1e-7."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(d) + 1e-7 * rng.standard_normal((n, d))).astype(np.float32)


def antipodal(n: int, d: int, seed: int = 0) -> np.ndarray:
    """(n, d) float32: every row has its negative in the pool (n even), so that the mean direction is nothing."""
    half = integers(n // 2, d, seed)
    return np.concatenate([half, -half])


INPUTS = {
    "noise": lambda: noise(60, 12),
    "clumps": lambda: clumps(70, 24),
    "integers": lambda: integers(80),
    "copies": lambda: copies(60, 16),
    "all equal": lambda: np.full((50, 7), 0.3, np.float32),
    "near equal": lambda: near_equal(50, 20),
    "antipodal": lambda: antipodal(60, 4),
    "one number each": lambda: noise(40, 1),
    "two rows": lambda: noise(2, 5),
    "one row": lambda: noise(1, 5),
    "concentrated": lambda: (noise(60, 32) * 0.3 + 1).astype(np.float32),
}
ETAS = (-1.0, -0.5, 0.5, 0.8, 0.95, 1 - 2**-23, 1 - 2**-24, 1.0)


def check_engine(engine, cosine: np.ndarray, groups: list[np.ndarray], etas) -> None:
    """Both rules of an engine, who stands for whom, the same in one pass, and who shares a near-duplicate."""
    for eta in etas:
        for rule in (greedy, semdedup):
            done, kept = getattr(engine, rule.__name__)(eta), rule(cosine, groups, eta)
            np.testing.assert_array_equal(done.kept, kept)
            assert (done.count, done.complete, done.share) == (kept.sum(), True, 1.0)
        where, value = nearest_kept(cosine, groups, kept)
        near, similarity = engine.nearest_kept(kept)
        np.testing.assert_array_equal(near, where)
        np.testing.assert_array_equal(similarity, value.astype(np.float32))
        stays = greedy(cosine, groups, eta)
        one_pass = engine.thinned(eta)
        for mine, theirs in zip(one_pass, (stays, *nearest_kept(cosine, groups, stays)), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        found = engine.scenes(stays, eta)
        np.testing.assert_array_equal(found.apart, apart(cosine, groups, stays, eta))
        assert set(map(tuple, together(found.scene))) == scenes(cosine, groups, stays, eta)

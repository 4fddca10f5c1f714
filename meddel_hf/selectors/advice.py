"""Whether choosing can pay on a pool, told from its embeddings in minutes, without training.

A selector can beat a random share where frames repeat one another: a random share then holds the same scene again and
again. How often is known beforehand. A scene is all frames that a chain of near-duplicates joins; r frames drawn at
random from n miss a scene of m frames with probability C(n - m, r) / C(n, r).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from meddel_hf.embedding.calibration import Threshold
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.neighbors.cosines import Vectors, nearest
from meddel_hf.neighbors.knn import nearest_other_in
from meddel_hf.neighbors.row_source import PickedRows, blocks
from meddel_hf.runtime.checks import choice, fraction
from meddel_hf.runtime.free_memory import AUTO
from meddel_hf.runtime.reading import printable, shown, some_of
from meddel_hf.runtime.spacing import evenly_spaced
from meddel_hf.runtime.threads import own_threads
from meddel_hf.runtime.words import plural
from meddel_hf.selection.measures import Kept, covered
from meddel_hf.selectors.dedup import Dedup, doubt
from meddel_hf.selectors.measured import effective_of
from meddel_hf.selectors.protocol import opened

if TYPE_CHECKING:
    from datasets import Dataset

Scope = Literal["pool", "cluster"]

RETENTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
PAYS = 1.2  # times the scenes of a random share, from which choosing is said to pay
_FEW = 100  # frames that somebody may be about to label
_TELLS = 0.5  # share of mild copies that an encoder must hold for its word on near-duplicates
_WHOLE = 200_000  # frames up to which all are compared with all: minutes on two cores, and 25 times that at a million
_AT_ONCE = 2**16  # embeddings in memory, when frames are asked for their nearest
_ROWS = 2048  # frames that are asked for their nearest


@dataclass(frozen=True)
class Scenes:
    """What a retention keeps: rows, and the scenes expected of a random draw and of `Dedup(then="random")`."""

    retention: float
    rows: int
    at_random: float
    deduplicated: float

    @property
    def gain(self) -> float:
        return self.deduplicated / self.at_random


@dataclass(frozen=True)
class Reach:
    """How far a task's frames lie from the pool: median cosine to the nearest frame, of the task's frames (of n), and
    of the pool's own among its distinct ones."""

    n: int
    task: float
    pool: float


@dataclass(frozen=True)
class Advice:
    """Figures of a pool, which `str` tells, and what follows from them.

    rows, distinct: frames that were embedded, and those that are left when near-duplicates went.
    scope:          "pool": all frames were compared with all; "cluster": inside k-means clusters.
    alike:          share of the near-duplicates that look alike in their pixels; None where that is not known.
    count:          scenes.
    largest:        frames of the largest scene. half: scenes, largest first, that hold half of all frames.
    diversity:      effective number of frames (Vendi score, cosine kernel, mean subtracted), in [1, dim].
    groups:         frames of each centre and label, where the pool tells them; `kept` is what is left of them.
    """

    threshold: Threshold
    rows: int
    distinct: int
    scope: Scope
    alike: float | None
    count: int
    largest: int
    half: int
    diversity: float
    dim: int
    scenes: tuple[Scenes, ...]
    groups: tuple[Kept, ...]
    reach: Reach | None

    @property
    def copies(self) -> float:
        """Share of the frames that are near-duplicates of another one that stays."""
        return 1 - self.distinct / self.rows

    def __str__(self) -> str:
        alike = "" if self.alike is None else f"; {self.alike:.0%} of those found look alike in their pixels"
        alike += "" if self.scope == "pool" else "; compared inside clusters, between which some more may lie"
        scenes = f"distinct at this threshold; the largest of {plural(self.largest, 'frame')}; {self.half:,} hold half"
        lines = [
            f"{'frames':<16}{self.rows:>12,}",
            f"{'near-duplicates':<16}{self.copies:>12.2%}  {self.threshold}{alike}",
            f"{'scenes':<16}{self.count:>12,}  {scenes}",
            f"{'diversity':<16}{self.diversity:>12.1f}  effective number of frames (Vendi), of {self.dim} at most",
        ]
        if self.reach is not None:
            lines.append(
                f"{'reach':<16}{self.reach.task:>12.4f}  median cosine of the task's {plural(self.reach.n, 'frame')} "
                f"to their nearest in the pool; of the pool's own {self.reach.pool:.4f}"
            )
        for kept in self.groups:
            (most, frames, _), (least, fewest, _) = kept.rows[0], kept.rows[-1]
            span = f"from {printable(least)} with {plural(fewest, 'frame')} to {printable(most)} with {frames:,}"
            lines.append(f"{kept.column + 's':<16}{len(kept.rows):>12,}  {span}")
        lines += ["", f"{'retention':<16}{'frames':>12}{'scenes if random':>18}{'scenes if dropped':>21}{'gain':>8}"]
        lines += [
            f"{percent(one.retention):<16}{one.rows:>12,}{one.at_random:>18,.0f}{one.deduplicated:>21,.0f}"
            f"{one.gain:>7.1f}x"
            for one in self.scenes
        ]
        return "\n".join(lines)

    def facts(self, retention: float = 0.05) -> dict[str, Any]:
        """All figures as plain values, with the verdict for a retention."""
        threshold = {**asdict(self.threshold), "space": str(self.threshold.space)}
        return {
            "frames": self.rows, "distinct": self.distinct, "near_duplicates": self.copies, "threshold": threshold,
            "scope": self.scope, "alike": self.alike, "scenes": self.count, "largest": self.largest, "half": self.half,
            "diversity": self.diversity, "dim": self.dim,
            "reach": None if self.reach is None else asdict(self.reach),
            "retentions": [{**asdict(one), "gain": one.gain} for one in self.scenes],
            "columns": [
                {"column": kept.column, "values": [{"value": value, "pool": pool} for value, pool, _ in kept.rows]}
                for kept in self.groups
            ],
            "retention": retention, "verdict": self.verdict(retention),
        }  # fmt: skip

    def at(self, retention: float) -> Scenes:
        return min(self.scenes, key=lambda one: abs(one.retention - retention))

    def verdict(self, retention: float = 0.05) -> str:
        """What to do for a retention, in words."""
        one = self.at(retention)
        share, said = percent(one.retention), []
        if self.threshold.held < _TELLS:
            said.append(
                f"This encoder tells only {self.threshold.held:.0%} of mild copies from frames that are none: there "
                "may be many more near-duplicates than it finds. Embed with another encoder before you trust the rest."
            )
        if why := doubt(self.alike):
            said.append(f"{why[0].upper()}{why[1:]}.")
        if one.gain >= PAYS:
            said.append(
                f"Choosing pays: {self.copies:.0%} of the frames are near-duplicates. Drop them, and {share} "
                f"holds {one.gain:.1f} times as many scenes as a random {share} does "
                f"({one.deduplicated:,.0f} against {one.at_random:,.0f}). `meddel select` does that. On the pool like "
                "this that was tried SimCLR gained by it, and MAE and DINO, trained for minutes, did not."
            )
        else:
            said.append(
                f"Choosing has little to win: {self.copies:.1%} of the frames are near-duplicates, so that a random "
                f"{share} holds {one.at_random:,.0f} scenes and a chosen one {one.deduplicated:,.0f}. For SimCLR "
                "choose all the same: on a pool like this 5% chosen by `meddel select` was better than a random 5% on "
                "three of six measures and worse on none. For MAE a random share does as well."
            )
            said.append(
                "Frames of one video mostly count as scenes of their own, since they differ by more than a mild copy: "
                "take one frame in so many before you embed, or choose --eta by duplicates.png."
            )
        if one.rows <= _FEW:
            said.append(
                f"To label {one.rows} frames, an even choice taught more than a random one on two of four data sets "
                "tried and less on none. Rare looks may go: --min-per keeps some of each label or centre."
            )
        for kept in self.groups:
            few = [value for value, pool, _ in kept.rows if pool * one.retention < 1]
            if few:
                said.append(
                    f"{share} may hold no frame of {kept.column} {some_of(few, 3)}: --min-per {kept.column}=N keeps "
                    "some."
                )
        if self.reach is not None and self.reach.task < self.reach.pool - 0.5 * (1 - self.reach.pool):
            said.append(
                "The task's frames lie outside the pool: look at them beside their nearest, and for frames from where "
                "they come from, before you choose among these."
            )
        return "\n".join(said)


@own_threads()
def advise(
    embeddings: EmbeddingStore | str | Path,
    *,
    pool: Dataset | None = None,
    task: EmbeddingStore | str | Path | None = None,
    retentions: Sequence[float] = RETENTIONS,
    scope: Scope | Literal["auto"] = "auto",
    memory: str | int | None = AUTO,
    scratch: str | Path | None = None,
) -> Advice:
    """Tell whether choosing can pay.

    embeddings: a store with a calibration. pool: the data set that was embedded, for what is there of each centre; its
                ids and the columns that are counted are read.
    task:       embeddings of a task's own frames, by the same encoder.
    scope:      "pool" compares all frames with all, "cluster" inside k-means clusters; "auto" is "pool" up to 200,000
                frames, beyond which that is no matter of minutes.
    memory, scratch: as of `Dedup`.
    Raises InvalidArgument where the store was not calibrated, Mismatch where the task's encoder is another.
    """
    if isinstance(retentions, str) or not isinstance(retentions, Sequence) or not retentions:
        raise InvalidArgument(f"retentions must be a list of fractions, such as [0.05, 0.1], got {shown(retentions)}")
    for retention in retentions:
        fraction("retention", retention)
    store: EmbeddingStore = opened(embeddings)
    choice("scope", scope, ("auto", "pool", "cluster"))
    if scope == "auto":
        scope = "pool" if len(store) <= _WHOLE else "cluster"
    with Dedup(scope=scope, memory=memory, scratch=scratch).stepped(store) as step:
        assert step.threshold is not None
        scenes_of = step.scenes()
        _, scene = np.unique(scenes_of.scene, return_inverse=True)
        size = np.bincount(scene)
        apart = np.bincount(scene[scenes_of.apart], minlength=len(size))
    descending = np.sort(size)[::-1]
    return Advice(
        threshold=step.threshold,
        rows=len(store),
        distinct=int(step.decision.kept.sum()),
        count=len(size),
        scope=scope,
        alike=step.alike,
        largest=int(descending[0]),
        half=int(np.searchsorted(np.cumsum(descending), len(store) / 2) + 1),
        diversity=effective_of(store, np.arange(len(store))),
        dim=store.dim,
        scenes=tuple(scenes(size, apart, retention, len(store.pool_id_column)) for retention in sorted(retentions)),
        groups=tuple(covered(step, pool)),
        reach=None if task is None else _reach(store, step.threshold, step.decision.kept, task),
    )


def percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def scenes(size: NDArray[np.int64], apart: NDArray[np.int64], retention: float, pool: int) -> Scenes:
    """What a share of the pool keeps. size, apart: frames of each scene, all and those that `Dedup` draws
    before others, which are one of each at least."""
    from scipy.stats import hypergeom

    def expected(frames: NDArray[np.int64]) -> float:
        total, (each, scenes) = int(frames.sum()), np.unique(frames, return_counts=True)
        return float((scenes * (1 - hypergeom.pmf(0, total, each, min(rows, total)))).sum())

    rows = max(1, round(retention * pool))
    deduplicated = expected(apart) if rows <= apart.sum() else float(len(size))
    return Scenes(retention, min(rows, int(size.sum())), expected(size), deduplicated)


def _reach(
    store: EmbeddingStore, threshold: Threshold, kept: NDArray[np.bool_], task: EmbeddingStore | str | Path
) -> Reach:
    other: EmbeddingStore = opened(task)
    pooling = threshold.space.pooling
    mine, theirs = ((one.manifest.parents.get("encoder"), one.view) for one in (store, other))
    if mine != theirs or pooling not in other.poolings:
        raise Mismatch(
            f"{other.folder} was embedded by another encoder, pooling or view than {store.folder}: embed both alike"
        )
    distinct = PickedRows(store.reader(pooling), np.flatnonzero(kept))
    asked = Vectors.prepare(other.reader(pooling).take(evenly_spaced(len(other), _ROWS)))
    everyone, of_task = np.arange(len(asked)), np.full(len(asked), -2, np.float32)
    for _, block in blocks(distinct, _AT_ONCE):
        of_task = nearest(asked, everyone, asked.like(block), np.arange(len(block)), of_task)[1]
    of_pool = nearest_other_in(distinct, evenly_spaced(distinct.shape[0], _ROWS), _AT_ONCE)[1]
    return Reach(len(other), float(np.median(of_task)), float(np.median(of_pool)))

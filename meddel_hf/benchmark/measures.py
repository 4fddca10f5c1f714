"""What the selections of a benchmark cover, without training: written beside each of them, then taken over the seeds.

CELL/measures.json: `selection`, the fingerprint that it is of; `scenes`, `labels`, `centers`, null or `pool` and
`kept`; `farthest`, null or `id` and `cosine`; `effective`, `effective_of_pool`. One selection gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from meddel_hf.benchmark.cells import MEASURES, finished, read_json
from meddel_hf.benchmark.evidence import PARENTS, cure
from meddel_hf.benchmark.place import percent
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import IncompleteStore, Mismatch
from meddel_hf.runtime.reading import intact
from meddel_hf.runtime.records import write_facts
from meddel_hf.runtime.text_table import aligned
from meddel_hf.selection.measures import Measures, Values
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors.measured import directions, effective, measures

if TYPE_CHECKING:
    from datasets import Dataset

MEASURED = "measured"  # key of cell.json
_COUNTS = ("scenes", "labels", "centers")


@dataclass(frozen=True)
class Kind:
    """A measure by name: what it is in words, of how many decimals, and the range of its values."""

    name: str
    words: str
    decimals: int
    bounds: tuple[float, float]

    def of_pool(self, value: float) -> str:
        """What the pool itself holds, in words: of counts no mean is taken there."""
        return f"{value:,.{0 if self.name in _COUNTS else self.decimals}f}"


KINDS = (
    Kind("scenes", "scenes", 1, (0, np.inf)),
    Kind("labels", "classes", 1, (0, np.inf)),
    Kind("centers", "centres", 1, (0, np.inf)),
    Kind("farthest", "farthest frame", 3, (-1, 1)),
    Kind("effective", "effective frames", 1, (1, np.inf)),
)


@dataclass(frozen=True)
class OverSeeds:
    """A measure as the mean over seeds. low, high: ends of its t interval; None of one seed. pool: of all frames."""

    value: float
    low: float | None
    high: float | None
    seeds: int
    pool: float | None


@dataclass(frozen=True, eq=False)
class Measuring:
    """Measures selections from one store; what all of them share is computed once. pool: what was embedded."""

    store: EmbeddingStore
    pool: Dataset

    @cached_property
    def _directions(self) -> NDArray[np.float32]:
        return directions(self.store)

    @cached_property
    def _of_pool(self) -> float:
        return effective(self._directions)

    def write(self, selection: Selection, cell: Path) -> None:
        """Write measures.json of a cell, unless it stands there for this selection."""
        if read_json(cell / MEASURES).get("selection") == selection.fingerprint:
            return
        covers = measures(selection, self.store, self.pool, self._directions, self._of_pool)
        facts: dict[str, Any] = {"selection": selection.fingerprint}
        for name in _COUNTS:
            values: Values | None = getattr(covers, name)
            facts[name] = None if values is None else asdict(values)
        id_and_cosine = covers.farthest
        facts["farthest"] = None if id_and_cosine is None else dict(zip(("id", "cosine"), id_and_cosine, strict=True))
        # Rounded: the last digits depend on how many threads add up.
        facts |= {"effective": round(covers.effective, 4), "effective_of_pool": round(covers.of_pool, 4)}
        write_facts(cell / MEASURES, facts)


def read_measures(cell: Path, facts: Mapping[str, Any]) -> Measures | None:
    """What `Measuring` wrote of a cell; None where it wrote nothing, as before there were measures.

    facts: cell.json, whose `measured` says whether it did. Raises IncompleteStore where the file is damaged or gone,
    Mismatch where it is of another selection.
    """
    there = read_json(cell / MEASURES)
    if not there:
        if facts.get(MEASURED):
            raise IncompleteStore(f"{cell / MEASURES} is missing: {cure(cell)}")
        return None
    with intact(cell / MEASURES, cure(cell)):
        made_from = facts.get(PARENTS, {}).get("selection")
        if there["selection"] != made_from:
            raise Mismatch(
                f"{cell / MEASURES} is of another selection ({there['selection']}, expected {made_from}): {cure(cell)}"
            )
        counts = {name: None if there[name] is None else Values(**there[name]) for name in _COUNTS}
        far = there["farthest"]
        return Measures(
            **counts, farthest=None if far is None else (str(far["id"]), float(far["cosine"])),
            effective=float(there["effective"]), of_pool=float(there["effective_of_pool"]),
        )  # fmt: skip


def over_seeds(kind: Kind, runs: Sequence[Measures], level: float = 0.95) -> OverSeeds | None:
    """runs: of one arm at one retention, by seed. None where the measure is not known of all."""
    values = [_value(kind, run) for run in runs]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    mean, pool = float(np.mean(known)), _of_pool(kind, runs[0])
    if len(known) == 1:
        return OverSeeds(mean, None, None, 1, pool)
    half, (least, most) = _half_width(known, level), kind.bounds
    most = pool if pool is not None and kind.name in _COUNTS else most
    return OverSeeds(mean, max(mean - half, least), min(mean + half, most), len(known), pool)


def measured_places(runs: Path, arms: Sequence[str]) -> dict[tuple[str, float], list[Measures]]:
    """(arm, retention) -> measures of its finished cells by seed: ascending retentions, at each the arms in this order,
    then what else was measured."""
    by_place: dict[tuple[str, float], dict[int, Measures]] = {}
    for path in finished(runs):
        facts = read_json(path)
        if (there := read_measures(path.parent, facts)) is not None:
            by_place.setdefault((facts["arm"], facts["retention"]), {})[facts["seed"]] = there
    first = {arm: place for place, arm in enumerate(arms)}
    places = sorted(by_place, key=lambda place: (place[1], first.get(place[0], len(first)), place[0]))
    return {place: [by_place[place][seed] for seed in sorted(by_place[place])] for place in places}


def table(by_place: Mapping[tuple[str, float], Sequence[Measures]], level: float = 0.95) -> str:
    """As a terminal shows it: means over seeds, of several with the interval. Empty where nothing was measured."""
    rows_of = {place: [over_seeds(kind, runs, level) for kind in KINDS] for place, runs in by_place.items()}
    known = [at for at in range(len(KINDS)) if any(row[at] for row in rows_of.values())]
    if not known:
        return ""
    rows = [("without training", *(KINDS[at].words for at in known))]
    for (arm, retention), row in rows_of.items():
        rows.append((f"{arm}, {percent(retention)} %", *(_text(KINDS[at], row[at]) for at in known)))
    return aligned(rows)


def _text(kind: Kind, over: OverSeeds | None) -> str:
    if over is None:
        return "-"
    between = "" if over.low is None else f" [{over.low:.{kind.decimals}f}, {over.high:.{kind.decimals}f}]"
    of = "" if over.pool is None else f" of {kind.of_pool(over.pool)}"
    return f"{over.value:,.{kind.decimals}f}{between}{of}"


def _value(kind: Kind, run: Measures) -> float | None:
    if kind.name == "effective":
        return run.effective
    if kind.name == "farthest":
        return None if run.farthest is None else run.farthest[1]
    values: Values | None = getattr(run, kind.name)
    return None if values is None else values.kept


def _of_pool(kind: Kind, run: Measures) -> float | None:
    if kind.name in _COUNTS:
        values: Values | None = getattr(run, kind.name)
        return None if values is None else values.pool
    return run.of_pool if kind.name == "effective" else None


def _half_width(values: Sequence[float], level: float) -> float:
    from scipy.special import stdtrit

    n = len(values)
    return float(stdtrit(n - 1, (1 + level) / 2) * np.std(values, ddof=1) / np.sqrt(n))

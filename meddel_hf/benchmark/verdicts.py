"""What the gates found, as `gate.json` keeps it: of each task its verdict, and of the pool how redundant it is.

A gate.json of before there was a second gate names one gate alone, and is read as what it said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from meddel_hf.benchmark.cells import read_json
from meddel_hf.benchmark.evidence import FILES, GROUND, ground
from meddel_hf.benchmark.plan import HEADROOM, LEARNING, Gate
from meddel_hf.errors import Mismatch
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.reading import intact
from meddel_hf.runtime.records import check_files

NOTHING_TO_REMOVE = 0.1  # share of near-duplicates below which a pool is not called redundant


@dataclass(frozen=True)
class Headroom:
    """Is there anything to choose: is the best that a pool gives above random at the smallest retention?

    random, best: scores, means over the seeds that both have. by: what is best: "full", the whole pool, or "distinct",
    the pool without its near-duplicates. difference, low, high: of best less random, with the interval's ends.
    retention: of random, in (0, 1).
    """

    passed: bool
    random: float
    best: float
    by: Literal["full", "distinct"]
    difference: float
    low: float
    high: float
    retention: float

    @property
    def of_best(self) -> str:
        """`by` in words."""
        return "the full pool" if self.by == "full" else "the pool without its near-duplicates"

    @property
    def is_below(self) -> bool:
        """Whether random is above the best, the interval clear of zero."""
        return self.high < 0


@dataclass(frozen=True)
class Verdict:
    """What the gates found of a task.

    passed, full, untrained, difference, low, high: of the first, does pre-training on the whole pool beat none, the
    interval clear of zero? headroom: of the second; None where it was not asked, or could not be decided. gates: those
    that were asked. recorded: in gate.json; else taken from the cells by a report.
    """

    passed: bool
    measure: str
    full: float
    untrained: float
    difference: float
    low: float
    high: float
    recorded: bool = True
    headroom: Headroom | None = None
    gates: tuple[Gate, ...] = (LEARNING,)

    @property
    def can_rank(self) -> bool:
        """Whether selectors may be ranked on the task: it passed every gate that was asked."""
        return self.learns and (HEADROOM not in self.gates or (self.headroom is not None and self.headroom.passed))

    @property
    def learns(self) -> bool:
        """Whether the first gate, where it was asked, lets the task through."""
        return self.passed or LEARNING not in self.gates


@dataclass(frozen=True)
class Redundancy:
    """How many frames of a pool are near-duplicates of others, by Dedup's first step.

    share: of the pool's frames that go; left: that stay; eta: the cosine above which they do. All None where it is not
    known, and `why`.
    """

    share: float | None
    left: float | None
    eta: float | None
    why: str = ""

    @property
    def worth_removing(self) -> float | None:
        """Share of the pool that is left without near-duplicates, where there are enough of them to ask for more."""
        return self.left if self.share is not None and self.share >= NOTHING_TO_REMOVE else None


@dataclass(frozen=True)
class Verdicts:
    """What gate.json holds. by_task: task -> its verdict. diverged: cells of the gates that were left out, in words.

    level: of the gates' intervals; None of gate.json that do not tell.
    """

    by_task: Mapping[str, Verdict]
    redundancy: Redundancy | None
    diverged: tuple[str, ...]
    level: float | None


_LEARNING = ("passed", "measure", "full", "untrained", "difference", "low", "high")


def plain(verdict: Verdict) -> dict[str, Any]:
    """A verdict as gate.json holds it."""
    facts: dict[str, Any] = {name: getattr(verdict, name) for name in _LEARNING}
    if HEADROOM in verdict.gates:
        facts["headroom"] = None if verdict.headroom is None else asdict(verdict.headroom)
    return facts


def read_verdicts(path: Path, manifest: Manifest | None, trust: bool) -> Verdicts | None:
    """gate.json; None where no gate was run. Raises Mismatch or IncompleteStore where it is not of these runs."""
    if not path.is_file():
        return None
    recorded = read_json(path)
    again = "run the same `meddel benchmark run` again, which decides the gate anew"
    if manifest is not None and recorded.get(GROUND) not in (None, ground(manifest)):
        raise Mismatch(f"{path} is of another benchmark than {path.parent / MANIFEST}: {again}")
    check_files(path.parent, recorded.get(FILES, {}), f"it is not what {path} was decided by: {again}", trust=trust)
    with intact(path):
        gates = tuple(recorded.get("gates", (LEARNING,)))
        by_task = {task: _verdict(facts, gates) for task, facts in recorded["tasks"].items()}
        redundancy = recorded.get("redundancy")
        return Verdicts(
            by_task,
            None if redundancy is None else Redundancy(**redundancy),
            tuple(recorded.get("diverged", ())),
            recorded.get("level"),
        )


def _verdict(facts: Mapping[str, Any], gates: tuple[Gate, ...]) -> Verdict:
    headroom = facts.get("headroom")
    return Verdict(
        **{name: facts[name] for name in _LEARNING},
        headroom=None if headroom is None else Headroom(**headroom),
        gates=gates,
    )

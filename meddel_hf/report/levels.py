"""What the runs of a plan show at each redundancy that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meddel_hf.benchmark.results import Target
from meddel_hf.report.findings import Contrast, Findings


@dataclass(frozen=True, eq=False)
class Axis:
    """levels: share of near-copies -> what the runs on that pool show; ascending."""

    name: str
    levels: Mapping[float, Findings]

    @property
    def targets(self) -> list[Target]:
        """Test sets of which some level has a gain."""
        return list(dict.fromkeys(c.target for f in self.levels.values() for c in gained(f)))

    def gains(self, target: Target) -> dict[float, list[Contrast]]:
        """Share -> every arm's gain on a test set."""
        return {share: [c for c in gained(f) if c.target == target] for share, f in self.levels.items()}


def gained(f: Findings) -> list[Contrast]:
    """Against random, at the retention that `compared_at` names."""
    retention = compared_at(f)
    return [c for c in f.contrasts if c.against == f.runs.rival and c.retention == retention]


def compared_at(f: Findings) -> float | None:
    """The smallest retention of those with the most seeds, so that an unfinished one counts when it has as many."""
    seeds: dict[float, int] = {}
    for c in f.contrasts:
        if c.against == f.runs.rival:
            seeds[c.retention] = max(seeds.get(c.retention, 0), len(c.seeds))
    return min(seeds, key=lambda retention: (-seeds[retention], retention), default=None)

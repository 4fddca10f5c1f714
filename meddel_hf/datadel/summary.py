"""What `meddel build` prints at its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddel_hf.datadel import leaks, problems
from meddel_hf.datadel.card import Facts, mismatches, rows_of
from meddel_hf.datadel.layouts import IMAGES
from meddel_hf.datadel.registry import SOURCES
from meddel_hf.datadel.shards.output import REJECTED
from meddel_hf.runtime.words import plural

_SHOWN = 5


@dataclass(frozen=True)
class Build:
    """What a build made. missing: sources that were not found; reused: units that an earlier build had finished."""

    out: Path
    facts: Facts
    missing: tuple[str, ...]
    reused: int

    @property
    def unclaimed(self) -> tuple[str, ...]:
        """Folders with images that no source reads."""
        images = (p.path for p in self.facts.of_kind("not read") if p.path.lower().endswith(IMAGES))
        return tuple(sorted({path.rpartition("/")[0] for path in images}))

    @property
    def summary(self) -> dict[str, Any]:
        """Plain values: frames of each configuration, sources that were not found, and what is to be told besides."""
        told = [*self._differences(), *self._left_out()]
        return {"configurations": rows_of(self.facts), "missing": self.missing, "reused": self.reused, "notes": told}

    def __str__(self) -> str:
        facts = self.facts
        lines = [f"{'configuration':<22}{'frames':>9}"]
        lines += [f"{name:<22}{count:>9,}" for name, count in rows_of(facts).items()]
        lines += self._differences()
        lines += [
            f"empty masks: {source.name}: {empty:,} of {masks:,}"
            for source in facts.sources
            for masks, empty, _ in [facts.annotated(source.name)]
            if empty
        ]
        lines += self._left_out()
        lines += [
            f"leaks: {plural(sum(how.values()), f'frame of {a} also stands', f'frames of {a} also stand')} "
            f"in {b} ({_how(how)})"
            for (a, b), how in sorted(leaks.counted(facts.leaks).items())
        ]
        for name in self.missing:
            lines.append(f"not found: {name}; get it from {SOURCES[name].home}: {SOURCES[name].archives}")
        return "\n".join(lines)

    def _differences(self) -> list[str]:
        """Counts that were published otherwise; classes only by their number, since the card lists them."""
        lines = []
        classes: dict[str, int] = {}
        for source, published, count in mismatches(self.facts):
            if published.label is None:
                unsure = "" if published.sure == "verified" else f" ({published.sure})"
                counts = f"{plural(count, 'frame')} found, {published.frames:,} published{unsure}"
                lines.append(f"differs: {source.name}, {published.of_what}: {counts}")
            else:
                classes[source.name] = classes.get(source.name, 0) + 1
        lines += [
            f"differs: {name}: {plural(count, 'class', 'classes')}, listed in README.md"
            for name, count in classes.items()
        ]
        return lines

    def _left_out(self) -> Iterator[str]:
        kept_out, skipped = self.facts.of_kind("kept out"), self.facts.of_kind("not read")
        whole = [p for p in kept_out if p.source is None]
        yield from (f"kept out: {p.path}: {p.reason}" for p in whole[:_SHOWN])
        if len(whole) > _SHOWN:
            yield f"kept out: {plural(len(whole) - _SHOWN, 'more file')} of no source, see {REJECTED}"
        yield from problems.lines("kept out", (p for p in kept_out if p.source is not None))
        yield from problems.lines("kept, but", self.facts.of_kind("remark"))
        if skipped:
            files = "file" if len(skipped) == 1 else "files"
            yield f"not read: {len(skipped):,} {files} ({problems.suffixes(skipped)}), listed in {REJECTED}"
        if self.unclaimed:
            shown = ", ".join(self.unclaimed[:_SHOWN])
            yield f"not read: {len(self.unclaimed):,} folders with images that no source claims, such as {shown}"


def _how(how: dict[str, int]) -> str:
    return ", ".join(f"{n:,} by {word}" for word, n in sorted(how.items()))

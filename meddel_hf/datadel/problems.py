"""What a build did not take: all of it in a table, and in short for the summary and the card."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from meddel_hf.datadel.archives.entries import Problem, Tree
from meddel_hf.datadel.shards.output import REJECTED
from meddel_hf.runtime.files import whole_file

COLUMNS = pa.schema({"source": pa.string(), "path": pa.string(), "reason": pa.string(), "kind": pa.string()})
_REASONS = 12  # shown of one source
_SUFFIXES = 6
_LENGTH = 160  # characters of a reason that is shown


def write(problems: Sequence[Problem], out: Path) -> None:
    """rejected.parquet: a row for each; `kind` is explained at `entries.Problem`."""
    with whole_file(out / REJECTED) as aside:
        pq.write_table(pa.Table.from_pylist([asdict(problem) for problem in problems], COLUMNS), aside)


def not_read(tree: Tree, claimed: set[tuple[int, ...]]) -> list[Problem]:
    """Files that no source has claimed, by their identity."""
    reason = "no source knows it as one of its files"
    return [
        Problem(None, entry.path, reason, "not read")
        for entries in tree.folders.values()
        for entry in entries
        if tree.identity(entry) not in claimed
    ]


def grouped(problems: Iterable[Problem]) -> list[tuple[str, str, int]]:
    """(source or "", why, how many), most first within a source: whole reasons, their names and numbers as ... and N
    where several files share one. Of a source with many reasons, the rarest are one group."""
    paths: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        paths.setdefault((problem.source or "", kind_of(problem.reason)), []).append(problem.reason)
    by_source: dict[str, list[tuple[str, int]]] = {}
    for (source, kind), reasons in paths.items():
        why = kind if len(set(reasons)) > 1 else _cut(reasons[0])
        by_source.setdefault(source, []).append((why, len(reasons)))
    rows = []
    for source, mine in sorted(by_source.items()):
        mine.sort(key=lambda each: (-each[1], each[0]))
        shown = mine if len(mine) <= _REASONS else mine[: _REASONS - 1]
        rows += [(source, why, count) for why, count in shown]
        if len(shown) < len(mine):
            rest = mine[len(shown) :]
            rows.append((source, f"{len(rest):,} more reasons", sum(count for _, count in rest)))
    return rows


def kind_of(reason: str) -> str:
    """A reason without the numbers and names of the single case; of what is expected all stays."""
    found, mark, expected = reason.partition(": expected ")
    short = re.sub(r"(?<!\w)(['\"]).*?\1(?!\w)", "...", found)
    short = re.sub(r"\S+\.[A-Za-z][A-Za-z0-9]{1,4}\b", "...", short)
    short = re.sub(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?", "N", short)
    return _cut(short + mark + expected)


def suffixes(problems: Iterable[Problem]) -> str:
    """How many files of each kind, such as "12 .jpg, 3 .txt, 1 without suffix"."""
    counts = Counter(PurePosixPath(problem.path).suffix.lower() or "without suffix" for problem in problems)
    ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    words = [f"{count:,} {name}" for name, count in ranked[:_SUFFIXES]]
    rest = sum(count for _, count in ranked[_SUFFIXES:])
    return ", ".join([*words, *([f"{rest:,} others"] if rest else [])])


def lines(word: str, problems: Iterable[Problem]) -> Iterator[str]:
    """Of a summary: one for each source and reason."""
    for source, why, count in grouped(problems):
        yield f"{word}: {source}: {count:,} x {why}"


def _cut(text: str) -> str:
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - 3].rstrip()}..."

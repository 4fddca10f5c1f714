"""Compare selectors by what is learned from the frames that they choose: splits x selectors x budgets, resumable.

    OUT/begun.json                  what is being compared
    OUT/parts/<arm>-<digest>/split-000.parquet   scores of one arm in one split, all budgets and draws
    OUT/labels.parquet              all of them, see `outcomes.COLUMNS`
    OUT/manifest.json               written last

A further call with the same frames, task and budgets may add arms and splits; what is there is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from meddel_hf.downstream.labels.arms import RANDOM, Chooser
from meddel_hf.downstream.labels.budgets import MOST_DRAWS, MOST_SPLITS, Budget, check_budget, frames_of, named
from meddel_hf.downstream.labels.outcomes import COLUMNS, Outcomes
from meddel_hf.downstream.labels.task import Frames, Task
from meddel_hf.downstream.splits import TEST_SHARE
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime import checks
from meddel_hf.runtime.files import sweep, whole_file
from meddel_hf.runtime.manifest import Manifest, check_recorded, check_target, fingerprint
from meddel_hf.runtime.resume import BEGUN, begin, begun, check_same
from meddel_hf.runtime.tables import read_table

FILE, PARTS = "labels.parquet", "parts"
RANDOM_DRAWS = 10  # its mean over them is what the others are compared with
Say = Callable[[str], None]


def compare_choices(
    frames: Frames,
    task: Task,
    arms: Sequence[Chooser],
    out: str | Path,
    *,
    budgets: Sequence[Budget] = (16, 32, 64, 128, 0.1),
    splits: int = 20,
    test_share: float = TEST_SHARE,
    say: Say | None = None,
) -> Outcomes:
    """In each split every arm chooses frames of the training part; a head is trained on those alone, and tested.

    frames:  what may be chosen or tested. task: what is learned of them.
    arms:    where none of them is the selector "random" without options, one is added, with 10 draws for each split.
    budgets: numbers of frames, or shares of the training part.
    splits:  random ones, seeded by their number; no group is parted and each stratum is shared out (`Frames.split`).
    say:     takes a line for each arm and split that was run.

    Arms choose by vectors and by what is known before labelling; no label reaches them. Raises InvalidArgument for bad
    arguments, and where a budget is more than there is; Mismatch where `out` was begun with another comparison.
    """
    arms = _with_random(arms)
    checks.count("splits", splits, 2, MOST_SPLITS)
    for budget in budgets:
        check_budget(budget)
    if not budgets or len({named(budget) for budget in budgets}) < len(budgets):
        raise InvalidArgument(f"budgets repeat themselves or are none: {', '.join(map(named, budgets))}")
    work = _Work(frames, task, tuple(budgets), test_share, Path(out))
    work.prepare()
    for split in range(splits):
        for arm in arms:
            if not work.part(arm, split).is_file():
                work.run(arm, split)
                if say is not None:
                    say(f"split {split + 1} of {splits}: {arm.label}")
    return work.finish(arms, splits)


def load_outcomes(folder: str | Path) -> Outcomes:
    """What `compare_choices` wrote. Raises IncompleteStore where it is not finished, or damaged."""
    folder = Path(folder)
    manifest = Manifest.read(folder, "labels")
    check_recorded(folder, [FILE])
    return Outcomes(read_table(folder / FILE, COLUMNS), manifest.details["random"], manifest.arguments["measure"])


def _with_random(arms: Sequence[Chooser]) -> list[Chooser]:
    """The arms, random first."""
    plain = next((arm for arm in arms if arm.selector == RANDOM and not arm.options), None)
    plain = plain or Chooser(RANDOM, RANDOM, draws=RANDOM_DRAWS)
    every = [plain, *(arm for arm in arms if arm is not plain)]
    labels = [arm.label for arm in every]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise InvalidArgument(f"two arms are labelled {twice!r}: give each a label of its own")
    return every


@dataclass(frozen=True, eq=False)
class _Work:
    frames: Frames
    task: Task
    budgets: tuple[Budget, ...]
    test_share: float
    out: Path

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "frames": self.frames.identity, "task": self.task.identity, "measure": self.task.measure,
            "budgets": [named(budget) for budget in self.budgets], "test_share": self.test_share,
        }  # fmt: skip

    def prepare(self) -> None:
        check_target(self.out, "labels", begun=[BEGUN, PARTS])
        if (self.out / BEGUN).is_file():
            check_same(self.out, begun(self.out), self.arguments)
        else:
            self.out.mkdir(parents=True, exist_ok=True)
            begin(self.out, self.arguments)

    def part(self, arm: Chooser, split: int) -> Path:
        """File of one arm in one split; another selector, other options or draws under that label have other files."""
        facts = arm.facts()
        name = f"{re.sub(r'[^A-Za-z0-9.-]', '_', arm.label)}-{fingerprint(repr(sorted(facts.items())))[:8]}"
        return self.out / PARTS / name / f"split-{split:03}.parquet"

    def run(self, arm: Chooser, split: int) -> None:
        pool, test = self.frames.split(split, self.test_share)
        vectors, columns = self.frames.vectors[pool], self.frames.columns.select(pool)
        rows = []
        for budget in self.budgets:
            size = frames_of(budget, len(pool))
            for draw in range(arm.draws):
                seed = split * MOST_DRAWS + draw
                chosen = pool[arm.chosen(vectors, columns, size, seed)]
                score = self.task.score(chosen, test)
                ids = [self.frames.ids[row] for row in chosen]
                rows.append((arm.label, named(budget), size, len(pool), len(test), split, seed, score, ids))
        path = self.part(arm, split)
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        with whole_file(path) as aside:
            by_column = [pa.array(column) for column in zip(*rows, strict=True)]
            pq.write_table(pa.table(by_column, schema=COLUMNS), aside, compression="zstd")

    def finish(self, arms: Sequence[Chooser], splits: int) -> Outcomes:
        cure = "delete it, and the same command runs it again"
        files = [self.part(arm, split) for arm in arms for split in range(splits)]
        table = pa.concat_tables([read_table(path, COLUMNS, cure=cure) for path in files]).combine_chunks()
        with whole_file(self.out / FILE) as aside:
            pq.write_table(table, aside, compression="zstd")
        details = {"arms": [arm.facts() for arm in arms], "random": arms[0].label, "splits": splits}
        made = fingerprint(repr(sorted(self.arguments.items())), repr(details))
        parents = {"frames": self.frames.identity, "task": self.task.identity}
        Manifest("labels", made, self.arguments, parents, details).write(self.out, [FILE])
        return Outcomes(table, arms[0].label, self.task.measure)

"""A task of kind labels: frames are embedded once, every arm chooses among them, a head learns from what it chose.

RUNS/labels/<task>/embeddings/   of the labelled frames, by the plan's encoder and pooling
RUNS/labels/<task>/tokens/       patch tokens and masks, where frames are segmented
RUNS/labels/<task>/choices/      scores, see `downstream/labels/compare.py`
"""

from __future__ import annotations

from pathlib import Path

from accelerate import PartialState
from datasets import Dataset

from meddel_hf.benchmark.cells import CHOICES, LABELS
from meddel_hf.benchmark.plan import Arm, LabelsTask, Plan
from meddel_hf.benchmark.task_data import opened
from meddel_hf.data.pool import name_of
from meddel_hf.downstream.labels.arms import RANDOM, Chooser
from meddel_hf.downstream.labels.compare import RANDOM_DRAWS, Say, compare_choices
from meddel_hf.downstream.labels.sets import class_task, common, mask_task
from meddel_hf.downstream.labels.task import Frames, Task
from meddel_hf.downstream.probing.labels import Labelled
from meddel_hf.downstream.segmentation.masked_frames import LabelledFrames
from meddel_hf.embedding.embed import embed
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import met_in


def folder(runs: Path, task: str) -> Path:
    """Where the scores of a task stand."""
    return runs / LABELS / task / CHOICES


def check(task: LabelsTask, place: str) -> None:
    """Open what a task names. Raises, with its place in the plan, what would be refused once all is embedded."""
    with met_in(place):
        with met_in("labels"):
            dataset = opened(task.labels)
            if task.masks:
                LabelledFrames.of(dataset, task.labels, 2)
        if not task.masks:
            with met_in("target"):
                common(Labelled.of(dataset, task.target), task.rarest)


def run(
    plan: Plan, task: LabelsTask, runs: Path, device: str, processes: PartialState, say: Say, where: str = "plan"
) -> None:
    """Run what is missing of a task; all processes embed, the main one compares. Errors say which task they are of."""
    assert plan.embedding is not None
    with met_in(f"{where}: {plan.place_of(task)}"):
        dataset = opened(task.labels)
        store = embed(
            dataset, plan.embedding.encoder, runs / LABELS / task.name / "embeddings", pooling=plan.embedding.pooling,
            device=device, progress=False,
        )  # fmt: skip
        if processes.is_main_process:
            frames, subject = _subject(plan, task, store, dataset, runs, device)
            arms = [_chooser(arm, task.draws).calibrated(store) for arm in plan.arms]
            compare_choices(
                frames, subject, arms, folder(runs, task.name),
                budgets=task.budgets, splits=task.splits, test_share=task.test_share,
                say=lambda line: say(f"{task.name}: {line}"),
            )  # fmt: skip


def _subject(
    plan: Plan, task: LabelsTask, store: EmbeddingStore, dataset: Dataset, runs: Path, device: str
) -> tuple[Frames, Task]:
    """(frames that may be chosen, what is learned from them)"""
    assert plan.embedding is not None
    if not task.masks:
        return class_task(store, dataset, task.target, rarest=task.rarest)
    tokens = runs / LABELS / task.name / "tokens"
    return mask_task(
        store,
        dataset,
        plan.embedding.encoder,
        tokens,
        name=name_of(task.labels),
        device=store.manifest.arguments["device"],
    )


def _chooser(arm: Arm, draws: int) -> Chooser:
    """Plain random is what the others are compared with: its mean should be well known."""
    plain = arm.selector == RANDOM and not arm.options
    return Chooser(arm.label, arm.selector, dict(arm.options), RANDOM_DRAWS if plain else draws)

"""How long cells take: from those that are finished, else from a few steps of the plan's model on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from meddel_hf.benchmark.cells import finished, read_json
from meddel_hf.pretraining.recipe import Recipe

_WARM, _LEAST_STEPS, _LONGEST = 2, 3, 5.0  # steps, steps, seconds


def seconds_of(facts: Mapping[str, Any]) -> float:
    """Selection, pre-training and tasks of a finished cell."""
    tasks = sum(facts.get("seconds_tasks", {}).values())
    return float(facts.get("seconds_selection", 0.0) + facts.get("seconds_pretraining", 0.0) + tasks)


def measured(runs: Path) -> float | None:
    """Seconds of a cell, mean over the finished ones that trained; None where there is none."""
    done = list(_finished(runs))
    return sum(map(seconds_of, done)) / len(done) if done else None


def left(runs: Path, cells: int) -> str:
    """What to say of the cells that are left to this call."""
    each = measured(runs)
    return f"; about {in_words(each * cells)} left" if each and cells else ""


def samples_per_second(recipe: Recipe, device: str) -> float:
    """Steps of the recipe's model on made pixels; takes some seconds. What feeds it is not counted."""
    import numpy as np
    import torch

    from meddel_hf.pretraining.frame_cache import stored_side
    from meddel_hf.pretraining.objectives import build, model_inputs, suit
    from meddel_hf.pretraining.views import views_of
    from meddel_hf.runtime.devices import resolve_precision
    from meddel_hf.runtime.processes import computing_device, launched_processes

    place = computing_device(device, launched_processes(device))
    precision = resolve_precision(recipe.precision, place)
    model: Any = build(recipe, 0)
    model.to(place).train()
    suit(model, place, precision, recipe)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-6)
    batch = recipe.batch_size // recipe.accumulation
    side = stored_side(recipe.image_size)
    frames = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    inputs = model_inputs(views_of(list(frames), np.arange(batch), recipe, 0), recipe, place)

    def step() -> None:
        with torch.autocast(place.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = model(**inputs).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if place.type == "cuda":
            torch.cuda.synchronize(place)

    for _ in range(_WARM):
        step()
    began, steps = time.monotonic(), 0
    while steps < _LEAST_STEPS or (steps < 50 and time.monotonic() - began < _LONGEST):
        step()
        steps += 1
    return steps * batch / (time.monotonic() - began)


def in_words(seconds: float) -> str:
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} s"


def _finished(runs: Path) -> Iterator[dict[str, Any]]:
    for path in finished(runs):
        facts = read_json(path)
        if facts.get("samples"):
            yield facts

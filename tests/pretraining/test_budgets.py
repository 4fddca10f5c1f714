"""Recipes by budget: each is one whose model can be made; reached from Python, on the command line and in a plan."""

from __future__ import annotations

from itertools import product
from typing import get_args

import numpy as np
import pytest
import torch
import yaml
from pretraining.test_pretrain import folder_of_images

from meddel_hf.benchmark.plan import Plan
from meddel_hf.cli import main
from meddel_hf.errors import InvalidArgument
from meddel_hf.pretraining.budgets import Budget, recipe_for, worth_naming
from meddel_hf.pretraining.objectives import OBJECTIVES, build, model_inputs
from meddel_hf.pretraining.recipe import ObjectiveName, Recipe
from meddel_hf.pretraining.result import PreTraining
from meddel_hf.pretraining.views import views_of
from meddel_hf.runtime.manifest import Manifest

ALL = list(product(get_args(ObjectiveName), get_args(Budget)))


@pytest.mark.parametrize(("objective", "budget"), ALL)
def test_every_budget_of_every_objective_is_a_recipe(objective, budget):
    recipe = recipe_for(objective, budget)
    assert recipe.objective == objective
    assert recipe.steps > 100
    assert recipe.samples < 17_656_400
    with torch.device("meta"):
        OBJECTIVES[objective].new(recipe) if objective != "mae" else None  # MAE's positions are computed


@pytest.mark.parametrize(
    ("before", "now", "named"),
    [
        ({}, {"objective": "simclr"}, ["objective"]),
        ({"budget": "hour"}, {"objective": "dino", "budget": "minutes"}, ["objective"]),
        ({"samples": 1600}, {"samples": 1600, "objective": "dino"}, ["objective"]),
        ({"samples": 1600}, {"objective": "dino"}, ["objective", "samples"]),
        ({}, {"objective": "simclr", "temperature": 0.3}, ["objective", "temperature"]),
        ({"objective": "simclr"}, {"objective": "simclr", "temperature": 0.1}, ["temperature"]),
        ({"budget": "minutes"}, {"budget": "hour"}, ["image_size", "layers", "samples"]),
        ({"objective": "simclr", "jitter": 0.5}, {"objective": "simclr"}, []),
    ],
)
def test_fields_that_another_objective_brings_along_are_not_worth_naming(before, now, named):
    records = [recipe_for(**{"objective": "mae", **given}).recorded() for given in (before, now)]
    assert sorted(worth_naming(*records)) == named


@pytest.mark.parametrize(("objective", "budget"), [pair for pair in ALL if pair[1] != "gpu-day"])
def test_budgets_of_processors_can_be_computed(objective, budget):
    """One batch of two frames, backwards."""
    recipe = recipe_for(objective, budget, batch_size=2)
    frames = list(np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), dtype=np.uint8))
    loss = build(recipe, 0)(**model_inputs(views_of(frames, np.arange(2), recipe, 0), recipe, torch.device("cpu"))).loss
    loss.backward()
    assert torch.isfinite(loss)


def test_without_a_budget_it_is_the_papers_where_the_paper_has_one():
    assert recipe_for() == Recipe()
    assert recipe_for("simmim") == Recipe(objective="simmim")
    for objective in ("simclr", "dino"):
        assert recipe_for(objective) == recipe_for(objective, "gpu-day")
    assert recipe_for("simclr", "hour", samples=256, preset="convnext-nano").samples == 256


def test_small_budgets_of_mae_take_its_target_per_channel():
    assert [recipe_for("mae", budget).target for budget in get_args(Budget)] == ["channel", "channel", "patch"]
    assert recipe_for("mae", "minutes", target="patch").target == "patch"
    assert recipe_for("mae", "minutes", norm_pix_loss=False).target == "patch", "which is the default, and unused"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("byol",), "objective must be one of mae, simmim, simclr, dino, got 'byol'"),
        ((["mae"],), "objective must be one of mae, simmim, simclr, dino, got"),
        (("mae", "week"), "budget must be one of minutes, hour, gpu-day, got 'week'"),
        (("mae", 5), "budget must be one of minutes, hour, gpu-day, got 5"),
    ],
)
def test_what_is_no_budget_is_refused(given, message):
    with pytest.raises(InvalidArgument, match=message):
        recipe_for(*given)


def test_the_command_begins_from_a_budget(tmp_path, capsys):
    pool, out = folder_of_images(tmp_path / "pool"), tmp_path / "out"
    command = ["pretrain", str(pool), "--out", str(out), "--objective", "simclr", "--budget", "minutes", "--quiet"]
    for more, message in (
        (["--patch-size", "8"], "error: patch_size is of a ViT, and resnet-nano is none: leave it out\n"),
        (["--momentum", "0.5"], "error: momentum is of dino, and simclr has no use for it: leave it out\n"),
    ):
        assert main([*command, *more]) == 2
        assert capsys.readouterr().err == message
    with pytest.raises(SystemExit):
        main([*command, "--budget", "century"])
    assert "invalid choice: 'century'" in capsys.readouterr().err
    assert main([*command, "--samples", "16", "--batch-size", "8", "--image-size", "32", "--num-workers", "0"]) == 0
    made = Manifest.read(out, "pretraining").arguments
    assert (made["preset"], made["blur"], made["samples"]) == ("resnet-nano", 0.0, 16)
    assert PreTraining.load(out).summary.samples == 16


PLAN = """
name: toy
pool: frames
tasks: [{name: seen, kind: instance, frames: others}]
pretraining: %s
"""


def planned(pretraining: str) -> Plan:
    return Plan.of(yaml.safe_load(PLAN % pretraining))


def test_a_plan_begins_from_a_budget():
    plan = planned("{objective: dino, budget: minutes, samples: 1024}")
    assert plan.pretraining == recipe_for("dino", "minutes", samples=1024)
    again = Plan.of(yaml.safe_load(plan.yaml()))
    assert again == plan
    assert planned("{budget: minutes}").pretraining == recipe_for("mae", "minutes")


@pytest.mark.parametrize(
    ("pretraining", "message"),
    [
        (
            "{objective: dino, budget: weeks}",
            "plan: pretraining: budget must be one of minutes, hour, gpu-day, got 'wee",
        ),
        ("{objective: byol, budget: hour}", "plan: pretraining: objective must be one of mae, simmim, simclr, dino"),
        ("{objective: simclr, budget: hour, momentum: 0.9}", "pretraining: momentum is of dino, and simclr has no use"),
        ("{budget: hour, sample: 3}", "sample"),
        ("{budget: [hour]}", "plan: pretraining: budget must be one of"),
    ],
)
def test_a_plan_says_where_it_is_wrong(pretraining, message):
    with pytest.raises(InvalidArgument, match=message):
        planned(pretraining)

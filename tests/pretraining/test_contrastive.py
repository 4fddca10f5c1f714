"""SimCLR: its loss by a double loop, and what its head and encoder are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from meddel_hf.pretraining.contrastive import SimCLR, SimCLRConfig, contrast
from meddel_hf.pretraining.encoders import tokens
from meddel_hf.pretraining.objectives import OBJECTIVES, build, model_inputs
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.pretraining.views import views_of

RECIPE = Recipe(objective="simclr", preset="resnet-nano", image_size=32, samples=64, batch_size=8, projection=16)
CPU = torch.device("cpu")


def nt_xent(projected: np.ndarray, temperature: float) -> float:
    """Equation 1 of arXiv 2002.05709, summed as it is written; views i and i + B are a frame's."""
    n = len(projected)

    def likeness(i: int, j: int) -> float:
        a, b = projected[i], projected[j]
        return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)) / temperature

    total = 0.0
    for i in range(n):
        j = (i + n // 2) % n
        total -= math.log(math.exp(likeness(i, j)) / sum(math.exp(likeness(i, k)) for k in range(n) if k != i))
    return total / n


@pytest.mark.parametrize(("frames", "temperature"), [(2, 0.1), (7, 0.5), (16, 1.0)])
def test_the_loss_is_the_papers(frames, temperature):
    projected = np.random.default_rng(frames).normal(size=(2 * frames, 5))
    found = contrast(torch.tensor(projected, dtype=torch.float32), temperature)
    assert float(found) == pytest.approx(nt_xent(projected, temperature), rel=1e-5)


def test_views_of_a_frame_that_are_alone_alike_cost_nothing():
    two = torch.eye(4).repeat(2, 1)
    assert float(contrast(two, 0.01)) < 1e-6
    assert float(contrast(torch.ones(8, 3), 0.1)) == pytest.approx(math.log(7))  # all alike: one of seven by chance


def test_the_model_compares_what_its_head_makes_of_two_views():
    model = build(RECIPE, 0)
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (48, 48, 3), dtype=np.uint8) for _ in range(6)]
    inputs = model_inputs(views_of(frames, np.arange(6), RECIPE, 0), RECIPE, CPU)
    assert inputs["views"].shape == (6, 2, 3, 32, 32)
    model.eval()
    with torch.no_grad():
        found = float(model(**inputs).loss)
        heads = [OBJECTIVES["simclr"].head(model, inputs["views"][:, view]) for view in (0, 1)]
        features = tokens(model.encoder, inputs["views"][:, 0])[:, 0]
        by_hand = model.head[2](model.head[0](features).clamp(min=0))
    torch.testing.assert_close(by_hand, heads[0])
    assert heads[0].shape == (6, 16)
    assert found == pytest.approx(nt_xent(torch.cat(heads).double().numpy(), RECIPE.temperature), rel=1e-5)


def test_what_is_saved_is_read_back(tmp_path):
    model = build(RECIPE.but(preset="tiny", layers=1, patch_size=8), 0)
    model.save_pretrained(tmp_path)
    there = SimCLR.from_pretrained(tmp_path)
    assert all(torch.equal(value, there.state_dict()[name]) for name, value in model.state_dict().items())
    config = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(config, SimCLRConfig)
    assert (config.encoder.model_type, config.projection, config.loss_temperature) == ("vit", 16, 0.1)

"""A finished run on frames that it has not seen: the same views for all, and losses as the objective computes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pretraining.test_pretrain import frames
from transformers import AutoModel

from meddel_hf.pretraining.encoders import MEAN, STD
from meddel_hf.pretraining.held_out import (
    HEAD,
    TRUNK,
    held_out_loss,
    recipe_of,
    scene_features,
    two_views,
    view_features,
)
from meddel_hf.pretraining.objectives import OBJECTIVES, model_inputs
from meddel_hf.pretraining.pretrain import pretrain
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.pretraining.result import PreTraining
from meddel_hf.pretraining.views import views_of

CPU = torch.device("cpu")
VIT = {"preset": "tiny", "layers": 1, "patch_size": 8}
SHARED = {"image_size": 32, "samples": 16, "batch_size": 8, "precision": "float32"}
RECIPES = {
    "mae": Recipe(**SHARED, **VIT),
    "simmim": Recipe(objective="simmim", **SHARED, **VIT),
    "simclr": Recipe(objective="simclr", preset="resnet-nano", projection=16, **SHARED),
    "dino": Recipe(objective="dino", prototypes=16, local_crops=1, local_size=16, **SHARED, **VIT),
}


def unseen(n: int = 6, side: int = 48) -> list[np.ndarray]:
    """Smooth frames, each of its own colours."""
    from PIL import Image

    answer = []
    for row in range(n):
        pixels = np.random.default_rng(100 + row).integers(0, 256, (3, 3, 3), dtype=np.uint8)
        answer.append(np.asarray(Image.fromarray(pixels).resize((side, side), 3)).copy())
    return answer


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, PreTraining]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: pretrain(frames(), folder / name, recipe=recipe, progress=False) for name, recipe in RECIPES.items()}


def test_views_depend_on_the_frame_and_its_place_alone():
    views = two_views(unseen(), 32)
    assert (views.shape, views.dtype) == ((6, 2, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(two_views(unseen(), 32), views)
    np.testing.assert_array_equal(two_views(unseen(3), 32), views[:3])
    assert not (views[:, 0] == views[:, 1]).all(axis=(1, 2, 3)).any()
    many = unseen(2) * 70  # more than a batch
    np.testing.assert_array_equal(two_views(many, 32)[:2], views[:2])
    assert not np.array_equal(two_views(many, 32)[130], views[0])


@pytest.mark.parametrize("name", RECIPES)
def test_features_are_those_of_transformers_own_model(name, runs):
    run, views = runs[name], two_views(unseen(), 32)
    found = view_features(run.encoder, run.folder, unseen(), whole=True, device=CPU)
    assert set(found) == ({TRUNK, HEAD} if name in ("simclr", "dino") else {TRUNK})
    pixels = (torch.from_numpy(views).float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    with torch.no_grad():
        out = AutoModel.from_pretrained(run.encoder).eval()(pixel_values=pixels.flatten(0, 1).permute(0, 3, 1, 2))
    if name == "simclr":
        expected = out.last_hidden_state.mean(dim=(2, 3))
    else:
        expected = out.last_hidden_state[:, 0] if name == "dino" else out.last_hidden_state[:, 1:].mean(dim=1)
    expected = (expected / expected.norm(dim=1, keepdim=True)).unflatten(0, (6, 2)).numpy()
    np.testing.assert_allclose(found[TRUNK], expected, atol=2e-5)
    assert set(view_features(run.encoder, run.folder, unseen(), whole=False, device=CPU)) == {TRUNK}


def test_a_head_gives_what_views_are_compared_by(runs):
    run, views = runs["simclr"], two_views(unseen(), 32)
    model = OBJECTIVES["simclr"].load(str(run.objective)).eval()
    pixels = (torch.from_numpy(views[:, 0]).float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    with torch.no_grad():
        pooled = model.encoder(pixel_values=pixels.permute(0, 3, 1, 2)).pooler_output.flatten(1)
        expected = model.head(pooled).numpy()
    found = view_features(run.encoder, run.folder, unseen(), whole=True, device=CPU)[HEAD]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-3, atol=1e-4)


def test_whole_frames_are_brought_to_the_encoders_side(runs):
    run = runs["simclr"]
    found = scene_features(run.encoder, run.folder, unseen(side=32), device=CPU)  # of its side: nothing is scaled
    pixels = (torch.from_numpy(np.stack(unseen(side=32))).float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    with torch.no_grad():
        pooled = AutoModel.from_pretrained(run.encoder).eval()(pixel_values=pixels.permute(0, 3, 1, 2)).pooler_output
    pooled = pooled.flatten(1)
    np.testing.assert_allclose(found, (pooled / pooled.norm(dim=1, keepdim=True)).numpy(), atol=2e-5)
    assert scene_features(run.encoder, run.folder, unseen(side=48), device=CPU).shape == (6, 128)


@pytest.mark.parametrize("name", RECIPES)
def test_a_held_out_loss_is_the_objectives(name, runs):
    run = runs[name]
    found = held_out_loss(run, unseen(), device=CPU)
    assert found == held_out_loss(run, unseen(), device=CPU)
    model = OBJECTIVES[name].load(str(run.objective), RECIPES[name]).eval()
    with torch.no_grad():
        batch = views_of(unseen(), np.arange(6), RECIPES[name], 0)
        expected = float(model(**model_inputs(batch, RECIPES[name], CPU)).loss)
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_held_out_loss_goes_over_whole_batches(runs):
    many = [np.full((48, 48, 3), row % 251, np.uint8) for row in range(128 + 60)]
    found = held_out_loss(runs["simclr"], many, device=CPU)
    assert found == pytest.approx(held_out_loss(runs["simclr"], many[:128], device=CPU), rel=1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_says_by_what_recipe_it_was_trained(name, runs):
    assert recipe_of(runs[name].folder) == RECIPES[name]

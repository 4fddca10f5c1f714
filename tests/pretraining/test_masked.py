"""MAE's target, as published and by colour, and how much of it is colour alone: against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import ViTMAEForPreTraining

from meddel_hf.pretraining.encoders import MEAN, STD
from meddel_hf.pretraining.masked import colour_share, told_by_colour
from meddel_hf.pretraining.objectives import OBJECTIVES, build, model_inputs
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.pretraining.views import views_of

RECIPE = Recipe(preset="tiny", layers=1, image_size=32, patch_size=8, samples=8, batch_size=4)
CPU = torch.device("cpu")


def patches_of(pixels: np.ndarray, size: int = 8) -> np.ndarray:
    """(3, H, W) -> (P, size², 3), patch by patch with loops."""
    rows, columns = pixels.shape[1] // size, pixels.shape[2] // size
    parts = [
        pixels[:, y * size : (y + 1) * size, x * size : (x + 1) * size] for y in range(rows) for x in range(columns)
    ]
    return np.stack([part.reshape(3, -1).T for part in parts])


@pytest.mark.parametrize("target", ["patch", "channel"])
def test_the_loss_is_on_hidden_patches_of_even_mean_and_variance(target):
    recipe = RECIPE.but(target=target)
    rng = np.random.default_rng(0)
    frames = [(rng.integers(0, 60, (48, 48, 3)) + np.array([180, 90, 10])).astype(np.uint8) for _ in range(4)]
    inputs = model_inputs(views_of(frames, np.arange(4), recipe, 0), recipe, CPU)
    model = build(recipe, 0).eval()
    with torch.no_grad():
        out = model(**inputs)
    losses = []
    for frame in range(4):
        wanted = patches_of(inputs["pixel_values"][frame].double().numpy())
        axes = (1, 2) if target == "patch" else 1
        even = (wanted - wanted.mean(axis=axes, keepdims=True)) / wanted.std(axis=axes, keepdims=True, ddof=1)
        painted = out.logits[frame].double().numpy().reshape(16, 64, 3)
        of_patches = ((painted - even) ** 2).mean(axis=(1, 2))
        losses += of_patches[out.mask[frame].numpy() == 1].tolist()
    assert len(losses) == 4 * 12
    # by colour, transformers divides by the whole patch's deviation again, which is 1 but for 191 / 189
    assert float(out.loss) == pytest.approx(np.mean(losses), rel=1e-4 if target == "patch" else 0.012)


def test_by_colour_a_tint_of_the_frame_changes_nothing():
    """A frame in which each colour is a grey pattern of its own strength: by colour, all are that pattern."""
    recipe, model = RECIPE.but(target="channel"), build(RECIPE.but(target="channel"), 0)
    grey = torch.rand(1, 1, 32, 32)
    tinted = grey * torch.tensor([0.9, 0.3, 0.05]).view(3, 1, 1) + torch.tensor([0.1, 0.3, 0.0]).view(3, 1, 1)
    plain, other = (model.patchify(pixels.expand(1, 3, 32, 32)) for pixels in (grey, tinted))
    torch.testing.assert_close(plain, other, rtol=0, atol=0.02)
    assert not torch.allclose(*(build(RECIPE, 0).patchify(p.expand(1, 3, 32, 32)) for p in (grey, tinted)), atol=0.1)
    off = build(recipe.but(norm_pix_loss=False, target="patch"), 0)
    assert torch.equal(off.patchify(tinted), build(RECIPE, 0).patchify(tinted))


def test_a_model_by_colour_is_a_plain_mae_for_others(tmp_path):
    model = build(RECIPE.but(target="channel"), 0)
    model.save_pretrained(tmp_path)
    assert isinstance(OBJECTIVES["mae"].load(str(tmp_path)), ViTMAEForPreTraining)
    again = OBJECTIVES["mae"].load(str(tmp_path), RECIPE.but(target="channel"))
    assert type(again) is type(model)
    assert type(OBJECTIVES["mae"].load(str(tmp_path), RECIPE)) is ViTMAEForPreTraining


def patches(share: float, n: int = 50) -> torch.Tensor:
    """(1, n, 192): of the variance of each patch this share is between its colours; exactly, and patch by patch."""
    rng = np.random.default_rng(0)
    colours = rng.normal(size=(n, 1, 3))
    colours = (colours - colours.mean(axis=2, keepdims=True)) / colours.std(axis=2, keepdims=True)
    within = rng.normal(size=(n, 64, 3))
    within -= within.mean(axis=1, keepdims=True)
    within /= np.sqrt((within**2).mean(axis=(1, 2), keepdims=True))
    made = np.sqrt(share) * colours + np.sqrt(1 - share) * within
    return torch.tensor(made * rng.uniform(0.1, 3, (n, 1, 1)) + rng.normal(size=(n, 1, 1))).reshape(1, n, 192)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.8, 1.0])
def test_the_share_of_colour_is_what_was_put_in(share):
    assert colour_share(patches(share)) == pytest.approx(share, abs=1e-6)


def test_a_patch_of_one_colour_is_all_colour_and_one_of_one_value_is_none():
    """The black surround of an endoscope is the former: less ImageNet's means, black is no grey."""
    assert told_by_colour([np.zeros((32, 32, 3), np.uint8)] * 2, RECIPE) == pytest.approx(1)
    assert colour_share(torch.full((1, 50, 192), 0.3)) == 0.0


def test_of_frames_it_is_the_share_of_the_normalised_targets_variance():
    """What MAE is to paint, made patch by patch, and what of its variance a painter of mean colours would hit."""
    rng = np.random.default_rng(1)
    frames = [(rng.integers(0, 90, (32, 32, 3)) + np.array([150, 80, 20])).astype(np.uint8) for _ in range(3)]
    frames[0][:8] = 0
    variance = hit = 0.0
    for frame in frames:
        pixels = (frame / 255 - np.array(MEAN)) / np.array(STD)
        for patch in patches_of(pixels.transpose(2, 0, 1)):
            target = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6)
            variance += (target - target.mean()).var()
            hit += target.mean(axis=0).var()
    assert told_by_colour(frames, RECIPE) == pytest.approx(hit / variance, rel=0.01)

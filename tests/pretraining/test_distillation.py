"""DINO and iBOT: losses by loops over views and patches, the teacher and the centres step by step."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from meddel_hf.pretraining.distillation import DINO, teacher_momentum
from meddel_hf.pretraining.encoders import tokens
from meddel_hf.pretraining.objectives import OBJECTIVES, build, model_inputs
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.pretraining.views import views_of

RECIPE = Recipe(
    objective="dino", preset="tiny", layers=1, image_size=24, patch_size=8, samples=64, batch_size=4, prototypes=11,
    local_crops=2, local_size=16, masked_loss=0.7, mask_ratio=0.5, temperature=0.2, teacher_temperature=0.07,
    momentum=0.9,
)  # fmt: skip
PLAIN = RECIPE.but(masked_loss=0.0, mask_ratio=0.75)
CPU = torch.device("cpu")


def inputs_of(recipe: Recipe, frames: int = 4, first: int = 0) -> dict[str, torch.Tensor]:
    pictures = [
        np.random.default_rng(first + row).integers(0, 256, (32, 32, 3), dtype=np.uint8) for row in range(frames)
    ]
    return model_inputs(views_of(pictures, np.arange(first, first + frames), recipe, 0), recipe, CPU)


def varied(recipe: Recipe) -> DINO:
    """A model whose teacher is not its student, and whose centres are not zero."""
    model = build(recipe, 0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.teacher.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        model.centre.normal_(std=0.1)
        model.patch_centre.normal_(std=0.1)
    return model


def entropy(teacher: np.ndarray, student: np.ndarray, centre: np.ndarray) -> float:
    """H(P_t, P_s) of one view, Section 3.1 of arXiv 2104.14294; (K,) each."""
    p = np.exp((teacher - centre) / 0.07)
    q = np.exp(student / 0.2)
    return float(-(p / p.sum() * np.log(q / q.sum())).sum())


def head(half, features: torch.Tensor) -> np.ndarray:
    """Cosines to the prototypes, by hand."""
    short = half.head.layers(features).double()
    near = half.head.prototypes.weight.double()
    return (short / short.norm(dim=-1, keepdim=True) @ (near / near.norm(dim=1, keepdim=True)).T).numpy()


@pytest.mark.parametrize("recipe", [PLAIN, RECIPE])
def test_the_loss_is_a_mean_over_pairs_of_views_and_hidden_patches(recipe):
    model, inputs = varied(recipe).eval(), inputs_of(recipe)
    with torch.no_grad():
        found = float(model(**inputs).loss)
        pairs, patches = [], []
        for frame in range(4):
            whole = [inputs["views"][[frame], view] for view in (0, 1)]
            hidden = [inputs["hidden"][[frame], view] if "hidden" in inputs else None for view in (0, 1)]
            told = [tokens(model.teacher.encoder, view) for view in whole]
            said = [tokens(model.student.encoder, view, mask) for view, mask in zip(whole, hidden, strict=True)]
            said += [tokens(model.student.encoder, inputs["local"][[frame], view]) for view in (0, 1)]
            for i in range(2):
                for j in range(4):
                    if i != j:
                        answer, own = head(model.teacher, told[i][:, 0])[0], head(model.student, said[j][:, 0])[0]
                        pairs.append(entropy(answer, own, model.centre.double().numpy()))
                for patch in range(9 if hidden[i] is not None else 0):
                    if hidden[i][0, patch]:
                        at = slice(1 + patch, 2 + patch)
                        answer, own = head(model.teacher, told[i][0, at])[0], head(model.student, said[i][0, at])[0]
                        patches.append(entropy(answer, own, model.patch_centre.double().numpy()))
    assert len(pairs) == 4 * (2 * 4 - 2)
    expected = np.mean(pairs)
    if recipe.masked_loss:
        assert len(patches) == 4 * 2 * (recipe.patches - recipe.kept_patches)
        expected += 0.7 * np.mean(patches)
    assert found == pytest.approx(expected, rel=1e-5)


def test_only_hidden_patches_are_painted_over():
    """What the student sees does not depend on pixels under its masks; what the teacher sees does."""
    model, inputs = varied(RECIPE).eval(), inputs_of(RECIPE)
    hidden = inputs["hidden"].unflatten(2, (3, 3)).repeat_interleave(8, 2).repeat_interleave(8, 3)
    spoiled = inputs["views"].masked_fill(hidden.unsqueeze(2), 3.0).transpose(0, 1).flatten(0, 1)
    masks, views = (inputs[name].transpose(0, 1).flatten(0, 1) for name in ("hidden", "views"))
    with torch.no_grad():
        own = tokens(model.student.encoder, views, masks)
        torch.testing.assert_close(tokens(model.student.encoder, spoiled, masks), own)
        assert not torch.allclose(tokens(model.teacher.encoder, spoiled), tokens(model.teacher.encoder, views))


def test_the_teacher_follows_and_learns_nothing_by_itself():
    model, inputs = varied(PLAIN), inputs_of(PLAIN)
    model(**inputs).loss.backward()
    assert all(parameter.grad is None for parameter in model.teacher.parameters())
    assert all(parameter.grad is not None for parameter in model.student.parameters())
    before = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.student.parameters():
            parameter.add_(1.0)
    model.after_step(0.5)
    share = 1 - (1 - 0.9) / 2  # cos(pi / 2) = 0: half the way from 0.9 to 1
    for name, now in model.teacher.named_parameters():
        there, here = before.teacher.get_parameter(name), before.student.get_parameter(name) + 1
        torch.testing.assert_close(now.detach(), (share * there + (1 - share) * here).detach(), rtol=1e-5, atol=1e-6)


def test_momentum_rises_from_its_start_to_one():
    assert teacher_momentum(0.996, 0.0) == pytest.approx(0.996)
    assert teacher_momentum(0.996, 1.0) == 1
    half = [teacher_momentum(0.9, step / 10) for step in range(11)]
    assert half == sorted(half)
    assert half[5] == pytest.approx(0.95)
    assert half[2] == pytest.approx(1 - 0.1 * math.cos(math.pi / 10) ** 2)  # (1 + cos 2x) / 2 = cos² x


def test_centres_are_running_means_of_what_the_teacher_said():
    model = varied(RECIPE)
    centre, of_patches = model.centre.clone(), model.patch_centre.clone()
    parts = [inputs_of(RECIPE, 2, first) for first in (0, 2)]  # accumulated: one step
    answers, patches = [], []
    with torch.no_grad():
        for inputs in parts:
            flat, masks = (inputs[name].transpose(0, 1).flatten(0, 1) for name in ("views", "hidden"))
            told = tokens(model.teacher.encoder, flat)
            answers.append(head(model.teacher, told[:, 0]))
            patches.append(head(model.teacher, told[:, 1:][masks]))
            model(**inputs)
    model.after_step(0.1)
    for now, before, said in ((model.centre, centre, answers), (model.patch_centre, of_patches, patches)):
        expected = 0.9 * before.numpy() + 0.1 * np.concatenate(said).mean(axis=0)
        np.testing.assert_allclose(now.numpy(), expected, atol=1e-6)
    model.after_step(0.2)  # nothing was said since
    np.testing.assert_allclose(model.centre.numpy(), expected_again(centre, answers), atol=1e-6)


def expected_again(centre: torch.Tensor, answers: list[np.ndarray]) -> np.ndarray:
    return np.asarray(0.9 * centre.numpy() + 0.1 * np.concatenate(answers).mean(axis=0))


def test_the_encoder_that_is_written_is_the_teachers():
    model = varied(RECIPE).eval()
    views = inputs_of(RECIPE)["views"][:, 0]
    encoder = OBJECTIVES["dino"].encoder(model)
    with torch.no_grad():
        torch.testing.assert_close(encoder(views).last_hidden_state, tokens(model.teacher.encoder, views))
        short = OBJECTIVES["dino"].head(model, views)
    assert short.shape == (4, 96)


def test_a_new_teacher_is_its_student_and_both_are_read_back(tmp_path):
    model = build(RECIPE, 3)
    for name, value in model.student.state_dict().items():
        assert torch.equal(value, model.teacher.state_dict()[name])
    model = varied(RECIPE)
    model.save_pretrained(tmp_path)
    there = OBJECTIVES["dino"].load(str(tmp_path))
    assert all(torch.equal(value, there.state_dict()[name]) for name, value in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in there.teacher.parameters())

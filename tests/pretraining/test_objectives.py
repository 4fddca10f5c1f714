"""Models of the objectives: their beginnings, what they are fed, and their encoders; and the recipe's checks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import ViTMAEForPreTraining

from meddel_hf.errors import InvalidArgument
from meddel_hf.pretraining.encoders import normalised
from meddel_hf.pretraining.objectives import OBJECTIVES, build, fingerprint_of, model_inputs, suit
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.training.samples import ranks

TINY = Recipe(preset="tiny", layers=2, image_size=32, patch_size=8, samples=64, batch_size=8)
CPU = torch.device("cpu")


def batch(recipe: Recipe, frames: int = 4) -> dict:
    side = recipe.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (frames, 3, side, side), dtype=np.uint8)
    return {"pixels": pixels, "ranks": ranks(np.arange(frames), 0, recipe.patches)}


@pytest.mark.parametrize("objective", ["mae", "simmim"])
def test_initial_weights_are_the_seeds_and_no_others(objective):
    recipe = TINY.but(objective=objective)
    state = torch.get_rng_state()
    first = fingerprint_of(build(recipe, 0))
    torch.rand(7)
    assert fingerprint_of(build(recipe.but(learning_rate=1.0, samples=0), 0)) == first
    assert fingerprint_of(build(recipe, 1)) != first
    torch.set_rng_state(state)
    build(recipe, 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_mae_begins_as_its_authors_have_it():
    model = build(TINY, 0)
    embeddings, decoder = model.vit.embeddings, model.decoder
    for table in (embeddings.position_embeddings, decoder.decoder_pos_embed):
        width = table.shape[-1]
        assert not table.requires_grad
        assert not table[0, 0].any()
        for patch in (0, 1, 4, 15):  # row by row; columns first, then rows; sines, then cosines
            expected = []
            for place in (patch % 4, patch // 4):
                angles = [place / 10_000 ** (k / (width // 4)) for k in range(width // 4)]
                expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            torch.testing.assert_close(table[0, 1 + patch], torch.tensor(expected), rtol=0, atol=1e-6)
    for token in (embeddings.cls_token, decoder.mask_token):
        assert 0.01 < token.std() < 0.03
    weight = embeddings.patch_embeddings.projection.weight
    bound = math.sqrt(6 / (3 * 8 * 8 + 192))
    assert 0.95 * bound < weight.abs().max() <= bound


@pytest.mark.parametrize(("preset", "millions"), [("tiny", 5.5), ("small", 21.6), ("base", 85.8)])
def test_presets_have_their_sizes(preset, millions):
    with torch.device("meta"):
        model = OBJECTIVES["simmim"].new(Recipe(preset=preset, objective="simmim"))
    encoder = sum(p.numel() for p in model.vit.parameters()) / 1e6
    assert encoder == pytest.approx(millions, rel=0.02)  # as published for ViT-Ti, -S and -B at 224 px, less the head


def test_the_mask_is_that_of_the_ranks():
    data = batch(TINY)
    hidden = torch.from_numpy(data["ranks"]) >= 4  # 12 of 16 patches
    model = build(TINY, 0)
    assert torch.equal(model(**model_inputs(data, TINY, CPU)).mask.bool(), hidden)
    simmim = TINY.but(objective="simmim")
    assert torch.equal(model_inputs(data, simmim, CPU)["bool_masked_pos"], hidden)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.6, 0.75, 0.9])
def test_both_objectives_hide_as_many(ratio):
    recipe = TINY.but(mask_ratio=ratio)
    data = batch(recipe)
    mae = build(recipe, 0)(**model_inputs(data, recipe, CPU)).mask.sum(dim=1)
    simmim = model_inputs(data, recipe.but(objective="simmim"), CPU)["bool_masked_pos"].sum(dim=1)
    assert mae.tolist() == simmim.tolist() == [recipe.patches - recipe.kept_patches] * 4


def test_pixels_are_normalised_as_by_the_image_processor():
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    pixels = batch(TINY)["pixels"]
    processor = ViTImageProcessorPil(do_resize=False, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
    expected = processor(list(pixels), return_tensors="pt", input_data_format="channels_first")["pixel_values"]
    torch.testing.assert_close(normalised(torch.from_numpy(pixels)), expected, rtol=0, atol=1e-5)


def test_the_attention_for_processors_computes_the_same():
    plain, suited = build(TINY, 0), build(TINY, 0)
    suit(suited, CPU, "bf16", TINY)
    assert suited.decoder.config._attn_implementation == "eager"
    inputs = model_inputs(batch(TINY), TINY, CPU)
    torch.testing.assert_close(suited(**inputs).loss, plain(**inputs).loss, rtol=1e-5, atol=0)


def test_the_encoder_alone_is_a_copy():
    model = build(TINY, 0)
    vit = OBJECTIVES["mae"].encoder(model)
    with torch.no_grad():
        model.vit.layernorm.weight.fill_(7)
    assert vit.layernorm.weight.max() == 1


def test_a_start_must_be_whole(tmp_path):
    model = build(TINY, 0)
    OBJECTIVES["mae"].encoder(model).save_pretrained(tmp_path / "vit")
    with pytest.raises(InvalidArgument, match=r"is a model of type 'vit', and mae trains 'vit_mae'"):
        build(TINY.but(start=str(tmp_path / "vit")), 0)
    simmim = TINY.but(objective="simmim", start=str(tmp_path / "vit"))
    with pytest.raises(InvalidArgument, match=r"lacks 3 weights of a ViTForMaskedImageModeling, such as decoder"):
        build(simmim, 0)


def test_what_a_start_brings_and_what_the_recipe_decides(tmp_path):
    model = build(TINY.but(mask_ratio=0.5), 0)
    model.config.hidden_dropout_prob = 0.3
    model.save_pretrained(tmp_path)
    found = build(TINY.but(start=str(tmp_path), layers=None, preset="base"), 5)
    assert isinstance(found, ViTMAEForPreTraining)
    assert (found.config.hidden_size, found.config.num_hidden_layers) == (192, 2)
    assert (found.config.mask_ratio, found.config.hidden_dropout_prob) == (0.75, 0.0)
    assert fingerprint_of(found) == fingerprint_of(model)
    assert not found.vit.embeddings.position_embeddings.requires_grad
    assert not found.decoder.decoder_pos_embed.requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 30}, "image_size 30 is not a multiple of patch_size 8: use 32, say"),
        ({"preset": "huge"}, "preset must be one of tiny, small, base, .*, got 'huge'"),
        ({"objective": "byol"}, "objective must be one of mae, simmim, simclr, dino, got 'byol'"),
        ({"samples": -1}, "samples must be at least 0"),
        ({"samples": 7}, "samples 7 do not fill one batch of 8"),
        ({"samples": 64.0}, "samples must be a whole number, got 64.0"),
        ({"layers": 0}, "layers must be at least 1"),
        ({"batch_size": True}, "batch_size must be a whole number, got True"),
        ({"accumulation": 3}, r"batch_size 8 does not divide into 3 parts"),
        ({"mask_ratio": 1.0}, "hides 16 of 16 patches"),
        ({"mask_ratio": 0.0}, "hides 0 of 16 patches"),
        ({"mask_ratio": float("nan")}, "mask_ratio must be from 0 to 1, got nan"),
        ({"learning_rate": -1e-4}, "learning_rate must be from 0 to 10"),
        ({"crop": 0.0}, "crop must be from 0.01 to 1"),
        ({"flips": "vertical"}, "flips must be one of none, horizontal, both"),
        ({"start": 3}, "start must be text or nothing, got 3"),
        ({"compile": "yes"}, "compile must be true or false, got 'yes'"),
        ({"snapshots": 9}, "9 snapshots do not fit into 8 steps"),
    ],
)  # fmt: skip
def test_a_recipe_is_checked_when_it_is_made(change, message):
    with pytest.raises(InvalidArgument, match=message):
        TINY.but(**change)


def test_the_default_is_the_papers_recipe():
    paper = Recipe()
    assert paper.steps * paper.batch_size == paper.samples == 200 * 88_282  # Table 2
    assert (paper.batch_size, paper.learning_rate, paper.mask_ratio) == (16, 1.5e-4, 0.75)
    assert paper.but(learning_rate=1).learning_rate == 1
    assert paper.checkpoint_steps % paper.log_steps == 0
    assert paper.but(snapshots=4).snapshot_steps == [275_881, 551_762, 827_643, 1_103_525]

"""What a recipe refuses, in one sentence: what makes no sense, and what would change nothing."""

from __future__ import annotations

from dataclasses import asdict, fields

import pytest

from meddel_hf.errors import InvalidArgument
from meddel_hf.pretraining.recipe import Recipe, complete, recorded

MAE = Recipe(preset="tiny", image_size=64, samples=64, batch_size=8)
SIMCLR = MAE.but(objective="simclr", preset="resnet-nano")
DINO = MAE.but(objective="dino", preset="resnet-nano", local_size=32)
OF_VIT = DINO.but(preset="tiny")


@pytest.mark.parametrize(
    ("recipe", "change", "message"),
    [
        (MAE, {"temperature": 0.5}, "temperature is of simclr and dino, and mae has no use for it: leave it out"),
        (MAE, {"blur": 0.0}, "blur is of simclr and dino, and mae has no use for it"),
        (MAE, {"prototypes": 9}, "prototypes is of dino, and mae has no use for it"),
        (MAE.but(objective="simmim"), {"target": "channel"}, "target is of mae, and simmim has no use for it"),
        (MAE, {"norm_pix_loss": False, "target": "channel"}, "target changes nothing without norm_pix_loss: give that"),
        (SIMCLR, {"mask_ratio": 0.5}, "mask_ratio is of mae and simmim and dino, and simclr has no use"),
        (SIMCLR, {"local_crops": 2}, "local_crops is of dino, and simclr has no use for it"),
        (DINO, {"projection": 64}, "projection is of simclr, and dino has no use for it"),
        (OF_VIT, {"mask_ratio": 0.5}, "mask_ratio changes nothing without masked_loss above 0: give that, or leave it"),
        (MAE, {"preset": "resnet-18"}, "mae hides patches of a ViT, and resnet-18 has none: choose one of tiny, small"),
        (DINO, {"masked_loss": 1.0}, "masked_loss is of a ViT, and resnet-nano is none: leave it out"),
        (DINO, {"layers": 2}, "layers is of a ViT, and resnet-nano is none: leave it out"),
        (SIMCLR, {"patch_size": 8}, "patch_size is of a ViT, and resnet-nano is none: leave it out"),
        (SIMCLR, {"gradient_checkpointing": True}, "gradient_checkpointing is of a ViT, and resnet-nano is none"),
        (SIMCLR, {"image_size": 31}, "image_size 31 is too small for resnet-nano, which reduces a side 32 times: use"),
        (DINO, {"local_size": 16}, "local_size 16 is too small for resnet-nano"),
        (OF_VIT, {"local_size": 20}, "local_size 20 is not a multiple of patch_size 16: use 16, say"),
        (DINO, {"local_crop": 0.5}, r"local_crop 0.5 is above crop 0.2: local views are smaller"),
        (OF_VIT, {"masked_loss": 1.0, "mask_ratio": 1.0}, "mask_ratio 1 hides 16 of 16 patches"),
        (SIMCLR, {"accumulation": 2}, r"accumulation 2 would compare a frame with those of .* processes$"),
        (SIMCLR, {"preset": "tiny", "accumulation": 2}, r"more processes or gradient_checkpointing$"),
        (DINO, {"accumulation": 2}, "accumulation 2 would compare a frame with those of its part alone"),
        (OF_VIT, {"masked_loss": 1.0, "compile": True}, "compile does not go with both masked_loss and local_crops"),
        (SIMCLR, {"batch_size": 1}, "batch_size 1 leaves simclr nothing to compare a frame with: use 2 at least"),
        (DINO, {"batch_size": 1}, "batch_size 1 leaves resnet-nano nothing to normalise by: use 2 at least"),
        (DINO, {"momentum": 1.1}, "momentum must be from 0 to 1, got 1.1"),
        (DINO, {"prototypes": 1}, "prototypes must be at least 2"),
        (SIMCLR, {"temperature": 0.0}, "temperature must be from 0.001 to 10, got 0"),
        (SIMCLR, {"jitter": float("nan")}, "jitter must be from 0 to 1, got nan"),
        (SIMCLR, {"clip": -1.0}, "clip must be from 0"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(recipe, change, message):
    with pytest.raises(InvalidArgument, match=message) as error:
        recipe.but(**change)
    assert "\n" not in str(error.value)


def test_what_is_of_use_is_taken():
    OF_VIT.but(accumulation=2, batch_size=8, gradient_checkpointing=True, masked_loss=1.0, mask_ratio=0.4)
    OF_VIT.but(batch_size=1)
    DINO.but(preset="convnext-nano", accumulation=4)
    DINO.but(local_crops=0, local_size=7)  # of no view
    SIMCLR.but(image_size=33, temperature=0.5, projection=3, jitter=0.0, grey=0.0, blur=0.0, clip=1.0)


@pytest.mark.parametrize("name", [field.name for field in fields(Recipe)])
def test_a_record_lacks_no_field_but_later_ones_at_their_default(name):
    """The fields that records had before there were SimCLR and DINO; a record of today has these always."""
    before = [
        "objective", "preset", "start", "image_size", "patch_size", "layers", "samples", "batch_size", "accumulation",
        "learning_rate", "warmup", "beta1", "beta2", "weight_decay", "mask_ratio", "norm_pix_loss", "crop", "flips",
        "precision", "gradient_checkpointing", "compile", "snapshots", "checkpoint_samples",
    ]  # fmt: skip
    assert (name in Recipe().recorded()) == (name in before)


def test_a_record_says_what_is_not_the_default_and_is_completed():
    assert DINO.but(momentum=0.9).recorded()["momentum"] == 0.9
    for recipe in (MAE, SIMCLR, DINO, OF_VIT.but(masked_loss=1.0, clip=3.0)):
        assert complete(recipe.recorded()) == asdict(recipe)
        assert Recipe(**recipe.recorded()) == recipe
        assert recorded(asdict(recipe)) == recipe.recorded()


def test_how_many_views_and_what_hides():
    assert [r.views for r in (MAE, SIMCLR, DINO, DINO.but(local_crops=0))] == [1, 2, 10, 2]
    assert [r.hides for r in (MAE, SIMCLR, DINO, OF_VIT.but(masked_loss=0.1))] == [True, False, False, True]
    assert [r.family for r in (MAE, SIMCLR, DINO.but(preset="convnext-tiny"))] == ["vit", "resnet", "convnext"]

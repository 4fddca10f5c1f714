"""Encoders: sizes as published, written as AutoModel and `load_encoder` read them, features as inside the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import (
    AutoImageProcessor,
    AutoModel,
    ConvNextConfig,
    ConvNextModel,
    ResNetConfig,
    ResNetModel,
    ViTModel,
)

from meddel_hf.embedding.encoder import load_encoder
from meddel_hf.errors import InvalidArgument
from meddel_hf.pretraining.encoders import (
    alone,
    configuration,
    encoder,
    load_encoder_to_train,
    normalised,
    save,
    tokens,
    width,
)
from meddel_hf.pretraining.objectives import build, save_encoder
from meddel_hf.pretraining.recipe import Recipe

JOINT = Recipe(objective="simclr", preset="resnet-nano", image_size=64, batch_size=8, samples=8)
VIT = JOINT.but(preset="tiny", layers=2, patch_size=16)
KINDS = {"resnet": JOINT, "convnext": JOINT.but(preset="convnext-nano"), "vit": VIT}


@pytest.mark.parametrize(
    ("preset", "millions", "features"),
    [
        ("resnet-18", 11.18, 512), ("resnet-50", 23.51, 2048),  # 11.7 and 25.6 with a classifier of 1,000 classes
        ("convnext-tiny", 27.82, 768), ("resnet-nano", 0.31, 128), ("tiny", 5.5, 192), ("small", 21.6, 384),
    ],
)  # fmt: skip
def test_sizes_are_as_published(preset, millions, features):
    with torch.device("meta"):
        config = configuration(Recipe(objective="simclr", preset=preset))
        model = encoder(config)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)
    assert width(config) == features


def test_a_basic_resnet_is_that_of_its_paper():
    """Its layers by the arithmetic of arXiv 1512.03385, Table 1: convolutions and their normalisations, no biases."""

    def convolution(inside: int, outside: int, side: int) -> int:
        return inside * outside * side**2 + 2 * outside

    total, before = convolution(3, 64, 7), 64
    for wide in (64, 128, 256, 512):
        total += convolution(before, wide, 3) + 3 * convolution(wide, wide, 3)
        total += convolution(before, wide, 1) if wide != before else 0
        before = wide
    model = encoder(configuration(Recipe(objective="simclr", preset="resnet-18")))
    assert sum(p.numel() for p in model.parameters()) == total


@pytest.mark.parametrize("kind", KINDS)
def test_initial_weights_are_transformers_own(kind):
    """Of an encoder inside an objective: as wide as in a model that transformers makes of the same configuration."""
    recipe = KINDS[kind]
    inside = build(recipe, 0).encoder.state_dict()
    own = AutoModel.from_config(configuration(recipe)).state_dict()
    for name, value in inside.items():
        if value.dim() > 1 and value.numel() > 2000:
            assert float(value.std()) == pytest.approx(float(own[name].std()), rel=0.1), name


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_gives_the_features_that_it_gave_inside(kind, tmp_path):
    recipe = KINDS[kind]
    model = build(recipe, 0)
    model.train()
    torch.manual_seed(0)
    with torch.no_grad():
        for _ in range(3):  # running statistics that are not those of the beginning
            tokens(model.encoder, 2 * torch.randn(8, 3, 64, 64) + 1)
    save_encoder(model, recipe, tmp_path)
    frames = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    pixels = normalised(torch.from_numpy(frames).permute(0, 3, 1, 2))
    with torch.no_grad():
        inside = tokens(model.eval().encoder, pixels)
        read = AutoModel.from_pretrained(tmp_path).eval()
        assert type(read) in (ResNetModel, ConvNextModel, ViTModel)
        outside = read(pixel_values=pixels)
        mine = outside.last_hidden_state if kind == "vit" else outside.pooler_output.flatten(1).unsqueeze(1)
    torch.testing.assert_close(mine, inside, rtol=1e-4, atol=1e-5)
    loaded = load_encoder(str(tmp_path), pooling="auto", precision="float32")
    assert loaded.poolings == (("cls", "mean") if kind == "vit" else ("mean",))
    unit = inside[:, 0] / inside[:, 0].norm(dim=1, keepdim=True)
    torch.testing.assert_close(loaded(frames), unit, rtol=1e-4, atol=1e-5)
    assert loaded.dim == width(configuration(recipe))
    assert AutoImageProcessor.from_pretrained(tmp_path, backend="pil").size == {"height": 64, "width": 64}
    assert loaded.patches(frames).shape[1] == loaded.grid[0] * loaded.grid[1]


def test_writing_an_encoder_leaves_the_model_as_it_was(tmp_path):
    model = build(JOINT, 0)
    before = model.config.to_dict()
    save_encoder(model, JOINT, tmp_path / "encoder")
    assert model.config.to_dict() == before
    config = configuration(JOINT)
    one = alone(encoder(config), config)
    assert one.config is not config


def test_a_vit_takes_frames_of_another_side():
    torch.manual_seed(0)
    model = encoder(configuration(VIT)).eval()
    small = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        found = tokens(model, small)
        expected = model(pixel_values=small, interpolate_pos_encoding=True).last_hidden_state
        assert found.shape == (2, 1 + 4, 192)
        torch.testing.assert_close(found, expected)
        whole = torch.randn(2, 3, 64, 64)
        torch.testing.assert_close(tokens(model, whole), model(pixel_values=whole).last_hidden_state)


def test_only_encoders_that_can_be_trained_are_taken(tmp_path):
    from transformers import CLIPVisionConfig

    with pytest.raises(
        InvalidArgument, match="type 'clip_vision_model' is given: expected one of vit, resnet, convnext"
    ):
        encoder(CLIPVisionConfig())
    save(alone(encoder(configuration(VIT)), configuration(VIT)), 64, tmp_path)
    deeper = configuration(VIT.but(layers=3))
    with pytest.raises(InvalidArgument, match=r"lacks \d+ weights of its encoder, such as layers\.2"):
        load_encoder_to_train(str(tmp_path), deeper)


def test_nothing_is_drawn_while_an_encoder_of_others_is_trained(tmp_path):
    """A ConvNeXt of the Hub drops paths at random: a run that was interrupted would end elsewhere."""
    config = ConvNextConfig(hidden_sizes=[8, 16, 32, 64], depths=[1, 1, 1, 1], drop_path_rate=0.9)
    save(ConvNextModel(config), 32, tmp_path)
    recipe = JOINT.but(preset="convnext-nano", image_size=32, start=str(tmp_path))
    model = build(recipe, 0).train()
    pixels = torch.randn(4, 3, 32, 32)
    assert torch.equal(tokens(model.encoder, pixels), tokens(model.encoder, pixels))


@pytest.mark.parametrize("config", [
    ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
    ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 32], depths=[1, 1, 1], downsample_in_first_stage=True),
    ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2),
])  # fmt: skip
@pytest.mark.parametrize("side", [64, 90])
def test_the_grid_of_others_networks_is_what_they_give(config, side, tmp_path):
    save(AutoModel.from_config(config), side, tmp_path)
    loaded = load_encoder(str(tmp_path), pooling="mean", precision="float32")
    maps = AutoModel.from_pretrained(tmp_path).eval()(torch.zeros(1, 3, side, side)).last_hidden_state
    assert loaded.grid == tuple(maps.shape[2:])

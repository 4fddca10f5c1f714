"""Segmentation by ResNet and ConvNeXt: the maps are the stages', the head is one linear layer, and it learns."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from make_discs import frames
from transformers import (
    AutoModel,
    AutoModelForSemanticSegmentation,
    ConvNextConfig,
    ConvNextV2Config,
    PreTrainedModel,
    ResNetConfig,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from meddel_hf.downstream.segmentation.architecture import Head
from meddel_hf.downstream.segmentation.convolutional import ConvForSegmentation
from meddel_hf.downstream.segmentation.model import from_encoder, save
from meddel_hf.downstream.segmentation.recipe import SegmentationRecipe
from meddel_hf.downstream.segmentation.segment import segment
from meddel_hf.errors import InvalidArgument

SIZES = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 2, 1]}
CONFIGS = {
    "resnet": lambda: ResNetConfig(embedding_size=8, layer_type="basic", **SIZES),
    "resnet that halves at once": lambda: ResNetConfig(embedding_size=8, downsample_in_first_stage=True, **SIZES),
    "convnext": lambda: ConvNextConfig(**SIZES),
    "convnextv2": lambda: ConvNextV2Config(**SIZES),
}
RECIPE = SegmentationRecipe(epochs=30, batch_size=8, precision="float32", hidden_size=32, learning_rate=3e-3)


def saved(folder: Path, kind: str, side: int = 64) -> PreTrainedModel:
    torch.manual_seed(3)
    model = AutoModel.from_config(CONFIGS[kind]())
    with torch.no_grad():
        model.train()(torch.randn(8, 3, side, side))  # statistics of a batch, as of a trained one
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": side, "width": side}).save_pretrained(folder)
    return model.eval()


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(3, 3, 75, 75, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", CONFIGS)
def test_features_are_the_maps_of_the_stages(kind, tmp_path, pixels):
    encoder = saved(tmp_path, kind)
    model, _, _ = from_encoder(str(tmp_path), seed=0, image_size=75)
    maps: list[torch.Tensor] = []
    for stage in encoder.encoder.stages:
        stage.register_forward_hook(lambda module, inputs, output: maps.append(output))
    with torch.no_grad():
        encoder(pixels)
        assert torch.equal(model.encode(pixels), torch.cat([each.flatten(1) for each in maps], dim=1))
        logits = model(pixels).logits
        assert torch.equal(model(features=model.encode(pixels)).logits, logits)
    assert len(maps) == 4
    assert model.grid == tuple(maps[0].shape[2:])
    assert logits.shape == (3, 2, *maps[0].shape[2:])


def test_the_head_is_one_linear_layer_on_all_maps_at_the_finest_size(tmp_path, pixels):
    saved(tmp_path, "resnet")
    model, _, _ = from_encoder(str(tmp_path), seed=0, head=Head(hidden_size=20, num_labels=3), image_size=75)
    with torch.no_grad():
        for norm in model.head.norms:  # other than those that a layer norm begins with
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-1, 1)
        states = model.encoder(pixels, output_hidden_states=True).hidden_states[1:]
        large = []
        for norm, values in zip(model.head.norms, states, strict=True):
            centred = values - values.mean(dim=1, keepdim=True)
            unit = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
            scaled = unit * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
            large.append(torch.nn.functional.interpolate(scaled, size=model.grid, mode="bilinear"))
        every = torch.cat(large, dim=1).movedim(1, -1)
        weights = torch.cat([layer.weight for layer in model.head.hidden], dim=1)
        hidden = torch.nn.functional.gelu(every @ weights.T + model.head.hidden[0].bias)
        expected = (hidden @ model.head.classify.weight.T + model.head.classify.bias).movedim(-1, 1)
        torch.testing.assert_close(model(pixels).logits, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", CONFIGS)
def test_saved_and_loaded_through_the_auto_classes(kind, tmp_path, pixels):
    saved(tmp_path / "encoder", kind)
    model, preprocessing, _ = from_encoder(str(tmp_path / "encoder"), seed=1, head=Head(num_labels=5), image_size=75)
    (tmp_path / "out").mkdir()
    save(model, preprocessing, tmp_path / "out")
    loaded, report = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values())
    assert isinstance(loaded, ConvForSegmentation)
    assert loaded.config.encoder.model_type == kind.split()[0]
    with torch.no_grad():
        assert torch.equal(loaded(pixels).logits, model(pixels).logits)
        assert torch.equal(loaded(features=loaded.encode(pixels)).logits, model(pixels).logits)
    config = (tmp_path / "out/config.json").read_text()
    assert "auto_map" not in json.loads(config)  # no remote code
    assert str(tmp_path) not in config, "where the encoder lay is nobody's business"


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_weight_learns(kind, tmp_path, pixels):
    """One that does not would stop training in several processes."""
    saved(tmp_path, kind)
    model, _, _ = from_encoder(str(tmp_path), seed=0, head=Head(dice_weight=1.0), image_size=75)
    model.train()
    model(pixels, labels=(pixels[:, 0] > 0).long()).loss.backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def test_seeds_draw_the_head_and_nothing_else(tmp_path):
    saved(tmp_path, "resnet")
    state = torch.random.get_rng_state()
    first, second, other = (from_encoder(str(tmp_path), seed=seed)[0].state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, weights in first.items():
        assert torch.equal(weights, second[name])
        drawn = name.startswith("head.") and name.endswith("weight") and "norms" not in name
        assert torch.equal(weights, other[name]) != drawn, name


def test_frames_that_are_too_small_are_told(tmp_path):
    saved(tmp_path, "convnext")
    with pytest.raises(InvalidArgument, match="frames of 7 x 7 pixels are too small for the stages of"):
        from_encoder(str(tmp_path), seed=0, image_size=7)


def test_the_size_that_is_asked_for_counts_and_not_that_of_the_image_processor(tmp_path):
    torch.manual_seed(0)
    config = ConvNextV2Config(hidden_sizes=[4, 6, 8, 10, 12], depths=[1] * 5, num_stages=5)  # halves a side four times
    AutoModel.from_config(config).save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    model, preprocessing, _ = from_encoder(str(tmp_path), seed=0, image_size=128)
    assert preprocessing.size == (128, 128)
    assert model.config.maps == [[32, 32], [16, 16], [8, 8], [4, 4], [2, 2]]
    for side, size in ((None, 32), (48, 48)):
        with pytest.raises(InvalidArgument, match=f"^frames of {size} x {size} pixels are too small for the stages of"):
            from_encoder(str(tmp_path), seed=0, image_size=side)


def test_a_step_of_one_frame_whose_last_map_is_one_place_is_refused_before_the_training(tmp_path):
    """Torch's own words for it would come from within."""
    saved(tmp_path / "resnet", "resnet")
    saved(tmp_path / "convnext", "convnext")
    train, tests = frames(0, 3), {"far": frames(100, 2)}
    whole = replace(RECIPE, epochs=1, batch_size=1, image_size=32)
    sentence = r"the last map of a frame of 32 x 32 pixels is 1 x 1, and a step has one frame: .* larger batch_size"
    with pytest.raises(InvalidArgument, match=sentence):
        segment(train, tests, tmp_path / "resnet", tmp_path / "refused", recipe=whole, progress=False)
    assert not (tmp_path / "refused").exists()
    for name, encoder, changes in (
        ("two frames", "resnet", {"batch_size": 2}),  # of three: the last step goes on with the next epoch's first
        ("larger maps", "resnet", {"image_size": 33}),
        ("frozen", "resnet", {"frozen": True}),
        ("no batch normalisation", "convnext", {}),
    ):
        out = tmp_path / name
        assert (
            len(segment(train, tests, tmp_path / encoder, out, recipe=replace(whole, **changes), progress=False)) == 2
        )


@pytest.mark.parametrize("frozen", [True, False])
def test_it_learns(frozen, tmp_path):
    before = saved(tmp_path / "encoder", "resnet").state_dict()
    recipe = replace(RECIPE, frozen=frozen)
    test = frames(100, 12)
    out = tmp_path / "run"
    scores = segment(frames(0, 48), {"far": test}, tmp_path / "encoder", out, recipe=recipe, progress=False)
    constant = np.mean([(np.asarray(mask) == 255).mean() for mask in test["mask"]])
    assert scores.of("far").value() > constant + 0.4
    after = AutoModelForSemanticSegmentation.from_pretrained(out / "model").encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in after) is frozen


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path):
    """Batch normalisation is over the frames of both."""
    before = saved(tmp_path / "encoder", "resnet").state_dict()
    for name, first, rows in (("train", 0, 32), ("test", 100, 6)):
        (tmp_path / name).mkdir()
        frames(first, rows).to_parquet(tmp_path / name / "train.parquet")
    several = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0", "-m"]
    after = []
    for processes, launcher in ((1, []), (2, several)):
        out = tmp_path / f"of {processes}"
        command = [sys.executable, "-m", *launcher, "meddel_hf.segment", str(tmp_path / "train"), "--test",
                   str(tmp_path / "test"), "--test-share", "0", "--encoder", str(tmp_path / "encoder"), "--out",
                   str(out), "--epochs", "4", "--batch-size", "8", "--learning-rate", "1e-4",
                   "--precision", "float32", "--device", "cpu", "--quiet"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert json.loads((out / "manifest.json").read_text())["details"]["processes"] == processes
        after.append(AutoModelForSemanticSegmentation.from_pretrained(out / "model").state_dict())
    one, two = after
    learned = [name for name in before if "running" not in name and "tracked" not in name]
    moved = max((one[f"encoder.{name}"] - before[name]).abs().max() for name in learned)
    apart = max((one[f"encoder.{name}"] - two[f"encoder.{name}"]).abs().max() for name in learned)
    assert apart < moved / 20, (apart, moved)  # rounding, which Adam enlarges where a gradient is next to nothing

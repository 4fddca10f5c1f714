"""The segmentation model: its weights are the encoder's, its loss is the textbook's, and it survives saving."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from family import counted
from transformers import (
    AutoConfig,
    AutoModelForSemanticSegmentation,
    DeiTConfig,
    DeiTModel,
    MobileNetV2Config,
    MobileNetV2Model,
    RegNetConfig,
    RegNetModel,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTMAEModel,
    ViTModel,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from meddel_hf.downstream.segmentation.architecture import Head, segmentation_loss
from meddel_hf.downstream.segmentation.model import from_encoder, predicted_mask, save
from meddel_hf.downstream.segmentation.vit import ViTForSegmentation
from meddel_hf.errors import InvalidArgument

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
         "image_size": 32, "patch_size": 8}  # fmt: skip
DECODER = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2,
           "decoder_intermediate_size": 16}  # fmt: skip


def saved(folder: Path, kind: str) -> Path:
    torch.manual_seed(3)
    model = {
        "vit": lambda: ViTModel(ViTConfig(**SIZES)),
        "mae": lambda: ViTMAEForPreTraining(ViTMAEConfig(**SIZES, **DECODER)),
        "deit": lambda: DeiTModel(DeiTConfig(**SIZES)),
    }[kind]()
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_patch_tokens_are_those_of_a_vit(tmp_path, pixels):
    folder = saved(tmp_path, "vit")
    model, preprocessing, _ = from_encoder(str(folder), seed=0)
    with torch.no_grad():
        expected = ViTModel.from_pretrained(folder).eval()(pixels).last_hidden_state[:, 1:]
        assert torch.equal(model.encode(pixels), expected)
        assert model(pixels).logits.shape == (3, 2, 4, 4)
    assert preprocessing.size == (32, 32)


def test_patch_tokens_are_those_of_an_mae_that_masks_nothing(tmp_path, pixels):
    folder = saved(tmp_path, "mae")
    model, _, _ = from_encoder(str(folder), seed=0)
    mae = ViTMAEModel.from_pretrained(folder, mask_ratio=0.0).eval()
    in_order = torch.arange(16.0).expand(3, -1)
    with torch.no_grad():
        expected = mae(pixels, noise=in_order).last_hidden_state[:, 1:]
        torch.testing.assert_close(model.encode(pixels), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["vit", "mae"])
def test_another_image_size_interpolates_positions_as_transformers_does(kind, tmp_path):
    folder = saved(tmp_path, kind)
    large = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    model, preprocessing, _ = from_encoder(str(folder), seed=0, image_size=48)
    assert preprocessing.size == (48, 48)
    assert model.grid == (6, 6)
    with torch.no_grad():
        if kind == "vit":
            found = ViTModel.from_pretrained(folder).eval()(large, interpolate_pos_encoding=True)
        else:
            mae = ViTMAEModel.from_pretrained(folder, mask_ratio=0.0).eval()
            found = mae(large, noise=torch.arange(36.0).expand(2, -1), interpolate_pos_encoding=True)
        torch.testing.assert_close(model.encode(large), found.last_hidden_state[:, 1:], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("labels", [2, 5])
def test_saved_and_loaded_through_the_auto_classes(labels, tmp_path, pixels):
    model, preprocessing, _ = from_encoder(str(saved(tmp_path / "vit", "vit")), seed=1, head=Head(num_labels=labels))
    (tmp_path / "out").mkdir()
    save(model, preprocessing, tmp_path / "out")
    loaded, report = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values())
    assert isinstance(loaded, ViTForSegmentation)
    assert loaded.config.num_labels == labels
    assert isinstance(AutoConfig.from_pretrained(tmp_path / "out").encoder, ViTConfig)
    with torch.no_grad():
        assert torch.equal(loaded(pixels).logits, model(pixels).logits)
    assert ViTImageProcessorPil.from_pretrained(tmp_path / "out").size == {"height": 32, "width": 32}
    assert "auto_map" not in json.loads((tmp_path / "out/config.json").read_text())  # no remote code


def test_weights_are_stored_under_the_names_that_a_trainer_reads_them_by(tmp_path):
    """Trainer resumes with load_state_dict(strict=False): other names would be left out without a word."""
    from safetensors.torch import load_file

    model, preprocessing, _ = from_encoder(str(saved(tmp_path / "vit", "vit")), seed=1)
    save(model, preprocessing, tmp_path)
    assert set(load_file(tmp_path / "model.safetensors")) == set(model.state_dict())


def test_seeds_draw_the_head_and_nothing_else(tmp_path):
    folder = str(saved(tmp_path, "vit"))
    state = torch.random.get_rng_state()
    first, second, other = (from_encoder(folder, seed=seed)[0].state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, weights in first.items():
        assert torch.equal(weights, second[name])
        drawn = name in ("head.hidden.weight", "head.classify.weight")
        assert torch.equal(weights, other[name]) != drawn, name


def test_loss_by_hand():
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(2, 3, 4, 4)), generator.integers(0, 3, (2, 4, 4))
    labels[0, :2] = 255
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    b, h, w = np.nonzero(labels != 255)
    entropy = -np.log(shares[b, labels[b, h, w], h, w]).mean()
    dice = []
    for label in (1, 2):
        claimed, true = shares[b, label, h, w], labels[b, h, w] == label
        dice.append(1 - (2 * (claimed * true).sum() + 1) / (claimed.sum() + true.sum() + 1))
    tensors = torch.tensor(logits, dtype=torch.float32), torch.tensor(labels)
    assert segmentation_loss(*tensors).item() == pytest.approx(entropy, rel=1e-5)
    assert segmentation_loss(*tensors, dice_weight=0.5).item() == pytest.approx(entropy + np.mean(dice) / 2, rel=1e-5)


HALF = """
import sys
import torch
from torch import distributed, nn
from meddel_hf.downstream.segmentation.architecture import segmentation_loss

folder, rank = sys.argv[1], int(sys.argv[2])
distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
pixels, labels, weights = torch.load(f"{folder}/given.pt")
pixels, labels = pixels.chunk(2)[rank], labels.chunk(2)[rank]
layer = nn.Conv2d(3, 3, 1, bias=False)
layer.load_state_dict({"weight": weights})
both = nn.parallel.DistributedDataParallel(layer)  # named, since it averages no gradients once it is gone
loss = segmentation_loss(both(pixels), labels, 0.5, together=True)
loss.backward()
torch.save((loss.detach(), layer.weight.grad), f"{folder}/out{rank}.pt")
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_have_the_loss_and_the_gradients_of_one(tmp_path):
    """One has frames without objects, the other frames of which little counts: means of halves would be others."""
    generator = torch.Generator().manual_seed(0)
    pixels, labels = torch.randn(4, 3, 6, 6, generator=generator), torch.zeros(4, 6, 6, dtype=torch.int64)
    labels[2:, :3], labels[2:, 3:, :3], labels[2:, 3:, 3:] = 255, 1, 2
    weights = torch.randn(3, 3, 1, 1, generator=generator)
    torch.save((pixels, labels, weights), tmp_path / "given.pt")

    layer = weights.double().requires_grad_()
    shares = torch.einsum("oc,bchw->bohw", layer[:, :, 0, 0], pixels.double()).softmax(dim=1).movedim(1, -1)
    shares, true = shares[labels != 255], torch.nn.functional.one_hot(labels[labels != 255], 3)  # (pixels, classes)
    dice = 1 - (2 * (shares * true).sum(0) + 1) / ((shares + true).sum(0) + 1)
    expected = -(shares.log() * true).sum(1).mean() + 0.5 * dice[1:].mean()
    expected.backward()

    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with counted() as seen:
        running = [subprocess.Popen([sys.executable, "-c", HALF, str(tmp_path), str(rank)], env=env) for rank in (0, 1)]
        assert [process.wait(timeout=120) for process in running] == [0, 0]
    assert len(seen) == 2
    for rank in (0, 1):
        loss, gradient = torch.load(tmp_path / f"out{rank}.pt")
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        torch.testing.assert_close(gradient, layer.grad.float(), rtol=1e-4, atol=1e-6)


def test_labels_that_do_not_count_everywhere_give_no_loss():
    logits = torch.randn(1, 2, 2, 2, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 8, 8), 255), dice_weight=1.0)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_upsampling_keeps_a_constant_and_takes_the_greatest():
    logits = torch.zeros(3, 2, 2)
    logits[2] = 1
    assert np.array_equal(predicted_mask(logits, (7, 5)), np.full((7, 5), 2))
    drawn = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(drawn[None], size=(20, 30), mode="bilinear")[0]
    assert np.array_equal(predicted_mask(drawn, (20, 30)), large.argmax(dim=0).numpy())
    assert not predicted_mask(torch.ones(3, 2, 2), (4, 4)).any()  # of equal ones the first, as argmax does


def test_features_stand_in_for_pixels(tmp_path, pixels):
    model, _, _ = from_encoder(str(saved(tmp_path, "vit")), seed=0)
    with torch.no_grad():
        assert torch.equal(model(features=model.encode(pixels)).logits, model(pixels).logits)
    with pytest.raises(InvalidArgument, match="got neither"):
        model()


def test_what_is_no_encoder(tmp_path):
    deit = saved(tmp_path / "deit", "deit")
    with pytest.raises(InvalidArgument, match="is a deit: expected a ViT, an MAE, a ResNet"):
        from_encoder(str(deit), seed=0)
    for name, model in (
        ("regnet", RegNetModel(RegNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], groups_width=8))),
        ("mobilenet_v2", MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.1))),
    ):
        model.save_pretrained(tmp_path / name)
        ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / name)
        with pytest.raises(InvalidArgument, match=f"is a {name}: expected a ViT, an MAE, a ResNet or a ConvNeXt of"):
            from_encoder(str(tmp_path / name), seed=0)
    vit = saved(tmp_path / "vit", "vit")
    with pytest.raises(InvalidArgument, match="multiple of 8"):
        from_encoder(str(vit), seed=0, image_size=50)
    weights = {name: tensor for name, tensor in ViTModel(ViTConfig(**SIZES)).state_dict().items() if "fc1" not in name}
    ViTModel(ViTConfig(**SIZES)).save_pretrained(vit, state_dict=weights)
    with pytest.raises(InvalidArgument, match="lacks 4 weights"):
        from_encoder(str(vit), seed=0)
    with pytest.raises(InvalidArgument, match="is not a folder"):
        from_encoder(str(tmp_path / "nowhere"), seed=0)


@pytest.mark.parametrize("kind", ["vit", "conv"])
def test_a_segmentation_model_is_no_encoder(kind, tmp_path):
    """Neither where transformers knows of it, nor in a process that imported nothing of ours but the embedding."""
    encoder, out = tmp_path / "encoder", tmp_path / "out"
    if kind == "conv":
        ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])).save_pretrained(encoder)
        ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(encoder)
    else:
        saved(encoder, "vit")
    model, preprocessing, _ = from_encoder(str(encoder), seed=0)
    out.mkdir()
    save(model, preprocessing, out)
    sentence = f"{out} is a segmentation model that meddel segment wrote: give the encoder that it was made from"
    with pytest.raises(InvalidArgument, match=f"^{re.escape(sentence)}$"):
        from_encoder(str(out), seed=0)
    code = f"from meddel_hf.embedding.encoder import load_encoder; load_encoder({str(out)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stderr.splitlines()[-1] == f"meddel_hf.errors.InvalidArgument: {sentence}"

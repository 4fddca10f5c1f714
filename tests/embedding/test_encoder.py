"""Encoders against transformers' own forward pass and image processors, on small random models of each family."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from safetensors.torch import save_file
from transformers import (
    BeitConfig,
    BeitModel,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    ConvNextConfig,
    ConvNextModel,
    ConvNextV2Config,
    ConvNextV2Model,
    DeiTConfig,
    DeiTModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    HieraConfig,
    HieraModel,
    IJepaConfig,
    IJepaModel,
    RegNetConfig,
    RegNetModel,
    ResNetConfig,
    ResNetModel,
    SiglipConfig,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    SwinConfig,
    SwinModel,
    Swinv2Config,
    Swinv2Model,
    ViTConfig,
    ViTForImageClassification,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTMAEModel,
    ViTModel,
)
from transformers.models.beit.image_processing_pil_beit import BeitImageProcessorPil
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from meddel_hf.embedding.encoder import load_encoder
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.devices import resolve_precision
from meddel_hf.runtime.manifest import Manifest

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
PATCHES = 16


def randomised(model):
    """Random weights everywhere: layer norms too, so that a forgotten one shows."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    return model.eval()


def saved(folder: Path, model, processor) -> Path:
    randomised(model).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def vit_processor():
    return ViTImageProcessorPil(size={"height": 32, "width": 32})


def bit_processor():
    return BitImageProcessorPil(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32})


def clip_processor():
    return CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def siglip_processor():
    return SiglipImageProcessorPil(size={"height": 32, "width": 32})


def text(**more):
    return {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
            "vocab_size": 64, "max_position_embeddings": 8, **more}  # fmt: skip


def family(name: str):
    """(model that is saved, image processor, transformers' own tokens after the final norm, tokens before patches)."""
    match name:
        case "vit":
            return ViTModel(ViTConfig(**SMALL)), vit_processor(), ViTModel, 1
        case "vit classifier":
            return ViTForImageClassification(ViTConfig(**SMALL)), vit_processor(), ViTModel, 1
        case "deit":
            processor = DeiTImageProcessorPil(size={"height": 36, "width": 36}, crop_size={"height": 32, "width": 32})
            return DeiTModel(DeiTConfig(**SMALL)), processor, DeiTModel, 2
        case "dinov2":
            config = {key: value for key, value in SMALL.items() if key != "intermediate_size"}
            return Dinov2Model(Dinov2Config(**config, mlp_ratio=2)), bit_processor(), Dinov2Model, 1
        case "dinov2 with registers":
            config = {key: value for key, value in SMALL.items() if key != "intermediate_size"}
            config = Dinov2WithRegistersConfig(**config, mlp_ratio=2, num_register_tokens=4)
            return Dinov2WithRegistersModel(config), bit_processor(), Dinov2WithRegistersModel, 5
        case "mae":
            decoder = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2,
                       "decoder_intermediate_size": 16}  # fmt: skip
            return ViTMAEForPreTraining(ViTMAEConfig(**SMALL, **decoder)), vit_processor(), ViTMAEModel, 1
        case "clip":
            config = CLIPConfig(text_config=text(), vision_config=SMALL, projection_dim=16)
            return CLIPModel(config), clip_processor(), CLIPVisionModel, 1
        case "clip vision":
            return CLIPVisionModel(CLIPVisionConfig(**SMALL)), clip_processor(), CLIPVisionModel, 1
        case "siglip":
            config = SiglipConfig(text_config=text(), vision_config=SMALL)
            return SiglipModel(config), siglip_processor(), SiglipVisionModel, 0
        case "siglip vision":
            return SiglipVisionModel(SiglipVisionConfig(**SMALL)), siglip_processor(), SiglipVisionModel, 0
    raise AssertionError(name)


FAMILIES = [
    "vit", "vit classifier", "deit", "dinov2", "dinov2 with registers", "mae", "clip", "clip vision", "siglip",
    "siglip vision",
]  # fmt: skip


def own_tokens(cls, folder: Path, pixel_values: torch.Tensor) -> torch.Tensor:
    """The oracle: transformers' own model, called by hand, for tokens after the final layer norm."""
    options = {"config": ViTMAEConfig.from_pretrained(folder, mask_ratio=0.0)} if cls is ViTMAEModel else {}
    if cls is CLIPVisionModel:
        options["config"] = CLIPVisionConfig.from_pretrained(folder)
    if cls is SiglipVisionModel:
        options["config"] = SiglipVisionConfig.from_pretrained(folder)
    model = cls.from_pretrained(folder, **options, dtype=torch.float32).eval()
    with torch.no_grad():
        if cls is ViTMAEModel:
            noise = torch.rand(len(pixel_values), PATCHES)  # a random order, undone below
            out = model(pixel_values, noise=noise)
            order = torch.argsort(noise, dim=1)
            patches = torch.empty_like(out.last_hidden_state[:, 1:])
            patches.scatter_(1, order[..., None].expand_as(patches), out.last_hidden_state[:, 1:])
            return torch.cat([out.last_hidden_state[:, :1], patches], dim=1)
        out = model(pixel_values)
        return model.post_layernorm(out.last_hidden_state) if cls is CLIPVisionModel else out.last_hidden_state


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", FAMILIES)
def test_embeddings_are_transformers_own_last_hidden_state(name, tmp_path, frames):
    model, processor, cls, prefix = family(name)
    saved(tmp_path, model, processor)
    plain = processor(list(frames), do_resize=False, do_center_crop=False, return_tensors="pt")["pixel_values"]
    tokens = own_tokens(cls, tmp_path, plain)
    assert tokens.shape == (3, prefix + PATCHES, 32)
    wanted = {"cls": tokens[:, 0], "mean": tokens[:, prefix:].mean(1)}

    for pooling in ("cls", "mean") if prefix else ("mean",):
        encoder = load_encoder(str(tmp_path), pooling=pooling, precision="float32")
        got = encoder(frames)
        expected = wanted[pooling] / wanted[pooling].norm(dim=1, keepdim=True)
        assert (encoder.dim, encoder.prefix, got.dtype) == (32, prefix, torch.float32)
        torch.testing.assert_close(got, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", ["clip", "vit classifier"])
def test_the_pooled_cls_of_transformers_agrees_where_it_has_one(name, tmp_path, frames):
    model, processor, _, _ = family(name)
    saved(tmp_path, model, processor)
    pixels = processor(list(frames), do_resize=False, do_center_crop=False, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        if name == "clip":
            pooled = model.vision_model(pixels).pooler_output
        else:
            pooled = model.vit(pixels).last_hidden_state[:, 0]
    got = load_encoder(str(tmp_path), precision="float32")(frames)
    torch.testing.assert_close(got, pooled / pooled.norm(dim=1, keepdim=True), atol=2e-6, rtol=0)


def convnext_processor():
    return ConvNextImageProcessorPil(size={"shortest_edge": 32})


STAGES = {"depths": [1, 1], "image_size": 32}
# Models that have their mean over places as `pooler_output`, and image processors of the same normalisation.
POOLED = {
    "resnet": lambda: (
        ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 32], depths=[1, 1])),
        convnext_processor(),
    ),
    "convnext": lambda: (
        ConvNextModel(ConvNextConfig(hidden_sizes=[8, 32], num_stages=2, **STAGES)),
        convnext_processor(),
    ),
    "convnextv2": lambda: (
        ConvNextV2Model(ConvNextV2Config(hidden_sizes=[8, 32], num_stages=2, **STAGES)),
        convnext_processor(),
    ),
    "swin": lambda: (SwinModel(SwinConfig(embed_dim=16, num_heads=[1, 2], window_size=4, **STAGES)), vit_processor()),
    "swinv2": lambda: (
        Swinv2Model(Swinv2Config(embed_dim=16, num_heads=[1, 2], window_size=4, **STAGES)),
        vit_processor(),
    ),
    "hiera": lambda: (
        HieraModel(HieraConfig(embed_dim=4, image_size=[32, 32], depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 4])),
        vit_processor(),
    ),
    "beit": lambda: (BeitModel(BeitConfig(**SMALL)), BeitImageProcessorPil(size={"height": 32, "width": 32})),
}


@pytest.mark.parametrize("name", POOLED)
def test_the_mean_over_places_is_transformers_own_pooler_output(name, tmp_path, frames):
    model, processor = POOLED[name]()
    saved(tmp_path, model, processor)
    pixels = (torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        pooled = model(pixels).pooler_output.flatten(1)
        last = model(pixels).last_hidden_state
    encoder = load_encoder(str(tmp_path), pooling="auto", precision="float32")
    got = encoder.pooled(frames)
    torch.testing.assert_close(got["mean"], pooled / pooled.norm(dim=1, keepdim=True), atol=2e-6, rtol=0)
    assert set(got) == ({"cls", "mean"} if name == "beit" else {"mean"})
    assert encoder.dim == 32
    rows, columns = encoder.grid
    patches = encoder.patches(frames)
    assert patches.shape == (3, rows * columns, 32)
    if last.ndim == 4:
        last = last.flatten(2).transpose(1, 2)
    torch.testing.assert_close(patches, last[:, encoder.prefix :], atol=1e-5, rtol=1e-5)


def test_i_jepa_has_patches_alone(tmp_path, frames):
    model = IJepaModel(IJepaConfig(**SMALL))
    saved(tmp_path, model, vit_processor())
    pixels = (torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        mean = model(pixels).last_hidden_state.mean(dim=1)
    encoder = load_encoder(str(tmp_path), pooling="auto", precision="float32")
    torch.testing.assert_close(encoder(frames), mean / mean.norm(dim=1, keepdim=True), atol=2e-6, rtol=0)
    assert encoder.poolings == ("mean",)


@pytest.mark.parametrize("size", [32, 64])
def test_places_of_a_staged_model_lie_where_they_are_in_the_frame(size, tmp_path):
    """A bright corner changes the token of that corner most."""
    config = SwinConfig(embed_dim=16, num_heads=[1, 2], window_size=2, **STAGES)
    saved(tmp_path, SwinModel(config), ViTImageProcessorPil(size={"height": size, "width": size + 8}))
    encoder = load_encoder(str(tmp_path), pooling="mean", precision="float32")
    rows, columns = encoder.grid
    assert (rows, columns) == (size // 8, (size + 8) // 8)
    dark = np.zeros((1, size, size + 8, 3), np.uint8)
    bright = dark.copy()
    bright[:, -8:, :8] = 255
    change = (encoder.patches(bright) - encoder.patches(dark)).norm(dim=2)[0].reshape(rows, columns)
    assert divmod(int(change.argmax()), columns) == (rows - 1, 0)


def test_mae_keeps_every_patch_and_answers_the_same_twice(tmp_path, frames):
    model, processor, _, _ = family("mae")
    saved(tmp_path, model, processor)
    encoder = load_encoder(str(tmp_path), pooling="mean", precision="float32")
    assert torch.equal(encoder(frames), encoder(frames))
    changed = frames.copy()
    changed[:, 24:, 24:] = 255 - changed[:, 24:, 24:]  # the last patch alone
    assert (encoder(changed) - encoder(frames)).abs().max() > 1e-4


def test_siglip_has_no_cls_token(tmp_path):
    model, processor, _, _ = family("siglip")
    saved(tmp_path, model, processor)
    with pytest.raises(InvalidArgument, match='no CLS token: use pooling="mean"'):
        load_encoder(str(tmp_path))


def test_bf16_is_close_to_float32(tmp_path, frames):
    model, processor, _, _ = family("vit")
    saved(tmp_path, model, processor)
    exact = load_encoder(str(tmp_path), precision="float32")(frames)
    rough = load_encoder(str(tmp_path), precision="bf16")(frames)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert (rough * exact).sum(1).min() > 0.99
    torch.testing.assert_close(rough.norm(dim=1), torch.ones(3), atol=1e-6, rtol=0)


def test_auto_precision_follows_the_processor():
    flags = Path("/proc/cpuinfo")
    if not flags.is_file() or "x86" not in __import__("platform").machine():
        pytest.skip("reads the flags of a Linux PC")
    words = set(flags.read_text().split())
    native = bool(words & {"avx512_bf16", "amx_tile"})
    assert resolve_precision("auto", torch.device("cpu")) == ("bf16" if native else "float32")
    assert resolve_precision("float32", torch.device("cpu")) == "float32"
    with pytest.raises(InvalidArgument, match="fp16"):
        resolve_precision("fp16", torch.device("cpu"))


def test_larger_frames_than_the_model_was_trained_on(tmp_path):
    processor = ViTImageProcessorPil(size={"height": 48, "width": 48})
    saved(tmp_path, ViTModel(ViTConfig(**SMALL)), processor)
    encoder = load_encoder(str(tmp_path), pooling="mean", precision="float32")
    pixels = np.random.default_rng(1).integers(0, 256, (2, 48, 48, 3), dtype=np.uint8)
    values = processor(list(pixels), do_resize=False, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        model = ViTModel.from_pretrained(tmp_path).eval()
        wanted = model(values, interpolate_pos_encoding=True).last_hidden_state[:, 1:].mean(1)
    torch.testing.assert_close(encoder(pixels), wanted / wanted.norm(dim=1, keepdim=True), atol=2e-6, rtol=0)


def test_fingerprint_is_of_weights_configuration_and_preprocessing(tmp_path):
    def stamp(folder: str, **changes) -> str:
        config = ViTConfig(**{**SMALL, **changes.get("config", {})})
        saved(tmp_path / folder, ViTModel(config), ViTImageProcessorPil(**{"size": 32, **changes.get("processor", {})}))
        if changes.get("weight"):
            model = ViTModel.from_pretrained(tmp_path / folder)
            with torch.no_grad():
                model.layers[1].mlp.fc1.bias[3] += 1e-3
            model.save_pretrained(tmp_path / folder)
        return load_encoder(str(tmp_path / folder), precision=changes.get("precision", "float32")).fingerprint

    first = stamp("a")
    assert first == stamp("elsewhere") == stamp("b", precision="bf16")
    assert len({first, stamp("c", weight=True), stamp("d", config={"hidden_act": "relu"}),
                stamp("e", processor={"resample": 3})}) == 4  # fmt: skip


def test_random_weights_are_refused(tmp_path):
    saved(tmp_path, ViTModel(ViTConfig(**SMALL)), vit_processor())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(InvalidArgument, match=r"lacks \d+ weights"):
        load_encoder(str(tmp_path))


def test_pickled_weights_are_refused(tmp_path):
    saved(tmp_path, ViTModel(ViTConfig(**SMALL)), vit_processor())
    torch.save(ViTModel(ViTConfig(**SMALL)).state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InvalidArgument, match="safetensors"):
        load_encoder(str(tmp_path))


def test_code_of_the_checkpoint_is_not_run_unless_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    saved(tmp_path, ViTModel(ViTConfig(**SMALL)), vit_processor())
    save_file(ViTModel(ViTConfig(**SMALL)).state_dict(), tmp_path / "model.safetensors", {"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    auto_map = {"AutoConfig": "mine.MyConfig", "AutoModel": "mine.MyModel"}
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "mine", "auto_map": auto_map}))
    (tmp_path / "mine.py").write_text(
        "from transformers import ViTConfig, ViTModel\n"
        "class MyConfig(ViTConfig):\n    model_type = 'mine'\n"
        "class MyModel(ViTModel):\n    config_class = MyConfig\n"
    )
    with pytest.raises(InvalidArgument, match="its own code"):
        load_encoder(str(tmp_path))
    assert load_encoder(str(tmp_path), trust_remote_code=True).dim == 32


def test_a_network_without_patches_is_refused(tmp_path):
    config = RegNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], groups_width=8)
    saved(tmp_path, RegNetModel(config), vit_processor())
    with pytest.raises(InvalidArgument, match="vision transformer"):
        load_encoder(str(tmp_path))


def test_a_convolutional_network_has_no_cls_token(tmp_path):
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    saved(tmp_path, ResNetModel(config), vit_processor())
    with pytest.raises(InvalidArgument, match='no CLS token: use pooling="mean"'):
        load_encoder(str(tmp_path))


def test_one_sentence_for_what_is_not_there(tmp_path):
    with pytest.raises(InvalidArgument, match=r"nowhere/at-all.* is not a folder"):
        load_encoder("./nowhere/at-all")
    with pytest.raises(InvalidArgument, match=r"encoder 'runs/mae/encoder' is not a folder"):
        load_encoder("runs/mae/encoder")  # no Hub id: that is an owner and a name
    ViTModel(ViTConfig(**SMALL)).save_pretrained(tmp_path)
    with pytest.raises(InvalidArgument, match=r"no preprocessor_config\.json"):
        load_encoder(str(tmp_path))
    with pytest.raises(InvalidArgument, match="pooling must be one of auto, both, cls, mean"):
        load_encoder(str(tmp_path), pooling="max")
    with pytest.raises(InvalidArgument, match=r"encoder 'vit' is no folder here, and no Hub id, .* or 'carried'"):
        load_encoder("vit")
    (tmp_path / "emb").mkdir()
    Manifest("embeddings", "x").write(tmp_path / "emb")
    with pytest.raises(InvalidArgument, match="is a folder of step 'embeddings', expected an encoder: what"):
        load_encoder(str(tmp_path / "emb"))


def test_the_packages_own_encoder_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    carried = load_encoder("carried", precision="float32")
    with as_file(files("meddel_hf.assets") / "encoder") as folder:
        assert carried.fingerprint == load_encoder(str(folder), precision="float32").fingerprint
    assert carried.name == "carried"
    ViTModel(ViTConfig(**SMALL)).save_pretrained(tmp_path / "carried")
    vit_processor().save_pretrained(tmp_path / "carried")
    assert load_encoder("carried", precision="float32").fingerprint != carried.fingerprint, "a folder goes first"


def test_an_encoder_that_the_hub_is_needed_for_is_told_without_one(tmp_path):
    Picture.new("RGB", (32, 32)).save(tmp_path / "a.png")
    line = ["embed", str(tmp_path), "--encoder", "me/vit", "--out", str(tmp_path / "e")]
    done = subprocess.run(
        [sys.executable, "-m", "meddel_hf", *line],
        env={**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: encoder 'me/vit' is no folder here, and the Hub cannot be reached: check the path, the network and "
        "HF_HUB_OFFLINE; or take 'carried', the encoder that the package carries"
    )


def test_without_a_network_the_answer_comes_before_anything_slow_is_imported(tmp_path):
    """huggingface_hub itself tries a refused connection for half a minute; a closed port stands for no network."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    code = (
        "import sys; from meddel_hf.cli import main; "
        f"status = main(['embed', {str(tmp_path)!r}, '--encoder', 'me/vit', '--out', 'out']); "
        "print(status, 'torch' in sys.modules, 'datasets' in sys.modules)"
    )
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    env = {**kept, "HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["2", "False", "False"]
    assert "or take 'carried', the encoder that the package carries" in done.stderr
    assert time.monotonic() - began < 15, "it was tried again and again"


def test_a_model_of_timm_is_told(tmp_path):
    config = {"architecture": "vit_tiny_patch16_224", "model_type": "timm_wrapper", "pretrained_cfg": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidArgument, match=r"a model of timm, .* expected one of transformers' own"):
        load_encoder(str(tmp_path))

"""An encoder on the Hub: pushed by the real client to the loopback Hub, and opened from there by transformers."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from conftest import HubSession
from datasets import Dataset, Image
from tiny import textured
from transformers import ViTModel

from meddel_hf import Recipe, pretrain
from meddel_hf.errors import InvalidArgument
from meddel_hf.hub.push import push

MEDDEL = [sys.executable, "-m", "meddel_hf"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    place = tmp_path_factory.mktemp("pretraining")
    paths = []
    for row in range(12):
        paths.append(str(place / f"secret patient {row}.png"))
        textured(row).save(paths[-1])
    pool = Dataset.from_dict({"id": [f"patient {row}" for row in range(12)], "image": paths})
    recipe = Recipe(preset="tiny", image_size=32, patch_size=8, layers=1, samples=24, batch_size=12)
    pretrain(pool.cast_column("image", Image(decode=False)), place / "encoder", recipe=recipe, progress=False)
    return place / "encoder"


def test_an_encoder_is_published_and_opened_by_transformers(encoder, hub: HubSession):
    said = hub.call([*MEDDEL, "push", str(encoder), "me/vit", "--license", "apache-2.0"])
    assert f"{hub.endpoint}/me/vit" in said
    names = {"README.md", "config.json", "manifest.json", "model.safetensors", "preprocessor_config.json"}
    assert names == set(hub.files("me/vit")) - {".gitattributes"}
    card = hub.read("me/vit", "README.md").decode()
    assert "license: apache-2.0" in card
    assert "library_name: transformers" in card
    assert 'from_pretrained("me/vit")' in card
    assert "12 of 12 frames of the pool" in card
    assert "not a medical device" in card
    everything = b"".join(hub.read("me/vit", name) for name in names)
    assert b"secret" not in everything
    assert str(encoder.parent).encode() not in everything
    assert json.loads(hub.read("me/vit", "manifest.json"))["step"] == "pretraining"
    features = hub.run(
        "import torch; from transformers import AutoImageProcessor, AutoModel\n"
        "model = AutoModel.from_pretrained('me/vit', add_pooling_layer=False)\n"
        "AutoImageProcessor.from_pretrained('me/vit')\n"
        "print(model(torch.ones(1, 3, 32, 32)).last_hidden_state.detach().numpy().tobytes().hex())"
    )
    mine = ViTModel.from_pretrained(encoder, add_pooling_layer=False)(torch.ones(1, 3, 32, 32)).last_hidden_state
    theirs = np.frombuffer(bytes.fromhex(features.split()[-1]), np.float32)
    np.testing.assert_allclose(theirs, mine.detach().numpy().ravel(), atol=1e-6)
    hub.call([*MEDDEL, "push", str(encoder), "me/vit"])
    assert "license" not in hub.read("me/vit", "README.md").decode().split("---")[1]


def test_options_about_frames_are_refused(encoder):
    with pytest.raises(InvalidArgument, match="holds an encoder, no frames and no ids"):
        push(encoder, "me/vit", strip_metadata=True)
    with pytest.raises(InvalidArgument, match="names its licence"):
        push(encoder.parent, "me/vit", license="mit")

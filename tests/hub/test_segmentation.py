"""A segmentation model on the Hub: pushed by the real client, opened from there without remote code."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import HubSession
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture
from tiny import textured, tiny_encoder
from transformers import AutoModelForSemanticSegmentation

from meddel_hf.downstream.scores import Scores
from meddel_hf.downstream.segmentation.recipe import SegmentationRecipe
from meddel_hf.downstream.segmentation.segment import segment
from meddel_hf.errors import IncompleteStore, InvalidArgument
from meddel_hf.hub.push import push
from meddel_hf.runtime.manifest import Manifest

MEDDEL = [sys.executable, "-m", "meddel_hf"]
FEATURES = Features({"id": Value("string"), "image": Image(), "mask": Image()})


def frames(first: int, count: int) -> Dataset:
    mask = np.zeros((64, 80), np.uint8)
    mask[16:40, 10:60] = 255
    rows = range(first, first + count)
    columns = {"id": [f"secret patient {row}" for row in rows], "image": [textured(row) for row in rows]}
    return Dataset.from_dict({**columns, "mask": [Picture.fromarray(mask)] * count}, features=FEATURES)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    place = tmp_path_factory.mktemp("segmentation")
    recipe = SegmentationRecipe(epochs=2, batch_size=4, precision="float32", hidden_size=8, frozen=True)
    encoder = tiny_encoder(place / "encoder")
    segment(frames(0, 8), {"nine | ten": frames(50, 4)}, encoder, place / "out", recipe=recipe, progress=False)
    return place / "out"


def test_a_model_is_published_with_its_scores_and_opened_from_there(model, hub: HubSession):
    said = hub.call([*MEDDEL, "push", str(model), "me/polyps", "--license", "apache-2.0"])
    assert f"{hub.endpoint}/me/polyps" in said
    names = {"README.md", "config.json", "manifest.json", "model.safetensors", "preprocessor_config.json"}
    assert names == set(hub.files("me/polyps")) - {".gitattributes"}, "no scores of single frames, no overlays"
    card = hub.read("me/polyps", "README.md").decode()
    scores = Scores.load(model)
    assert "license: apache-2.0" in card
    assert "pipeline_tag: image-segmentation" in card
    row = next(line for line in card.splitlines() if line.startswith("| nine"))
    assert row.startswith(r"| nine \| ten | ")
    assert {f"{scores.value(measure):.4f}" for measure in ("miou", "miou-set")} <= set(row.split())
    assert "8 frames with masks" in card
    everything = b"".join(hub.read("me/polyps", name) for name in names)
    assert b"secret" not in everything
    assert str(model.parent).encode() not in everything
    _, snippet = card.split("```python\n")
    code = snippet.partition("```")[0].replace("image, return_tensors", "picture, return_tensors")
    code = "from PIL import Image\npicture = Image.new('RGB', (32, 32), (200, 40, 40))\n" + code
    theirs = hub.run(code + "print(logits.detach().numpy().tobytes().hex())").split()[-1]
    mine = AutoModelForSemanticSegmentation.from_pretrained(model / "model")
    from transformers import AutoImageProcessor

    pixels = AutoImageProcessor.from_pretrained(model / "model")(
        Picture.new("RGB", (32, 32), (200, 40, 40)), return_tensors="pt"
    )
    with torch.no_grad():
        expected = mine(**pixels).logits.numpy().ravel()
    np.testing.assert_allclose(np.frombuffer(bytes.fromhex(theirs), np.float32), expected, atol=1e-5)


def test_what_is_public_is_not_taken_for_private_and_no_encoder_tells_where_it_lay(model, hub: HubSession, tmp_path):
    """A run of an earlier version, whose configuration told it."""
    older = Path(shutil.copytree(model, tmp_path / "run"))
    path = older / "model" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "encoder": {**config["encoder"], "_name_or_path": "/home/Anna Smith/enc"}}))
    manifest = Manifest.read(older, "segmentation")
    manifest.write(older, list(manifest.files))
    code = f"""
        from pathlib import Path
        from huggingface_hub import HfApi, snapshot_download
        from meddel_hf.errors import InvalidArgument
        from meddel_hf.hub.push import push
        from meddel_hf.runtime.manifest import Manifest
        HfApi().create_repo("me/open")
        try:
            push({str(older)!r}, "me/open", private=True)
        except InvalidArgument as error:
            print(error)
        for _ in range(2):
            push({str(older)!r}, "me/closed", private=True)
        print(HfApi().model_info("me/closed").private)
        folder = Path(snapshot_download("me/closed"))
        Manifest.read(folder, "segmentation").check(folder)
    """
    said = hub.run(textwrap.dedent(code)).splitlines()
    assert said[0].startswith("me/open exists and is public, and is asked to be private: change that in its settings")
    assert said[1:] == ["True"]
    assert set(hub.files("me/open")) <= {".gitattributes"}
    assert json.loads(hub.read("me/closed", "config.json")) == config


def test_no_test_set_tells_where_it_lay_and_each_has_one_name(model, hub: HubSession, tmp_path):
    """Test sets that were named by their paths, as a caller of `segment` may: in the card, in keys and in roles."""
    run = Path(shutil.copytree(model, hub.home / "run"))
    near, far, spaced = "hospital_b/frames", "/home/anna/hospital_b/frames", "../Anna Smith/my frames"
    (hub.home / "hospital_b" / "frames").mkdir(parents=True)
    sets = [far, "frames", near, spaced]
    manifest = Manifest.read(run, "segmentation")
    tested = {name: {"miou": 0.1 * number} for number, name in enumerate(sets, 1)}
    details = {**manifest.details, "tested": tested, "empty_masks": {"the training set": 0, far: 2, spaced: 1}}
    parents = {"encoder": "e", "train": "t", **{f"test {name}": name[-9:] for name in sets}}
    arguments = {**manifest.arguments, "test": sets}
    replace(manifest, arguments=arguments, parents=parents, details=details).write(run)
    hub.call([*MEDDEL, "push", "run", "me/named"])
    card, record = (hub.read("me/named", name).decode() for name in ("README.md", "manifest.json"))
    for place in ("anna", "Anna", "hospital", "home"):
        assert place not in card + record
    rows = dict(re.findall(r"^\| (.*frames.*) \| (0\.\d+) \|$", card, re.MULTILINE))
    assert rows == {"frames-2": "0.1000", "frames": "0.2000", "frames-3": "0.3000", "my frames": "0.4000"}
    facts = json.loads(record)
    assert {name: scores["miou"] for name, scores in facts["details"]["tested"].items()} == {
        name: pytest.approx(float(value)) for name, value in rows.items()
    }
    assert facts["details"]["empty_masks"] == {"the training set": 0, "frames-2": 2, "my frames": 1}
    assert facts["arguments"]["test"] == ["frames-2", "frames", "frames-3", "my frames"]
    roles = {"encoder", "train", "test frames", "test frames-2", "test frames-3", "test my frames"}
    assert set(facts["parents"]) == roles
    assert facts["parents"]["test frames-2"] == far[-9:]
    assert all(role in card for role in roles)


def test_options_about_frames_are_refused_and_damage_is_found(model, tmp_path):
    with pytest.raises(InvalidArgument, match="holds a segmentation model, no frames and no ids"):
        push(model, "me/polyps", hash_ids="key")
    path = model / "model" / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(IncompleteStore, match=r"model\.safetensors"):
        push(model, "me/polyps")
    path.write_bytes(content)

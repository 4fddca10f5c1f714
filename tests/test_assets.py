"""The default assets: a pool and an encoder that are small, load without a network, may be passed on, and credited."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, concatenate_datasets, get_dataset_config_names, load_dataset
from PIL import Image
from safetensors import safe_open
from transformers import AutoImageProcessor, AutoModel

from meddel_hf import assets

ASSETS = Path(assets.__file__).parent
POOL, ENCODER = ASSETS / "pool", ASSETS / "encoder"
CENTRES = [f"polypgen2021_c{number}" for number in range(1, 7)]
COLUMNS = ["id", "image", "mask", "boxes", "label", "source", "center", "group", "official_split", "width", "height"]
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    cache = str(tmp_path_factory.mktemp("cache"))
    return {
        name: load_dataset(str(POOL), name, split="train", cache_dir=cache)
        for name in get_dataset_config_names(str(POOL))
    }


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_assets_stay_small() -> None:
    assert size_of(POOL) <= 2 * MEGABYTE
    assert size_of(ENCODER) <= 5 * MEGABYTE


def test_a_config_for_every_centre_and_one_for_all(pools: dict[str, Dataset]) -> None:
    assert sorted(pools) == ["default", *CENTRES]
    assert all(pool.features == pools["default"].features for pool in pools.values())
    assert pools["default"].column_names == COLUMNS
    joined = concatenate_datasets([pools[name] for name in CENTRES])
    assert list(joined["id"]) == list(pools["default"]["id"])
    assert len(set(joined["id"])) == len(joined)


def test_pool_holds_polypgen_only(pools: dict[str, Dataset]) -> None:
    for number, name in enumerate(CENTRES, start=1):
        assert set(pools[name]["source"]) == {"polypgen2021"}
        assert set(pools[name]["center"]) == {f"c{number}"}
        assert all(key.startswith(f"polypgen2021/data_C{number}/images_C{number}/") for key in pools[name]["id"])


def test_frames_decode_to_the_size_they_state(pools: dict[str, Dataset]) -> None:
    for row in pools["default"]:
        assert row["image"].mode == "RGB"
        assert row["image"].size == row["mask"].size == (row["width"], row["height"])
        assert set(np.unique(row["mask"])) <= {0, 255}


def test_pool_gives_a_selection_something_to_find(pools: dict[str, Dataset]) -> None:
    """Thumbnails, which know nothing of the encoder, find near-copies and also frames that resemble none."""
    images = [image.convert("L").resize((16, 16)) for image in pools["default"]["image"]]
    small = np.stack([np.asarray(image, dtype=np.float64).ravel() for image in images])
    unit = small - small.mean(axis=1, keepdims=True)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosine = unit @ unit.T - 2 * np.eye(len(unit))
    assert (cosine.max(axis=1) > 0.97).sum() >= 20
    assert (cosine.max(axis=1) < 0.9).sum() >= 100


def test_weights_are_safetensors_only() -> None:
    assert sorted(path.name for path in ENCODER.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    with safe_open(ENCODER / "model.safetensors", framework="pt") as weights:
        assert all(torch.isfinite(weights.get_tensor(name)).all() for name in weights.keys())  # noqa: SIM118


def test_encoder_knows_where_a_patch_lies() -> None:
    """A ViTMAE that transformers 5.23 makes from a config has positions that are all zero, and keeps them so."""
    with safe_open(ENCODER / "model.safetensors", framework="pt") as weights:
        positions = weights.get_tensor("embeddings.position_embeddings")[0].float()
    assert torch.pdist(positions).min() > 0.1


def test_encoder_loads_whole_and_tells_frames_apart(pools: dict[str, Dataset]) -> None:
    model, report = AutoModel.from_pretrained(ENCODER, output_loading_info=True)
    assert not any(report.values()), "weights are missing, unused or of another shape"
    assert model.dtype == torch.float32
    processor = AutoImageProcessor.from_pretrained(ENCODER)
    images = list(pools["default"].select([0, 150, 300])["image"])
    with torch.inference_mode():
        hidden = model.eval()(**processor(images, return_tensors="pt")).last_hidden_state
    side = model.config.image_size // model.config.patch_size
    assert hidden.shape == (3, 1 + side**2, model.config.hidden_size)
    assert torch.isfinite(hidden).all()
    assert torch.pdist(hidden[:, 0]).min() > 0.1


def test_encoder_accepts_any_shape_of_frame() -> None:
    processor = AutoImageProcessor.from_pretrained(ENCODER)
    side = processor.size["height"]
    for size in ((1, 1), (720, 576), (31, 400)):
        assert processor(Image.new("RGB", size), return_tensors="pt")["pixel_values"].shape == (1, 3, side, side)


@pytest.mark.parametrize("folder", [POOL, ENCODER], ids=lambda folder: folder.name)
def test_cards_credit_their_sources(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    head, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL).groups()
    assert "license: cc-by-4.0" in head.splitlines()
    assert "Ali" in body
    assert "10.1038/s41597-023-01981-y" in body
    assert not re.search(r"\{\w*\}", body), "a place in the card was left unfilled"


def test_encoder_card_states_its_worth_and_its_training_frames() -> None:
    card = (ENCODER / "README.md").read_text(encoding="utf-8")
    assert "2307.08140" in card
    assert "random weights" in card
    assert "thumbnails" in card
    assert re.search(r"\d\.\d{3} \(\d\.\d{3} to \d\.\d{3}\)", card), "no figure with its interval"

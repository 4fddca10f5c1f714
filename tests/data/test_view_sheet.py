"""Embedding with the surround filled: what is written, what is recorded, and what a resumed run refuses."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture
from PIL import ImageDraw

import meddel_hf
from meddel_hf.cli import main
from meddel_hf.data.contact_sheet import COLUMNS
from meddel_hf.data.images import Preprocessing
from meddel_hf.data.pool import Pool
from meddel_hf.data.view_sheet import draw_view
from meddel_hf.embedding.embed import embed
from meddel_hf.embedding.store import EmbeddingStore, StoreWriter
from meddel_hf.errors import IncompleteStore, InvalidArgument, Mismatch
from meddel_hf.runtime.manifest import Manifest

ENCODER = str(Path(meddel_hf.__file__).parent / "assets" / "encoder")
ROWS = 6
AUTO = Preprocessing((96, 96), None, 2, 1 / 255, (0.0,) * 3, (1.0,) * 3, view="auto")


def frame(seed: int, level: int, box: bool) -> bytes:
    """An octagon of mucosa in a surround of that grey level, with a scope guide or not; no noise but the texture's."""
    rng = np.random.default_rng(seed)
    small = Picture.fromarray(rng.integers(60, 140, (6, 8, 1), dtype=np.uint8).repeat(3, axis=2))
    texture = np.asarray(small.resize((320, 256), 3))
    mucosa = Picture.fromarray((texture * np.array([1.5, 0.9, 0.7])).clip(40, 255).astype(np.uint8))
    field = Picture.new("1", (320, 256))
    corners = [(140, 8), (260, 8), (304, 60), (304, 196), (260, 248), (140, 248), (96, 196), (96, 60)]
    ImageDraw.Draw(field).polygon(corners, fill=1)
    picture = Picture.composite(mucosa, Picture.new("RGB", (320, 256), (level,) * 3), field)
    if box:
        ImageDraw.Draw(picture).rectangle((0, 170, 80, 250), fill=(28, 170, 140))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def pool(levels: list[int], boxes: list[bool]) -> Dataset:
    kinds = enumerate(zip(levels, boxes, strict=True))
    images = [{"bytes": frame(seed, level, box), "path": None} for seed, (level, box) in kinds]
    features = Features({"id": Value("string"), "image": Image()})
    return Dataset.from_dict({"id": [f"f{i}" for i in range(len(images))], "image": images}, features=features)


def embedded(out: Path, dataset: Dataset | None = None, **options) -> EmbeddingStore:
    dataset = pool([0, 16] * 3, [True, False, False] * 2) if dataset is None else dataset
    options = {"precision": "float32", "num_workers": 0, "progress": False, "device": "cpu", **options}
    return embed(dataset, ENCODER, out, **options)


def test_surround_and_scope_guide_no_longer_count(tmp_path):
    plain, other = pool([0] * ROWS, [False] * ROWS), pool([20] * ROWS, [True] * ROWS)  # the same mucosa
    cosines = {}
    for view in ("whole", "auto"):
        one, two = (embedded(tmp_path / f"{view}-{k}", each, view=view) for k, each in enumerate((plain, other)))
        cosines[view] = float((one.embeddings * two.embeddings).sum(axis=1).mean())
    assert 1 - cosines["auto"] < (1 - cosines["whole"]) / 4


def test_the_view_is_recorded_and_another_one_is_refused(tmp_path):
    store = embedded(tmp_path / "a", view="auto")
    assert store.manifest.arguments["view"] == "auto"
    assert "view" not in store.manifest.arguments["preprocessing"]
    with pytest.raises(Mismatch, match="another view"):
        embedded(tmp_path / "a")
    assert embedded(tmp_path / "a", view="auto").fingerprint == store.fingerprint
    whole = embedded(tmp_path / "b")
    assert whole.fingerprint != store.fingerprint
    assert whole.manifest.parents == store.manifest.parents  # the encoder is the same
    with pytest.raises(Mismatch, match="another view"):
        embedded(tmp_path / "b", view="auto")


def test_an_interrupted_run_is_not_resumed_with_another_view(tmp_path):
    embedded(tmp_path / "a", view="auto")
    facts = json.loads((tmp_path / "a" / "manifest.json").read_text())
    begun = StoreWriter.begin(tmp_path / "b", facts["arguments"], facts["parents"])
    assert not begun.finished
    with pytest.raises(Mismatch, match="another view"):
        embedded(tmp_path / "b", view="whole")


def test_a_store_of_before_there_were_views_is_of_whole_frames(tmp_path):
    """Its manifest says nothing of a view."""
    store = embedded(tmp_path / "a")
    facts = store.manifest
    del facts.arguments["view"]
    Manifest.write(facts, tmp_path / "a")
    assert embedded(tmp_path / "a").fingerprint == store.fingerprint
    with pytest.raises(Mismatch, match="another view"):
        embedded(tmp_path / "a", view="auto")


def test_the_sheet_belongs_to_the_store(tmp_path):
    store = embedded(tmp_path / "a", view="auto")
    assert "view.png" in store.manifest.files
    with Picture.open(tmp_path / "a" / "view.png") as file:
        sheet = np.asarray(file.convert("RGB")).astype(int)
    green = np.abs(sheet - [28, 170, 140]).max(axis=2) < 8
    rows = np.flatnonzero(green.any(axis=1))
    assert green.sum() > 1000
    assert rows.max() < sheet.shape[0] / 2  # in the upper of two rows alone: not in what the encoder saw
    (tmp_path / "a" / "view.png").write_bytes(b"")
    with pytest.raises(IncompleteStore, match=r"view\.png"):
        EmbeddingStore.load(tmp_path / "a").verify()


def test_whole_frames_have_no_sheet(tmp_path):
    assert "view.png" not in embedded(tmp_path / "a").manifest.files
    assert not (tmp_path / "a" / "view.png").exists()


def test_a_stream_and_unreadable_frames_are_drawn_too(tmp_path):
    dataset = pool([0] * 12, [False] * 12)
    broken = Dataset.from_dict(
        {"id": ["x", *dataset["id"]], "image": [{"bytes": b"no image", "path": None}, *dataset.cast_column(
            "image", Image(decode=False))["image"]]}, features=dataset.features)  # fmt: skip
    sheets = {"rows": broken, "stream": broken.to_iterable_dataset(), "few": dataset.select(range(COLUMNS))}
    heights = {}
    for kind, each in sheets.items():
        draw_view(Pool.of(each), AUTO, tmp_path / "sheet.png")
        with Picture.open(tmp_path / "sheet.png") as sheet:
            heights[kind] = sheet.height
    assert heights["rows"] == heights["stream"] > heights["few"]  # 12 frames take two pairs of rows


def test_the_command_line_has_the_option(tmp_path, capsys):
    folder = tmp_path / "frames"
    folder.mkdir()
    for seed in range(3):
        (folder / f"{seed}.png").write_bytes(frame(seed, 0, True))
    arguments = ["embed", str(folder), "--encoder", ENCODER, "--out", str(tmp_path / "a"), "--quiet"]
    assert main([*arguments, "--view", "auto"]) in (None, 0)
    assert EmbeddingStore.load(tmp_path / "a").manifest.arguments["view"] == "auto"
    shutil.rmtree(tmp_path / "a")


def test_an_unknown_view_is_refused_before_any_frame_is_read(tmp_path):
    with pytest.raises(InvalidArgument, match="view must be one of whole, auto"):
        embedded(tmp_path / "a", view="mask")
    assert not (tmp_path / "a").exists()

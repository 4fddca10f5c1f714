"""What older versions wrote is still read: it has fewer records, and so less to check; see data/written-by-1ba22a8."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture
from safetensors.numpy import load_file

from meddel_hf import EmbeddingStore, MedDEL, Recipe, Selection, embed, pretrain
from meddel_hf.benchmark.results import read
from meddel_hf.embedding.store import StoreWriter
from meddel_hf.errors import IncompleteStore, Mismatch
from meddel_hf.pretraining.result import PreTraining
from meddel_hf.report.build import report
from meddel_hf.report.findings import Draws

OLD = Path(__file__).parent / "data" / "written-by-1ba22a8"
ROWS, DIM, UNREADABLE = 9, 4, 1


def vectors() -> np.ndarray:
    """As its write.py makes them."""
    x = np.random.default_rng(9).normal(size=(ROWS, DIM)).astype(np.float32)
    x[5] = x[3] + 0.01
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture
def old(tmp_path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_a_store_is_read_and_verified(old):
    store = EmbeddingStore.load(old / "embeddings")
    store.verify()
    readable = [row for row in range(ROWS) if row != UNREADABLE]
    np.testing.assert_array_equal(store.embeddings, vectors()[readable])
    assert store.rows.tolist() == readable
    assert store.pool_ids == [f"frame/{row}" for row in range(ROWS)]
    assert store.unreadable["reason"].to_pylist() == ["truncated"]


def test_its_checksums_are_compared_too(old):
    path = old / "embeddings" / "shard-00001.safetensors"
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)
    with pytest.raises(IncompleteStore, match=r"shard-00001\.safetensors changed since it was written"):
        _ = EmbeddingStore.load(old / "embeddings").embeddings
    assert EmbeddingStore.load(old / "embeddings", trust=True).embeddings.shape == (ROWS - 1, DIM)


def test_a_finished_store_is_not_begun_again(old):
    found = EmbeddingStore.load(old / "embeddings").manifest
    writer = StoreWriter.begin(old / "embeddings", found.arguments, found.parents)
    assert writer.finished
    assert writer.shards() == {0: 4, 1: 4, 2: 1}
    assert writer.finish(dim=DIM, row_ids=False).embeddings.shape == (ROWS - 1, DIM)


def test_a_selection_is_what_is_selected_today(old):
    before = Selection.load(old / "selection")
    now = MedDEL(retention=0.5, epsilon=None, scope="pool").select(EmbeddingStore.load(old / "embeddings"))
    assert before.table.equals(now.table)
    assert before.at(eta=0.5).table.equals(now.at(eta=0.5).table)
    assert before.fingerprint == now.fingerprint


def test_rows_of_another_selection_are_told_without_records(old):
    other = MedDEL(retention=0.8, epsilon=None, scope="pool").select(vectors())
    other.save(old / "other")
    shutil.copy(old / "other" / "rows.parquet", old / "selection")
    with pytest.raises(Mismatch, match=r"rows\.parquet holds 9 rows of another selection"):
        Selection.load(old / "selection")


def test_a_pretraining_and_a_benchmark_are_read(old):
    done = PreTraining.load(old / "pretraining")
    assert (done.summary.frames, done.summary.samples, len(done.unreadable)) == (4, 8, 0)
    assert done.log["step"].to_pylist()[-1] == 2
    runs = read(old / "runs")
    assert sorted({cell.arm for cell in runs.cells}) == ["full", "random", "untrained"]
    assert all(len(cell.scores["polyps"]) == 8 for cell in runs.cells)
    assert runs.verdicts is not None
    (random,) = (cell for cell in runs.cells if cell.arm == "random")
    assert sum(random.rows["kept"].to_pylist()) == 20


def trained_frames() -> Dataset:
    """The pool of its write_trained.py."""
    rng, rows = np.random.default_rng(1), []
    for row in range(24):
        pixels = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
        pixels[..., row % 2] += 120
        rows.append({"id": f"pool/{row:02}", "image": Picture.fromarray(pixels)})
    return Dataset.from_list(rows, features=Features({"id": Value("string"), "image": Image()}))


def test_an_encoder_gives_the_embeddings_that_it_gave(old, tmp_path):
    done = PreTraining.load(old / "trained" / "encoder")
    assert (done.summary.frames, done.summary.samples) == (24, 96)
    before = EmbeddingStore.load(old / "trained" / "embeddings")
    now = embed(trained_frames(), done.encoder, tmp_path / "now", pooling="mean", precision="float32", progress=False)
    assert now.pool_ids == before.pool_ids
    np.testing.assert_allclose(now.embeddings, before.embeddings, atol=1e-5)  # of another processor's rounding
    assert now.manifest.parents["encoder"] == before.manifest.parents["encoder"]


def test_the_same_recipe_is_known_again(old):
    """A record that has no field of those that came with simclr and dino; the frames are made anew here, and differ."""
    folder = old / "trained" / "encoder"
    arguments = PreTraining.load(folder).manifest.arguments
    recipe = Recipe(**{name: value for name, value in arguments.items() if name in Recipe.__dataclass_fields__})
    for asked, difference in (
        (recipe.but(target="channel"), "target"),
        (recipe.but(clip=1.0), "clip"),
        (recipe, "pool"),
    ):
        with pytest.raises(Mismatch, match=rf"was begun with another {difference} "):
            pretrain(trained_frames(), folder, recipe=asked, seed=arguments["seed"], progress=False)


def test_an_encoder_is_continued_from(old, tmp_path):
    recipe = Recipe(start=str(old / "trained" / "encoder"), image_size=32, samples=0, batch_size=8, mask_ratio=0.5)
    again = pretrain(trained_frames(), tmp_path / "out", recipe=recipe, progress=False)
    for name in ("model.safetensors", "objective/model.safetensors"):
        before, now = (load_file(folder / name) for folder in (old / "trained" / "encoder", again.folder))
        assert before.keys() == now.keys()
        assert all(np.array_equal(before[key], now[key]) for key in before)


def test_cells_that_were_trained_are_reported(old, tmp_path):
    folder = old / "trained" / "runs"
    runs = read(folder)
    assert {cell.arm: (cell.samples, cell.frames) for cell in runs.cells} == {"full": (96, 24), "untrained": (0, 24)}
    for cell in runs.cells:
        assert PreTraining.load(cell.folder / "pretraining").summary.samples == cell.samples
    report(folder, tmp_path / "report", draws=Draws(50, 0.95, 0), command="meddel report runs")
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    verdict = json.loads((folder / "gate.json").read_text())["tasks"]["colour"]
    assert f"{verdict['full']:.3f}" in page
    assert "Without training" not in page

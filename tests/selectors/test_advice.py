"""Advice against draws that were made, and against what the selector then kept."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import oracle
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture
from PIL import UnidentifiedImageError
from tiny import textured, tiny_encoder

import meddel_hf.dedup.larger_than_memory as larger
from meddel_hf import Dedup, embed
from meddel_hf.cli import main
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.selectors.advice import advise, scenes
from meddel_hf.selectors.dedup import doubt

SIZES = [60, 20, 10, 5, 3, 2] + [1] * 40


def data_set(rows: list[int], center: list[str] | None = None) -> Dataset:
    """Frames of the scenes `rows`; those of one scene differ in their JPEG quality."""
    images = []
    for place, scene in enumerate(rows):
        file = io.BytesIO()
        textured(scene).save(file, "JPEG", quality=70 + place % 25)
        images.append({"bytes": file.getvalue(), "path": None})
    features = Features({"id": Value("string"), "image": Image(decode=False), "center": Value("string")})
    ids = [f"{scene}/{place}" for place, scene in enumerate(rows)]
    return Dataset.from_dict({"id": ids, "image": images, "center": center or ["a"] * len(rows)}, features=features)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(folder, redundant store, its data set, clean store)."""
    folder = tmp_path_factory.mktemp("advice")
    encoder = tiny_encoder(folder / "encoder")
    rows = [scene for scene, size in enumerate(SIZES) for _ in range(size)]
    centers = ["large"] * (len(rows) - 4) + ["rare"] * 4
    redundant = data_set(rows, centers)
    clean = data_set(list(range(100, 200)))
    stores = [
        embed(data, encoder, folder / name, precision="float32", progress=False)
        for name, data in (("redundant", redundant), ("clean", clean))
    ]
    return folder, stores[0], redundant, stores[1]


def test_scenes_of_a_random_draw_are_those_of_draws_that_were_made():
    size = np.array(SIZES)
    scene = np.repeat(np.arange(len(size)), size)
    rng = np.random.default_rng(0)
    for retention in (0.02, 0.1, 0.5, 1.0):
        rows = round(retention * len(scene))
        drawn = [len(set(rng.permutation(scene)[:rows])) for _ in range(2000)]
        answer = scenes(size, np.ones_like(size), retention, len(scene))
        assert answer.rows == rows
        assert answer.at_random == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / 2000**0.5 + 1e-9)
        assert answer.deduplicated == pytest.approx(min(rows, len(size)))


def test_where_frames_repeat_choosing_pays_as_foretold(world):
    _, store, data, _ = world
    advice = advise(store, pool=data)
    assert (advice.rows, advice.distinct, advice.count, advice.largest) == (140, 46, 46, 60)
    assert advice.half == 2
    assert advice.copies == pytest.approx(94 / 140)
    assert advice.alike == 1
    for retention in (0.05, 0.2):
        told = advice.at(retention)
        kept = [Dedup(retention, then="random", seed=seed).select(store).kept for seed in range(5)]
        assert {len({id.split("/")[0] for id in ids}) for ids in kept} == {round(told.deduplicated)}
    assert advice.verdict(0.2).startswith(
        "Choosing pays: 67% of the frames are near-duplicates. Drop them, and 20% holds"
    )
    assert "no frame of center rare" not in advice.verdict(0.5)
    assert "5% may hold no frame of center rare: --min-per center=N keeps some" in advice.verdict(0.05)


def test_of_many_frames_those_of_a_cluster_are_compared(world, monkeypatch):
    store = world[1]
    monkeypatch.setattr("meddel_hf.selectors.advice._WHOLE", len(store) - 1)
    advice, table = advise(store), Dedup(scope="cluster").select(store).table
    space = advice.threshold.space
    unit = store.pooled(space.pooling).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosine = oracle.cosines(unit - unit.mean(axis=0) if space.subtract_mean else unit)
    kept, cluster = table["kept"].to_numpy(), table["cluster"].to_numpy()
    scene = np.arange(len(kept))
    for row in np.flatnonzero(~kept):
        for other in np.flatnonzero(kept & (cluster == cluster[row])):
            if cosine[row, other] > oracle.grid(advice.threshold.eta):
                scene[scene == scene[row]] = scene[other]
    assert (advice.scope, advice.distinct, advice.count) == ("cluster", kept.sum(), len(set(scene)))
    assert len(set(cluster)) > 3
    assert "compared inside clusters, between which some more may lie" in str(advice)
    monkeypatch.setattr("meddel_hf.selectors.advice._WHOLE", len(store))
    assert advise(store).scope == "pool"
    assert advise(store, scope="cluster").count == advice.count
    with pytest.raises(InvalidArgument, match="scope must be one of auto, pool, cluster"):
        advise(store, scope="all")


@pytest.mark.parametrize("scope", ["pool", "cluster"])
def test_a_pool_larger_than_memory_gets_the_same_advice(scope, world, tmp_path, monkeypatch):
    _, store, data, clean = world
    whole = advise(store, pool=data, task=clean, scope=scope)
    for name in ("_PROGRAM", "_LEAST_PIECE"):
        monkeypatch.setattr(larger, name, 0)
    monkeypatch.setattr(larger, "_OF_A_NUMBER", 10**4)  # so that 140 frames are 45 MB
    monkeypatch.setattr(EmbeddingStore, "embeddings", property(lambda store: pytest.fail("read as a whole")))
    parts = advise(store, pool=data, task=clean, scope=scope, memory=44_860_000, scratch=tmp_path)
    assert parts.facts(0.1) == whole.facts(0.1)
    assert not list(tmp_path.iterdir())


def test_of_the_pool_it_reads_what_it_counts(world):
    _, store, data, _ = world
    broken = [{"bytes": b"no picture", "path": None}] * len(data)
    features = Features({"id": Value("string"), "image": Image(), "center": Value("string")})
    unreadable = Dataset.from_dict({"id": data["id"], "image": broken, "center": data["center"]}, features=features)
    with pytest.raises(UnidentifiedImageError):
        unreadable[0]
    (kept,) = advise(store, pool=unreadable).groups
    distinct = Dedup().select(store).kept
    large = sum(center == "large" for id, center in zip(data["id"], data["center"], strict=True) if id in set(distinct))
    assert kept.rows == (("large", 136, large), ("rare", 4, len(distinct) - large))


@pytest.mark.parametrize("retentions", [0.1, "0.1", [], [5], None])
def test_retentions_are_a_list_of_fractions(retentions, world):
    with pytest.raises(InvalidArgument, match="retention"):
        advise(world[1], retentions=retentions)


def test_where_none_repeats_it_has_little_to_win(world):
    advice = advise(world[3])
    assert advice.copies < 0.03
    assert advice.verdict().startswith("Choosing has little to win")
    assert "outside the pool" not in advise(world[3], task=world[3]).verdict()


def test_near_duplicates_that_do_not_look_alike_are_doubted(world):
    alike = advise(world[1])
    assert "look alike in their pixels" not in alike.verdict()
    for share, doubted in ((0.75, False), (0.5, False), (0.33, True), (None, False)):
        verdict = replace(alike, alike=share).verdict()
        assert verdict.startswith("Only 33% of the near-duplicates look alike") == doubted
        assert (doubt(share) is not None) == doubted


def test_a_task_of_other_frames_is_told(world, tmp_path):
    folder, _, _, clean = world
    noise = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    other = Dataset.from_dict({"image": [Picture.fromarray(pixels) for pixels in noise]}, Features({"image": Image()}))
    task = embed(other, folder / "encoder", tmp_path / "task", precision="float32", progress=False)
    reach = advise(clean, task=task).reach
    pooling = advise(clean).threshold.space.pooling
    cosine = task.pooled(pooling).astype(float) @ clean.pooled(pooling).astype(float).T
    assert reach.n == 30
    assert reach.task == pytest.approx(np.median(cosine.max(axis=1)), abs=1e-5)
    own = clean.pooled(pooling).astype(float) @ clean.pooled(pooling).astype(float).T
    np.fill_diagonal(own, -1)
    assert reach.pool == pytest.approx(np.median(own.max(axis=1)), abs=2e-3)
    another = tiny_encoder(tmp_path / "other", seed=1)
    stranger = embed(other, another, tmp_path / "x", precision="float32", progress=False)
    with pytest.raises(Mismatch, match="another encoder, pooling or view"):
        advise(clean, task=stranger)


def test_the_command_prints_figures_and_a_verdict(world, capsys):
    store = world[1]
    assert main(["advise", str(store.folder), "--retention", "0.2"]) == 0
    printed = capsys.readouterr().out
    assert "near-duplicates       67.14%" in printed
    figures = str(advise(store))
    assert figures in printed
    assert "99999" not in figures
    assert "Choosing pays: 67%" in printed
    assert main(["advise", "nowhere"]) == 2

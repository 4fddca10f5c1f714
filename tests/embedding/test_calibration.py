"""The threshold of near-duplicates, counted out again over every frame, and on frames whose copies are known."""

from __future__ import annotations

import io
from importlib.resources import files

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from tiny import textured, tiny_encoder

from meddel_hf import Dedup
from meddel_hf.data.near_copies import blown_up
from meddel_hf.data.pool import Pool, load_pool
from meddel_hf.embedding.calibration import (
    CHANCE,
    HELD,
    Calibration,
    average_precision,
    calibrate,
    calibration_of,
    threshold_of,
)
from meddel_hf.embedding.copies import KINDS, Copies
from meddel_hf.embedding.embed import embed
from meddel_hf.embedding.space import Space
from meddel_hf.embedding.store import EmbeddingStore, Shard, StoreWriter
from meddel_hf.embedding.thumbnails import SIDE
from meddel_hf.errors import InvalidArgument

N, DIM, COPIED = 300, 24, 60


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def pictures(n: int, seed: int = 0) -> np.ndarray:
    """(n, 32, 32) uint8, no two of which are alike."""
    return np.stack([np.asarray(textured(seed + k, (SIDE, SIDE)).convert("L")) for k in range(n)])


def made(folder, spread: dict[str, float], twins: int = 0, alike: bool = True) -> tuple[EmbeddingStore, Copies]:
    """A store of N rows, the last `twins` of which are near the first ones (and look like them, or not), and copies.

    spread: how far a copy lies from its frame, by pooling.
    """
    rng = np.random.default_rng(7)
    small = pictures(N)
    vectors = {}
    for pooling in spread:
        vectors[pooling] = unit(rng.standard_normal((N, DIM)) + 1.0)
        vectors[pooling][N - twins :] = unit(vectors[pooling][:twins] + 0.01 * rng.standard_normal((twins, DIM)))
    if alike:
        small[N - twins :] = small[:twins]
    writer = StoreWriter.begin(
        folder, {"encoder": "e", "pool": None, "pooling": "both", "thumbnails": SIDE}, {"pool": "p"}
    )
    ids = [f"f/{row}" for row in range(N)]
    tensors = {"mean": vectors["mean"], "thumbnails": small}
    writer.write(Shard(0, 0, ids, [None] * N, vectors["cls"], "", tensors))
    row = np.arange(0, N - twins, (N - twins) // COPIED)[:COPIED]
    noise = {p: rng.standard_normal((COPIED, len(KINDS), DIM)) * spread[p] for p in spread}
    copied = {p: unit(vectors[p][row][:, None] + noise[p]) for p in spread}
    return writer.finish(dim=DIM, row_ids=False), Copies(
        row, copied, np.repeat(small[row][:, None], len(KINDS), axis=1)
    )


def counted(store: EmbeddingStore, copies: Copies, space: Space) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of copies with their frames; every frame's greatest cosine to another."""
    x, c = store.pooled(space.pooling).astype(np.float64), copies.vectors[space.pooling].astype(np.float64)
    mean = unit64(x).mean(axis=0) if space.subtract_mean else 0
    x, c = unit64(x - mean), unit64(c - mean)
    own = np.einsum("skd,sd->sk", c, x[copies.row]).ravel()
    all_pairs = x @ x.T
    np.fill_diagonal(all_pairs, -2)
    return own, all_pairs.max(axis=1)


def unit64(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_copies_and_chance_are_as_counted(tmp_path):
    store, copies = made(tmp_path / "e", {"cls": 0.05, "mean": 0.3})
    calibration = calibrate(store, copies)
    assert len(calibration.thresholds) == 4
    assert (calibration.copies, calibration.rows) == (COPIED * len(KINDS), N)
    for threshold in calibration.thresholds:
        own, nearest = counted(store, copies, threshold.space)
        own, nearest = own + 1e-6, nearest - 1e-6  # eta stands at one of them
        assert threshold.held == pytest.approx((own > threshold.eta).mean(), abs=1.5 / len(own))
        assert threshold.by_chance == pytest.approx(
            (nearest > threshold.eta).mean(), abs=1.5 / N
        )  # no frame has a copy
        assert threshold.by_chance <= CHANCE
        # 95 % of the copies lie above it, or else it is the least threshold that chance allows.
        lower = threshold.eta - 1e-3
        assert (own > threshold.eta).mean() >= HELD or (nearest > lower).mean() > CHANCE


def test_the_space_that_parts_copies_best_comes_first(tmp_path):
    for good, bad in (("cls", "mean"), ("mean", "cls")):
        store, copies = made(tmp_path / good, {good: 0.02, bad: 0.5} if good == "cls" else {"cls": 0.5, "mean": 0.02})
        calibration = calibrate(store, copies)
        assert calibration.best.space.pooling == good
        assert calibration.best.held >= HELD
        assert min(t.held for t in calibration.thresholds if t.space.pooling == bad) < 0.5


def test_frames_that_have_copies_do_not_count_as_chance(tmp_path):
    """100 of 300 frames have a twin: the threshold holds them all the same, for they look alike."""
    store, copies = made(tmp_path / "alike", {"cls": 0.05, "mean": 0.05}, twins=100)
    assert calibrate(store, copies).best.held >= HELD
    store, copies = made(tmp_path / "not", {"cls": 0.05, "mean": 0.05}, twins=100, alike=False)
    assert calibrate(store, copies).best.held < 0.7, "they are near by chance, and the threshold rises above them"


def test_the_answer_is_recorded_and_read_again(tmp_path):
    store, copies = made(tmp_path / "e", {"cls": 0.05, "mean": 0.3})
    calibration = calibrate(store, copies)
    again = EmbeddingStore.load(store.with_copies(copies, calibration.plain()).folder)
    assert calibration_of(again) == calibration
    assert calibrate(again, again.copies) == calibration
    assert Calibration.recorded(calibration.plain()) == calibration
    for pooling in ("cls", "mean"):
        for subtracted in (False, True):
            assert threshold_of(again, pooling, subtracted).space == Space(pooling, subtracted)
    assert threshold_of(again) == calibration.best


def test_without_copies_there_is_one_sentence(tmp_path):
    store, _ = made(tmp_path / "e", {"cls": 0.05, "mean": 0.3})
    with pytest.raises(InvalidArgument, match=r"no mild copies .* its `meddel embed` again .*, or give an eta"):
        calibration_of(store)


def test_a_space_that_was_not_calibrated_is_told_from_one_that_is_not_there(tmp_path):
    """Of frames that are all the same, nothing is left where their mean is subtracted."""
    file = io.BytesIO()
    textured(0).save(file, "PNG")
    features = Features({"id": Value("string"), "image": Image(decode=False)})
    data = Dataset.from_dict({"id": ["a", "b"], "image": [file.getvalue()] * 2}, features=features)
    store = embed(data, tiny_encoder(tmp_path / "encoder"), tmp_path / "e", pooling="mean", progress=False)
    assert threshold_of(store).space == Space("mean", False)
    for pooling in ("auto", "mean"):
        with pytest.raises(
            InvalidArgument, match=r"was not calibrated with the mean subtracted.*leave subtract_mean out"
        ):
            threshold_of(store, pooling, True)
    with pytest.raises(InvalidArgument, match="holds no embeddings of pooling cls: embed with --pooling both"):
        threshold_of(store, "cls")


def test_average_precision_is_the_mean_precision_at_each_positive():
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(1, 1, 40).round(1), rng.normal(0, 1, 300).round(1)  # with ties
    at = [(positive >= p).sum() / ((positive >= p).sum() + (negative >= p).sum()) for p in positive]
    assert average_precision(positive, negative) == pytest.approx(np.mean(at))
    assert average_precision(np.array([2.0, 3.0]), negative[negative < 2]) == 1
    assert average_precision(positive[:0], negative) == 0


def test_frames_of_known_truth(tmp_path):
    """Of 80 pictures 20 stand twice, re-encoded or resized: near-duplicates go, and no two others are confused."""
    encoder = tiny_encoder(tmp_path / "encoder")

    def png(picture, **how) -> bytes:
        file = io.BytesIO()
        picture.save(file, how.pop("format", "PNG"), **how)
        return file.getvalue()

    images = [png(textured(k)) for k in range(80)]
    for k in range(20):
        again = textured(k) if k % 2 else textured(k).resize((60, 48))
        images.append(png(again, format="JPEG", quality=80))
    features = Features({"id": Value("string"), "image": Image(decode=False)})
    data = Dataset.from_dict({"id": [str(row) for row in range(100)], "image": images}, features=features)
    store = embed(data, encoder, tmp_path / "out", precision="float32", progress=False)
    selection = Dedup().select(store)
    gone = [(row["id"], row["duplicate_of"]) for row in selection.table.to_pylist() if not row["kept"]]
    assert {frozenset(pair) for pair in gone} == {frozenset((str(k), str(80 + k))) for k in range(20)}
    assert "100% of those found look alike" in selection.notes[0]


def test_near_copies_of_a_redundant_pool_are_found(tmp_path):
    """Three quarters are near-copies of 30 frames, some moved further than the mild ones that calibrate: these are not
    to pass for frames without a copy, by whose nearest frames the threshold would rise beyond most of the others."""
    assets = files("meddel_hf") / "assets"
    pool = Pool.of(load_pool(str(assets / "pool")))
    made = blown_up(pool, 30, 600, 200, seed=1)
    store = embed(made, str(assets / "encoder"), tmp_path / "store", pooling="auto", progress=False)
    selection = Dedup().select(store)
    scenes = {id.split("/")[0] for id in selection.kept}
    assert len(scenes) > 0.95 * 230
    assert len(selection.kept) < 350  # of 800: 568 while they passed

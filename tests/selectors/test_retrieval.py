"""Retrieval: turns taken one by one over all cosines in float64; and what a reference must be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import oracle
import pytest
from datasets import Dataset
from stores import IDS, UNREADABLE, stored

import meddel_hf.selectors.retrieval as retrieval
from meddel_hf import Selection
from meddel_hf.embedding.store import EmbeddingStore, Shard, StoreWriter
from meddel_hf.errors import InvalidArgument, InvalidEmbeddings, Mismatch
from meddel_hf.selectors import Retrieval, registry
from meddel_hf.selectors.protocol import Readable


def turn_by_turn(cosine: np.ndarray, turns, count: int) -> list[int]:
    """cosine: (m, n), of reference rows and rows of the pool."""
    taken: list[int] = []
    while True:
        for reference in turns:
            if len(taken) == count:
                return taken
            there = [row for row in range(cosine.shape[1]) if row not in taken]
            taken.append(min(there, key=lambda row: -cosine[reference, row]))  # min: the first of equals


def task(name: str) -> np.ndarray:
    """A few frames like those of the pool, one of them twice, in an order of their own."""
    x = oracle.INPUTS[name]()
    return x[np.random.default_rng(3).integers(0, len(x), 5)] * np.float32(1.7)


@pytest.mark.parametrize(("spare", "ranked"), [(4, 2**25), (1, 2**25), (1, 1)])
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_reference_rows_take_turns(name, spare, ranked, monkeypatch):
    monkeypatch.setattr(retrieval, "_SPARE", spare)  # lists that end early
    monkeypatch.setattr(retrieval, "_MOST_RANKED", ranked)
    x, reference = oracle.INPUTS[name](), task(name)
    cosine = oracle.cosines(reference, x)
    for retention in (0.05, 0.3, 0.8, 1.0):
        if count := round(retention * len(x)):
            selection = Retrieval(retention, 6, reference).select(x)
            expected = turn_by_turn(cosine, np.random.default_rng(6).permutation(5), count)
            assert selection.kept == [str(row) for row in sorted(expected)]
            assert selection.table["cluster"].to_pylist() == cosine.argmax(axis=0).tolist()
            apart = oracle.distances(cosine.max(axis=0)).astype(np.float32)
            np.testing.assert_array_equal(selection.table["distance"].to_numpy(), apart)


def test_no_reference_frame_has_all_of_them():
    rng = np.random.default_rng(0)
    x = np.repeat(np.eye(4), (100, 50, 20, 10), axis=0) + 0.02 * rng.standard_normal((180, 4))
    place = np.repeat(np.arange(4), (100, 50, 20, 10))
    kept = Retrieval(12 / 180, reference=np.eye(4)[:3]).select(x.astype(np.float32)).table["kept"].to_numpy()
    assert np.bincount(place[kept], minlength=4).tolist() == [4, 4, 4, 0]


def test_fewer_rows_than_reference_frames_go_to_any_of_them():
    x = np.eye(6, dtype=np.float32)
    kept = {tuple(Retrieval(1 / 6, seed, x).select(x).kept) for seed in range(60)}
    assert kept == {(str(row),) for row in range(6)}


def test_subtract_mean_takes_the_pool_s_from_both():
    x = (oracle.noise(200, 24) * 0.2 + 1).astype(np.float32)
    reference = (oracle.noise(7, 24, seed=1) * 0.2 + 1).astype(np.float32) * 3
    unit, wanted = (rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True) for rows in (x, reference))
    cosine = oracle.cosines(wanted - unit.mean(axis=0), unit - unit.mean(axis=0))
    expected = turn_by_turn(cosine, np.random.default_rng(0).permutation(7), 20)
    centred = Retrieval(0.1, reference=reference, subtract_mean=True).select(x)
    assert centred.kept == [str(row) for row in sorted(expected)]
    assert centred.kept != Retrieval(0.1, reference=reference).select(x).kept


def pool() -> Dataset:
    return Dataset.from_dict({"id": IDS})


def store_of(
    folder: Path, vectors: np.ndarray, encoder: str | None = "e" * 32, pooling: str = "mean"
) -> EmbeddingStore:
    parents = {"pool": "p", **({"encoder": encoder} if encoder else {})}
    arguments = {"encoder": "some/encoder", "pool": None, "revision": None, "pooling": pooling}
    writer = StoreWriter.begin(folder, arguments, parents)
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    writer.write(Shard(0, 0, [f"t{row}" for row in range(len(unit))], [None] * len(unit), unit))
    return writer.finish(dim=unit.shape[1], row_ids=False)


def test_a_reference_is_a_store_its_path_or_an_array(tmp_path):
    x, reference = oracle.clumps(60, 6, seed=2), oracle.clumps(8, 6, seed=5)
    store = store_of(tmp_path / "task", reference)
    answers = [Retrieval(0.2, reference=way).select(x)
               for way in (store, tmp_path / "task", str(tmp_path / "task"), store.embeddings)]  # fmt: skip
    assert len({tuple(answer.kept) for answer in answers}) == 1
    for answer in answers[:3]:
        assert answer.settings["reference_fingerprint"] == store.fingerprint
    assert answers[1].settings["reference"] == str(tmp_path / "task")
    made = registry.make("retrieval", retention=0.2, reference=str(tmp_path / "task")).select(x)
    assert made.fingerprint == answers[2].fingerprint
    made.save(tmp_path / "s")
    loaded = Selection.load(tmp_path / "s")
    assert (loaded.kept, loaded.settings) == (made.kept, made.settings)


def test_unreadable_rows_are_never_kept(tmp_path):
    store = stored(tmp_path / "e", pool())
    for retention in (0.1, 0.9):
        selection = Retrieval(retention, reference=store.embeddings[:4]).select(store)
        assert (selection.summary.kept, selection.summary.unreadable) == (round(retention * 30), 3)
        assert not {IDS[row] for row in UNREADABLE} & set(selection.kept)
    with pytest.raises(InvalidArgument, match="only 27 are readable"):
        Retrieval(0.95, reference=store.embeddings[:4]).select(store)


def test_another_space_is_a_mismatch(tmp_path):
    x, reference = oracle.clumps(20, 6), oracle.clumps(4, 6)
    ours = store_of(tmp_path / "pool", x)
    for name, options, message in (
        ("encoder", {"encoder": "f" * 32}, r"reference's encoder is some/encoder \(f+\), the pool's some/.* \(e+\)"),
        ("pooling", {"pooling": "cls"}, "the reference's pooling is cls, the pool's mean: their rows cannot be"),
    ):
        theirs = store_of(tmp_path / name, reference, **options)
        with pytest.raises(Mismatch, match=message):
            Retrieval(0.2, reference=theirs).select(ours)
        Retrieval(0.2, reference=theirs).select(x)  # an array does not say what it is of
    with pytest.raises(Mismatch, match="the reference's encoder is some/encoder"):
        Retrieval(0.2, reference=tmp_path / "encoder").select(Readable.of(ours))
    with pytest.raises(Mismatch, match="the reference's number of dimensions is 5, the pool's 6"):
        Retrieval(0.2, reference=oracle.noise(3, 5)).select(ours)
    unknown = store_of(tmp_path / "old", reference, encoder=None)
    assert Retrieval(0.2, reference=unknown).select(ours).summary.kept == 4


@pytest.mark.parametrize("reference", [None, "", 3, [[1.0, 2.0]]])
def test_what_is_no_reference(reference):
    with pytest.raises(InvalidArgument, match="reference must be an embedding store of the task's frames"):
        Retrieval(0.5, reference=reference)
    with pytest.raises(InvalidArgument, match="reference must be an embedding store"):
        registry.make("retrieval", retention=0.5)


def test_a_reference_without_rows_or_direction():
    x = oracle.noise(10, 3)
    with pytest.raises(InvalidEmbeddings, match="non-empty"):
        Retrieval(0.5, reference=np.ones(3)).select(x)
    with pytest.raises(InvalidEmbeddings, match="none of the 0 rows"):
        Retrieval(0.5, reference=np.ones((0, 3))).select(x)
    with pytest.raises(InvalidEmbeddings, match="1 of 2 embeddings are zero vectors"):
        Retrieval(0.5, reference=np.array([[1.0, 0, 0], [0, 0, 0]])).select(x)


def test_other_options():
    for options, message in (({"retention": 0}, "retention must be"), ({"seed": -1}, "seed must be a whole number")):
        with pytest.raises(InvalidArgument, match=message):
            Retrieval(**{"retention": 0.5, "reference": oracle.noise(3, 4), **options})

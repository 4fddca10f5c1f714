"""A reference set, for every selector: who is within its reach, against all cosines in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import oracle
import pytest
from stores import IDS, UNREADABLE, options, pool, stored

from meddel_hf import EmbeddingStore, Selection
from meddel_hf.embedding.remainder import Remainder
from meddel_hf.embedding.store import Shard, StoreWriter
from meddel_hf.errors import InvalidArgument, InvalidEmbeddings, Mismatch
from meddel_hf.selection.card import how_chosen
from meddel_hf.selectors import Dedup, MedDEL, Random, registry
from meddel_hf.selectors.measured import measured
from meddel_hf.selectors.reference import within_reach

NAMES = [name for name in registry.names() if name != "retrieval"]
ETA = 0.9


def near(vectors: np.ndarray, rows: list[int]) -> np.ndarray:
    """Thirty rows that are like none of the pool, but for three that lie beside `rows` of it."""
    rng = np.random.default_rng(5)
    others = -np.abs(rng.standard_normal((30, vectors.shape[1]))) * np.sign(vectors.mean(axis=0))
    for place, row in enumerate(rows):
        others[place + 1] = vectors[row] + 0.01 * rng.standard_normal(vectors.shape[1])
    return others.astype(np.float32)


@pytest.fixture
def both(tmp_path):
    """A pool, its reference, and who is within reach by all cosines in float64: row -> (reference id, cosine)."""
    x = oracle.clumps(30, 6, seed=2, spread=0.4)
    store = stored(tmp_path / "pool", pool(), x)
    others = pool().map(lambda row: {"id": row["id"].replace("frame", "test")})
    reference = stored(tmp_path / "reference", others, near(x, [3, 11, 20]))
    p, r = (each.embeddings.astype(np.float64) for each in (store, reference))
    cosine = p @ r.T / np.linalg.norm(p, axis=1)[:, None] / np.linalg.norm(r, axis=1)
    expected = {
        int(store.rows[i]): (reference.pool_ids[reference.rows[cosine[i].argmax()]], cosine[i].max())
        for i in np.flatnonzero(cosine.max(axis=1) > ETA)
    }
    assert {3, 11, 20} <= set(expected) != set(range(30))
    return store, reference, expected


@pytest.mark.parametrize("name", NAMES)
def test_every_selector_leaves_out_what_is_within_reach(name, both):
    store, reference, expected = both
    selector = registry.make(name, retention=0.2, **options(name))
    selection = selector.select(store, pool=pool(), reference=reference, reference_eta=ETA)
    for row, entry in enumerate(selection.table.to_pylist()):
        assert (entry["reason"] == "in-reference") == (row in expected)
        assert (entry["reason"] == "unreadable") == (row in UNREADABLE)
        if row in expected:
            assert entry["in_reference"] == expected[row][0]
            assert entry["reference_similarity"] == pytest.approx(expected[row][1], abs=1e-6)
            assert not entry["kept"]
        else:
            assert (entry["in_reference"], entry["reference_similarity"]) == (None, None)
    assert selection.summary.kept == 6  # a retention is of the whole pool
    assert selection.summary.in_reference == len(expected)
    # The others are chosen as if those within reach had no embedding.
    left = np.flatnonzero(~np.isin(store.rows, list(expected)))
    assert selection.kept == registry.make(name, retention=0.2, **options(name)).select(
        Remainder.of(store, left), pool=pool()
    ).kept  # fmt: skip


def test_without_a_reference_nothing_changes(both):
    store, _, _ = both
    selection = Random(0.2).select(store)
    assert "in_reference" not in selection.table.column_names
    assert "in reference" not in str(selection.summary)
    with pytest.raises(InvalidArgument, match=r"reference_eta 0.5 goes with a reference"):
        Random(0.2).select(store, reference_eta=0.5)


def test_it_is_saved_explained_and_on_the_card(both, tmp_path):
    store, reference, expected = both
    selection = MedDEL(0.2, epsilon=None).select(store, reference=reference, reference_eta=ETA)
    selection.save(tmp_path / "s")
    loaded = Selection.load(tmp_path / "s")
    assert loaded.table.equals(selection.table)
    row = min(expected)
    assert loaded.why(IDS[row]) == (
        f"{IDS[row]} is dropped: within reach of {expected[row][0]} of the reference (cosine {expected[row][1]:.4f})"
    )
    assert loaded.manifest.parents["reference"] == reference.fingerprint
    assert f"{len(expected)} within reach of the reference" in how_chosen(loaded)
    assert loaded.filter(pool())["id"][:] == selection.kept
    if loaded.graph is not None:
        again = loaded.at(eta=0.999).table.to_pylist()
        assert [r for r, entry in enumerate(again) if entry["reason"] == "in-reference"] == sorted(expected)


def test_what_is_left_out_for_a_reference_is_not_to_be_covered(both):
    store, reference, expected = both
    table = measured(Random(0.2).select(store, reference=reference, reference_eta=ETA), store).table.to_pylist()
    for row, entry in enumerate(table):
        assert (entry["nearest_kept"] is not None) == (not entry["kept"] and row not in (*expected, *UNREADABLE))


def test_plain_arrays(both):
    store, reference, _ = both
    p, r = store.embeddings, reference.embeddings
    selection = Random(0.2).select(p, reference=r, reference_eta=ETA)
    expected = (p.astype(np.float64) @ r.astype(np.float64).T).max(axis=1) > ETA
    assert [reason == "in-reference" for reason in selection.table["reason"].to_pylist()] == expected.tolist()
    with pytest.raises(InvalidArgument, match=r"give an eta.*reference_eta or --reference-eta"):
        Random(0.2).select(p, reference=r)


def test_more_than_is_left_is_refused(both):
    store, reference, expected = both
    left = 27 - len(expected)
    with pytest.raises(InvalidArgument, match=f"only {left} are readable and out of the reference's reach"):
        Random(0.9).select(store, reference=reference, reference_eta=ETA)
    with pytest.raises(InvalidArgument, match="all 27 readable rows of the pool are within reach"):
        Random(0.1).select(store, reference=store, reference_eta=0.5)


@pytest.mark.parametrize(("arguments", "what"), [({"pooling": "mean"}, "pooling"), ({"view": "auto"}, "view")])
def test_a_reference_of_another_kind_is_refused(both, arguments, what):
    store, reference, _ = both
    manifest = reference.manifest
    other = EmbeddingStore(reference.folder, replace(manifest, arguments={**manifest.arguments, **arguments}))
    for selector in (Random(0.2), Dedup(0.2, eta=0.9)):
        with pytest.raises(Mismatch, match=f"the reference's {what} is "):
            selector.select(store, reference=other, reference_eta=ETA)


def test_a_reference_without_a_readable_frame_is_told(both, tmp_path):
    writer = StoreWriter.begin(tmp_path / "none", {"encoder": "a", "pool": None}, {"pool": "p"})
    writer.write(Shard(0, 0, ["t"], ["not an image"], np.empty((0, 6), np.float32)))
    nothing = writer.finish(dim=6, row_ids=False)
    with pytest.raises(InvalidEmbeddings, match="none of the 1 rows of the reference has an embedding"):
        Random(0.2).select(both[0], reference=nothing, reference_eta=ETA)


def test_rows_within_reach_of_arrays():
    rng = np.random.default_rng(0)
    p, r = (rng.standard_normal((n, 8)).astype(np.float32) + 1 for n in (40, 20))
    reached = within_reach(p, r, 0.8)
    p, r = (x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) for x in (p, r))
    assert reached.rows.tolist() == np.flatnonzero((p @ r.T).max(axis=1) > 0.8).tolist()


def test_a_remainder_answers_for_every_reader_of_a_store(both):
    """A property that comes to the store must be thought of here: of the pool and the folder, or of the rows left."""
    of_the_whole = {
        "fingerprint", "dim", "poolings", "view", "row_ids", "pool_fingerprint", "pool_spec", "records", "copies",
        "pool_ids", "unreadable", "load", "verify", "with_copies", "pool_id_column", "digests", "dtype",
        "has_thumbnails", "tensors", "remarks",
    }  # fmt: skip
    of_what_is_left = {"rows", "embeddings", "thumbnails", "thumbnails_of", "sizes", "reader"}
    public = {name for name in vars(EmbeddingStore) if not name.startswith("_")} - {"trust"}
    assert public == of_the_whole | of_what_is_left | {"blocks", "pooled"}, "which ask what is left"
    assert of_what_is_left | {"_mean"} <= set(vars(Remainder))
    store, _, _ = both
    remainder = Remainder.of(store, np.array([2, 5]))
    assert len(remainder) == 2
    assert (remainder.rows == store.rows[[2, 5]]).all()
    assert (remainder.embeddings == store.embeddings[[2, 5]]).all()
    assert (remainder.pooled("cls") == store.embeddings[[2, 5]]).all()
    assert (next(remainder.blocks(9)) == store.embeddings[[2, 5]]).all()
    assert remainder.thumbnails is None
    assert remainder.sizes is None
    with pytest.raises(InvalidArgument, match="not mean"):
        remainder.pooled("mean")

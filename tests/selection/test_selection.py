"""What a selection says, how it is joined to a data set, and that a saved one answers the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracle
import pyarrow as pa
import pytest
import torch
from datasets import Dataset, IterableDataset, Value

from meddel_hf import Dedup, MedDEL, Selection
from meddel_hf.embedding.store import EmbeddingStore, Shard, StoreWriter
from meddel_hf.errors import IncompleteStore, InvalidArgument, InvalidDataset, Mismatch
from meddel_hf.neighbors.cosines import Vectors, rounded
from meddel_hf.neighbors.pairs import pairs_within
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.selection.naming import row_named
from meddel_hf.selection.subset import Subset

UNREADABLE = {0: "truncated", 7: "not an image", 29: "empty file"}
IDS = [f"frame/{row:02d}" for row in range(30)]


def pool(ids=IDS) -> Dataset:
    return Dataset.from_dict({"id": ids, "number": [int(i.split("/")[1]) for i in ids]})


def store(folder: Path, dataset: Dataset, *, row_ids: bool = False) -> EmbeddingStore:
    """Embeddings of the 30-row pool, in three shards, where three rows could not be read."""
    vectors = oracle.clumps(30, 6, seed=2, spread=0.4)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    arguments = {"encoder": "a-vit", "pool": None, "revision": None, "shard_rows": 12}
    writer = StoreWriter.begin(folder, arguments, {"pool": dataset._fingerprint, "encoder": "e" * 32})
    for index, part in enumerate(np.split(np.arange(30), [12, 24])):
        ids = [str(row) if row_ids else IDS[row] for row in part]
        readable = [row for row in part if row not in UNREADABLE]
        writer.write(Shard(index, int(part[0]), ids, [UNREADABLE.get(int(row)) for row in part], vectors[readable]))
    return writer.finish(dim=6, row_ids=row_ids)


@pytest.fixture
def embeddings(tmp_path) -> EmbeddingStore:
    return store(tmp_path / "embeddings", pool())


@pytest.fixture
def selection(embeddings) -> Selection:
    return MedDEL(retention=0.3, epsilon=1.2, scope="pool").select(embeddings)


def test_the_table_has_a_row_for_every_pool_row(selection):
    table = selection.table
    assert table.column_names == ["id", "kept", "reason", "duplicate_of", "similarity", "cluster", "distance"]
    assert table["id"].to_pylist() == IDS
    assert [str(field.type) for field in table.schema] == [
        "string", "bool", "string", "string", "float", "int64", "float",
    ]  # fmt: skip
    rows = table.to_pylist()
    kept = {row["id"] for row in rows if row["kept"]}
    assert len(kept) == round(0.3 * 30)
    assert selection.kept == [i for i in IDS if i in kept]
    for number, row in enumerate(rows):
        if number in UNREADABLE:
            assert row == {**dict.fromkeys(row), "id": IDS[number], "kept": False, "reason": "unreadable"}
            continue
        assert row["cluster"] is not None
        assert 0 <= row["distance"] <= 2
        assert row["kept"] == (row["reason"] is None)
        assert (row["reason"] == "outlier") == (row["distance"] > np.float32(1.2))
        assert (row["duplicate_of"] in kept) == (row["similarity"] is not None) == (row["reason"] == "near-duplicate")


def test_the_summary_counts_the_table(selection):
    reasons = selection.table["reason"].to_pylist()
    summary = selection.summary
    assert (summary.pool, summary.kept, summary.unreadable) == (30, 9, 3)
    assert summary.outliers == reasons.count("outlier")
    assert summary.near_duplicates == reasons.count("near-duplicate") == 30 - 3 - 9 - summary.outliers
    assert (summary.not_selected, summary.coverage, summary.eta) == (0, 1.0, selection.eta)
    assert summary.retention == selection.retention == 9 / 30
    assert len(selection) == 30
    assert "kept=9 of 30, retention=0.3000" in repr(selection)
    text = str(summary)
    for line in (("pool", "30"), ("unreadable", "-3"), ("kept", "9"), ("retention", "30.00%"), ("coverage", "100.00%")):
        assert any(row.split() == list(line) for row in text.splitlines()), text
    assert "not selected" not in text


def test_coverage_is_the_share_that_a_kept_row_is_above_eta_for():
    x = oracle.clumps(200, 3, spread=0.8)
    chosen = MedDEL(eta=0.8, epsilon=None, scope="pool", rule="semdedup").select(x)
    kept = chosen.table["kept"].to_numpy()
    cosine = oracle.cosines(x)
    covered = (cosine[np.ix_(~kept, kept)] > oracle.grid(0.8)).any(axis=1)
    assert not covered.all()  # by SemDeDup's rule some dropped rows lose all their neighbours
    assert chosen.summary.coverage == pytest.approx(covered.mean())
    assert MedDEL(eta=1.0, epsilon=None).select(x).summary.coverage is None


def test_why_names_the_reason(selection):
    rows = {row["id"]: row for row in selection.table.to_pylist()}
    for i, row in rows.items():
        told = selection.why(i)
        assert told.startswith(f"{i} is ")
        if row["kept"]:
            stands_for = sum(other["duplicate_of"] == i for other in rows.values())
            others = f"; it stands for {stands_for} near-duplicate{'s' * (stands_for > 1)}" if stands_for else ""
            assert told == f"{i} is kept{others}"
        elif row["reason"] == "near-duplicate":
            assert f"near-duplicate of {row['duplicate_of']} (cosine {row['similarity']:.4f})" in told
        else:
            assert row["reason"] in told
    with pytest.raises(InvalidArgument, match="id 'nobody' is not in the pool of this selection \\(30 rows\\)"):
        selection.why("nobody")


def test_an_outlier_is_told_with_its_distance():
    x = np.concatenate([np.full((20, 3), 1.0), [[1, -1, 0]]]).astype(np.float32)
    chosen = MedDEL(eta=0.99, n_clusters=1).select(x)
    assert chosen.table["reason"].to_pylist() == [None] + ["near-duplicate"] * 19 + ["outlier"]
    assert "outlier, 1." in chosen.why("20")
    assert "cluster 0" in chosen.why("20")


def test_filtering_a_dataset_joins_on_ids(selection):
    kept = [int(i.split("/")[1]) for i in selection.kept]
    subset = selection.filter(pool())
    assert isinstance(subset, Subset)
    assert isinstance(subset, Dataset)
    assert subset["number"][:] == kept
    assert subset.selection is selection
    shuffled = pool().shuffle(seed=1)
    assert selection.filter(shuffled)["number"][:] == [n for n in shuffled["number"] if n in kept]
    renamed = pool().rename_column("id", "name")
    assert selection.filter(renamed, id_column="name")["number"][:] == kept
    assert selection.filter(pool().with_format("numpy"))["number"][:].tolist() == kept


def test_ids_are_joined_by_the_column_that_was_embedded(selection):
    """Another column of the same values, in another order, tells which frame is which only to who embedded it."""
    kept = [int(i.split("/")[1]) for i in selection.kept]
    by_frame = replace(selection, origin=replace(selection.origin, id_column="frame"))
    named = pool().rename_column("id", "frame")
    assert by_frame.filter(named)["number"][:] == kept
    assert by_frame.filter(named.add_column("id", IDS[::-1]))["number"][:] == kept
    assert by_frame.filter(pool())["number"][:] == kept  # as this program writes a pool
    streamed = named.add_column("id", IDS[::-1]).to_iterable_dataset()
    assert [row["number"] for row in by_frame.filter(streamed)] == kept


@pytest.mark.parametrize(
    "change",
    [
        lambda subset: subset.filter(lambda row: row["number"] > 8),
        lambda subset: subset.rename_column("id", "frame"),
        lambda subset: subset.remove_columns("number"),
        lambda subset: subset.select_columns(["id"]),
        lambda subset: subset.map(lambda row: {"more": row["number"]}),
        lambda subset: subset.select(range(2)),
        lambda subset: subset.with_format("numpy"),
        lambda subset: subset.flatten(),
        lambda subset: subset.shuffle(seed=1),
        lambda subset: subset.cast_column("number", Value("string")),
    ],
)
def test_a_subset_that_was_changed_is_a_plain_data_set(selection, change):
    subset = selection.filter(pool().with_format("numpy", columns=["number"], output_all_columns=True))
    changed = change(subset)
    assert type(changed) is Dataset
    assert type(subset) is Subset
    assert len(subset) == len(selection.kept)
    assert subset.format["columns"] == ["number"]


def test_filtering_a_stream_joins_on_ids(selection):
    expected = [int(i.split("/")[1]) for i in selection.kept]
    stream = pool().to_iterable_dataset()
    assert [row["number"] for row in selection.filter(stream)] == expected
    rows = [{"id": i, "number": n} for n, i in enumerate(IDS)][::-1]
    generated = IterableDataset.from_generator(lambda: iter(rows))
    assert [row["number"] for row in selection.filter(generated)] == expected[::-1]


def test_whole_numbers_are_ids_too(tmp_path):
    """Embedding takes them as strings; the data set still has them as numbers."""
    vectors, numbers_of = oracle.clumps(9, 4), [7, 3, 10, 11, 4, 5, 6, 99, 1]
    writer = StoreWriter.begin(tmp_path / "e", {"encoder": "a", "pool": None, "revision": None}, {"pool": "p"})
    writer.write(Shard(0, 0, [str(i) for i in numbers_of], [None] * 9, vectors))
    chosen = MedDEL(retention=0.5, epsilon=None).select(writer.finish(dim=4, row_ids=False))
    dataset = Dataset.from_dict({"id": numbers_of})
    expected = [int(i) for i in chosen.kept]
    assert chosen.filter(dataset)["id"][:] == expected
    assert [row["id"] for row in chosen.filter(dataset.to_iterable_dataset())] == expected


def test_a_stream_of_another_pool_is_refused_when_it_shows(selection):
    stream = pool([*IDS[:-1], "frame/99"]).to_iterable_dataset()
    with pytest.raises(Mismatch, match="the stream holds the id 'frame/99', which is not in the pool"):
        list(selection.filter(stream))


def test_another_pool_is_refused(selection):
    with pytest.raises(Mismatch, match=r"not the pool .*\(30 rows\): it has 1 id .* such as 'frame/99'; give the pool"):
        selection.filter(pool([*IDS[:-1], "frame/99"]))
    with pytest.raises(Mismatch, match=r"it has 29 rows, .* give the pool itself"):
        selection.filter(pool(IDS[:-1]))
    with pytest.raises(Mismatch, match="it has 31 rows"):
        selection.filter(pool([*IDS, IDS[0]]))
    with pytest.raises(Mismatch, match="such as 'frame/99'; of a pool that grew, embed what is new"):
        selection.filter(pool([*IDS, "frame/99"]))


def test_a_pool_that_repeats_an_id_and_lacks_another_is_refused(selection):
    with pytest.raises(Mismatch, match="it has 30 rows, 29 of them with ids of their own; give the pool itself"):
        selection.filter(pool([*IDS[:-1], IDS[0]]))


@pytest.mark.parametrize("streamed", [False, True])
def test_a_missing_id_column_is_named(selection, streamed):
    dataset = pool().rename_column("id", "name")
    with pytest.raises(InvalidDataset, match=r"no column 'id' \(it has name, number\).*id_column="):
        selection.filter(dataset.to_iterable_dataset() if streamed else dataset)


def test_what_is_no_data_set_is_refused(selection):
    for other in ([1, 2], {"train": [1]}, None):
        with pytest.raises(InvalidDataset, match=r"expected (a|data) .*, got"):
            selection.filter(other)


def test_row_numbers_belong_to_one_data_set(tmp_path):
    dataset = pool().remove_columns("id")
    chosen = MedDEL(retention=0.5, epsilon=None).select(store(tmp_path / "rows", dataset, row_ids=True))
    assert numbers(chosen.filter(dataset)) == [int(i) for i in chosen.kept]
    for other in (
        dataset.shuffle(seed=0),
        dataset.select(range(29)),
        dataset.map(lambda row: {"number": row["number"]}),
    ):
        with pytest.raises(Mismatch, match=f"fingerprint {other._fingerprint}: filter the very data set"):
            chosen.filter(other)
    with pytest.raises(Mismatch, match="row numbers, which a stream does not have"):
        chosen.filter(dataset.to_iterable_dataset())


def numbers(subset: Dataset) -> list[int]:
    return list(subset["number"])


def test_a_plain_array_goes_with_any_data_set_of_its_length():
    chosen = MedDEL(retention=0.5, epsilon=None).select(oracle.clumps(30, 6))
    assert numbers(chosen.filter(pool())) == [int(i) for i in chosen.kept]
    with pytest.raises(Mismatch, match="29 rows"):
        chosen.filter(pool(IDS[:29]))


@pytest.mark.parametrize("scope", ["cluster", "pool"])
@pytest.mark.parametrize("settings", [{"eta": 0.5}, {"retention": 0.4}], ids=str)
def test_another_threshold_is_looked_up_as_if_selected_afresh(scope, settings, embeddings):
    for pool_of in (embeddings, oracle.clumps(300, 8, spread=0.4)):
        first = MedDEL(eta=0.3, epsilon=1.1, scope=scope, n_clusters=4).select(pool_of)
        fresh = MedDEL(**settings, epsilon=1.1, scope=scope, n_clusters=4).select(pool_of)
        again = first.at(**settings)
        assert again.table.equals(fresh.table)
        assert (again.eta, again.settings, again.origin) == (fresh.eta, fresh.settings, fresh.origin)
        assert again.fingerprint == fresh.fingerprint


def test_a_threshold_is_of_near_duplicates_alone_and_says_that_nothing_is_capped():
    """Ten frames of each of two videos, all alike in pairs; two of each video may stay."""
    base = oracle.clumps(10, 16, seed=3)
    x = np.repeat(base, 2, axis=0)
    videos = Dataset.from_dict({"id": [str(row) for row in range(20)], "video": ["a"] * 10 + ["b"] * 10})
    capped = Dedup(eta=0.9999, max_per={"video": 2}).select(x, pool=videos)
    assert (capped.summary.kept, capped.settings["max_per"]) == (4, {"video": 2})
    free = capped.at(eta=0.9999)
    assert (free.summary.kept, free.settings["max_per"]) == (10, None)


def test_a_lookup_refuses_what_the_graph_does_not_hold():
    x = oracle.clumps(100, 8)
    chosen = MedDEL(eta=0.7, epsilon=None).select(x)
    pairs = pairs_within(Vectors.prepare(x), chosen.graph.groups, 0.7)  # what a large pool would have stored
    chosen = replace(chosen, graph=replace(chosen.graph, pairs=pairs))
    assert chosen.at(eta=0.7).table.equals(chosen.table)
    with pytest.raises(InvalidArgument, match=r"eta 0\.6000 is below 0\.7000"):
        chosen.at(eta=0.6)
    for arguments in ({}, {"eta": 0.8, "retention": 0.5}):
        with pytest.raises(InvalidArgument, match="exactly one of eta and retention"):
            chosen.at(**arguments)
    for engine_without_graph in ({"engine": "blocks"}, {"rule": "semdedup"}, {"max_iterations": 2}):
        bare = MedDEL(eta=0.7, epsilon=None, **engine_without_graph).select(x)
        assert bare.graph is None
        with pytest.raises(InvalidArgument, match=r"stored no graph.*select again from the embeddings"):
            bare.at(eta=0.8)


@pytest.mark.parametrize(
    "settings",
    [
        {"eta": 0.5, "scope": "pool"},
        {"retention": 0.3},
        {"eta": 0.5, "engine": "blocks", "epsilon": None, "scope": "pool"},
    ],
    ids=str,
)
def test_saved_and_loaded(settings, embeddings, tmp_path):
    chosen = MedDEL(**{"epsilon": 1.1, **settings}).select(embeddings)
    loaded = Selection.load(chosen.save(tmp_path / "selection"))
    assert loaded.table.equals(chosen.table)
    for name in ("settings", "origin", "eta", "notes", "summary", "fingerprint", "kept"):
        assert getattr(loaded, name) == getattr(chosen, name), name
    assert loaded.filter(pool())["id"][:] == chosen.kept
    assert (loaded.graph is None) == (chosen.graph is None)
    if chosen.graph is not None:
        assert loaded.at(eta=0.9).table.equals(chosen.at(eta=0.9).table)
        assert loaded.at(retention=0.3).table.equals(chosen.at(retention=0.3).table)
    manifest = chosen.manifest
    assert manifest.parents == {"pool": pool()._fingerprint, "embeddings": embeddings.fingerprint}
    assert chosen.origin.encoder == "a-vit"


def test_saving_replaces_a_selection_and_nothing_else(selection, tmp_path):
    selection.save(tmp_path / "selection")
    other = selection.at(retention=0.2)
    other.save(str(tmp_path / "selection"))
    assert Selection.load(str(tmp_path / "selection")).kept == other.kept
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(InvalidArgument, match="is not empty and holds no selection"):
        selection.save(tmp_path / "mine")
    with pytest.raises(Mismatch, match="step 'embeddings', expected 'selection'"):
        selection.save(tmp_path / "embeddings")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
    with pytest.raises(IncompleteStore):
        Selection.load(tmp_path / "nowhere")


def test_the_fingerprint_tells_selections_apart(embeddings, selection):
    same = MedDEL(retention=0.3, epsilon=1.2, scope="pool").select(embeddings)
    assert same.fingerprint == selection.fingerprint
    for changed in ({"retention": 0.4}, {"seed": 1}, {"keep": "farthest"}):
        other = MedDEL(**{"retention": 0.3, "epsilon": 1.2, "scope": "pool", **changed}).select(embeddings)
        assert other.fingerprint != selection.fingerprint


def test_why_takes_an_id_a_row_a_path_and_the_end_of_an_id(selection):
    expected = selection.why("frame/07")
    assert "unreadable" in expected or "not an image" in expected
    for which in (7, np.int64(7), "7", "/data/pool/frame/07.png", Path("pool/frame/07.jpeg"), "07", "07.png", "e/07"):
        assert selection.why(which) == expected
    assert selection.row("07")["id"] == "frame/07"


@pytest.mark.parametrize(
    ("which", "sentence"),
    [
        ("frame/3O", r"id 'frame/3O' is not in the pool of this selection \(30 rows\); did you mean 'frame/\d\d'\?"),
        ("nothing like it", r"is not in the pool of this selection \(30 rows\)$"),
        ("frame/0", r"is not in the pool .*; 10 ids hold it, such as frame/00, frame/01, frame/02$"),
        ("frame/99", r"is not in the pool .* did you mean 'frame/"),
        (30, "has rows 0 to 29, got 30"),
        (-1, "has rows 0 to 29, got -1"),
        ("31", "has rows 0 to 29, got 31"),
        (None, "named by its id, row number or path, got None"),
        (1.0, "named by its id, row number or path, got 1.0"),
        ("", "is not in the pool"),
        ("1.x", r"may be any of 3 frames, frame/01, frame/11, frame/21: name more of the id"),
    ],
)
def test_a_name_of_no_frame_or_of_several_is_told(selection, which, sentence):
    with pytest.raises(InvalidArgument, match=sentence):
        selection.why(which)


@pytest.mark.parametrize(
    ("ids", "which", "row"),
    [
        (["1", "0"], "0", 1),  # an id goes before a row number
        (["a/x", "b/x", "x"], "x", 2),
        (["a/x", "b/a/x"], "/data/b/a/x.png", 1),  # the longest id that the path ends with
        (["a/x", "b/ax"], "x", 0),  # bounds of names before the rest
        (["v1.5/x", "y"], "v1.5/x", 0),
        (["f.1", "f.2"], "f.2", 1),
        (["M", "a/Mu\u0308ller", "N"], "a/M\xfcller.png", 1),  # as macOS stores it, and as it is typed
    ],
)
def test_what_is_meant_where_several_could_be(ids, which, row):
    assert row_named(ids, which) == row


def test_ids_are_strings_whatever_they_look_like(selection):
    assert isinstance(selection.table["id"].type, type(pa.string()))
    assert all(isinstance(i, str) for i in selection.kept)


def test_the_graph_is_read_and_checked_when_it_is_asked_for(selection, tmp_path):
    folder = selection.save(tmp_path / "selection", pictures=lambda out: (out / "picture.png").touch())
    (folder / "picture.png").unlink()  # to look at: nothing is read from it
    data = bytearray((folder / "pairs.parquet").read_bytes())
    data[len(data) // 3] ^= 4
    (folder / "pairs.parquet").write_bytes(data)
    loaded = Selection.load(folder)
    assert loaded.why(selection.kept[0]) == selection.why(selection.kept[0])
    with pytest.raises(IncompleteStore, match=r"pairs\.parquet changed since it was written"):
        loaded.at(retention=0.2)
    (folder / "pairs.parquet").unlink()
    with pytest.raises(IncompleteStore, match=r"pairs\.parquet is missing"):
        Selection.load(folder)


def test_rows_of_another_selection_are_not_filtered_under_this_ones_name(selection, tmp_path):
    """Not even by one who trusts the folder: the rows do not make the fingerprint."""
    folder, other = selection.save(tmp_path / "a"), selection.at(retention=0.2).save(tmp_path / "b")
    shutil.copy(other / "rows.parquet", folder)
    with pytest.raises(IncompleteStore, match=r"a/rows\.parquet"):
        Selection.load(folder)
    manifest = Manifest.read(folder)
    manifest.write(folder, ["rows.parquet"])
    for trust in (False, True):
        with pytest.raises(Mismatch, match=r"rows\.parquet holds 30 rows of another selection"):
            Selection.load(folder, trust=trust)


@pytest.mark.parametrize("scope", ["cluster", "pool"])
def test_engines_and_threads_write_the_same_bytes(scope, tmp_path):
    """Orthogonal axes, among them pairs whose cosine is a little less than zero: -1e-9 is 0.0, and not -0.0."""
    x = np.repeat(np.eye(6, 8), 3, axis=0).astype(np.float32)
    x += np.linspace(-2e-9, 0, x.size).reshape(x.shape).astype(np.float32) * (x == 0)
    written, threads = set(), torch.get_num_threads()
    for engine in ("pairs", "blocks"):
        for count in (1, 3):
            torch.set_num_threads(count)
            try:
                chosen = MedDEL(eta=-0.1, epsilon=None, scope=scope, engine=engine, n_clusters=1).select(x)
            finally:
                torch.set_num_threads(threads)
            assert not np.signbit(chosen.table["similarity"].drop_null().to_numpy()).any()
            folder = chosen.save(tmp_path / f"{engine}{count}")
            written.add((folder / "rows.parquet").read_bytes())
    assert len(written) == 1


def test_a_cosine_has_one_zero():
    assert not np.signbit(rounded(np.array([-0.0, 0.0, -1e-9, 1e-9]))).any()
    assert rounded(-(2.0**-24)) == np.float32(-(2.0**-24))

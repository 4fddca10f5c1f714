"""MedDEL from vectors to answer, each step of it worked out again in float64."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from datasets import Dataset, Features, Image, Value
from groups import clusters_of, expected_groups, keep_order
from PIL import Image as Picture
from stores import of_many_rows
from transformers import ViTConfig, ViTModel
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import meddel_hf.dedup.block_engine as rules
import meddel_hf.dedup.larger_than_memory as larger
import meddel_hf.dedup.sampling as sampling
import meddel_hf.neighbors.cosines as neighbors
import meddel_hf.neighbors.pairs as pairs_module
from meddel_hf import MedDEL, MedDELError, Selection
from meddel_hf.embedding.store import EmbeddingStore, Shard, StoreWriter
from meddel_hf.errors import InvalidArgument, InvalidEmbeddings

RULES = {"greedy": oracle.greedy, "semdedup": oracle.semdedup}


def check(selection, cosine, groups, kept, outlier) -> None:
    where, value = oracle.nearest_kept(cosine, groups, kept)
    for number, row in enumerate(selection.table.to_pylist()):
        assert row["kept"] == kept[number]
        if kept[number] or outlier[number]:
            reason = None if kept[number] else "outlier"
            assert (row["reason"], row["duplicate_of"], row["similarity"]) == (reason, None, None)
        else:
            known = (str(where[number]), value[number]) if where[number] >= 0 else (None, None)
            assert (row["reason"], row["duplicate_of"], row["similarity"]) == ("near-duplicate", *known)


@pytest.mark.parametrize("engine", ["pairs", "blocks", "auto"])
@pytest.mark.parametrize("scope", ["cluster", "pool"])
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_at_an_eta(name, scope, engine):
    x = oracle.INPUTS[name]()
    cosine = oracle.cosines(x)
    for rule, keep, epsilon, eta in (
        ("greedy", "closest", 0.9, 0.8), ("greedy", "farthest", None, 0.5), ("semdedup", "farthest", None, 0.7),
        ("greedy", "closest", None, float(cosine[0, -1])),
    ):  # fmt: skip
        groups, label, distance, outlier = expected_groups(x, scope, keep, epsilon)
        if outlier.all():
            with pytest.raises(InvalidArgument, match=f"epsilon={epsilon} makes outliers of all {len(x)} rows"):
                MedDEL(eta=eta, scope=scope, epsilon=epsilon).select(x)
            continue
        settings = MedDEL(eta=eta, scope=scope, rule=rule, keep=keep, epsilon=epsilon, engine=engine)
        selection = settings.select(x)
        check(selection, cosine, groups, RULES[rule](cosine, groups, eta), outlier)
        assert selection.eta == eta
        if epsilon is not None or scope == "cluster":
            assert selection.table["cluster"].to_pylist() == label.tolist()
            np.testing.assert_array_equal(selection.table["distance"].to_numpy(), distance)


@pytest.mark.parametrize("scope", ["cluster", "pool"])
@pytest.mark.parametrize("name", oracle.INPUTS)
def test_at_an_exact_retention(name, scope):
    x = oracle.INPUTS[name]()
    cosine = oracle.cosines(x)
    for retention in (0.1, 0.5, 1.0):
        target = round(retention * len(x))
        if not target:
            continue
        found = {engine: MedDEL(retention=retention, scope=scope, epsilon=None, engine=engine, n_clusters=2).select(x)
                 for engine in ("pairs", "blocks")} if target >= 2 or scope == "pool" else {}  # fmt: skip
        groups, _, _, outlier = expected_groups(x, scope, "closest", None, 2)
        for selection in found.values():
            assert selection.summary.kept == target
            assert selection.eta == found["blocks"].eta
            kept = oracle.filled(cosine, groups, oracle.greedy(cosine, groups, selection.eta), target)
            check(selection, cosine, groups, kept, outlier)
            assert selection.summary.coverage in (None, 1.0)


@pytest.mark.parametrize("retention", [0.01, 0.02, 0.05, 0.2, 0.999, 1.0])
@pytest.mark.parametrize("n", [3, 100, 400])
@pytest.mark.parametrize("scope", ["cluster", "pool"])
def test_a_retention_is_met_exactly_at_every_size(n, retention, scope):
    """Also where it asks for fewer rows than sqrt(n), the usual number of clusters."""
    settings = MedDEL(retention=retention, epsilon=None, scope=scope)
    if round(retention * n) == 0:
        with pytest.raises(InvalidArgument, match="is no row at all"):
            settings.select(oracle.noise(n, 8))
    else:
        assert settings.select(oracle.noise(n, 8)).summary.kept == round(retention * n)


def test_more_clusters_than_rows_to_keep_is_an_error_where_they_are_asked_for():
    with pytest.raises(InvalidArgument, match=r"4 rows are fewer than the \d+ clusters"):
        MedDEL(retention=0.01, epsilon=None, n_clusters=30).select(oracle.noise(400, 8))


def test_more_than_survive_the_outlier_step():
    x = np.concatenate([np.full((18, 3), 1.0), [[1, -1, 0]], [[0, -1, 1]]]).astype(np.float32)
    with pytest.raises(InvalidArgument, match=r"asks for 19 of 20 rows, but only 18 are .*retention 0\.9000"):
        MedDEL(retention=0.95, n_clusters=1).select(x)
    assert MedDEL(retention=0.9, n_clusters=1).select(x).summary.outliers == 2


def test_random_keep_order_depends_on_the_seed_and_covers_all():
    x = oracle.clumps(300, 8)
    cosine = oracle.cosines(x)
    first, again, other = (
        MedDEL(eta=0.8, epsilon=None, scope="pool", keep="random", seed=seed).select(x) for seed in (0, 0, 1)
    )
    assert first.kept == again.kept != other.kept
    for selection in (first, other):
        kept = selection.table["kept"].to_numpy()
        among = cosine[np.ix_(kept, kept)] > oracle.grid(0.8)
        assert among.sum() == kept.sum()  # nobody above eta but a row with itself
        assert (cosine[np.ix_(~kept, kept)] > oracle.grid(0.8)).any(axis=1).all()


def test_pool_scope_depends_on_neither_clusters_nor_seed():
    x = oracle.clumps(300, 8)
    chosen = [
        MedDEL(eta=0.8, scope="pool", epsilon=1.5, n_clusters=k, seed=seed).select(x).kept
        for k, seed in ((3, 0), (40, 0), (3, 9))
    ]
    assert chosen[0] == chosen[1] == chosen[2]
    assert MedDEL(eta=0.8, scope="pool", epsilon=None).select(x).kept == chosen[0]


@pytest.mark.parametrize("scope", ["cluster", "pool"])
def test_subtract_mean(scope):
    x = (oracle.noise(200, 24) * 0.2 + 1).astype(np.float32)
    unit = x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    spread = (unit - unit.mean(axis=0)).astype(np.float32)
    cosine = oracle.cosines(spread)
    gaps = np.sort(cosine[np.triu_indices(200, 1)])
    place = int(len(gaps) * 0.97)
    eta = float(gaps[place : place + 2].mean())  # between two cosines: float32 rounding of the mean decides nothing
    assert gaps[place + 1] - gaps[place] > 1e-5
    groups, _, _, outlier = expected_groups(spread, scope, "closest", None, 2)
    selection = MedDEL(eta=eta, scope=scope, epsilon=None, subtract_mean=True, n_clusters=2).select(x)
    kept = selection.table["kept"].to_numpy()
    np.testing.assert_array_equal(kept, oracle.greedy(cosine, groups, eta))
    assert kept.sum() > 2 * MedDEL(eta=eta, scope=scope, epsilon=None, n_clusters=2).select(x).summary.kept
    assert not outlier.any()
    assert selection.settings["subtract_mean"] is True


def test_concentrated_embeddings_are_told_about_once():
    x = (oracle.noise(200, 24) * 0.2 + 1).astype(np.float32)
    (note,) = MedDEL(eta=0.9, epsilon=None, scope="pool").select(x).notes
    share = (oracle.cosines(x)[np.triu_indices(200, 1)] > 0.9).mean()
    assert f"{share:.0%} of the compared pairs are above eta 0.9" in note
    assert "subtract_mean" in note
    assert "retention" in note
    assert MedDEL(retention=0.1, epsilon=None).select(x).notes == ()
    assert MedDEL(eta=0.9, epsilon=None, scope="pool").select(oracle.noise(200, 24)).notes == ()


def test_more_iterations_cluster_and_thin_the_survivors_again():
    x = oracle.clumps(400, 6, spread=0.6)
    cosine = oracle.cosines(x)
    kept = np.ones(400, bool)
    for iterations in range(1, 6):
        survivors = np.flatnonzero(kept)
        label, distance = clusters_of(x[survivors])
        parts = [survivors[label == c] for c in np.unique(label)]
        whole = np.full(400, np.inf)
        whole[survivors] = distance
        kept = oracle.greedy(cosine, [keep_order(x, part, "cluster", "closest", whole) for part in parts], 0.7)
        selection = MedDEL(eta=0.7, epsilon=None, max_iterations=iterations).select(x)
        np.testing.assert_array_equal(selection.table["kept"].to_numpy(), kept)
        assert set(selection.table["duplicate_of"].drop_null().to_pylist()) <= set(selection.kept)
        if iterations > 1:  # duplicates are named over the whole pool
            best = cosine[np.ix_(~kept, kept)].max(axis=1)
            np.testing.assert_array_equal(selection.table["similarity"].to_numpy()[~kept], best)
    counts = [MedDEL(eta=0.7, epsilon=None, max_iterations=n).select(x).summary.kept for n in (1, 2, 50, 60)]
    assert counts[0] > counts[1] >= counts[2] == counts[3]


@pytest.mark.parametrize("scope", ["cluster", "pool"])
@pytest.mark.parametrize("settings", [{"eta": 0.75}, {"retention": 0.2}], ids=str)
def test_blocks_threads_and_engines_change_nothing(scope, settings, monkeypatch):
    x = oracle.clumps(2100, 24, spread=0.5)  # enough rows for the bfloat16 screen
    first = MedDEL(**settings, scope=scope, epsilon=1.1).select(x)
    threads = torch.get_num_threads()
    try:
        for block, tile, count, engine in ((500, 1000, 2, "pairs"), (500, 1000, 1, "blocks")):
            for module in (neighbors, pairs_module, rules, sampling):
                for name, value in (("BLOCK", block), ("TILE", tile), ("SIDE_BY_SIDE", 100)):
                    if hasattr(module, name):
                        monkeypatch.setattr(module, name, value)
            torch.set_num_threads(count)
            again = MedDEL(**settings, scope=scope, epsilon=1.1, engine=engine).select(x)
            assert again.table.equals(first.table)
            assert (again.eta, again.fingerprint) == (first.eta, first.fingerprint)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int16])
def test_other_dtypes(dtype):
    x = (oracle.clumps(80, 6) * 20).astype(dtype)
    cosine = oracle.cosines(x)
    groups, *_ = expected_groups(x, "pool", "closest", None)
    chosen = MedDEL(eta=0.9, epsilon=None, scope="pool").select(x)
    np.testing.assert_array_equal(chosen.table["kept"].to_numpy(), oracle.greedy(cosine, groups, 0.9))


def test_the_callers_array_may_be_read_only_and_strided_and_stays_as_it_is():
    wide = np.zeros((160, 16), np.float32)
    wide[::2, ::2] = oracle.clumps(80, 8)
    wide.flags.writeable = False
    x, before = wide[::2, ::2], wide.copy()
    for settings in ({"eta": 0.8}, {"retention": 0.2, "subtract_mean": True}):
        strided = MedDEL(**settings, epsilon=None, scope="pool").select(x)
        assert strided.table.equals(MedDEL(**settings, epsilon=None, scope="pool").select(x.copy()).table)
    np.testing.assert_array_equal(wide, before)


@pytest.mark.parametrize("scope", ["cluster", "pool"])
def test_one_and_two_rows(scope):
    for settings in ({"eta": 0.9}, {"retention": 1.0}):
        one = MedDEL(**settings, scope=scope).select(np.array([[3.0, 4.0]]))
        assert (one.kept, one.retention, one.summary.outliers) == (["0"], 1, 0)
    two = MedDEL(eta=0.9, epsilon=None, scope=scope).select(np.array([[3.0, 4.0], [6.0, 8.0]]))
    assert two.table["duplicate_of"].to_pylist() == [None, "0"]
    assert two.table["similarity"].to_pylist() == [None, 1.0]
    assert MedDEL(retention=0.5, epsilon=None, scope=scope).select(np.eye(2)).kept == ["0"]


@pytest.mark.parametrize(
    "bad", [np.ones(5), np.ones((0, 5)), np.ones((5, 0)), np.array(3.0), np.ones((2, 2, 2)), np.ones((2, 2), complex)]
)
def test_arrays_that_are_no_embeddings(bad):
    with pytest.raises(InvalidEmbeddings, match=r"array|nothing to select|real numbers"):
        MedDEL(eta=0.9).select(bad)


def stored(folder, vectors, ids):
    writer = StoreWriter.begin(folder, {"encoder": "a", "pool": None, "revision": None}, {"pool": "p"})
    readable = vectors[[row is not None for row in vectors]] if vectors.dtype == object else vectors
    reasons = [None if row < len(readable) else "truncated" for row in range(len(ids))]
    writer.write(Shard(0, 0, ids, reasons, readable))
    return writer.finish(dim=vectors.shape[1], row_ids=False)


@pytest.mark.parametrize(("value", "what"), [(np.nan, "not finite"), (0, "zero vectors")])
def test_bad_rows_of_a_store_are_named_by_id(value, what, tmp_path):
    vectors = oracle.noise(6, 3)
    vectors[[2, 4]] = value
    store = stored(tmp_path / "e", vectors, [f"frame-{i}" for i in range(6)])
    with pytest.raises(InvalidEmbeddings, match=rf"2 of 6 embeddings are {what}.*2 \(frame-2\), 4 \(frame-4\)"):
        MedDEL(eta=0.9).select(store)


def test_a_store_without_a_readable_row(tmp_path):
    store = stored(tmp_path / "e", np.empty((0, 3), np.float32), ["a", "b"])
    with pytest.raises(InvalidEmbeddings, match="none of the 2 rows of the pool has an embedding"):
        MedDEL(eta=0.9).select(store)


def test_a_store_is_taken_by_path_too(tmp_path):
    store = stored(tmp_path / "e", oracle.clumps(20, 4), [f"frame-{i}" for i in range(20)])
    expected = MedDEL(eta=0.9, epsilon=None).select(store)
    for path in (tmp_path / "e", str(tmp_path / "e")):
        assert MedDEL(eta=0.9, epsilon=None).select(path).table.equals(expected.table)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"eta": 0.9, "retention": 0.5}, r"eta or retention, not both \(got eta=0\.9, retention=0\.5\)"),
        ({"retention": 0}, r"retention must be a fraction in \(0, 1\], got 0"),
        ({"retention": 5}, r"fraction in \(0, 1\], got 5"),
        ({"retention": float("nan")}, "fraction"),
        ({"eta": 1.5}, r"eta must be 'auto' or a cosine in \[-1, 1\], got 1\.5"),
        ({"eta": float("nan")}, "cosine"),
        ({"epsilon": 2.5}, r"epsilon must be a distance in \[0, 2\], or None"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"scope": "all"}, "scope must be one of cluster, pool, got 'all'"),
        ({"keep": "nearest"}, "keep must be one of closest, farthest, random"),
        ({"rule": "first"}, "rule must be one of greedy, semdedup"),
        ({"engine": "fast"}, "engine must be one of auto, pairs, blocks"),
        ({"n_clusters": 0}, "n_clusters must be 'auto' or a number of at least 1, got 0"),
        ({"n_clusters": "many"}, "n_clusters must be 'auto'"),
        ({"max_iterations": 0}, "max_iterations must be at least 1, got 0"),
        ({"max_iterations": 2, "retention": 0.5}, "max_iterations above 1 goes with eta"),
    ],
)
def test_a_bad_option_is_a_sentence(arguments, sentence):
    with pytest.raises(InvalidArgument, match=sentence) as caught:
        MedDEL(**arguments)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, MedDELError)


def test_nothing_that_says_how_much_to_keep():
    with pytest.raises(InvalidArgument, match="give MedDEL a retention or an eta"):
        MedDEL().select(oracle.noise(5, 3))
    with pytest.raises(InvalidArgument, match="give MedDEL a retention or an eta"):
        MedDEL(encoder="anything").filter(Dataset.from_dict({"id": ["a"]}))
    with pytest.raises(InvalidArgument, match=r"MedDEL\(\.\.\., encoder=ID_OR_PATH\)"):
        MedDEL(retention=0.5).filter(Dataset.from_dict({"id": ["a"]}))


def test_filter_embeds_selects_and_filters_in_one_call(tmp_path):
    torch.manual_seed(0)
    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16,
                       patch_size=8)  # fmt: skip
    ViTModel(config).save_pretrained(tmp_path / "vit")
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(tmp_path / "vit")
    images: list[bytes] = []
    for seed in range(30):
        file = io.BytesIO()
        pixels = np.random.default_rng(seed // 3).integers(0, 256, (20, 20, 3), dtype=np.uint8)  # three of each
        Picture.fromarray(pixels).save(file, "PNG")
        images.append(b"not an image" if seed in (4, 11) else file.getvalue())
    features = Features({"id": Value("string"), "image": Image(decode=False)})
    dataset = Dataset.from_dict({"id": [f"f{i:02d}" for i in range(30)], "image": images}, features=features)
    settings = MedDEL(eta=0.99999, epsilon=None, scope="pool", encoder=str(tmp_path / "vit"))
    subset = settings.filter(dataset, embeddings=tmp_path / "embeddings")
    reasons = subset.selection.table["reason"].to_pylist()
    assert [i for i, reason in enumerate(reasons) if reason == "unreadable"] == [4, 11]
    assert subset["id"][:] == [f"f{i:02d}" for i, reason in enumerate(reasons) if reason is None]
    for first in range(0, 30, 3):  # of each image just one copy stays, and the others name it
        copies = [row for row in range(first, first + 3) if row not in (4, 11)]
        (stays,) = [row for row in copies if reasons[row] is None]
        named = {subset.selection.table["duplicate_of"][row].as_py() for row in copies if row != stays}
        assert named <= {f"f{stays:02d}"}
    assert settings.select(tmp_path / "embeddings").kept == subset.selection.kept
    assert not [path for path in tmp_path.iterdir() if path.name not in ("vit", "embeddings")]


ALL_EQUAL = """
import resource, time
import numpy as np
from meddel_hf import MedDEL
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
MedDEL(eta=0.9, scope="pool").select(np.random.default_rng(0).standard_normal((3000, 64), np.float32))  # warm up
x = np.full((50_000, 64), 0.25, np.float32)
before = peak()
for settings in SETTINGS:
    start = time.monotonic()
    summary = MedDEL(**settings).select(x).summary
    print(summary.kept, summary.coverage, peak() - before, time.monotonic() - start)
"""


@pytest.mark.slow
def test_fifty_thousand_equal_vectors_take_seconds_and_little_memory():
    """The densest pool there is: every one of its 1.25 billion pairs is a near-duplicate."""
    cases = [({"eta": 0.9, "scope": scope, "engine": engine}, 1) for scope in ("pool", "cluster")
             for engine in ("auto", "blocks")]  # fmt: skip
    cases += [({"eta": 0.9, "scope": "pool", "rule": "semdedup"}, 1), ({"eta": 1.0, "scope": "pool"}, 50_000)]
    cases += [({"retention": 0.02, "scope": scope}, 1000) for scope in ("pool", "cluster")]
    code = ALL_EQUAL.replace("SETTINGS", repr([settings for settings, _ in cases]))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for (settings, kept), line in zip(cases, done.stdout.splitlines(), strict=True):
        count, coverage, megabytes, seconds = line.split()
        assert (int(count), coverage) == (kept, "None" if kept == 50_000 else "1.0"), settings
        assert float(megabytes) < 300, settings
        assert float(seconds) < 120, settings  # 1 to 3 on two idle cores; far more where every pair is compared


@pytest.mark.parametrize("scope", ["cluster", "pool"])
def test_a_graph_too_large_to_store_is_an_error_only_where_it_is_demanded(scope):
    x = np.full((5_000, 4), 0.25, np.float32)
    with pytest.raises(InvalidArgument, match=r"more than [\d,]+ pairs are above 0\.900: too many to store"):
        MedDEL(eta=0.9, scope=scope, engine="pairs", epsilon=None).select(x)


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    return of_many_rows(tmp_path_factory.mktemp("many"))


@pytest.mark.parametrize(
    "how",
    [
        {"eta": 0.8, "epsilon": 1.3},
        {"retention": 0.1, "epsilon": 1.3},
        {"retention": 0.2, "scope": "pool", "subtract_mean": True, "epsilon": None},
    ],
)
def test_a_pool_larger_than_memory_gets_the_same_files(how, many, monkeypatch, tmp_path):
    settings = {"n_clusters": 10, "engine": "blocks", **how}
    MedDEL(**settings).select(many).save(tmp_path / "whole")
    monkeypatch.setattr(larger, "_PROGRAM", 0)
    monkeypatch.setattr(EmbeddingStore, "embeddings", property(lambda store: pytest.fail("read as a whole")))
    parts = MedDEL(**settings, memory="2MB", scratch=tmp_path).select(many)
    parts.save(tmp_path / "parts")
    for file in (tmp_path / "whole").iterdir():
        assert (tmp_path / "parts" / file.name).read_bytes() == file.read_bytes(), file.name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole"]
    assert isinstance(parts, Selection)


@pytest.mark.parametrize(
    "how", [{"retention": 0.1, "epsilon": 1.3}, {"eta": 0.8, "scope": "pool", "subtract_mean": True}]
)
def test_beside_a_reference_set_too(how, many, monkeypatch, tmp_path):
    settings = {"n_clusters": 10, "engine": "blocks", **how}
    reference = EmbeddingStore.load(many).embeddings[::500]
    beside = {"reference": reference, "reference_eta": 0.9}
    MedDEL(**settings).select(many, **beside).save(tmp_path / "whole")
    monkeypatch.setattr(larger, "_PROGRAM", 0)
    monkeypatch.setattr("meddel_hf.selectors.reference._AT_ONCE", 2**17)  # 2,048 rows
    monkeypatch.setattr(EmbeddingStore, "embeddings", property(lambda store: pytest.fail("read as a whole")))
    parts = MedDEL(**settings, memory="2MB", scratch=tmp_path).select(many, **beside)
    parts.save(tmp_path / "parts")
    for file in (tmp_path / "whole").iterdir():
        assert (tmp_path / "parts" / file.name).read_bytes() == file.read_bytes(), file.name
    assert parts.summary.in_reference >= len(reference)


def test_a_sweep_of_a_pool_larger_than_memory(many, monkeypatch, tmp_path):
    whole = MedDEL(epsilon=None, n_clusters=10).sweep(many, [0.9, 0.7])
    monkeypatch.setattr(larger, "_PROGRAM", 0)
    parts = MedDEL(epsilon=None, n_clusters=10, memory=2 * 10**6, scratch=tmp_path).sweep(many, [0.9, 0.7])
    assert [s.table for s in parts] == [s.table for s in whole]
    assert [s.settings for s in parts] == [s.settings for s in whole]


def test_memory_that_is_no_size_or_too_little_is_refused_before_the_work(many, monkeypatch):
    with pytest.raises(InvalidArgument, match="memory must be a size such as 4GB or 512MiB, got 'a lot'"):
        MedDEL(0.1, memory="a lot")
    with pytest.raises(InvalidArgument, match=r"4,950 embeddings of 64 numbers need 80\d MB of memory, got 1 MB"):
        MedDEL(0.1, memory="1MB").select(many)
    monkeypatch.setattr(larger, "_PROGRAM", 0)
    with pytest.raises(InvalidArgument, match="engine='pairs' stores the graph of a pool that does not fit into 2 MB"):
        MedDEL(eta=0.8, engine="pairs", memory="2MB").select(many)
    with pytest.raises(InvalidArgument, match="max_iterations=3 compares survivors of the whole pool"):
        MedDEL(eta=0.8, max_iterations=3, memory="2MB").select(many)


def test_memory_that_is_enough_changes_nothing(many):
    selection = MedDEL(0.1, epsilon=None, memory="4GB").select(many)
    assert selection.graph is not None
    assert selection.settings == MedDEL(0.1, epsilon=None).select(many).settings

"""What every selector owes: its exact number of rows, a whole table, and a selection that can be kept and applied."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import oracle
import pytest
import torch
from datasets import Dataset
from stores import IDS, UNREADABLE, stored

from meddel_hf import Selection
from meddel_hf.embedding.store import Shard, StoreWriter
from meddel_hf.errors import InvalidArgument, InvalidEmbeddings, MedDELError
from meddel_hf.selectors import registry

NAMES = [
    "meddel", "random", "random-stratified", "semdedup", "k-centre", "prototypes-easy", "prototypes-hard", "density",
    "balanced", "typiclust", "max-herding",
]  # fmt: skip
RIVALS = NAMES[1:]  # retrieval and dedup, which need a reference or an eta, have files of their own


def pool(rows: int = 30) -> Dataset:
    ids = [f"frame/{row:02d}" for row in range(rows)]
    return Dataset.from_dict({"id": ids, "center": [f"c{row % 3}" for row in range(rows)], "source": ["s"] * rows})


def make(name: str, retention: float, **options):
    """The selector; MedDEL without its outlier step, so that it too can keep every readable row."""
    return registry.make(name, retention=retention, **({"epsilon": None} if name == "meddel" else {}), **options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [1, 3, 250])
def test_a_retention_is_met_exactly(name, n):
    x = oracle.clumps(n, 8, seed=n)
    for retention in (0.004, 0.02, 1 / 3, 0.5, 0.995, 1.0):
        if round(retention * n) == 0:
            with pytest.raises(InvalidArgument, match="is no row at all"):
                make(name, retention).select(x, pool=pool(n))
        else:
            assert make(name, retention).select(x, pool=pool(n)).summary.kept == round(retention * n)


@pytest.mark.parametrize("name", NAMES)
def test_numbers_of_numpy_are_numbers(name, tmp_path):
    x = oracle.clumps(40, 8, seed=2)
    plain = make(name, 0.25, seed=3).select(x, pool=pool(40))
    of_numpy = make(name, np.float32(0.25), seed=np.arange(4)[3]).select(x, pool=pool(40))
    assert of_numpy.table.equals(plain.table)
    assert of_numpy.fingerprint == Selection.load(of_numpy.save(tmp_path / "s")).fingerprint == plain.fingerprint


@pytest.mark.parametrize("name", NAMES)
def test_unreadable_rows_count_in_the_pool_and_are_never_kept(name, tmp_path):
    store = stored(tmp_path / "e", pool())
    for retention in (0.04, 0.1, 0.5, 0.9):  # 0.9: all 27 that are readable
        selection = make(name, retention).select(store, pool=pool())
        assert selection.summary.kept == round(retention * 30)
        assert selection.summary.unreadable == 3
        reasons = selection.table["reason"].to_pylist()
        assert [row for row in range(30) if reasons[row] == "unreadable"] == list(UNREADABLE)
    with pytest.raises(InvalidArgument, match=r"asks for 28 of 30 rows, but only 27 are readable"):
        make(name, 0.93).select(store, pool=pool())


@pytest.mark.parametrize("name", RIVALS)
def test_the_table_and_the_settings_are_complete(name, tmp_path):
    selector = make(name, 0.2, seed=3)
    selection = selector.select(stored(tmp_path / "e", pool()), pool=pool())
    table = selection.table
    assert [f"{field.name} {field.type}" for field in table.schema] == [
        "id string", "kept bool", "reason string", "duplicate_of string", "similarity float", "cluster int64",
        "distance float",
    ]  # fmt: skip
    assert table["id"].to_pylist() == IDS
    gone = "near-duplicate" if name == "semdedup" else "not-selected"
    clustered = not name.startswith("random") and name != "max-herding"
    for row in table.to_pylist():
        unreadable = row["id"] in [IDS[number] for number in UNREADABLE]
        assert row["reason"] == (None if row["kept"] else "unreadable" if unreadable else gone)
        assert (row["cluster"] is not None) == (row["distance"] is not None) == (clustered and not unreadable)
        if name != "semdedup":
            assert (row["duplicate_of"], row["similarity"]) == (None, None)
    counts = selection.summary
    assert counts.not_selected + counts.near_duplicates == 30 - 3 - 6
    options = {option: getattr(selector, option) for option in registry.options_of(name)}
    if name == "random-stratified":
        options["by"] = ["center", "source"]
    if name.startswith("prototypes"):
        options["keep"] = name.removeprefix("prototypes-")
    assert selection.settings == {"selector": name, "retention": 0.2, "seed": 3, **options}


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_selection_answers_the_same(name, tmp_path):
    dataset = pool()
    selection = make(name, 0.3).select(stored(tmp_path / "e", dataset), pool=dataset)
    selection.save(tmp_path / "s")
    loaded = Selection.load(tmp_path / "s")
    assert loaded.table.equals(selection.table)
    assert (loaded.fingerprint, loaded.settings) == (selection.fingerprint, selection.settings)
    assert str(loaded.summary) == str(selection.summary)
    assert loaded.filter(dataset)["id"][:] == selection.kept
    assert len(selection.kept) == 9


@pytest.mark.parametrize("name", RIVALS)
def test_why_is_a_sentence(name, tmp_path):
    selection = make(name, 0.3).select(stored(tmp_path / "e", pool()), pool=pool())
    assert selection.why(selection.kept[0]).startswith(f"{selection.kept[0]} is kept")
    assert selection.why(IDS[7]).startswith(f"{IDS[7]} is dropped: unreadable; why stands in")
    gone = next(row["id"] for row in selection.table.to_pylist() if row["reason"] not in (None, "unreadable"))
    if name != "semdedup":
        assert selection.why(gone) == f"{gone} is not selected: selector {name} did not choose it"


@pytest.mark.parametrize("name", NAMES)
def test_threads_and_ways_in_change_nothing(name, tmp_path):
    x = oracle.clumps(2100, 24, spread=0.5)  # enough rows for the bfloat16 screen
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(make(name, 0.1, seed=5).select(x, pool=pool(2100)))
    finally:
        torch.set_num_threads(before)
    assert found[0].table.equals(found[1].table)
    assert found[0].fingerprint == found[1].fingerprint
    few = oracle.clumps(30, 6, seed=2, spread=0.4)
    store = stored(tmp_path / "e", pool(), few)
    for way in (tmp_path / "e", str(tmp_path / "e")):
        assert make(name, 0.2).select(way, pool=pool()).table.equals(make(name, 0.2).select(store, pool=pool()).table)


@pytest.mark.parametrize("name", [name for name in RIVALS if name != "max-herding"])  # which draws nothing
def test_the_seed_decides(name):
    x = oracle.clumps(300, 8)
    first, again, other = (make(name, 0.1, seed=seed).select(x, pool=pool(300)).kept for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("name", ["random", "k-centre"])
def test_a_lower_retention_keeps_a_part_of_what_a_higher_one_keeps(name):
    x = oracle.clumps(300, 8)
    kept = [set(make(name, retention).select(x).kept) for retention in (0.02, 0.1, 0.5, 1.0)]
    assert kept[0] < kept[1] < kept[2] < kept[3]


@pytest.mark.parametrize("name", NAMES)
def test_a_pool_without_a_readable_row(name, tmp_path):
    writer = StoreWriter.begin(tmp_path, {"encoder": "a", "pool": None, "revision": None}, {"pool": "p"})
    writer.write(Shard(0, 0, ["a", "b"], ["truncated"] * 2, np.empty((0, 3), np.float32)))
    with pytest.raises(InvalidEmbeddings, match="none of the 2 rows of the pool has an embedding"):
        make(name, 0.5).select(writer.finish(dim=3, row_ids=False), pool=pool(2))


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("random")])
def test_rows_that_are_no_embeddings_are_named(name):
    x = oracle.clumps(20, 4)
    x[[3, 8]] = np.nan
    with pytest.raises(InvalidEmbeddings, match=r"2 of 20 embeddings are not finite.*3 \(3\), 8 \(8\)"):
        make(name, 0.5).select(x)


@pytest.mark.parametrize("name", ["semdedup", "k-centre", "prototypes-hard", "density", "typiclust", "max-herding"])
def test_subtract_mean_selects_from_the_spread_out_rows(name):
    x = (oracle.noise(200, 24) * 0.2 + 1).astype(np.float32)
    unit = x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    spread = (unit - unit.mean(axis=0)).astype(np.float32)
    centred, by_hand, plain = (
        make(name, 0.1, subtract_mean=subtract).select(rows)
        for subtract, rows in ((True, x), (False, spread), (False, x))
    )
    # A last bit of the mean may settle a close choice another way, but no more than that.
    assert len(set(centred.kept) & set(by_hand.kept)) >= 18
    assert set(centred.kept) != set(plain.kept)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        *[(name, {"retention": value}, r"retention must be a fraction in \(0, 1\]") for name in NAMES
          for value in (0, 1.5, float("nan"))],
        *[(name, {"retention": "half"}, "half|not supported") for name in NAMES],
        *[(name, {"seed": -1}, "seed must be a whole number from 0 to 4294967295, got -1") for name in RIVALS],
        *[(name, {"n_clusters": value}, "n_clusters must be 'auto' or a number of at least 1")
          for name in ("semdedup", "prototypes-easy", "density") for value in (0, "many", True)],
        ("random-stratified", {"by": ()}, "by must name columns of the pool"),
        ("random-stratified", {"by": ("label", 3)}, "by must name columns of the pool"),
        ("random-stratified", {"by": None}, "by must name columns of the pool, such as 'label', got None"),
        ("semdedup", {"keep": "hard"}, "keep must be one of farthest, closest, random, got 'hard'"),
        ("density", {"keep": "closest"}, "keep must be one of hard, easy, random"),
        ("density", {"temperature": 0}, "temperature must be a positive number, got 0"),
        ("density", {"temperature": "hot"}, "temperature must be a positive number"),
        ("density", {"neighbors": 0}, "neighbors must be at least 1"),
        ("k-centre", {"first": "middle"}, "first must be one of random, medoid, got 'middle'"),
    ],
)  # fmt: skip
def test_a_bad_option_is_a_sentence(name, options, sentence):
    with pytest.raises(InvalidArgument, match=sentence) as caught:
        registry.make(name, **{"retention": 0.5, **options})
    assert isinstance(caught.value, MedDELError)


def test_selectors_are_frozen_and_compare_by_value():
    assert make("density", 0.5) == replace(make("density", 0.1), retention=0.5)
    assert len({make(name, 0.5) for name in NAMES}) == len(NAMES)

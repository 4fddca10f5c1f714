"""The pool whose columns name the strata: joined on ids, opened where the store names it, refused if another."""

from __future__ import annotations

from collections import Counter

import numpy as np
import oracle
import pytest
from datasets import Dataset
from stores import IDS, UNREADABLE, stored

from meddel_hf.errors import InvalidDataset, Mismatch
from meddel_hf.selectors import Dedup, RandomStratified

SITES = dict(zip(IDS, ["a"] * 15 + ["b"] * 9 + ["c"] * 6, strict=True))  # of which 13, 9 and 5 are readable


def pool(ids=IDS, **columns) -> Dataset:
    return Dataset.from_dict({"id": list(ids), "site": [SITES.get(id, "elsewhere") for id in ids], **columns})


def counts(selection) -> list[int]:
    sites = [SITES[id] for id in selection.kept]
    return [sites.count(site) for site in "abc"]


def test_rows_are_joined_on_ids(tmp_path):
    """Also where the pool is in another order, or holds more: shares are those of the readable rows."""
    store = stored(tmp_path / "e", pool())
    expected = RandomStratified(0.6, by="site").select(store, pool=pool())
    assert counts(expected) == [9, 6, 3]  # 18 · 13/27 = 8.67, 18 · 9/27 = 6, 18 · 5/27 = 3.33
    shuffled = np.random.default_rng(0).permutation([*IDS, "one more"])
    assert RandomStratified(0.6, by="site").select(store, pool=pool(shuffled)).kept == expected.kept


def test_ids_stand_in_the_column_that_was_embedded(tmp_path):
    named = pool().rename_column("id", "name")
    store = stored(tmp_path / "e", named, id_column="name")
    assert counts(RandomStratified(0.6, by="site").select(store, pool=named)) == [9, 6, 3]
    with pytest.raises(InvalidDataset, match="the pool has no column 'name' with the ids of the embeddings; it has id"):
        RandomStratified(0.6, by="site").select(store, pool=pool())


def test_the_pool_that_the_store_names_is_opened(tmp_path):
    pool().save_to_disk(tmp_path / "pool")
    store = stored(tmp_path / "e", pool(), pool=str(tmp_path / "pool"))
    assert counts(RandomStratified(0.6, by="site").select(store)) == [9, 6, 3]
    (tmp_path / "pool").rename(tmp_path / "moved")
    with pytest.raises(InvalidDataset, match=r"cannot be opened .*does not exist.*pass the data set that was embedded"):
        RandomStratified(0.6, by="site").select(store)


def test_row_numbers_are_those_of_the_very_data_set(tmp_path):
    plain = pool().remove_columns("id")
    store = stored(tmp_path / "e", plain)
    assert RandomStratified(0.6, by="site").select(store, pool=plain).summary.kept == 18
    other = plain.select(range(29, -1, -1))
    with pytest.raises(Mismatch, match=rf"30 rows, fingerprint {plain._fingerprint}.*this one has 30 rows"):
        RandomStratified(0.6, by="site").select(store, pool=other)


def test_another_pool_is_refused(tmp_path):
    store = stored(tmp_path / "e", pool())
    select = RandomStratified(0.6, by="site").select
    with pytest.raises(Mismatch, match=r"lacks 1 of the 27 ids that were embedded, such as 'frame/12'"):
        select(store, pool=pool([*IDS[:12], *IDS[13:]]))
    assert select(store, pool=pool([id for row, id in enumerate(IDS) if row not in UNREADABLE])).summary.kept == 18
    with pytest.raises(InvalidDataset, match="1 stands more than once, such as 'frame/03'"):
        select(store, pool=pool([*IDS, "frame/03"]))
    with pytest.raises(InvalidDataset, match=r"must be a datasets\.Dataset, got IterableDataset"):
        select(store, pool=pool().to_iterable_dataset())


def test_a_stratum_is_one_value(tmp_path):
    with pytest.raises(InvalidDataset, match=r"column 'boxes' holds List.*strata need a column of single values"):
        RandomStratified(0.6, by="boxes").select(oracle.noise(30, 4), pool=pool(boxes=[[1, 2]] * 30))
    numbers = pool(year=[2020 + row % 2 for row in range(30)])
    kept = RandomStratified(0.4, by="year").select(oracle.noise(30, 4), pool=numbers).kept
    assert sorted(int(id) % 2 for id in kept) == [0] * 6 + [1] * 6


def test_within_a_stratum_every_row_is_drawn_alike():
    x, dataset, times = oracle.noise(30, 4), pool(), 600
    drawn = np.zeros(30)
    for seed in range(times):
        drawn += RandomStratified(0.2, seed, by="site").select(x, pool=dataset).table["kept"].to_numpy()
    for rows, share in (
        (range(15), 3 / 15),
        (range(15, 24), 2 / 9),
        (range(24, 30), 1 / 6),
    ):  # 6 · 15/30, 6 · 9/30, ...
        here = drawn[list(rows)]
        assert here.sum() == pytest.approx(times * share * len(rows))
        spread = np.sqrt(times * share * (1 - share))
        assert np.abs(here - times * share).max() < 4 * spread  # 1 in 16,000 for a row, and the seeds are fixed


def of_folders() -> Dataset:
    """15 frames in a, 9 in a/b and 6 in none, of which 13, 9 and 5 are readable."""
    ids = [f"{folder}{row:02d}" for folder, rows in (("a/", 15), ("a/b/", 9), ("", 6)) for row in range(rows)]
    return Dataset.from_dict({"id": ids, "image": [None] * 30})


def test_folders_of_ids_part_a_pool_that_has_no_such_column(tmp_path):
    store = stored(tmp_path / "e", of_folders())
    kept = RandomStratified(0.6, by="folder").select(store, pool=of_folders()).kept
    assert Counter(id.rpartition("/")[0] for id in kept) == {"a": 9, "a/b": 6, "": 3}, "as in the first test above"
    floors = Dedup(0.2, eta=0.99, then="random", min_per={"folder": 2}).select(store, pool=of_folders()).kept
    assert min(sum(id.rpartition("/")[0] == folder for id in floors) for folder in ("a", "a/b")) >= 2
    one = Dedup(eta=0.99, max_per={"folder": 1}).select(store, pool=of_folders()).kept
    assert Counter(id.rpartition("/")[0] for id in one)["a"] == 1
    named = of_folders().add_column("folder", ["x"] * 12 + ["y"] * 18)  # a column goes before what ids say
    kept = RandomStratified(0.6, by="folder").select(store, pool=named).kept
    assert sum(id in named["id"][:12] for id in kept) == 7  # 18 · 10/27 = 6.67


def test_an_error_offers_what_may_part_the_rows(tmp_path):
    said = "the pool has no column 'site' to part its rows by; it has "
    select = RandomStratified(0.6, by="site").select
    for name, data, offered in (
        ("paths", of_folders(), "folder, 'folder' being that of the frame: name one of those"),
        ("plain", of_folders().map(lambda row: {"id": row["id"].replace("/", "-")}),
         'ids and images alone: `meddel pool FOLDER --parts "{label}/*"` makes columns of paths'),
        ("sites", of_folders().add_column("sites", ["x"] * 30),
         "sites, folder, 'folder' being that of the frame: name one of those; did you mean 'sites'?"),
    ):  # fmt: skip
        with pytest.raises(InvalidDataset) as told:
            select(stored(tmp_path / name, data), pool=data)
        assert str(told.value) == said + offered

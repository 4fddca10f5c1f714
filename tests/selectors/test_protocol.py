"""What a selector reads: a store, an array, or the part of a pool that a first step left."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import oracle
import pytest
from datasets import Dataset, DatasetDict
from stores import IDS, stored

from meddel_hf.errors import InvalidArgument, InvalidEmbeddings
from meddel_hf.selectors import Dedup, registry
from meddel_hf.selectors.protocol import Readable

POOL = Dataset.from_dict({"id": [str(row) for row in range(300)], "center": [f"c{row % 3}" for row in range(300)]})
OPTIONS = {
    "dedup": {"eta": 0.95},
    "meddel": {"epsilon": None},
    "random-stratified": {"by": "center"},
    "retrieval": {"reference": oracle.clumps(9, 8, seed=1)},
}
OF_A_PART = [name for name in registry.names() if name not in ("meddel", "semdedup", "random-stratified")]


def make(name: str, retention: float):
    return registry.make(name, retention=retention, **OPTIONS.get(name, {}))


def part_of(x: np.ndarray, rows: np.ndarray) -> Readable:
    """As a first step leaves it: ids of the whole pool, rows a part of it."""
    return replace(Readable.of(x), embeddings=x[rows], rows=rows)


@pytest.mark.parametrize("name", registry.names())
@pytest.mark.parametrize("frames", [POOL, POOL.to_iterable_dataset(), DatasetDict({"train": POOL}), ["a.png"], None])
def test_frames_are_no_embeddings(frames, name):
    with pytest.raises(InvalidEmbeddings) as told:
        make(name, 0.5).select(frames, pool=POOL)
    assert str(told.value).startswith(
        f"expected embeddings (a store, its folder, or an (n, d) array), got a {type(frames).__name__}: embed the "
        "frames first, embed(frames, encoder, out)"
    )


def test_frames_are_no_embeddings_where_the_store_would_calibrate():
    with pytest.raises(InvalidEmbeddings, match=r"got a Dataset.*Dedup\(\.\.\., encoder=\.\.\.\)\.filter\(frames\)"):
        Dedup(0.1).select(POOL)


def test_rows_of_numbers_are_embeddings():
    x = oracle.clumps(60, 8, seed=3)
    assert Dedup(0.5, eta=0.95).select(x.tolist()).kept == Dedup(0.5, eta=0.95).select(x.astype(np.float64)).kept


def test_a_readable_is_read_as_it_is(tmp_path):
    readable = Readable.of(stored(tmp_path / "e", Dataset.from_dict({"id": IDS})))
    assert Readable.of(readable) is readable
    assert list(readable.ids) == IDS


@pytest.mark.parametrize("name", OF_A_PART)
def test_of_a_part_the_same_rows_are_chosen_as_of_those_rows_alone(name):
    x = oracle.clumps(300, 8)
    rows = np.sort(np.random.default_rng(0).permutation(300)[:120])
    part = part_of(x, rows)
    selection = make(name, 0.1).select(part)
    alone = make(name, 0.25).select(x[rows])  # 30 of 120, which are 30 of 300
    assert selection.kept == [str(rows[int(row)]) for row in alone.kept]
    assert len(selection.table) == 300
    assert selection.origin == part.origin
    assert make(name, 0.4).select(part).kept == [str(row) for row in rows]  # all that there are
    with pytest.raises(InvalidArgument, match="asks for 123 of 300 rows, but only 120 are readable"):
        make(name, 0.41).select(part)


@pytest.mark.parametrize("name", registry.names())
def test_of_a_part_every_selector_keeps_the_exact_number(name):
    x, rows = oracle.clumps(300, 8), np.arange(1, 300, 2)
    for retention in (0.05, 0.5):
        kept = make(name, retention).select(part_of(x, rows), pool=POOL).kept
        assert len(kept) == round(retention * 300)
        assert all(int(row) % 2 for row in kept)

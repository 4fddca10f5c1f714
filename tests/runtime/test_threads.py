"""Our own threads: tiles on several at once, and nothing changed for anybody else in the process."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import oracle
import pytest
import torch

from meddel_hf import MedDEL
from meddel_hf.dedup.block_engine import BlockEngine
from meddel_hf.dedup.passes import apply
from meddel_hf.neighbors import cosines as neighbors
from meddel_hf.neighbors import pairs
from meddel_hf.neighbors.cosines import Vectors
from meddel_hf.runtime import threads as ours
from meddel_hf.runtime.threads import own_threads, stream_threads


@pytest.fixture
def three():
    """torch computes on three threads, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def seen_by_a_new_thread() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


def test_items_come_in_order_from_three_threads_of_which_each_computes_alone(three):
    meeting = threading.Barrier(3, timeout=30)  # passed by three at once only

    def work(item: int) -> tuple[int, int, str]:
        meeting.wait()
        time.sleep(0.001 * (item % 3))
        return item, torch.get_num_threads(), threading.current_thread().name

    with own_threads() as threads:
        found = list(threads.map(work, range(12)))
    assert [item for item, _, _ in found] == list(range(12))
    assert {count for _, count, _ in found} == {1}
    assert len({name for _, _, name in found}) == 3


def test_nobody_else_notices(three):
    """Not a thread that used torch before, nor one that begins with it meanwhile, nor the caller afterwards."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 3
        with own_threads() as threads:
            list(threads.map(lambda item: torch.ones(9) @ torch.ones(9), range(9)))
            assert torch.get_num_threads() == 1
            assert pool.submit(torch.get_num_threads).result() == 3
            assert seen_by_a_new_thread() == 3
        assert pool.submit(torch.get_num_threads).result() == 3
    assert torch.get_num_threads() == seen_by_a_new_thread() == 3
    assert not [one for one in threading.enumerate() if one.name.startswith("tiles")]


def test_a_block_inside_another_shares_its_threads_and_a_tile_begins_none(three):
    def inside(item: int) -> int:
        with own_threads() as again:
            return again.count

    with own_threads() as threads, own_threads() as same:
        assert same is threads
        assert list(threads.map(inside, range(4))) == [1] * 4
    assert torch.get_num_threads() == 3


def test_an_error_in_a_tile_is_raised_and_ends_the_others(three):
    done = []

    def work(item: int) -> None:
        if item == 2:
            raise ZeroDivisionError
        time.sleep(0.01)
        done.append(item)

    with pytest.raises(ZeroDivisionError), own_threads() as threads:
        list(threads.map(work, iter(range(1000))))
    assert len(done) < 20
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("scope", ["cluster", "pool"])
def test_a_selection_is_the_same_on_any_number_of_threads_and_works_on_several(scope, monkeypatch):
    x = oracle.clumps(2500, 24, spread=0.5)  # enough rows for the bfloat16 screen and for several blocks
    kept, before = [], torch.get_num_threads()
    names: set[str] = set()
    screened = neighbors.product

    def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        names.add(threading.current_thread().name)
        assert torch.get_num_threads() == 1
        return screened(left, right)

    for module in (neighbors, pairs):
        monkeypatch.setattr(module, "product", product)
    for count in (1, 2, 5):
        names.clear()
        torch.set_num_threads(count)
        try:
            for engine in ("pairs", "blocks"):
                kept.append(MedDEL(eta=0.75, epsilon=None, scope=scope, engine=engine).select(x).table)
        finally:
            torch.set_num_threads(before)
        worked = len([name for name in names if name.startswith("tiles")])
        assert 2 <= worked <= count if count > 1 else not worked  # a busy machine may leave one of them nothing to do
    assert all(table.equals(kept[0]) for table in kept)


@pytest.mark.parametrize("rule", ["greedy", "semdedup"])
def test_a_limit_stops_the_groups_where_it_would_one_by_one(rule, three):
    """Groups are thinned ahead of one another: what the later ones keep must not count."""
    x = oracle.clumps(400, 8)
    groups = np.array_split(np.arange(400), 40)
    whole = apply(BlockEngine(Vectors.prepare(x), groups), rule, 0.8)
    for limit in (0, 1, 7, whole.count - 1, whole.count):
        done = apply(BlockEngine(Vectors.prepare(x), groups), rule, 0.8, limit)
        if rule == "semdedup" or limit == whole.count:
            assert (done.complete, done.count) == (True, whole.count)
        else:
            assert (done.complete, done.count) == (False, limit + 1)
            last = np.flatnonzero(done.kept)[-1]
            np.testing.assert_array_equal(done.kept[: last + 1], whole.kept[: last + 1])
            assert done.share == pytest.approx((last + 1) / 400)


def test_a_gpu_gets_work_in_streams_that_stay_the_same(three, monkeypatch):
    """Each thread has one, nested work is the thread's own, and the next call has the same (no real ones here)."""
    chosen: dict[str, object] = {}
    monkeypatch.setattr(torch.cuda, "synchronize", lambda place: None)
    monkeypatch.setattr(torch.cuda, "set_device", lambda place: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda place: object())
    monkeypatch.setattr(torch.cuda, "set_stream", lambda s: chosen.update({threading.current_thread().name: s}))
    ours._streams.cache_clear()
    meeting = threading.Barrier(3, timeout=30)

    def work(item: int) -> tuple[int, list[int], object]:
        meeting.wait()
        with stream_threads(torch.device("cuda:0")) as inner:
            assert inner.count == 1
            nested = list(inner.map(lambda n: n + item, range(3)))
        return item, nested, chosen[threading.current_thread().name]

    seen = []
    for _ in range(2):
        with own_threads(), stream_threads(torch.device("cuda:0")) as threads:
            answers = list(threads.map(work, range(9)))
        assert [(item, nested) for item, nested, _ in answers] == [(n, [n, n + 1, n + 2]) for n in range(9)]
        seen.append({stream for _, _, stream in answers})
        assert torch.get_num_threads() == seen_by_a_new_thread() == 3
    ours._streams.cache_clear()
    assert len(seen[0]) == 3
    assert seen[0] == seen[1]


def test_without_a_gpu_the_caller_works():
    with stream_threads(torch.device("cpu")) as threads:
        assert set(threads.map(lambda _: threading.current_thread(), range(5))) == {threading.current_thread()}

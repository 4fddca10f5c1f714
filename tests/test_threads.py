"""Our own threads: tiles on several at once, and nothing changed for anybody else in the process."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from meddel_hf.runtime.threads import own_threads


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

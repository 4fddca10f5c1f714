"""Tiles of a computation on a few threads of our own, each of which torch computes on alone.

torch parts every product among threads that wait for one another in a loop. Where a neighbour has one of the processors
for a moment, all of them wait for it, thousands of times in a selection, which becomes ten times slower. Threads that
each work at a tile of their own lose no more than their share of the processor. Nobody else in the process notices:
torch's number of threads belongs to a thread, and is set for ours, and for the caller as long as the block runs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache, cached_property, partial
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_TILES_AHEAD = 2  # per thread
_STREAMS = 3  # of a GPU: one computes, one waits for an answer, one begins


class OwnThreads:
    """count: threads that compute at once; with 1, it is the caller. begin: what each thread does first."""

    def __init__(self, count: int, usual: int, begin: Callable[[], object] = int) -> None:
        self.count, self.usual, self._first = count, usual, begin
        self.ours = False  # True of what a thread that we began has

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """work(item) of each item, in their order, a few ahead of what is asked for."""
        if self.count == 1 or (isinstance(items, Sequence) and len(items) < 2):
            yield from map(work, items)
            return
        under_way: deque[Future[Result]] = deque()
        try:
            for item in items:
                under_way.append(self._pool.submit(work, item))
                if len(under_way) > _TILES_AHEAD * self.count:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
            wait(under_way)

    def each(self, work: Callable[[Item], None], items: Iterable[Item]) -> None:
        """work(item) of each item, for what it does."""
        for _ in self.map(work, items):
            pass

    def parts(self, size: int, least: int = 1) -> list[slice]:
        """Slices of [0, size), one for each thread, of `least` each at least; one where there is one thread."""
        step = max(-(-size // self.count), least, 1)
        return [slice(start, min(start + step, size)) for start in range(0, size, step)]

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        begun = threading.Barrier(self.count + 1)
        pool = ThreadPoolExecutor(self.count, "tiles", _begin, (self.usual, begun, self._first))
        for _ in range(self.count):  # each begins a thread, since none is free before all have begun
            pool.submit(int)
        begun.wait()
        return pool

    def end(self) -> None:
        if "_pool" in self.__dict__:
            self._pool.shutdown()


@contextmanager
def own_threads() -> Iterator[OwnThreads]:
    """Have as many threads as torch would compute on here (`torch.get_num_threads()`); a block inside another shares.

    Also a decorator: `@own_threads()`.
    """
    if _here.threads is not None:
        yield _here.threads
        return
    usual = torch.get_num_threads()
    threads = _here.threads = OwnThreads(usual, usual)
    if usual > 1:
        _compute_alone(usual)
    try:
        yield threads
    finally:
        _here.threads = None
        threads.end()
        if usual > 1:
            torch.set_num_threads(usual)


class _Here(threading.local):
    """What the running thread has begun, or is."""

    threads: OwnThreads | None = None


_here = _Here()
_setting = threading.Lock()


@contextmanager
def stream_threads(place: torch.device) -> Iterator[OwnThreads]:
    """Threads that each give a GPU work in a stream of their own; elsewhere, and in one of our threads, the caller.

    While one of them waits for an answer, the device computes for another. What they share must be ready before they
    begin, and each brings its results back to the processor.
    """
    around = _here.threads
    usual = torch.get_num_threads() if around is None else around.usual
    if place.type != "cuda" or (around is not None and around.ours):
        yield OwnThreads(1, usual)
        return
    torch.cuda.synchronize(place)
    threads = OwnThreads(_STREAMS, usual, partial(_in_stream, place, iter(_streams(place))))
    try:
        yield threads
    finally:
        threads.end()


def _in_stream(place: torch.device, streams: Iterator[torch.cuda.Stream]) -> None:
    torch.cuda.set_device(place)
    torch.cuda.set_stream(next(streams))


@cache
def _streams(place: torch.device) -> list[torch.cuda.Stream]:
    """The same ones each time, since torch keeps memory for each stream that ever computed."""
    return [torch.cuda.Stream(place) for _ in range(_STREAMS)]


def _begin(usual: int, begun: threading.Barrier, first: Callable[[], object]) -> None:
    """Make the running thread one of ours."""
    _here.threads = OwnThreads(1, usual)
    _here.threads.ours = True
    try:
        _compute_alone(usual)
        first()
    finally:
        begun.wait()


def _compute_alone(usual: int) -> None:
    """Have torch compute on the running thread alone, and threads that begin with torch later on `usual` as before.

    `set_num_threads` sets both, the number of the thread that calls it and the one for threads to come; so another
    thread, of no further use, sets the latter back.
    """
    with _setting:
        torch.get_num_threads()  # a thread's first question of torch takes the number over from the others
        torch.set_num_threads(1)
        other = threading.Thread(target=torch.set_num_threads, args=(usual,))
        other.start()
        other.join()

"""Processes counted for real: whom a process has started, and who of them is left."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

SECONDS = 15  # within which nobody may be left; on a quiet machine it is one


def children(pid: int) -> list[psutil.Process]:
    """Processes below `pid`, all generations."""
    return psutil.Process(pid).children(recursive=True)


def left(family: list[psutil.Process], seconds: float = SECONDS) -> list[psutil.Process]:
    """Those that are still alive after so many seconds; zombies are not."""
    end = time.monotonic() + seconds
    while (found := [one for one in family if _lives(one)]) and time.monotonic() < end:
        time.sleep(0.01)
    for one in found:
        one.kill()  # for the next test's sake
    return found


def soon(what: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so; an AssertionError where it never is."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.005)


@contextmanager
def counted() -> Iterator[set[int]]:
    """The numbers of the interpreters that this one had below it during the block, and not before; whole after it.

    Of what lives for less than two looks nothing is said, such as a shell's helper that a library asks for something.
    """
    seen: set[int] = set()
    command_of: dict[int, str] = {}  # as last seen: between fork and exec a process bears its parent's
    looks: Counter[int] = Counter()
    over = threading.Event()
    there = {one.pid for one in psutil.Process().children(recursive=True)}  # a server that forks for other tests

    def look() -> None:
        for one in psutil.Process().children(recursive=True):
            if one.pid in there:
                continue
            with suppress(psutil.NoSuchProcess):
                if command := " ".join(one.cmdline()):  # one that is ending has none
                    command_of[one.pid] = command
                    looks[one.pid] += 1

    def watch() -> None:
        while not over.wait(0.02):
            look()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()
        look()
        lasting = {pid: command for pid, command in command_of.items() if looks[pid] > 2}
        seen.update(pid for pid, it in lasting.items() if "python" in it and "resource_tracker" not in it)


def heed_interrupts() -> None:
    """To be run in a new process: a suite that was started in the background ignores SIGINT, and so would the child."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _lives(one: psutil.Process) -> bool:
    try:
        return one.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

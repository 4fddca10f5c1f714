"""A command that is told to stop (Ctrl-C, or SIGTERM) stops: soon, once, and takes away what is half-written.

Python turns a Ctrl-C into an exception, which is lost where it meets code that swallows all exceptions: destructors,
callbacks of C code, a bare `except:` of a library. And it cannot be raised at all while the main thread is inside C
code, such as a wait for another process. So a thread watches over each request: it is made again until the command
begins to unwind, and where Python does not come back to hear of it, the process ends at once.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from meddel_hf.runtime.shard import is_first

_AGAIN = 0.5  # seconds after which a request that was swallowed is made again
_DEAF = 5.0  # seconds that C code may take to come back to Python
_MEANT = 2.0  # seconds after the first request from which another one ends the process at once
_REQUESTS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """Somebody asked this command to stop."""


class Requests:
    """What was asked of a command while it ran: `number` is that of the first signal, or None.

    Whatever ends a command after a request, ends it because of it: a worker that was killed along with it, or an import
    that was cut short, may answer with an error of its own.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.answered = False  # the command has ended, and said so: nothing more is asked of it
        self._main = threading.get_ident()
        self._read = self.write = -1  # ends of a pipe, while signals are heard

    def heard(self, number: int, frame: FrameType | None) -> None:
        """Called in the main thread, between two steps of Python."""
        self.number = self.number or number
        if not (self.answered or _is_unwinding()):
            raise Stopped(self.number)

    def begin(self) -> threading.Thread:
        self._read, self.write = os.pipe()
        os.set_blocking(self.write, False)
        watcher = threading.Thread(target=self._watch, name="requests-to-stop", daemon=True)
        watcher.start()
        return watcher

    def end(self, watcher: threading.Thread) -> None:
        os.write(self.write, b"\0")
        watcher.join()
        os.close(self._read)
        os.close(self.write)

    def _watch(self) -> None:
        """The thread's work. Each signal arrives here as a byte, whatever the main thread does."""
        first = number = ours = 0
        while not self.answered:
            ready, _, _ = select.select([self._read], [], [], _AGAIN if first else None)
            told = [byte for byte in os.read(self._read, 64) if byte in _REQUESTS] if ready else []
            now = time.monotonic_ns()
            if told and not first:
                first, number = now, told[0]
                continue
            seconds = (now - first) / 1e9 if first else 0.0
            theirs, ours = len(told) - ours, max(0, ours - len(told))
            if (theirs > 0 and seconds > _MEANT) or (self.number is None and seconds > _DEAF):
                self._leave_at_once(number)
            if first and not ready and not self.answered:
                ours += 1
                signal.pthread_kill(self._main, number)

    def _leave_at_once(self, number: int) -> None:
        if is_first():
            os.write(2, b"\nstopped at once: the next run takes away what is half-written\n")
        os._exit(128 + number)


@contextmanager
def requests_heard() -> Iterator[Requests]:
    """While the block runs, Ctrl-C and SIGTERM raise `Stopped` in it, and are not lost.

    A signal that is ignored, as under nohup, stays ignored; outside of the main thread nothing is heard. A block inside
    another one hears with it. Processes that are forked meanwhile are deaf to Ctrl-C, which a terminal sends to them
    too, and die of SIGTERM as usual.
    """
    if _Listening.now is not None:
        yield _Listening.now[0]
        return
    before = {number: signal.getsignal(number) for number in _REQUESTS}
    numbers = [number for number, now in before.items() if now in (signal.SIG_DFL, signal.default_int_handler)]
    requests = Requests()
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_kill"):
        yield requests
        return
    unraisable = sys.unraisablehook
    sys.unraisablehook = lambda lost: None if isinstance(lost.exc_value, Stopped) else unraisable(lost)
    watcher = requests.begin()
    wakeup = signal.set_wakeup_fd(requests.write, warn_on_full_buffer=False)
    _Listening.now = requests, numbers
    try:
        for number in numbers:
            signal.signal(number, requests.heard)
        yield requests
    finally:
        requests.answered = True
        for number in numbers:
            signal.signal(number, before[number])
        signal.set_wakeup_fd(wakeup)
        sys.unraisablehook = unraisable
        _Listening.now = None
        requests.end(watcher)


def _is_unwinding() -> bool:
    """Is a request being handled, in a `finally` or an `except` somewhere below?"""
    error, seen = sys.exc_info()[1], set[int]()
    while error is not None and id(error) not in seen:
        if isinstance(error, Stopped):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


class _Listening:
    """The requests that are heard now, with the numbers of their signals; and what becomes of them in a fork."""

    now: tuple[Requests, list[signal.Signals]] | None = None
    mask: Any = None

    @classmethod
    def before_fork(cls) -> None:
        if cls.now is not None:
            cls.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _REQUESTS)

    @classmethod
    def in_parent(cls) -> None:
        if cls.now is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, cls.mask)

    @classmethod
    def in_child(cls) -> None:
        if cls.now is None:
            return
        signal.set_wakeup_fd(-1)
        for number in cls.now[1]:
            signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, cls.mask)
        cls.now = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_Listening.before_fork, after_in_parent=_Listening.in_parent, after_in_child=_Listening.in_child
    )

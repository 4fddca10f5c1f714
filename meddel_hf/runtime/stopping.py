"""A command that is told to stop (Ctrl-C, or a polite kill) stops: soon, once, and with its half-written files gone.

Python turns a Ctrl-C into an exception, which is lost where it meets code that swallows all exceptions: destructors,
callbacks of C code, a bare `except:` of a library. And it cannot be raised at all while the main thread is inside C
code, such as a wait for another process. So a thread watches over every request: it is made again until the command
begins to unwind, and where nothing of it is heard, the process ends at once.
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

_AGAIN = 0.5  # seconds after which a request that was swallowed is made again
_DEAF = 5.0  # seconds that C code may take to come back to Python
_MEANT = 2.0  # seconds after the first request from which another one ends the process at once
_REQUESTS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """Somebody asked this command to stop. status: what it shall end with, 130 after Ctrl-C and 143 after a kill."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


class Requests:
    """What was asked of a command while it ran: `status` is None, or the exit status of one that was stopped.

    Whatever ends the command after a request ends it because of it: a worker that was killed along with it, or an
    import that was cut short, may answer with an error of its own.
    """

    status: int | None = None

    def __init__(self) -> None:
        self._first: Stopped | None = None
        self._over = False
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._main = threading.get_ident()

    def heard(self, number: int, frame: FrameType | None) -> None:
        """Called in the main thread, between two steps of Python."""
        if self._over or self._unwinding():
            return
        if self._first is None:
            self._first, self.status = Stopped(number), 128 + number
            raise self._first
        raise Stopped(self.status - 128 if self.status else number) from self._first

    def _unwinding(self) -> bool:
        """Is the command handling the first request, in a `finally` or an `except`?"""
        error = sys.exc_info()[1]
        seen: set[int] = set()
        while error is not None and id(error) not in seen:
            if isinstance(error, Stopped):
                return True
            seen.add(id(error))
            error = error.__cause__ or error.__context__
        return False

    def watch(self) -> None:
        """The thread's work."""
        first, number, ours = None, 0, 0
        while True:
            ready, _, _ = select.select([self._read], [], [], None if first is None else _AGAIN)
            told = [byte for byte in os.read(self._read, 64) if byte in _REQUESTS] if ready else []
            if self._over:
                return
            if not told and first is None:
                continue
            now = time.monotonic()
            first, number = (now, told[0]) if first is None else (first, number)
            theirs = max(0, len(told) - ours)
            ours = max(0, ours - len(told))
            deaf = self.status is None and now - first > _DEAF
            if deaf or (theirs and now - first > _MEANT):
                print("\nstopped at once: what was half-written is swept by the next run", file=sys.stderr, flush=True)
                os._exit(128 + number)
            if not ready:
                ours += 1
                signal.pthread_kill(self._main, number)

    def end(self) -> None:
        self._over = True
        os.write(self._write, b"\0")

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


@contextmanager
def requests_heard() -> Iterator[Requests]:
    """While the block runs, Ctrl-C and SIGTERM raise `Stopped` in it, and are not lost. Main thread only.

    A signal that is ignored, as under nohup, stays ignored. Processes that are forked meanwhile are deaf to Ctrl-C,
    which the terminal sends to them too, and die of SIGTERM as usual.
    """
    requests = Requests()
    before = {number: signal.getsignal(number) for number in _REQUESTS}
    usual = (signal.SIG_DFL, signal.default_int_handler)
    listening = [number for number, now in before.items() if now in usual]
    if threading.current_thread() is not threading.main_thread() or not listening or not hasattr(signal, "pthread_kill"):
        requests.close()
        yield requests
        return
    unraisable = sys.unraisablehook
    sys.unraisablehook = lambda lost: None if isinstance(lost.exc_value, Stopped) else unraisable(lost)
    wakeup = signal.set_wakeup_fd(requests._write, warn_on_full_buffer=False)
    watcher = threading.Thread(target=requests.watch, name="stop-requests", daemon=True)
    watcher.start()
    _Forks.listening.append((requests, listening))
    try:
        for number in listening:
            signal.signal(number, requests.heard)
        yield requests
    finally:
        requests.end()
        _Forks.listening.pop()
        for number in listening:
            signal.signal(number, before[number])
        signal.set_wakeup_fd(wakeup)
        sys.unraisablehook = unraisable
        watcher.join()
        requests.close()


class _Forks:
    """What becomes of the signals in a child that is forked while a command listens."""

    listening: list[tuple[Requests, list[signal.Signals]]] = []
    mask: Any = None

    @classmethod
    def before(cls) -> None:
        if cls.listening:
            cls.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _REQUESTS)

    @classmethod
    def in_parent(cls) -> None:
        if cls.listening:
            signal.pthread_sigmask(signal.SIG_SETMASK, cls.mask)

    @classmethod
    def in_child(cls) -> None:
        if not cls.listening:
            return
        signal.set_wakeup_fd(-1)
        for number in cls.listening[-1][1]:
            signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, cls.mask)
        cls.listening.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_Forks.before, after_in_parent=_Forks.in_parent, after_in_child=_Forks.in_child)

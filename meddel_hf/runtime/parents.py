"""No process of ours outlives the one that started it, however that one ended.

A worker whose parent was killed gets no word of it: it waits for work, or for room in a pipe, for ever. So each watches
its parent from a thread of its own, which also runs while the others are inside C code.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from functools import cache
from multiprocessing.process import BaseProcess

_PATIENCE = 0.5  # seconds between two looks at the parent


def become_worker(number: int = 0) -> None:
    """To be called first in a worker process: it ends with its parent, and leaves Ctrl-C to it.

    number: of the worker, as torch's DataLoader passes it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent,), name="leave-with-parent", daemon=True).start()


@cache  # once a process
def leave_with_launcher() -> None:
    """To be called in a process that `torchrun` or `accelerate launch` started: it ends with the launcher."""
    launcher = os.getppid()
    if "TORCHELASTIC_RUN_ID" in os.environ and launcher > 1:
        threading.Thread(target=_leave_without, args=(launcher,), name="leave-with-launcher", daemon=True).start()


def _leave_with(parent: BaseProcess) -> None:
    # The sentinel is a pipe that closes with the parent. Forked siblings hold its other end open too, so that the last
    # of them goes first; a stranger that was forked meanwhile does not go. Our parent's number tells of that as well,
    # but where a server forks for it.
    direct = multiprocessing.get_start_method() != "forkserver"
    while parent.is_alive() and (not direct or os.getppid() == parent.pid):
        parent.join(_PATIENCE)
    os._exit(1)


def _leave_without(launcher: int) -> None:
    pause = threading.Event()
    while os.getppid() == launcher:
        pause.wait(_PATIENCE)
    os._exit(1)

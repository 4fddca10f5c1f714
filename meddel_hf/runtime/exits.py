"""How a command ends: what is expected to go wrong becomes one sentence on stderr, and an exit status."""

from __future__ import annotations

import atexit
import errno
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from meddel_hf.errors import MedDELError
from meddel_hf.runtime.disk import disk_error
from meddel_hf.runtime.reading import reason
from meddel_hf.runtime.shard import is_first
from meddel_hf.runtime.stopping import requests_heard

# As shells and sysexits have them: 2 an error that the sentence explains, 128 + the signal's number.
ERROR, INTERRUPTED, NOBODY_READS, TERMINATED = 2, 130, 141, 143
DEBUG = "MEDDEL_DEBUG"  # environment variable: show the traceback of an error too

_CURES = {
    errno.ENOSPC: "make room there, and run the same command again",
    errno.EDQUOT: "make room there, and run the same command again",
    errno.EROFS: "choose a place that can be written",
    errno.EACCES: "choose a place that this user may read and write",
    errno.EPERM: "choose a place that this user may read and write",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENAMETOOLONG: "choose a shorter path",
}


def exit_status(work: Callable[[], int | None], *, interrupted: str = "nothing half-written was left behind") -> int:
    """Run a command's work. Returns its status: what `work` answers (None: 0), or that of the way in which it ended.

    interrupted: what the user is told of the state of things after Ctrl-C or SIGTERM.
    Of several processes that a launcher started, the main one alone tells of an error that all of them meet.
    """
    with requests_heard() as requests:
        try:
            status = work() or 0
        except BaseException as error:
            status = _status_of(error, requests.number, interrupted)
        else:
            if requests.number is not None and not requests.answered:  # the work was through before it heard of it
                status = _status_of(KeyboardInterrupt(), requests.number, interrupted)
        requests.answered = requests.number is not None
    atexit.register(_leave_on_request)
    return status


def _leave_on_request() -> None:
    """While Python takes itself apart after the work, a signal ends it without a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, lambda number, frame: os._exit(128 + number))


def _status_of(error: BaseException, request: int | None, interrupted: str) -> int:
    """Tell of what ended the work, and return its exit status; what nobody expects is raised again."""
    if request is not None or isinstance(error, KeyboardInterrupt):
        terminated = request == signal.SIGTERM
        if is_first():
            _tell(f"\n{'terminated' if terminated else 'interrupted'}: {interrupted}")
        return TERMINATED if terminated else INTERRUPTED
    if isinstance(error, BrokenPipeError):  # the reader of our output has seen enough, as with `| head`
        _close_output()
        return NOBODY_READS
    if _is_lost_peer(error) and not os.environ.get(DEBUG):
        _tell("error: another process of this run has ended before it was through: see what it said, and run again")
        return ERROR
    if _is_killed_worker(error) and not os.environ.get(DEBUG):
        _tell(
            "error: a process that reads frames ahead was killed, most often for want of memory: run the same command "
            "again, with fewer of them (--num-workers)"
        )
        return ERROR
    if isinstance(error, Exception) and _is_expected(error) and not os.environ.get(DEBUG):
        if isinstance(error, OSError) or is_first():
            _tell(f"error: {sentence(error)}")
        return ERROR
    raise error


def _is_expected(error: Exception) -> bool:
    """Ours, the system's, also in the disguise of safetensors and torch, and what damaged data lead to."""
    kinds: tuple[type[Exception], ...] = (MedDELError, OSError, MemoryError, UnicodeError)
    if "pyarrow" in sys.modules:
        kinds += (sys.modules["pyarrow"].lib.ArrowException,)
    return isinstance(error, kinds) or disk_error(error) is not None


def sentence(error: BaseException) -> str:
    """An expected error in one line."""
    if isinstance(error, MemoryError):
        text = f"there is not enough memory ({error})" if str(error) else "there is not enough memory"
        return f"{text}: use a machine with more, or smaller batches"
    if isinstance(error, OSError) and not isinstance(error, MedDELError) and error.strerror:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        cure = _CURES.get(error.errno or 0)
        return f"{where}{error.strerror}" + (f": {cure}" if cure else "")
    if not isinstance(error, (MedDELError, OSError)):
        said = disk_error(error)
        if said is not None:
            return f"{said}: make room, and run the same command again"
        text = reason(error)
        return f"what was read is damaged, or not what its name says ({text}): copy it again, or look at it by hand"
    words = re.sub(r"\s*[\r\n]\s*", " ", str(error).strip())  # two spaces in a file's name stay two
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words) or type(error).__name__


def _is_lost_peer(error: BaseException) -> bool:
    """Did a process that others wait for go away? torch has no class of errors for that."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return several and isinstance(error, RuntimeError) and ("by peer" in str(error) or "Broken pipe" in str(error))


def _is_killed_worker(error: BaseException) -> bool:
    """Did a process of a DataLoader go away? torch has no class of errors for that either."""
    said = str(error)
    return isinstance(error, RuntimeError) and said.startswith("DataLoader worker (pid")


def _tell(line: str) -> None:
    with suppress(OSError, ValueError):  # nobody listens any more; the status still tells
        print(line, file=sys.stderr, flush=True)


def _close_output() -> None:
    """Keep Python from failing once more when it flushes what nobody reads."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            os.dup2(nothing, stream.fileno())

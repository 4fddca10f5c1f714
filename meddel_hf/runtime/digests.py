"""Content digests of files: computed once, then remembered until a file changes.

A digest is remembered beside the file's size, times (modified, changed), inode and device. A file that changed within
the last two seconds before it was read is not remembered: it could change again without a newer time (as git does it).

What is remembered stands in one SQLite file that any number of processes share, `$HF_HOME/meddel_hf/digests.sqlite`,
readable by its owner alone. Privacy: it holds the names and folders of the files that were read, and nothing of their
content. The environment variable MEDDEL_HF_DIGESTS names another file; `MEDDEL_HF_DIGESTS=off` remembers nothing.
It may be deleted at any time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import xxhash
from filelock import FileLock, Timeout

from meddel_hf.errors import InvalidDataset
from meddel_hf.runtime.memory import Known, Memory
from meddel_hf.runtime.progress import tqdm
from meddel_hf.runtime.regular import open_regular, stat_regular, why_not_read
from meddel_hf.runtime.shard import is_first

UNREAD = "!"  # what stands before the reason in place of a digest
_BLOCK = 1 << 20
_RACY = 2.0  # seconds: the coarsest time stamps of file systems in use
_THREADS = 4
_FILES_A_TASK = 32
_SAVED_EVERY = 20.0  # seconds: what an interruption costs at most
_LOCKS = 64  # lock files, one of which stands for a set of files
_LONGEST_WAIT = 600.0  # seconds, for another process that reads the same files


def file_digest(path: str | Path) -> str:
    """xxh3_128 of a file's content, 32 hex digits, read now; `!` and the reason where it cannot be read."""
    try:
        return _read(path)[0]
    except OSError as error:
        return UNREAD + why_not_read(error)


def file_digests(paths: Sequence[Path], what: str = "files", most: int | None = None) -> list[str]:
    """Content digests in the order of `paths`, 32 hex digits each; `!` and the reason for a file that cannot be read.

    Files that are remembered cost one `stat` each. A bar is shown where the rest takes long; `what` is its noun.
    most: bytes beyond which a file is not read, and has that reason for a digest.
    Raises InvalidDataset where a file changes while it is being read.
    """
    memory, places = Memory.usual(), _places(paths)
    digests, missing = _recalled(memory, paths, places, most)
    if missing:
        with _alone(memory, paths):  # several processes of one run ask the same: one reads, the others recall
            if memory.path is not None:
                digests, missing = _recalled(memory, paths, places, most)
            _read_all(memory, paths, places, missing, digests, what)
            memory.asked_for({folder for folder, _ in places})
    return [digests[index] for index in range(len(paths))]


def _places(paths: Sequence[Path]) -> list[tuple[str, str]]:
    """(real folder, name) of each path: what it is remembered under, whichever way one came to its folder."""
    real: dict[str, str] = {}
    known = []
    for path in paths:
        folder, name = os.path.split(os.path.abspath(path))
        if folder not in real:
            real[folder] = os.path.realpath(folder)
        known.append((real[folder], name))
    return known


def _recalled(
    memory: Memory, paths: Sequence[Path], places: Sequence[tuple[str, str]], most: int | None
) -> tuple[dict[int, str], list[int]]:
    """(index -> digest of what is known or cannot be read, indices of what is to be read)."""
    known = {folder: memory.of(folder) for folder in {folder for folder, _ in places}}
    digests, missing = {}, []
    for index, (path, (folder, name)) in enumerate(zip(paths, places, strict=True)):
        before = known[folder].get(name)
        try:
            state = _state(stat_regular(path, most))
        except OSError as error:
            digests[index] = UNREAD + why_not_read(error)
            continue
        if before is not None and before.state == state:
            digests[index] = before.digest
        else:
            missing.append(index)
    return digests, missing


def _read_all(
    memory: Memory,
    paths: Sequence[Path],
    places: Sequence[tuple[str, str]],
    missing: Sequence[int],
    digests: dict[int, str],
    what: str,
) -> None:
    """Read the missing files in a few threads, and keep what is worth remembering as it comes."""
    new: dict[str, dict[str, Known]] = {}
    saved, bar = time.monotonic(), {"desc": f"reading {what}", "unit": f" {what}", "delay": 5, "leave": False}
    with tqdm(total=len(missing), disable=not is_first(), **bar) as shown:
        for index, digest, state in _in_threads(paths, missing):
            digests[index] = digest
            if state is not None:
                folder, name = places[index]
                new.setdefault(folder, {})[name] = Known(digest, state)
            shown.update()
            if time.monotonic() - saved > _SAVED_EVERY:
                _save(memory, new)
                saved = time.monotonic()
    _save(memory, new)


def _save(memory: Memory, new: dict[str, dict[str, Known]]) -> None:
    for folder, files in new.items():
        memory.learn(folder, files)
    new.clear()


def _in_threads(paths: Sequence[Path], indices: Sequence[int]) -> Iterator[tuple[int, str, str | None]]:
    def work(part: list[int]) -> list[tuple[int, str, str | None]]:
        return [(index, *_digested(paths[index])) for index in part]

    parts = _parts(indices, _FILES_A_TASK)
    if len(indices) <= _FILES_A_TASK:
        for part in parts:
            yield from work(part)
        return
    with ThreadPoolExecutor(_THREADS) as threads:
        ahead = [threads.submit(work, part) for part in islice(parts, 2 * _THREADS)]
        try:
            while ahead:
                done = ahead.pop(0).result()
                ahead += [threads.submit(work, part) for part in islice(parts, 1)]
                yield from done
        finally:
            for waiting in ahead:
                waiting.cancel()


def _parts(indices: Sequence[int], size: int) -> Iterator[list[int]]:
    rest = iter(indices)
    while part := list(islice(rest, size)):
        yield part


def _digested(path: Path) -> tuple[str, str | None]:
    """(digest or reason, state to remember it by or None)."""
    try:
        return _read(path)
    except OSError as error:
        return UNREAD + why_not_read(error), None


def _read(path: str | Path) -> tuple[str, str | None]:
    began = time.time()
    digest = xxhash.xxh3_128()
    with open_regular(path) as file:
        before = os.fstat(file.fileno())
        while block := file.read(_BLOCK):
            digest.update(block)
        after = os.fstat(file.fileno())
    if _state(before) != _state(after):
        raise InvalidDataset(
            f"{path} changed while it was being read: let whatever writes it finish, then run the same command again"
        )
    racy = max(before.st_mtime, before.st_ctime) > began - _RACY
    return digest.hexdigest(), None if racy else _state(before)


def _state(stat: os.stat_result) -> str:
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino} {stat.st_dev}"


@contextmanager
def _alone(memory: Memory, paths: Sequence[Path]) -> Iterator[None]:
    """Wait while another process reads files of the same folder; where there are no locks, go on at once."""
    if memory.path is None:
        yield
        return
    number = int(xxhash.xxh3_64_hexdigest(os.fsencode(paths[0].parent)), 16) % _LOCKS
    lock = FileLock(f"{memory.path}.{number}.lock")
    with suppress(Timeout, OSError, NotImplementedError):
        lock.acquire(timeout=_LONGEST_WAIT)
    try:
        yield
    finally:
        lock.release()

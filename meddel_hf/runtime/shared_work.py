"""Work that several processes share through a folder: each does some of its parts, and reads the others' from there.

No process sends another a message. Each runs the whole command; where something takes long, it is cut into parts, and
whoever comes first does a part and leaves its answer in the folder, whole or not at all. A part is known by a digest of
all that decides its answer, so that any number of processes, of one run or of one that was killed, may do it, and so
that no answer to another question is ever taken. A lock that the system frees when a process dies says who is at what.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray
from safetensors.numpy import load, save

from meddel_hf.errors import IncompleteStore, InvalidArgument
from meddel_hf.runtime.files import aside_of
from meddel_hf.runtime.progress import tqdm
from meddel_hf.runtime.resume import BEGUN, begin, begun, check_same, state
from meddel_hf.runtime.shard import Shard

LOCKS = "locks"
_LEAST = 2**31  # multiplications of a part, at least: some hundredths of a second on a processor
_MOST = 128  # parts of one question, at most
_SHORT, _LONG = 0.02, 0.5  # seconds between two looks at what others have done
_PATIENCE = 60.0  # seconds of waiting before it is said
_DIGEST = 16  # bytes

Arrays = Mapping[str, NDArray[Any]]

log = logging.getLogger(__name__)


class PartsGone(IncompleteStore):
    """The folder went while this process was at work: another has put the answer together, or somebody deleted it."""


def shared_work() -> SharedWork | None:
    """The folder through which this thread shares its work; None where it works alone."""
    return _current.get()


@contextmanager
def sharing(work: SharedWork | None) -> Iterator[None]:
    """Have the block share its long work; None: have it work alone."""
    token = _current.set(work)
    try:
        yield
    finally:
        _current.reset(token)


def cut(costs: NDArray[np.float64]) -> list[slice]:
    """Runs of consecutive units that cost about the same, one where they are not worth sharing.

    costs: (u,) multiplications of each unit. The same whatever the number of processes.
    """
    total = float(costs.sum())
    if total < 2 * _LEAST:
        return [slice(0, len(costs))]
    number = (np.cumsum(costs) - costs / 2) // max(_LEAST, total / _MOST)
    bounds = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(costs)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def even(rows: int, cost: float, multiple: int = 1, most: int = _MOST) -> list[slice]:
    """As `cut`, of rows that cost the same each; parts begin at multiples of so many rows."""
    parts = int(min(most, rows * cost // _LEAST))
    if parts < 2:
        return [slice(0, rows)]
    step = -(-rows // (parts * multiple)) * multiple
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def in_parts(
    name: str,
    question: Callable[[], str],
    rows: int,
    cost: float,
    answer: Callable[[slice], Arrays],
    multiple: int = 1,
    most: int = _MOST,
) -> Arrays:
    """answer(slice(0, rows)), put together from slices of the rows that several processes share, where they do.

    question: gives a digest of all that decides the answer. cost: multiplications for each row. answer: arrays whose
    first axis goes along the slice, or is summed up by the caller.
    """
    work = shared_work()
    parts = [] if work is None else even(rows, cost, multiple, most)
    if work is None or len(parts) < 2:
        return answer(slice(0, rows))
    costs = [float(part.stop - part.start) for part in parts]
    answers = list(work.answers(name, question(), costs, lambda part: answer(parts[part])))
    return {key: np.concatenate([each[key] for each in answers]) for key in answers[0]}


def digest_of(*things: Any) -> str:
    """32 hex digits of arrays, texts and numbers, each told apart from its neighbours."""
    digest = xxhash.xxh3_128()
    for thing in things:
        if isinstance(thing, np.ndarray):
            digest.update(f"{thing.dtype} {thing.shape} ".encode())
            digest.update(np.ascontiguousarray(thing).view(np.uint8).reshape(-1).data if thing.size else b"")
        else:
            digest.update(f"{thing!r} ".encode())
    return digest.hexdigest()


class SharedWork:
    """The folder of parts of one command.

    folder:   beside what the command writes; it is made with the first part.
    facts:    what is asked, as it stands in the folder for whoever looks, such as {"eta": 0.8}.
    shard:    which of the processes this is: where it begins; what nobody is at, it does as well.
    finished: whether the answer was written; asked before anything is begun.
    done:     parts that this process did. asked: those that there were.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], shard: Shard, finished: Callable[[], bool]) -> None:
        self.folder, self.facts, self.shard, self.finished = folder, dict(facts), shard, finished
        self.done = self.asked = 0
        self._locks: _Locks | None = None

    def check(self) -> None:
        """Raises Mismatch where parts of another question stand in the folder."""
        if state(self.folder) == "begun":
            check_same(self.folder, begun(self.folder), self.facts, cure="choose another --out, or delete this folder")

    def answers(
        self, name: str, question: str, costs: Sequence[float], answer: Callable[[int], Arrays], in_turn: bool = False
    ) -> Iterator[Arrays]:
        """answer(part) of each part, in order.

        name: of the work, for people. costs: of each part; the dear ones are begun first, unless `in_turn` says that
        the later ones may not be needed.
        """

        def write(part: int, path: Path) -> None:
            path.write_bytes(_packed(answer(part)))

        for part, path in enumerate(self.files(name, question, costs, write, in_turn)):
            there = _unpacked(path)
            if there is None:  # a machine that lost its power, or a bad disk
                log.warning("%s is damaged, and made again", path)
                self._make(path, part, write)
                there = _unpacked(path)
            if there is None:
                raise InvalidArgument(f"{path} cannot be read as it was written: look at the disk, and run again")
            yield there

    def files(
        self,
        name: str,
        question: str,
        costs: Sequence[float],
        write: Callable[[int, Path], None],
        in_turn: bool = False,
        sync: bool = False,
    ) -> Iterator[Path]:
        """The file of each part, in order, as soon as it is there. write(part, path): makes it. sync: onto the disk."""
        if self._locks is None:
            self._begin()
        key = digest_of(question, list(costs))  # another cut has other parts
        folder = self.folder / f"{name.replace(' ', '-')}-{key}"
        with self._there(), suppress(FileExistsError):
            folder.mkdir()
        left = list(range(len(costs)))
        if not in_turn:
            dear = sorted(left, key=lambda part: (-costs[part], part))
            mine = self.shard.part(dear)
            left = mine + [part for part in dear if part not in mine]
        self.asked += len(costs)
        shown = self.shard.index == 1 or Shard.launched() is None
        with tqdm(total=len(costs), desc=name, unit="part", delay=5, leave=False, disable=not shown) as bar:
            there: set[str] = set()
            for part in range(len(costs)):
                path, pause, since = folder / _name(part), _SHORT, time.monotonic()
                while path.name not in there:
                    with self._there():
                        there = set(os.listdir(folder))
                    left = [other for other in left if _name(other) not in there]
                    bar.update(len(costs) - len(left) - bar.n)
                    if path.name in there:
                        break
                    if self._did_one(folder, left, write, sync):
                        pause, since = _SHORT, time.monotonic()
                        continue
                    time.sleep(pause)
                    pause = min(2 * pause, _LONG)
                    if time.monotonic() - since > _PATIENCE:
                        log.info("waiting for other processes, which are at the last parts of: %s", name)
                        since = float("inf")
                yield path

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process is in such a block, such as one that writes the answer."""
        if self._locks is None:  # nothing was shared
            self._begin()
        assert self._locks is not None
        pause = _SHORT
        while not self._locks.take("alone"):
            time.sleep(pause)
            pause = min(2 * pause, _LONG)
        try:
            yield
        finally:
            if self._locks is not None:  # or the block took the folder away
                self._locks.free("alone")

    def remove(self) -> None:
        """Take the folder away at once; whoever is still at work there is told by `PartsGone`."""
        if self._locks is not None:
            self._locks.close()
            self._locks = None
        gone = aside_of(self.folder)
        with suppress(FileNotFoundError):
            os.rename(self.folder, gone)
            shutil.rmtree(gone, ignore_errors=True)

    def remove_where_empty(self) -> None:
        """Take the folder away where no part stands in it, since an error came first."""
        with suppress(FileNotFoundError, NotADirectoryError):
            if set(os.listdir(self.folder)) <= {BEGUN, LOCKS}:
                self.remove()

    def _begin(self) -> None:
        with self._there():
            self.folder.mkdir(parents=True, exist_ok=True)
            locks = _Locks(self.folder / LOCKS)
            while not locks.take("begin"):
                time.sleep(_SHORT)
            if state(self.folder) == "begun":
                self.check()
            else:
                begin(self.folder, self.facts)
            locks.free("begin")
        self._locks = locks
        if self.finished():  # between our beginning and now
            raise PartsGone(f"{self.folder} is needed no longer")

    def _did_one(self, folder: Path, left: list[int], write: Callable[[int, Path], None], sync: bool) -> bool:
        """Do the first of these parts that nobody is at; False where there is none."""
        assert self._locks is not None
        for part in left:
            path = folder / _name(part)
            if not self._locks.take(f"{folder.name}/{part}"):
                continue
            try:
                if not path.exists():  # somebody may have finished it since we looked
                    self._make(path, part, write, sync)
            finally:
                self._locks.free(f"{folder.name}/{part}")
            return True
        return False

    def _make(self, path: Path, part: int, write: Callable[[int, Path], None], sync: bool = False) -> None:
        aside = aside_of(path)
        try:
            with sharing(None), self._there():
                write(part, aside)
                if sync:
                    with aside.open("rb") as file:
                        os.fsync(file.fileno())
                os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
        self.done += 1

    @contextmanager
    def _there(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError) as error:
            if self.folder.is_dir() and (self.folder / BEGUN).is_file():
                raise
            raise PartsGone(f"{self.folder} went while this process was at work") from error


class _Locks:
    """Locks of many names in one file: each is a byte of it, and the system frees it when a process ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def take(self, name: str) -> bool:
        """False where another process has it. Raises InvalidArgument where the file system knows no locks."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(name))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise InvalidArgument(
                f"{self.path.parent} is on a file system without locks ({error.strerror}), by which processes share "
                "their work: name an --out on another one, or select in one process"
            ) from error
        return True

    def close(self) -> None:
        """Free all."""
        os.close(self._file)

    def free(self, name: str) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _place(name))


def _place(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode()) >> 20  # two names of one place would wait for one another, no more


def _name(part: int) -> str:
    return f"{part:05d}"


def _packed(arrays: Arrays) -> bytes:
    content: bytes = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    return content + xxhash.xxh3_128_digest(content)


def _unpacked(path: Path) -> Arrays | None:
    """None where the file is not as it was written."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise PartsGone(f"{path} went while this process was at work") from error
    if len(content) < _DIGEST or xxhash.xxh3_128_digest(content[:-_DIGEST]) != content[-_DIGEST:]:
        return None
    arrays: Arrays = load(content[:-_DIGEST])
    return arrays


_current: ContextVar[SharedWork | None] = ContextVar("the folder through which work is shared", default=None)

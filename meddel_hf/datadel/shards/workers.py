"""Units in several processes at once, a bounded number of them under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, Protocol, TypeVar

from meddel_hf.errors import MedDELError
from meddel_hf.runtime.parents import become_worker

Unit_contra = TypeVar("Unit_contra", contravariant=True)
Record_co = TypeVar("Record_co", covariant=True)
Unit = TypeVar("Unit")
Record = TypeVar("Record")


class Closing(Protocol):
    def close(self) -> None: ...


class Writing(Protocol[Unit_contra, Record_co]):
    """What writes units, one per process, and reads them from `members`."""

    @property
    def members(self) -> Closing: ...

    def write(self, unit: Unit_contra, /) -> Record_co: ...


_writer: Any = None  # of a worker process, made once by _start


def run(
    units: Sequence[Unit],
    workers: int,
    make: Callable[..., Writing[Unit, Record]],
    arguments: tuple[Any, ...],
    killed: str = "build again with fewer workers (--workers 1); what is finished stays",
) -> Iterator[Record]:
    """Records of the units, in the order in which they end. make: of what writes them, with its arguments.

    killed: what to do where one of the processes was killed.
    """
    if workers == 1 or len(units) <= 1:
        writer = make(*arguments)
        try:
            yield from map(writer.write, units)
        finally:
            writer.members.close()
        return
    spawn = _Spawn()
    with ProcessPoolExecutor(min(workers, len(units)), spawn, _start, (make, *arguments)) as pool:
        waiting, running = iter(units), set[Future[Record]]()
        try:
            for unit in waiting:
                running.add(pool.submit(_write, unit))
                if len(running) >= 2 * workers:
                    yield from _ended(running)
            while running:
                yield from _ended(running)
        except BrokenProcessPool as error:
            raise MedDELError(f"a process of the build was killed, most likely for want of memory: {killed}") from error
        except BaseException:  # Ctrl-C, SIGTERM, a full disk: nobody waits for what is under way
            spawn.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


class _Spawn(SpawnContext):
    """Starts processes afresh (a fork would copy the threads' locks of pyarrow), and can end those that it started."""

    def __init__(self) -> None:
        super().__init__()
        self._started: list[SpawnProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override]  # its class, called
        self._started.append(SpawnProcess(*args, **kwargs))
        return self._started[-1]

    def terminate(self) -> None:
        for process in self._started:
            process.terminate()


def _ended(running: set[Future[Record]]) -> Iterator[Record]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        running.remove(future)
        yield future.result()


def _start(make: Callable[..., Any], *arguments: Any) -> None:
    global _writer
    become_worker()
    _writer = make(*arguments)


def _write(unit: Any) -> Any:
    assert _writer is not None  # the pool ran _start first
    return _writer.write(unit)

"""Units in several processes at once, a bounded number of them under way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from meddel_hf.datadel.shards.units import Record, Unit
from meddel_hf.datadel.shards.writer import UnitWriter
from meddel_hf.errors import MedDELError
from meddel_hf.runtime.parents import become_worker

_writer: UnitWriter | None = None  # of a worker process, made once by _start


def run(units: Sequence[Unit], workers: int, arguments: tuple[Any, ...]) -> Iterator[Record]:
    """Records of the units, in the order in which they end. arguments: of UnitWriter."""
    if workers == 1 or len(units) <= 1:
        writer = UnitWriter(*arguments)
        try:
            yield from map(writer.write, units)
        finally:
            writer.members.close()
        return
    spawn = _Spawn()
    with ProcessPoolExecutor(min(workers, len(units)), spawn, _start, arguments) as pool:
        waiting, running = iter(units), set[Future[Record]]()
        try:
            for unit in waiting:
                running.add(pool.submit(_write, unit))
                if len(running) >= 2 * workers:
                    yield from _ended(running)
            while running:
                yield from _ended(running)
        except BrokenProcessPool as error:
            raise MedDELError(
                "a process of the build was killed, most likely for want of memory: build again with fewer workers "
                "(--workers 1); what is finished stays"
            ) from error
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


def _start(*arguments: Any) -> None:
    global _writer
    become_worker()
    _writer = UnitWriter(*arguments)


def _write(unit: Unit) -> Record:
    assert _writer is not None  # the pool ran _start first
    return _writer.write(unit)

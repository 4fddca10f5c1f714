"""How much memory this process may still take: of the machine, and of the container or job that it runs in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

AUTO = "auto"  # memory that nobody has named: most of what is free
_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def free_memory() -> int:
    """Bytes that can be had without swapping; files that the system keeps in memory for later count as free."""
    import psutil

    free: int = min([psutil.virtual_memory().available, *left_in_groups(_GROUPS, _OWN)])
    return free


def within_reach_of(share: float) -> int:
    """Bytes that this process would have in all if it took so much of what is free beside what it has."""
    import psutil

    has: int = psutil.Process().memory_info().rss
    return has + int(share * free_memory())


def left_in_groups(groups: Path, own: Path) -> Iterator[int]:
    """Bytes that each bounded control group of this process leaves it, of either version; none where there are none.

    groups: where they are mounted. own: the file that names this process's.
    Source: the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # another system than Linux
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers == "":
            names, folder = ("memory.max", "memory.current", "inactive_file"), groups
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            folder = groups / "memory"
        else:
            continue
        inner = folder / place.lstrip("/")
        for group in (inner, *inner.parents):  # the bound of any of them holds
            with suppress(OSError, ValueError):  # not there in a container's view; "max", where there is no bound
                limit, used = (int((group / name).read_text()) for name in names[:2])
                yield max(0, limit - used + _kept_for_later(group / "memory.stat", names[2]))
            if group == folder:
                break


def _kept_for_later(stat: Path, name: str) -> int:
    """Bytes of files that count as used, and that the system gives back when asked."""
    numbers = dict(line.split() for line in stat.read_text().splitlines())
    return int(numbers.get(name, 0))

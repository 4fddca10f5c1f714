"""Sizes of memory and files as people write them: "4GB", "512MiB"."""

from __future__ import annotations

import re

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.reading import shown

# As `datasets` counts in max_shard_size: GB is 10^9 bytes, GiB 2^30.
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]i?B)\s*", re.IGNORECASE)


def bytes_of(size: str | int, name: str = "memory") -> int:
    """Bytes of a size such as "4GB", "1.5GiB", or of a whole number of bytes; more than none.

    Raises InvalidArgument, which calls it by `name`.
    """
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    written = _WRITTEN.fullmatch(size) if isinstance(size, str) else None
    answer = round(float(written[1]) * _UNITS[written[2].upper()]) if written else 0
    if not answer:
        raise InvalidArgument(f"{name} must be a size such as 4GB or 512MiB, got {shown(size)}")
    return answer


def written(count: int) -> str:
    """A number of bytes for people, rounded up: "310 MB", "4.2 GB"."""
    if count < 10**9:
        return f"{-(-count // 10**6):,} MB"
    return f"{-(-count // 10**8) / 10:,.1f} GB"

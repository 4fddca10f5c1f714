"""Which of how many processes this is: as typed for a job array, or as a launcher says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from meddel_hf.errors import InvalidArgument

Item = TypeVar("Item")


def is_first() -> bool:
    """Whether this is the process that tells the user: one alone, or the first that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True)
class Shard:
    """The i-th of n parts of some work, from 1; parts share a folder and never do the same work at once."""

    index: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "2/8". Raises InvalidArgument for what is not i/n with 1 <= i <= n."""
        index, _, of = text.partition("/")
        if not (index.isdecimal() and of.isdecimal() and 1 <= int(index) <= int(of)):
            raise InvalidArgument(f"a shard is i/n with 1 <= i <= n, such as 2/8; got {text!r}")
        return cls(int(index), int(of))

    @classmethod
    def launched(cls) -> Shard | None:
        """Which of the processes that `accelerate launch` or `torchrun` started this is; None where it is alone."""
        of = int(os.environ.get("WORLD_SIZE", "1"))
        return cls(int(os.environ.get("RANK", "0")) + 1, of) if of > 1 else None

    def part(self, items: Sequence[Item]) -> list[Item]:
        """Every n-th item, from the i-th on."""
        return list(items[self.index - 1 :: self.of])

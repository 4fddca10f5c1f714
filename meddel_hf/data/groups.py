"""Which frames belong together: those of one video, sequence or patient, which look alike and no split may part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meddel_hf import schema
from meddel_hf.data.columns import texts_of
from meddel_hf.runtime.reading import some_of

# What a frame belongs to, the first that it has: as told, else by the widest thing that is known of it.
_WORDS = {
    schema.GROUP: ("group", "groups"),
    schema.PATIENT: ("patient", "patients"),
    schema.STUDY: ("study", "studies"),
    schema.VIDEO: ("video", "videos"),
}


def names_groups(dataset: Any) -> bool:
    """Whether a data set has a column that says what belongs together."""
    return any(column in dataset.column_names for column in _WORDS)


def groups_of(dataset: Any) -> list[str | None]:
    """Of each row of a data set its group, else its patient, else its DICOM study, else its video; None where it has
    none of them, and then it is a group of its own."""
    by_column = [texts_of(dataset, column) for column in _WORDS]
    return [next(filter(None, each), None) for each in zip(*by_column, strict=True)]


@dataclass(frozen=True)
class SharedGroups:
    """Values of a column, such as patients, of which a pool and a test set both have frames, by their names.

    names: ascending. pool, test: values that either has. pool_frames, test_frames: of the shared ones.
    renamed: (value of the test set, value of the pool) of copied frames whose values are called otherwise, ascending.
    """

    column: str
    names: tuple[str, ...]
    pool: int
    test: int
    pool_frames: int
    test_frames: int
    renamed: tuple[tuple[str, str], ...] = ()

    def among(self, copies: Iterable[tuple[str | None, str | None]]) -> SharedGroups:
        """With what copies say. copies: values of frames of the test set, and of the pool's that they are copies of."""
        pairs = {(here, there) for here, there in copies if here and there and here != there}
        return replace(self, renamed=tuple(sorted(pairs)))

    def __str__(self) -> str:
        """A sentence or two; a warning where something is shared."""
        if not self.renamed:
            return self._by_name
        _, many = _WORDS[self.column]
        known = dict.fromkeys(here for here, _ in self.renamed)
        called = [f"{here} ({there} in the pool)" for here, there in self.renamed]
        return (
            f"{self._by_name}\nwarning: copies are of {many} that have other names in the pool: {len(known):,} of the "
            f"{self.test:,} of the test set, {some_of(called)}"
        )

    @property
    def _by_name(self) -> str:
        one, many = _WORDS[self.column]
        only = self.test == 1
        if not self.names:
            if only:
                return f"no {one} of the pool has the name of the one of the test set"
            return f"none of the {self.test:,} {many} of the test set has the name of one in the pool"
        of_them = f"the one {one}" if only else f"{len(self.names):,} of the {self.test:,} {many}"
        have = "has" if len(self.names) == 1 else "have"
        return (
            f"warning: {of_them} of the test set {have} frames in the pool too "
            f"({self.test_frames:,} of its frames, {self.pool_frames:,} in the pool): {some_of(self.names)}; take them "
            "out of the pool, unless they are called alike by chance"
        )


def shared_groups(pool: Any, test: Any) -> list[SharedGroups]:
    """Of each column that names what belongs together in both data sets, what they share; nothing where none does.

    Names are compared as they stand. What `group` says again, since it was made of another column, is left out.
    """
    by_column = [_shared(column, texts_of(pool, column), texts_of(test, column)) for column in _WORDS]
    known = [shared for shared in by_column if shared is not None]
    told = {shared.names for shared in known if shared.column != schema.GROUP}
    return [shared for shared in known if shared.column != schema.GROUP or shared.names not in told]


def _shared(column: str, pool: Sequence[str | None], test: Sequence[str | None]) -> SharedGroups | None:
    there, here = set(filter(None, pool)), set(filter(None, test))
    if not there or not here:
        return None
    both = there & here
    pool_frames, test_frames = (sum(value in both for value in side) for side in (pool, test))
    return SharedGroups(column, tuple(sorted(both)), len(there), len(here), pool_frames, test_frames)

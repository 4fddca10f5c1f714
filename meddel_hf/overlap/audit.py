"""Do frames of a test set stand in a pool? Embeddings and thumbnails propose pairs, and their pixels decide.

Of each test frame, and of its mirror image, ten frames of the pool are looked at: the five of greatest cosine, and the
five whose thumbnails correlate best. Thumbnails of 32 x 32 are laid over one another (`registration`), and the pair is
a copy where they correlate above a threshold: the greatest likeness that frames of the pool had, turned upside down, to
any other frame of it. Those went the same way as test frames do, and cannot be there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from meddel_hf.data.columns import texts_of
from meddel_hf.data.groups import SharedGroups, shared_groups
from meddel_hf.data.ids import ids_of
from meddel_hf.embedding.calibration import recorded_calibration
from meddel_hf.embedding.copies import Copies
from meddel_hf.embedding.space import Space
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.embedding.thumbnails import SIDE
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.cosines import Rows, Vectors
from meddel_hf.neighbors.knn import nearest_many
from meddel_hf.overlap.registration import registered
from meddel_hf.runtime.manifest import Manifest, fingerprint, step_folder
from meddel_hf.runtime.spacing import evenly_spaced
from meddel_hf.runtime.threads import own_threads
from meddel_hf.runtime.words import is_or_are, plural
from meddel_hf.selectors.protocol import Embeddings, Readable, opened, origin_of
from meddel_hf.selectors.reference import centred, check_same_space

if TYPE_CHECKING:
    from datasets import Dataset

TABLE = "audit.parquet"
EACH = 5  # frames of the pool that are looked at for being near in either way
_COARSE = 16  # side of the thumbnails by which the pool is searched
_UNLIKE, _COPIES = 1024, 512  # frames turned upside down, and mild copies, that are put to the test
_CONTRAST, _LEVEL = 0.06, 6.0  # changes of contrast, and grey levels, from which a copy was re-windowed
_LEAST = 0.9  # likeness that a copy has at least, however few frames set the threshold
_BLOCK = 512  # frames whose pairs are laid over one another at a time
SCHEMA = pa.schema(
    [
        pa.field("test_id", pa.string(), nullable=False),
        pa.field("copied", pa.bool_(), nullable=False),
        pa.field("pool_id", pa.string(), nullable=False),
        pa.field("cosine", pa.float32(), nullable=False),
        pa.field("likeness", pa.float32(), nullable=False),
        pa.field("mirrored", pa.bool_(), nullable=False),
        pa.field("cut", pa.float32(), nullable=False),
        pa.field("contrast", pa.float32(), nullable=False),
        pa.field("level", pa.float32(), nullable=False),
        pa.field("how", pa.string()),
    ]
)


@dataclass(frozen=True, eq=False)
class Audit:
    """Which frames of a test set stand in a pool, and how sure that is.

    table:     one row for each readable test frame, most alike first: `test_id`, `copied` (bool), `pool_id` (the most
               alike of the frames that were looked at), `cosine` of the two, `likeness` of their pixels (float32
               correlation), `mirrored`, `cut` (share of a side that one of them lacks), `contrast` (over that of the
               pool's frame), `level` (grey levels by which it is brighter), `how` (of a copy, the same in words).
    pool, test: frames that were compared.
    parents:   fingerprints of both stores, by role.
    likeness:  threshold of likeness, in [-1, 1].
    held:      share of mild copies of frames of the pool that are traced back to their frames; None where the store
               holds none. copies: how many were asked for.
    unlike:    frames of the pool, upside down, that set the threshold.
    alike:     test frames that have no copy, but a frame of the pool above the store's threshold of cosines: other
               frames of the same scene may be among them. None where the store was not calibrated.
    groups:    patients, videos and the like that both have frames of, where both data sets name them and were given.
    """

    table: pa.Table
    pool: int
    test: int
    likeness: float
    held: float | None
    copies: int
    unlike: int
    alike: int | None
    parents: dict[str, str]
    groups: Sequence[SharedGroups] = ()

    @cached_property
    def copied(self) -> pa.Table:
        """The rows of test frames that stand in the pool."""
        return self.table.filter(self.table["copied"])

    @property
    def by_chance(self) -> float:
        """Test frames that are expected to be called copies although they are none: each with 1 / (unlike + 1), the
        chance of one of equals to be the greatest."""
        return self.test / (self.unlike + 1)

    @property
    def facts(self) -> dict[str, Any]:
        """Plain values, without the table."""
        names = ("pool", "test", "likeness", "held", "copies", "unlike", "alike")
        return {
            "copied": len(self.copied),
            **{name: getattr(self, name) for name in names},
            "by_chance": self.by_chance,
            "groups": [asdict(shared) for shared in self.groups],
        }

    def __str__(self) -> str:
        """What came out, and how sure it is, in two sentences or three."""
        pool = f"the pool of {plural(self.pool, 'frame')}"
        number = f"{len(self.copied):,}" if len(self.copied) else "none"
        what = f"{number} of {plural(self.test, 'test frame')} {is_or_are(len(self.copied))} in {pool}"
        held = "how many copies it misses is not known, since the pool's store holds none to try"
        if self.held is not None:
            copies = plural(self.copies, "mild test copy", "mild test copies")
            held = f"the same search traces {self.held:.1%} of {copies} back to their frames"
        number = f"{self.by_chance:.1g}" if self.by_chance < 10 else f"{self.by_chance:,.0f}"
        chance = f"takes {number} of {plural(self.test, 'frame')} for one by chance"
        chance = f"{chance} (likeness above {self.likeness:.4f})"
        more = ""
        if self.alike:
            more = (
                f"\n{plural(self.alike, 'more has', 'more have')}"
                f" a near-duplicate by their embeddings alone, which may be the same scene: "
                "`meddel select --reference` leaves those out too"
            )
        return "\n".join([what, f"{held}, and {chance}{more}", *map(str, self.groups)])

    def save(self, folder: str | Path, *, pictures: Callable[[Path], Any] | None = None) -> Path:
        """Write audit.parquet to a folder, whole or not at all; an older audit there is replaced.

        pictures: draws what belongs to it into the folder that it is given, before that counts as there.
        """
        with step_folder(folder, "audit") as aside:
            pq.write_table(self.table, aside / TABLE)
            if pictures is not None:
                pictures(aside)
            made = fingerprint(*self.parents.values(), repr(self.likeness), str(len(self.copied)))
            written = [path.name for path in aside.iterdir()]
            Manifest("audit", made, {}, self.parents, self.facts).write(aside, written)
        return Path(folder)


@own_threads()
def audit(
    pool: EmbeddingStore | str,
    test: EmbeddingStore | str,
    *,
    pool_frames: Dataset | None = None,
    test_frames: Dataset | None = None,
) -> Audit:
    """Look for copies of the frames of `test` in `pool`: re-encoded, resized, shifted or cropped by up to a tenth of a
    side, mirrored, or with another brightness and contrast.

    pool, test: embedding stores, or their paths, of the same encoder, pooling and view.
    pool_frames, test_frames: the data sets that were embedded; with both, patients, videos and the like that they
                              share are told, whether or not a frame is a copy.
    Raises Mismatch where they are not, InvalidArgument where one of them holds no thumbnails.
    """
    there, here = _store(pool), _store(test)
    check_same_space(there, here)
    search = _Search.of(there)
    likeness, unlike = _by_chance(search)
    copies, held = (0, None) if there.copies is None else _traced(search, there, there.copies, likeness)
    wanted = Readable.of(here, search.space.pooling)
    vectors = centred(wanted, search.readable) if search.space.subtract_mean else wanted.vectors()
    pairs = search.nearest(vectors, _thumbnails(here))
    copied = pairs.likeness > likeness
    table = _table(pairs, copied, wanted, search, vectors)
    alike = None if search.eta is None else int(((pairs.top > search.eta) & ~copied).sum())
    parents = {"embeddings": there.fingerprint, "test": here.fingerprint}
    groups: tuple[SharedGroups, ...] = ()
    if pool_frames is not None and test_frames is not None:
        met = table.filter(table["copied"])
        for shared in shared_groups(pool_frames, test_frames):
            sides = (test_frames, here, met["test_id"]), (pool_frames, there, met["pool_id"])
            values = [_values_of(shared.column, *side) for side in sides]
            groups += (shared.among(zip(*values, strict=True)),)
    return Audit(table, len(there), len(here), likeness, held, copies, unlike, alike, parents, groups)


def _values_of(column: str, frames: Dataset, store: EmbeddingStore, ids: pa.ChunkedArray) -> list[str | None]:
    """What a column says of some frames of a store, which were embedded from `frames`."""
    named = origin_of(store).id_column
    every = ids_of(frames, named) if named in frames.column_names else store.pool_ids
    value = dict(zip(every, texts_of(frames, column), strict=True))
    return [value.get(id) for id in ids.to_pylist()]


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Of each frame, (m,): the place of the pool's frame that is most alike, how alike, and the greatest cosine."""

    place: Rows
    likeness: NDArray[np.float32]
    mirrored: NDArray[np.bool_]
    cut: NDArray[np.float32]
    contrast: NDArray[np.float32]
    level: NDArray[np.float32]
    top: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Search:
    """A pool, ready to be searched. eta: its threshold of cosines, where it was calibrated."""

    readable: Readable
    space: Space
    eta: float | None
    vectors: Vectors
    small: NDArray[np.uint8]
    pixels: Vectors

    @classmethod
    def of(cls, store: EmbeddingStore) -> _Search:
        calibration = recorded_calibration(store)
        best = None if calibration is None else calibration.best
        space = Space(store.poolings[0], False) if best is None else best.space
        readable, small = Readable.of(store, space.pooling), _thumbnails(store)
        vectors = readable.vectors(space.subtract_mean)
        return cls(readable, space, None if best is None else best.eta, vectors, small, _pixels(small))

    def nearest(self, vectors: Vectors, small: NDArray[np.uint8], own: Rows | None = None) -> _Pairs:
        """Of each frame the most alike of those that are near by embedding or by thumbnail.

        vectors, small: (m, ...), of the frames. own: (m,) places in the pool that are not looked at.
        """
        rows, everyone, k = np.arange(len(small)), np.arange(len(self.small)), EACH + (own is not None)
        by_cosine, cosine = nearest_many(vectors, rows, self.vectors, everyone, k)
        parts = []
        for start in range(0, len(small), _BLOCK):
            here = rows[start : start + _BLOCK]
            sides = [
                self._most_alike(
                    np.ascontiguousarray(side), by_cosine[here], None if own is None else own[here], mirrored
                )
                for side, mirrored in ((small[here], False), (small[here][:, :, ::-1], True))
            ]
            parts.append([np.where(sides[1][1] > sides[0][1], b, a) for a, b in zip(*sides, strict=True)])
        place, likeness, mirrored, cut, contrast, level = (np.concatenate(each) for each in zip(*parts, strict=True))
        return _Pairs(place, likeness, mirrored, cut, contrast, level, cosine[:, 0])

    def _most_alike(
        self, small: NDArray[np.uint8], near: Rows, own: Rows | None, mirrored: bool
    ) -> tuple[NDArray[Any], ...]:
        """place, likeness, mirrored, cut, contrast, level of the best of each frame's candidates."""
        rows, everyone = np.arange(len(small)), np.arange(len(self.small))
        by_pixels, _ = nearest_many(_pixels(small), rows, self.pixels, everyone, near.shape[1])
        candidates = np.concatenate([near, by_pixels], axis=1)
        each = candidates.shape[1]
        first = registered(np.repeat(small, each, axis=0), self.small[candidates.ravel()]).likeness.reshape(-1, each)
        if own is not None:
            first = np.where(candidates == own[:, None], np.float32(-1), first)
        place = candidates[rows, first.argmax(axis=1)]
        best = registered(small, self.small[place], fine=True)
        likeness = np.where(first.max(axis=1) < 0, np.float32(-1), best.likeness)
        return place, likeness, np.full(len(small), mirrored), best.cut, best.slope, best.level


def _by_chance(search: _Search) -> tuple[float, int]:
    """The greatest likeness of frames that cannot be in the pool to its frames, 0.9 at least; how many there were."""
    sample = evenly_spaced(len(search.small), _UNLIKE)
    base = Vectors.prepare(search.vectors.base[sample])
    pairs = search.nearest(base, np.ascontiguousarray(search.small[sample][:, ::-1]), sample)
    return max(float(pairs.likeness.max()), _LEAST), len(sample)


def _traced(search: _Search, store: EmbeddingStore, copies: Copies, likeness: float) -> tuple[int, float | None]:
    """How many mild copies were looked for, and the share of them that the pool was said to have."""
    kinds = copies.thumbnails.shape[1]
    there = np.flatnonzero(np.repeat(np.isin(copies.row, store.rows), kinds))
    sample = there[evenly_spaced(len(there), _COPIES)]
    if not len(sample):
        return 0, None
    vectors = copies.vectors[search.space.pooling].reshape(len(copies.row) * kinds, -1)[sample]
    asked: Any = vectors
    if search.space.subtract_mean:
        origin = search.readable.origin
        asked = centred(
            Readable(np.arange(len(sample)), [""] * len(sample), origin, embeddings=vectors), search.readable
        ).base
    pairs = search.nearest(Vectors.prepare(asked), copies.thumbnails.reshape(-1, SIDE, SIDE)[sample])
    return len(sample), float((pairs.likeness > likeness).mean())


def _table(pairs: _Pairs, copied: NDArray[np.bool_], wanted: Readable, search: _Search, vectors: Vectors) -> pa.Table:
    rows = np.argsort(-pairs.likeness, kind="stable")
    place = pairs.place[rows]
    columns: list[Sequence[Any] | NDArray[Any]] = [
        [wanted.ids[row] for row in wanted.rows[rows]],
        copied[rows],
        [search.readable.ids[row] for row in search.readable.rows[place]],
        vectors.exact(rows, search.vectors, place),
        *(each[rows] for each in (pairs.likeness, pairs.mirrored, pairs.cut, pairs.contrast, pairs.level)),
        [_in_words(pairs, row) if copied[row] else None for row in rows.tolist()],
    ]
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def _in_words(pairs: _Pairs, row: int) -> str:
    contrast, level = float(pairs.contrast[row]), float(pairs.level[row])
    words = ["mirrored"] if pairs.mirrored[row] else []
    words += [f"moved by {pairs.cut[row]:.0%}"] if pairs.cut[row] > 0.02 else []
    words += ["re-windowed"] if abs(contrast - 1) > _CONTRAST or abs(level) > _LEVEL else []
    return ", ".join(words) or "as it is, but for size and compression"


def _pixels(small: NDArray[np.uint8]) -> Vectors:
    """Thumbnails as vectors whose cosine is their correlation; flat ones are unlike all that are not."""
    cells = small.reshape(len(small), _COARSE, SIDE // _COARSE, _COARSE, SIDE // _COARSE).mean(axis=(2, 4))
    cells = cells.reshape(len(small), -1).astype(np.float32)
    cells -= cells.mean(axis=1, keepdims=True)
    length = np.linalg.norm(cells, axis=1, keepdims=True)
    return Vectors.prepare(np.where(length < 1, np.float32(1 / _COARSE), cells / np.maximum(length, 1)))


def _store(embeddings: Embeddings) -> EmbeddingStore:
    store = opened(embeddings)
    if not isinstance(store, EmbeddingStore):
        raise InvalidArgument(
            f"an audit compares the pictures of two embedding stores, got {type(store).__name__}: embed both"
        )
    return store


def _thumbnails(store: EmbeddingStore) -> NDArray[np.uint8]:
    if store.thumbnails is None:
        raise InvalidArgument(
            f"{store.folder} was made by an earlier version and holds no thumbnails, by which copies are told: embed "
            "its frames again, into another folder"
        )
    return store.thumbnails

"""Mild copies of frames: the same scene after what happens to a file on its way. They say how near a near-duplicate is.

Each sampled frame is copied four times: as a JPEG of quality 60, shifted by 3 % (the window moves, so that nothing is
filled in), made 8 % brighter, and all three. The copies go through the decoding and the encoder that all frames do.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from meddel_hf.data.images import Preprocessing, decode, prepare
from meddel_hf.embedding.space import Pooling
from meddel_hf.embedding.thumbnails import SIDE, thumbnails
from meddel_hf.errors import UnreadableImage
from meddel_hf.runtime.files import whole_file
from meddel_hf.runtime.reading import intact
from meddel_hf.runtime.spacing import evenly_spaced

if TYPE_CHECKING:
    from meddel_hf.data.batches import Batch
    from meddel_hf.data.pool import Pool
    from meddel_hf.embedding.encoder import Encoder

KINDS = ("jpeg", "shifted", "brighter", "all three")
_QUALITY, _SHIFT, _BRIGHTER = 60, 0.03, 1.08
_SHARE, _FEWEST, _MOST = 100, 64, 512  # a hundredth of the frames, so that four copies of each cost 4 %
_AHEAD = 4096  # rows of a stream that are looked at
_FRAMES = 8  # copied in one forward pass


@dataclass(frozen=True, eq=False)
class Copies:
    """row: (s,) int64, the pool's row number of each copied frame, ascending.
    vectors: of each pooling, (s, 4, d) float32 of unit length; kinds in the order of KINDS.
    thumbnails: (s, 4, 32, 32) uint8."""

    row: NDArray[np.int64]
    vectors: dict[Pooling, NDArray[np.float32]]
    thumbnails: NDArray[np.uint8]

    def among(self, rows: NDArray[np.int64]) -> Copies:
        """Those of some frames."""
        here = np.isin(self.row, rows)
        vectors = {pooling: each[here] for pooling, each in self.vectors.items()}
        return Copies(self.row[here], vectors, self.thumbnails[here])

    def merged(self, other: Copies) -> Copies:
        """These and others, of other frames."""
        row = np.concatenate([self.row, other.row])
        order = np.argsort(row)
        vectors = {name: np.concatenate([each, other.vectors[name]])[order] for name, each in self.vectors.items()}
        return Copies(row[order], vectors, np.concatenate([self.thumbnails, other.thumbnails])[order])

    def save(self, path: Path) -> None:
        from safetensors.numpy import save

        tensors = {"row": self.row, "thumbnails": self.thumbnails, **{str(name): v for name, v in self.vectors.items()}}
        with whole_file(path) as aside:  # not save_file, which makes a file that its owner alone can read
            aside.write_bytes(save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}))

    @classmethod
    def load(cls, path: Path) -> Copies:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        with intact(path):
            try:
                tensors = load_file(path)
            except SafetensorError as error:
                raise ValueError(str(error)) from error
            row, small = tensors["row"], tensors["thumbnails"]
            vectors = {pooling: tensors[pooling] for pooling in get_args(Pooling) if pooling in tensors}
            for here in (small, *vectors.values()):
                if here.shape[:2] != (len(row), len(KINDS)):
                    raise ValueError(f"a tensor of shape {here.shape}, expected ({len(row)}, {len(KINDS)}, ...)")
        return cls(row, vectors, small)


def sampled(rows: NDArray[np.int64], digests: pa.FixedSizeBinaryArray | None) -> NDArray[np.int64]:
    """The rows to copy: a hundredth of them, but 64 at least and 512 at most.

    digests: of the frames of all rows of the pool. Those with the lowest are copied, so that a pool that grows keeps
    nearly all of its sample; where there are none, evenly spaced ones.
    """
    count = max(_FEWEST, min(_MOST, len(rows) // _SHARE))
    if digests is None or digests.null_count == len(digests):
        return rows[evenly_spaced(len(rows), count)]
    order = pc.array_sort_indices(digests.take(pa.array(rows))).to_numpy()  # equals by row, and nulls last
    return np.sort(rows[order[:count]])


def mild_copies(image: Image.Image) -> list[Image.Image]:
    """RGB to its copies, in the order of KINDS."""
    left, top = round(image.width * _SHIFT), round(image.height * _SHIFT)
    shifted = image.crop((left, top, image.width, image.height))
    brighter = ImageEnhance.Brightness(image).enhance(_BRIGHTER)
    return [_jpeg(image), shifted, brighter, _jpeg(ImageEnhance.Brightness(shifted).enhance(_BRIGHTER))]


def embed_copies(
    pool: Pool,
    rows: NDArray[np.int64],
    model: Encoder,
    workers: int,
    digests: pa.FixedSizeBinaryArray | None,
    known: Copies | None,
) -> Copies:
    """Copy and embed a sample of `rows`, which are the pool's readable ones; of a stream, of its first 4,096.

    digests: of the frames of all rows of the pool. known: copies that were embedded earlier, by rows of this pool.
    """
    rows = sampled(rows if pool.ids is not None else rows[rows < _AHEAD], digests)
    if known is None:
        return _embedded(pool, rows, model, workers)
    known = known.among(rows)
    return known.merged(_embedded(pool, np.setdiff1d(rows, known.row), model, workers))


def _embedded(pool: Pool, rows: NDArray[np.int64], model: Encoder, workers: int) -> Copies:
    from meddel_hf.data.batches import read_ahead

    batches = CopyBatches(pool, rows, model.preprocessing)
    read: list[NDArray[np.int64]] = []
    vectors: dict[Pooling, list[NDArray[np.float32]]] = {pooling: [] for pooling in model.poolings}
    small = [np.empty((0, len(KINDS), SIDE, SIDE), np.uint8)]
    for number, batch in enumerate(read_ahead(batches, min(workers, len(batches)))):
        good = np.array([reason is None for reason in batch.reasons], bool)
        pooled = {
            pooling: here.cpu().numpy() for pooling, here in model.pooled(batch.pixels, _FRAMES * len(KINDS)).items()
        }
        shaped = {pooling: here.reshape(len(good), len(KINDS), -1) for pooling, here in pooled.items()}
        for here in shaped.values():
            good &= np.isfinite(here).all(axis=(1, 2)) & (np.linalg.norm(here, axis=2) > 0.5).all(axis=1)
        read.append(batches.rows_of(number)[good])
        small.append(thumbnails(batch.pixels).reshape(len(good), len(KINDS), SIDE, SIDE)[good])
        for pooling, here in shaped.items():
            vectors[pooling].append(here[good])
    nothing = np.empty((0, len(KINDS), model.dim), np.float32)
    return Copies(
        np.concatenate([rows[:0], *read]),
        {pooling: np.concatenate([nothing, *parts]) for pooling, parts in vectors.items()},
        np.concatenate(small),
    )


class CopyBatches:
    """Batches of the copies of the pool's `rows`, those of one frame together; a reason is about a frame."""

    def __init__(self, pool: Pool, rows: NDArray[np.int64], preprocessing: Preprocessing) -> None:
        self.pool, self.rows, self.preprocessing = pool, rows, preprocessing
        self.streamed = _of_stream(pool, rows) if pool.ids is None else None

    def __len__(self) -> int:
        return -(-len(self.rows) // _FRAMES)

    def rows_of(self, number: int) -> NDArray[np.int64]:
        return self.rows[number * _FRAMES : (number + 1) * _FRAMES]

    def __getitem__(self, number: int) -> Batch:
        from meddel_hf.data.batches import Batch

        rows = self.rows_of(number)
        pixels = np.zeros((len(rows), len(KINDS), *self.preprocessing.size, 3), np.uint8)
        reasons: list[str | None] = [None] * len(rows)
        for slot, row in enumerate(rows):
            try:
                copies = mild_copies(decode(self.pool.read(self._frame(int(row)))))
                pixels[slot] = [prepare(copy, self.preprocessing) for copy in copies]
            except UnreadableImage as error:  # it was readable a moment ago
                reasons[slot] = str(error)
        return Batch(number, pixels.reshape(-1, *pixels.shape[2:]), reasons)

    def _frame(self, row: int) -> Any:
        if self.streamed is not None:
            return self.streamed[row]
        return self.pool.frames[row][self.pool.image_column]


def _of_stream(pool: Pool, rows: Sequence[int] | NDArray[np.int64]) -> dict[int, Any]:
    wanted = {int(row) for row in rows}
    stream = islice(iter(pool.frames), max(wanted, default=-1) + 1)
    return {row: frame[pool.image_column] for row, frame in enumerate(stream) if row in wanted}


def _jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return Image.open(file, formats=("JPEG",))

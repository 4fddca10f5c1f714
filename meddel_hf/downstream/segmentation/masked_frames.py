"""Frames with masks: checked, decoded once to the size that the model sees, kept in memory as uint8."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import xxhash
from datasets import Dataset, Image
from PIL import Image as Pillow

from meddel_hf import schema
from meddel_hf.data.columns import texts_of
from meddel_hf.data.decoding import bytes_of
from meddel_hf.data.groups import groups_of
from meddel_hf.data.identity import frame_digests, keeps_fingerprint, named_files
from meddel_hf.data.images import Preprocessing, decode, prepare_sized
from meddel_hf.data.masks import EXPECTED, UnclearMask, binary, classes
from meddel_hf.data.pool import Pool
from meddel_hf.errors import InvalidDataset, UnreadableImage
from meddel_hf.runtime.manifest import fingerprint

IGNORED = 255  # label of pixels that count for nothing, where there are more than two classes
_AHEAD = 32  # rows read from the data set at a time


@dataclass(frozen=True, eq=False)
class LabelledFrames:
    """A data set whose every row has a frame and a mask of classes.

    name:       what messages call it, such as "kvasir_seg".
    ids:        one for every row.
    groups:     what must not be parted: the row's video, sequence or patient, else its own id.
    origins:    the same, told apart between sources: two owners may both have a "seq1".
    num_labels: classes of the masks, the background among them. 2: masks are 0 and 255, or 0 and 1.
    fingerprint: of the data set (`identity`).
    """

    name: str
    dataset: Dataset
    ids: list[str]
    groups: list[str]
    origins: list[tuple[str, str]]
    num_labels: int
    fingerprint: str

    @classmethod
    def of(cls, dataset: Any, name: str, num_labels: int) -> LabelledFrames:
        """Raises InvalidDataset where a column or a mask is missing, or an id is missing or repeated."""
        pool = Pool.of(dataset)
        if not isinstance(dataset, Dataset) or pool.ids is None:
            raise InvalidDataset(f"{name} is a stream: segmentation reads its rows many times; load it as a data set")
        if pool.id_column is None:
            raise InvalidDataset(
                f"{name} has no column {schema.ID!r}, by which training and test frames are told apart and scores name "
                "them: add one (dataset.add_column)"
            )
        if schema.MASK not in dataset.column_names:
            raise InvalidDataset(
                f"{name} has no column {schema.MASK!r}; it has {', '.join(dataset.column_names)}: masks absent; name "
                "a data set with masks, such as datadel:kvasir_seg, or make one (meddel pool)"
            )
        groups = [group or id for group, id in zip(groups_of(dataset), pool.ids, strict=True)]
        sources = texts_of(dataset, schema.SOURCE)
        origins = [(source or "", group) for source, group in zip(sources, groups, strict=True)]
        frames = cls(name, _raw(dataset), pool.ids, groups, origins, num_labels, identity(dataset))
        frames._check_masks()
        return frames

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def rows(self) -> dict[str, int]:
        """id -> row"""
        return {id: row for row, id in enumerate(self.ids)}

    def digests(self) -> Iterator[bytes]:
        """Of the bytes of each frame's file; of one that cannot be read, none."""
        for image in _column(self.dataset, schema.IMAGE):
            try:
                yield xxhash.xxh3_128_digest(bytes_of(image))
            except (UnreadableImage, OSError):
                yield b""

    def decoded(self, preprocessing: Preprocessing, mask_size: tuple[int, int] | None = None) -> Decoded:
        """Every frame at the size that the model sees, and every mask at `mask_size`, else at the same size.

        mask_size: (height, width) in pixels. A small mask keeps its classes: each pixel is the nearest one's.
        Raises InvalidDataset where a frame or a mask cannot be read, or they differ in size; where no mask holds a
        class, and 255 occurs, which would count for nothing.
        """
        height, width = mask_size or preprocessing.size
        pixels = np.empty((len(self), *preprocessing.size, 3), np.uint8)
        masks = np.empty((len(self), height, width), np.uint8)
        empty = 0
        for row, pair in enumerate(self._pairs(preprocessing)):
            pixels[row] = pair.pixels
            small = Pillow.fromarray(pair.mask).resize((width, height), Pillow.Resampling.NEAREST)
            masks[row] = np.asarray(small)
            empty += pair.is_empty
        return Decoded(pixels, masks, empty)

    def shown(self, preprocessing: Preprocessing) -> Shown:
        """The frames alone; their masks are read and checked too, but not kept. Raises as `decoded` does."""
        pixels = np.empty((len(self), *preprocessing.size, 3), np.uint8)
        empty = 0
        for row, pair in enumerate(self._pairs(preprocessing)):
            pixels[row] = pair.pixels
            empty += pair.is_empty
        return Shown(pixels, empty)

    def masks(self) -> Iterator[np.ndarray]:
        """Masks at their own size, (height, width) uint8 of classes."""
        for row, mask in enumerate(_column(self.dataset, schema.MASK)):
            yield self.mask(row, mask)

    def picture(self, row: int) -> tuple[Pillow.Image, np.ndarray]:
        """A frame at its own size, and its mask."""
        row_there = self.dataset[row]
        return decode(row_there[schema.IMAGE]), self.mask(row, row_there[schema.MASK])

    def pairs(self) -> Iterator[tuple[Any, Any]]:
        """Undecoded frame and mask of every row."""
        return zip(_column(self.dataset, schema.IMAGE), _column(self.dataset, schema.MASK), strict=True)

    def mask(self, row: int, source: Any) -> np.ndarray:
        """Decode a mask: (height, width) uint8 of classes below num_labels, or 255 where a pixel does not count.

        Upright by its own EXIF orientation. Of two classes it is read by what its values mean (`data.masks`).
        """
        try:
            if self.num_labels > 2:
                return self._below_num_labels(row, classes(source))
            pages = binary(source, merge=False)
        except UnreadableImage as error:
            if isinstance(error, UnclearMask) and self.num_labels == 2:
                raise self._refused(row, error.values, EXPECTED) from error
            raise InvalidDataset(f"the mask of {self.ids[row]} in {self.name} cannot be read: {error}") from error
        if len(pages) > 1:
            raise InvalidDataset(f"the mask of {self.ids[row]} in {self.name} has {len(pages)} pages: expected one")
        answer: np.ndarray = pages[0].astype(np.uint8)
        return answer

    def _below_num_labels(self, row: int, labels: np.ndarray) -> np.ndarray:
        wrong = (labels >= self.num_labels) & (labels != IGNORED)
        if wrong.any():
            expected = f"0 to {self.num_labels - 1}, or {IGNORED} for ignored pixels"
            raise self._refused(row, str(labels[wrong].max()), expected)
        return labels

    def _refused(self, row: int, values: str, expected: str) -> InvalidDataset:
        return InvalidDataset(
            f"the mask of {self.ids[row]} in {self.name} holds class {values}, and the head has {self.num_labels} "
            f"classes: expected {expected}; give the right num_labels (--num-labels)"
        )

    def _pairs(self, preprocessing: Preprocessing) -> Iterator[_Pair]:
        """Every row's, checked. Raises InvalidDataset as `decoded` does."""
        without_object, with_ignored = 0, 0
        for row, (frame, mask) in enumerate(self.pairs()):
            try:
                seen = prepare_sized(frame, preprocessing)
            except UnreadableImage as error:
                raise InvalidDataset(
                    f"the frame {self.ids[row]} of {self.name} cannot be decoded ({error}): leave it out of the data "
                    "set"
                ) from error
            labels = self.mask(row, mask)
            if labels.shape != (seen.height, seen.width):
                raise InvalidDataset(
                    f"the mask of {self.ids[row]} in {self.name} is {labels.shape[1]} x {labels.shape[0]} pixels, its "
                    f"frame {seen.width} x {seen.height}, each turned by its own EXIF orientation: they must be of one "
                    "size, so turn or resize the mask"
                )
            pair = _Pair(seen.pixels, labels)
            without_object += pair.is_empty
            with_ignored += bool(np.any(labels == IGNORED))
            yield pair
        if without_object == len(self) and with_ignored:
            raise InvalidDataset(
                f"no mask of {self.name} holds a class from 1 to {self.num_labels - 1}, and {with_ignored:,} of its "
                f"{len(self):,} hold {IGNORED}, which says of {self.num_labels} classes that a pixel does not count: "
                f"give num_labels 2 (--num-labels 2) for masks of 0 and 255, else write the classes as 1 to "
                f"{self.num_labels - 1}"
            )

    def _check_masks(self) -> None:
        validity = self.dataset.data.column(schema.MASK)
        absent = validity.null_count
        if self.dataset._indices is not None:
            absent = sum(mask is None for mask in _column(self.dataset, schema.MASK))
        if absent:
            raise InvalidDataset(
                f"masks absent: {absent:,} of the {len(self):,} rows of {self.name} have no mask; leave them out with "
                'masked_only (--masked-only), or in Python with dataset.filter(lambda row: row["mask"] is not None)'
            )


@dataclass(frozen=True)
class Decoded:
    """Frames and masks in memory.

    pixels: (n, H, W, 3) uint8. masks: (n, H', W') uint8 classes, 255 where a pixel does not count.
    empty_masks: how many masks held no object at their own size.
    """

    pixels: np.ndarray
    masks: np.ndarray
    empty_masks: int = 0


@dataclass(frozen=True)
class Shown:
    """Frames in memory, (n, H, W, 3) uint8, and how many of their masks hold no object."""

    pixels: np.ndarray
    empty_masks: int


@dataclass(frozen=True)
class _Pair:
    """pixels: (H, W, 3) uint8 at the size that the model sees. mask: (height, width) uint8 at its own."""

    pixels: np.ndarray
    mask: np.ndarray

    @property
    def is_empty(self) -> bool:
        return not np.any((self.mask != 0) & (self.mask != IGNORED))


def identity(dataset: Dataset) -> str:
    """Fingerprint of a data set that sees what frames and masks hold, also where rows name their files.

    Of a data set that `load_pool` opened from this machine, the fingerprint goes by the frames' content already.
    """
    own = str(dataset._fingerprint)
    unseen = [schema.MASK] if keeps_fingerprint(dataset) else [schema.IMAGE, schema.MASK]
    named = [named_files(dataset, column).values() for column in unseen if column in dataset.column_names]
    digests = [frame_digests(files) for files in named]
    return f"files-{fingerprint(own, *chain(*digests))}" if any(digests) else own


def with_masks(dataset: Dataset) -> Dataset:
    """Only the rows that have a mask; all of them where there is no such column, so that its absence is told."""
    if schema.MASK not in dataset.column_names:
        return dataset
    masks = dataset.with_format("arrow").select_columns([schema.MASK])[:][schema.MASK]
    return dataset.select([row for row, mask in enumerate(masks) if mask.is_valid])


def _raw(dataset: Dataset) -> Dataset:
    """Only frame and mask, undecoded."""
    plain = dataset.with_format(None).select_columns([schema.IMAGE, schema.MASK])
    for column in (schema.IMAGE, schema.MASK):
        if isinstance(plain.features[column], Image):
            plain = plain.cast_column(column, Image(decode=False))
    return plain


def _column(dataset: Dataset, column: str) -> Iterator[Any]:
    """The values of one column, read a few rows at a time."""
    only = dataset.select_columns([column])
    for start in range(0, len(only), _AHEAD):
        yield from only[start : start + _AHEAD][column]

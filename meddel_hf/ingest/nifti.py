"""NIfTI volumes as slices: turned to the anatomy first, so that every slice lies as a radiologist is used to.

Axial: the front of the body above, its right on the left. Coronal and sagittal: the head above; of a sagittal slice the
front is on the left.
"""

from __future__ import annotations

import gzip
import logging
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from meddel_hf.data.limits import check_size
from meddel_hf.data.masks import EXPECTED
from meddel_hf.errors import UnreadableImage
from meddel_hf.ingest import levels, pictures
from meddel_hf.ingest.files import File, Library
from meddel_hf.ingest.masks import only
from meddel_hf.ingest.reading import Picture, Reading, Remark
from meddel_hf.runtime.words import plural

_ACROSS = {"sagittal": 0, "coronal": 1, "axial": 2}  # axis of a volume that points right, to the front, up
_MOST_BYTES = 1 << 31  # of a volume, unpacked
_SAMPLED = 4_000_000  # values by which the range of a volume without a window is known
_SECOND_HEAD = 540  # bytes of a NIfTI-2 header; NIfTI-1 has 348
_STRETCH = 1.02  # ratio of a pixel's sides from which a slice looks squeezed


def frames(file: File, found: Sequence[File], library: Library, reading: Reading) -> Iterator[Picture | Remark]:
    """Slices of a volume, or of each volume of a series in time, named such as z0042. found: volumes of masks.

    Raises UnreadableImage or UnreadableArchive.
    """
    volume = _Volume.of(file, library)
    if volume.mended:
        yield Remark(f"its header was put right: {'; '.join(volume.mended)}")
    mask = _mask(found, library, volume)
    across = _ACROSS[reading.axis] if reading.axis != "auto" else _thickest(volume.sides)
    sides = [side for axis, side in enumerate(volume.sides) if axis != across]
    low, high = levels.ends(reading.window) if reading.window else volume.calibrated or levels.middle(volume.sample)
    times, count = volume.values.shape[3], volume.values.shape[across]
    check_size(*(size for axis, size in enumerate(volume.values.shape[:3]) if axis != across))
    flat = 0
    for time in range(times):
        for number in range(0, count, reading.every):
            grey = levels.within(_slice(volume.values[..., time], across, number), low, high)
            here = None if mask is None else _slice(mask, across, number)
            if grey.min() == grey.max() and (here is None or not here.any()):
                flat += 1
                continue
            name = f"t{time:04d}-" * (times > 1) + f"{'xyz'[across]}{number:04d}"
            image = Image.fromarray(grey)
            yield Picture(name, pictures.as_png(image), ".png", image.width, image.height, time * count + number,
                          *pictures.coded(here))  # fmt: skip
    if flat:
        yield Remark(f"left out {plural(flat, 'slice')} of a single grey level")
    if max(sides) > _STRETCH * min(sides):
        yield Remark(
            f"its pixels are {sides[0]:.3g} x {sides[1]:.3g} mm, not square: slices are as stored, unstretched"
        )


@dataclass
class _Volume:
    """values: (right, front, up, time), as the axes point. sides: of a voxel in mm. place: affine as it was stored.

    calibrated: (low, high) that the header names for display, or None. mended: what nibabel put right in the header.
    """

    values: np.ndarray
    sides: tuple[float, ...]
    shape: tuple[int, ...]
    place: np.ndarray
    calibrated: tuple[float, float] | None
    mended: tuple[str, ...] = ()

    @classmethod
    def of(cls, file: File, library: Library) -> _Volume:
        import nibabel

        data = _unpacked(file, library)
        second = int.from_bytes(data[:4], "little") == _SECOND_HEAD or int.from_bytes(data[:4], "big") == _SECOND_HEAD
        kind = nibabel.Nifti2Image if second else nibabel.Nifti1Image
        try:
            with _listening() as mended:
                image: Any = kind.from_bytes(data)
        except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
            raise UnreadableImage("not a NIfTI volume, or one without its pixels") from error
        shape = tuple(int(size) for size in image.shape)
        if len(shape) not in (3, 4) or 0 in shape:
            raise UnreadableImage(f"a volume of shape {shape}: expected three axes, or four with time")
        if image.get_data_dtype().fields is not None or image.get_data_dtype().kind == "c":
            raise UnreadableImage(f"values of type {image.get_data_dtype()}: expected numbers")
        if math.prod(shape) * 4 > _MOST_BYTES:
            raise UnreadableImage(f"too large: a volume of shape {shape}")
        low, high = float(image.header["cal_min"]), float(image.header["cal_max"])
        turned: Any = nibabel.as_closest_canonical
        upright = turned(image)
        values = np.asarray(upright.dataobj, dtype=np.float32)
        values = values if values.ndim == 4 else values[..., None]
        sides = tuple(float(side) for side in upright.header.get_zooms()[:3])
        return cls(values, sides, shape, image.affine, (low, high) if high > low else None, tuple(mended))

    @property
    def sample(self) -> np.ndarray:
        return self.values.ravel()[:: -(-self.values.size // _SAMPLED)]


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Collect what nibabel says of a header, which it would print."""
    from nibabel import imageglobals

    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    before, imageglobals.logger.handlers = imageglobals.logger.handlers, [handler]
    try:
        yield said
    finally:
        imageglobals.logger.handlers = before


def _mask(found: Sequence[File], library: Library, volume: _Volume) -> np.ndarray | None:
    """(right, front, up) bool: where the object is. Raises UnreadableImage where it does not lie upon the volume."""
    if (file := only(found)) is None:
        return None
    name = file.entry.name
    try:
        mask = _Volume.of(file, library)
    except UnreadableImage as error:
        raise UnreadableImage(f"mask {name}: {error}") from error
    if mask.shape[:3] != volume.shape[:3] or mask.values.shape[3] > 1:
        raise UnreadableImage(f"mask {name} is of shape {mask.shape}, its volume {volume.shape}")
    if not np.allclose(mask.place, volume.place, atol=1e-3):
        raise UnreadableImage(f"mask {name} does not lie where its volume does (their affines differ)")
    held = np.unique(mask.values)
    if len(held) > 2 or not set(held.tolist()) <= {0.0, held[-1]} or held[-1] not in (0, 1, 255):
        shown = ", ".join(f"{value:g}" for value in held[:8])
        raise UnreadableImage(f"mask {name}: holds {shown}: expected {EXPECTED}")
    answer: np.ndarray = mask.values[..., 0] > 0
    return answer


def _slice(values: np.ndarray, across: int, number: int) -> np.ndarray:
    """(height, width) of a volume's slice, as it is to be seen."""
    plane = np.take(values, number, axis=across)
    return np.ascontiguousarray(plane[::-1, ::-1].T)


def _thickest(sides: Sequence[float]) -> int:
    """The axis of the thickest voxels; axial where none is thicker than it."""
    return max((2, 1, 0), key=lambda axis: round(sides[axis], 3))


def _unpacked(file: File, library: Library) -> bytes:
    with library.reading(file) as stream:
        if file.suffix == ".nii.gz":
            try:
                data = gzip.GzipFile(fileobj=stream).read(_MOST_BYTES + 1)
            except (OSError, EOFError, zlib.error) as error:
                raise UnreadableImage("truncated, or damaged") from error
        else:
            data = stream.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise UnreadableImage(f"too large: more than {_MOST_BYTES:,} bytes")
    return data

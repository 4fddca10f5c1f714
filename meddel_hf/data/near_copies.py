"""Pools of known redundancy, made of real frames: some of them many times over, as near-copies, the others once.

A scene is a frame with its near-copies, or a frame alone. A near-copy is shifted by up to 5 % and zoomed by up to 8 %,
up to 10 % brighter or darker, blurred by up to 1 pixel, and compressed again (JPEG, quality 50 to 90): about what lies
between one frame of a video and the next, or between two exports of the same image.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, Image, Value
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageEnhance, ImageFilter

from meddel_hf.data.images import decode
from meddel_hf.data.pool import Pool
from meddel_hf.errors import InvalidArgument, InvalidDataset, UnreadableImage
from meddel_hf.runtime.checks import is_number
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest, fingerprint, step_folder
from meddel_hf.runtime.resume import check_same
from meddel_hf.runtime.words import plural
from meddel_hf.schema import GROUP, ID, IMAGE

SOURCES = 60  # frames that near-copies are made of
TABLE = "train-00000.parquet"
_FEATURES = Features({ID: Value("string"), GROUP: Value("string"), IMAGE: Image(decode=False)})


def near_copy(image: Picture.Image, rng: np.random.Generator) -> bytes:
    """A near-copy of an RGB image, as a JPEG file."""
    width, height = image.size
    zoom = 1 + rng.uniform(0, 0.08)
    w, h = width / zoom, height / zoom
    left = np.clip((width - w) / 2 + rng.uniform(-0.05, 0.05) * width, 0, width - w)
    top = np.clip((height - h) / 2 + rng.uniform(-0.05, 0.05) * height, 0, height - h)
    moved = image.resize((width, height), Picture.Resampling.BILINEAR, (left, top, left + w, top + h))
    brighter = ImageEnhance.Brightness(moved).enhance(rng.uniform(0.9, 1.1))
    blurred = brighter.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1)))
    return _jpeg(blurred, int(rng.integers(50, 91)))


def zipf(sources: int, copies: int) -> NDArray[np.int64]:
    """(sources,) copies of each source, in proportion to 1 / rank, one at least; `copies` in all, as many or more."""
    share = 1 / np.arange(1, sources + 1)
    counts: NDArray[np.int64] = np.maximum(1, np.floor(copies * share / share.sum()).astype(np.int64))
    counts[0] += max(0, copies - int(counts.sum()))
    while counts.sum() > copies:  # so few that the least have more than their due
        counts[counts.argmax()] -= 1
    return counts


def blown_up(pool: Pool, sources: int, copies: int, singles: int, seed: int = 0) -> Dataset:
    """A pool of `copies` near-copies of `sources` frames, by Zipf's law, and of `singles` further frames, shuffled.

    Columns id ("scene/number"), group (the scene) and image. Raises InvalidDataset where the pool holds fewer frames
    that can be decoded.
    """
    rng = np.random.default_rng(seed)
    assert pool.ids is not None
    counts = [*(zipf(sources, copies).tolist() if sources else []), *[0] * singles]  # 0: the frame itself
    frames = islice(_decoded(pool, rng.permutation(len(pool.ids)).tolist()), len(counts))
    made = []
    for scene, (image, count) in enumerate(zip(frames, counts, strict=False)):
        files = [near_copy(image, rng) for _ in range(count)] or [_jpeg(image, 90)]
        made += [_row(scene, number, file) for number, file in enumerate(files)]
    scenes = len({row[GROUP] for row in made})
    if scenes < len(counts):
        raise InvalidDataset(
            f"the pool holds {plural(scenes, 'frame')} that can be decoded: expected {len(counts):,} at least"
        )
    return Dataset.from_list([made[at] for at in rng.permutation(len(made))], features=_FEATURES)


def copies_of(frames: int, share: float) -> int:
    """Near-copies in a pool of so many frames. Raises InvalidArgument where that leaves a source without one."""
    copies = round(share * frames) if is_number(share) and 0 < share < 1 else 0
    if copies < SOURCES:
        raise InvalidArgument(
            f"a redundancy of {share} of {plural(frames, 'frame')} is {plural(copies, 'near-copy', 'near-copies')}: "
            f"expected a share between 0 and 1 that gives {SOURCES} at least"
        )
    return copies


def with_near_copies(pool: Pool, share: float, folder: Path, *, seed: int = 0) -> Path:
    """A pool of as many frames, of which `share` are near-copies of 60 others, as a data set folder; made once.

    Its frames that stand for themselves are drawn from the pool. Returns `folder`. Raises InvalidArgument for a share
    that is not in (0, 1) or leaves a source without a near-copy, InvalidDataset where too few frames can be decoded.
    """
    n = len(pool.ids or ())
    copies = copies_of(n, share)
    made_from = {"share": share, "seed": seed, "sources": SOURCES}
    if (folder / MANIFEST).is_file():
        there = Manifest.read(folder, "near-copies")
        check_same(
            folder, {**there.arguments, **there.parents}, {**made_from, "pool": pool.fingerprint}, "was made with"
        )
        there.check(folder)
        return folder
    with step_folder(folder, "near-copies") as aside:
        blown_up(pool, SOURCES, copies, n - copies, seed).to_parquet(aside / TABLE)
        made = fingerprint("near-copies", str(pool.fingerprint), repr(made_from))
        Manifest("near-copies", made, made_from, {"pool": str(pool.fingerprint)}).write(aside, [TABLE])
    return folder


def _decoded(pool: Pool, rows: list[int]) -> Iterator[Picture.Image]:
    """Those that can be, in this order."""
    for row in rows:
        with suppress(UnreadableImage):
            yield decode(pool.read(pool.frames[row][pool.image_column]))


def _row(scene: int, number: int, file: bytes) -> dict[str, Any]:
    return {ID: f"{scene:05}/{number:05}", GROUP: f"{scene:05}", IMAGE: {"bytes": file, "path": None}}


def _jpeg(image: Picture.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()

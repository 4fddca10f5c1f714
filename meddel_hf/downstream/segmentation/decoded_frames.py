"""Frames with masks, decoded once into a folder that many runs share; without a folder, decoded for this run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock

from meddel_hf.data.images import Preprocessing
from meddel_hf.downstream.segmentation.masked_frames import Decoded, LabelledFrames, Shown
from meddel_hf.errors import IncompleteStore
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest, fingerprint, step_folder
from meddel_hf.runtime.reading import intact

PIXELS, MASKS = "frames.npy", "masks.npy"
_STEP: Literal["frames"] = "frames"  # of the manifest, as of the decoded frames of a pool


def decoded(
    frames: LabelledFrames, preprocessing: Preprocessing, mask_size: tuple[int, int] | None, folder: Path | None
) -> Decoded:
    """As `LabelledFrames.decoded`; from `folder`, or else into it."""
    if folder is None:
        return frames.decoded(preprocessing, mask_size)

    def write(aside: Path) -> int:
        made = frames.decoded(preprocessing, mask_size)
        np.save(aside / PIXELS, made.pixels)
        np.save(aside / MASKS, made.masks)
        return made.empty_masks

    pixels, masks, empty = _once(frames, preprocessing, repr(mask_size), folder, [PIXELS, MASKS], write)
    return Decoded(pixels, masks, empty)


def shown(frames: LabelledFrames, preprocessing: Preprocessing, folder: Path | None) -> Shown:
    """As `LabelledFrames.shown`; from `folder`, or else into it."""
    if folder is None:
        return frames.shown(preprocessing)

    def write(aside: Path) -> int:
        made = frames.shown(preprocessing)
        np.save(aside / PIXELS, made.pixels)
        return made.empty_masks

    pixels, empty = _once(frames, preprocessing, "frames alone", folder, [PIXELS], write)
    return Shown(pixels, empty)


def _once(
    frames: LabelledFrames,
    preprocessing: Preprocessing,
    what: str,
    folder: Path,
    names: list[str],
    write: Callable[[Path], int],
) -> tuple[Any, ...]:
    """The arrays of these names, memory-mapped, and how many masks hold no object. Whoever comes first writes them.

    Raises IncompleteStore where a file is damaged, and what decoding raises.
    """
    made_of = [frames.fingerprint, repr(preprocessing), str(frames.num_labels), what]
    digest = fingerprint("masked frames", *made_of)
    target = folder / digest[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{digest[:16]}.lock"):
        if not (target / MANIFEST).is_file():
            with step_folder(target, _STEP) as aside:
                details = {"empty_masks": write(aside), "name": frames.name}
                arguments = {"preprocessing": repr(preprocessing), "num_labels": frames.num_labels, "what": what}
                Manifest(_STEP, digest, arguments, {"frames": frames.fingerprint}, details).write(aside, names)
    cure = f"delete {target}, and the frames are decoded again"
    manifest = Manifest.read(target, _STEP)
    if manifest.fingerprint != digest:
        raise IncompleteStore(f"{target} holds other frames ({manifest.fingerprint}, expected {digest}): {cure}")
    manifest.check(target, names, cure=cure)
    with intact(target / MANIFEST, cure):
        # "c": a change stays in memory. None is made, but torch warns of arrays that do not allow it.
        arrays = [np.load(target / name, mmap_mode="c", allow_pickle=False) for name in names]
        return (*arrays, int(manifest.details["empty_masks"]))

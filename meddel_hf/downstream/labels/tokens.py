"""Patch tokens and masks of labelled frames, computed once: what a `MaskTask` learns from, kept in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from meddel_hf.downstream.segmentation.masked_frames import LabelledFrames
from meddel_hf.embedding.encoder import load_encoder
from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest, check_recorded, fingerprint, step_folder
from meddel_hf.runtime.resume import check_same

FILE = "tokens.safetensors"
CELLS = 4  # of a patch's side; fewer where that is no divisor of its pixels
_BATCH = 32


@dataclass(frozen=True, eq=False)
class Tokens:
    """tokens: (n, P, d + 5) float16, each patch's token and place (`places`). ids: (n,) of the data set.

    shares: (n, P, c) float16, foreground in each of a patch's c cells, row by row.
    """

    ids: list[str]
    tokens: NDArray[np.float16]
    shares: NDArray[np.float16]

    def rows(self, ids: list[str]) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        """(tokens, shares) of those ids, in their order."""
        place = {id: row for row, id in enumerate(self.ids)}
        at = [place[id] for id in ids]
        return self.tokens[at], self.shares[at]


def patch_features(dataset: Dataset, encoder: str, out: str | Path, *, name: str, device: str = "cpu") -> Tokens:
    """The tokens of every frame of a data set with masks, read from `out` where they stand there.

    Frames and masks are brought to the size that the encoder sees; a mask's pixel is its nearest one's. Raises
    InvalidDataset where a frame or mask is missing or unreadable, InvalidArgument where the encoder crops frames, so
    that masks would not be seen whole, Mismatch where `out` was made of another data set or encoder.
    """
    out = Path(out)
    frames = LabelledFrames.of(dataset, name, 2)
    model = load_encoder(encoder, pooling="mean", device=device)
    if model.preprocessing.crop is not None:
        raise InvalidArgument(f"the image processor of {encoder} crops frames: their masks would not be seen whole")
    parents = {"pool": frames.fingerprint, "encoder": model.fingerprint}
    if (out / MANIFEST).is_file():
        check_same(out, Manifest.read(out, "tokens").parents, parents, "was made from")
        return _loaded(out, frames.ids)
    decoded = frames.decoded(model.preprocessing)
    grid = model.grid
    parts = [
        model.patches(decoded.pixels[start : start + _BATCH]).cpu().numpy().astype(np.float16)
        for start in range(0, len(frames), _BATCH)
    ]
    with step_folder(out, "tokens") as aside:
        tokens = np.concatenate(parts)
        where = np.broadcast_to(places(grid).astype(np.float16), (*tokens.shape[:2], 5))
        shares = cell_shares(decoded.masks == 1, grid).astype(np.float16)
        save_file({"tokens": np.concatenate([tokens, where], axis=2), "shares": shares}, aside / FILE)
        facts: dict[str, Any] = {"frames": len(frames), "grid": list(grid), "empty_masks": decoded.empty_masks}
        Manifest("tokens", fingerprint(*parents.values()), {}, parents, facts).write(aside, [FILE])
    return _loaded(out, frames.ids)


def places(grid: tuple[int, int]) -> NDArray[np.float64]:
    """(P, 5) y, x, y², x², xy of each patch, row by row, y and x from -1 to 1: a linear head can prefer the centre."""
    y, x = (axis.ravel() for axis in np.meshgrid(*(np.linspace(-1, 1, side) for side in grid), indexing="ij"))
    return np.stack([y, x, y * y, x * x, x * y], axis=1)


def cell_shares(masks: NDArray[np.bool_], grid: tuple[int, int], cells: int = CELLS) -> NDArray[np.float64]:
    """(n, H, W) masks of `grid` patches -> (n, P, c) share of foreground in each cell of each patch."""
    n, height, width = masks.shape
    rows, columns = grid
    across = max(side for side in range(1, cells + 1) if not (height // rows) % side and not (width // columns) % side)
    split = masks.reshape(n, rows, across, height // rows // across, columns, across, width // columns // across)
    shares = split.mean(axis=(3, 6))  # (n, rows, across, columns, across)
    answer: NDArray[np.float64] = shares.transpose(0, 1, 3, 2, 4).reshape(n, rows * columns, across * across)
    return answer


def _loaded(out: Path, ids: list[str]) -> Tokens:
    check_recorded(out, [FILE])
    arrays = load_file(out / FILE)
    if len(arrays["tokens"]) != len(ids):
        raise Mismatch(f"{out} holds {len(arrays['tokens']):,} frames, the data set {len(ids):,}: choose another one")
    return Tokens(ids, arrays["tokens"], arrays["shares"])

"""Known copies of real frames: how many of each kind does each way of telling near-duplicates find?

    python benchmarks/near_duplicates.py FRAMES --encoder ENCODER [--include PATTERN] [--frames 3000] [--copied 300]

Of FRAMES, any pool, `--frames` are embedded, and `--copied` of them are copied in ways that calibration does not use:
exact doubles, JPEG 30, half size, shifts of 3 and 6 %, mirrored, turned by 5 degrees, blurred. Every way has its
threshold set so that as many frames are near another one of the pool, true near-copies included, as the calibrated
threshold finds (1 % at least); then its recall of each kind of copy can be compared. The last lines are the calibrated
thresholds themselves, of every space. Ways: cosines in the four spaces; thumbnails of 32 x 32
correlated over small shifts; 256-bit perceptual hashes (imagehash).
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

import imagehash
import numpy as np
import torch
from PIL import Image as Picture
from PIL import ImageFilter, ImageOps

from meddel_hf.data.images import decode, prepare
from meddel_hf.data.pool import Pool, load_pool
from meddel_hf.embedding.calibration import HELD, Calibration, calibration_of
from meddel_hf.embedding.embed import embed
from meddel_hf.embedding.encoder import load_encoder
from meddel_hf.embedding.space import Space
from meddel_hf.embedding.thumbnails import SIDE, thumbnails

FEWEST = 0.01  # share of the frames that are near another one


def jpeg(image: Picture.Image, quality: int) -> Picture.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Picture.open(file)


def shifted(image: Picture.Image, share: float) -> Picture.Image:
    return image.crop((round(image.width * share), round(image.height * share), image.width, image.height))


KINDS = {
    "exact": lambda image: image,
    "JPEG 30": lambda image: jpeg(image, 30),
    "half size": lambda image: image.resize((max(1, image.width // 2), max(1, image.height // 2))),
    "shift 3 %": lambda image: shifted(image, 0.03),
    "shift 6 %": lambda image: shifted(image, 0.06),
    "mirrored": ImageOps.mirror,
    "turned 5°": lambda image: image.rotate(5, Picture.Resampling.BILINEAR),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(max(image.size) / 150)),
}


def likenesses(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(m, n) greatest correlation of thumbnails over shifts of at most two pixels."""
    best = np.full((len(left), len(right)), -1, np.float32)
    for down in range(-2, 3):
        for along in range(-2, 3):
            a, b = (
                stack[:, max(0, s * down) : SIDE + min(0, s * down), max(0, s * along) : SIDE + min(0, s * along)]
                .reshape(len(stack), -1).astype(np.float32)
                for s, stack in ((1, left), (-1, right))
            )  # fmt: skip
            a, b = (part - part.mean(axis=1, keepdims=True) for part in (a, b))
            a, b = (part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-6) for part in (a, b))
            np.maximum(best, a @ b.T, out=best)
    return best


def hashes(images: list[Picture.Image]) -> np.ndarray:
    """(n, 256) float32 of -1 and 1."""
    bits = np.stack([imagehash.phash(image, hash_size=16).hash.ravel() for image in images])
    return (2.0 * bits - 1).astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames_of", metavar="FRAMES")
    parser.add_argument("--include")
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--copied", type=int, default=300)
    args = parser.parse_args()
    data = load_pool(args.frames_of, include=args.include)
    order = np.random.default_rng(0).permutation(len(data))[: args.frames]
    data = data.select(np.sort(order))
    pool = Pool.of(data)
    images = [decode(pool.read(frame)) for frame in pool.frames[pool.image_column]]
    copied = np.arange(0, len(images), max(1, len(images) // args.copied))[: args.copied]
    model = load_encoder(args.encoder, pooling="both")
    with tempfile.TemporaryDirectory() as scratch:
        store = embed(data, args.encoder, Path(scratch) / "e", progress=False)
        calibration = calibration_of(store)
        vectors = {pooling: np.array(store.pooled(pooling)) for pooling in store.poolings}
        small = np.array(store.thumbnails)
    pixels = {
        kind: np.stack([prepare(make(images[row]), model.preprocessing) for row in copied])
        for kind, make in KINDS.items()
    }
    embedded = {kind: _in_batches(model, rows) for kind, rows in pixels.items()}
    ways: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]] = {}
    for pooling, rows in vectors.items():
        for subtracted in (False, True):
            mean = rows.mean(axis=0) if subtracted else 0
            pool_rows = unit(rows - mean)
            own = {kind: (unit(of[pooling] - mean) * pool_rows[copied]).sum(axis=1) for kind, of in embedded.items()}
            ways[str(Space(pooling, subtracted))] = (pool_rows @ pool_rows.T, own)
    own = {kind: np.diag(likenesses(thumbnails(rows), small[copied])) for kind, rows in pixels.items()}
    ways["thumbnails"] = (likenesses(small, small), own)
    bits = hashes(images)
    own = {
        kind: (hashes([make(images[row]) for row in copied]) * bits[copied]).mean(axis=1)
        for kind, make in KINDS.items()
    }
    ways["phash, 256 bits"] = (bits @ bits.T / 256, own)
    print(f"{len(images):,} frames, {len(copied)} copied; {_told(calibration)}\n")
    print(f"| way, threshold | frames near another | {' | '.join(KINDS)} |\n|---|---|{'---|' * len(KINDS)}")
    for pairs, _ in ways.values():
        np.fill_diagonal(pairs, -2)
    nearest = ways[str(calibration.best.space)][0].max(axis=1)
    near = max(FEWEST, float((nearest > calibration.best.eta).mean()))
    for way, (pairs, own) in ways.items():
        nearest = pairs.max(axis=1)
        _row(way, float(np.sort(nearest)[-int(near * len(nearest)) - 1]), nearest, own)
    for threshold in calibration.thresholds:
        pairs, own = ways[str(threshold.space)]
        _row(f"calibrated: {threshold.space}", threshold.eta, pairs.max(axis=1), own)


def _row(way: str, at: float, nearest: np.ndarray, own: dict[str, np.ndarray]) -> None:
    found = " | ".join(f"{(here > at).mean():.0%}" for here in own.values())
    print(f"| {way}, {at:.4f} | {(nearest > at).mean():.1%} | {found} |")


def _told(calibration: Calibration) -> str:
    return f"calibrated on {calibration.copies} copies to hold {HELD:.0%}: {calibration.best}"


def _in_batches(model, pixels: np.ndarray) -> dict[str, np.ndarray]:
    parts = [model.pooled(pixels[at : at + 32]) for at in range(0, len(pixels), 32)]
    return {pooling: torch.cat([part[pooling] for part in parts]).float().numpy() for pooling in model.poolings}


if __name__ == "__main__":
    main()

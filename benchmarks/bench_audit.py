"""Copies planted in a test set: how many does `meddel audit` trace back to the pool, and how many are false?

    python benchmarks/bench_audit.py planted STORE FRAMES [--others FRAMES] [--originals 100] [--held 200]
    python benchmarks/bench_audit.py known POOL TEST [--encoder carried]

planted: STORE is an embedding store of FRAMES. `--held` of its frames are taken out of the pool, and stand in the test
set as they are; `--originals` stay in it, and stand in the test set once for each kind of copy; beside them as many
frames of another source as were held out. A held-out frame that is called a copy counts as false, although in a pool of
videos its neighbour may well be the same scene. The rival: perceptual hashes (imagehash.phash) of 64 and 256 bits,
nearest in the pool, at the threshold of greatest recall minus share of false alarms, chosen with the answers known. In
brackets: the share that was traced to the very frame.

known: frames of TEST that are known to be in POOL, by the names of their files.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path

import imagehash
import numpy as np
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture
from PIL import ImageEnhance, ImageOps

from meddel_hf.data.images import decode
from meddel_hf.data.pool import Pool, load_pool
from meddel_hf.embedding.embed import embed
from meddel_hf.embedding.remainder import Remainder
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.overlap.audit import audit

FEATURES = Features({"id": Value("string"), "image": Image(decode=False)})


def encoded(image: Picture.Image, quality: int = 90) -> Picture.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Picture.open(file).convert("RGB")


def resized(image, rng):
    scale = rng.uniform(0.5, 1.5)
    return image.resize((round(image.width * scale), round(image.height * scale)), Picture.Resampling.BICUBIC)


def shifted(image, rng):
    """The window moves by 3 to 10 % of a side, along both."""
    x, y = round(image.width * rng.uniform(0.03, 0.10)), round(image.height * rng.uniform(0.03, 0.10))
    left, top = rng.choice([0, x]), rng.choice([0, y])
    return image.crop((left, top, left + image.width - x, top + image.height - y))


def cropped(image, rng):
    """3 to 10 % less at each of the four borders."""
    left, top = rng.uniform(0.03, 0.10) * image.width, rng.uniform(0.03, 0.10) * image.height
    right, bottom = image.width * (1 - rng.uniform(0.03, 0.10)), image.height * (1 - rng.uniform(0.03, 0.10))
    return image.crop((round(left), round(top), round(right), round(bottom)))


def windowed(image, rng):
    """Brightness and contrast by 0.7 to 1.3, gamma by 0.7 to 1.4."""
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.7, 1.3))
    image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.7, 1.3))
    gamma = rng.uniform(0.7, 1.4)
    return image.point([round(255 * (value / 255) ** gamma) for value in range(256)] * 3)


KINDS = {
    "JPEG 30-90": lambda image, rng: encoded(image, int(rng.integers(30, 91))),
    "resized 0.5-1.5": resized,
    "shifted 3-10 %": shifted,
    "cropped 3-10 %": cropped,
    "mirrored": lambda image, rng: ImageOps.mirror(image),
    "re-windowed": windowed,
    "all but mirrored": lambda image, rng: encoded(
        windowed(shifted(resized(image, rng), rng), rng), int(rng.integers(30, 91))
    ),
    "all": lambda image, rng: ImageOps.mirror(
        encoded(windowed(shifted(resized(image, rng), rng), rng), int(rng.integers(30, 91)))
    ),
}


def written(image: Picture.Image) -> dict:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return {"bytes": file.getvalue(), "path": None}


def frames_of(pool: Pool, wanted: list[str]) -> dict[str, Picture.Image]:
    place = {id: row for row, id in enumerate(pool.ids or ())}
    return {id: decode(pool.read(pool.frames[place[id]][pool.image_column])) for id in wanted}


def hashes(images: list[Picture.Image], size: int) -> np.ndarray:
    """(n, size * size) float32 of -1 and 1."""
    return np.stack([2.0 * imagehash.phash(image, hash_size=size).hash.ravel() - 1 for image in images]).astype("f4")


def planted(args: argparse.Namespace) -> None:
    rng = np.random.default_rng(args.seed)
    store, pool = EmbeddingStore.load(args.store), Pool.of(load_pool(args.frames))
    order = rng.permutation(len(store))
    copied, held = order[: args.originals], order[args.originals : args.originals + args.held]
    left = np.setdiff1d(np.arange(len(store)), held)
    ids = np.array(store.pool_ids)[store.rows]
    originals, alone = frames_of(pool, ids[copied].tolist()), frames_of(pool, ids[held].tolist())
    test = [
        (f"{kind}|{id}", make(image, rng)) for kind, make in KINDS.items() for id, image in originals.items()
    ]  # fmt: skip
    test += [(f"held out|{id}", image) for id, image in alone.items()]
    if args.others:
        others = Pool.of(load_pool(args.others))
        some = [others.ids[row] for row in rng.permutation(len(others.ids or ()))[: args.held]]
        test += [(f"another source|{id}", image) for id, image in frames_of(others, some).items()]
    data = Dataset.from_list([{"id": id, "image": written(image)} for id, image in test], features=FEATURES)
    with tempfile.TemporaryDirectory() as scratch:
        encoder = store.manifest.arguments["encoder"]
        encoder = "carried" if encoder.endswith("meddel_hf/assets/encoder") else encoder
        tested = embed(data, encoder, Path(scratch) / "test", calibrate=False, progress=False)
        begun = time.monotonic()
        answer = audit(Remainder.of(store, left), tested)
        seconds = time.monotonic() - begun
    print(f"{args.frames}: {len(left):,} frames in the pool, {len(test):,} test frames, {seconds:.0f} s\n{answer}\n")
    kinds, wanted = np.array([id.split("|")[0] for id, _ in test]), np.array([id.split("|", 1)[1] for id, _ in test])
    pairs = dict(zip(answer.copied["test_id"].to_pylist(), answer.copied["pool_id"].to_pylist(), strict=True))
    matched = np.array([pairs.get(id, "") for id, _ in test])
    ways = {"meddel audit": (matched != "", matched == wanted)}
    there = frames_of(pool, ids[left].tolist())
    planted_ones = np.isin(kinds, list(KINDS))
    for size in (8, 16):
        ours, theirs = hashes([image for _, image in test], size), hashes(list(there.values()), size)
        distance = (size * size - ours @ theirs.T) / 2
        nearest, to = distance.min(axis=1), np.array(list(there))[distance.argmin(axis=1)]
        gain = {each: (nearest[planted_ones] <= each).mean() - (nearest[~planted_ones] <= each).mean()
                for each in np.unique(nearest)}  # fmt: skip
        best = max(gain, key=lambda threshold: gain[threshold])
        ways[f"phash {size * size}, at {best:.0f} bits"] = (nearest <= best, (nearest <= best) & (to == wanted))
    print(f"{'':<20}{'frames':>8}" + "".join(f"{name:>26}" for name in ways))
    for kind in dict.fromkeys(kinds):
        here = kinds == kind
        cells = [f"{called[here].mean():.1%}" for called, _ in ways.values()]
        if kind in KINDS:
            cells = [
                f"{called[here].mean():.1%} ({right[here].mean():.1%})" for called, right in ways.values()
            ]  # fmt: skip
        print(f"{kind:<20}{here.sum():>8}" + "".join(f"{cell:>26}" for cell in cells))
    for name, (called, _) in ways.items():
        share = (called & planted_ones).sum() / max(1, called.sum())
        print(f"precision, {name}: {share:.1%}; recall of all copies {called[planted_ones].mean():.1%}")
    false = [id for (id, _), call, copy in zip(test, matched != "", planted_ones, strict=True) if call and not copy]
    for row in answer.copied.to_pylist():
        if row["test_id"] in false:
            print(f"  {row['test_id']}  {row['pool_id']}  likeness {row['likeness']:.4f}  cosine {row['cosine']:.4f}")


def known(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        stores = [
            embed(load_pool(spec, include=args.include), args.encoder, Path(scratch) / name, progress=False)
            for name, spec in (("pool", args.pool), ("test", args.test))
        ]
        begun = time.monotonic()
        answer = audit(*stores)
        print(f"{time.monotonic() - begun:.0f} s\n{answer}")
        there = {Path(id).name for id in stores[0].pool_ids}
        expected = {id for id in stores[1].pool_ids if Path(id).name in there}
    pairs = {row["test_id"]: row["pool_id"] for row in answer.copied.to_pylist()}
    right = sum(Path(pairs.get(id, "")).name == Path(id).name for id in expected)
    traced = len(expected & set(pairs))
    print(f"{len(expected)} test frames are in the pool by name: {right} traced to it, {traced} to it or another")
    print(f"{len(set(pairs) - expected)} others called copies, of {len(stores[1]) - len(expected)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    one = verbs.add_parser("planted")
    one.add_argument("store")
    one.add_argument("frames")
    one.add_argument("--others")
    one.add_argument("--originals", type=int, default=100)
    one.add_argument("--held", type=int, default=200)
    one.add_argument("--seed", type=int, default=0)
    one.set_defaults(run=planted)
    two = verbs.add_parser("known")
    two.add_argument("pool")
    two.add_argument("test")
    two.add_argument("--include")
    two.add_argument("--encoder", default="carried")
    two.set_defaults(run=known)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()

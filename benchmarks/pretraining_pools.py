"""Pools and test frames of the pre-training experiments, made of users' own copies of three data sets.

    python benchmarks/pretraining_pools.py CP-CHILD-A GASTROVISION POLYPGEN --out POOLS [--videos DATADEL:CONFIG]

POOLS/pool/     what is chosen from: CP-CHILD's Train, PolypGen's single frames, GastroVision but for 484 frames
POOLS/test-cp/  the 1,000 frames of CP-CHILD's Test; POOLS/test-gv/ the 484 of GastroVision, drawn with seed 0
POOLS/test-video/ frames of videos; the column group says which one
POOLS/probe-cp/ train/ and test/: 2,000 labelled frames of Train, drawn with seed 0 (800 with polyps), and all of Test

The shorter side of every frame is brought to `--side` pixels (JPEG, quality 85), so that a pool of 10,000 frames takes
40 MB. Frames of the probe are in the pool too: what is learned from their pixels without labels is what is measured.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from datasets import Dataset, Features, Value
from datasets import Image as Frame
from PIL import Image
from tqdm import tqdm

from meddel_hf.data.images import decode
from meddel_hf.data.pool import Pool, load_pool

_QUALITY, _TESTED = 85, 484
_LABELLED = {"Polyp": 800, "Non-Polyp": 1200}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("cp_child", "gastrovision", "polypgen"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--videos", help="a built data set whose column group says which video a frame is of")
    parser.add_argument("--side", type=int, default=96)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    copies: list[tuple[Path, Path]] = []  # from, to
    of_gastrovision = sorted(args.gastrovision.rglob("*.jpg"))
    tested = set(rng.permutation(len(of_gastrovision))[:_TESTED].tolist())
    for at, file in enumerate(of_gastrovision):
        folder = "test-gv" if at in tested else "pool/gv"
        copies.append((file, args.out / folder / file.relative_to(args.gastrovision)))
    for file in sorted(args.polypgen.rglob("images_C*/*.jpg")):
        copies.append((file, args.out / "pool/pg" / file.relative_to(args.polypgen)))
    for label, count in _LABELLED.items():
        train = sorted((args.cp_child / "Train" / label).glob("*.jpg"))
        labelled = {train[at] for at in rng.permutation(len(train))[:count].tolist()}
        for file in train:
            copies.append((file, args.out / "pool/cp" / label / file.name))
            if file in labelled:
                copies.append((file, args.out / "probe-cp/train" / label / file.name))
        for file in sorted((args.cp_child / "Test" / label).glob("*.jpg")):
            copies.append((file, args.out / "test-cp" / label / file.name))
            copies.append((file, args.out / "probe-cp/test" / label / file.name))
    for source, target in tqdm(copies, unit="frame"):
        with Image.open(source) as image:
            target.parent.mkdir(parents=True, exist_ok=True)
            _scaled(image.convert("RGB"), args.side).save(target, quality=_QUALITY)
    if args.videos:
        _videos(args.videos, args.out / "test-video", args.side)


def _videos(spec: str, folder: Path, side: int) -> None:
    dataset = load_pool(spec)
    pool = Pool.of(dataset)
    rows = []
    for row, (frame, group) in enumerate(zip(pool.frames, dataset["group"], strict=True)):
        file = io.BytesIO()
        _scaled(decode(pool.read(frame[pool.image_column])), side).save(file, "JPEG", quality=_QUALITY)
        rows.append({"id": f"{row:05}", "group": group, "image": {"bytes": file.getvalue(), "path": None}})
    folder.mkdir(parents=True, exist_ok=True)
    features = Features({"id": Value("string"), "group": Value("string"), "image": Frame(decode=False)})
    Dataset.from_list(rows, features=features).to_parquet(folder / "train-00000.parquet")


def _scaled(frame: Image.Image, side: int) -> Image.Image:
    """Its shorter side is `side` pixels long."""
    share = side / min(frame.size)
    width, height = (max(side, round(length * share)) for length in frame.size)
    return frame.resize((width, height), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()

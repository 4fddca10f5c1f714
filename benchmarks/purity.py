"""How pure are groups of near-duplicates? CVC-ClinicDB's frames come from known sequences: a dropped frame should be a
near-duplicate of a kept frame of its own sequence.

    python benchmarks/purity.py POOL EMBEDDINGS [--cvc cvc] [--retention 0.05 0.1 0.2 0.33 0.5]

POOL is the folder of images that was embedded, with CVC-ClinicDB's frames (named by number) in its folder `--cvc`;
EMBEDDINGS is what `meddel embed` wrote for it. The rival is the same selector on 16x16-pixel thumbnails of the frames.
A neighbour of the same sequence proves nothing about an encoder: frames of one video look alike to anything.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image

from meddel_hf import EmbeddingStore, MedDEL, Selection
from meddel_hf.data.images import decode
from meddel_hf.data.pool import load_pool

# First frame of each sequence; the ranges are contiguous (metadata.csv of the Kaggle repack).
STARTS = (1, 26, 51, 68, 79, 104, 127, 152, 178, 200, 206, 228, 253, 278, 298, 318, 343, 364, 384, 409, 429, 448, 467)
STARTS += (479, 504, 529, 547, 572, 592)


def sequence(id: str) -> int:
    """Which sequence a frame such as "cvc/17" is of."""
    return int(np.searchsorted(STARTS, int(id.rsplit("/", 1)[-1]), side="right"))


def purity(selection: Selection, folder: str) -> tuple[int, int, int]:
    """Frames of the folder that are dropped as near-duplicates: how many, of which for a frame of the folder, of which
    for a frame of the same sequence."""
    rows = [row for row in selection.table.to_pylist() if row["id"].startswith(folder + "/") and row["duplicate_of"]]
    inside = [row for row in rows if row["duplicate_of"].startswith(folder + "/")]
    same = [row for row in inside if sequence(row["id"]) == sequence(row["duplicate_of"])]
    return len(rows), len(inside), len(same)


def thumbnails(pool_spec: str) -> np.ndarray:
    """(n, 768) float32: 16x16-pixel thumbnails."""
    pool = load_pool(pool_spec)
    small = [decode(row["image"]).resize((16, 16), Image.Resampling.BOX) for row in pool]
    return np.stack([np.asarray(image, np.float32).ravel() for image in small])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pool")
    parser.add_argument("embeddings")
    parser.add_argument("--cvc", default="cvc")
    parser.add_argument("--retention", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.33, 0.5])
    args = parser.parse_args()
    store = EmbeddingStore.load(args.embeddings)
    if len(store) != len(store.pool_ids):
        raise SystemExit("some frames are unreadable: leave them out of this comparison")
    rivals = {"encoder": store.embeddings, "16x16 thumbnails": thumbnails(args.pool)}
    print("| features | retention | CVC frames kept | dropped | for a CVC frame | for one of the same sequence |")
    print("|---|---|---|---|---|---|")
    total = sum(id.startswith(args.cvc + "/") for id in store.pool_ids)
    for name, features in rivals.items():
        for retention in args.retention:
            chosen = MedDEL(retention=retention, scope="pool", epsilon=None, subtract_mean=True).select(features)
            named = _named(chosen, store.pool_ids)
            dropped, inside, same = purity(named, args.cvc)
            share = f"{same / dropped:.0%}" if dropped else "-"
            print(f"| {name} | {retention:.0%} | {total - dropped} | {dropped} | {inside} | {same} ({share}) |")


def _named(selection: Selection, ids: list[str]) -> Selection:
    """The selection of a plain array with the pool's ids instead of row numbers."""
    table = selection.table
    of = [None if row is None else ids[int(row)] for row in table["duplicate_of"].to_pylist()]
    table = table.set_column(0, "id", [ids])
    table = table.set_column(table.column_names.index("duplicate_of"), "duplicate_of", [of])
    return Selection(table, selection.settings, selection.origin, selection.eta)


if __name__ == "__main__":
    main()

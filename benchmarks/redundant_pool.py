"""A redundant pool of known truth, made of real frames: what each selector keeps of its scenes.

    python benchmarks/redundant_pool.py FRAMES --encoder ENCODER --out WORK [--seeds 5]

FRAMES is any pool. Of `--sources` frames drawn from it near-copies are made, as many as Zipf's law gives each, until
there are `--copies` of them (shift up to 5 %, zoom up to 8 %, brightness up to 10 %, blur up to 1 pixel, JPEG quality
50 to 90); `--singles` further frames stand for themselves. A scene is a source with its copies, or a single. The
pool is embedded, calibrated, and every selector asked for 1, 2, 5 and 10 %; printed as Markdown: scenes kept, mean
over seeds and a 95 % interval of it (Student's t); and what of the first step was right: copies that stay beside
another of their scene, singles that went.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from meddel_hf.data.near_copies import blown_up
from meddel_hf.data.pool import Pool, load_pool
from meddel_hf.embedding.embed import embed
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.selectors import Dedup
from meddel_hf.selectors.registry import make

SHARES = (0.01, 0.02, 0.05, 0.10)
SELECTORS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "dedup, then random": ("dedup", {"then": "random"}),
    "dedup, then balanced": ("dedup", {"then": "balanced"}),
    "dedup, then cover": ("dedup", {"then": "cover"}),
    "dedup, then meddel": ("dedup", {"then": "meddel"}),
    "meddel (the paper: cluster scope)": ("meddel", {"subtract_mean": True, "epsilon": None}),
    "meddel, pool scope": ("meddel", {"subtract_mean": True, "epsilon": None, "scope": "pool"}),
    "semdedup": ("semdedup", {"subtract_mean": True}),
    "semdedup, random": ("semdedup", {"subtract_mean": True, "keep": "random"}),
    "k-centre": ("k-centre", {"subtract_mean": True}),
    "density": ("density", {"subtract_mean": True}),
    "density, random": ("density", {"subtract_mean": True, "keep": "random"}),
    "prototypes, easy": ("prototypes-easy", {"subtract_mean": True}),
    "balanced": ("balanced", {"subtract_mean": True}),
    "typiclust": ("typiclust", {"subtract_mean": True}),
    "max-herding": ("max-herding", {"subtract_mean": True}),
}


def scenes_of(ids: list[str]) -> int:
    return len({id.split("/")[0] for id in ids})


def first_step(store: EmbeddingStore) -> None:
    """Print what the calibrated first step got right and wrong."""
    selection = Dedup().select(store)
    kept = selection.kept
    scene = [id.split("/")[0] for id in selection.table["id"].to_pylist()]
    alone = {name for name in set(scene) if scene.count(name) == 1}
    lost = len(set(scene)) - scenes_of(kept)
    gone = [row for row in selection.table.to_pylist() if row["reason"] == "near-duplicate"]
    right = sum(row["id"].split("/")[0] == row["duplicate_of"].split("/")[0] for row in gone)
    print(selection.notes[0])
    print(
        f"first step: {len(gone):,} of {len(scene):,} frames go, {right / max(1, len(gone)):.2%} of them for a frame "
        f"of their own scene; {lost} of {len(set(scene)):,} scenes are lost, "
        f"{sum(row['id'].split('/')[0] in alone for row in gone)} of {len(alone):,} singles; "
        f"{len(kept) - scenes_of(kept):,} copies stay beside another frame of their scene\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames")
    parser.add_argument("--include")
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sources", type=int, default=60)
    parser.add_argument("--copies", type=int, default=8000)
    parser.add_argument("--singles", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    store_at = args.out / "embeddings"
    if not (store_at / "manifest.json").is_file():
        pool = Pool.of(load_pool(args.frames, include=args.include))
        made = blown_up(pool, args.sources, args.copies, args.singles)
        embed(made, args.encoder, store_at)
    store = EmbeddingStore.load(store_at)
    rows, scenes = len(store.pool_ids), scenes_of(store.pool_ids)
    print(f"{rows:,} frames, {scenes:,} scenes\n")
    first_step(store)
    print(f"| selector | {' | '.join(f'{share:.0%} ({round(share * rows):,})' for share in SHARES)} | seconds |")
    print("|---|" + "---|" * (len(SHARES) + 1))
    for label, (name, options) in SELECTORS.items():
        cells, began = [], time.monotonic()
        # the same for all shares and seeds
        first = Dedup(SHARES[0], **options).first_step(store) if name == "dedup" else None
        for share in SHARES:
            kept = []
            for seed in range(args.seeds):
                selector: Any = make(name, retention=share, seed=seed, **options)
                selection = selector.answer(first) if first else selector.select(store)
                kept.append(float(scenes_of(selection.kept)))
            spread = stats.sem(kept) * stats.t.ppf(0.975, len(kept) - 1) if len(kept) > 1 else float("nan")
            cells.append(f"{np.mean(kept):.0f} ± {spread:.0f}")
        each = (time.monotonic() - began) / (len(SHARES) * args.seeds)
        print(f"| {label} | {' | '.join(cells)} | {each:.1f} |", flush=True)


if __name__ == "__main__":
    main()

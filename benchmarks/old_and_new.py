"""The old default and the new one at 5 %, on stores of real frames: are near-duplicates ones, what is covered?

    python benchmarks/old_and_new.py EMBEDDINGS...

EMBEDDINGS: stores that `meddel embed` wrote with both poolings and calibrated. A line each: rows that go as
near-duplicates; the share of them that look like the frame that stands for them (thumbnails); mean and least cosine of
the pool's frames to the nearest kept one (mean over patches, mean subtracted); effective number of frames kept (Vendi).
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from meddel_hf import Dedup, EmbeddingStore, MedDEL
from meddel_hf.embedding.calibration import calibration_of
from meddel_hf.embedding.thumbnails import likeness
from meddel_hf.selection.measures import vendi
from meddel_hf.selectors import Random
from meddel_hf.selectors.protocol import Readable


def line(store: EmbeddingStore, name: str, selector: Any, embeddings: Any) -> str:
    rows = selector.select(embeddings).table.to_pylist()
    place = {id: number for number, id in enumerate(store.pool_ids)}
    among = np.full(len(place), -1)
    among[store.rows] = np.arange(len(store))
    gone = [(among[place[r["id"]]], among[place[r["duplicate_of"]]]) for r in rows if r["reason"] == "near-duplicate"]
    alike = "-"
    if gone and store.thumbnails is not None:
        first, second = np.array(gone).T
        likenesses = likeness(store.thumbnails[first], store.thumbnails[second])
        alike = f"{(likenesses > calibration_of(store).alike).mean():.0%}"
    kept = np.array([row["kept"] for row in rows])[store.rows]
    unit = Readable.of(store, "mean").vectors(subtract_mean=True).unit.numpy()
    cosine = (unit @ unit[kept].T).max(axis=1)
    measures = f"{cosine.mean():.2f} | {cosine.min():.2f} | {vendi(unit[kept]):.1f}"
    return f"| {store.folder.name}, {len(store):,} | {name} | {len(gone):,} | {alike} | {measures} |"


def main(stores: list[str]) -> None:
    print("| pool | selector | near-duplicates | look alike | mean cosine | least | effective number |")
    print("|---|---|---|---|---|---|---|")
    for path in stores:
        store = EmbeddingStore.load(path)
        mean = Readable.of(store, "mean")
        print(line(store, "MedDEL, cluster scope (old default)", MedDEL(retention=0.05), store))
        pool = MedDEL(retention=0.05, subtract_mean=True, scope="pool", epsilon=None)
        print(line(store, "MedDEL, pool scope, mean subtracted (old demo)", pool, mean))
        print(line(store, "Dedup (new default)", Dedup(retention=0.05), store))
        print(line(store, "random", Random(retention=0.05), store))


if __name__ == "__main__":
    main(sys.argv[1:])

"""The main job on the data that the package carries: real frames in, an effective subset out."""

from __future__ import annotations

import time
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

import pyarrow.compute as pc
from datasets import Dataset, utils

from meddel_hf.data.local import open_folder
from meddel_hf.embedding.embed import embed
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.files import check_can_write
from meddel_hf.selection.folder import save_subset
from meddel_hf.selection.pictures import draw_duplicates, draw_retention
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors import MedDEL

RETENTIONS = (0.05, 0.10, 0.20, 0.33, 0.50)
# Both spread out what a small encoder of one narrow domain finds alike; the paper does without.
SETTINGS = MedDEL(retention=RETENTIONS[0], subtract_mean=True, scope="pool", epsilon=None)
POOLING: Literal["mean"] = "mean"
_LICENSE = "cc-by-4.0"


def run_demo(out: Path) -> None:
    """Embed the carried pool with the carried encoder, select at five retentions, write tables, pictures and a subset.

    Raises InvalidArgument where `out` exists and is not an earlier demo's.
    """
    check_can_write(out)
    if out.exists() and any(out.iterdir()) and not (out / "embeddings").is_dir():
        raise InvalidArgument(f"{out} exists and was not written by the demo: name another folder with --out")
    started = time.monotonic()
    with as_file(files("meddel_hf.assets")) as assets:
        pool = demo_pool(assets / "pool")
        print(f"pool      {len(pool)} frames of PolypGen, {len(set(pool['center']))} hospitals (CC BY 4.0)")
        store = embed(pool, str(assets / "encoder"), out / "embeddings", pooling=POOLING)
        print(f"embedded  {len(store)} frames, {store.dim} numbers each\n")
        centers = sorted(set(pool["center"]))
        print(f"{'retention':>9}{'frames':>8}{'eta':>8}{'coverage':>10}   frames of each centre ({', '.join(centers)})")
        selections = [replace(SETTINGS, retention=retention).select(store) for retention in RETENTIONS]
        for selection in selections:
            print(_row(selection, pool, centers))
        smallest, largest = selections[0], selections[-1]
        smallest.save(out / "selection")
        draw_retention(smallest, out / "retention.png")
        draw_duplicates(smallest, pool, out / "duplicates-5.png")
        draw_duplicates(largest, pool, out / "duplicates-50.png")
        subset = smallest.filter(pool)
        save_subset(subset, out / "subset", license=_LICENSE)
    dropped = smallest.table.filter(pc.equal(smallest.table["reason"], "near-duplicate"))["id"][0].as_py()
    print(f"\nwhy       {smallest.why(dropped)}")
    print(f"wrote     {out}/: selection, subset, retention.png, duplicates-5.png, duplicates-50.png")
    print(f'open it   load_dataset("{out}/subset", split="train")')
    print(f"took      {time.monotonic() - started:.0f} s")


def demo_pool(folder: Path) -> Dataset:
    """The carried pool, 450 frames of six centres in DataDEL's schema."""
    shown = utils.logging.is_progress_bar_enabled()
    utils.logging.disable_progress_bar()
    try:
        return open_folder(folder)
    finally:
        if shown:
            utils.logging.enable_progress_bar()


def _row(selection: Selection, pool: Dataset, centers: list[str]) -> str:
    kept = set(selection.kept)
    counts = dict.fromkeys(centers, 0)
    for id, center in zip(pool["id"], pool["center"], strict=True):
        counts[center] += id in kept
    s = selection.summary
    each = " ".join(f"{counts[center]:>4}" for center in centers)
    return f"{s.retention:>9.0%}{s.kept:>8}{s.eta:>8.3f}{s.coverage:>10.0%}   {each}"

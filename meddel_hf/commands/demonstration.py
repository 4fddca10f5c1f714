"""The main job on the data that the package carries: real frames in, an effective subset out."""

from __future__ import annotations

import time
from importlib.resources import as_file, files
from pathlib import Path

import pyarrow.compute as pc
from datasets import Dataset, utils

from meddel_hf.data.local import open_folder
from meddel_hf.embedding.embed import embed
from meddel_hf.embedding.loading import CARRIED
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.files import check_can_write
from meddel_hf.schema import CENTER
from meddel_hf.selection.folder import save_subset
from meddel_hf.selection.measures import farthest, kept_of
from meddel_hf.selection.pictures import draw_duplicates, draw_left_out
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors import Dedup
from meddel_hf.selectors.advice import advise

RETENTIONS = (0.05, 0.10, 0.20, 0.33, 0.50)
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
        store = embed(pool, CARRIED, out / "embeddings")
        print(f"embedded  {len(store)} frames, {store.dim} numbers each\n")
        print(f"advice    {advise(store, pool=pool, retentions=RETENTIONS).verdict(RETENTIONS[0])}\n")
        centers = sorted(set(pool["center"]))
        print(f"{'retention':>9}{'frames':>8}{'farthest':>10}   frames of each centre ({', '.join(centers)})")
        first = Dedup().first_step(store)  # the same for all
        selections = [Dedup(retention).answer(first, pool) for retention in RETENTIONS]
        for selection in selections:
            print(_row(selection, pool))
        smallest = selections[0]
        smallest.save(out / "selection")
        draw_duplicates(smallest, pool, out / "duplicates.png")
        draw_left_out(smallest, pool, out / "left-out.png")
        title = f"{smallest.summary.kept} of {len(pool)} frames of PolypGen"
        smallest.explore(pool, embeddings=store, title=title).save(out / "index.html")
        subset = smallest.filter(pool)
        save_subset(subset, out / "subset", license=_LICENSE)
    print(f"\nnote      {smallest.notes[0]}")
    for reason in ("near-duplicate", "not-selected"):
        dropped = smallest.table.filter(pc.equal(smallest.table["reason"], reason))["id"][0].as_py()
        print(f"why       {smallest.why(dropped)}")
    print(f"wrote     {out}/: selection, subset, duplicates.png, left-out.png, index.html")
    print(f"look      {out}/index.html in a browser: who stands for whom, a threshold to move")
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


def _row(selection: Selection, pool: Dataset) -> str:
    kept, far = kept_of(selection, pool, CENTER), farthest(selection)
    assert kept is not None
    assert far is not None
    each = " ".join(f"{count:>4}" for _, _, count in sorted(kept.rows))
    return f"{selection.retention:>9.0%}{selection.summary.kept:>8}{far[1]:>10.3f}   {each}"

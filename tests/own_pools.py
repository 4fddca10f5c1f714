"""A pool that is made of a user's files, and its rows."""

from __future__ import annotations

from pathlib import Path

from datasets import load_dataset

from meddel_hf.ingest.make import MadePool, make_pool


def pool(folder: Path, out: Path, **options) -> tuple[MadePool, dict[str, dict]]:
    """Make a pool; returns it and its rows by id."""
    made = make_pool(folder, out, **{"workers": 1, **options})
    rows = load_dataset(str(out), split="train", cache_dir=str(out.parent / "cache"))
    return made, {row["id"]: row for row in rows}

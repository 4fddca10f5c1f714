"""How redundant a pool is: how many of its frames Dedup's first step calls near-duplicates. Asked once for all shards.

RUNS/redundancy.json: `share`, `left`, `eta`, `why` (see `Redundancy`), and `embeddings`, that it was found in.
RUNS/distinct/: the selection that this is about, where there is enough to remove: the cells of every seed take it from
there, since nothing in it depends on a seed.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from meddel_hf.benchmark.cells import REDUNDANCY, read_json
from meddel_hf.benchmark.place import DISTINCT
from meddel_hf.benchmark.verdicts import Redundancy
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import IncompleteStore, InvalidArgument, Mismatch
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.reading import intact
from meddel_hf.runtime.records import write_facts
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors.dedup import Dedup


def find(store: EmbeddingStore, runs: Path) -> None:
    """Write redundancy.json, unless it stands there for these embeddings; and the selection that it is about.

    All rows are compared with all, at the eta that the store was calibrated to.
    """
    if read_json(runs / REDUNDANCY).get("embeddings") == store.fingerprint:
        return
    try:
        selection = Dedup().select(store)
    except InvalidArgument as error:  # nobody knows how near a near-duplicate is
        redundancy = Redundancy(None, None, None, str(error))
    else:
        redundancy = _redundancy(selection)
        if redundancy.worth_removing is not None:
            selection.save(runs / DISTINCT)
    write_facts(runs / REDUNDANCY, {**asdict(redundancy), "embeddings": store.fingerprint})


def without_duplicates(store: EmbeddingStore, runs: Path, seed: int) -> Selection:
    """What `Dedup(seed=seed)` selects: what `find` wrote, under this seed; selected anew where that is not there."""
    selection = _written(store, runs)
    if selection is None:
        return Dedup(seed=seed).select(store)
    return replace(selection, settings={**selection.settings, "seed": seed})


def _written(store: EmbeddingStore, runs: Path) -> Selection | None:
    """None before there was such a folder, and where it is damaged, or of other embeddings."""
    if not (runs / DISTINCT / MANIFEST).is_file():
        return None
    try:
        selection = Selection.load(runs / DISTINCT)
    except (IncompleteStore, Mismatch):
        return None
    return selection if selection.origin.embeddings == store.fingerprint else None


def _redundancy(selection: Selection) -> Redundancy:
    summary = selection.summary
    return Redundancy(summary.near_duplicates / summary.pool, summary.kept / summary.pool, selection.eta)


def read(runs: Path) -> Redundancy:
    """What `find` wrote."""
    with intact(runs / REDUNDANCY):
        facts = read_json(runs / REDUNDANCY)
        return Redundancy(facts["share"], facts["left"], facts["eta"], facts["why"])

"""How redundant a pool is: how many of its frames Dedup's first step calls near-duplicates. Asked once for all shards.

RUNS/redundancy.json: `share`, `left`, `eta`, `why` (see `Redundancy`), and `embeddings`, that it was found in.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from meddel_hf.benchmark.cells import REDUNDANCY, read_json
from meddel_hf.benchmark.verdicts import Redundancy
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.reading import intact
from meddel_hf.runtime.records import write_facts
from meddel_hf.selectors.dedup import Dedup


def redundancy_of(store: EmbeddingStore) -> Redundancy:
    """All rows are compared with all, at the eta that the store was calibrated to."""
    try:
        selection = Dedup().select(store)
    except InvalidArgument as error:  # nobody knows how near a near-duplicate is
        return Redundancy(None, None, None, str(error))
    frames = len(store.pool_ids)
    return Redundancy(selection.summary.near_duplicates / frames, len(selection.kept) / frames, selection.eta)


def find(store: EmbeddingStore, runs: Path) -> None:
    """Write redundancy.json, unless it stands there for these embeddings."""
    if read_json(runs / REDUNDANCY).get("embeddings") != store.fingerprint:
        write_facts(runs / REDUNDANCY, {**asdict(redundancy_of(store)), "embeddings": store.fingerprint})


def read(runs: Path) -> Redundancy:
    """What `find` wrote."""
    with intact(runs / REDUNDANCY):
        facts = read_json(runs / REDUNDANCY)
        return Redundancy(facts["share"], facts["left"], facts["eta"], facts["why"])

"""Entries of tables that say numbers with their intervals."""

from __future__ import annotations

from meddel_hf.downstream.intervals import Difference
from meddel_hf.report.document import Entry, Tone, signed


def difference_entry(d: Difference) -> Entry:
    """The difference, its interval below; faint where that contains zero."""
    tone: Tone = "faint" if not d.shown else "more" if d.value > 0 else "less"
    return Entry(signed(d.value), (f"{signed(d.low)}\u00a0to {signed(d.high)}",), tone)

"""Why frames of a pool are left out of a benchmark: the words of excluded.parquet, and how many went for each."""

from __future__ import annotations

import pyarrow as pa

TESTED, SAME_FRAME, SAME_GROUP, LISTED = (
    "tested in",
    "the same frame as",
    "of the same video or patient",
    "listed in",
)
_IN_WORDS = {
    TESTED: "tested downstream",
    SAME_FRAME: "of which the same frame is tested",
    SAME_GROUP: "of a video, sequence or patient that is tested",
    LISTED: "listed in the plan's exclude",
}


def counted(excluded: pa.Table) -> dict[str, int]:
    """Words -> frames, where there are any. excluded: its column `why` begins with one of the words above."""
    whys = excluded["why"].to_pylist()
    counts = {words: sum(why.startswith(begin) for why in whys) for begin, words in _IN_WORDS.items()}
    return {words: count for words, count in counts.items() if count}

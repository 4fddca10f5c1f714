"""Training and test sets are told apart: no frame, and no group of frames, stands in both."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from meddel_hf.downstream.segmentation.masked_frames import LabelledFrames
from meddel_hf.errors import InvalidDataset
from meddel_hf.runtime.reading import printable
from meddel_hf.runtime.words import plural

log = logging.getLogger(__name__)


def check_apart(train: LabelledFrames, tests: Sequence[LabelledFrames]) -> None:
    """Raises InvalidDataset where a frame, or a group of frames, stands both in training and in a test set.

    Frames with one id are one frame, unless both have a source, and not the same: two owners may both have a "0001".
    """
    source_of = {id: source for id, (source, _) in zip(train.ids, train.origins, strict=True)}
    origins = set(train.origins)
    for test in tests:
        shared = [
            id
            for id, (source, _) in zip(test.ids, test.origins, strict=True)
            if id in source_of and (not source or source_of[id] in ("", source))
        ]
        if shared:
            raise InvalidDataset(
                f"{plural(len(shared), 'frame stands', 'frames stand')}"
                f" in the training set and in the test set {test.name}, such as "
                f"{min(shared)!r}: split the data set first (meddel_hf.downstream.splits.split)"
            )
        parted = Counter(origin for origin in test.origins if origin in origins)
        if parted:
            (_, group), frames = min(parted.items())
            raise InvalidDataset(
                f"the group {group!r} (a video, sequence or patient) has frames in the training set and {frames:,} in "
                f"the test set {test.name}; {plural(len(parted), 'group is', 'groups are')} parted so: split by group "
                "(meddel_hf.downstream.splits.split)"
            )


def tell_copies(train: LabelledFrames, tests: Sequence[LabelledFrames]) -> None:
    """Warn where a test set holds, under other ids, frames that are byte for byte those of the training set."""
    known = {digest: id for id, digest in zip(train.ids, train.digests(), strict=True) if digest}
    for test in tests:
        same = [(id, known[digest]) for id, digest in zip(test.ids, test.digests(), strict=True) if digest in known]
        if same:
            here, there = same[0]
            log.warning(
                "warning: %s of the test set %s %s byte for byte in the training set, such as %s (there %s): scores of "
                "those tell what was learned by heart; take them out (meddel audit finds more)",
                plural(len(same), "frame"), test.name, "stands" if len(same) == 1 else "stand", printable(here),
                printable(there),
            )  # fmt: skip

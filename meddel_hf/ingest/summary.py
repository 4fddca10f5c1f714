"""What `make_pool` says at its end, and the card of the pool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddel_hf.data.findings import Findings
from meddel_hf.datadel import problems as listing
from meddel_hf.datadel.archives.entries import Kind, Problem
from meddel_hf.datadel.shards.output import REJECTED
from meddel_hf.runtime.reading import printable
from meddel_hf.runtime.words import first_of, plural
from meddel_hf.schema import CENTER, LABEL, PATIENT, VIDEO

_VALUES = 8  # of a centre or label that are shown
_COUNTED = (CENTER, LABEL)
_ONLY_NUMBERED = (PATIENT, VIDEO)


@dataclass(frozen=True)
class MadePool:
    """What `make_pool` made.

    out:      the folder. rows: frames; files: of which there is one at least; masks, empty_masks: of frames.
    counts:   column -> value -> frames, of centre, label, patient, video and group.
    problems: all rows of rejected.parquet: what was kept out, remarks, and files that are not read.
    doubles:  frames whose image is byte for byte that of an earlier one. bare: ids of pictures without a mask.
    left_out: columns of the table that did not come along. key: file of the pseudonyms' key, where there are any.
    """

    out: Path
    rows: int
    files: int
    masks: int
    empty_masks: int
    counts: dict[str, Counter[str]]
    problems: tuple[Problem, ...]
    doubles: int
    bare: tuple[str, ...]
    metadata: Findings
    first_id: str
    left_out: tuple[str, ...] = ()
    key: Path | None = None
    has_dicom: bool = False

    def of_kind(self, kind: Kind) -> list[Problem]:
        return [problem for problem in self.problems if problem.kind == kind]

    @property
    def facts(self) -> dict[str, Any]:
        """Plain values, for programs; which files were not taken, and why, stands in rejected.parquet."""
        kinds: tuple[Kind, ...] = ("kept out", "remark", "not read")
        return {
            **{name: getattr(self, name) for name in ("out", "rows", "files", "masks", "empty_masks", "doubles")},
            "without_mask": len(self.bare),
            **{kind.replace(" ", "_"): len(self.of_kind(kind)) for kind in kinds},
            "columns": {column: dict(counts) for column, counts in self.counts.items() if counts},
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        files = plural(self.files, "file")
        masks = f", {self.masks:,} with a mask" if self.masks else ""
        empty = f" ({self.empty_masks:,} of them empty)" if self.empty_masks else ""
        yield f"{self.out}: {plural(self.rows, 'frame')} of {files}{masks}{empty}"
        for column in (*_COUNTED, *_ONLY_NUMBERED):
            if counts := self.counts[column]:
                named = f": {_most(counts)}" if column in _COUNTED else ""
                without = self.rows - counts.total()
                yield f"  {column:<10}{len(counts):>8,}{named}" + (
                    f"; {plural(without, 'frame')} without" if without else ""
                )
        yield from self._not_taken()
        if self.masks and self.bare:
            yield f"frames without a mask: {len(self.bare):,}, such as {printable(self.bare[0])}"
        if self.left_out:
            yield f"columns of the table that were left out: {', '.join(self.left_out)} (--keep-column takes one along)"
        for line in self.metadata.lines():
            yield f"metadata: {line}; --strip-metadata leaves it out"
        if self.key is not None:
            yield (
                f"study and series of DICOM files, and patient where nothing else names one, are pseudonyms by the key "
                f"{self.key}: who has it can try whose they are; keep it to yourself, out of the pool"
            )
        elif self.has_dicom:
            yield "patient, study and series stand in the pool as in the DICOM files: they may name people"
        yield f"ids are paths, such as {printable(self.first_id)}: where those name people, publish with --hash-ids"

    def _not_taken(self) -> Iterator[str]:
        yield from _grouped("kept out", self.of_kind("kept out"))
        yield from _grouped("kept, but", self.of_kind("remark"))
        if not_read := self.of_kind("not read"):
            yield f"not read: {plural(len(not_read), 'file')} ({listing.suffixes(not_read)}), listed in {REJECTED}"

    def card(self, patterns: Sequence[str]) -> str:
        """README.md. patterns: of the data files."""
        from huggingface_hub import DatasetCardData

        configs = [{"config_name": "default", "data_files": [{"split": "train", "path": list(patterns)}]}]
        data = DatasetCardData(pretty_name=self.out.name, configs=configs)
        kept_out, remarks = self.of_kind("kept out"), self.of_kind("remark")
        lines = [
            f"---\n{data.to_yaml()}\n---\n\n# {self.out.name}: {plural(self.rows, 'frame')}",
            "Made by `meddel pool`. One split, `train`.",
            f"- {plural(self.masks, 'frame has', 'frames have')} a mask; empty masks: {self.empty_masks:,}.",
        ]
        for column in (*_COUNTED, *_ONLY_NUMBERED):
            if counts := self.counts[column]:
                lines.append(f"- `{column}`: {plural(len(counts), 'value')}, in {plural(counts.total(), 'frame')}.")
        lines.append(
            f"- Kept out: {plural(len(kept_out), 'file')}. Remarks on {plural(len(remarks), 'other')}"
            f". `{REJECTED}`, which stays where the pool was made, lists them."
        )
        lines.append(f"- {plural(self.doubles, 'image is', 'images are')} byte for byte that of an earlier frame.")
        lines.append(
            "\n`group` is what no split may part: the patient where one is known, else the study, the video, the "
            "volume or the slide. Ids are paths of files."
        )
        return "\n".join(lines) + "\n"


def _grouped(word: str, problems: Sequence[Problem]) -> Iterator[str]:
    for _, why, count in listing.grouped(Problem("", p.path, p.reason, p.kind) for p in problems):
        example = next((p.path for p in problems if listing.kind_of(p.reason) == why or p.reason == why), "")
        yield f"{word}: {count:,} x {why}" + (f", such as {printable(example)}" if example else "")


def _most(counts: Counter[str]) -> str:
    ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return first_of([f"{printable(name)} {count:,}" for name, count in ranked], _VALUES)


def doubles(ids: Sequence[tuple[str, bytes]], name: str) -> Iterator[Problem]:
    """A remark for each frame whose image has the bytes of an earlier one. ids: with digests, in the pool's order."""
    first: dict[bytes, str] = {}
    for id, digest in ids:
        earlier = first.setdefault(digest, id)
        if earlier != id:
            yield Problem(name, id, f"the same bytes as {earlier!r}", "remark")

"""README.md of a built DataDEL: configurations, counts against what is published, licences, citations, centres."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from meddel_hf.datadel import leaks
from meddel_hf.datadel.archives.entries import Kind, Problem
from meddel_hf.datadel.problems import grouped, suffixes
from meddel_hf.datadel.registry import SOURCES
from meddel_hf.datadel.shards.output import DATA, named
from meddel_hf.datadel.shards.units import UNSPECIFIED, Count, Record, Shard
from meddel_hf.datadel.source import Published, Source
from meddel_hf.runtime.manifest import fingerprint
from meddel_hf.runtime.words import plural

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LEAKS_LIMIT = 40


@dataclass(frozen=True)
class Facts:
    """What a build found. records: in the order of units; problems: all rows of rejected.parquet."""

    records: Sequence[Record]
    problems: Sequence[Problem]
    leaks: pa.Table
    fps: float | None

    @property
    def sources(self) -> list[Source]:
        """Sources with at least one row."""
        built = {record.source for record in self.records if record.rows}
        return [source for source in SOURCES.values() if source.name in built]

    @property
    def shards(self) -> list[Shard]:
        return [shard for record in self.records for shard in (*record.shards, *record.class_masks)]

    @cached_property
    def identity(self) -> str:
        """Fingerprint of all rows."""
        return fingerprint("datadel", *(f"{shard.path} {shard.xxh3}" for shard in self.shards))

    @cached_property
    def identities(self) -> dict[str, str]:
        """Fingerprint of the rows of each source."""
        parts: dict[str, list[str]] = {}
        for record in self.records:
            for shard in (*record.shards, *record.class_masks):
                parts.setdefault(record.source, []).append(f"{shard.path} {shard.xxh3}")
        return {source: fingerprint("datadel", *mine) for source, mine in parts.items()}

    @cached_property
    def names(self) -> dict[str, str]:
        """Path of each shard in the finished folder, by its plain one."""
        return {
            shard.path: named(shard.path, self.identities[record.source])
            for record in self.records
            for shard in (*record.shards, *record.class_masks)
        }

    def of_kind(self, kind: Kind) -> list[Problem]:
        """Problems of a kind; only "kept out" is of frames that are not there."""
        return [problem for problem in self.problems if problem.kind == kind]

    def annotated(self, source: str) -> tuple[int, int, int]:
        """Frames of a source that have a mask, those of them whose mask is empty, and its boxes."""
        mine = [record for record in self.records if record.source == source]
        return sum(r.masks for r in mine), sum(r.empty_masks for r in mine), sum(r.boxes for r in mine)

    def rows(self, source: str | None = None, folder: str | None = None) -> int:
        return sum(
            record.rows
            for record in self.records
            if source in (None, record.source) and folder in (None, record.unit.split("/")[1])
        )

    def counts(self, source: str) -> list[Count]:
        return [count for record in self.records if record.source == source for count in record.counts]


def configs(facts: Facts) -> dict[str, list[str]]:
    """Patterns of files by configuration: a source, its centres where the files tell them, and the groups."""
    by_name: dict[str, list[str]] = {}

    def below(source: str, folder: str = "*") -> str:
        return named(f"{DATA}/{source}/{folder}/train-*.parquet", facts.identities[source])

    for source in facts.sources:
        by_name[source.name] = [below(source.name)]
        for folder in sorted({record.unit.split("/")[1] for record in facts.records if record.source == source.name}):
            if folder != UNSPECIFIED and facts.rows(source.name, folder):
                by_name[f"{source.name}_{folder}"] = [below(source.name, folder)]
    for role in ("pretraining", "downstream"):
        members = [source.name for source in facts.sources if source.role == role]
        if members:
            by_name[role] = [below(name) for name in members]
    by_name["all"] = [below(name) for name in sorted((source.name for source in facts.sources), key="{}/".format)]
    return by_name


def rows_of(facts: Facts) -> dict[str, int]:
    """Rows of each configuration."""
    rows = {}
    for name in configs(facts):
        source, _, folder = name.rpartition("_")
        if name in SOURCES:
            rows[name] = facts.rows(name)
        elif source in SOURCES:
            rows[name] = facts.rows(source, folder)
        else:
            rows[name] = sum(facts.rows(s.name) for s in facts.sources if name in ("all", s.role))
    return rows


def mismatches(facts: Facts) -> list[tuple[Source, Published, int]]:
    """Each published count that the build did not find, with what it found; of parts that are there at all."""
    listed = []
    for source in facts.sources:
        parts = {count.part for count in facts.counts(source.name)}
        for published in source.published:
            rows = matching(facts.counts(source.name), published)
            if rows != published.frames and (published.part is None or published.part in parts):
                listed.append((source, published, rows))
    return listed


def matching(counts: Sequence[Count], published: Published) -> int:
    """Rows of the part, centre and label that a published count is of; frames of videos count only where named."""
    return sum(
        count.rows
        for count in counts
        if (count.part == published.part or (published.part is None and count.part != "videos"))
        and published.center in (None, count.center)
        and published.label in (None, count.label)
    )


def card(facts: Facts) -> str:
    """The whole README.md."""
    from huggingface_hub import DatasetCardData

    total = facts.rows()
    data = DatasetCardData(
        pretty_name="DataDEL",
        license="other",
        license_name="by-source",
        task_categories=["image-segmentation", "object-detection", "image-classification", "image-feature-extraction"],
        tags=["medical", "endoscopy", "colonoscopy", "data-effective-learning"],
        size_categories=[next((name for limit, name in _SIZES if total < limit), "n>1M")],
        configs=[
            {
                "config_name": name,
                **({"default": True} if name == "all" else {}),
                "data_files": [{"split": "train", "path": paths if len(paths) > 1 else paths[0]}],
            }
            for name, paths in configs(facts).items()
        ],
    )
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(_sections(facts)) + "\n"


def _sections(facts: Facts) -> Iterator[str]:
    yield (
        f"# DataDEL: {plural(facts.rows(), 'endoscopy frame')} of {plural(len(facts.sources), 'source')}\n\n"
        "Built from the owners' archives by [meddel_hf](https://arxiv.org/abs/2401.17542). Every configuration has the "
        "same columns and one split, `train`; the owners' own split is the column `official_split`."
    )
    yield (
        "```python\nfrom datasets import load_dataset\n\n"
        f'frames = load_dataset("datadel", "{facts.sources[0].name}", split="train")\n```'
    )
    rows = ((f"`{name}`", f"{count:,}") for name, count in rows_of(facts).items())
    yield "## Configurations\n\n" + _table(("configuration", "frames"), rows)
    yield "## Columns\n\n" + _COLUMNS.strip()
    yield "## Counts found and counts published\n\n" + _counts(facts)
    yield "## Masks and boxes\n\n" + _annotations(facts)
    yield "## Rows kept out\n\n" + _listed(facts, "kept out", "None.")
    if facts.of_kind("remark"):
        yield "## Rows kept, but for something\n\n" + _listed(facts, "remark", "")
    skipped = facts.of_kind("not read")
    if skipped:
        counts = f"{len(skipped):,} ({suffixes(skipped)})"
        yield f"## Files not read\n\n{counts}: no source knows them as its own. `rejected.parquet` lists them."
    yield "## Frames that stand in two sources\n\n" + _leaks(facts)
    yield "## Licences\n\n" + _licences(facts)
    yield "## Centres\n\n" + _table(
        ("source", "`center`", "hospital", "country", "how sure"),
        ((s.title, f"`{c.name}`" if c.name else "not told by the files", c.hospital, c.country, c.sure)
         for s in facts.sources for c in s.centres),
    )  # fmt: skip
    yield "## Sources to cite\n\n" + "\n".join(f"- **{s.title}**: {s.citation}. <{_link(s)}>" for s in facts.sources)
    notes = [f"- **{s.title}**: {s.notes}" for s in facts.sources if s.notes]
    if facts.fps is not None:
        notes.append(f"- Videos: {facts.fps:g} frames per second, stored as JPEG of quality 95.")
    if notes:
        yield "## Notes\n\n" + "\n".join(notes)


_COLUMNS = """
`id` (`<source>/<path in the owner's layout without suffix>`), `image` (bytes as they came; only formats that Pillow
cannot read became lossless PNG), `mask` (one channel, 0 and 255; null where there is none), `boxes` (label, and x, y,
width, height in pixels), `label`, `source`, `center` (null where the files do not tell), `group` (video or sequence),
`official_split`, `width`, `height`.
"""


def _counts(facts: Facts) -> str:
    differing = {(source.name, published) for source, published, _ in mismatches(facts)}
    rows = []
    for source in facts.sources:
        counts = facts.counts(source.name)
        there = {count.part for count in counts}
        for published in source.published:
            if published.part is not None and published.part not in there:
                number, word = "-", "this part was not among the files"
            else:
                number = f"{matching(counts, published):,}"
                word = "**differs**" if (source.name, published) in differing else "as published"
            rows.append((source.title, published.of_what, number, f"{published.frames:,}", published.sure, word))
    return _table(("source", "of what", "found", "published", "how sure", ""), rows)


def _annotations(facts: Facts) -> str:
    """Of sources that have any; a mask that is empty says that nothing is to be seen, which may be true or a fault."""
    rows = []
    for source in facts.sources:
        masks, empty, boxes = facts.annotated(source.name)
        if masks or boxes:
            rows.append((source.title, f"{facts.rows(source.name):,}", f"{masks:,}", f"{empty:,}", f"{boxes:,}"))
    return _table(("source", "frames", "with a mask", "whose mask is empty", "boxes"), rows) if rows else "None."


def _listed(facts: Facts, kind: Kind, none: str) -> str:
    rows = [(source or "(no source)", why, f"{count:,}") for source, why, count in grouped(facts.of_kind(kind))]
    if not rows:
        return none
    where = f"Each with its reason in `rejected.parquet`, where `kind` is `{kind}`.\n\n"
    return where + _table(("source", "why, in short", "files"), rows)


def _leaks(facts: Facts) -> str:
    counted = sorted(leaks.counted(facts.leaks).items())
    if not counted:
        return "None was found."
    rows = ((f"`{a}`", f"`{b}`", f"{how['name']:,}", f"{how['picture']:,}") for (a, b), how in counted[:_LEAKS_LIMIT])
    return (
        "`leaks.parquet` has a row for every frame that was found in another source too: by file name where names "
        f"tell, else by a perceptual hash of 256 bits of which at most {leaks.MAX_DISTANCE} differ. Before training "
        "for a test on a source, leave out the ids whose `in_source` is that source.\n\n"
        + _table(("frames of", "also in", "by name", "by picture"), rows)
    )


def _licences(facts: Facts) -> str:
    rows = (
        (s.title, s.licence.name, s.licence.sure, "yes" if s.licence.redistribution else "**no**", s.licence.note)
        for s in facts.sources
    )
    return (
        "Each source keeps its owner's licence. Where the last but one column says no, its frames may not be published "
        "again by others: keep such a data set private.\n\n"
        + _table(("source", "licence", "how sure", "may be published again", "terms"), rows)
    )


def _link(source: Source) -> str:
    return source.home.split()[0]


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)

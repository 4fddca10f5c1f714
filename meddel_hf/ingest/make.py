"""From people's own files to a pool: `make_pool` does what `meddel pool` does."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from meddel_hf.data.findings import Findings
from meddel_hf.data.ids import check_unique
from meddel_hf.data.privacy import id_key
from meddel_hf.datadel import problems as listing
from meddel_hf.datadel.shards.output import REJECTED
from meddel_hf.datadel.shards.workers import run
from meddel_hf.errors import InvalidArgument, InvalidDataset
from meddel_hf.ingest.columns import features
from meddel_hf.ingest.plan import Plan, Wishes, plan
from meddel_hf.ingest.reading import Axis, Reading
from meddel_hf.ingest.summary import MadePool, doubles
from meddel_hf.ingest.writing import Group, Writer, Written
from meddel_hf.runtime import checks
from meddel_hf.runtime.manifest import Manifest, check_target, fingerprint, step_folder
from meddel_hf.runtime.progress import tqdm
from meddel_hf.runtime.words import plural

_DATA, _DIGITS = "data", 8
_KILLED = "run it again with fewer workers (--workers 1)"


def make_pool(
    folder: str | Path,
    out: str | Path,
    *,
    images: str | None = None,
    masks: str | Sequence[str] = (),
    parts: str | Sequence[str] = (),
    table: str | Path | None = None,
    keep_columns: Sequence[str] = (),
    allow_missing: bool = False,
    include: str | None = None,
    exclude: str | None = None,
    name: str | None = None,
    fps: float | None = None,
    min_change: float = 0.0,
    window: tuple[float, float] | None = None,
    axis: Axis = "auto",
    every: int = 1,
    tile: int | None = None,
    level: int = 0,
    tissue: float = 0.25,
    key: str | Path | None = None,
    plain_ids: bool = False,
    burned_in: bool = False,
    strip_metadata: bool = False,
    workers: int | None = None,
    quiet: bool = True,
) -> MadePool:
    """Turn the pictures, videos, DICOM files, NIfTI volumes and slides of a folder into a pool, which every step opens.

    folder:    what is read, archives in it too; links that lead out of it are not followed.
    out:       folder to write; an earlier pool there is replaced, whole or not at all.
    images, masks: which pictures are frames, and which masks: a folder's name, a path, or an ending such as "_mask".
    parts:     patterns of paths, the first that fits: "{center}/{patient}/{video}/*"; fields are center, patient,
               video, label, group, official_split.
    table:     CSV, JSON lines or Parquet with a column file_name and some of those fields.
    keep_columns: of the table, others that come along.
    allow_missing: take files of which parts or table say nothing, without values.
    include, exclude: patterns of paths, `*` matches slashes too.
    name:      of the pool, for the column source; default: the folder's.
    fps, min_change: of videos. window, axis, every: of DICOM files and NIfTI volumes. tile, level, tissue: of slides.
    key:       file of the key by which ids of DICOM files become pseudonyms; default: `out` with ".key" behind it.
    plain_ids, burned_in: of DICOM files. strip_metadata: of pictures. See `ingest.reading.Reading`.
    workers:   processes; default: one for each processor. The bytes that are written do not depend on it.

    What cannot be read is listed in rejected.parquet with its reason, and stops nothing. Raises InvalidArgument where
    an option does not fit, or a library is missing; InvalidDataset where there is no frame, or two frames of one id.
    """
    folder, out = Path(folder), Path(out)
    wishes = Wishes(
        images, _several(masks), include, exclude, _several(parts), None if table is None else Path(table),
        _several(keep_columns), allow_missing,
    )  # fmt: skip
    reading = Reading(fps, min_change, window, axis, every, tile, level, tissue, plain_ids, burned_in, strip_metadata)
    if workers is not None:
        checks.count("workers", workers, 1, checks.MOST_PROCESSES)
    if key is not None and plain_ids:
        raise InvalidArgument("a key is of pseudonyms, and plain_ids asks for none: leave one of them out")
    check_target(out, "pool")
    if not folder.exists():
        raise InvalidDataset(f"{folder} does not exist: name the folder that holds the files")
    planned = plan(folder, out, wishes, reading)
    key_file = None
    if planned.has_dicom and not plain_ids:
        key_file = Path(key) if key is not None else out.resolve().with_name(f"{out.resolve().name}.key")
    if key_file is not None and folder.is_dir():
        _check_key_is_apart(key_file, folder)
    secret = None if key_file is None else id_key(key_file, published=out)
    name = name or folder.resolve().name.partition(".")[0] or "pool"
    with step_folder(out, "pool") as aside:
        written = _written(planned, aside, name, reading, secret, workers or os.cpu_count() or 1, quiet)
        made = _summed(planned, written, out, name, key_file)
        arguments = {**asdict(reading), **_plain(wishes), "folder": str(folder), "name": name}
        _finish(made, written, aside, arguments)
    return made


def _check_key_is_apart(key: Path, folder: Path) -> None:
    """Raises InvalidArgument where the key would lie among the files whose patients it hides."""
    if Path(os.path.realpath(key)).is_relative_to(os.path.realpath(folder)):
        raise InvalidArgument(
            f"the key of the pseudonyms, {key}, would lie among the files of {folder}, and goes where these go: write "
            "the pool outside of that folder (--out), or name a key elsewhere (--key)"
        )


def _written(
    planned: Plan, aside: Path, name: str, reading: Reading, key: bytes | None, workers: int, quiet: bool
) -> list[Written]:
    """Groups in their order."""
    groups = [Group(number, items) for number, items in enumerate(planned.groups())]
    columns = features(planned.described.kept, planned.has_dicom).arrow_schema
    arguments = (planned.roots, aside / _DATA, name, columns, reading, key)
    done = []
    with tqdm(total=len(planned.items), unit=" files", desc="reading", disable=quiet, leave=False) as bar:
        for written in run(groups, workers, Writer, arguments, _KILLED):
            done.append(written)
            bar.update(len(groups[written.number].items))
    return sorted(done, key=lambda written: written.number)


def _summed(planned: Plan, written: Sequence[Written], out: Path, name: str, key: Path | None) -> MadePool:
    """Raises InvalidDataset where no frame passed, or two have one id."""
    ids = [pair for one in written for pair in one.ids]
    problems = [*planned.problems, *(problem for one in written for problem in one.problems)]
    if not ids:
        kept_out = [problem for problem in problems if problem.kind == "kept out"]
        shown = "; ".join(f"{p.path}: {p.reason}" for p in kept_out[:3])
        raise InvalidDataset(
            f"no frame passed the checks: {plural(len(kept_out), 'file was', 'files were')} kept out ({shown})"
        )
    check_unique([id for id, _ in ids], "two frames would have one id, as of a video a.mp4 and a picture a/000001.jpg")
    same = list(doubles(ids, name))
    metadata, counts = Findings(), {column: Counter[str]() for column in written[0].counts}
    for one in written:
        metadata.add(one.metadata)
        for column, values in one.counts.items():
            counts[column].update(values)
    return MadePool(
        out=out,
        rows=len(ids),
        files=sum(one.used for one in written),
        masks=sum(one.masks for one in written),
        empty_masks=sum(one.empty_masks for one in written),
        counts=counts,
        problems=tuple(problems + same),
        doubles=len(same),
        bare=tuple(id for one in written for id in one.bare),
        metadata=metadata,
        first_id=ids[0][0],
        left_out=planned.described.left_out,
        key=key if any(one.series for one in written) else None,
        has_dicom=any(one.series for one in written),
    )


def _finish(made: MadePool, written: Sequence[Written], aside: Path, arguments: dict[str, object]) -> None:
    """Name the files, by their content too (caches of `datasets` go by names), and write table, card and manifest."""
    files = [file for one in written for file in one.files]
    identity = fingerprint("pool", *(checksum for _, _, checksum in files))
    digits = identity[:_DIGITS]
    names = []
    for number, (path, _, _) in enumerate(files):
        names.append(f"{_DATA}/train-{number:05d}-of-{len(files):05d}-{digits}.parquet")
        path.rename(aside / names[-1])
    listing.write(made.problems, aside)
    (aside / "README.md").write_text(made.card([f"{_DATA}/train-*-{digits}.parquet"]), encoding="utf-8")
    details = {
        "rows": made.rows,
        "files": made.files,
        "masks": made.masks,
        "empty_masks": made.empty_masks,
        "doubles": made.doubles,
        "rejected": len(made.of_kind("kept out")),
        "remarks": len(made.of_kind("remark")),
        "not_read": len(made.of_kind("not read")),
        "values": {column: len(values) for column, values in made.counts.items()},
        "metadata": made.metadata.facts(),
        "pseudonyms": made.key is not None,
    }
    Manifest("pool", identity, arguments, {}, details).write(aside, [*names, "README.md", REJECTED])


def _several(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _plain(wishes: Wishes) -> dict[str, object]:
    return {**asdict(wishes), "table": None if wishes.table is None else str(wishes.table)}

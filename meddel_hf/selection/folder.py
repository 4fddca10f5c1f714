"""A subset as a folder that `load_dataset` opens, and that can be pushed as it is."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset

from meddel_hf import schema
from meddel_hf.data.cells import with_images_opened
from meddel_hf.data.findings import Findings
from meddel_hf.data.outgoing import METADATA
from meddel_hf.data.parquet import write_parts
from meddel_hf.data.privacy import Cleaner, id_key
from meddel_hf.errors import MedDELError
from meddel_hf.runtime.files import checksum
from meddel_hf.runtime.manifest import Manifest, check_target, fingerprint, step_folder
from meddel_hf.runtime.network import public
from meddel_hf.runtime.progress import tqdm
from meddel_hf.selection.card import subset_card
from meddel_hf.selection.image_files import write_images
from meddel_hf.selection.subset import Subset

_DIGITS = 16  # of the content's fingerprint in a file's name


@dataclass(frozen=True)
class Written:
    """A subset's folder; what its images carried as they came; columns that stand in it as they came; the ids' key."""

    folder: Path
    findings: Findings
    as_they_came: tuple[str, ...]
    key: Path | None


def save_subset(
    subset: Subset,
    folder: str | Path,
    *,
    strip_metadata: bool = False,
    hash_ids: bool | str | Path = False,
    as_images: bool = False,
    **card_facts: Any,
) -> Path:
    """Write a subset as a Hub-ready folder: README.md with `configs:`, data/train-*.parquet, manifest.json.

    Image bytes go in untouched unless metadata is to be left out. The names of the files carry a fingerprint of their
    content: `load_dataset` keeps what it has read by names, and so never takes an older subset's rows for this one's.
    An older subset there is replaced; any other folder is refused.

    strip_metadata: leave out of the images' files what is no matter of decoding; no pixel changes.
    hash_ids:       hash ids and groups, and leave out the names of images; True: with the key FOLDER.key, which is made
                    where there is none, or a file with the key.
    as_images:      image files in place of Parquet, see image_files.py.
    card_facts:     more front matter of the card, such as license="cc-by-4.0".
    """
    return write_subset(subset, folder, strip_metadata, hash_ids, card_facts, as_images).folder


def write_subset(
    subset: Subset,
    folder: str | Path,
    strip_metadata: bool,
    hash_ids: bool | str | Path,
    card_facts: dict[str, Any],
    as_images: bool,
) -> Written:
    """`save_subset`, with what there is to tell about it."""
    folder = check_target(folder, "subset")
    key_file = _key_file(folder, hash_ids)
    cleaner = subset.cleaner(strip_metadata, None if key_file is None else id_key(key_file, published=folder))
    selection = subset.selection
    with step_folder(folder, "subset") as aside:
        if not len(subset):
            raise MedDELError("the subset has no rows: nothing to write")
        title = f"{Path(os.path.abspath(folder)).name}: {selection.summary.kept:,} of {len(selection):,} frames"
        opened = with_images_opened(subset)
        if as_images:
            names = write_images(opened, cleaner, aside)
            files = [METADATA, *sorted({f"{name.partition('/')[0]}/**" for name in names if name != METADATA})]
            content = fingerprint(*(checksum(aside / name) for name in names))
            card = subset_card(selection, title, files, card_facts, content)
        else:
            names = _write_shards(opened, cleaner, aside)
            content = names[0].rpartition("-00000-")[0] + "-*.parquet"
            card = subset_card(selection, title, [content], card_facts)
        (aside / "README.md").write_text(card, encoding="utf-8")
        parents = {"selection": selection.fingerprint, "pool": selection.origin.fingerprint}
        details: dict[str, Any] = {"rows": len(subset), "selection": asdict(selection.summary)}
        if schema.SOURCE in subset.column_names:  # then `push` knows whose licence to heed
            details["sources"] = sorted(filter(None, subset.unique(schema.SOURCE)))
        details["metadata"] = {"left_out": strip_metadata, **cleaner.findings.facts()}
        details["hashed"] = cleaner.hashed_columns
        identity = fingerprint("subset", selection.fingerprint, content)
        arguments = public(selection.settings)
        Manifest("subset", identity, arguments, parents, details).write(aside, names)
    columns = tuple(name for name in subset.column_names if name not in cleaner.hashed_columns)
    return Written(folder, cleaner.findings, columns, key_file)


def _key_file(folder: Path, hash_ids: bool | str | Path) -> Path | None:
    if hash_ids is False:
        return None
    whole = Path(os.path.abspath(folder))
    return whole.with_name(f"{whole.name}.key") if hash_ids is True else Path(hash_ids)


def _write_shards(opened: Dataset, cleaner: Cleaner, folder: Path) -> list[str]:
    """Write the rows; returns the names of the files, relative to the folder."""
    columns = cleaner.published.arrow_schema
    with tqdm(total=len(opened), desc="writing", unit="frame", delay=5, leave=False) as bar:
        parts = write_parts(
            cleaner.rows(opened),
            columns,
            lambda part: folder / "data" / f"{part}.parquet",
            weigh=lambda row: row.nbytes,
            table=pa.concat_tables,
            words=[name for name in columns.names if name not in (schema.ID, schema.IMAGE)],
        )
        paths = []
        for path, rows in parts:
            paths.append(path)
            bar.update(rows)
    content = fingerprint(*map(checksum, paths))[:_DIGITS]
    names = [f"data/train-{content}-{number:05d}-of-{len(paths):05d}.parquet" for number in range(len(paths))]
    for path, name in zip(paths, names, strict=True):
        path.rename(folder / name)
    return names

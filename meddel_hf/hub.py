"""What is pushed: a subset as a folder that `load_dataset` opens, and any such folder to the Hub."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets.table import embed_table_storage
from tqdm import tqdm

from meddel_hf import schema
from meddel_hf.cards import subset_card
from meddel_hf.errors import InvalidArgument, MedDELError
from meddel_hf.files import whole_folder
from meddel_hf.selection import ROWS, Selection
from meddel_hf.subset import Subset

_SHARD_BYTES = 500_000_000
_BATCH = 100  # rows of a row group: small enough to stream and page well


def save_subset(subset: Subset, folder: str | Path, **card_facts: Any) -> Path:
    """Write a subset as a Hub-ready folder: README.md with `configs:`, data/train-*.parquet, manifest.json.

    Image bytes go in untouched. An older subset there is replaced; any other folder is refused.
    card_facts: more front matter of the card, such as license="cc-by-4.0".
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        schema.Manifest.read(folder, "subset")
    selection = subset.selection
    with whole_folder(folder) as aside:
        (aside / "data").mkdir()
        _write_shards(subset, aside / "data")
        card = subset_card(selection, f"{folder.name}: {selection.retention:.4g} of a pool", card_facts)
        (aside / "README.md").write_text(card, encoding="utf-8")
        parents = {"selection": selection.fingerprint, "pool": selection.origin.fingerprint}
        details = {"rows": len(subset), "selection": asdict(selection.summary)}
        if schema.SOURCE in subset.column_names:  # then `push` knows whose licence to heed
            details["sources"] = sorted(filter(None, subset.unique(schema.SOURCE)))
        identity = schema.fingerprint(selection.fingerprint, subset._fingerprint)
        schema.Manifest("subset", identity, selection.settings, parents, details).write(aside)
    return folder


def push(path: str | Path, repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
    """Publish a folder made by `meddel select`, `filter` or `build` as a data set; returns its address.

    Raises InvalidArgument where it holds a source of DataDEL whose licence forbids that, unless it is to be private.
    """
    from huggingface_hub import HfApi

    from meddel_hf.datadel import publishing

    path = Path(path)
    if (path / ROWS).is_file():
        return Selection.load(path).push_to_hub(repo_id, private=private, token=token)
    if not (path / "README.md").is_file():
        raise InvalidArgument(f"{path} is neither a selection nor a data set folder (it has no {ROWS}, no README.md)")
    publishing.check(path, private)
    api = HfApi(token=token)
    address = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
    publishing.check_repository(path, repo_id, api.dataset_info(repo_id).private)
    api.upload_folder(
        repo_id=repo_id,
        repo_type="dataset",
        folder_path=path,
        commit_message=f"Upload {path.name}",
        ignore_patterns=publishing.NOT_PUBLISHED,
    )
    return str(address)


def _write_shards(subset: Subset, folder: Path) -> None:
    names: list[Path] = []
    writer: pq.ParquetWriter | None = None
    size = 0
    schema_with_features = subset.features.arrow_schema
    with tqdm(total=len(subset), desc="writing", unit="frame", delay=5, leave=False) as bar:
        for batch in subset.with_format("arrow").iter(_BATCH):
            table = embed_table_storage(pa.table(batch).cast(schema_with_features))
            if writer is None or size > _SHARD_BYTES:
                if writer is not None:
                    writer.close()
                names.append(folder / f"train-{len(names):05d}.parquet")
                writer, size = pq.ParquetWriter(names[-1], table.schema), 0
            writer.write_table(table)
            size += table.nbytes
            bar.update(len(table))
    if writer is None:
        raise MedDELError("the subset has no rows: nothing to write")
    writer.close()
    for number, name in enumerate(names):
        name.rename(folder / f"train-{number:05d}-of-{len(names):05d}.parquet")

"""A benchmark's report to the Hub, as a data set: its page as the card, each of its tables a configuration."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import islice
from pathlib import Path

from meddel_hf.errors import InvalidArgument
from meddel_hf.hub.repository import Repository
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.schema import REPORT_TABLES, REPORT_TEXT, SHOWS
from meddel_hf.selection.card import PAPER, TAGS

_OURS = ("report.html", "figures/*", "tables/*", "redundancy-*/*")


def push_report(path: str | Path, to: Repository) -> str:
    """Publish a folder that `meddel report` wrote; returns its address.

    Raises InvalidArgument where the page shows frames, or names patients; IncompleteStore where files are damaged;
    HubFailed where the Hub refuses.
    """
    folder = Path(path)
    manifest = Manifest.read(folder, "report")
    manifest.check(folder)
    _check_public(folder, manifest)
    names = [name for name in manifest.files if name != REPORT_TEXT and Path(name).name != MANIFEST]
    details = {key: value for key, value in manifest.details.items() if key != "command"}
    record = replace(manifest, details=details)
    return to.upload(folder, names, report_card(folder, manifest, to), record, "Benchmark report", older=_OURS)


def _check_public(folder: Path, manifest: Manifest) -> None:
    shows = manifest.details.get(SHOWS)
    if shows is None:
        raise InvalidArgument(
            f"{folder} was written by an earlier version, which printed local paths: write it again with "
            "`meddel report`, and publish that"
        )
    if "frames" in shows:
        raise InvalidArgument(f"{folder} shows frames, in contact sheets: write the report again without --pool")
    if shows:
        raise InvalidArgument(
            f"{folder} shows {' and '.join(shows)}, of test sets that share them with the pool: give both one source, "
            "so that the benchmark leaves them out, and run it again"
        )


def report_card(folder: Path, manifest: Manifest, to: Repository) -> str:
    """README.md of a published report: the report itself, and how its tables are opened."""
    from huggingface_hub import DatasetCardData

    tables = sorted(name for name in manifest.files if name.startswith(f"{REPORT_TABLES}/"))
    tables = [name for name in tables if _has_rows(folder / name)]  # `datasets` opens none without
    as_written = {"keep_default_na": False, "na_values": [""]}  # an arm may be called NA, or None
    configs = [{"config_name": Path(name).stem, "data_files": name, **as_written} for name in tables]
    data = DatasetCardData(license=to.license, tags=[*TAGS, "benchmark"], configs=configs)
    title, _, text = (folder / REPORT_TEXT).read_text(encoding="utf-8").partition("\n")
    opened = f"""{title}

Run and written by [meddel_hf]({PAPER}). Each table below opens by its name, and `report.html` is the page itself:

```python
from datasets import load_dataset

table = load_dataset("{to.repo_id}", "{Path(tables[0]).stem}", split="train")
```
"""
    return f"---\n{data.to_yaml()}\n---\n\n{opened if tables else title}{text}"


def _has_rows(table: Path) -> bool:
    with table.open(encoding="utf-8", newline="") as file:
        return len(list(islice(csv.reader(file), 2))) > 1

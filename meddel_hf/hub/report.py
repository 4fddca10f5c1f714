"""A benchmark's report to the Hub, as a data set: its page as the card, each of its tables a configuration."""

from __future__ import annotations

import csv
import tempfile
from dataclasses import replace
from itertools import islice
from pathlib import Path
from shutil import copyfile

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.network import hub_errors, public
from meddel_hf.schema import REPORT_TABLES, REPORT_TEXT, SHOWS
from meddel_hf.selection.card import PAPER, TAGS

_OURS = ("README.md", "report.html", "manifest.json", "figures/*", "tables/*", "redundancy-*/*")


def push_report(
    path: str | Path, repo_id: str, *, private: bool | None = None, token: str | None = None, license: str | None = None
) -> str:
    """Publish a folder that `meddel report` wrote; returns its address.

    license: of tables and figures, such as "cc-by-4.0". Raises InvalidArgument where the page shows frames, or names
    patients; IncompleteStore where files are damaged; HubFailed where the Hub refuses.
    """
    from huggingface_hub import HfApi

    folder = Path(path)
    manifest = Manifest.read(folder, "report")
    manifest.check(folder)
    _check_public(folder, manifest)
    api = HfApi(token=token)
    with hub_errors(repo_id):
        address = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        names = [name for name in manifest.files if name != REPORT_TEXT and Path(name).name != "manifest.json"]
        for name in names:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            copyfile(folder / name, place / name)
        (place / "README.md").write_text(report_card(folder, manifest, repo_id, license), encoding="utf-8")
        details = {key: value for key, value in manifest.details.items() if key != "command"}
        replace(manifest, arguments=public(manifest.arguments), details=public(details)).write(place, names)
        with hub_errors(repo_id):
            api.upload_folder(
                repo_id=repo_id,
                repo_type="dataset",
                folder_path=place,
                commit_message="Benchmark report",
                delete_patterns=list(_OURS),  # what an earlier push left
            )
    return str(address)


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


def report_card(folder: Path, manifest: Manifest, repo_id: str, license: str | None) -> str:
    """README.md of a published report: the report itself, and how its tables are opened."""
    from huggingface_hub import DatasetCardData

    tables = sorted(name for name in manifest.files if name.startswith(f"{REPORT_TABLES}/"))
    tables = [name for name in tables if _has_rows(folder / name)]  # `datasets` opens none without
    configs = [{"config_name": Path(name).stem, "data_files": name} for name in tables]
    data = DatasetCardData(license=license, tags=[*TAGS, "benchmark"], configs=configs)
    title, _, text = (folder / REPORT_TEXT).read_text(encoding="utf-8").partition("\n")
    opened = f"""{title}

Run and written by [meddel_hf]({PAPER}). Each table below opens by its name, and `report.html` is the page itself:

```python
from datasets import load_dataset

table = load_dataset("{repo_id}", "{Path(tables[0]).stem}", split="train")
```
"""
    return f"---\n{data.to_yaml()}\n---\n\n{opened if tables else title}{text}"


def _has_rows(table: Path) -> bool:
    with table.open(encoding="utf-8", newline="") as file:
        return len(list(islice(csv.reader(file), 2))) > 1

"""What a published data set says of how it was chosen."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddel_hf import schema

if TYPE_CHECKING:
    from meddel_hf.selection import Selection

PAPER = "https://arxiv.org/abs/2401.17542"
TAGS = ["data-effective-learning", "meddel"]
_BEGIN, _END = "<!-- meddel: how it was chosen -->", "<!-- /meddel -->"


def how_chosen(selection: Selection) -> str:
    """Markdown: the selector and its arguments, what it kept and dropped, of which pool, by which versions."""
    s, origin = selection.summary, selection.origin
    chosen = {k: v for k, v in selection.settings.items() if v is not None and k != "selector"}
    facts = [
        ("selector", selection.settings.get("selector")),
        ("encoder", origin.encoder and _public(origin.encoder)),
        ("fingerprint of the encoder", origin.encoder_fingerprint),
        ("eta (near-duplicates above)", None if s.eta is None else f"{s.eta:.6f}"),
        ("epsilon (outliers beyond)", chosen.pop("epsilon", None)),
        ("retention", f"{s.retention:.4%} ({s.kept:,} of {s.pool:,} rows)"),
        ("dropped", f"{s.near_duplicates:,} near-duplicates, {s.outliers:,} outliers, {s.unreadable:,} unreadable"),
        (
            "coverage",
            None if s.coverage is None else f"{s.coverage:.2%} of the near-duplicates have a kept row above eta",
        ),
        ("other arguments", ", ".join(f"{k}={v}" for k, v in sorted(chosen.items()) if k not in ("eta", "retention"))),
        ("pool", origin.spec and _public(origin.spec)),
        ("pool's fingerprint", origin.fingerprint),
        ("fingerprint of the embeddings", origin.embeddings),
        ("fingerprint of the selection", selection.fingerprint),
        ("versions", ", ".join(f"{k} {v}" for k, v in schema.installed_versions().items())),
    ]
    rows = "\n".join(f"| {name} | {_cell(value)} |" for name, value in facts if value not in (None, ""))
    return (
        f"{_BEGIN}\n## How this subset was chosen\n\nBy [data-effective learning]({PAPER}): outliers and "
        f"near-duplicates are left out in the embedding space of an encoder.\n\n"
        f"| what | value |\n|---|---|\n{rows}\n{_END}\n"
    )


def with_chosen(text: str, selection: Selection) -> str:
    """A card's text with the section on the selection at its end; an older such section is replaced."""
    begin, end = text.find(_BEGIN), text.find(_END)
    if 0 <= begin < end:
        text = text[:begin].rstrip() + "\n" + text[end + len(_END) :].lstrip()
    return f"{text.rstrip()}\n\n{how_chosen(selection)}"


def subset_card(selection: Selection, name: str, facts: dict[str, Any]) -> str:
    """README.md of a subset's folder: front matter with `configs:`, and how it was chosen."""
    from huggingface_hub import DatasetCardData

    data = DatasetCardData(
        tags=TAGS,
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
        **facts,
    )
    return with_chosen(f"---\n{data.to_yaml()}\n---\n\n# {name}\n", selection)


def describe_subset(
    selection: Selection, repo_id: str, *, token: str | None = None, revision: str | None = None
) -> None:
    """Add how it was chosen to the card of a data set on the Hub."""
    from huggingface_hub import DatasetCard, HfApi

    api = HfApi(token=token)
    path = api.hf_hub_download(repo_id, "README.md", repo_type="dataset", revision=revision, force_download=True)
    card = DatasetCard(Path(path).read_text(encoding="utf-8"), ignore_metadata_errors=True)
    card.data["tags"] = sorted({*(card.data.get("tags") or []), *TAGS})
    card.text = with_chosen(card.text, selection)
    api.upload_file(
        path_or_fileobj=str(card).encode(),
        path_in_repo="README.md",
        repo_id=repo_id,
        repo_type="dataset",
        revision=revision,
        commit_message="How this subset was chosen",
    )


def push_selection(selection: Selection, repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
    """Publish a selection's rows, manifest and card as a data set; returns its address."""
    from huggingface_hub import DatasetCardData, HfApi

    api = HfApi(token=token)
    address = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
    data = DatasetCardData(
        tags=[*TAGS, "selection"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "rows.parquet"}]}],
    )
    title = "# Which rows of a pool stay, which go, and why\n\nOne row for every row of the pool, in its order.\n"
    with tempfile.TemporaryDirectory() as scratch:
        folder = selection.save(Path(scratch) / "selection")
        (folder / "README.md").write_text(with_chosen(f"---\n{data.to_yaml()}\n---\n\n{title}", selection), "utf-8")
        api.upload_folder(repo_id=repo_id, repo_type="dataset", folder_path=folder, commit_message="Selection")
    return str(address)


def _public(name: str) -> str:
    """A Hub id as it is; of a local path only its last part, since the rest is nobody's business."""
    return Path(name).name if Path(name).exists() or Path(name).is_absolute() else name


def _cell(value: object) -> str:
    """Text of a Markdown table's cell: data must not break out of it, nor be read as HTML."""
    return str(value).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")

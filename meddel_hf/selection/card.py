"""What a published data set says of how it was chosen."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from meddel_hf import schema
from meddel_hf.data.privacy import id_key, with_hashed
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import installed_versions
from meddel_hf.runtime.network import hub_errors, made_repository, public, public_name, text_without_places
from meddel_hf.runtime.reading import printable
from meddel_hf.runtime.words import plural
from meddel_hf.selection.answer import Answer

log = logging.getLogger(__name__)

PAPER = "https://arxiv.org/abs/2401.17542"
TAGS = ["data-effective-learning", "meddel"]
# What earlier pushes of this package, or of `Dataset.push_to_hub`, left in a repository, as patterns whose "*" matches
# slashes too; what a new push does not bring along goes. Anything else there is its owner's.
OURS = (
    "data/train-*.parquet", "data*/*/train-*.parquet", "class_masks*/*.parquet", "preview*/*.png", "rows.parquet",
    "density.parquet", "pairs.parquet", "order.parquet", "drawn-*.parquet", "leaks.parquet", "rejected.parquet",
    "manifest.json",
)  # fmt: skip
_DROPS_NEAR_DUPLICATES = ("dedup", "meddel", "semdedup")
_CALIBRATED = ", as mild copies of frames are"
_BEGIN, _END = "<!-- meddel: how it was chosen -->", "<!-- /meddel -->"


def how_chosen(selection: Answer) -> str:
    """Markdown: the selector and its arguments, what it kept and dropped, of which pool, by which versions."""
    s, origin = selection.summary, selection.origin
    chosen = {k: v for k, v in public(selection.settings).items() if v is not None and k != "selector"}
    facts = [
        ("selector", selection.settings.get("selector")),
        ("encoder", origin.encoder and public_name(origin.encoder)),
        ("fingerprint of the encoder", origin.encoder_fingerprint),
        (
            "eta (near-duplicates above)",
            None if s.eta is None else f"{s.eta:.6f}{_CALIBRATED if chosen.get('eta') == 'auto' else ''}",
        ),
        ("epsilon (outliers beyond)", chosen.pop("epsilon", None)),
        ("retention", f"{s.retention:.4%} ({s.kept:,} of {s.pool:,} rows)"),
        (
            "dropped",
            f"{plural(s.near_duplicates, 'near-duplicate')}, "
            + (f"{plural(s.outliers, 'outlier')}, " if s.outliers or s.looks_for_outliers else "")
            + f"{s.unreadable:,} unreadable"
            + (f", {s.in_reference:,} within reach of the reference" if s.in_reference else "")
            + (f", {s.set_aside:,} set aside by hand" if s.set_aside else "")
            + (f", {s.not_selected:,} not selected" if s.not_selected else ""),
        ),
        (
            "coverage",
            None if s.coverage is None else f"{s.coverage:.2%} of the near-duplicates have a kept row above eta",
        ),
        ("other arguments", ", ".join(f"{k}={v}" for k, v in sorted(chosen.items()) if k not in ("eta", "retention"))),
        ("pool", origin.spec and public_name(origin.spec)),
        ("pool's fingerprint", origin.fingerprint),
        ("reference", origin.reference_spec and public_name(origin.reference_spec)),
        ("fingerprint of the reference", origin.reference),
        ("fingerprint of the embeddings", origin.embeddings),
        ("fingerprint of the selection", selection.fingerprint),
        ("versions", ", ".join(f"{k} {v}" for k, v in installed_versions().items())),
    ]
    return (
        f"{_BEGIN}\n## How this subset was chosen\n\nBy [data-effective learning]({PAPER}): {_in_words(selection)}.\n\n"
        f"{table_of(facts)}\n{_END}\n"
    )


def table_of(facts: Sequence[tuple[str, Any]]) -> str:
    """Facts as a Markdown table; those without a value are left out."""
    rows = "\n".join(f"| {name} | {cell(value)} |" for name, value in facts if value not in (None, ""))
    return f"| what | value |\n|---|---|\n{rows}"


def _in_words(selection: Answer) -> str:
    what = [
        *(["outliers"] if selection.summary.looks_for_outliers else []),
        *(["near-duplicates"] if selection.settings.get("selector") in _DROPS_NEAR_DUPLICATES else []),
    ]
    if not what:
        return f"frames are chosen by the selector {selection.settings.get('selector')}"
    rest = ", and of the frames that are left a part is drawn" if selection.summary.not_selected else ""
    return f"{' and '.join(what)} are left out in the embedding space of an encoder{rest}"


def with_chosen(text: str, selection: Answer) -> str:
    """A card's text with the section on the selection at its end; an older such section is replaced."""
    begin, end = text.find(_BEGIN), text.find(_END)
    if 0 <= begin < end:
        text = text[:begin].rstrip() + "\n" + text[end + len(_END) :].lstrip()
    return f"{text.rstrip()}\n\n{how_chosen(selection)}"


def subset_card(
    selection: Answer, name: str, files: list[str], facts: dict[str, Any], content: str | None = None
) -> str:
    """README.md of a subset's folder: front matter with `configs:`, and how it was chosen.

    files:   patterns of the data's files.
    content: their fingerprint, where no pattern names it: `datasets` remembers a folder by what its card says, and
             would give the rows of another one of that name.
    """
    from huggingface_hub import DatasetCardData

    paths = files if len(files) > 1 else files[0]
    config = {"config_name": "default", "data_files": [{"split": "train", "path": paths}]}
    data = DatasetCardData(
        tags=TAGS,
        configs=[config | ({} if content is None else {"description": f"content {content}"})],
        **facts,
    )
    return with_chosen(f"---\n{data.to_yaml()}\n---\n\n# {name}\n", selection)


def describe_subset(selection: Answer, repo_id: str, *, token: str | None, revision: str | None) -> None:
    """Add how it was chosen to the card of a data set on the Hub, and take away what described an older push."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, DatasetCard, HfApi

    api = HfApi(token=token)
    path = api.hf_hub_download(repo_id, "README.md", repo_type="dataset", revision=revision, force_download=True)
    card = DatasetCard(Path(path).read_text(encoding="utf-8"), ignore_metadata_errors=True)
    card.data["tags"] = sorted({*(card.data.get("tags") or []), *TAGS})
    card.text = with_chosen(card.text, selection)
    operations: list[Any] = [CommitOperationAdd("README.md", str(card).encode())]
    there = api.list_repo_files(repo_id, repo_type="dataset", revision=revision)
    operations += [CommitOperationDelete(name) for name in there if name == MANIFEST]
    api.create_commit(
        repo_id, operations, repo_type="dataset", revision=revision, commit_message="How this subset was chosen"
    )


def push_selection(
    selection: Answer,
    repo_id: str,
    *,
    private: bool | None,
    token: str | None,
    hash_ids: str | Path | None,
) -> str:
    """Publish a selection's rows, manifest and card as a data set; returns its address.

    Paths of the pool and the encoder go as their names. hash_ids: file of the key by which ids are hashed, made where
    there is none; with the key of a subset its rows can be joined.
    """
    from huggingface_hub import DatasetCardData, HfApi

    shown = for_others(selection, None if hash_ids is None else id_key(hash_ids))
    if hash_ids is None and not selection.origin.row_ids:
        log.warning("ids are published as they are, such as %s: --hash-ids hashes them", printable(selection.ids[0]))
    data = DatasetCardData(
        tags=[*TAGS, "selection"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "rows.parquet"}]}],
    )
    title = "# Which rows of a pool stay, which go, and why\n\nOne row for every row of the pool, in its order.\n"
    api = HfApi(token=token)
    with hub_errors(repo_id), tempfile.TemporaryDirectory() as scratch:
        folder = shown.save(Path(scratch) / "selection")
        (folder / "README.md").write_text(with_chosen(f"---\n{data.to_yaml()}\n---\n\n{title}", shown), "utf-8")
        address = made_repository(api, repo_id, "dataset", private)
        api.upload_folder(
            repo_id=repo_id,
            repo_type="dataset",
            folder_path=folder,
            commit_message="Selection",
            delete_patterns=list(OURS),
        )
    return address


def for_others(selection: Answer, key: bytes | None) -> Answer:
    """The selection without what tells of this machine; with hashed ids, and without notes, which may name frames,
    where there is a key."""
    origin = replace(
        selection.origin,
        spec=selection.origin.spec and public_name(selection.origin.spec),
        encoder=selection.origin.encoder and public_name(selection.origin.encoder),
        reference_spec=selection.origin.reference_spec and public_name(selection.origin.reference_spec),
    )
    table = selection.table
    if schema.DIGEST in table.column_names:  # who has a frame could tell by it that the frame is in the pool
        table = table.drop([schema.DIGEST])
    if key is not None:
        names = (schema.ID, schema.DUPLICATE_OF, schema.NEAREST_KEPT, schema.IN_REFERENCE)
        table = with_hashed(table, [name for name in names if name in table.column_names], key)
    notes = () if key is not None else tuple(map(text_without_places, selection.notes))
    return replace(selection, table=table, origin=origin, settings=public(selection.settings), notes=notes)


def cell(value: object) -> str:
    """Text of a Markdown table's cell: data must not break out of it, nor be read as HTML."""
    return str(value).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")

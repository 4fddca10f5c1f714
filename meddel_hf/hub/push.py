"""Folders of steps to the Hub: a selection, a subset, a built data set, a report, an encoder, a segmentation model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from meddel_hf.data.outgoing import clean_copy, look, texts_of
from meddel_hf.data.privacy import OF_PEOPLE, check_people
from meddel_hf.errors import IncompleteStore, InvalidArgument
from meddel_hf.hub.encoder import push_encoder
from meddel_hf.hub.models import ModelRepository
from meddel_hf.hub.report import push_report
from meddel_hf.hub.repository import Repository
from meddel_hf.hub.segmentation import push_segmentation
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.network import hub_errors, made_repository, public
from meddel_hf.selection.card import OURS
from meddel_hf.selection.selection import Selection
from meddel_hf.selection.table import ROWS

_WITHOUT_FRAMES = {"pretraining": "an encoder", "segmentation": "a segmentation model", "report": "a report"}


def push(
    path: str | Path,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    strip_metadata: bool = False,
    hash_ids: str | Path | None = None,
    yes_with_metadata: bool = False,
    license: str | None = None,
) -> str:
    """Publish a folder made by `meddel select`, `filter`, `build` or `report` as a data set, or one of `pretrain` or
    `segment` as a model; returns its address.

    What an earlier push left there, and this one does not bring along, goes in the same commit.

    strip_metadata:    leave metadata out of the images' files on the way; no pixel changes.
    hash_ids:          of a selection: file of the key by which ids are hashed, such as that of the subset.
    yes_with_metadata: publish names, positions and serial numbers that stand in images, and columns that are about
                       somebody, such as patient, as they are; else they are an error.
    license:           of a model's weights, or of a report, to be named in its card.

    Raises InvalidArgument where it holds a source of DataDEL whose licence forbids that, unless it is to be private;
    IncompleteStore where its files are not those that its manifest records; HubFailed where the Hub refuses.
    """
    from huggingface_hub import HfApi

    from meddel_hf.datadel import publishing

    path = Path(path)
    if (path / ROWS).is_file():
        Manifest.read(path, "selection").check(path)
        return Selection.load(path).push_to_hub(repo_id, private=private, token=token, hash_ids=hash_ids)
    step = Manifest.read(path).step if (path / MANIFEST).is_file() else None
    if step in _WITHOUT_FRAMES:
        if hash_ids is not None or strip_metadata or yes_with_metadata:
            what = _WITHOUT_FRAMES[step]
            raise InvalidArgument(f"{path} holds {what}, no frames and no ids: leave the options about those out")
        if step == "report":
            return push_report(path, Repository(repo_id, private, token, license, "dataset"))
        to = ModelRepository(repo_id, private, token, license)
        return push_encoder(path, to) if step == "pretraining" else push_segmentation(path, to)
    if license is not None:
        raise InvalidArgument(f"{path} has a card that names its licence, or none: `meddel filter --license` names one")
    if not (path / "README.md").is_file():
        raise InvalidArgument(f"{path} is neither a selection nor a data set folder (it has no {ROWS}, no README.md)")
    if hash_ids is not None:
        raise InvalidArgument(f"ids of {path} are written already: hash them with `meddel filter --hash-ids`")
    manifest = _checked(path)
    publishing.check(path, private)
    hashed = () if manifest is None else manifest.details.get("hashed", ())
    about = [name for name in OF_PEOPLE if name not in hashed]
    check_people(path, texts_of(path, about), yes_with_metadata)
    if not strip_metadata:
        findings = look(path)
        findings.check(path, yes_with_metadata)
        findings.tell()
    api = HfApi(token=token)
    with hub_errors(repo_id):
        address = made_repository(api, repo_id, "dataset", private)
    with clean_copy(path, strip_metadata) as copy:
        if manifest is not None:
            _for_others(manifest, copy)
        with hub_errors(repo_id):
            api.upload_folder(
                repo_id=repo_id,
                repo_type="dataset",
                folder_path=copy,
                commit_message=f"Upload {path.name}",
                ignore_patterns=publishing.NOT_PUBLISHED,
                delete_patterns=None if manifest is None else list(OURS),
            )
    return address


def _checked(folder: Path) -> Manifest | None:
    """The folder's manifest, None where it has none.

    Raises IncompleteStore where a file that it records is damaged, or where a subset has rows that it does not record.
    """
    if not (folder / MANIFEST).is_file():
        return None
    manifest = Manifest.read(folder)
    manifest.check(folder)
    there = [file.relative_to(folder).as_posix() for file in sorted(folder.glob("data/**/*.parquet"))]
    strangers = [name for name in there if name not in manifest.files]
    if manifest.step == "subset" and manifest.files and strangers:
        raise IncompleteStore(
            f"{folder} holds {strangers[0]}, which its {MANIFEST} does not record: take it away, or run "
            "`meddel filter` again"
        )
    return manifest


def _for_others(manifest: Manifest, copy: Path) -> None:
    """Write the manifest of what is published: of the files as they are there, with names in place of local paths."""
    (copy / MANIFEST).unlink()
    arguments, details = public(manifest.arguments), public(manifest.details)
    replace(manifest, arguments=arguments, details=details).write(copy, manifest.files)

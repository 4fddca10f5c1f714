"""Folders of steps to the Hub: a selection, a subset, a built data set, a report, an encoder, a segmentation model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath

from meddel_hf.data.outgoing import copy_without_metadata, look, room_beside, texts_of
from meddel_hf.data.privacy import OF_PEOPLE, check_people
from meddel_hf.data.scan import IMAGE_SUFFIXES
from meddel_hf.datadel.preview import FOLDER
from meddel_hf.errors import InvalidArgument
from meddel_hf.hub.contents import Contents
from meddel_hf.hub.encoder import push_encoder
from meddel_hf.hub.models import ModelRepository
from meddel_hf.hub.report import push_report
from meddel_hf.hub.repository import CARD, Repository
from meddel_hf.hub.segmentation import push_segmentation
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.selection.card import OURS
from meddel_hf.selection.selection import Selection
from meddel_hf.selection.table import ROWS

log = logging.getLogger(__name__)

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

    Beside a manifest only the files that it records are sent, and the card; what stays is told in a line. What an
    earlier push left there, and this one does not bring along, goes in the same commit.

    strip_metadata:    leave metadata out of the images' files on the way; no pixel changes.
    hash_ids:          of a selection: file of the key by which ids are hashed, such as that of the subset.
    yes_with_metadata: publish names, positions and serial numbers that stand in images, and columns that are about
                       somebody, such as patient, as they are; else they are an error.
    license:           of a model's weights, or of a report, to be named in its card.

    Raises InvalidArgument where it holds a source of DataDEL whose licence forbids that, unless it is to be private;
    IncompleteStore where its files are not those that its manifest records; HubFailed where the Hub refuses.
    """
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
    if not (path / CARD).is_file():
        raise InvalidArgument(f"{path} is neither a selection nor a data set folder (it has no {ROWS}, no {CARD})")
    if hash_ids is not None:
        raise InvalidArgument(f"ids of {path} are written already: hash them with `meddel filter --hash-ids`")
    contents = Contents.of(path)
    publishing.check(path, private)
    hashed = () if contents.manifest is None else contents.manifest.details.get("hashed", ())
    about = [name for name in OF_PEOPLE if name not in hashed]
    check_people(path, texts_of(path, about, contents.going), yes_with_metadata)
    if not strip_metadata:
        findings = look(path, contents.going)
        findings.check(path, yes_with_metadata)
        findings.tell()
    if told := contents.told():
        log.warning("%s", told)
    frames = _Frames(repo_id, private, token, kind="dataset", strip=strip_metadata)
    older = (*OURS, *_image_folders(contents)) if contents.manifest is not None else ()
    return frames.upload(path, contents.going, None, contents.manifest, f"Upload {path.resolve().name}", older=older)


def _image_folders(contents: Contents) -> list[str]:
    """Patterns of the folders that hold its image files: an earlier push may have left more there."""
    tops = {name.partition("/")[0] for name in contents.going if PurePath(name).suffix.lower() in IMAGE_SUFFIXES}
    return [f"{top}/*" for top in sorted(tops - {FOLDER})]


@dataclass(frozen=True)
class _Frames(Repository):
    """A repository of frames. strip: whether metadata stays out of the images."""

    strip: bool = False

    @contextmanager
    def _room(self, folder: Path) -> Iterator[Path]:
        with room_beside(folder) if self.strip else super()._room(folder) as place:
            yield place

    def _copy(self, file: Path, place: Path) -> None:
        if self.strip:
            copy_without_metadata(file, place)
        else:
            super()._copy(file, place)

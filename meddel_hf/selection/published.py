"""A selection that was published on the Hub, fetched to be read."""

from __future__ import annotations

import re
from pathlib import Path

from meddel_hf.errors import HubFailed, InvalidArgument
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.network import hub_errors

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_READ = [MANIFEST, "*.parquet"]


def at_hand(place: str | Path, revision: str | None, token: str | None) -> Path:
    """The folder of that name, or else a copy, in the Hub's own cache, of the data set USER/NAME there.

    What is on this machine already is not fetched again. Raises HubFailed where the Hub refuses or cannot be reached,
    InvalidArgument where what it has is no selection.
    """
    name = str(place)
    if Path(place).exists() or not _HUB_ID.fullmatch(name):
        return Path(place)
    from huggingface_hub import errors, snapshot_download

    try:
        with hub_errors(name):
            fetched = snapshot_download(name, repo_type="dataset", revision=revision, token=token, allow_patterns=_READ)
    except errors.LocalEntryNotFoundError as error:
        raise InvalidArgument(
            f"{name} is no folder here, and the Hub, where it may be, cannot be reached: check the path, the network "
            "and HF_HUB_OFFLINE"
        ) from error
    except HubFailed as error:
        raise HubFailed(f"{name} is no folder here; {error}") from error
    if not Path(fetched, MANIFEST).is_file():
        raise InvalidArgument(
            f"{name} is no folder here, and the data set of that name on the Hub is no selection (it has no "
            f"{MANIFEST}): expected one that `meddel push` published"
        )
    return Path(fetched)

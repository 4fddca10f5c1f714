"""What transformers says while it loads and saves: kept off the terminal, its errors in one sentence."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path, PurePath
from urllib.parse import urlsplit
from urllib.request import getproxies

from meddel_hf.errors import InvalidArgument, MedDELError
from meddel_hf.runtime.manifest import step_of
from meddel_hf.runtime.reading import reason
from meddel_hf.runtime.similar import did_you_mean

CARRIED = "carried"  # what the encoder that the package carries is called
_PORTS = {"http": 80, "https": 443}
_PATIENCE = 5.0  # seconds
_EXAMPLE = "google/vit-base-patch16-224-in21k"


def name_of_encoder(given: object) -> str:
    """The name or path that was given, as text. Raises InvalidArgument for a model itself, and for all else."""
    if isinstance(given, str | PurePath):
        return str(given)
    cure = ""
    if hasattr(given, "save_pretrained"):
        cure = ": save it with save_pretrained, together with its image processor, and give the folder"
    raise InvalidArgument(f"expected the Hub id or folder of an encoder, got a {type(given).__name__}{cure}")


@contextmanager
def located(name: str) -> Iterator[str]:
    """Where transformers finds the encoder of that name: the folder of "carried", else the name as it is.

    A folder goes before all else of its name. Raises InvalidArgument, before anything is asked of the Hub, for a name
    that is no folder and that no encoder on the Hub can have.
    """
    if Path(name).is_dir():
        step = step_of(Path(name))
        if step not in (None, "pretraining", "segmentation"):
            raise InvalidArgument(
                f"{name} is a folder of step {step!r}, expected an encoder: what `meddel pretrain` writes, another "
                f"folder with config.json, a Hub id, or {CARRIED!r}"
            )
        yield name
    elif name == CARRIED:
        with as_file(files("meddel_hf.assets") / "encoder") as folder:
            yield str(folder)
    elif _is_a_path(name):
        raise InvalidArgument(_no_folder(name, "encoder"))
    elif "/" not in name:
        raise InvalidArgument(
            f"encoder {name!r} is no folder here, and no Hub id, which names an owner too: expected one such as "
            f"{_EXAMPLE}, or {CARRIED!r}, the encoder that the package carries{did_you_mean(name, (CARRIED, _EXAMPLE))}"
        )
    else:
        yield name


def _is_a_path(name: str) -> bool:
    """Whether it can be nothing but a folder: a Hub id is an owner and a name."""
    return name.startswith(("/", ".", "~")) or name.count("/") > 1


def _no_folder(name: str, what: str) -> str:
    return f"{what} {name!r} is not a folder: expected one with config.json, or a Hub id"


def check_at_hand(name: str, revision: str | None) -> None:
    """Raises InvalidArgument, at once, for an encoder that is not on this machine where the Hub cannot be asked.

    To be called before what takes seconds to import; huggingface_hub itself would try for half a minute. What else may
    be wrong with the name is told by whoever loads it.
    """
    if Path(name).is_dir() or _is_a_path(name) or "/" not in name:
        return
    from huggingface_hub import constants, errors, try_to_load_from_cache

    try:
        here = isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str)
    except errors.HFValidationError:
        return
    if not here and (constants.HF_HUB_OFFLINE or not _answers(constants.ENDPOINT)):
        raise InvalidArgument(_not_at_hand(name, "encoder"))


def _answers(address: str) -> bool:
    """Whether anybody listens there; taken for granted where a proxy stands between."""
    url = urlsplit(address)
    if getproxies():
        return True
    try:
        socket.create_connection((url.hostname or "", url.port or _PORTS.get(url.scheme, 443)), _PATIENCE).close()
    except OSError:
        return False
    return True


def _not_at_hand(name: str, what: str) -> str:
    return (
        f"{what} {name!r} is no folder here, and the Hub cannot be reached: check the path, the network and "
        "HF_HUB_OFFLINE" + f"; or take {CARRIED!r}, the encoder that the package carries" * (what == "encoder")
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the reports and bars of transformers out of ours; its settings are as before afterwards."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


@contextmanager
def explained(name: str, what: str = "encoder") -> Iterator[None]:
    """Say in one sentence what transformers says in a page. what: the name was given as."""
    try:
        yield
    except (MedDELError, MemoryError):
        raise
    except Exception as error:  # hubs, configurations and weight files fail in many ways; the cause stays chained
        if not Path(name).is_dir() and _is_a_path(name):
            raise InvalidArgument(_no_folder(name, what)) from error
        if not Path(name).is_dir() and _unreachable(error):
            raise InvalidArgument(_not_at_hand(name, what)) from error
        first = reason(ValueError(re.split(r"\.\s", str(error))[0].rstrip(".")) if str(error) else error)
        if "trust_remote_code" in str(error) and what == "encoder":
            first = "it brings its own code: read that code, then pass trust_remote_code=True (--trust-remote-code)"
        if "timm library" in str(error):
            first = (
                "it is a model of timm, whose image processing is not followed here: expected one of transformers' own"
            )
        raise InvalidArgument(f"{what} {name!r} cannot be loaded: {first}") from error


def _unreachable(error: BaseException | None) -> bool:
    """Whether what huggingface_hub raises without a network, or told to use none, is among the causes."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    while error is not None:
        if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
            return True
        error = error.__cause__ or error.__context__
    return False

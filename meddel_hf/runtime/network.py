"""What can go wrong between here and the Hub, each in one sentence with its cure; and names fit to go there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddel_hf.errors import HubFailed, InvalidArgument

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"
_BY_STATUS = {
    400: "it refused the upload",
    401: f"you are not logged in, or the token is not valid: {_LOG_IN}",
    403: f"your token may not write there: check the owner's name, or {_LOG_IN}",
    404: f"there is no such repository, or you may not see it: check the name, or {_LOG_IN}",
    409: "another commit came in between: run the same command again",
    412: "another commit came in between: run the same command again",
    413: "a file is too large for it: write smaller shards",
    429: "it asks for fewer requests: wait some minutes, and run the same command again",
}
_ABSOLUTE = re.compile(r"[/~\\]|[A-Za-z]:[\\/]|file:/")
_STARTS_AS_PATH = re.compile(rf"{_ABSOLUTE.pattern}|\.\.?[\\/]")
_NAMES_PLACE = {"encoder", "pool", "reference", "spec"}  # keys of what a manifest says
_IS_LOCAL = {"folder", "table"}  # of those keys: never a Hub id, as what `meddel pool` read
_SEGMENT = r"[^\s\\/'\"<>|,;()\[\]]+"
# An absolute path in a sentence. Folders may have spaces in their names, up to three: so that none is told in part,
# words before a slash that comes soon after a path go with it.
_PATH = re.compile(
    rf"(?<![\w./~:\\-])(?:file:)?(?:~[\w.-]*)?(?:[A-Za-z]:)?[\\/]+"
    rf"(?:{_SEGMENT}(?: {_SEGMENT}){{0,3}}[\\/]+)*{_SEGMENT}"
)
_CLIENTS = ("httpx", "httpx2", "httpcore", "requests", "urllib3")  # that huggingface_hub has used


@contextmanager
def hub_errors(repo_id: str) -> Iterator[None]:
    """Turn what the Hub's clients raise into HubFailed, or InvalidArgument for a name that no repository can have."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise InvalidArgument(f"{repo_id!r} is no name of a repository: expected USER/NAME, as in me/frames") from error
    except errors.LocalTokenNotFoundError as error:
        raise HubFailed(f"{repo_id} was not published: {_BY_STATUS[401]}") from error
    except errors.GatedRepoError as error:
        raise HubFailed(
            f"{repo_id} is gated: ask its owner for access on its page, then run the command again"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise HubFailed(f"{repo_id} cannot be reached: HF_HUB_OFFLINE is set; unset it to publish") from error
    except errors.HfHubHTTPError as error:
        raise HubFailed(f"{repo_id}: the Hub says no ({_said(error)}): {_cure(error)}") from error
    except Exception as error:
        if not _is_network(error):
            raise
        raise HubFailed(
            f"{repo_id}: the Hub cannot be reached ({_first_line(error) or type(error).__name__}): check the network "
            "and HF_ENDPOINT, and run the same command again"
        ) from error


def made_repository(api: HfApi, repo_id: str, kind: str, private: bool | None) -> str:
    """Make a repository, or take the one that is there; returns its address.

    kind: as huggingface_hub's repo_type. Raises InvalidArgument where it is to be private and is there for all to see.
    """
    address = api.create_repo(repo_id, repo_type=kind, private=private, exist_ok=True)
    is_private = api.repo_info(repo_id, repo_type=kind).private
    if private and not is_private:
        raise InvalidArgument(
            f"{repo_id} exists and is public, and is asked to be private: change that in its settings on the Hub, or "
            "name another one"
        )
    return str(address)


def public_name(name: str) -> str:
    """A Hub id as it is; of a local path only its last part, since the rest is nobody's business."""
    path = name.partition("@")[0].rpartition(":")[0] or name
    is_local = _STARTS_AS_PATH.match(name) or name.startswith(".") or "\\" in name or path.count("/") > 1
    if is_local or Path(name).exists() or Path(path).exists():
        return _last_part(name)
    return name


def without_places(value: Any) -> Any:
    """Facts, such as a plan's, with the last part in place of every absolute path, however deep it stands.

    Unlike `public` it looks at nothing on this machine. Patterns of ids, whose keys end in "match", stay.
    """

    def named(key: str, text: str) -> str:
        if key.endswith("match"):
            return text
        return _last_part(text) if _ABSOLUTE.match(text.strip()) else text_without_places(text)

    return everywhere(value, named)


def typed_without_places(command: str) -> str:
    """A command line, with the last part in place of every absolute path."""
    try:
        words = shlex.split(command)
    except ValueError:  # no command line
        return text_without_places(command)

    def named(word: str) -> str:
        option, is_given, value = word.rpartition("=")
        if _ABSOLUTE.match(value):
            return f"{option}{is_given}{_last_part(value)}"
        return text_without_places(word)

    return shlex.join(map(named, words))


def text_without_places(text: str) -> str:
    """A sentence, with the last part in place of every absolute path."""
    return _PATH.sub(lambda found: _last_part(found[0]), text)


def _last_part(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("/\\"))[-1]


def public(value: Any, names: Mapping[str, str] | None = None) -> Any:
    """What a manifest says, with names in place of local paths, however deep they stand.

    names: of texts that are to be called otherwise than by their last part.
    """

    def named(key: str, text: str) -> str:
        if names and text in names:
            return names[text]
        if key in _IS_LOCAL:
            return _last_part(text)
        is_sentence = re.search(r"\s", text) and key not in _NAMES_PLACE and not _STARTS_AS_PATH.match(text)
        return text_without_places(text) if is_sentence else public_name(text)

    return everywhere(value, named)


def everywhere(value: Any, named: Callable[[str, str], str], key: str = "") -> Any:
    """Facts with other texts, however deep they stand. named: what stands for a text under its key, or the nearest."""
    if isinstance(value, dict):
        return {name: everywhere(inner, named, str(name)) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [everywhere(inner, named, key) for inner in value]
    return named(key, value) if isinstance(value, str) else value


def _said(error: Any) -> str:
    status = getattr(error.response, "status_code", "")
    said = getattr(error, "server_message", None) or _first_line(error)
    return f"{status}: {' '.join(said.split())[:200]}"


def _cure(error: Any) -> str:
    status = getattr(error.response, "status_code", 0)
    return _BY_STATUS.get(status) or (
        "it has trouble of its own: run the same command again later" if status >= 500 else "see what it says"
    )


def _is_network(error: BaseException) -> bool:
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    return any(kind.__module__.partition(".")[0] in _CLIENTS for kind in type(error).__mro__)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]

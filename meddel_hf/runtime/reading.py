"""Small files of ours, read with care: what is damaged becomes one sentence that names the file and the cure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from meddel_hf.errors import IncompleteStore, InvalidArgument, MedDELError
from meddel_hf.runtime.words import first_of

CURE = "copy it again, or run the step that wrote it again"
_MOST_BYTES = 1 << 30  # of a text; a device or a wrong file is not read without end
# What json, struct and pyarrow raise; of OSError only what pyarrow makes up, which has no number.
_OF_DAMAGE = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, NotImplementedError, OSError,
)  # fmt: skip
_SHOWN = 100  # characters of a reason, or of a value


@contextmanager
def intact(path: Path, cure: str = CURE, error: type[MedDELError] = IncompleteStore) -> Iterator[None]:
    """Of a block that takes a file apart: say in one sentence that it does not hold what it should.

    What the system says (no such file, no permission) stays what it is.
    """
    try:
        yield
    except MedDELError:
        raise
    except FileNotFoundError as cause:
        raise error(f"{path} is missing: {cure}") from cause
    except _OF_DAMAGE as cause:
        if isinstance(cause, OSError) and cause.errno is not None:
            raise
        raise error(f"{path} is damaged ({reason(cause)}): {cure}") from cause


def reason(error: BaseException) -> str:
    """What an error of a library says, short and on one line."""
    text = " ".join(str(error).split())
    text = text.encode("utf-8", "backslashreplace").decode()
    if isinstance(error, KeyError):
        text = f"it lacks {text}"
    if not text or isinstance(error, (RecursionError, AttributeError, TypeError)):
        text = "it is nested too deeply" if isinstance(error, RecursionError) else "it does not hold what it should"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def shown(value: Any) -> str:
    """A value as an error names it: its text in Python, cut where it is long."""
    text = value if isinstance(value, str) else ""
    text = ascii(text) if text and not text.isprintable() else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def printable(name: str) -> str:
    """A name from the data, safe on a terminal: what is empty, or cannot be printed as it is, is escaped."""
    return name if name.isprintable() and name.strip() else ascii(name)


def some_of(names: Sequence[str], most: int = 5) -> str:
    """`first_of`, of names from the data."""
    return first_of(list(map(printable, names)), most)


def read_json(path: Path, cure: str = CURE) -> dict[str, Any]:
    """A mapping. Raises IncompleteStore where the file is missing, no JSON, or no mapping."""
    with intact(path, cure):
        content = json.loads(_bytes(path).decode("utf-8"))
    if not isinstance(content, dict):
        raise IncompleteStore(f"{path} is damaged (no mapping): {cure}")
    return content


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a text that a user wrote, without the mark (BOM) that Windows puts before it.

    what: they are, such as "a list of ids". Raises InvalidArgument.
    """
    try:
        return _bytes(path).decode("utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise InvalidArgument(f"{path} is not there: expected {what}, one a line") from error
    except IsADirectoryError as error:
        raise InvalidArgument(f"{path} is a folder: expected a file with {what}, one a line") from error
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{path} is no text in UTF-8: expected {what}, one a line") from error


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise InvalidArgument(f"{path} is larger than {_MOST_BYTES:,} bytes: expected a small text")
    return content

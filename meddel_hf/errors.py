"""Every error that this package raises on purpose.

MedDELError
├── InvalidArgument     an option's value is out of range, or two options contradict each other  (ValueError)
├── InvalidDataset      the pool lacks a column, repeats an id, or is not there                  (ValueError)
├── InvalidEmbeddings   embeddings are not finite, are zero, or have the wrong shape             (ValueError)
├── Mismatch            two things that do not belong together: a store and another encoder      (ValueError)
│   └── Occupied        a folder to write to holds another step's output, or another run's
├── UnreadableArchive   an archive, or a file inside it, cannot be read or is not safe to read
├── IncompleteStore     a folder that an earlier step has not finished, or that is damaged
├── HubFailed           the Hub refused what was asked, or cannot be reached
├── Diverged            the loss of a training run is no longer a finite number
└── UnreadableImage     one frame cannot be decoded; its message is the reason that is recorded for the frame
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class MedDELError(Exception):
    """Base of every error of this package: what was found, what was expected, what to do."""


class InvalidArgument(MedDELError, ValueError):
    """An option's value is out of range, or two options contradict each other."""


class InvalidDataset(MedDELError, ValueError):
    """The pool of images lacks a column, repeats an id, or is not there."""


class InvalidEmbeddings(MedDELError, ValueError):
    """Embeddings are not finite, are zero, or have the wrong shape."""


class Mismatch(MedDELError, ValueError):
    """Two things that do not belong together, such as a selection and another pool."""


class Occupied(Mismatch):
    """A folder to write to holds another step's output, or that of a run with other arguments.

    folder: that one.
    """

    def __init__(self, sentence: str, folder: Path) -> None:
        super().__init__(sentence)
        self.folder = folder


class UnreadableArchive(MedDELError):
    """An archive, or a file inside it, cannot be read or is not safe to read; its message is the reason."""


class IncompleteStore(MedDELError):
    """A folder that an earlier step has not finished, or whose files are damaged."""


class HubFailed(MedDELError):
    """The Hub refused what was asked, or cannot be reached; says which, and what to do."""


class Diverged(MedDELError):
    """The loss of a training run is no longer a finite number; says at which step, and what is kept.

    step: of the training, from 1; None where it is not known.
    """

    def __init__(self, sentence: str, step: int | None = None) -> None:
        super().__init__(sentence)
        self.step = step


class UnreadableImage(MedDELError):
    """One frame cannot be decoded; its message is the reason that is recorded for the frame."""


def named(where: str, error: MedDELError) -> MedDELError:
    """The same error, of the same kind and with what it carries, that says where it was met."""
    answer = type(error).__new__(type(error))
    answer.args = (f"{where}: {error}",)
    answer.__dict__.update(error.__dict__)
    return answer


@contextmanager
def met_in(where: str) -> Iterator[None]:
    """Errors of what is done inside say where they were met, see `named`."""
    try:
        yield
    except MedDELError as error:
        raise named(where, error) from error

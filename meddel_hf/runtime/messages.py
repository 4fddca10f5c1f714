"""What the library has to say goes through `logging`; a command shows it on stderr, a program decides for itself."""

from __future__ import annotations

import logging
import sys

_LIBRARY = "meddel_hf"


def show_messages() -> None:
    """Show the library's messages on stderr, as they are: what a command does, once."""
    logger = logging.getLogger(_LIBRARY)
    if not any(isinstance(handler, _Printed) for handler in logger.handlers):
        logger.addHandler(_Printed())
        logger.setLevel(logging.INFO)


class _Printed(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)

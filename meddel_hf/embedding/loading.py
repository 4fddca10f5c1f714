"""What transformers says while it loads and saves: kept off the terminal, its errors in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from meddel_hf.errors import InvalidArgument, MedDELError
from meddel_hf.runtime.reading import reason


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
        first = reason(ValueError(re.split(r"\.\s", str(error))[0].rstrip(".")) if str(error) else error)
        if "trust_remote_code" in str(error) and what == "encoder":
            first = "it brings its own code: read that code, then pass trust_remote_code=True (--trust-remote-code)"
        raise InvalidArgument(f"{what} {name!r} cannot be loaded: {first}") from error

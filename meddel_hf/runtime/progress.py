"""A bar on stderr for long work: how far it is, at what rate, how long it will take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from tqdm.auto import tqdm as _Bar

_PAUSE_ON_A_TERMINAL, _PAUSE_IN_A_FILE = 0.2, 10  # seconds between two repaints
_hidden: list[bool] = []  # one for each `no_bars` that is open


class tqdm(_Bar):  # type: ignore[misc]  # it stands in for that one
    """A bar of tqdm, which `no_bars` hides."""

    def __init__(self, *args: Any, disable: bool = False, **how: Any) -> None:
        super().__init__(*args, disable=disable or bool(_hidden), **how)


@contextmanager
def no_bars() -> Iterator[None]:
    """No bar, of ours or of datasets and huggingface_hub; afterwards theirs are as they were.

    Those of transformers are hidden wherever weights are loaded (`embedding.loading.quiet`).
    """
    import datasets

    hub: Any = import_module("huggingface_hub.utils")
    off = [
        (datasets.are_progress_bars_disabled(), datasets.disable_progress_bars, datasets.enable_progress_bars),
        (hub.are_progress_bars_disabled(), hub.disable_progress_bars, hub.enable_progress_bars),
    ]
    for already, disable, _ in off:
        if not already:
            disable()
    _hidden.append(True)
    try:
        yield
    finally:
        _hidden.pop()
        for already, _, enable in off:
            if not already:
                enable()


class Progress:
    """A bar, once `begin` says what is to be done; where it is not to be shown, all calls do nothing."""

    def __init__(self, *, shown: bool) -> None:
        self.shown = shown
        self.bar: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def begin(self, title: str, total: int | None, unit: str, done: int = 0) -> None:
        """total: units in all, None where nobody knows. unit: such as "images". done: of them, before this began."""
        if self.shown:
            pause = _PAUSE_ON_A_TERMINAL if sys.stderr.isatty() else _PAUSE_IN_A_FILE
            self.bar = tqdm(
                total=total, initial=done, desc=title, unit=f" {unit}", mininterval=pause, dynamic_ncols=True
            )

    def update(self, count: int = 1) -> None:
        """So many units more are done."""
        if self.bar is not None:
            self.bar.update(count)

    def note(self, loss: float) -> None:
        """Show a loss at the end of the bar."""
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)

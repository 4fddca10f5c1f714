"""A bar on stderr for long work: how far it is, at what rate, how long it will take."""

from __future__ import annotations

import sys
from typing import Any

_PAUSE_ON_A_TERMINAL, _PAUSE_IN_A_FILE = 0.2, 10  # seconds between two repaints


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
        from tqdm.auto import tqdm

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

"""Output that nobody reads any more, as with `| head`: the words are lost, the work goes on."""

from __future__ import annotations

import io
import os
import sys
from typing import Any


def outlast_readers() -> None:
    """From here on the end of whoever reads stdout or stderr does not end this process.

    A stream that a caller has put in the place of the process's own stays as it is.
    """
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = _outlasting(sys.stdout)
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _outlasting(sys.stderr)


def _outlasting(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Pipe(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Pipe(io.FileIO):
    def write(self, data: Any) -> Any:
        try:
            return super().write(data)
        except BrokenPipeError:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self.fileno())  # for all that writes there: libraries, processes of ours
            os.close(nothing)
            return len(data)

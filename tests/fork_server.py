"""Python processes that begin with what takes seconds to import: forked from one that has imported it.

A test that looks at what several commands do in processes of their own waits for torch and datasets once. Each is a
process with its own memory, working folder, arguments and exit, and is not told what another one did.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NoReturn

PATIENCE = 300  # seconds that a process has


class ForkServer:
    """Started at the first call, in the environment that is given; ends with `close`."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self._server: subprocess.Popen[str] | None = None

    def run(self, arguments: list[str], cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run([sys.executable, *arguments], cwd=cwd)`, of `-m MODULE ...`, `-c CODE` or a script.

        env: set on top of the server's, for what is read later than at an import.
        """
        if self._server is None:
            command = [sys.executable, __file__]
            pipe = subprocess.PIPE
            self._server = subprocess.Popen(command, env=self.env, stdin=pipe, stdout=pipe, text=True)
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps([arguments, str(cwd), env, folder]), file=self._server.stdin, flush=True)
            status = self._server.stdout.readline()
            assert status, "the server has ended"
            out, err = (Path(folder, name).read_text() for name in ("out", "err"))
        return subprocess.CompletedProcess([sys.executable, *arguments], int(status), out, err)

    def close(self) -> None:
        if self._server is not None:
            self._server.communicate()


@cache
def _one_thread() -> ForkServer:
    server = ForkServer({**os.environ, "OMP_NUM_THREADS": "1"})
    atexit.register(server.close)
    return server


def alone(*arguments: str | Path, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """What a process of one thread does, of `-m MODULE ...`, `-c CODE ...` or a script; it may end as it will."""
    return _one_thread().run([str(each) for each in arguments], cwd or Path.cwd(), **env)


def serve() -> None:
    """Read one call a line, and answer each with the exit status of the process that did it."""
    import datasets  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401

    import meddel_hf.cli  # noqa: F401

    gc.freeze()  # what is here is not gone through again by each
    threads = {path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")}
    assert len(threads - {"jemalloc_bg_thd"}) == 1, f"of {threads} one alone would be in what is forked"
    for line in sys.stdin:
        arguments, cwd, env, folder = json.loads(line)
        child = os.fork()
        if child == 0:
            os.environ.update(env)
            become(arguments, cwd, Path(folder))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def become(arguments: list[str], cwd: str, folder: Path) -> NoReturn:
    """What Python does with its arguments."""
    signal.alarm(PATIENCE)
    for descriptor, name in ((0, os.devnull), (1, folder / "out"), (2, folder / "err")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), descriptor)
    os.chdir(cwd)
    sys.path[0] = cwd
    option, what, *rest = arguments
    if option == "-m":
        sys.argv = [what, *rest]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    elif option == "-c":
        (folder / "code.py").write_text(what)
        sys.argv = ["-c", *rest]
        runpy.run_path(str(folder / "code.py"), run_name="__main__")
    else:
        sys.argv = arguments
        runpy.run_path(option, run_name="__main__")
    sys.exit(0)


if __name__ == "__main__":
    serve()

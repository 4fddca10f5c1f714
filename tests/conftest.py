"""Fixtures: `hub`, a loopback Hub and client code run against it in a process of its own; `load`, the metric."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fork_server import PATIENCE, ForkServer
from loopback_hub import TOKEN, LoopbackHub

# What tests read is remembered in a folder of their own: not in the user's, and not from one run to the next. Read by
# `datasets` when it is imported.
_REMEMBERED = tempfile.TemporaryDirectory(prefix="meddel-tests-")
atexit.register(_REMEMBERED.cleanup)
os.environ["MEDDEL_HF_DIGESTS"] = str(Path(_REMEMBERED.name, "digests.sqlite"))
os.environ["HF_DATASETS_CACHE"] = str(Path(_REMEMBERED.name, "datasets"))

METRIC = Path(__file__).parents[1] / "metrics" / "normdel"

# Loaded by Python itself at the start of every client process: a connection to any other machine raises, and is
# written down as well, because clients swallow some of their network errors. `datasets` makes the name of its viewer
# service from the endpoint and does without where there is none: that name is refused, but no sign of a leak.
_GUARD = """
import sys

def refuse_other_machines(event, arguments):
    if event == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else "127.0.0.1"
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if host not in (None, "127.0.0.1", "localhost", "::1"):
        if host != "datasets-server.127.0.0.1":
            with open({log!r}, "a") as log:
                log.write(f"{{event}} {{host}}\\n")
        raise OSError(f"a test tried to reach {{host}}")

sys.addaudithook(refuse_other_machines)
"""


@dataclass(frozen=True)
class HubSession:
    """A running loopback Hub and the environment under which clients find it.

    The clients read HF_ENDPOINT once, when they are imported: so client code runs in a process of its own.
    """

    server: LoopbackHub
    env: dict[str, str]
    home: Path
    start: Path  # what Python does at the start of every client
    outside: Path
    clients: ForkServer

    @property
    def endpoint(self) -> str:
        return self.server.endpoint

    @property
    def root(self) -> Path:
        return self.server.root

    @property
    def requests(self) -> list[str]:
        """Every request so far, such as "GET /api/models/user/name"."""
        return self.server.requests

    def files(self, repo_id: str, repo_type: str = "model") -> list[str]:
        return self.server.files(repo_id, repo_type)

    def read(self, repo_id: str, path: str, repo_type: str = "model") -> bytes:
        return self.server.read(repo_id, path, repo_type)

    def run(self, code: str, cwd: Path | None = None, **env: str) -> str:
        """Run Python code as a client, in an empty folder unless `cwd` names one; returns what it prints.

        Raises AssertionError with the client's stderr where it fails or tries to reach another machine.
        """
        return self.call([sys.executable, "-c", code], cwd, **env)

    def call(self, command: list[str], cwd: Path | None = None, **env: str) -> str:
        """The same for any command, such as `meddel push`."""
        cwd = cwd or self.home
        if not env and command[0] == sys.executable:
            done = self.clients.run(command[1:], cwd)
        else:
            env = {**self.env, **env}
            done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert not self.outside.exists(), f"a client left the loopback: {self.outside.read_text()}"
        return done.stdout


_LONG = ("test_readme.py", "test_segment.py", "test_pretrain.py", "test_benchmark.py")  # minutes: begun first


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no process has one left when the others are through (`--no-loadscope-reorder`)."""
    items.sort(key=lambda item: _LONG.index(item.path.name) if item.path.name in _LONG else len(_LONG))


def pytest_collection_finish() -> None:
    """What is there before the first test lives as long as the last: no collection of garbage is to go through it."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # hypothesis, which the summary imports, asks who holds what


@pytest.fixture(scope="session")
def _hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubSession]:
    with _hub_in(tmp_path_factory.mktemp("hub")) as session:
        yield session


@pytest.fixture
def hub(_hub: HubSession, tmp_path: Path) -> HubSession:
    """A Hub with nothing in it and clients that know nothing, for one test: address and server of processes stay."""
    return _emptied(_hub, tmp_path / "hub")


@pytest.fixture(scope="module")
def hub_of_file(_hub: HubSession, tmp_path_factory: pytest.TempPathFactory) -> HubSession:
    """The same for all tests of a file, of which none asks for `hub`."""
    return _emptied(_hub, tmp_path_factory.mktemp("hub"))


def _emptied(session: HubSession, root: Path) -> HubSession:
    session.server.empty(root)
    shutil.rmtree(session.home)
    session.home.mkdir()
    session.outside.unlink(missing_ok=True)
    return session


@contextmanager
def _hub_in(folder: Path) -> Iterator[HubSession]:
    """A fresh Hub, its files and its clients' home in a folder."""
    start, home, outside = folder / "guard" / "sitecustomize.py", folder / "home", folder / "outside.txt"
    start.parent.mkdir()
    home.mkdir()
    start.write_text(_GUARD.format(log=str(outside)), encoding="utf-8")
    with LoopbackHub(folder / "hub") as server:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        env = {
            **kept,
            "PYTHONPATH": os.pathsep.join([str(start.parent), *filter(None, [kept.get("PYTHONPATH")])]),
            "HOME": str(home),
            "HF_ENDPOINT": server.endpoint,
            "HF_HOME": str(home / "huggingface"),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",  # the Xet protocol has its own servers; LFS over HTTP is served here
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # evaluate.load would count downloads at amazonaws.com
        }
        clients = ForkServer(env)
        yield HubSession(server, env, home, start, outside, clients)
        clients.close()


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """`evaluate.load` of the metric's folder, with or without a config, on caches of this test's own."""
    import evaluate.config

    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", tmp_path / "modules")
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "metrics")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield lambda *config: evaluate.load(str(METRIC), *config)
    for name in [name for name in sys.modules if name.split(".")[0] == "evaluate_modules"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A real browser; see chromium.py. Gone with the file's last test: others count the processes that they started."""
    from chromium import Browser

    browser = Browser(tmp_path_factory.mktemp("downloads"))
    yield browser
    browser.close()

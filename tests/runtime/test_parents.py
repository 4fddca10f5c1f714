"""Processes that outlive their parent, counted: whatever ends a command, its workers end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import make_archives
import psutil
import pytest
from family import children, heed_interrupts, left, soon
from PIL import Image

from meddel_hf import assets

ENCODER = Path(assets.__file__).parent / "encoder"
# A parent whose workers are blocked for ever in C code: the pipe is full, and nobody reads it.
BLOCKED = """
import multiprocessing, os, sys, time
from meddel_hf.runtime.parents import become_worker

def block(write):
    become_worker()
    os.write(1, f"{os.getpid()}\\n".encode())  # at once: the others print too
    os.write(write.fileno(), b"x" * 10_000_000)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    read, write = context.Pipe()
    for _ in range(2):
        context.Process(target=block, args=(write,), daemon=True).start()
    if sys.argv[1] == "fork":  # a stranger, which lives on and holds the pipes open that tell of the parent's end
        stranger = context.Process(target=time.sleep, args=(20,))
        stranger.start()
        os.write(1, f"{stranger.pid}\\n".encode())
    time.sleep(60)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_that_is_blocked_in_a_full_pipe_ends_with_its_parent(method, tmp_path):
    (tmp_path / "blocked.py").write_text(BLOCKED, encoding="utf-8")
    run = [sys.executable, str(tmp_path / "blocked.py"), method]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as parent:
        told = [psutil.Process(int(parent.stdout.readline())) for _ in range(3 if method == "fork" else 2)]
        parent.kill()
    started = sorted(told, key=lambda one: one.pid)
    assert left(started[:2]) == []
    for stranger in started[2:]:
        assert stranger.is_running(), "its end would have told the workers"
        stranger.kill()


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    """More frames than fit into the queue between a decoding process and the model."""
    folder = tmp_path_factory.mktemp("pool")
    for row in range(400):
        Image.new("RGB", (200, 150), (row % 256, 90, row // 2)).save(folder / f"{row:03}.png")
    return folder


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    return make_archives.everything(tmp_path_factory.mktemp("archives") / "raw")


def command(name: str, pool: Path, raw: Path, out: Path) -> list[str]:
    meddel = [sys.executable, "-m", "meddel_hf", name]
    return {
        "embed": [*meddel, str(pool), "--encoder", str(ENCODER), "--out", str(out), "--batch-size", "1",
                  "--shard-rows", "8", "--num-workers", "2"],
        "pretrain": [*meddel, str(pool), "--out", str(out), "--preset", "tiny", "--layers", "1", "--image-size", "96",
                     "--samples", "100000", "--batch-size", "8", "--checkpoint-samples", "16", "--num-workers", "2"],
        "build": [*meddel, str(raw), "--out", str(out), "--workers", "2", "--fps", "20"],
    }[name]  # fmt: skip


BEGUN = {"embed": "shard-*.json", "pretrain": "checkpoints/checkpoint-*", "build": ".build/*/*/*.json"}


# benchmarks/kills.py goes through all commands and signals, at moments of chance.
@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("embed", signal.SIGKILL),
        pytest.param("embed", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("pretrain", signal.SIGKILL, marks=pytest.mark.slow),
        ("build", signal.SIGTERM),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)  # fmt: skip
def test_nobody_outlives_a_command(name, sign, pool, raw, tmp_path):
    """The signal goes to the command alone, as from a scheduler or a system that is short of memory."""
    out, env = tmp_path / "out", {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command(name, pool, raw, out), env=env, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    ) as process:
        soon(lambda: process.poll() is not None or bool(list(out.glob(BEGUN[name]))))
        assert process.poll() is None, process.stderr.read()
        workers = children(process.pid)
        process.send_signal(sign)
        process.wait(30)
        still = left(workers)
        told = process.stderr.read()
    assert process.returncode == (-sign if sign == signal.SIGKILL else 128 + sign), told
    assert len(workers) >= 2
    assert still == []
    assert "Traceback" not in told
    if sign != signal.SIGKILL:
        assert told.splitlines()[-1].startswith("terminated: " if sign == signal.SIGTERM else "interrupted: ")
        assert not list(out.rglob(".*.part"))
    assert not (out / "manifest.json").exists()

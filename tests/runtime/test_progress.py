"""Bars on a terminal, as the real commands draw them, and none with --quiet."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import datasets
import pytest
from datasets import Dataset, Features, Image, Value
from huggingface_hub import utils as hub
from make_archives import picture
from small_benchmark import make_data, plan_of, written
from tiny import textured, tiny_encoder

from meddel_hf.cli import main
from meddel_hf.runtime.progress import Progress, no_bars, tqdm


def on_a_terminal(*line: str | Path, cache: Path) -> str:
    """All that a command writes on its terminal; nothing of its data is in any cache."""
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(cache)}
    process = subprocess.Popen(
        [sys.executable, "-m", "meddel_hf", *map(str, line)], stdin=terminal, stdout=terminal, stderr=terminal, env=env
    )
    os.close(terminal)
    parts = []
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # nobody has the other end open any more
            break
        if not part:
            break
        parts.append(part)
    os.close(master)
    text = b"".join(parts).decode("utf-8", "replace")
    assert process.wait(60) in (0, 3), text
    return text.replace("\r\n", "\n")


def without_bars(text: str) -> bool:
    """A bar goes back to the beginning of its line."""
    return "\r" not in text and "it/s" not in text and "%|" not in text


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    """Frames in a Parquet file, which datasets turns into its own format when it reads them first."""
    folder = tmp_path_factory.mktemp("frames")
    features = Features({"id": Value("string"), "image": Image()})
    data = Dataset.from_dict({"id": [f"f{row}" for row in range(6)], "image": [textured(row) for row in range(6)]},
                             features=features)  # fmt: skip
    (folder / "pool").mkdir()
    data.to_parquet(folder / "pool" / "train.parquet")
    tiny_encoder(folder / "encoder")
    return folder


@pytest.mark.slow
def test_a_quiet_command_draws_no_bar_and_another_does(pool, tmp_path):
    line = ["embed", pool / "pool", "--encoder", pool / "encoder", "--precision", "float32"]
    usual = on_a_terminal(*line, "--out", tmp_path / "a", cache=tmp_path / "one")
    assert not without_bars(usual)
    quiet = on_a_terminal(*line, "--out", tmp_path / "b", "--quiet", cache=tmp_path / "two")
    assert without_bars(quiet), quiet
    assert "Generating" not in quiet
    recipe = ["--preset", "tiny", "--layers", "1", "--image-size", "24", "--patch-size", "8", "--samples", "8"]
    line = ["pretrain", pool / "pool", *recipe, "--batch-size", "4", "--precision", "float32", "--quiet"]
    quiet = on_a_terminal(*line, "--out", tmp_path / "c", cache=tmp_path / "three")
    assert without_bars(quiet), quiet


@pytest.mark.slow
def test_a_quiet_benchmark_draws_no_bar_where_it_makes_pools(tmp_path):
    data = make_data(tmp_path)
    for row in range(100, 190):  # near-copies are made of 60 frames
        picture(row).resize((40, 32)).save(data / "frames" / "pool" / "dark" / f"{row}.png")
    plan = plan_of(data, redundancy=[0.7], seeds=1, arms=[], retentions=[1.0])
    del plan["embedding"]
    path = written(tmp_path / "plan.yaml", plan)
    quiet = on_a_terminal("benchmark", "run", path, "--out", tmp_path / "runs", "--gate-only", "--quiet",
                          cache=tmp_path / "cache")  # fmt: skip
    assert list((tmp_path / "runs" / "pools").iterdir())
    assert without_bars(quiet), quiet
    assert "Creating parquet" not in quiet


def test_bars_of_the_libraries_are_as_they_were_afterwards(pool, tmp_path, capsys):
    for disable, enable in ((datasets.disable_progress_bars, datasets.enable_progress_bars),
                            (hub.disable_progress_bars, hub.enable_progress_bars)):  # fmt: skip
        disable()
        with no_bars():
            pass
        assert datasets.are_progress_bars_disabled() or hub.are_progress_bars_disabled()
        enable()
    line = ["embed", pool / "pool", "--encoder", pool / "encoder", "--quiet", "--out", tmp_path / "e"]
    assert main(list(map(str, line))) == 0
    assert not datasets.are_progress_bars_disabled()
    assert not hub.are_progress_bars_disabled()
    with tqdm(total=2) as bar:
        assert not bar.disable


def test_no_bar_of_ours_is_drawn_inside_either(capsys):
    with no_bars(), tqdm(total=2) as bar, Progress(shown=True) as progress:
        progress.begin("counting", 2, "frames")
        progress.update()
        bar.update()
    assert capsys.readouterr().err == ""

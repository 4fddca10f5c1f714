"""A selector of another package, word for word as the how-to has it, installed and chosen by its name."""

from __future__ import annotations

import os
import shlex
import tomllib
from pathlib import Path

import numpy as np
import oracle
import pytest
import yaml
from datasets import Dataset
from fork_server import ForkServer
from pages import blocks
from stores import stored

from meddel_hf import EmbeddingStore, Selection

PAGE = blocks("how-to/my-own-selector.md")


def the(language: str) -> str:
    (found,) = (block.text for block in PAGE if block.language == language)
    return found


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The page's package as pip leaves it: its module, and its entry points beside it."""
    project = tomllib.loads(the("toml"))
    name, version = project["project"]["name"], project["project"]["version"]
    ((group, points),) = project["project"]["entry-points"].items()
    (module,) = project["tool"]["setuptools"]["py-modules"]
    site = tmp_path / "site"
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()))
    (site / f"{module}.py").write_text(the("python"))
    return site


def test_the_selector_of_the_page_is_chosen_by_its_name(tmp_path, installed, monkeypatch):
    ids = [f"exam-17/{100 + row:06d}" for row in range(30)]
    vectors = oracle.clumps(30, 6, seed=2, spread=0.4)
    stored(tmp_path / "embeddings", Dataset.from_dict({"id": ids}), vectors)
    path = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    commands = [shlex.split(line[2:]) for line in the("console").splitlines()]
    server = ForkServer(env)
    done = [server.run(["-m", "meddel_hf", *arguments], tmp_path) for program, *arguments in commands]
    typed = ["select", "embeddings", "--selector", "far-first", "--retention", "0.1", "--option", "nearest=maybe"]
    refused = server.run(["-m", "meddel_hf", *typed, "--out", "x"], tmp_path)
    server.close()
    assert [each.returncode for each in done] == [0] * len(commands)
    said = [each.stdout for each in done]
    assert "exam-17/000120 is " in said[1]

    store = EmbeddingStore.load(tmp_path / "embeddings")
    toward = store.embeddings @ store.embeddings.mean(axis=0)
    nearest = {store.pool_ids[row] for row in store.rows[np.argsort(toward)[-3:]]}
    selection = Selection.load(tmp_path / "nearest")
    assert set(selection.kept) == nearest
    assert selection.summary.not_selected == 24
    assert selection.settings["nearest"] is True

    assert (refused.returncode, refused.stderr) == (2, "error: nearest must be true or false, got 'maybe'\n")

    monkeypatch.syspath_prepend(str(installed))
    from meddel_hf.selectors.registry import make

    arms = yaml.safe_load(the("yaml"))["arms"]
    kept = {arm["label"]: make(arm["selector"], retention=0.1, **arm.get("options", {})).select(store) for arm in arms}
    assert set(kept["nearest first"].kept) == nearest
    farthest = {store.pool_ids[row] for row in store.rows[np.argsort(toward)[:3]]}
    assert set(kept["far first"].kept) == farthest

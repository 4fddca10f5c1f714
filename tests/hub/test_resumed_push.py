"""A push that is killed: nothing of it is seen, and the next one goes on where it was."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import HubSession

from meddel_hf.selectors import Random

SHARDS, ROWS = 8, 2_000


def dataset(folder: Path) -> Path:
    """A folder as `meddel build` writes one: shards that do not compress, and a card."""
    rng = np.random.default_rng(0)
    (folder / "data").mkdir(parents=True)
    for shard in range(SHARDS):
        table = pa.table({"id": [f"{shard}/{row}" for row in range(ROWS)], "x": rng.random(ROWS)})
        pq.write_table(table, folder / "data" / f"train-{shard:05}-of-{SHARDS:05}.parquet")
    (folder / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: data/*.parquet\n---\n")
    return folder


def sent(hub: HubSession) -> Counter[str]:
    """Contents that were sent, and how often."""
    return Counter(name for request in hub.requests if (name := request.removeprefix("PUT /lfs/")) != request)


def push(folder: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "meddel_hf", "push", str(folder), "user/frames", *more]


@pytest.mark.parametrize("more", [pytest.param((), marks=pytest.mark.slow), ("--strip-metadata",)])
def test_a_push_that_is_killed_goes_on_where_it_was(hub, tmp_path, more):
    folder = dataset(tmp_path / "frames")
    hub.server.delays["PUT /lfs/"] = 0.2
    with subprocess.Popen(push(folder, *more), cwd=hub.home, env=hub.env, stderr=subprocess.DEVNULL) as first:
        while len(sent(hub)) < 4:
            assert first.poll() is None
            time.sleep(0.02)
        first.kill()
    time.sleep(0.2 * SHARDS)  # what was on its way
    assert hub.files("user/frames", "dataset") == [".gitattributes"], "half a push can be seen"
    before = {path.name for path in (hub.root / "blobs").iterdir()}
    assert 3 <= len(before) < SHARDS
    hub.server.delays.clear()
    hub.server.requests.clear()
    hub.call(push(folder, *more))
    assert not before & set(sent(hub)), "what was there was sent again"
    assert set(sent(hub).values()) == {1}
    there = hub.files("user/frames", "dataset")
    assert len([name for name in there if name.startswith("data/")]) == SHARDS
    for name in there:
        if name.startswith("data/"):
            assert hub.read("user/frames", name, "dataset") == (folder / name).read_bytes()
    assert len([request for request in hub.requests if re.match("POST .*/commit/", request)]) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


@pytest.mark.slow
def test_a_lost_connection_is_one_sentence_and_a_selection_goes_on_too(hub, tmp_path):
    vectors = np.random.default_rng(1).standard_normal((400, 8)).astype(np.float32)
    folder = Random(0.5).select(vectors).save(tmp_path / "selection")
    hub.server.refusals["POST .*/commit/"] = 0  # all is sent, and the connection ends before it counts
    lost = subprocess.run(push(folder), cwd=hub.home, env=hub.env, capture_output=True, text=True, timeout=300)
    assert lost.returncode == 2
    assert "the Hub cannot be reached" in lost.stderr
    assert "run the same command again" in lost.stderr
    before = set(sent(hub))
    assert before
    hub.server.refusals.clear()
    hub.server.requests.clear()
    hub.call(push(folder))
    assert not set(sent(hub)), "what was there was sent again"
    assert "rows.parquet" in hub.files("user/frames", "dataset")

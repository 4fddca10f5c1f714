"""One selection by several processes, as it is typed: ranks of a launcher, shards of a job array, killed and resumed.

Each answer is compared with that of one process, byte for byte, and on the way with the oracle's.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import oracle
import pyarrow.parquet as pq
import pytest
from family import children, left, soon
from stores import contents

import meddel_hf.dedup.larger_than_memory as larger
from meddel_hf.cli import main
from meddel_hf.embedding.store import EmbeddingStore, Shard, StoreWriter

SMALL = [sys.executable, str(Path(__file__).parents[1] / "in_small_parts.py"), "select"]
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--main_process_port", "0"]
ROWS = 3000
POOL = ["--selector", "meddel", "--scope", "pool", "--epsilon", "none", "--retention", "0.1", "--engine", "blocks"]
QUESTIONS = {
    "pool, pairs": ["--selector", "meddel", "--scope", "pool", "--epsilon", "none", "--eta", "0.8"],
    "pool, blocks": POOL,
    "clusters, pairs": ["--selector", "meddel", "--retention", "0.1"],
    "clusters, blocks": ["--selector", "meddel", "--retention", "0.1", "--engine", "blocks", "--subtract-mean"],
    "clusters of which one is cut": ["--selector", "meddel", "--eta", "0.8", "--n-clusters", "3", "--epsilon", "none",
                                     "--engine", "blocks"],
    "semdedup": [*POOL, "--rule", "semdedup"],
    "memory, pool": [*POOL[:-2], "--memory", "1.2MB"],
    "memory, clusters": ["--selector", "meddel", "--retention", "0.1", "--memory", "2MB", "--subtract-mean"],
    "dedup": ["--eta", "0.8", "--retention", "0.05"],
    "dedup, memory": ["--eta", "0.8", "--retention", "0.05", "--memory", "1.5MB"],
    "dedup, cover": ["--eta", "0.8", "--retention", "0.05", "--then", "cover"],
    "many iterations": ["--selector", "meddel", "--eta", "0.7", "--max-iterations", "3"],
    "random": ["--selector", "random", "--retention", "0.1"],
    "typiclust": ["--selector", "typiclust", "--retention", "0.05"],
}  # fmt: skip


def stored(folder: Path, x: np.ndarray) -> Path:
    writer = StoreWriter.begin(folder, {"encoder": "a", "pool": None, "revision": None}, {"pool": "p"})
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    for index, start in enumerate(range(0, len(x), 1000)):
        part = x[start : start + 1000]
        ids = [f"f/{row}" for row in range(start, start + len(part))]
        writer.write(Shard(index, start, ids, [None] * len(part), part))
    writer.finish(dim=x.shape[1], row_ids=False)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return stored(tmp_path_factory.mktemp("together") / "store", oracle.clumps(ROWS, 24, seed=1))


@pytest.fixture(scope="module")
def expected(store, tmp_path_factory):
    """Question -> what one process writes, name -> bytes."""
    known: dict[str, dict[str, bytes]] = {}

    def of(question: str) -> dict[str, bytes]:
        if question not in known:
            out = tmp_path_factory.mktemp("alone") / "out"
            typed(store, question, out)
            known[question] = contents(out)
        return known[question]

    return of


def command(store: Path, question: str, out: Path, *more: str) -> list[str]:
    return [str(store), "--no-pictures", *QUESTIONS[question], "--out", str(out), *more]


def begin(line: list[str], **env: str) -> subprocess.Popen:
    env = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    return subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen) -> str:
    """What it printed, once it has ended well."""
    out, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    return out + told


def typed(store: Path, question: str, out: Path, *more: str) -> str:
    return ended(begin([*SMALL, *command(store, question, out, *more)]))


def shards(store: Path, question: str, out: Path, of: int, **env: str) -> list[subprocess.Popen]:
    more = [("--shard", f"{index}/{of}") for index in range(1, of + 1)]
    return [begin([*SMALL, *command(store, question, out, *each)], **env) for each in more]


def ranks(store: Path, question: str, out: Path, of: int, **env: str) -> subprocess.Popen:
    return begin([*LAUNCH, "--num_processes", str(of), *SMALL[1:], *command(store, question, out)], **env)


def parts_of(out: Path) -> set[str]:
    """Finished parts that stand in the folder."""
    folder = out.with_name(out.name + ".parts")
    return {f"{path.parent.name}/{path.name}" for path in folder.glob("*/*") if not path.name.startswith(".")}


def only(out: Path) -> bool:
    """Whether nothing but the selection is left."""
    return [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize("question", ["clusters, pairs", pytest.param("pool, blocks", marks=pytest.mark.slow)])
def test_shards_write_what_one_process_writes(question, store, expected, tmp_path, capsys):
    out = tmp_path / "out"
    told = [ended(one) for one in shards(store, question, out, 3)]
    assert contents(out) == expected(question)
    assert only(out)
    assert sum(f"wrote {out}/rows.parquet" in each for each in told) == 1
    for other in (each for each in told if "wrote " not in each):  # a late one finds nothing to do
        assert f"{out} was written by another process; this one did " in other or f"{out} holds this selection" in other
    assert main(["select", *command(store, question, out, "--shard", "3/3")]) == 0
    assert capsys.readouterr().err.endswith(f"{out} holds this selection already: nothing was left to do\n")
    assert contents(out) == expected(question)
    assert only(out)


def test_the_answer_is_the_oracles(store, expected, tmp_path):
    """Pool scope at an eta, in float64 and plain loops: as far from the code as can be."""
    table = pq.read_table(pa_of(expected("pool, pairs")["rows.parquet"]))
    x = EmbeddingStore.load(store).embeddings
    unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    to_mean = oracle.cosines(x, unit.sum(axis=0)[None])[:, 0]
    order = np.argsort(-to_mean, kind="stable")
    kept = oracle.greedy(oracle.cosines(x), [order], 0.8)
    assert table["kept"].to_pylist() == kept.tolist()


def pa_of(content: bytes):
    import pyarrow as pa

    return pa.BufferReader(content)


@pytest.mark.parametrize("of", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_ranks_write_what_one_process_writes(of, store, expected, tmp_path):
    out, made = tmp_path / "runs" / "out", tmp_path / "made"
    told = ended(ranks(store, "pool, blocks", out, of, MADE=str(made)))
    noted = made.read_text().splitlines()
    assert sorted(line for line in noted if line.startswith("rank")) == [f"rank {rank} of {of}" for rank in range(of)]
    assert contents(out) == expected("pool, blocks")
    assert only(out)
    assert told.count("\nkept ") == told.count(f"wrote {out}/rows.parquet") == 1, "one of them speaks"
    assert len(noted) > 100 + of


@pytest.mark.slow
def test_ranks_by_the_door_that_the_docs_name(store, tmp_path):
    """Nothing made smaller: 6,000 x 256 is two parts, which two processes share."""
    big = stored(tmp_path / "store", oracle.clumps(6000, 256, seed=2))
    line = [str(big), "--no-pictures", "--eta", "0.8", "--out"]
    assert main(["select", *line, str(tmp_path / "alone")]) == 0
    launch = [*LAUNCH, "--num_processes", "2", "-m", "meddel_hf", "select"]
    process = begin([*launch, *line, str(tmp_path / "runs" / "out")])
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert contents(tmp_path / "runs" / "out") == contents(tmp_path / "alone")
    assert only(tmp_path / "runs" / "out")
    assert "note: this process did " in told


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_is_answered_alike(question, store, expected, tmp_path):
    out = tmp_path / "runs" / "out"
    for one in shards(store, question, out, 3):
        ended(one)
    assert contents(out) == expected(question)
    assert only(out)
    ended(ranks(store, question, tmp_path / "ranks" / "out", 2))
    assert contents(tmp_path / "ranks" / "out") == expected(question)


@pytest.mark.slow
def test_a_killed_shard_costs_its_unfinished_parts_only(store, expected, tmp_path):
    out, made = tmp_path / "runs" / "out", tmp_path / "made"
    first, second = shards(store, "pool, blocks", out, 2, PAUSE="0.02")
    soon(lambda: len(parts_of(out)) >= 15)
    first.kill()
    first.communicate()
    soon(lambda: len(parts_of(out)) >= 30)
    second.kill()
    second.communicate()
    there = parts_of(out)
    assert not (out / "manifest.json").exists()
    told = ended(begin([*SMALL, *command(store, "pool, blocks", out)], MADE=str(made)))  # plain, without --shard
    assert f"wrote {out}/rows.parquet" in told
    again = set(made.read_text().splitlines())
    assert len(again) > 20
    assert not again & there, "what was finished is not done again"
    assert contents(out) == expected("pool, blocks")
    assert only(out)


@pytest.mark.slow
def test_a_killed_rank_ends_the_run_and_the_next_one_goes_on(store, expected, tmp_path):
    out, made = tmp_path / "runs" / "out", tmp_path / "made"
    launcher = ranks(store, "clusters, blocks", out, 2, PAUSE="0.02")
    soon(lambda: len(parts_of(out)) >= 15)
    family = children(launcher.pid)
    processes = [one for one in family if "RANK" in one.environ()]
    assert len(processes) == 2
    processes[1].kill()
    launcher.communicate(timeout=60)
    assert launcher.returncode != 0
    assert left(family) == []
    there = parts_of(out)
    assert not (out / "manifest.json").exists()
    ended(ranks(store, "clusters, blocks", out, 2, MADE=str(made)))
    assert not set(made.read_text().splitlines()) & there
    assert contents(out) == expected("clusters, blocks")
    assert only(out)


def test_parts_of_another_question_or_store_are_not_taken(store, tmp_path, capsys):
    out = tmp_path / "runs" / "out"
    begun = begin([*SMALL, *command(store, "pool, blocks", out, "--shard", "1/2")], PAUSE="0.05")
    soon(lambda: len(parts_of(out)) >= 3)
    begun.kill()
    begun.communicate()
    there = parts_of(out)
    other = stored(tmp_path / "other", oracle.clumps(ROWS, 24, seed=9))
    line = ["select", *command(store, "pool, blocks", out)]
    for changed, what in (
        (["0.2" if word == "0.1" else word for word in line], "another retention (0.1, now 0.2)"),
        ([str(other) if word == str(store) else word for word in line], "another embeddings ("),
        ([*line, "--seed", "3"], "another seed (None, now 3)"),
        ([*line, "--memory", "4GB"], "another memory ('auto', now 4000000000)"),
    ):
        for more in ([], ["--shard", "2/2"]):
            assert main([*changed, *more]) == 2
            told = capsys.readouterr().err
            assert f"error: {out}.parts was begun with {what}" in told
            assert "choose another --out, or delete this folder\n" in told
            assert told.count("\n") == 1
    assert parts_of(out) == there
    assert not out.exists()


@pytest.mark.parametrize("shard", ["3/2", "0/2", "half", "1/"])
def test_what_is_no_shard_is_one_sentence(shard, store, tmp_path, capsys):
    assert main(["select", *command(store, "random", tmp_path / "out", "--shard", shard)]) == 2
    assert capsys.readouterr().err == f"error: a shard is i/n with 1 <= i <= n, such as 2/8; got {shard!r}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_shard_under_a_launcher_is_refused(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main(["select", *command(store, "random", tmp_path / "out", "--shard", "1/2")]) == 2
    told = "error: --shard is for jobs of their own, and this is one of 2 processes of a launcher: leave it out\n"
    assert capsys.readouterr().err == told


def test_processes_that_share_more_than_is_free_are_told_to_name_a_memory(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(larger, "within_reach_of", lambda share: 10**6)
    line = ["select", *command(store, "dedup", tmp_path / "out", "--shard", "1/2")]
    assert main(line) == 0
    told = capsys.readouterr().err
    assert "3,000 embeddings of 24 numbers may need" in told
    assert "in each process: give all of them the same --memory, such as 4GB" in told
    assert (tmp_path / "out" / "pairs.parquet").exists()


def test_an_error_leaves_no_folder_that_stands_in_the_way(store, tmp_path, capsys):
    line = ["select", *command(store, "random", tmp_path / "out", "--shard", "1/2")]
    wrong = ["meddel" if word == "random" else "0.00001" if word == "0.1" else word for word in line]
    assert main(wrong) == 2
    assert "is no row at all" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert main(line) == 0
    printed = capsys.readouterr()
    assert "note: nothing of this selection takes long enough to be shared: every process did all of it" in printed.err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_selection_says_what_was_asked_however_many_processes_made_it(store, tmp_path):
    for out, more in (("a", []), ("b", ["--shard", "2/3"])):
        assert main(["select", *command(store, "random", tmp_path / out, *more)]) == 0
    first, second = (json.loads((tmp_path / out / "manifest.json").read_text()) for out in "ab")
    assert first["details"]["asked"] == second["details"]["asked"]
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert main(["select", *command(store, "random", tmp_path / "a", "--seed", "1")]) == 0
    assert json.loads((tmp_path / "a" / "manifest.json").read_text())["details"]["asked"] != first["details"]["asked"]


@pytest.mark.slow
@pytest.mark.parametrize("question", ["pool, blocks", "clusters, pairs", "dedup, memory", "dedup"])
def test_killed_at_any_moment_and_resumed_it_is_the_same(question, store, expected, tmp_path):
    """Shards that are killed one after another at random moments, and begun again, until nothing is left to do."""
    moments, out = random.Random(question), tmp_path / "runs" / "out"
    wanted = expected(question)
    for _ in range(13):
        running = shards(store, question, out, 2)
        victim = moments.randrange(2)
        time.sleep(moments.uniform(1.5, 6))  # three to import, three to work
        running[victim].kill()
        for process in running:
            process.communicate(timeout=300)
        ended(begin([*SMALL, *command(store, question, out, "--shard", f"{victim + 1}/2")]))
        soon(lambda: (out / "manifest.json").is_file(), 120)
        soon(lambda: only(out), 60)
        assert contents(out) == wanted
        shutil.rmtree(out)

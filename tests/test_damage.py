"""Damage in what a step wrote is told by whoever reads it, in one sentence, or changes nothing."""

from __future__ import annotations

import pytest
from damage import DIM, Found, fuzz, outputs, store

from meddel_hf.cli import main

FLIPS = 12


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Found:
    return fuzz(outputs(tmp_path_factory.mktemp("outputs")), FLIPS, seed=8)


def test_no_damage_changes_an_answer_or_ends_in_a_traceback(found):
    assert not found.faults, "\n".join(found.faults)


def test_damage_was_done(found):
    """A reader that reads nothing would tell nothing. What is unfinished is written anew, to the same bytes."""
    for kind, counts in found.counts.items():
        good, other = ("harmless", "told") if kind == "unfinished store" else ("told", "harmless")
        assert counts[good] > counts[other], f"{kind}: {counts}"


@pytest.mark.parametrize("command", ["select", "sweep"])
def test_a_damaged_store_ends_a_command_unless_it_is_trusted(command, tmp_path, capsys):
    store(tmp_path / "store").finish(dim=DIM, row_ids=False)
    path = tmp_path / "store" / "shard-00001.safetensors"
    data = bytearray(path.read_bytes())
    data[-500] ^= 1
    path.write_bytes(data)
    more = ["--retention", "0.3", "--out", str(tmp_path / "out"), "--no-pictures"] if command == "select" else []
    parts = [command, str(tmp_path / "store"), "--epsilon", "none", *more]
    assert main(parts) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path} changed since it was written")
    assert line.endswith(f"copy it again, or delete {path.parent} and embed again")
    assert not (tmp_path / "out").exists()
    assert main([*parts, "--trust"]) == 0

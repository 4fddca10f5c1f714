"""Manifests: what they record, what becomes of damaged ones, and where a step may write."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meddel_hf.errors import IncompleteStore, InvalidArgument, MedDELError, Mismatch
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest, check_target, step_folder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "one").write_bytes(b"one" * 1000)
    (tmp_path / "two").write_bytes(b"")
    manifest = Manifest("selection", "f00", {"eta": 0.5, "pair": (1, 2)}, {"pool": "p"}, {"per": {2: "b", 10: "a"}})
    manifest.write(tmp_path, ["two", "data/one"])
    return tmp_path


def test_read_as_written(folder):
    found = Manifest.read(folder, "selection")
    assert found.arguments == {"eta": 0.5, "pair": [1, 2]}
    assert {name: facts["bytes"] for name, facts in found.files.items()} == {"data/one": 3000, "two": 0}
    found.check(folder)


def test_every_flipped_bit_of_a_manifest_is_told(folder):
    """But for those that leave the content as it is, in the white space."""
    path = folder / MANIFEST
    sound, content = path.read_bytes(), Manifest.read(folder, "selection")
    draw = random.Random(0)
    told = 0
    for _ in range(300):
        damaged = bytearray(sound)
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        found = read_or_told(folder)
        assert found == content or (isinstance(found, str) and str(path) in found)
        told += isinstance(found, str)
    assert told > 200


def read_or_told(folder):
    try:
        return Manifest.read(folder, "selection")
    except IncompleteStore as error:
        return str(error)


@pytest.mark.parametrize("text", ["", "[", "[]", "3", '{"step": "selection"}', "[" * 100_000, '{"step": []}', "\x00"])
def test_what_is_no_manifest_is_one_sentence(text, folder):
    (folder / MANIFEST).write_text(text)
    with pytest.raises(IncompleteStore, match="damaged") as told:
        Manifest.read(folder, "selection")
    assert "\n" not in str(told.value)


def test_a_manifest_without_a_checksum_is_an_older_one(folder):
    facts = json.loads((folder / MANIFEST).read_text())
    for name in ("checksum", "files"):
        del facts[name]
    (folder / MANIFEST).write_text(json.dumps(facts))
    (folder / "two").write_bytes(b"changed")
    Manifest.read(folder, "selection").check(folder)


@pytest.mark.parametrize("change", ["flipped", "cut", "gone", "a folder"])
def test_a_damaged_file_is_named(change, folder):
    path = folder / "data" / "one"
    data = path.read_bytes()
    path.unlink()
    if change == "a folder":
        path.mkdir()
    elif change != "gone":
        path.write_bytes(data[:-1] if change == "cut" else data[:-1] + b"E")
    manifest = Manifest.read(folder, "selection")
    with pytest.raises(IncompleteStore, match="data/one"):
        manifest.check(folder)
    manifest.check(folder, ["two", "not recorded"])


def test_a_step_writes_only_where_nothing_else_stands(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    assert check_target(other / "new", "report") == other / "new"
    assert check_target(other, "report") == other
    with pytest.raises(Mismatch, match="step 'selection', expected 'report'"):
        check_target(folder, "report")
    (other / "thesis.txt").write_text("precious")
    with pytest.raises(InvalidArgument, match="is not empty and holds no report"):
        check_target(other, "report")
    with pytest.raises(InvalidArgument, match="is a file"):
        check_target(other / "thesis.txt", "report")
    (folder / MANIFEST).write_text("{")
    with pytest.raises(MedDELError):
        check_target(folder, "selection")


def test_a_step_replaces_its_own_files_and_leaves_others(folder):
    (folder / "notes.txt").write_text("mine")
    with step_folder(folder, "selection") as aside:
        (aside / "three").write_text("3")
        Manifest("selection", "f01").write(aside, ["three"])
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, "notes.txt", "three"]
    assert Manifest.read(folder, "selection").fingerprint == "f01"


def test_of_a_version_that_recorded_nothing_its_own_files_go_and_others_stay(tmp_path):
    for name in ("rows.parquet", "pairs.parquet", "notes.txt", "data/mine.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("older")
    Manifest("selection", "f00").write(tmp_path)
    with step_folder(tmp_path, "selection") as aside:
        (aside / "rows.parquet").write_text("newer")
        Manifest("selection", "f01").write(aside, ["rows.parquet"])
    there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert there == {MANIFEST, "rows.parquet", "notes.txt", "data/mine.parquet"}


KILLED = """
import os, signal, sys
from pathlib import Path
from meddel_hf.runtime import files
from meddel_hf.runtime.manifest import Manifest, step_folder

replace, renames = os.replace, []
def counted(source, target):
    if Path(target).parent == Path(sys.argv[1]):
        if len(renames) == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        renames.append(target)
    replace(source, target)
files.os.replace = counted
with step_folder(sys.argv[1], "selection") as aside:
    for name in ("four", "three"):
        (aside / name).write_text("new")
    Manifest("selection", "f01").write(aside, ["four", "three"])
"""


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_killed_while_it_replaces_an_older_one_the_next_run_tells_its_files_from_others(renames, folder):
    """Somebody's file that lay there before: the folder is refused, and nothing is lost; without it all is well."""
    (folder / "notes.txt").write_text("mine")
    died = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(renames)], check=False)
    assert died.returncode == -signal.SIGKILL
    assert not (folder / MANIFEST).exists()
    with pytest.raises(InvalidArgument, match="holds no selection: name another folder"):
        check_target(folder, "selection")
    assert (folder / "notes.txt").read_text() == "mine"
    (folder / "notes.txt").unlink()
    with step_folder(folder, "selection") as aside:
        (aside / "five").write_text("5")
        Manifest("selection", "f02").write(aside, ["five"])
    assert sorted(path.name for path in folder.iterdir()) == ["five", MANIFEST]


def test_a_folder_that_is_not_there_is_told_from_one_that_is_not_finished(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("embeddings", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "embeding").touch()  # a file, which no step wrote
    for folder, step, said in (
        ("embedding", "embeddings", "embedding does not exist: expected a finished embeddings folder; did you mean "
                                    "'embeddings'?"),
        ("no/where", None, "no/where does not exist: expected the folder of a finished step"),
        ("other", "embeddings", "other has no manifest.json: it is not a finished embeddings folder, "
                                "which `meddel embed` writes"),
    ):  # fmt: skip
        with pytest.raises(IncompleteStore) as told:
            Manifest.read(Path(folder), step)
        assert str(told.value) == said

"""--force: refused before the work without it, replaced with it, and nothing lost where the work fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import textured, tiny_encoder

from meddel_hf.cli import main
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.making_room import room_at
from meddel_hf.runtime.manifest import Manifest


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    for number in range(8):
        textured(number // 2).save(tmp_path / "frames" / f"{number}.png")
    tiny_encoder(tmp_path / "encoder")
    assert embed("mean") == 0
    return tmp_path


def embed(pooling: str, *more: str, out: str = "store") -> int:
    line = ["embed", "frames", "--encoder", "encoder", "--out", out, "--pooling", pooling, "--no-calibrate", "--quiet"]
    return main([*line, *more])


def select(out: str, *more: str) -> int:
    line = ["select", "store", "--selector", "random", "--retention", "50%", "--no-pictures", "--out", out]
    return main([*line, *more])


def left() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def test_a_run_with_other_arguments(work, capsys):
    before = Manifest.read(Path("store")).fingerprint
    assert embed("cls") == 2
    said = capsys.readouterr().err
    assert "another pooling ('mean', now 'cls')" in said
    assert said.strip().endswith("--force replaces it")
    assert Manifest.read(Path("store")).fingerprint == before
    assert embed("cls", "--force") == 0
    assert Manifest.read(Path("store")).arguments["pooling"] == "cls"
    assert embed("cls", "--force") == 0, "nothing is in the way"
    assert left() == ["encoder", "frames", "store"]


def test_another_step_and_its_own_input(work, capsys):
    assert embed("mean", out="other") == 0
    assert select("other") == 2
    assert (
        "other is a folder of step 'embeddings', expected 'selection'; --force replaces it" in capsys.readouterr().err
    )
    assert select("other", "--force") == 0
    assert Manifest.read(Path("other")).step == "selection"
    assert select("store", "--force") == 2, "it cannot be written in the place of what it reads"
    assert Manifest.read(Path("store")).step == "embeddings"
    assert left() == ["encoder", "frames", "other", "store"]


def test_a_failure_leaves_what_was_there(work, capsys):
    assert embed("mean", out="other") == 0
    assert select("other", "--force", "--option", "nothing=1") == 2
    assert "no option 'nothing'" in capsys.readouterr().err
    assert Manifest.read(Path("other")).step == "embeddings"
    assert left() == ["encoder", "frames", "other", "store"]


def test_what_meddel_did_not_write_is_never_replaced(work, capsys):
    Path("thesis").mkdir()
    Path("thesis/chapter.tex").write_text("years of work")
    assert select("thesis", "--force") == 2
    assert "holds no selection: name another folder" in capsys.readouterr().err
    Path("store/notes.txt").write_text("mine")
    assert embed("cls", "--force") == 2
    assert "also holds notes.txt, which meddel did not write: take it away" in capsys.readouterr().err
    assert Path("store/notes.txt").read_text() == "mine"
    assert Path("thesis/chapter.tex").read_text() == "years of work"


def test_several_processes_are_told_to_do_it_first(work, capsys, monkeypatch):
    assert select("selection") == 0
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["filter", "selection", "frames", "--out", "store", "--force"]) == 2
    assert "--force is for one process" in capsys.readouterr().err


@pytest.mark.parametrize("begun", [False, True])
def test_a_folder_comes_back_unless_writing_has_begun(work, begun):
    def fail() -> None:
        assert not Path("store").exists()
        if begun:
            Path("store").mkdir()
            Path("store/begun.json").write_text("{}")
        raise InvalidArgument("no")

    with pytest.raises(InvalidArgument), room_at(Path("store")):
        fail()
    assert Path("store/manifest.json").exists() != begun
    assert left() == ["encoder", "frames", "store"]

"""An output that lies among the files that are read is told, whichever command writes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image
from tiny import tiny_encoder

from meddel_hf.cli import main

WARNING = "whose files are read, so that later runs find among them what is written here"


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("apart") / "frames"
    folder.mkdir()
    for number in range(6):
        Image.effect_noise((32, 32), 20 + 10 * number).convert("RGB").save(folder / f"{number}.png")
    tiny_encoder(folder.parent / "encoder")
    return folder


def warnings(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if WARNING in line]


def test_every_command_tells_that_its_output_lies_among_the_files_that_it_reads(frames, capsys):
    apart, inside = frames.parent, frames / "out"
    encoder, store, selection = (str(apart / name) for name in ("encoder", "e", "s"))
    lines = [
        ["embed", str(frames), "--encoder", encoder, "--quiet", "--out", "e"],
        ["select", store, "--out", "s"],
        ["filter", selection, str(frames), "--out", "f"],
        ["pool", str(frames), "--quiet", "--out", "p"],
        ["audit", store, str(frames), "--out", "a"],
    ]
    for *line, name in lines:
        assert main([*line, str(apart / name)]) in (0, 1)
        assert warnings(capsys.readouterr().err) == [], line
    for *line, name in lines:
        assert main([*line, str(inside / name)]) in (0, 1)
        (told,) = warnings(capsys.readouterr().err)
        assert told.startswith(f"warning: {inside / name} lies in {frames}, "), line
        assert (inside / name / "manifest.json").is_file()
        shutil.rmtree(inside)  # or else its pictures are found as frames


def test_a_folder_beside_or_of_that_name_is_apart(frames, capsys):
    assert (
        main(["pool", str(frames), "--include", "?.png", "--quiet", "--out", str(frames.parent / "frames-pool")]) == 0
    )
    assert warnings(capsys.readouterr().err) == []

"""Slides as tiles: the pixels that another reader gives, tissue alone where asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from make_own_files import slide
from own_pools import pool
from PIL import Image

from meddel_hf.errors import InvalidDataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    slide(tmp_path / "files" / "s.tif")
    return tmp_path / "files"


@pytest.mark.parametrize("level", [0, 1])
def test_tiles_are_what_tifffile_reads(level, folder, tmp_path):
    _, rows = pool(folder, tmp_path / "pool", tile=64, level=level, tissue=0)
    with tifffile.TiffFile(folder / "s.tif") as file:
        theirs = file.series[0].levels[level].asarray()
    side = len(theirs) // 64
    assert len(rows) == side**2
    for top in range(0, 64 * side, 64):
        for left in range(0, 64 * side, 64):
            row = rows[f"s/l{level}t64/x{left:06}y{top:06}"]
            tile = np.asarray(row["image"]).astype(int)
            assert np.abs(tile - theirs[top : top + 64, left : left + 64]).mean() < 3  # stored as JPEG
            assert (row["width"], row["height"], row["group"], row["frame"]) == (64, 64, "s", None)


def test_glass_is_left_out(folder, tmp_path):
    made, rows = pool(folder, tmp_path / "pool", tile=64)
    assert sorted({int(id.partition("/x")[2][:6]) for id in rows}) == [0, 64, 128, 192]
    assert len(rows) == 4 * 8
    (remark,) = made.of_kind("remark")
    assert remark.reason == "left out 32 tiles with less tissue than 25% (--tissue)"


def test_a_plain_tiff_stays_a_picture(folder, tmp_path):
    tifffile.imwrite(folder / "plain.tif", np.full((80, 96, 3), 90, np.uint8), photometric="rgb")
    _, rows = pool(folder, tmp_path / "pool", tile=64)
    assert rows["plain"]["image"].size == (96, 80)


def test_without_a_size_of_tiles(folder, tmp_path):
    """A TIFF with levels is a picture then, as it always was; a scanner's file is listed."""
    (folder / "t.svs").write_bytes((folder / "s.tif").read_bytes())
    made, rows = pool(folder, tmp_path / "pool")
    assert list(rows) == ["s"]
    assert rows["s"]["image"].size == (512, 512)
    assert [(p.path, p.reason) for p in made.of_kind("kept out")] == [
        ("t.svs", "a slide, and no size of tiles was chosen: name one with tile (--tile)")
    ]


def test_what_cannot_be_cut_is_listed(folder, tmp_path):
    (folder / "no.svs").write_bytes(b"no slide")
    Image.new("RGB", (8, 8)).save(folder / "p.png")
    made, rows = pool(folder, tmp_path / "pool", tile=64, level=5)
    assert list(rows) == ["p"]
    reasons = {problem.path: problem.reason for problem in made.of_kind("kept out")}
    assert reasons["s.tif"] == "has 3 levels, and level 5 was asked for (--level)"
    assert "no.svs" in reasons
    with pytest.raises(InvalidDataset, match="smaller than a tile of 1024"):
        pool(folder, tmp_path / "two", tile=1024, include="s.tif")

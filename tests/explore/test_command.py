"""`meddel explore` and the page that `meddel select` writes, as they are typed."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from meddel_hf.assets import __name__ as assets
from meddel_hf.cli import main
from meddel_hf.errors import IncompleteStore
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.selectors.by_hand import Overrides

ENCODER = Path(sys.modules[assets].__file__ or "").parent / "encoder"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of frames in two folders, and its embeddings."""
    place = tmp_path_factory.mktemp("explore")
    for row in range(24):
        path = place / "pool" / f"c{row % 2}" / f"{row:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(row // 2).integers(0, 255, (40, 40, 3), np.uint8)
        Image.fromarray(noise).save(path)
    assert main(["embed", str(place / "pool"), "--encoder", str(ENCODER), "--out", str(place / "emb")]) == 0
    return place


def select(folders: Path, out: str, *more: str) -> Path:
    assert main(["select", str(folders / "emb"), "--eta", "0.999", "--out", str(folders / out), *more]) == 0
    return folders / out


def test_select_writes_the_page_and_the_map_unless_told_not_to(folders, browser, capsys):
    selection = select(folders, "s1")
    assert "index.html: all of it, to look at in a browser" in capsys.readouterr().err
    assert {"index.html", "map.parquet"} <= set(Manifest.read(selection).files)
    browser.messages()
    browser.open(selection / "index.html")
    assert browser.js("return document.getElementById('lead').textContent").startswith("12 of 24 frames stay")
    assert browser.js("return window.meddel.pool.columns.map((each) => each.name)") == ["folder"]
    browser.until(lambda: browser.js("return document.querySelector('#cards img')?.naturalWidth === 40"))
    assert browser.messages() == []
    bare = select(folders, "s2", "--no-page")
    assert not (bare / "index.html").exists()
    assert (bare / "retention.png").exists()
    assert not (select(folders, "s3", "--no-pictures") / "index.html").exists()


def test_explore_writes_the_page_where_it_is_wanted(folders, capsys):
    selection = select(folders, "s4", "--no-page")
    assert main(["explore", str(selection), "--no-browser"]) == 0
    said = capsys.readouterr()
    assert f"wrote {selection}/index.html" in said.err
    assert "there is no map: name the embeddings" in said.err
    assert "index.html" in Manifest.read(selection).files
    Manifest.read(selection).check(selection)
    out = folders / "page.html"
    command = ["explore", str(selection), "--no-browser", "--embeddings", str(folders / "emb"), "--out", str(out)]
    assert main(command) == 0
    assert out.stat().st_size > 100_000
    assert capsys.readouterr().err == f"wrote {out}\n"
    assert main([*command, "--port", "8123"]) == 2
    assert "add --serve" in capsys.readouterr().err
    assert main([*command, "--serve"]) == 2
    assert "leave --out away" in capsys.readouterr().err


def test_frames_are_looked_for_where_select_found_them_and_a_page_that_shows_them_stays(folders, tmp_path, capsys):
    shutil.copytree(folders / "pool", tmp_path / "moved")
    selection = select(folders, "s7", "--pool", str(tmp_path / "moved"))
    (selection / "index.html").unlink()
    capsys.readouterr()
    assert main(["explore", str(selection), "--no-browser"]) == 0
    assert "no frames" not in capsys.readouterr().err
    page = (selection / "index.html").read_bytes()
    shutil.rmtree(tmp_path / "moved")
    assert main(["explore", str(selection), "--no-browser"]) == 0
    assert (selection / "index.html").read_bytes() == page
    assert "index.html stays as it is" in capsys.readouterr().err
    out = tmp_path / "page.html"
    assert main(["explore", str(selection), "--no-browser", "--out", str(out)]) == 0
    assert 0 < out.stat().st_size < len(page)


def test_a_new_page_makes_nothing_sound_that_is_damaged(folders, capsys):
    selection = select(folders, "s8")
    sheet = selection / "duplicates.png"
    whole = sheet.read_bytes()
    sheet.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    assert main(["explore", str(selection), "--no-browser"]) == 0
    with pytest.raises(IncompleteStore, match=r"duplicates\.png"):
        Manifest.read(selection).check(selection)
    sheet.unlink()
    assert main(["explore", str(selection), "--no-browser"]) == 0
    assert "error" not in capsys.readouterr().err


def test_frames_that_are_forgotten_leave_no_page_behind(folders, tmp_path):
    assert main(["embed", str(folders / "pool"), "--encoder", str(ENCODER), "--out", str(tmp_path / "emb")]) == 0
    assert main(["select", str(tmp_path / "emb"), "--eta", "0.999", "--out", str(tmp_path / "s")]) == 0
    assert (tmp_path / "s" / "index.html").exists()
    (tmp_path / "ids.txt").write_text("c0/00\n")
    assert main(["forget", str(tmp_path / "ids.txt"), str(tmp_path / "emb"), str(tmp_path / "s")]) == 0
    assert not (tmp_path / "s" / "index.html").exists()
    assert not (tmp_path / "s" / "map.parquet").exists()


def test_marks_go_from_the_page_to_the_server_to_select(folders, browser):
    selection = select(folders, "s5")
    command = [sys.executable, "-m", "meddel_hf", "explore", str(selection), "--serve", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        try:
            browser.open(address)
            browser.js("localStorage.clear(); window.meddel.marks.clear()")
            browser.js("window.meddel.mark(1, 'keep'); window.meddel.mark(4, 'never')")
            browser.js("document.getElementById('save').click()")
            said = browser.until(
                lambda: (
                    browser.js("return document.getElementById('override-command').textContent").count("(2 frames)")
                    and browser.js("return document.getElementById('override-command').textContent")
                )
            )
            with urllib.request.urlopen(address) as answer:
                assert answer.status == 200
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert re.search(r"meddel select … --overrides (\S+)", said)[1] == str(selection / "overrides.parquet")
    marks = Overrides.read(selection / "overrides.parquet")
    assert marks == Overrides({"c0/02"}, {"c0/08"})
    browser.js("localStorage.clear()")
    page = folders / "marked.html"
    assert main(["explore", str(selection), "--no-browser", "--out", str(page)]) == 0
    browser.open(page)  # the next look begins with them
    assert browser.js("return [...window.meddel.marks]") == [[1, "keep"], [4, "never"]]
    after = select(folders, "s6", "--overrides", str(selection / "overrides.parquet"))
    rows = {row["id"]: row for row in pq.read_table(after / "rows.parquet").to_pylist()}
    assert rows["c0/02"]["kept"]
    assert rows["c0/02"]["by_hand"] == "keep"
    assert rows["c0/08"]["reason"] == "set-aside"

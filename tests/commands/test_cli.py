"""The terminal, as a user runs it: real processes, real folders."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from fork_server import alone
from PIL import Image

from meddel_hf.cli import main
from meddel_hf.commands.printing import print_json

COMMANDS = (
    "demo build pool embed advise select explore forget sweep why filter audit pretrain segment probe benchmark report "
    "push normdel install-metric completion"
)
ASSETS = Path(__file__).parents[2] / "meddel_hf" / "assets"


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 readable frames, in groups that look alike, and one damaged file."""
    folder = tmp_path_factory.mktemp("frames")
    for i in range(40):
        image = Image.new("RGB", (64, 48), (20 + 22 * (i // 4), 40, 200 - 18 * (i // 4)))
        image.paste((255, 255, 255), (i // 4 * 5, i // 4 * 3, i // 4 * 5 + 12, i // 4 * 3 + 12 + i % 4))
        (folder / f"video{i // 4}").mkdir(exist_ok=True)
        image.save(folder / f"video{i // 4}" / f"{i:03}.jpg")
    (folder / "video0" / "broken.jpg").write_bytes((folder / "video0" / "000.jpg").read_bytes()[:300])
    return folder


@pytest.fixture(scope="module")
def store(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("work") / "embeddings"
    assert main(["embed", str(frames), "--encoder", str(ASSETS / "encoder"), "--out", str(out), "--quiet"]) == 0
    return out


def test_help_answers_at_once_and_imports_nothing_heavy():
    code = "import sys, meddel_hf.cli as cli\ntry: cli.main(['select', '--help'])\nfinally: print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "--retention" in out
    loaded = set(out.split())
    assert not loaded & {"torch", "numpy", "datasets", "transformers", "pyarrow", "matplotlib", "PIL"}


def test_why_reads_a_selection_without_what_takes_seconds_to_import(store, tmp_path):
    assert main(["select", str(store), "--retention", "0.5", "--out", str(tmp_path / "kept")]) == 0
    code = f"import sys, meddel_hf.cli as cli\ncli.main(['why', {str(tmp_path / 'kept')!r}, '1'])\nprint(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    said, loaded = out.splitlines()
    assert " is " in said
    assert not set(loaded.split()) & {"torch", "datasets", "transformers", "scipy", "matplotlib"}


def test_filter_writes_a_subset_without_importing_torch(store, frames, tmp_path):
    assert main(["select", str(store), "--retention", "0.5", "--out", str(tmp_path / "kept")]) == 0
    asked = ["filter", str(tmp_path / "kept"), str(frames), "--out", str(tmp_path / "subset")]
    code = f"import sys, meddel_hf.cli as cli\ncli.main({asked!r})\nprint('loaded', *sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert (tmp_path / "subset").is_dir()
    assert not set(out.split()) & {"torch", "transformers", "matplotlib"}


@pytest.mark.parametrize("command", COMMANDS.split())
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert "usage: meddel" in capsys.readouterr().out


def test_select_why_filter_from_a_folder_of_images(frames, store, tmp_path, capsys):
    selection, subset = tmp_path / "selection", tmp_path / "subset"
    arguments = ["select", str(store), "--retention", "0.25", "--epsilon", "none", "--scope", "pool", "--subtract-mean"]
    assert main([*arguments, "--out", str(selection)]) == 0
    out = capsys.readouterr().out
    table = pq.read_table(selection / "rows.parquet").to_pylist()
    kept = [row["id"] for row in table if row["kept"]]
    assert len(table) == 41
    assert len(kept) == round(0.25 * 41)
    assert [row["id"] for row in table if row["reason"] == "unreadable"] == ["video0/broken"]
    assert "unreadable" in out
    assert f"kept{len(kept):>24}" in out
    for name in ("retention.png", "duplicates.png"):
        with Image.open(selection / name) as picture:
            assert picture.width > 500

    gone = next(row for row in table if row["reason"] == "near-duplicate")
    assert main(["why", str(selection), gone["id"], "video0/broken"]) == 0
    assert f"{gone['id']} is dropped: near-duplicate of {gone['duplicate_of']}" in capsys.readouterr().out

    assert main(["filter", str(selection), str(frames), "--out", str(subset)]) == 0
    opened = load_dataset(str(subset), split="train", cache_dir=str(tmp_path / "cache"))
    assert opened["id"][:] == kept


def test_words_come_after_the_data_that_was_printed_before():
    code = "from meddel_hf.commands.printing import say; print('data'); say('words'); print('more')"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.stdout.split() == ["data", "words", "more"]


@pytest.mark.parametrize("read", [pytest.param(0, marks=pytest.mark.slow), 1])
@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("select STORE --retention 0.5 --out out --epsilon none", ["out/manifest.json", "out/rows.parquet"]),
        ("sweep STORE --csv out/t.csv", ["out/t.csv"]),
        ("filter SELECTION FRAMES --out out", ["out/manifest.json", "out/README.md"]),
        ("normdel 0.5 --retention 0.1", []),
    ],
)
def test_a_reader_that_leaves_early_costs_no_file(line, files, read, frames, store, tmp_path):
    """As `| head` leaves: the pipe is closed before the command prints, or after its first line."""
    assert main(["select", str(store), "--retention", "0.2", "--out", str(tmp_path / "s"), "--no-pictures"]) == 0
    places = {"STORE": str(store), "FRAMES": str(frames), "SELECTION": str(tmp_path / "s")}
    command = [sys.executable, "-m", "meddel_hf", *(places.get(word, word) for word in line.split())]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for _ in range(read):
            process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read().decode()
    assert process.returncode == 0, told
    assert "Broken" not in told
    assert [name for name in files if not (tmp_path / name).is_file()] == []


def test_sweep_prints_table_2_and_writes_csv(store, tmp_path, capsys):
    assert (
        main(["sweep", str(store), "--eta", "0.999", "0.5", "--epsilon", "none", "--csv", str(tmp_path / "t.csv")]) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["eta", "images", "retention", "epochs"]
    assert [line.split()[0] for line in lines[1:]] == ["0.5", "0.999"]
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("options", "compared"),
    [([], "inside clusters (--scope pool: all with all)"), (["--scope", "pool"], "all with all")],
)
def test_sweep_says_whose_curve_it_is(options, compared, store, tmp_path, capsys):
    """And what it says is so: that selector, asked alone, keeps as many frames."""
    line = [str(store), "--eta", "0.5", "--n-clusters", "4", *options]
    assert main(["sweep", *line]) == 0
    printed = capsys.readouterr()
    said = f"MedDEL, the paper's Algorithm 1, which compared frames {compared}; `meddel select` keeps these frames with"
    assert said in printed.err
    assert main(["select", *line, "--selector", "meddel", "--no-pictures", "--out", str(tmp_path / "s")]) == 0
    kept = sum(pq.read_table(tmp_path / "s" / "rows.parquet")["kept"].to_pylist())
    assert printed.out.splitlines()[1].split()[1] == str(kept)


def test_sweep_knows_one_selector(store, capsys):
    assert main(["sweep", str(store), "--selector", "meddel", "--eta", "0.5"]) == 0
    with pytest.raises(SystemExit):
        main(["sweep", str(store), "--selector", "dedup"])
    assert "a sweep is of meddel alone, got 'dedup': for a curve of another, run" in capsys.readouterr().err


def test_json_has_the_data_and_nothing_else(store, tmp_path, capsys):
    """The keys are those of docs/reference/commands.md; the figures are those of the files."""
    chosen = tmp_path / "selection"

    def facts(*line: str):
        assert main([*line, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    one = facts("select", str(store), "--retention", "25%", "--selector", "meddel", "--out", str(chosen))
    rows = pq.read_table(chosen / "rows.parquet").to_pylist()
    assert (one["pool"], one["unreadable"], one["kept"]) == (41, 1, sum(row["kept"] for row in rows))
    assert one["retention"] == one["kept"] / 41
    assert one["selector"]["selector"] == "meddel"
    assert one["farthest"]["id"] in {row["id"] for row in rows}
    assert one["out"] == str(chosen)
    (why, other) = facts("why", str(chosen), "video0/broken", "3")
    assert (why["id"], why["kept"], why["reason"]) == ("video0/broken", False, "unreadable")
    assert why["why"].startswith("video0/broken is dropped: unreadable; why stands in unreadable.parquet")
    assert other["id"] == rows[3]["id"]
    curve = facts("sweep", str(store), "--eta", "0.9", "0.999", "--epsilon", "none")
    assert [row["eta"] for row in curve["rows"]] == [0.9, 0.999]
    assert set(curve["rows"][0]) == {"eta", "images", "retention", "outliers", "near_duplicates", "epochs"}
    advice = facts("advise", str(store), "--retention", "5%")
    assert (advice["frames"], advice["retention"]) == (40, 0.05)
    assert [one["retention"] for one in advice["retentions"]] == [0.01, 0.02, 0.05, 0.1, 0.2, 0.5]
    (score,) = facts("normdel", "0.7095", "--retention", "5%")
    assert round(score["normdel"], 4) == 0.6626
    keys = (Path(__file__).parents[2] / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    for key in {*one, *curve, *curve["rows"][0], *advice, *score, "why"}:
        assert f"`{key}`" in keys, key


@pytest.mark.parametrize(
    ("value", "text"),
    [(float("nan"), "null"), (b"\x01\xff", '"01ff"'), (Path("a/b"), '"a/b"'), (np.float32(0.5), "0.5")],
)
def test_what_json_has_no_word_for(value, text, capsys):
    print_json({"x": [value]})
    assert json.loads(capsys.readouterr().out) == {"x": [json.loads(text)]}


def test_normdel_prints_the_papers_number(capsys):
    assert main(["normdel", "0.7095", "--retention", "0.05"]) == 0
    assert capsys.readouterr().out.split()[-1] == "0.6626"  # Table 3, ImageCLEFmed, 5 %: 66.26


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["select", "nowhere", "--eta", "0.9", "--out", "x"], "nowhere does not exist: expected a finished embeddings"),
        (["normdel", "70.95", "--retention", "0.05"], "70.95"),
        (["normdel", "0.7", "0.8", "--retention", "0.05", "0.1", "0.2"], "2 scores and 3 retentions"),
        (["embed", "nowhere/at/all", "--encoder", "e", "--out", "x"], "does not exist"),
        (["filter", "nowhere", "frames", "--out", "x"], "nowhere does not exist: expected a finished selection folder"),
    ],
)
def test_errors_are_one_sentence_and_status_2(arguments, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert sentence in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_selection_of_another_pool_is_refused(frames, store, tmp_path, capsys):
    assert main(["select", str(store), "--eta", "0.9", "--out", str(tmp_path / "s"), "--no-pictures"]) == 0
    (tmp_path / "other").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "other" / "a.png")
    assert main(["filter", str(tmp_path / "s"), str(tmp_path / "other"), "--out", str(tmp_path / "subset")]) == 2
    assert "not the pool" in capsys.readouterr().err
    assert not (tmp_path / "subset").exists()


def test_demo_in_an_empty_folder(tmp_path):
    """The whole main job on the carried frames, as `make demo` runs it."""
    done = alone("-m", "meddel_hf", "demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for retention in ("5%", "10%", "20%", "33%", "50%"):
        assert any(line.split()[:1] == [retention] for line in done.stdout.splitlines())
    folder = tmp_path / "meddel-demo"
    opened = load_dataset(str(folder / "subset"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(opened) == round(0.05 * 450)
    assert set(opened["center"]) == {f"c{number}" for number in range(1, 7)}, "no hospital is left without a frame"
    for name in ("duplicates.png", "left-out.png"):
        with Image.open(folder / name) as picture:
            assert picture.width > 500
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

"""`meddel select` as it is typed: what is kept of each centre, warnings, floors, and which selector a line means."""

from __future__ import annotations

import io

import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture
from tiny import textured, tiny_encoder

from meddel_hf.cli import main

CENTERS = ["north"] * 60 + ["south"] * 30 + ["<b>east</b>|"] * 3


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    """Of 93 frames of three centres, ten of which stand twice; the data set stays where it was."""
    folder = tmp_path_factory.mktemp("select")
    images = []
    for row in range(93):
        file = io.BytesIO()
        textured(row if row < 50 or row >= 60 else row - 50).save(file, "JPEG", quality=70 + row % 20)
        images.append({"bytes": file.getvalue(), "path": None})
    features = Features({"id": Value("string"), "image": Image(decode=False), "center": Value("string")})
    data = Dataset.from_dict(
        {"id": [f"f/{row}" for row in range(93)], "image": images, "center": CENTERS}, features=features
    )
    data.save_to_disk(str(folder / "pool"))
    encoder = tiny_encoder(folder / "encoder")
    embed = ["embed", str(folder / "pool"), "--encoder", str(encoder), "--out", str(folder / "e"), "--quiet"]
    assert main(embed) == 0
    return str(folder / "e")


def kept_of(out) -> dict[str, int]:
    kept = pq.read_table(out / "rows.parquet")["kept"].to_pylist()
    return {name: sum(k for k, center in zip(kept, CENTERS, strict=True) if center == name) for name in set(CENTERS)}


def test_it_counts_what_is_kept_and_warns_where_nothing_is(store, tmp_path, capsys):
    line = ["select", store, "--retention", "0.1", "--then", "random", "--out", str(tmp_path / "s")]
    for seed in range(9):  # until one of them leaves the small centre out
        capsys.readouterr()
        assert main([*line, "--seed", str(seed)]) == 0
        if not kept_of(tmp_path / "s")["<b>east</b>|"]:
            break
    printed = capsys.readouterr()
    counts = kept_of(tmp_path / "s")
    assert sum(counts.values()) == 9
    assert counts["<b>east</b>|"] == 0
    for name, count in counts.items():
        (line,) = [line for line in printed.out.splitlines() if line.strip().startswith(name)]
        assert line.split()[1:3] == [str(CENTERS.count(name)), str(count)]
    assert "note: nothing is kept of center <b>east</b>|: --min-per center=1 keeps a frame of each" in printed.err
    assert "note: near-duplicates are above" in printed.err
    assert "farthest" in printed.out
    for name in ("duplicates.png", "left-out.png", "retention.png"):
        with Picture.open(tmp_path / "s" / name) as picture:
            assert picture.width > 500


def test_floors_shares_and_strata(store, tmp_path, capsys):
    line = ["select", store, "--retention", "0.1", "--out", str(tmp_path / "s"), "--no-pictures"]
    assert main([*line, "--then", "random", "--min-per", "center=2"]) == 0
    assert min(kept_of(tmp_path / "s").values()) >= 2
    assert main([*line, "--per", "center"]) == 0
    assert set(kept_of(tmp_path / "s").values()) == {3}
    assert main([*line, "--then", "stratified", "--by", "center"]) == 0
    assert kept_of(tmp_path / "s")["<b>east</b>|"] >= 1
    capsys.readouterr()
    assert main([*line, "--min-per", "center=9"]) == 2
    assert "the floors (9 per center) need" in capsys.readouterr().err
    assert main([*line, "--min-per", "site=1"]) == 2
    assert "the pool has no column 'site'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*line, "--min-per", "center"])
    assert "must be a column and a number, such as center=50" in capsys.readouterr().err


def test_without_a_retention_near_duplicates_go_and_nothing_else(store, tmp_path, capsys):
    assert main(["select", store, "--out", str(tmp_path / "s"), "--no-pictures"]) == 0
    reasons = pq.read_table(tmp_path / "s" / "rows.parquet")["reason"].to_pylist()
    assert (reasons.count("near-duplicate"), reasons.count(None)) == (10, 83)
    assert "not selected" not in capsys.readouterr().out


def test_a_line_with_options_of_meddel_alone_means_meddel(store, tmp_path, capsys):
    line = ["select", store, "--retention", "0.5", "--epsilon", "none", "--scope", "pool", "--no-pictures"]
    assert main([*line, "--out", str(tmp_path / "s")]) == 0
    assert (
        "note: --epsilon is an option of MedDEL, the paper's Algorithm 1: --selector meddel" in capsys.readouterr().err
    )
    assert main([*line, "--selector", "meddel", "--out", str(tmp_path / "m")]) == 0
    assert "note: --epsilon" not in capsys.readouterr().err
    same = [pq.read_table(tmp_path / name / "rows.parquet") for name in ("s", "m")]
    assert same[0].equals(same[1])
    assert "near-duplicate" in same[0]["reason"].to_pylist()
    assert "not-selected" not in same[0]["reason"].to_pylist()
    assert main([*line, "--selector", "dedup", "--out", str(tmp_path / "d")]) == 2
    assert "--epsilon is an option of MedDEL alone: use --selector meddel" in capsys.readouterr().err
    assert main(["select", store, "--selector", "meddel", "--eta", "0.9", "--per", "center", "--out", "x"]) == 2
    assert "--per is an option of Dedup alone: use --selector dedup" in capsys.readouterr().err

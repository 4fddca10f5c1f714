"""`meddel select` as it is typed: what is kept of each centre, warnings, floors, and which selector a line means."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Image, Value, load_from_disk
from PIL import Image as Picture
from tiny import textured, tiny_encoder

import meddel_hf.dedup.larger_than_memory as larger
from meddel_hf import EmbeddingStore, Overrides, Selection
from meddel_hf.cli import main
from meddel_hf.selection import pictures
from meddel_hf.selectors import dedup

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
    assert "note: threshold 0." in printed.err
    assert "farthest" in printed.out
    for name in ("duplicates.png", "left-out.png", "retention.png"):
        with Picture.open(tmp_path / "s" / name) as picture:
            assert picture.width > 500


def test_small_groups_share_a_line_and_the_doubtful_stand_below(store, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "draw_sheet", lambda title, rows, images, path: drawn.append(rows))
    for lines in (8, 2):
        monkeypatch.setattr(pictures, "_ROWS", lines)
        assert main(["select", store, "--out", str(tmp_path / "s")]) == 0
    whole, short = drawn
    assert [len(line) for line in whole[:4]] == [6, 6, 6, 2], "ten pairs, three in a line of seven"
    assert [len(line) for line in short[:2]] == [6, 6]
    cosines = {row["id"]: row["similarity"] for row in pq.read_table(tmp_path / "s" / "rows.parquet").to_pylist()}
    for heading, *lines in (whole[4:], short[2:]):
        assert heading.startswith("Nearest to the threshold")
        doubtful = [cosines[frame.id] for line in lines for frame in line[1::2]]
        assert doubtful == sorted(c for c in cosines.values() if c is not None)[:6], "shown above or not"


def test_a_doubt_is_a_warning(store, tmp_path, capsys, monkeypatch):
    """Here with a share of look-alikes that no encoder reaches."""
    monkeypatch.setattr(dedup, "_LOOK_ALIKE", 1.1)
    assert main(["select", store, "--out", str(tmp_path / "s"), "--no-pictures"]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "look alike in their pixels, so" in line]
    assert line.startswith("warning: only 100% of the near-duplicates")


def test_floors_shares_and_strata(store, tmp_path, capsys):
    line = ["select", store, "--retention", "0.1", "--out", str(tmp_path / "s"), "--no-pictures"]
    assert main([*line, "--then", "random", "--min-per", "center=2"]) == 0
    assert min(kept_of(tmp_path / "s").values()) >= 2
    assert main([*line, "--per", "center"]) == 0
    assert set(kept_of(tmp_path / "s").values()) == {3}
    assert main([*line, "--then", "stratified", "--by", "center"]) == 0
    assert kept_of(tmp_path / "s")["<b>east</b>|"] >= 1
    assert main([*line[:2], "--out", str(tmp_path / "capped"), "--no-pictures", "--max-per", "center=1"]) == 0
    assert set(kept_of(tmp_path / "capped").values()) == {1}
    capsys.readouterr()
    assert main([*line, "--then", "random", "--min-per", "folder=2", "--max-per", "center=30"]) == 0
    tables = [line.split()[:3] for line in capsys.readouterr().out.splitlines() if line.startswith("kept of")]
    assert tables == [["kept", "of", "center"], ["kept", "of", "folder"]]
    assert main([*line, "--min-per", "center=9"]) == 2
    assert "the floors (9 per center) need" in capsys.readouterr().err
    assert main([*line, "--min-per", "site=1"]) == 2
    assert "the pool has no column 'site'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*line, "--min-per", "center"])
    assert "must be a column and a number, such as center=50" in capsys.readouterr().err


def test_a_column_that_was_corrected_is_another_question_for_jobs_that_share_the_work_too(store, tmp_path, capsys):
    pool = load_from_disk(str(Path(store).parent / "pool"))
    corrected = pool.remove_columns("center").add_column("center", ["one", "two", "two"] * 31)
    corrected.save_to_disk(str(tmp_path / "corrected"))
    line = ["select", store, "--retention", "0.1", "--per", "center", "--no-pictures"]
    shared = [*line, "--shard", "1/1", "--out", str(tmp_path / "s")]
    assert main(shared) == 0
    assert main([*shared, "--pool", str(tmp_path / "corrected")]) == 0
    assert main([*line, "--out", str(tmp_path / "alone"), "--pool", str(tmp_path / "corrected")]) == 0
    rows = [pq.read_table(tmp_path / name / "rows.parquet")["kept"].to_pylist() for name in ("s", "alone")]
    assert rows[0] == rows[1]
    capsys.readouterr()
    assert main([*shared, "--pool", str(tmp_path / "corrected")]) == 0
    assert "holds this selection already" in capsys.readouterr().err


def test_without_a_retention_near_duplicates_go_and_nothing_else(store, tmp_path, capsys):
    assert main(["select", store, "--out", str(tmp_path / "s"), "--no-pictures"]) == 0
    reasons = pq.read_table(tmp_path / "s" / "rows.parquet")["reason"].to_pylist()
    assert (reasons.count("near-duplicate"), reasons.count(None)) == (10, 83)
    assert "not selected" not in capsys.readouterr().out


def test_a_line_with_options_of_meddel_alone_means_meddel(store, tmp_path, capsys):
    line = ["select", store, "--retention", "0.5", "--epsilon", "none", "--scope", "pool", "--no-pictures"]
    assert main([*line, "--out", str(tmp_path / "s")]) == 0
    assert (
        "note: MedDEL, the paper's Algorithm 1, chose (--selector meddel): --epsilon is an option of it alone"
        in capsys.readouterr().err
    )
    assert main([*line, "--selector", "meddel", "--out", str(tmp_path / "m")]) == 0
    assert "chose (--selector meddel)" not in capsys.readouterr().err
    same = [pq.read_table(tmp_path / name / "rows.parquet") for name in ("s", "m")]
    assert same[0].equals(same[1])
    assert "near-duplicate" in same[0]["reason"].to_pylist()
    assert "not-selected" not in same[0]["reason"].to_pylist()
    assert main([*line, "--selector", "dedup", "--out", str(tmp_path / "d")]) == 2
    assert "--epsilon is an option of MedDEL alone: use --selector meddel" in capsys.readouterr().err
    assert main(["select", store, "--selector", "meddel", "--eta", "0.9", "--per", "center", "--out", "x"]) == 2
    assert "--per is an option of Dedup alone: use --selector dedup" in capsys.readouterr().err


def test_ids_of_another_column_are_counted_and_drawn(tmp_path, capsys):
    pictures = []
    for row in range(24):
        file = io.BytesIO()
        textured(row % 20).save(file, "JPEG", quality=80 + row // 20)
        pictures.append({"bytes": file.getvalue(), "path": None})
    features = Features({"frame": Value("string"), "image": Image(decode=False), "center": Value("string")})
    names = ["a\x1b[31m", "b"]
    data = Dataset.from_dict(
        {
            "frame": [f"f/{row}" for row in range(24)],
            "image": pictures,
            "center": [names[row % 2] for row in range(24)],
        },
        features=features,
    )
    data.save_to_disk(str(tmp_path / "pool"))
    encoder = str(tiny_encoder(tmp_path / "encoder"))
    line = ["embed", str(tmp_path / "pool"), "--encoder", encoder, "--out", str(tmp_path / "e"), "--id-column", "frame"]
    assert main([*line, "--quiet"]) == 0
    capsys.readouterr()
    assert (
        main(["select", str(tmp_path / "e"), "--retention", "0.5", "--per", "center", "--out", str(tmp_path / "s")])
        == 0
    )
    printed = capsys.readouterr()
    assert "nothing is kept" not in printed.err
    assert "\x1b" not in printed.out + printed.err
    counts = {line.split()[0]: line.split()[1:3] for line in printed.out.splitlines() if line.startswith("  ")}
    assert counts == {"'a\\x1b[31m'": ["12", "6"], "b": ["12", "6"]}
    with Picture.open(tmp_path / "s" / "duplicates.png") as sheet:
        assert len(sheet.crop((20, 60, 160, 200)).getcolors(1 << 20)) > 1000, "the frame is drawn, not a dark cell"


@pytest.mark.parametrize("pixels", [[textured(0)], [textured(0)] * 4, [Picture.new("RGB", (40, 40))] * 3])
def test_pools_of_one_picture(pixels, tmp_path, capsys):
    (tmp_path / "pool").mkdir()
    for row, picture in enumerate(pixels):
        picture.save(tmp_path / "pool" / f"{row}.png")
    encoder, store = str(tiny_encoder(tmp_path / "encoder")), str(tmp_path / "e")
    assert main(["embed", str(tmp_path / "pool"), "--encoder", encoder, "--out", store, "--quiet"]) == 0
    assert main(["advise", store]) == 0
    assert main(["select", store, "--out", str(tmp_path / "s"), "--no-pictures"]) == 0
    assert pq.read_table(tmp_path / "s" / "rows.parquet")["kept"].to_pylist().count(True) == 1


def test_a_pool_without_a_readable_frame_is_one_sentence(tmp_path, capsys):
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "a.png").write_bytes(b"no picture")
    encoder, store = str(tiny_encoder(tmp_path / "encoder")), str(tmp_path / "e")
    assert main(["embed", str(tmp_path / "pool"), "--encoder", encoder, "--out", store, "--quiet"]) == 0
    capsys.readouterr()
    for command in (["advise", store], ["select", store, "--out", str(tmp_path / "s")]):
        assert main(command) == 2
        assert "holds no readable frame (see its unreadable.parquet)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--retention 0.2 --min-per center=2 --min-per center=1", "--min-per names center twice (2, 1): type it once"),
        ("--retention 0.2 --option then=random --option then=cover", "--option names then twice (random, cover)"),
        ("--retention 0.2 --option seed=1 --seed 2", "--option seed stands beside --seed: type one of them"),
        ("--option retention=0.2", "--option retention stands beside --retention: type one of them"),
        (
            "--retention 0.2 --option encoder=x",
            "--option encoder changes nothing, since the frames are embedded already",
        ),
        ("--retention 0.2 --selector dedup --option min_per=3", "min_per must say of columns how many rows"),
        ("--retention 0.2 --selector dedup --option colour=3", "selector 'dedup' has no option 'colour'"),
        ("--retention 0.2 --shares equal", "shares (--shares) says how frames are shared out among the values"),
        ("--retention 0.2 --by center source", "by (--by) names the strata of the rule 'stratified'"),
        ("--then auto", "then (--then) is about what is drawn"),
        ("--eta 0.9 --per center", "per (--per) is about what is drawn"),
        ("--retention 0.2 --then stratified --by site", "the pool has no column 'site'"),
        ("--retention 1 --per site", "the pool has no column 'site'"),
        ("--selector meddel --eta auto --retention 0.2", "give eta or retention, not both"),
        ("--selector random --retention 0.2 --min-per center=1", "leave it out, or use --selector dedup"),
    ],
)
def test_what_would_change_nothing_is_refused(options, sentence, store, tmp_path, capsys):
    assert main(["select", store, "--no-pictures", "--out", str(tmp_path / "s"), *options.split()]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not (tmp_path / "s").exists()


def test_options_of_dedup_and_meddel_may_be_typed_in_both_ways(store, tmp_path):
    line = ["select", store, "--no-pictures", "--retention", "0.2"]
    same = [
        ("--then random --seed 3", "--selector dedup --option then=random --option seed=3"),
        ("--selector meddel --scope pool --epsilon none", "--selector meddel --option scope=pool --epsilon none"),
    ]
    for number, pair in enumerate(same):
        tables = []
        for name, options in zip("ab", pair, strict=True):
            out = tmp_path / f"{number}{name}"
            assert main([*line, "--out", str(out), *options.split()]) == 0
            tables.append(pq.read_table(out / "rows.parquet"))
        assert tables[0].equals(tables[1])


@pytest.mark.parametrize("command", ["select", "advise"])
def test_another_pool_is_refused_and_a_pool_that_changed_is_told(command, tmp_path, capsys):
    folder = tmp_path / "pool"
    folder.mkdir()
    for row in range(12):
        textured(row).save(folder / f"{row:02}.png")
    encoder = str(tiny_encoder(tmp_path / "encoder"))
    assert main(["embed", str(folder), "--encoder", encoder, "--out", str(tmp_path / "e"), "--quiet"]) == 0
    line = [command, str(tmp_path / "e")] + ["--retention", "0.5", "--out", str(tmp_path / "s")] * (command == "select")
    capsys.readouterr()
    assert main(line) == 0
    assert "no counts of centres" not in capsys.readouterr().err

    (tmp_path / "other").mkdir()
    textured(99).save(tmp_path / "other" / "x.png")
    assert main([*line, "--pool", str(tmp_path / "other")]) == 2
    assert "the pool lacks 12 of the 12 ids that were embedded, such as '00'" in capsys.readouterr().err

    textured(77).save(folder / "zz.png")  # a pool that grew holds what was embedded
    assert main(line) == 0
    assert "no counts of centres" not in capsys.readouterr().err
    (folder / "zz.png").unlink()

    textured(99).save(folder / "03.png")
    assert main(line) == 0
    assert f"no counts of centres: frames of {folder} changed since they were embedded" in capsys.readouterr().err
    assert main([*line, "--pool", str(folder)]) == 2
    assert "changed since they were embedded into" in capsys.readouterr().err

    (folder / "03.png").unlink()
    assert main(line) == 0
    assert "no counts of centres: the pool lacks 1 of the 12 ids" in capsys.readouterr().err
    folder.rename(tmp_path / "moved")
    assert main([*line, *["--no-pictures"] * (command == "select")]) == 0
    assert "no counts of centres" in capsys.readouterr().err

    shard = tmp_path / "e" / "shard-00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert main(line) == 2
    said = capsys.readouterr().err
    assert "changed since it was written" in said
    assert said.count("\n") == 1


def test_frames_of_another_column_are_drawn_and_their_videos_counted(tmp_path, capsys):
    pictures = []
    for row in range(24):
        file = io.BytesIO()
        textured(row % 20).save(file, "JPEG", quality=80 + row // 20)
        pictures.append({"bytes": file.getvalue(), "path": None})
    features = Features({"id": Value("string"), "picture": Image(decode=False), "group": Value("string")})
    groups = [f"video {row // 6}" for row in range(18)] + [None] * 6
    ids = [f"f/{row}" for row in range(24)]
    data = Dataset.from_dict({"id": ids, "picture": pictures, "group": groups}, features=features)
    data.save_to_disk(str(tmp_path / "pool"))
    encoder, store = str(tiny_encoder(tmp_path / "encoder")), str(tmp_path / "e")
    line = ["embed", str(tmp_path / "pool"), "--encoder", encoder, "--out", store, "--image-column", "picture"]
    assert main([*line, "--quiet"]) == 0
    capsys.readouterr()
    assert main(["select", store, "--retention", "0.1", "--out", str(tmp_path / "s")]) == 0
    kept = pq.read_table(tmp_path / "s" / "rows.parquet")["kept"].to_pylist()
    videos = len({group for group, stays in zip(groups, kept, strict=True) if stays} - {None})
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("groups")]
    assert line.split()[1:4] == [str(videos), "of", "3"]
    with Picture.open(tmp_path / "s" / "duplicates.png") as sheet:
        assert len(sheet.crop((20, 60, 160, 200)).getcolors(1 << 20)) > 1000, "the frame is drawn, not a dark cell"


@pytest.fixture(scope="module")
def earlier(store, tmp_path_factory) -> tuple[str, str, str]:
    """(store of the first 80 frames, selection of it, the grown store)."""
    folder = tmp_path_factory.mktemp("earlier")
    pool = str(Path(store).parent / "pool")
    load_from_disk(pool).select(range(80)).save_to_disk(str(folder / "pool"))
    encoder = str(Path(store).parent / "encoder")
    assert main(["embed", str(folder / "pool"), "--encoder", encoder, "--out", str(folder / "e"), "--quiet"]) == 0
    assert main(["select", str(folder / "e"), "--out", str(folder / "s")]) == 0
    assert main(["embed", pool, "--from", str(folder / "e"), "--out", str(folder / "e2"), "--quiet"]) == 0
    return str(folder / "e"), str(folder / "s"), str(folder / "e2")


def test_every_week_new_frames_are_added(store, earlier, tmp_path, capsys):
    _, before, grown = earlier
    assert EmbeddingStore.load(grown).fingerprint == EmbeddingStore.load(store).fingerprint
    capsys.readouterr()
    assert main(["select", grown, "--extend", before, "--out", str(tmp_path / "s2")]) == 0
    printed = capsys.readouterr()
    old, new = Selection.load(before), Selection.load(tmp_path / "s2")
    assert set(new.kept) & set(old.ids) == set(old.kept)
    assert (
        f"note: {len(old.kept)} kept frames stay, {len(new.kept) - len(old.kept)} of 13 new ones are kept"
        in printed.err
    )
    assert new.table["nearest_kept"].to_pylist() == new.table["duplicate_of"].to_pylist()
    assert new.table["nearest_similarity"].equals(new.table["similarity"])
    assert (tmp_path / "s2" / "duplicates.png").is_file()


@pytest.mark.parametrize(
    "more", [["--eta", "0.9"], ["--retention", "0.5"], ["--selector", "meddel"], ["--seed", "1"], ["--option", "a=1"]]
)
def test_options_that_say_otherwise_than_the_old_selection_are_refused(more, earlier, tmp_path, capsys):
    _, before, grown = earlier
    assert main(["select", grown, "--extend", before, "--out", str(tmp_path / "s2"), *more]) == 2
    assert f"and {more[0]} says otherwise" in capsys.readouterr().err


def test_an_extended_selection_reads_in_parts_too(earlier, tmp_path, capsys, monkeypatch):
    _, before, grown = earlier
    line = ["select", grown, "--extend", before, "--no-pictures"]
    assert main([*line, "--out", str(tmp_path / "whole")]) == 0
    assert main([*line, "--memory", "1MB", "--out", str(tmp_path / "parts")]) == 2
    assert "of memory, got 1 MB: give so much" in capsys.readouterr().err
    for name in ("_PROGRAM", "_LEAST_PIECE"):
        monkeypatch.setattr(larger, name, 0)
    monkeypatch.setattr(larger, "_OF_A_NUMBER", 10**4)
    assert main([*line, "--memory", "25MB", "--out", str(tmp_path / "parts")]) == 0
    whole, parts = (pq.read_table(tmp_path / name / "rows.parquet") for name in ("whole", "parts"))
    assert whole == parts


@pytest.mark.parametrize("how", [["--n-clusters", "1"], []], ids=["meddel", "dedup"])
def test_memory_changes_no_row_and_too_little_is_one_sentence(how, store, tmp_path, capsys, monkeypatch):
    line = ["select", store, "--retention", "0.2", *how, "--no-pictures"]
    assert main([*line, "--out", str(tmp_path / "whole")]) == 0
    assert main([*line, "--memory", "4GB", "--out", str(tmp_path / "fits")]) == 0
    capsys.readouterr()
    assert main([*line, "--memory", "1MB", "--out", str(tmp_path / "new" / "s")]) == 2
    assert "93 embeddings of" in (err := capsys.readouterr().err)
    assert "got 1 MB: give so much" in err
    for name in ("_PROGRAM", "_LEAST_PIECE"):
        monkeypatch.setattr(larger, name, 0)
    monkeypatch.setattr(larger, "_OF_A_NUMBER", 10**4)  # so that 93 frames are 30 MB
    assert main([*line, "--memory", "29.8MB", "--out", str(tmp_path / "new" / "parts")]) == 0
    whole, fits, parts = (pq.read_table(tmp_path / name / "rows.parquet") for name in ("whole", "fits", "new/parts"))
    assert whole == fits == parts
    assert "nearest_kept" in parts.column_names
    assert not (tmp_path / "new" / "parts" / "pairs.parquet").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["parts"]


@pytest.mark.parametrize("how", [["--n-clusters", "1"], []], ids=["meddel", "dedup"])
def test_a_pool_beyond_what_is_free_is_read_in_parts_unasked(how, store, tmp_path, capsys, monkeypatch):
    line = ["select", store, "--retention", "0.2", *how, "--no-pictures"]
    assert main([*line, "--out", str(tmp_path / "whole")]) == 0
    assert "in parts" not in capsys.readouterr().err
    for name in ("_PROGRAM", "_LEAST_PIECE"):
        monkeypatch.setattr(larger, name, 0)
    monkeypatch.setattr(larger, "_OF_A_NUMBER", 10**4)  # so that 93 frames are 30 MB
    monkeypatch.setattr(larger, "within_reach_of", lambda share: 29_800_000)
    assert main([*line, "--out", str(tmp_path / "new" / "parts")]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "in parts" in line]
    needed = 30 if how else 45  # a second step has memory of its own
    assert told == [
        f"93 embeddings of 32 numbers may need {needed} MB of memory at once: they are read in parts, within the 30 MB "
        "that are free"
    ]
    assert main([*line, "--memory", "none", "--out", str(tmp_path / "none")]) == 0
    assert "in parts" not in capsys.readouterr().err
    whole, parts, none = (pq.read_table(tmp_path / name / "rows.parquet") for name in ("whole", "new/parts", "none"))
    assert whole == parts == none
    assert not (tmp_path / "new" / "parts" / "pairs.parquet").exists()
    assert (tmp_path / "none" / "pairs.parquet").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["parts"]


def test_memory_that_is_no_size_is_refused(store, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["select", store, "--retention", "0.2", "--memory", "lots", "--out", str(tmp_path / "s")])
    assert "--memory: must be a size such as 4GB or 512MiB, or none, got 'lots'" in capsys.readouterr().err


@pytest.mark.slow
def test_marks_are_read_once_so_that_they_may_come_out_of_a_pipe(store, tmp_path):
    """What is recorded is what was done, too: a file that changes between two readings would say otherwise."""
    pipe, out = tmp_path / "marks.csv", tmp_path / "selection"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("id,mark\nf/3,keep\nf/4,never\n",), daemon=True)
    writer.start()
    line = ["select", store, "--retention", "0.2", "--out", str(out), "--no-pictures", "--overrides", str(pipe)]
    command = [sys.executable, "-m", "meddel_hf", *line]
    subprocess.run(command, check=True, capture_output=True, timeout=60)  # to read it again would wait for ever
    rows = {row["id"]: row for row in pq.read_table(out / "rows.parquet").to_pylist()}
    assert (rows["f/3"]["by_hand"], rows["f/4"]["by_hand"]) == ("keep", "never")
    assert Selection.load(out).settings["overrides"] == Overrides(["f/3"], ["f/4"]).fingerprint


def test_a_reference_goes_first_and_is_shown(store, tmp_path, capsys):
    frames = tmp_path / "test"
    frames.mkdir()
    for row in (2, 70):  # a scene that stands twice in the pool, and one that stands once
        textured(row).save(frames / f"{row}.jpg", quality=75)
    encoder = str(Path(store).parent / "encoder")
    reference = str(tmp_path / "r")
    assert main(["embed", str(frames), "--encoder", encoder, "--out", reference, "--quiet"]) == 0
    out = tmp_path / "s"
    assert main(["select", store, "--reference", reference, "--retention", "0.3", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    rows = {row["id"]: row for row in pq.read_table(out / "rows.parquet").to_pylist()}
    assert {"f/2", "f/70"} <= {id for id, row in rows.items() if row["reason"] == "in-reference"}
    assert (rows["f/2"]["in_reference"], rows["f/70"]["in_reference"]) == ("2", "70")
    assert "in reference" in printed
    with Picture.open(out / "in-reference.png") as sheet:
        assert sheet.width > 300
    assert main(["why", str(out), "f/2"]) == 0
    assert "f/2 is dropped: within reach of 2 of the reference (cosine 0." in capsys.readouterr().out
    assert main(["select", store, "--reference-eta", "0.9", "--out", str(tmp_path / "t")]) == 2
    assert "--reference-eta goes with --reference" in capsys.readouterr().err

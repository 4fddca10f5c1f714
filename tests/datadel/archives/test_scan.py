"""Folders that hold anything: pipes, sockets, devices, loops, what may not be read, and the same file on two paths."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from pathlib import Path

import make_archives as make
import pyarrow.parquet as pq
import pytest

from meddel_hf.datadel.archives.members import Members
from meddel_hf.datadel.archives.scan import scan
from meddel_hf.datadel.build import build
from meddel_hf.datadel.problems import grouped, kind_of
from meddel_hf.datadel.summary import Build
from meddel_hf.errors import InvalidArgument, InvalidDataset, UnreadableArchive

IMAGES, MASKS = "Kvasir-SEG/images", "Kvasir-SEG/masks"


def frame(name: str, seed: int = 1) -> make.Files:
    return {f"{IMAGES}/{name}.jpg": make.jpeg(seed), f"{MASKS}/{name}.jpg": make.mask("JPEG")}


def built(raw: Path | list[Path], out: Path) -> tuple[list[str], dict[str, tuple[str, str]], Build]:
    """Ids, what is listed as (kind, reason) by path, and the build."""
    done = build(raw, out, workers=1)
    ids = [id for f in sorted(out.glob("data/*/*/*.parquet")) for id in pq.read_table(f)["id"].to_pylist()]
    rows = pq.read_table(out / "rejected.parquet").to_pylist()
    assert len({row["path"] for row in rows}) == len(rows)
    return ids, {row["path"]: (row["kind"], row["reason"]) for row in rows}, done


def test_only_plain_files_are_opened_and_the_others_are_listed(tmp_path):
    raw = make.write_folder(tmp_path / "raw", frame("cju0a"))
    images = raw / IMAGES
    os.mkfifo(images / "pipe.jpg")
    (images / "zero.jpg").symlink_to("/dev/zero")
    (images / "gone.jpg").symlink_to("nowhere.jpg")
    (images / "round.jpg").symlink_to("round.jpg")
    (images / "linked.jpg").symlink_to("cju0a.jpg")
    (raw / MASKS / "linked.jpg").symlink_to("cju0a.jpg")
    os.mkfifo(raw / "kvasir-sessile.zip")
    (raw / "CVC-300.zip").symlink_to("/dev/zero")
    here = os.getcwd()
    os.chdir(images)  # the path of a socket may have 100 letters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        os.chdir(here)
        started = time.monotonic()
        ids, found, done = built(raw, tmp_path / "out")
    assert time.monotonic() - started < 20
    assert ids == ["kvasir_seg/images/cju0a", "kvasir_seg/images/linked"]
    assert found == {
        f"raw/{IMAGES}/pipe.jpg": ("kept out", "a named pipe: only plain files are read"),
        f"raw/{IMAGES}/socket.jpg": ("kept out", "a socket: only plain files are read"),
        f"raw/{IMAGES}/zero.jpg": ("kept out", "a link to a device: only plain files are read"),
        f"raw/{IMAGES}/gone.jpg": ("kept out", "a link to a file that is not there: file not found"),
        f"raw/{IMAGES}/round.jpg": ("kept out", "a link that leads back to itself"),
        "raw/kvasir-sessile.zip": ("kept out", "a named pipe: only plain files are read"),
        "raw/CVC-300.zip": ("kept out", "a link to a device: only plain files are read"),
    }
    assert f"kept out: raw/{IMAGES}/gone.jpg: a link to a file that is not there" in str(done)


def test_what_this_user_may_not_read_is_listed(tmp_path):
    """Root may read everything: then another user looks."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        zipped = make.zipped(make.kvasir_sessile())
        files = {**frame("cju0a"), **frame("locked"), "closed/x/a.jpg": b"", "kvasir-sessile.zip": zipped}
        raw = make.write_folder(Path(folder) / "raw", files)
        for name, mode in ((f"{IMAGES}/locked.jpg", 0), ("closed/x", 0), ("closed", 0o644), ("kvasir-sessile.zip", 0)):
            os.chmod(raw / name, mode)
        found = []
        if os.geteuid() == 0:
            os.seteuid(65534)
        try:
            tree = scan([raw])
            reader = Members(tree.containers)
            for entry in (entry for entries in tree.folders.values() for entry in entries):
                try:
                    reader.read(entry)
                except UnreadableArchive as error:
                    found.append(f"{entry.path}: {error}")
        finally:
            os.seteuid(os.getuid())
            os.chmod(raw / "closed", 0o700)
            os.chmod(raw / "closed/x", 0o700)
    assert sorted([*found, *(f"{p.path}: {p.reason}" for p in tree.problems)]) == [
        "raw/Kvasir-SEG/images/locked.jpg: cannot be read: Permission denied",
        "raw/closed/x: cannot be read: Permission denied",
        "raw/kvasir-sessile.zip: cannot be read: Permission denied",
    ]


def test_links_to_folders_are_followed_but_never_round_and_round(tmp_path):
    """Twelve folders, each with links to all the others: there are more ways through them than a day has seconds."""
    raw = make.write_folder(tmp_path / "raw", frame("cju0a"))
    store = make.write_folder(tmp_path / "store", {"images/cju0b.jpg": make.jpeg(2), "masks/cju0b.jpg": make.mask()})
    (raw / "aaa").symlink_to(store)  # its files belong to no source under this name
    (raw / "more").mkdir()
    (raw / "more" / "Kvasir-SEG").symlink_to(store)
    for n in range(12):
        (raw / f"knot{n}").mkdir()
        for other in range(12):
            (raw / f"knot{n}" / f"to{other}").symlink_to(f"../knot{other}")
    started = time.monotonic()
    ids, found, _ = built(raw, tmp_path / "out")
    assert time.monotonic() - started < 20
    assert sorted(ids) == ["kvasir_seg/images/cju0a", "kvasir_seg/images/cju0b"]
    assert {reason for kind, reason in found.values() if kind == "not read"} == {
        "a link to a folder that holds it: not entered again"
    }
    assert {reason for kind, reason in found.values() if kind == "kept out"} == {
        "a folder that links lead to more than 8 times: not entered again"
    }
    assert len(found) < 2000


def test_a_file_on_two_paths_is_not_its_own_double(tmp_path):
    """Roots that lie in each other, links, a hard link, and the zip beside its unpacked folder."""
    files = {**frame("cju0a", 1), **frame("cju0b", 2)}
    raw = make.write_folder(tmp_path / "raw", files)
    make.write_zip(raw / "kvasir-seg.zip", files)
    (tmp_path / "again").symlink_to(raw)
    hard = tmp_path / "hard" / IMAGES
    hard.mkdir(parents=True)
    os.link(raw / IMAGES / "cju0a.jpg", hard / "cju0a.jpg")
    roots = [raw, raw / "Kvasir-SEG", tmp_path / "again", tmp_path / "hard"]
    ids, found, _ = built(roots, tmp_path / "out")
    assert ids == ["kvasir_seg/images/cju0a", "kvasir_seg/images/cju0b"]
    assert found == {}


def test_copies_that_differ_are_listed_and_a_sound_one_stands_in_for_a_damaged_one(tmp_path):
    first = make.write_folder(
        tmp_path / "a", {**frame("same"), **frame("other", 2), **frame("cut", 3), **frame("mask")}
    )
    second = make.write_folder(
        tmp_path / "b", {**frame("same"), **frame("other", 9), **frame("cut", 3), **frame("mask")}
    )
    cut = first / IMAGES / "cut.jpg"
    cut.write_bytes(cut.read_bytes()[:700])
    (second / MASKS / "mask.jpg").write_bytes(make.mask("JPEG", empty=True))
    ids, found, done = built([first, second], tmp_path / "out")
    assert ids == [f"kvasir_seg/images/{name}" for name in ("cut", "mask", "other", "same")]
    origin = f"a/{IMAGES}"
    assert found == {
        f"a/{IMAGES}/cut.jpg": ("kept out", "truncated"),
        f"b/{IMAGES}/other.jpg": (
            "kept out",
            f"second file of one id, with another content: it was built from {origin}/other.jpg",
        ),
        f"b/{IMAGES}/mask.jpg": (
            "remark",
            f"another mask than that of {origin}/mask.jpg, with which the frame was built",
        ),
    }
    row = next(row for f in (tmp_path / "out/data").rglob("*.parquet") for row in pq.read_table(f).to_pylist()
               if row["id"].endswith("/cut"))  # fmt: skip
    assert row["image"]["bytes"] == make.jpeg(3)
    assert "kept, but: kvasir_seg: 1 x another mask than that of a/Kvasir-SEG/images/mask.jpg" in str(done)


def test_files_that_no_source_knows_are_counted_by_kind_and_listed(tmp_path):
    files = {**frame("cju0a"), f"{IMAGES}/x.webp": b"?", f"{IMAGES}/y.WEBP": b"?", f"{IMAGES}/README": b"",
             "mine/holiday.png": make.png(1), f"{IMAGES}/.secret.jpg": b"", "__MACOSX/cju0a.jpg": b"",
             "#recycle/cju0a.jpg": b"",
             "extra.zip": make.zipped({"pictures/a.png": make.png(2), "pictures/.DS_Store": b""})}  # fmt: skip
    _, found, done = built(make.write_folder(tmp_path / "raw", files), tmp_path / "out")
    unknown, hidden = ("not read", "no source knows it as one of its files"), ("not read", "hidden: its name begins "
                       "with a dot, or is an operating system's")  # fmt: skip
    assert found == {
        f"raw/{IMAGES}/x.webp": unknown, f"raw/{IMAGES}/y.WEBP": unknown, f"raw/{IMAGES}/README": unknown,
        "raw/mine/holiday.png": unknown, "raw/extra/pictures/a.png": unknown, "raw/extra/pictures/.DS_Store": hidden,
        f"raw/{IMAGES}/.secret.jpg": hidden, "raw/__MACOSX": hidden,
        "raw/#recycle": hidden,
    }  # fmt: skip
    assert "not read: 9 files (4 without suffix, 2 .png, 2 .webp, 1 .jpg), listed in rejected.parquet" in str(done)
    assert done.unclaimed == ("raw/Kvasir-SEG/images", "raw/extra/pictures", "raw/mine")
    assert "9 (4 without suffix" in (done.out / "README.md").read_text()


def test_a_table_that_cannot_be_read_costs_neither_frames_nor_boxes_of_others(tmp_path, monkeypatch):
    monkeypatch.setattr("meddel_hf.datadel.archives.members.MAX_FILE", 100_000)
    files = {**frame("cju0a"), "Kvasir-SEG/kavsir_bboxes.json": b"[" * 200_000, "kvasir-seg/train.txt": b"cju0a\n"}
    ids, found, _ = built(make.write_folder(tmp_path / "raw", files), tmp_path / "out")
    assert ids == ["kvasir_seg/images/cju0a"]
    kind, reason = found["raw/Kvasir-SEG/kavsir_bboxes.json"]
    assert (kind, reason[:41]) == ("kept out", "frames were built without this table: too")
    deep = {**frame("cju0a"), "Kvasir-SEG/kavsir_bboxes.json": b"[" * 99_000}
    _, found, _ = built(make.write_folder(tmp_path / "deep", deep), tmp_path / "again")
    assert found["deep/Kvasir-SEG/kavsir_bboxes.json"][1].startswith("no boxes were read: expected {stem:")


def test_roots_that_are_neither_folder_nor_archive(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for root in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InvalidDataset, match="is neither a folder nor an archive"):
            scan([root])


def test_two_builds_never_write_to_one_folder(tmp_path):
    from filelock import FileLock

    raw = make.write_folder(tmp_path / "raw", frame("cju0a"))
    build(raw, tmp_path / "out", workers=1)
    with (
        FileLock(tmp_path / "out" / ".build" / "lock"),
        pytest.raises(InvalidArgument, match="another build is writing"),
    ):
        build(raw, tmp_path / "out", workers=1)


def test_reasons_lose_names_and_numbers_and_nothing_else():
    assert kind_of("mask a b.png is 95 x 80 pixels, its frame 1,096 x 80") == (
        "mask a ... is N x N pixels, its frame N x N"
    )
    assert kind_of("mask bad.png: truncated") == "mask ...: truncated"
    assert kind_of(
        "built with a box left out: a box of 'polyp' from (10, -8) to (2e+02, 70) is not inside its frame"
    ) == ("built with a box left out: a box of ... from (N, N) to (N, N) is not inside its frame")
    values = kind_of("mask a.png: holds 0, 1, 2: expected 0 and 255, or 0 and 1")
    assert values == "mask ...: holds N, N, N: expected 0 and 255, or 0 and 1"
    words = "a video, and no rate of frames was chosen: name one with fps (--fps)"
    assert kind_of(words) == words


def test_groups_tell_a_single_reason_whole_and_bound_their_number():
    from meddel_hf.datadel.archives.entries import Problem

    many = [Problem("edd2020", f"{n}", f"reason {'x' * n} of {m}.png") for n in range(30) for m in range(n + 1)]
    rows = grouped([*many, Problem("ead2019", "a", "mask a.png: 5 pages"), Problem(None, "z.zip", "damaged")])
    assert rows[0] == ("", "damaged", 1)
    assert rows[1] == ("ead2019", "mask a.png: 5 pages", 1)
    assert rows[2] == ("edd2020", f"reason {'x' * 29} of ...", 30)
    assert rows[-1][1] == "19 more reasons"
    assert sum(count for source, _, count in rows if source == "edd2020") == len(many)

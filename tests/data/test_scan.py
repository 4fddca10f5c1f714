"""What a folder of images holds: every file is a frame or is counted, and none is opened that should not be."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture
from PIL import features

from meddel_hf.data.images import decode
from meddel_hf.data.pool import load_pool
from meddel_hf.data.scan import IMAGE_SUFFIXES, Scan, scan_of
from meddel_hf.errors import InvalidDataset


def picture(path: Path, level: int = 0, kind: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.new("L", (4, 4), level).save(path, kind)
    return path


def table(path: Path, rows: int, **columns) -> None:
    """A Parquet file of frames, or of other columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if columns:
        pq.write_table(pa.table(columns), path)
        return
    aside = picture(path.with_suffix(".png"))
    images = [{"bytes": aside.read_bytes(), "path": None}] * rows
    aside.unlink()
    ids = [f"row{number}" for number in range(rows)]
    Dataset.from_dict(
        {"id": ids, "image": images}, features=Features({"id": Value("string"), "image": Image()})
    ).to_parquet(path)


def test_every_file_is_a_frame_or_is_counted(tmp_path):
    folder = tmp_path / "x"
    for name in ("a.jpg", "deep/B.PNG", "c.avif", "d.tga"):
        picture(folder / name, kind="PNG")
    others = ["e.dcm", "deep/f.DCM", "g.heic", "IM0001", "1.2.840.10008", "h.mp4", "notes.txt", "i.jpg.gz"]
    hidden = [".hidden", ".git/j.jpg", "__MACOSX/k.jpg", "deep/.l.jpg", "deep/@eaDir/B.PNG", "$RECYCLE.BIN/m.jpg"]
    for name in (*others, *hidden):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"?")
    scan = scan_of(load_pool(str(folder)))
    assert scan.pictures == ("a.jpg", "c.avif", "d.tga", "deep/B.PNG")
    assert {one.path: one.kind for one in scan.skipped} == {
        "e.dcm": ".dcm", "deep/f.DCM": ".dcm", "g.heic": ".heic", "IM0001": "no suffix", "1.2.840.10008": "no suffix",
        "h.mp4": ".mp4", "notes.txt": ".txt", "i.jpg.gz": ".gz",
    }  # fmt: skip
    assert scan.told == "8 files were not looked at (.dcm 2, no suffix 2, .gz 1, .heic 1, .mp4 1, .txt 1)"
    scan.save(tmp_path)
    assert pq.read_table(tmp_path / "skipped.parquet")["path"].to_pylist() == sorted(others)
    of_one_kind = scan_of(load_pool(str(folder), include="deep/*"))
    assert (of_one_kind.pictures, of_one_kind.told) == (("deep/B.PNG",), "1 file was not looked at (.dcm 1)")


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_what_counts_as_a_picture_can_be_read(suffix, tmp_path):
    """Pillow writes it, and the one decode path reads it, under any spelling."""
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow is built without AVIF")
    path = tmp_path / f"x{suffix.upper()}"
    colour = {"mode": "1", "color": 1} if suffix == ".pbm" else {"mode": "L", "color": 200}
    written = Picture.new(colour["mode"], (16, 16), colour["color"])
    if suffix in (".jpc", ".jpf", ".jpx"):
        written.save(path, "JPEG2000", no_jp2=suffix == ".jpc")
    else:
        written.save(path)
    red = decode(str(path)).getpixel((8, 8))[0]
    assert abs(red - (255 if suffix == ".pbm" else 200)) < 4
    assert load_pool(str(tmp_path))["id"][:] == ["x"]


PIPES = """
import sys
from meddel_hf.data.batches import TableBatches, spans
from meddel_hf.pretraining.frame_cache import squeezed
from meddel_hf.data.pool import Pool, load_pool
pool = Pool.of(load_pool(sys.argv[1]))
batch = TableBatches(pool, spans(len(pool.ids), 99, 99, [0]), squeezed(8))[0]
print([(id, reason) for id, reason in zip(pool.ids, batch.reasons)])
"""


def test_nothing_but_files_is_opened(tmp_path):
    """In a process of its own, which a pipe would hold up and a device fill."""
    folder = tmp_path / "x"
    picture(folder / "fine.jpg")
    picture(folder / "folder.jpg" / "inside.png")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "gone.jpg").symlink_to(".git/annex/objects/gone")
    (folder / "vast.jpg").touch()
    os.truncate(folder / "vast.jpg", 2**31 + 1)
    os.truncate(folder / "fine.jpg", 10_000)
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(folder)  # the name of a socket is short
        server.bind("socket.jpg")
        done = subprocess.run(
            [sys.executable, "-c", PIPES, str(folder)], capture_output=True, text=True, timeout=120, check=True
        )
    assert done.stdout.strip() == repr(
        [
            ("fine", None), ("folder.jpg/inside", None), ("gone", "file not found"),
            ("loop", "a link that leads to itself"), ("pipe", "not a file: a named pipe"),
            ("socket", "not a file: a socket"),
            ("vast", "too large: 2,147,483,649 bytes, at most 2,147,483,648 are read"),
            ("zero", "not a file: a device"),
        ]
    )  # fmt: skip


def test_each_folder_is_visited_once_under_its_own_name(tmp_path):
    folder = tmp_path / "x"
    picture(folder / "1.jpg")
    picture(folder / "z" / "2.jpg")
    picture(tmp_path / "elsewhere" / "3.jpg")
    (folder / "a").symlink_to("z")
    (folder / "b").symlink_to(tmp_path / "elsewhere")
    (folder / "c").symlink_to(tmp_path / "elsewhere")
    (folder / "z" / "up").symlink_to(folder)
    (folder / "z" / "out").symlink_to(tmp_path)
    (folder / "lost").symlink_to("nowhere")
    scan = Scan.of(folder)
    assert scan.pictures == ("1.jpg", "b/3.jpg", "z/2.jpg")
    again = "a folder that was read already, through a link"
    assert {one.path: one.kind for one in scan.skipped} == {
        "a": again, "c": again, "z/up": again, "lost": "a link to nothing",
        "z/out": "a link to a folder above, which is not followed",
    }  # fmt: skip


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_must_not_be_read_is_told(tmp_path):
    picture(tmp_path / "x" / "1.jpg")
    picture(tmp_path / "x" / "closed" / "2.jpg").parent.chmod(0)
    assert "a folder that cannot be read (permission denied)" in Scan.of(tmp_path / "x").told


def test_a_name_that_is_no_text_is_listed_all_the_same(tmp_path):
    picture(tmp_path / "x" / "1.jpg")
    Path(os.fsdecode(bytes(tmp_path) + b"/x/\xe4.dcm")).write_bytes(b"?")
    scan = Scan.of(tmp_path / "x")
    scan.save(tmp_path)
    assert pq.read_table(tmp_path / "skipped.parquet")["path"].to_pylist() == ["\\udce4.dcm"]
    assert scan.told.encode().decode() == "1 file was not looked at (.dcm 1)"


def test_masks_among_the_frames_are_told(tmp_path):
    for name in ("images/1.jpg", "masks/2.jpg"):
        picture(tmp_path / "x" / name)
    (note,) = scan_of(load_pool(str(tmp_path / "x"))).notes
    assert note.startswith("1 of 2 pictures stands in a folder of masks, such as masks/2.jpg")
    assert scan_of(load_pool(str(tmp_path / "x"), include="images/*")).notes == ()
    assert (
        scan_of(load_pool(str(tmp_path / "x" / "masks"))).notes[0].startswith("all pictures stand in folders of masks")
    )


def test_names_of_masks_among_the_frames_are_told(tmp_path):
    for name in ("1.jpg", "1_Segmentation.png", "2.jpg", "2_mask.png", "2_mask_1.png", "3_mask.png"):
        picture(tmp_path / "x" / name)
    (note,) = scan_of(load_pool(str(tmp_path / "x"))).notes
    assert note.startswith("3 of 6 pictures are called masks of others, such as 1_Segmentation.png: choose with incl")
    assert "--masks _Segmentation --masks _mask --masks _mask_1 --out pool" in note
    for name in ("img_1.jpg", "mask_1.png"):
        picture(tmp_path / "y" / name)
    (note,) = scan_of(load_pool(str(tmp_path / "y"))).notes
    assert note.endswith("such as mask_1.png: choose with include (--include)")


def test_tables_beside_a_preview_are_the_data_set_that_load_dataset_opens(tmp_path):
    table(tmp_path / "x" / "data" / "train-00000-of-00001.parquet", 12)
    picture(tmp_path / "x" / "assets" / "preview.png")
    dataset = load_pool(str(tmp_path / "x"))
    assert dataset["id"][:] == [f"row{number}" for number in range(12)]
    scan = scan_of(dataset)
    assert scan.told == "1 file was not looked at (.png 1)"
    assert "was read as a data set" in scan.notes[0]
    assert "assets/preview.png" in scan.notes[0]
    chosen = load_pool(str(tmp_path / "x"), include="*.png")
    assert chosen["id"][:] == ["assets/preview"]


def test_a_folder_that_can_be_read_in_two_ways_is_refused(tmp_path):
    table(tmp_path / "x" / "frames.parquet", 2)
    for number in range(3):
        picture(tmp_path / "x" / f"{number}.png")
    with pytest.raises(
        InvalidDataset, match=r"holds 3 pictures and 1 table with images, such as frames\.parquet: name"
    ):
        load_pool(str(tmp_path / "x"))
    assert len(load_pool(str(tmp_path / "x"), include="*.png")) == 3


@pytest.mark.parametrize("name", ["labels.csv", "boxes.json", "sizes.parquet", "damaged.parquet"])
def test_a_table_without_images_beside_pictures_is_no_pool(name, tmp_path):
    picture(tmp_path / "x" / "1.jpg")
    if name == "sizes.parquet":
        table(tmp_path / "x" / name, 1, width=[1, 2])
    else:
        (tmp_path / "x" / name).write_text("id,label\n1,polyp\n")
    dataset = load_pool(str(tmp_path / "x"))
    assert dataset["id"][:] == ["1"]
    assert scan_of(dataset).told == f"1 file was not looked at ({Path(name).suffix} 1)"


def test_a_folder_without_pictures_says_what_it_holds(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.mp4").write_bytes(b"?")
    with pytest.raises(InvalidDataset, match=r"holds no images; 1 video can be .*a\.mp4: meddel pool .* --fps 1"):
        load_pool(str(tmp_path / "x"))
    (tmp_path / "x" / "a.mp4").rename(tmp_path / "x" / "a.heic")
    with pytest.raises(InvalidDataset, match=r"holds no images; 1 file was not looked at \(\.heic 1\); looked for"):
        load_pool(str(tmp_path / "x"))

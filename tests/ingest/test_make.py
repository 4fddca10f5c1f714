"""`meddel pool` as its users meet it: their folders go in, and every later step opens what comes out."""

from __future__ import annotations

import io
import json
import re
import signal
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from make_archives import ellipse, encoded, jpeg, mask, picture, png, refused_tiff
from make_own_files import clip, dicom
from own_pools import pool
from PIL import Image

from meddel_hf import Dedup, assets, embed, load_pool, make_pool, save_subset, split
from meddel_hf.cli import main
from meddel_hf.data.ids import ids_of
from meddel_hf.errors import InvalidArgument, InvalidDataset
from meddel_hf.ingest import extras
from meddel_hf.ingest.columns import FEATURES, OF_DICOM
from meddel_hf.ingest.make import MadePool
from meddel_hf.runtime.manifest import Manifest

MEDDEL = [sys.executable, "-m", "meddel_hf"]


def put(folder: Path, **files: bytes) -> Path:
    """Write files by their paths, with __ for a slash and _dot_ for a dot."""
    for name, data in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def reasons(made: MadePool) -> dict[str, str]:
    return {problem.path: problem.reason for problem in made.problems}


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Twelve frames of three exams, and their masks in a folder beside."""
    for number in range(12):
        name = f"exam-{number // 4}__{number:04}"
        put(tmp_path / "frames", **{f"{name}_dot_jpg": jpeg(number)})
        put(tmp_path / "masks", **{f"{name}_dot_png": mask(empty=number == 5)})
    return tmp_path / "frames"


def test_frames_in_folders_with_masks_in_another(frames, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "masks" / "exam-0" / "0000.png").write_bytes(mask(size=(40, 30)))
    (tmp_path / "masks" / "exam-2" / "0009.png").unlink()
    (frames / "exam-1" / "0004.jpg").write_bytes(jpeg(4)[:400])
    command = ["pool", "frames", "--masks", "masks", "--parts", "{patient}/*", "--out", "pool", "--quiet"]
    assert main([*command, "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "pool: 10 frames of 10 files, 9 with a mask (1 of them empty)" in said
    assert "  patient          3" in said
    assert "kept out: 1 x mask 0000.png is 40 x 30 pixels, its frame 96 x 80, such as exam-0/0000.jpg" in said
    assert "kept out: 1 x truncated, such as exam-1/0004.jpg" in said
    assert "frames without a mask: 1, such as exam-2/0009" in said
    assert "ids are paths, such as exam-0/0001" in said
    rows = {row["id"]: row for row in load_dataset("pool", split="train", cache_dir=str(tmp_path / "cache"))}
    for id, row in rows.items():
        assert (row["patient"], row["group"], row["file"]) == (id[:6], id[:6], f"{id}.jpg")
        if id != "exam-2/0009":
            expected = ellipse(empty=id == "exam-1/0005")
            assert np.array_equal(np.asarray(row["mask"]), expected * np.uint8(255))
    raw = load_pool("pool")
    assert raw["image"][0]["bytes"] == jpeg(1)  # as it came
    listed = pq.read_table("pool/rejected.parquet").to_pylist()
    assert {(row["path"], row["kind"]) for row in listed} == {
        ("exam-0/0000.jpg", "kept out"), ("exam-1/0004.jpg", "kept out"),
    }  # fmt: skip
    Manifest.read(Path("pool"), "pool").check(Path("pool"))


def test_a_hospital(tmp_path):
    """Three centres; patients, masks, videos and DICOM files; one number of two centres is two patients."""
    folder = tmp_path / "hospital"
    for centre in ("north", "south"):
        for number in range(3):
            put(folder, **{f"{centre}__001__images__{number}_dot_png": png(number + 10 * (centre == "south"))})
            put(folder, **{f"{centre}__001__masks__{number}_mask_dot_png": mask()})
    put(folder, south__007__exam_dot_mp4=clip(50), west__012__IM1=dicom(np.zeros((8, 8), np.uint8)))
    made, rows = pool(folder, tmp_path / "pool", masks="masks", parts="{center}/{patient}/*", fps=1)
    assert made.rows == len(rows) == 6 + 2 + 1
    assert made.counts["center"] == {"north": 3, "south": 5, "west": 1}
    assert made.counts["patient"] == {"north/001": 3, "south/001": 3, "south/007": 2, "west/012": 1}
    assert made.counts["video"] == {"south/007/exam": 2}
    assert made.masks == 6
    assert rows["west/012/IM1"]["study"] is not None
    assert set(rows["west/012/IM1"]) == {*FEATURES, *OF_DICOM}
    dataset = load_pool(str(tmp_path / "pool"))
    parted = split(dataset, test_share=0.3)
    group = dict(zip(ids_of(dataset), dataset["group"], strict=True))
    assert parted.by == "group"
    assert not {group[id] for id in parted.train} & {group[id] for id in parted.test}


def test_a_table_beside_the_images(tmp_path):
    folder = put(tmp_path / "images", a__1_dot_jpg=jpeg(1), a__2_dot_jpg=jpeg(2), b__1_dot_jpg=jpeg(3))
    head = "file_name,patient,centre,label,split,age,name\n"
    table = [
        f"{head}a/1.jpg,P1,north,polyp,train,61,DOE",
        "a/2.jpg,P1,north,,train,61,DOE",
        "b/1,P2,south,normal,test,,",
    ]
    (folder / "metadata.csv").write_text("\n".join(table))
    made, rows = pool(folder, tmp_path / "pool", table=folder / "metadata.csv", keep_columns=["age"])
    assert {k: v for k, v in rows["a/2"].items() if k in ("patient", "center", "label", "official_split", "age")} == {
        "patient": "P1", "center": "north", "label": None, "official_split": "train", "age": "61",
    }  # fmt: skip
    assert (rows["b/1"]["group"], rows["b/1"]["official_split"], rows["b/1"]["age"]) == ("P2", "test", None)
    assert made.left_out == ("name",)
    assert "columns of the table that were left out: name" in str(made)
    assert b"DOE" not in b"".join(content(tmp_path / "pool").values())
    assert made.problems == ()


def test_columns_in_capitals_and_british_spelling_are_those_of_the_pool(tmp_path):
    folder = put(tmp_path / "images", a__1_dot_jpg=jpeg(1), a__2_dot_jpg=jpeg(2))
    lines = "File_Name;Patient;Centre;Video;Age\r\na/1.jpg;P1;S\xfcd;V1;61\r\na/2.jpg;P1;S\xfcd;V2;\r\n"
    (folder / "t.csv").write_bytes(lines.encode("latin-1"))
    keep = ["Age", "Centre"]  # the second comes along anyway
    made, rows = pool(folder, tmp_path / "pool", table=folder / "t.csv", keep_columns=keep)
    assert made.left_out == ()
    named = ("patient", "center", "video", "group", "Age")
    assert [rows["a/1"][name] for name in named] == ["P1", "S\xfcd", "V1", "P1", "61"]
    assert "Centre" not in rows["a/1"]


def test_a_table_in_a_folder_below_is_relative_to_it(tmp_path):
    folder = put(tmp_path / "images", a__1_dot_jpg=jpeg(1), a__m_dot_csv=b"file_name,label\n1.jpg,x\n")
    put(tmp_path, elsewhere_dot_csv=b"file_name,label\na/1.jpg,y\n")
    assert pool(folder, tmp_path / "one", table=folder / "a" / "m.csv")[1]["a/1"]["label"] == "x"
    assert pool(folder, tmp_path / "two", table=tmp_path / "elsewhere.csv")[1]["a/1"]["label"] == "y"


def test_the_table_has_the_last_word_and_parts_the_first(tmp_path):
    folder = put(tmp_path / "f", north__p1__1_dot_jpg=jpeg(1), north__p2__2_dot_jpg=jpeg(2))
    put(folder, t_dot_csv=b"file_name,patient\nnorth/p1/1.jpg,person 9\nnorth/p2/2.jpg,\n")
    _, rows = pool(folder, tmp_path / "pool", parts="{center}/{patient}/*", table=folder / "t.csv")
    assert [row["patient"] for row in rows.values()] == ["person 9", "north/p2"]
    assert [row["center"] for row in rows.values()] == ["north", "north"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"parts": "{center}/{patient}/*"},
            "--parts '{center}/{patient}/*' fits 1 of 2 files, and not north/2.jpg: give an",
        ),
        ({"parts": "{center}/x/*"}, "fits none of the 2 files, such as north/2.jpg"),
        ({"table": "part.csv"}, "names 1 of 2 files, and not north/p1/1.jpg: add rows for those"),
        ({"table": "none.csv"}, "names none of the 2 files: it has p1.jpg"),
        ({"table": "twice.csv"}, "names north/2.jpg twice, once without suffix"),
        ({"table": "fields.csv"}, "has two columns for center, "),
        ({"table": "part.csv", "keep_columns": ["age"]}, "has no column 'age': it has label"),
        ({"table": "width.csv", "keep_columns": ["width"]}, "has the name of one that a pool has anyway"),
        ({"keep_columns": ["age"]}, "--keep-column names a column of a table, and there is none"),
        ({"masks": "nowhere"}, "--masks 'nowhere' is no folder with pictures"),
        ({"masks": "_mask", "exclude": "*"}, "holds no frames that can be read"),
        ({"masks": "p1"}, "none of 1 mask fits a frame: masks such as north/p1/1.jpg, frames such as north/2.jpg"),
        ({"images": ".."}, "lies outside of"),
        ({"fps": 0}, "fps must be above 0"),
        ({"window": (0, 0)}, "window must be a centre and a width above 0"),
        ({"tile": 3}, "tile must be at least 16"),
        ({"axis": "up"}, "axis must be one of"),
        ({"plain_ids": True, "key": "k"}, "leave one of them out"),
    ],
)
def test_options_that_do_not_fit_the_files(options, sentence, tmp_path):
    folder = put(tmp_path / "f", north__p1__1_dot_jpg=jpeg(1), north__2_dot_jpg=jpeg(2))
    put(tmp_path, part_dot_csv=b"file_name,label\nnorth/2.jpg,x\n", none_dot_csv=b"file_name\np1.jpg\n",
        twice_dot_csv=b"file_name,label\nnorth/2.jpg,x\nnorth/2,y\nnorth/p1/1,z\n",
        fields_dot_csv=b"file_name,center,centre\nnorth/2.jpg,a,b\n",
        width_dot_csv=b"file_name,width\nnorth/2.jpg,1\nnorth/p1/1.jpg,1\n")  # fmt: skip
    if "table" in options:
        options = {**options, "table": tmp_path / options["table"]}
    with pytest.raises((InvalidArgument, InvalidDataset)) as refused:
        make_pool(folder, tmp_path / "pool", **options)
    assert sentence in str(refused.value)
    assert not (tmp_path / "pool").exists()


def test_missing_values_where_they_are_allowed(tmp_path):
    folder = put(tmp_path / "f", north__p1__1_dot_jpg=jpeg(1), north__2_dot_jpg=jpeg(2))
    made, rows = pool(folder, tmp_path / "pool", parts="{center}/{patient}/*", allow_missing=True)
    assert rows["north/2"]["center"] is None
    assert "1 frame without" in str(made)
    _, rows = pool(folder, tmp_path / "two", parts=["{center}/{patient}/*", "{center}/*"])
    assert rows["north/2"]["center"] == "north"


def test_json_counts_what_the_pool_holds(tmp_path, capsys):
    folder = put(tmp_path / "f", north__p1__1_dot_jpg=jpeg(1), north__p2__2_dot_jpg=jpeg(2), south__p3__3_dot_jpg=b"x")
    line = ["pool", str(folder), "--out", str(tmp_path / "pool"), "--parts", "{center}/{patient}/*"]
    assert main([*line, "--json", "--workers", "1", "--quiet"]) == 0
    printed = capsys.readouterr()
    facts = json.loads(printed.out)
    rows = load_dataset(str(tmp_path / "pool"), split="train", cache_dir=str(tmp_path / "cache"))
    assert (facts["rows"], facts["files"], facts["kept_out"]) == (len(rows), 2, 1)
    assert facts["columns"]["center"] == {"north": 2}
    assert facts["columns"]["patient"] == {"north/p1": 1, "north/p2": 1}
    assert "next: meddel embed" in printed.err


def test_rows_of_a_table_without_a_file_are_named(tmp_path):
    folder = put(tmp_path / "f", a_dot_jpg=jpeg(1), t_dot_csv=b"file_name,label\na.jpg,x\ngone.jpg,y\n")
    made, _ = pool(folder, tmp_path / "pool", table=folder / "t.csv")
    assert reasons(made) == {"gone.jpg": "the table t.csv names it, and there is no such file"}


def test_masks_are_checked_as_build_checks_them(tmp_path):
    """Values, palettes, sizes, pages and turns; a frame whose mask is unclear is kept out with its reason."""
    shape = ellipse()
    turned = Image.fromarray(shape.T.astype(np.uint8) * 255)  # stored lying, and said to be turned a quarter
    exif = Image.Exif()
    exif[274] = 5
    palette = Image.fromarray(shape.astype(np.uint8), "P")
    palette.putpalette([0, 0, 0, 255, 0, 0])
    good = {
        "ones": encoded(Image.fromarray(shape.astype(np.uint8)), "PNG"), "palette": encoded(palette, "PNG"),
        "lossy": mask("JPEG"), "bits": encoded(Image.fromarray(shape), "PNG"),
        "turned": encoded(turned, "PNG", exif=exif), "rgb": mask(mode="RGB"),
    }  # fmt: skip
    classes = np.where(shape, 2, 0).astype(np.uint8)
    classes[:5, :5] = 1
    bad = {"classes": encoded(Image.fromarray(classes), "PNG"), "small": mask(size=(48, 40)), "cut": mask()[:60]}
    for number, (name, data) in enumerate({**good, **bad}.items()):
        put(tmp_path / "f", **{f"{name}_dot_jpg": jpeg(number), f"{name}_mask_dot_png": data})
    made, rows = pool(tmp_path / "f", tmp_path / "pool", masks="_mask")
    assert set(rows) == set(good)
    for name, row in rows.items():
        assert np.array_equal(np.asarray(row["mask"]), shape * np.uint8(255)), name
        assert row["mask"].mode == "L"
    told = reasons(made)
    assert "holds 0, 1, 2: expected 0 and 255, or 0 and 1" in told["classes.jpg"]
    assert "is 48 x 40 pixels" in told["small.jpg"]
    assert "mask cut_mask.png: " in told["cut.jpg"]


def test_masks_that_nobody_named_are_no_frames(tmp_path):
    folder = put(tmp_path / "f", images__1_dot_jpg=jpeg(1), masks__1_dot_png=mask())
    with pytest.raises(InvalidArgument, match="1 picture is called a mask, such as masks/1"):
        make_pool(folder, tmp_path / "pool")
    _, rows = pool(folder, tmp_path / "pool", images="images")
    assert list(rows) == ["images/1"]
    folder = put(tmp_path / "g", a__1_dot_jpg=jpeg(1), a__1_mask_dot_png=mask(), gt__2_dot_png=mask())
    with pytest.raises(InvalidArgument, match="2 pictures are called masks, such as a/1_mask"):
        make_pool(folder, tmp_path / "pool")
    with pytest.raises(InvalidArgument, match="1 picture is called a mask, such as gt/2"):
        make_pool(folder, tmp_path / "pool", masks="_mask")
    assert pool(folder, tmp_path / "pool", masks="_mask", exclude="gt/*")[0].masks == 1


@pytest.mark.parametrize(
    ("frame", "of_mask", "cure"),
    [
        ("1", "1_Segmentation", "--masks _Segmentation,"),
        ("1", "1-MASK", "--masks -MASK,"),
        ("b (2)", "b (2)_mask_1", "--masks _mask_1,"),
        ("1", "mask_1", "--masks, leave them out"),
        ("a/img_1", "a/Mask_1", "--masks, leave them out"),
    ],
)
def test_names_of_masks_of_others(frame, of_mask, cure, tmp_path):
    there = {
        name.replace("/", "__"): data for name, data in ((f"{frame}_dot_jpg", jpeg(1)), (f"{of_mask}_dot_png", mask()))
    }
    folder = put(tmp_path / "f", **there)
    with pytest.raises(InvalidArgument, match=f"^1 picture is called a mask, such as {re.escape(of_mask)}.*{cure}"):
        make_pool(folder, tmp_path / "pool")
    (folder / f"{frame}.jpg").unlink()
    assert list(pool(folder, tmp_path / "pool")[1]) == [of_mask], "nobody's mask"


def test_a_second_mask_of_a_frame_is_not_lost(tmp_path):
    folder = put(tmp_path / "f", b_dot_png=png(1), b_mask_dot_png=mask(), b_mask_1_dot_png=mask())
    with pytest.raises(InvalidArgument, match=r"1 picture is called a mask, such as b_mask_1\.png"):
        make_pool(folder, tmp_path / "pool", masks="_mask")


def test_names_in_two_ways_of_writing_an_umlaut(tmp_path):
    """macOS stores the ü of a file's name as two characters; a table, or a mask from elsewhere, has it as one."""
    apart, one = "Mu\u0308ller", "M\xfcller"
    folder = put(tmp_path / "f", **{f"images__{apart}__1_dot_jpg": jpeg(1), f"masks__{one}__1_dot_png": mask()})
    put(folder, t_dot_csv=f"file_name,label\nimages/{one}/1.jpg,polyp\n".encode())
    made, rows = pool(folder, tmp_path / "pool", masks="masks", table=folder / "t.csv")
    (row,) = rows.values()
    assert (row["id"], row["label"], made.masks) == (f"images/{apart}/1", "polyp", 1)


def test_damaged_doubled_and_foreign_files_are_listed(tmp_path):
    folder = put(
        tmp_path / "f", a_dot_jpg=jpeg(1), b_dot_jpg=jpeg(1), cut_dot_jpg=jpeg(2)[:300], empty_dot_png=b"",
        text_dot_png=b"hello", notes_dot_txt=b"hello", clinic_dot_tif=refused_tiff(3),
    )  # fmt: skip
    head = struct.pack(">4sIIBBBBB", b"IHDR", 60_000, 60_000, 8, 0, 0, 0, 0)  # 3.6 billion pixels, as the header says
    bomb = png(4)[:12] + head + struct.pack(">I", zlib.crc32(head)) + png(4)[33:]
    put(folder, bomb_dot_png=bomb)
    made, rows = pool(folder, tmp_path / "pool")
    assert list(rows) == ["a", "b", "clinic"]
    assert np.array_equal(np.asarray(rows["clinic"]["image"]), np.asarray(picture(3)))
    told = reasons(made)
    assert told["b"] == "the same bytes as 'a'"
    assert told["bomb.png"].startswith("too large")
    assert set(told) == {"b", "bomb.png", "cut.jpg", "empty.png", "text.png", "notes.txt"}
    assert made.doubles == 1
    assert {problem.path for problem in made.of_kind("not read")} == {"notes.txt"}


@pytest.mark.parametrize("suffix", [".tif", ".gif", ".png", ".webp"])
def test_pictures_beyond_the_first_of_a_file_are_told(suffix, tmp_path):
    pages = [Image.fromarray(np.full((8, 9, 3), level, np.uint8)) for level in (10, 120, 240)]
    folder = put(tmp_path / "files", one_dot_png=png(1))
    pages[0].save(folder / f"many{suffix}", save_all=True, append_images=pages[1:])
    made, rows = pool(folder, tmp_path / "pool")
    assert sorted(rows) == ["many", "one"]
    assert reasons(made) == {f"many{suffix}": "only the first of its 3 pictures was taken"}


def test_frames_of_twelve_bits_stored_as_sixteen_are_told(tmp_path):
    shade = np.linspace(0, 1, 64 * 48).reshape(48, 64)
    folder = put(tmp_path / "files", one_dot_png=png(1))
    for name, top in (("twelve", 4095), ("sixteen", 65535), ("dark", 0)):
        Image.fromarray(np.rint(shade * top).astype(np.uint16)).save(folder / f"{name}.png")
    made, rows = pool(folder, tmp_path / "pool")
    assert set(rows) == {"one", "twelve", "sixteen", "dark"}
    assert reasons(made) == {
        "twelve.png": "nearly black: its 16-bit values end at 4,095, and white is 65,535; scale it to them, where it "
        "was taken with fewer bits"
    }


@pytest.mark.parametrize(("frame", "of_mask", "side", "told"), [
    (3, 1, 40, True), (3, 3, 40, False), (1, 1, 40, False), (6, 1, 40, False), (6, 1, 32, True), (6, 6, 32, False),
])  # fmt: skip
def test_a_mask_that_may_lie_turned_on_its_frame_is_told(frame, of_mask, side, told, tmp_path):
    folder = put(tmp_path / "files")
    (folder / "masks").mkdir(parents=True)
    stored = (32, side) if of_mask == 1 and frame == 6 else (side, 32)
    for name, size, turn in (("a.jpg", (side, 32), frame), ("masks/a.png", stored, of_mask)):
        exif = Image.Exif()
        exif[0x112] = turn
        Image.new("L", size, 255 * (name != "a.jpg")).save(folder / name, exif=exif)
    made, rows = pool(folder, tmp_path / "pool", masks=["masks"])
    assert rows["a"]["mask"] is not None
    assert [one.kind for one in made.problems] == ["remark"] * told
    assert all("EXIF orientation" in one.reason for one in made.problems)


def test_two_frames_of_one_id_are_refused(tmp_path):
    folder = put(tmp_path / "f", a_dot_jpg=jpeg(1), a_dot_png=png(1))
    with pytest.raises(InvalidDataset, match=r"a\.jpg and a\.png differ in suffix only"):
        make_pool(folder, tmp_path / "pool")
    folder = put(tmp_path / "g", a_dot_mp4=clip(5), a__000000_dot_jpg=jpeg(1))
    with pytest.raises(InvalidDataset, match="two frames would have one id"):
        make_pool(folder, tmp_path / "pool", fps=1, workers=1)
    assert not (tmp_path / "pool").exists()


def test_links_and_archives_lead_nowhere_else(tmp_path):
    secret = put(tmp_path / "elsewhere", secret_dot_jpg=jpeg(9), deep__other_dot_jpg=jpeg(8))
    folder = put(tmp_path / "f", real__a_dot_jpg=jpeg(1))
    (folder / "out.jpg").symlink_to(secret / "secret.jpg")
    (folder / "outer").symlink_to(secret)
    (folder / "loop").symlink_to(folder)
    (folder / "in.jpg").symlink_to(folder / "real" / "a.jpg")
    with zipfile.ZipFile(folder / "z.zip", "w") as archive:
        archive.writestr("good.jpg", jpeg(2))
        archive.writestr("../evil.jpg", jpeg(3))
        archive.writestr("/abs.jpg", jpeg(4))
    with tarfile.open(folder / "t.tar.gz", "w:gz") as archive:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret / "secret.jpg")
        archive.addfile(link)
        plain = tarfile.TarInfo("plain.jpg")
        plain.size = len(jpeg(5))
        archive.addfile(plain, io.BytesIO(jpeg(5)))
    made, rows = pool(folder, tmp_path / "pool")
    assert sorted(rows) == ["in", "real/a", "t/plain", "z/good"]
    told = reasons(made)
    assert told["out.jpg"] == told["outer"]
    assert told["out.jpg"].startswith("a link that leads out of the folder")
    assert told["z/../evil.jpg"] == "its name leads out of the archive"
    assert "loop" in told
    assert told["real/a"] == "the same bytes as 'in'"


def test_the_pool_may_stand_in_the_folder_and_is_not_read_again(tmp_path):
    folder = put(tmp_path / "f", a_dot_jpg=jpeg(1))
    make_pool(folder, folder / "pool", workers=1)
    made = make_pool(folder, folder / "pool", workers=1)
    assert (made.rows, made.first_id, made.problems) == (1, "a", ())


def test_the_bytes_do_not_depend_on_workers(frames, tmp_path, monkeypatch):
    monkeypatch.setattr("meddel_hf.ingest.plan.GROUP_BYTES", 6_000)
    put(frames, exam_dot_mp4=clip(50))
    options = {"masks": str(tmp_path / "masks"), "fps": 2}
    one = make_pool(frames, tmp_path / "one" / "pool", **options, workers=1)
    two = make_pool(frames, tmp_path / "two" / "pool", **options, workers=2)
    first, second = content(one.out), content(two.out)
    assert sum(name.startswith("data/") for name in first) > 2
    assert first == second


def test_another_pool_there_is_replaced_whole_and_foreign_folders_are_not(tmp_path):
    folder = put(tmp_path / "f", a_dot_jpg=jpeg(1), b_dot_jpg=jpeg(2))
    pool(folder, tmp_path / "pool")
    before = content(tmp_path / "pool")
    (folder / "a.jpg").unlink()
    (folder / "b.jpg").write_bytes(b"")
    with pytest.raises(InvalidDataset, match=r"no frame passed the checks: 1 file was kept out \(b.jpg: empty"):
        make_pool(folder, tmp_path / "pool", workers=1)
    assert content(tmp_path / "pool") == before
    put(folder, c_dot_jpg=jpeg(3))
    assert list(pool(folder, tmp_path / "pool")[1]) == ["c"]
    with pytest.raises(InvalidArgument, match="is not empty and holds no pool"):
        make_pool(folder, put(tmp_path / "mine", a_dot_txt=b"x"))
    with pytest.raises(InvalidDataset, match="does not exist"):
        make_pool(tmp_path / "gone", tmp_path / "new")


def test_a_killed_run_leaves_nothing_and_the_next_one_ends_the_same(tmp_path):
    folder = tmp_path / "f"
    for n in range(4):
        put(folder, **{f"v{n}_dot_mp4": clip(200)})
    command = [*MEDDEL, "pool", "f", "--fps", "25", "--out", "pool", "--quiet", "--workers", "1"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".pool.*/data")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "pool").exists()
    make_pool(folder, tmp_path / "pool", fps=25, workers=1)
    assert not list(tmp_path.glob(".pool.*"))
    make_pool(folder, tmp_path / "other" / "pool", fps=25, workers=1)
    assert content(tmp_path / "pool") == content(tmp_path / "other" / "pool")


def test_personal_metadata_is_told_and_left_out_where_asked_for(tmp_path):
    exif = Image.Exif()
    exif[0x013B] = "DOE^JANE"
    folder = put(tmp_path / "f", a_dot_jpg=encoded(picture(1), "JPEG", exif=exif))
    made, _ = pool(folder, tmp_path / "plain")
    assert "metadata: 1 of 1 image carries" in str(made)
    made, rows = pool(folder, tmp_path / "clean", strip_metadata=True)
    assert "metadata: " not in str(made)
    assert b"DOE" not in b"".join(content(tmp_path / "clean").values())
    with Image.open(folder / "a.jpg") as image:
        assert rows["a"]["image"].tobytes() == image.tobytes()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a_dot_dcm", 'found DICOM files, such as a.dcm, and pydicom is not installed: pip install "meddel_hf[di'),
        ("a_dot_nii", 'and nibabel is not installed: pip install "meddel_hf[nifti]"'),
        ("a_dot_svs", 'and tiffslide is not installed: pip install "meddel_hf[wsi]"'),
    ],
)  # fmt: skip
def test_a_missing_library_is_one_sentence(name, sentence, tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    folder = put(tmp_path / "f", **{name: b"x", "b_dot_jpg": jpeg(1)})
    with pytest.raises(InvalidArgument) as refused:
        make_pool(folder, tmp_path / "pool", tile=64)
    assert sentence in str(refused.value)
    assert list(pool(folder, tmp_path / "pool", tile=64, exclude="a.*")[1]) == ["b"]


def test_a_pool_goes_through_embed_and_select(frames, tmp_path):
    masks = str(tmp_path / "masks")
    made = make_pool(frames, tmp_path / "pool", masks=masks, parts="{patient}/*", workers=1)
    dataset = load_pool(str(tmp_path / "pool"))
    encoder = Path(assets.__file__).parent / "encoder"
    store = embed(dataset, encoder, tmp_path / "store", calibrate=False, num_workers=0, progress=False)
    assert (store.pool_ids, len(store)) == (ids_of(dataset), made.rows)
    selection = Dedup(retention=0.4, eta=0.999, min_per={"patient": 1}).select(store, dataset)
    assert {id.split("/")[0] for id in selection.kept} == {"exam-0", "exam-1", "exam-2"}
    subset = selection.filter(dataset)
    assert set(subset["patient"]) == {"exam-0", "exam-1", "exam-2"}
    save_subset(subset, tmp_path / "subset", hash_ids=True)
    assert b"exam-" not in b"".join(content(tmp_path / "subset").values())


def test_of_an_empty_file_of_any_kind_it_is_said_that_it_is_empty(tmp_path):
    folder = put(tmp_path / "f", a_dot_jpg=jpeg(1), b_dot_jpg=jpeg(2), masks__a_dot_png=b"")
    names = ("c.jpg", "v.mp4", "d.dcm", "n.nii", "z.nii.gz", "s.svs")
    for name in names:
        (folder / name).write_bytes(b"")
    with zipfile.ZipFile(folder / "zipped.zip", "w") as archive:
        archive.writestr("w.mp4", b"")
    made, rows = pool(folder, tmp_path / "pool", fps=1, tile=16, masks="masks")
    assert list(rows) == ["b"]
    told = reasons(made)
    assert told.pop("a.jpg") == "mask a.png: empty file"
    assert told == dict.fromkeys((*names, "zipped/w.mp4"), "empty file")

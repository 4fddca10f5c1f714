"""Tables beside pictures: read as `imagefolder` of `datasets` reads them, and refused where they are unclear."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from meddel_hf.data.frame_table import FrameTable, tables_in
from meddel_hf.data.groups import groups_of
from meddel_hf.data.pool import load_pool
from meddel_hf.data.scan import scan_of
from meddel_hf.errors import InvalidDataset


def table(folder: Path, name: str, content: str | bytes) -> FrameTable:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return FrameTable.read(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.csv", "file_name,patient,note\na/1.png,007,\nb.png,P 2,x\n"),
        ("m.csv", "\ufefffile_name;patient;note\r\na/1.png;007;\r\nb.png;P 2;x\r\n"),  # as Excel writes it
        ("m.csv", "file_name,patient,note,,\na/1.png,007,,,\nb.png,P 2,x,,\n,,,,\n"),  # emptied columns, and a row
        ("m.csv", "file_name,patient,note\na/1.png,007,,\nb.png,P 2,x,\n"),
        ("m.tsv", "file_name\tpatient\tnote\na/1.png\t007\t\nb.png\tP 2\tx\n"),
        ("m.csv", 'note,file_name,patient\n,a\\1.png,"007"\nx,./b.png,P 2'),
        ("m.jsonl", '\ufeff{"file_name": "a/1.png", "patient": "007", "said": "a\u2028b\x85c"}\r\n'
         '{"file_name": "b.png", "patient": "P 2", "note": "x"}\r\n'),
        ("m.jsonl", '{"file_name": "a/1.png", "patient": "007"}\n\n{"file_name": "b.png", "patient": "P 2", '
         '"note": "x"}'),
    ],
)  # fmt: skip
def test_all_ways_to_write_a_table(name, content, tmp_path):
    read = table(tmp_path, name, content)
    assert sorted(set(read.columns) - {"said"}) == ["note", "patient"]
    assert read.values("a/1.png")["patient"] == "007"
    assert read.values("a/1.png").get("note") is None
    assert read.values("b.png") == {"patient": "P 2", "note": "x"}
    assert read.values("c.png") is None


def test_what_a_spreadsheet_saves_in_other_letters_is_read_and_told(tmp_path, caplog):
    text = "file_name;patient\r\nS\xfcd/1.png;M\xfcller\r\n"
    for encoding in ("latin-1", "utf-16", "utf-8", "utf-8-sig"):
        read = table(tmp_path, "m.csv", text.encode(encoding))
        assert read.rows == {"S\xfcd/1.png": {"patient": "M\xfcller"}}, encoding
    (told,) = caplog.messages
    assert "m.csv is not UTF-8 (line 2) and was read as Windows-1252" in told


@pytest.mark.parametrize("begins", ["sep=;\r\n", "\r\n", "\n\n", ""])
def test_the_delimiter_is_the_one_outside_of_quotes(begins, tmp_path):
    read = table(tmp_path, "m.csv", begins + 'file_name;"note, of, which, kind";patient\r\n1.png;"a, b";007\r\n')
    assert read.rows == {"1.png": {"note, of, which, kind": "a, b", "patient": "007"}}


def test_values_of_parquet_that_json_has_no_word_for_cost_no_table(tmp_path):
    days = pa.array([[date(2026, 1, 2)], None], pa.list_(pa.date32()))
    pq.write_table(
        pa.table({"file_name": ["1.png", "2.png"], "days": days, "patient": ["p", "q"]}), tmp_path / "m.parquet"
    )
    assert [FrameTable.read(tmp_path / "m.parquet").values(f"{n}.png")["patient"] for n in (1, 2)] == ["p", "q"]


def test_names_are_known_in_capitals_with_spaces_and_in_british_spelling(tmp_path):
    text = "File_Name , Patient,Centre,VIDEO,Official_Split,Age\n1.png,p1,north,v,test,61\n"
    read = table(tmp_path, "m.csv", text)
    assert read.columns == ("Patient", "Centre", "VIDEO", "Official_Split", "Age")
    assert [*read.fields.values()] == ["patient", "center", "video", "official_split", "Age"]
    assert read.values("1.png") == dict(zip(read.columns, ["p1", "north", "v", "test", "61"], strict=True))
    columns = {"FILE_NAME": ["1.png"], "Center ": ["south"]}
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    assert FrameTable.read(tmp_path / "m.parquet").fields == {"Center": "center"}


def test_a_pool_of_images_knows_its_patients_however_the_table_names_them(folder):
    rows = [f"{'ab'[n % 2]}/{n}.png,P{n // 2},north" for n in range(4)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,Patient,CENTRE", *rows]))
    pool = load_pool(str(folder))
    assert pool.column_names == ["id", "image", "patient", "center"]
    assert groups_of(pool) == ["P0", "P1", "P0", "P1"]


def test_parquet(tmp_path):
    columns = {"file_name": ["1.png", "2.png"], "age": [61, None], "weight": [70.5, float("nan")], "ok": [True, False]}
    columns["patient"] = [7.0, None]  # as pandas writes 7 where another is missing
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    read = FrameTable.read(tmp_path / "m.parquet")
    assert read.values("1.png") == {"age": "61", "weight": "70.5", "ok": "true", "patient": "7"}
    assert read.values("2.png") == {"age": None, "weight": None, "ok": "false", "patient": None}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "m.csv",
            "name,patient\n1.png,p\n",
            "has no column 'file_name' by which its rows name files: it has name, pati",
        ),
        ("m.csv", "", "has no column 'file_name' by which its rows name files: it has no columns"),
        ("m.csv", "file_name,a\n1.png,p\n,q\n", "row 2 has no file_name"),
        ("m.csv", "file_name,a\n1.png,p\n./1.png,q\n", "names '1.png' twice"),
        ("m.csv", "file_name,a\n../1.png,p\n", "row 1 names '../1.png': expected a path below the folder"),
        ("m.csv", "file_name,a\n/etc/1.png,p\n", "expected a path below the folder"),
        ("m.csv", "file_name,a\nC:\\1.png,p\n", "expected a path below the folder"),
        ("m.csv", "file_name,a\n1.png,p,q\n", "line 2 has 3 cells, its head 2"),
        ("m.csv", "file_name,a,a\n1.png,p,q\n", "has two columns of one name"),
        ("m.csv", 'file_name,a\n1.png,"p\n', "is damaged at line"),
        ("m.csv", b"file_name,a\n1.png,caf\x81\n", "is not UTF-8 (byte 21), nor Windows-1252: save it as UTF-8"),
        ("m.jsonl", b'{"file_name": "caf\xe9"}', "is not UTF-8 (byte"),
        ("m.csv", "file_name,Centre,center\n1.png,a,b\n", "two columns for center, 'Centre' and 'center': leave one"),
        ("m.csv", "file_name, File_Name\n1.png,2.png\n", "two columns for file_name, 'file_name' and 'File_Name'"),
        ("m.jsonl", '{"file_name": "1.png", "a": 1, "a ": 2}', "two columns for a, 'a' and 'a ': leave one"),
        ("m.jsonl", "{", "line 1 is not JSON"),
        ("m.jsonl", "[1]", "line 1 is no JSON object"),
        ("m.parquet", "PAR1", "is no Parquet file, or damaged"),
        ("m.txt", "file_name\n", "is no table: expected .csv"),
    ],
)
def test_what_is_unclear_is_refused(name, content, sentence, tmp_path):
    with pytest.raises(InvalidDataset) as refused:
        table(tmp_path, name, content)
    assert sentence in str(refused.value)


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(InvalidDataset, match=r"gone.csv cannot be read: file not found"):
        FrameTable.read(tmp_path / "gone.csv")


def test_tables_are_known_by_their_names():
    names = ["metadata.csv", "a/metadata.jsonl", "a/b/metadata.parquet", "sizes.csv", "my-metadata.csv"]
    assert list(tables_in(names)) == [
        ("metadata.csv", ""), ("a/metadata.jsonl", "a/"), ("a/b/metadata.parquet", "a/b/"),
    ]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        path = tmp_path / "images" / ("ab"[number % 2]) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number * 40, 0, 0)).save(path)
    return tmp_path / "images"


def test_a_pool_of_images_takes_the_columns_as_imagefolder_does(folder, tmp_path):
    rows = [f"{'ab'[n % 2]}/{n}.png,P{n // 2},label {n}" for n in (2, 0, 3, 1)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,patient,label", *rows]))
    pool = load_pool(str(folder))
    assert pool.column_names == ["id", "image", "patient", "label"]
    code = f"""
import json
from datasets import load_dataset
rows = load_dataset("imagefolder", data_dir={str(folder)!r}, split="train", cache_dir={str(tmp_path / "cache")!r})
print(json.dumps([[row["image"].getpixel((0, 0)), row["patient"], row["label"]] for row in rows]))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = {tuple(pixel): (patient, label) for pixel, patient, label in json.loads(done.stdout)}
    assert len(expected) == len(pool)
    for row in pool:
        with Image.open(row["image"]["path"]) as image:
            assert expected[image.getpixel((0, 0))] == (row["patient"], row["label"])
    assert scan_of(pool).told == ""
    assert next(iter(load_pool(str(folder), streaming=True)))["patient"] == "P0"


def test_a_table_may_write_an_umlaut_as_one_character(folder):
    (folder / "a" / "0.png").rename(folder / "a" / "Mu\u0308ller.png")  # as macOS stores it
    (folder / "metadata.csv").write_text("file_name,label\na/M\xfcller.png,x\n", encoding="utf-8")
    assert dict(load_pool(str(folder)).select_columns(["id", "label"]).to_pandas().values)["a/Mu\u0308ller"] == "x"


def test_what_the_table_does_not_say_is_told(folder):
    (folder / "a" / "metadata.jsonl").write_text(
        "\n".join(map(json.dumps, [{"file_name": "0.png", "label": 1, "id": "x"}, {"file_name": "9.png", "label": 2}]))
    )
    pool = load_pool(str(folder))
    assert pool["id"][:] == ["a/0", "a/2", "b/1", "b/3"]
    assert pool["label"][:] == ["1", None, None, None]
    strangers, own, without = scan_of(pool).notes
    assert strangers == "a/metadata.jsonl names 1 file that is no picture here: 9.png"
    assert own.startswith("the column 'id' of a/metadata.jsonl was left out")
    assert without == "a/metadata.jsonl says nothing of 3 pictures: a/2.png, b/1.png, b/3.png"


def test_a_table_that_is_none_costs_no_picture(folder):
    before = load_pool(str(folder))
    (folder / "metadata.csv").write_text("name,label\n0.png,x\n")
    after = load_pool(str(folder))
    assert after.column_names == ["id", "image"]
    assert "has no column 'file_name'" in scan_of(after).notes[0]
    assert after._fingerprint == before._fingerprint


def test_frames_are_the_same_pool_with_another_table(folder):
    from meddel_hf.data.identity import fingerprint_of

    plain = load_pool(str(folder))
    pools = []
    for label in ("x", "y"):
        (folder / "metadata.csv").write_text(f"file_name,label\na/0.png,{label}\n")
        pools.append(load_pool(str(folder)))
    assert {fingerprint_of(pool) for pool in pools} == {fingerprint_of(plain)}
    assert pools[0]._fingerprint != pools[1]._fingerprint

"""Boxes as owners write them: an odd entry costs itself, and is told; nothing beside it is lost."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import make_archives as make
import pyarrow.parquet as pq
import pytest
from PIL import ExifTags, Image

from meddel_hf.datadel.archives.entries import Entry
from meddel_hf.datadel.archives.tables import rows
from meddel_hf.datadel.build import build
from meddel_hf.datadel.convert.boxes import BadBox, kvasir_json, of_frame, parse
from meddel_hf.datadel.source import Box, BoxFile, OddBox

WHOLE = {"label": "polyp", "xmin": 10, "ymin": 8, "xmax": 60, "ymax": 70}


def table(**entries: Any) -> bytes:
    return json.dumps({key.replace("__", "."): value for key, value in entries.items()}).encode()


def listing(*boxes: dict[str, Any]) -> dict[str, Any]:
    return {"height": make.SIZE[1], "width": make.SIZE[0], "bbox": list(boxes)}


def test_one_odd_entry_of_the_table_leaves_all_the_others(tmp_path: Path):
    """Each frame has one sound box, the lower half of them something odd as well."""
    odd = {
        "swapped": {**WHOLE, "xmin": 60, "xmax": 10, "ymin": 70, "ymax": 8},
        "outside": {**WHOLE, "xmax": 130},
        "words": {**WHOLE, "xmin": "left"},
        "nameless": {key: value for key, value in WHOLE.items() if key != "label"},
        "null": {**WHOLE, "ymax": None},
        "list": [10, 8, 60, 70],
        "flat": {**WHOLE, "xmax": 10},
        "wart": {**WHOLE, "label": "wart"},
        "nan": {**WHOLE, "xmax": float("nan")},
        "huge": {**WHOLE, "xmax": 10**400},
        "shares": {**WHOLE, "xmin": 0.1, "ymin": 0.1, "xmax": 0.6, "ymax": 1.0},
    }
    entries: dict[str, Any] = {name: listing(WHOLE, box) for name, box in odd.items()}
    entries |= {
        "sound": listing(WHOLE),
        "key__jpg": listing(WHOLE),
        "text": listing({k: str(v) for k, v in WHOLE.items()}),
    }
    entries |= {"little": listing({**WHOLE, "xmax": 98}), "nobox": {"height": 80}, "nothing": None, "none": listing()}
    names = [*odd, "sound", "key", "text", "little", "nobox", "nothing", "none", "unlisted"]
    files: dict[str, bytes | str] = {"Kvasir-SEG/kavsir_bboxes.json": table(**entries)}
    for n, name in enumerate(names):
        files[f"Kvasir-SEG/images/{name}.jpg"] = make.jpeg(n)
        files[f"Kvasir-SEG/masks/{name}.jpg"] = make.mask("JPEG")
    done = build(make.write_folder(tmp_path / "raw", files), tmp_path / "out", workers=1)
    rows = {
        row["id"].rpartition("/")[2]: row for f in done.out.glob("data/*/*/*") for row in pq.read_table(f).to_pylist()
    }
    assert sorted(rows) == sorted(names)
    whole = [{"label": "polyp", "bbox": [10, 8, 50, 62]}]
    boxes = {name: row["boxes"] for name, row in rows.items()}
    assert boxes == {
        **dict.fromkeys([*odd, "sound", "key", "text"], whole), "swapped": whole * 2,
        "little": [{"label": "polyp", "bbox": [10, 8, 86, 62]}], "nobox": [], "nothing": [], "none": [], "unlisted": [],
    }  # fmt: skip
    listed = pq.read_table(done.out / "rejected.parquet").to_pylist()
    assert {row["kind"] for row in listed} == {"remark"}
    told = {Path(row["path"]).stem: row["reason"] for row in listed}
    assert told.keys() == {*odd, "nobox"}
    assert told["swapped"] == (
        "built with a box put right: the corners of a box of 'polyp' from (60, 70) to (10, 8) were swapped"
    )
    assert told["nobox"] == "built with a box left out: the table has no list 'bbox' for this frame"
    assert "(10, 8) to (130, 70) is not inside its frame of 96 x 80 pixels" in told["outside"]
    assert done.facts.annotated("kvasir_seg") == (len(names), 0, sum(map(len, boxes.values())))
    assert schema_counts(done.out) == (0, len(told))
    assert "## Rows kept, but for something" in (done.out / "README.md").read_text()
    assert "kept out" not in str(done)


def schema_counts(out: Path) -> tuple[int, int]:
    """(kept out, remarks) of the manifest."""
    details = json.loads((out / "manifest.json").read_text())["details"]
    return details["rejected"], details["remarks"]


def test_boxes_of_a_frame_that_its_orientation_turns_are_doubted(tmp_path):
    files: dict[str, bytes | str] = {
        "Kvasir-SEG/kavsir_bboxes.json": table(turned=listing(WHOLE), upright=listing(WHOLE))
    }
    for n, (name, orientation) in enumerate((("turned", 3), ("upright", 1))):
        exif, saved = Image.Exif(), io.BytesIO()
        exif[ExifTags.Base.Orientation] = orientation
        Image.open(io.BytesIO(make.jpeg(n))).save(saved, "JPEG", exif=exif)
        mask = io.BytesIO()
        Image.open(io.BytesIO(make.mask("JPEG"))).save(mask, "JPEG", exif=exif)
        files[f"Kvasir-SEG/images/{name}.jpg"], files[f"Kvasir-SEG/masks/{name}.jpg"] = (
            saved.getvalue(),
            mask.getvalue(),
        )
    done = build(make.write_folder(tmp_path / "raw", files), tmp_path / "out", workers=1)
    (told,) = pq.read_table(done.out / "rejected.parquet").to_pylist()
    assert (Path(told["path"]).stem, told["kind"]) == ("turned", "remark")
    assert "its EXIF orientation (3) turns the frame and not its boxes" in told["reason"]


@pytest.mark.parametrize(("side", "kept"), [(1, True), (2, False), (0.5, False)])
def test_a_box_is_of_the_frame_that_it_was_drawn_in(side, kept):
    """Repacks bring frames to another size, and leave the table as it was."""
    listed = {**listing(WHOLE), "width": 96 * side, "height": 80 * side}
    boxes, remarks = of_frame(kvasir_json(table(a=listed).decode())["a"], lambda entry: b"", ("polyp",), 96, 80)
    assert len(boxes) == kept
    assert remarks == [] if kept else remarks[0].endswith(
        f"was drawn in a frame of {96 * side:g} x {80 * side:g} pixels, and this one has 96 x 80"
    )  # fmt: skip


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '"x"', "{", "null", "\x00"])
def test_what_is_no_table_at_all_is_said_to_be_none(text):
    with pytest.raises(BadBox, match=r"no boxes were read: expected \{stem:"):
        kvasir_json(text)


def test_a_stem_that_is_listed_twice_keeps_its_first_boxes():
    found = kvasir_json(table(a=listing(WHOLE), a__PNG=listing(WHOLE, WHOLE)).decode())
    assert found["a"][0] == Box("polyp", 10, 8, 50, 62)
    assert isinstance(found["a"][1], OddBox)
    assert len(found["a"]) == 2


@pytest.mark.parametrize(
    ("format", "good", "bad"),
    [
        ("corners first", "polyp 10 8 60 70", ["polyp 10 8", "polyp a b c d", "10 8 60 70 polyp"]),
        ("corners last", "10 8 60 70 polyp", ["polyp 10 8 60 70", "10 8 60 70"]),
        ("yolo", "0 0.5 0.5 0.25 0.5", ["7 0.5 0.5 0.25 0.5", "0 0.5 0.5 0.25 2", "0 0.5"]),
    ],
)
def test_a_bad_line_of_any_format_leaves_the_others(format, good, bad):
    file = BoxFile(Entry("x", "a.txt", 0, 0, 0), format, ("polyp",))
    for line in bad:
        found = list(parse(file, f"\ufeff{good}\n{line}\r\n\n{good}\n".encode(), 96, 80))
        assert [type(each) for each in found] == [Box, OddBox, Box]
        assert line[:60] in found[1].reason


def test_a_bad_row_of_a_csv_leaves_the_others():
    text = b"class_name,xmin,ymin,xmax,ymax\npolyp,10,8,60,70\npolyp,10,8\npolyp,x,8,60,70,9\npolyp,1,2,3,4\n"
    found = list(parse(BoxFile(Entry("x", "a.csv", 0, 0, 0), "csv"), text, 96, 80))
    assert [type(each) for each in found] == [Box, OddBox, OddBox, Box]


def test_a_csv_is_read_line_by_line():
    def kinds(lines):
        text = "\n".join(["class_name, xmin, ymin, xmax, ymax", *lines, "polyp, 1, 2, 3, 4"]).encode()
        return [type(each) for each in parse(BoxFile(Entry("x", "a.csv", 0, 0, 0), "csv"), text, 96, 80)]

    assert kinds([]) == [Box]
    assert kinds(['"polyp,10,8,60,70']) == [OddBox, Box]
    assert kinds(["p" * 200_000 + ",10,8,60,70"]) == [OddBox, Box]  # more than the csv module takes


@pytest.mark.parametrize("head", ["name,x,y,w,h", "polyp,10,8,60,70", "class_name;xmin;ymin;xmax;ymax"])
def test_a_csv_without_its_head_is_told_even_where_no_line_follows(head):
    for rest in ("", "\npolyp,10,8,60,70\n"):
        found = list(parse(BoxFile(Entry("x", "a.csv", 0, 0, 0), "csv"), (head + rest).encode(), 96, 80))
        assert [type(each) for each in found] == [OddBox]
        assert f"at its head, found {head!r}" in found[0].reason


@pytest.mark.parametrize(("line", "first"), [
    ('"a;1', "a"), ('a;"1', "a"), ("x" * 200_000 + ";1", "x" * 200_000), ('"a;b";1', "a;b")])  # fmt: skip
def test_an_odd_line_of_an_owners_table_costs_no_other(line, first):
    found = list(rows(f"\ufeffname;x\r\n{line}\r\n\r\nb;2\r\nc\r\n".encode(), ";"))
    assert found == [{"name": first, "x": "1"}, {"name": "b", "x": "2"}, {"name": "c"}]
    assert list(rows(b"")) == []


def test_an_open_quote_in_the_table_of_a_source_leaves_the_boxes_of_its_other_frames(tmp_path):
    files = make.kvasir_capsule()
    lines = str(files["metadata.csv"]).splitlines()
    odd = "\n".join([lines[0], '"' + lines[1], *lines[2:]])
    boxes = []
    for number, metadata in enumerate((str(files["metadata.csv"]), odd)):
        raw = make.write_folder(tmp_path / f"raw{number}", {**files, "metadata.csv": metadata})
        done = build(raw, tmp_path / f"out{number}", workers=1)
        parts = sorted((done.out / "data" / "kvasir_capsule").rglob("train-*.parquet"))
        boxes.append([pq.read_table(part, columns=["id", "boxes"]).to_pylist() for part in parts])
    assert boxes[0] == boxes[1]
    assert any(row["boxes"] for part in boxes[1] for row in part)


def test_a_thousand_odd_boxes_of_one_frame_are_told_in_five_lines():
    boxes, remarks = of_frame((OddBox("x"),) * 1000 + (Box("polyp", 1, 2, 3, 4),), lambda entry: b"", (), 96, 80)
    assert boxes == [Box("polyp", 1, 2, 3, 4)]
    assert len(remarks) == 5
    assert remarks[-1] == "built without 996 more boxes that are odd"


def test_kvasir_capsules_corners_need_all_their_numbers(tmp_path):
    files = make.kvasir_capsule()
    metadata = str(files["metadata.csv"]).replace("10;20;50;18;52;60;12;62", "10;;50;18;52;60;12;62")
    done = build(make.write_folder(tmp_path / "raw", {**files, "metadata.csv": metadata}), tmp_path / "out", workers=1)
    listed = pq.read_table(done.out / "rejected.parquet").to_pylist()
    assert [row["reason"] for row in listed if row["kind"] == "remark"] == [
        "built with a box left out: expected the numbers x1, y1 to x4, y4, found '10  50 18 52 60 12 62'"
    ]

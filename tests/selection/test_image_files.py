"""Kept frames as image files: the pool's very bytes, at their ids, with all columns in what `imagefolder` opens."""

from __future__ import annotations

import json
from pathlib import Path

import make_metadata as make
import pytest
from datasets import ClassLabel, Dataset, Features, Image, List, Value, load_dataset
from hub.test_push import ROWS, kept_only

from meddel_hf.cli import main
from meddel_hf.data.pool import load_pool
from meddel_hf.errors import InvalidArgument
from meddel_hf.hub.push import push
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.selection.folder import save_subset

KEPT = (0, 2, 3, 5)
KINDS = {".jpg": make.jpeg(6), ".png": make.png(), ".tif": make.tiff(3), ".webp": make.webp(8), ".bmp": make.bmp()}


def pool(ids: list[str], **columns) -> Dataset:
    """Frames of all kinds, named by nothing but their bytes; of every second one a mask."""
    data = [KINDS[suffix] for suffix in (list(KINDS) * ROWS)[: len(ids)]]
    features = {"id": Value("string"), "image": Image(), "mask": Image(), "label": ClassLabel(names=["a", "b"])}
    features |= {"boxes": List(List(Value("int32"))), "patient": Value("string")}
    rows = {
        "id": ids, "image": [{"bytes": each, "path": None} for each in data],
        "mask": [{"bytes": KINDS[".png"], "path": None} if row % 2 else None for row in range(len(ids))],
        "label": [row % 2 for row in range(len(ids))], "boxes": [[[row, 1, 2, 3]] for row in range(len(ids))],
        "patient": [None] * len(ids), **columns,
    }  # fmt: skip
    return Dataset.from_dict(rows, features=Features(features))


def written(frames: Dataset, folder: Path, **how) -> list[dict]:
    chosen = kept_only(frames, *KEPT)
    save_subset(chosen.filter(frames), folder, as_images=True, **how)
    Manifest.read(folder, "subset").check(folder)
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]


def test_lists_of_images_are_refused_before_anything_is_written(tmp_path):
    frames = pool([f"{row}" for row in range(ROWS)])
    lists = [[{"bytes": KINDS[".png"], "path": None}]] * ROWS
    with pytest.raises(InvalidArgument, match="the column 'views' holds images in lists or structs"):
        written(frames.add_column("views", lists, feature=List(Image())), tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_files_stand_at_their_ids_with_the_bytes_of_the_pool(tmp_path):
    frames = pool([f"ward/{row:02}" for row in range(ROWS)])
    rows = written(frames, tmp_path / "kept")
    suffixes = [list(KINDS)[row % len(KINDS)] for row in KEPT]
    assert [row["file_name"] for row in rows] == [
        f"images/ward/{row:02}{s}" for row, s in zip(KEPT, suffixes, strict=True)
    ]
    for row, suffix in zip(rows, suffixes, strict=True):
        assert (tmp_path / "kept" / row["file_name"]).read_bytes() == KINDS[suffix]
    assert [row["mask_file_name"] for row in rows] == [None, None, "masks/ward/03.png", "masks/ward/05.png"]
    assert [(row["id"], row["label"], row["boxes"]) for row in rows] == [
        (f"ward/{row:02}", "ab"[row % 2], [[row, 1, 2, 3]]) for row in KEPT
    ]
    assert "# kept: 4 of " in (tmp_path / "kept" / "README.md").read_text()
    for opened in (
        load_dataset(str(tmp_path / "kept"), split="train"),
        load_dataset("imagefolder", data_dir=str(tmp_path / "kept"), split="train"),
    ):
        by_id = {row["id"]: row for row in opened}
        assert set(by_id) == {f"ward/{row:02}" for row in KEPT}
        for row in KEPT:
            there = by_id[f"ward/{row:02}"]
            assert there["image"].size == frames[row]["image"].size
            assert (there["label"], there["boxes"]) == ("ab"[row % 2], [[row, 1, 2, 3]])
            assert (there["mask"] is not None) == bool(row % 2)
    again = load_pool(str(tmp_path / "kept"))
    assert set(again["id"][:]) == set(by_id), "masks are no frames"


def test_the_rows_of_another_folder_of_that_name_are_not_loaded(tmp_path):
    for name, numbers in (("one", range(ROWS)), ("two", range(100, 100 + ROWS))):
        frames = pool([f"{row}" for row in range(ROWS)]).add_column("number", list(numbers))
        written(frames, tmp_path / name / "kept")
        assert load_dataset(str(tmp_path / name / "kept"), split="train")["number"][:] == [numbers[row] for row in KEPT]


def test_classes_are_written_by_their_names_and_no_number_as_null(tmp_path):
    frames = pool([f"{row}" for row in range(ROWS)], label=[0, 1, -1, None] * (ROWS // 4) + [0] * (ROWS % 4))
    frames = frames.add_column("age", [float(row) if row % 2 else float("nan") for row in range(ROWS)])
    rows = written(frames, tmp_path / "kept")
    assert [row["label"] for row in rows] == [[["a", "b", None, None][row % 4]][0] for row in KEPT]
    assert [row["age"] for row in rows] == [float(row) if row % 2 else None for row in KEPT]
    assert "NaN" not in (tmp_path / "kept" / "metadata.jsonl").read_text()
    loaded = load_dataset(str(tmp_path / "kept"), split="train")
    assert loaded["label"][:] == [row["label"] for row in rows]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["../../out", "/abs", "a/../b", "ok"], ["00000000", "00000001", "00000002", "ok"]),
        (["A/1", "a/1", "a", "a/1/2"], ["A/1", "00000001", "00000002", "00000003"]),
        (["C:x", "nul\x00", "a//b", "x" * 300], ["00000000", "00000001", "00000002", "00000003"]),
        (["one.jpg", "two.JPG", "é/ü", "."], ["one.jpg", "two.JPG", "é/ü", "00000003"]),
        (["$HOME", "a$b/c", "~", "100%"], ["00000000", "00000001", "~", "100%"]),
    ],
)
def test_ids_that_are_no_paths_are_numbers(ids, expected, tmp_path):
    every = [f"row {row}" for row in range(ROWS)]
    for place, id in zip(KEPT, ids, strict=True):
        every[place] = id
    rows = written(pool(every), tmp_path / "deep" / "kept")
    names = [row["file_name"].removeprefix("images/") for row in rows]
    assert [name if name in expected else name.rpartition(".")[0] for name in names] == expected
    assert [row["id"] for row in rows] == ids
    assert all((tmp_path / "deep" / "kept" / row["file_name"]).is_file() for row in rows)
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["kept"]


def test_hashed_and_stripped_nothing_is_left_and_patients_are_asked_about(tmp_path):
    secret = make.SECRET.decode()
    frames = pool([f"{secret}/{row}" for row in range(ROWS)], patient=[secret] * ROWS)
    rows = written(frames, tmp_path / "clean", strip_metadata=True, hash_ids=True)
    assert all(len(row["id"]) == len(row["patient"]) == 32 for row in rows)
    for path in (tmp_path / "clean").rglob("*"):
        assert secret not in str(path.relative_to(tmp_path))
        assert not path.is_file() or make.SECRET not in path.read_bytes(), path
    written(frames, tmp_path / "open", strip_metadata=True)
    with pytest.raises(InvalidArgument, match="its column patient holds 1 different values"):
        push(tmp_path / "open", "me/open")


def test_as_it_is_typed(tmp_path, capsys):
    (tmp_path / "frames").mkdir()
    for row in range(ROWS):
        (tmp_path / "frames" / f"{row:02}.jpg").write_bytes(make.jpeg())
    kept_only(load_pool(str(tmp_path / "frames")), *KEPT).save(tmp_path / "s")
    line = ["filter", str(tmp_path / "s"), str(tmp_path / "frames"), "--out", str(tmp_path / "kept"), "--images"]
    assert main(line) == 0
    assert f'wrote 4 frames; open them with load_dataset("{tmp_path}/kept", split="train")' in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "kept" / "images").iterdir()) == [f"{row:02}.jpg" for row in KEPT]
    assert main(line[:-1]) == 0, "Parquet in its place"
    assert not (tmp_path / "kept" / "images").exists()

"""What a user types as POOL, and what is checked of a data set before any work."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Array3D, Dataset, DatasetDict, Features, Image, IterableDataset, Value
from PIL import Image as Picture

from meddel_hf.data.pool import Pool, load_pool
from meddel_hf.errors import InvalidArgument, InvalidDataset
from meddel_hf.runtime.manifest import Manifest


def jpeg(level: int = 0) -> bytes:
    file = io.BytesIO()
    Picture.new("L", (4, 4), level).save(file, "JPEG")
    return file.getvalue()


def touch(folder: Path, *names: str) -> Path:
    for level, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg(level) + bytes(level))
    return folder


def frames(rows: int = 3, **columns) -> Dataset:
    images = [{"bytes": jpeg(row), "path": None} for row in range(rows)]
    return Dataset.from_dict({"id": [f"f{row}" for row in range(rows)], "image": images, **columns},
                             features=Features({"id": Value("string"), "image": Image(),
                                                **{name: Value("string") for name in columns}}))  # fmt: skip


def built(folder: Path) -> Path:
    """A folder of configs and Parquet, as `meddel build` writes it and the Hub shows it."""
    for config, rows in (("c1", 2), ("c2", 3)):
        (folder / config).mkdir(parents=True)
        frames(rows).to_parquet(folder / config / "train-0.parquet")
    frames(4).to_parquet(folder / "c2" / "test-0.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n"
        "- config_name: c1\n  data_files:\n  - split: train\n    path: c1/train-*.parquet\n"
        "- config_name: c2\n  data_files:\n  - split: train\n    path: c2/train-*.parquet\n"
        "  - split: test\n    path: c2/test-*.parquet\n---\n"
    )
    return folder


def test_a_folder_of_images(tmp_path):
    names = ["b/2.JPG", "b/10.jpg", "a.b.png", "README.txt", ".hidden/x.jpg", "b/.y.jpg", "__MACOSX/z.jpg", "c/d/e.tif"]
    folder = touch(tmp_path / "x", *names)
    dataset = load_pool(str(folder))
    assert dataset["id"][:] == ["a.b", "b/10", "b/2", "c/d/e"]
    assert dataset[2]["image"] == {"bytes": None, "path": str(folder / "b/2.JPG")}
    assert dataset.features == Features({"id": Value("string"), "image": Image(decode=False)})
    assert [row["id"] for row in load_pool(str(folder), streaming=True)] == dataset["id"][:]


def test_include_chooses_by_relative_path(tmp_path):
    folder = touch(tmp_path / "x", "c1/images_c1/1.jpg", "c1/masks_c1/1.jpg", "c2/images_c2/deep/2.jpg")
    assert load_pool(str(folder), include="*/images_*/*")["id"][:] == ["c1/images_c1/1", "c2/images_c2/deep/2"]
    with pytest.raises(InvalidDataset, match=r"none of its 3 images matches '\*\.png', such as c1/images_c1/1\.jpg"):
        load_pool(str(folder), include="*.png")


def test_links_to_folders_are_followed_and_loops_are_not(tmp_path):
    folder = touch(tmp_path / "x", "a/1.jpg")
    touch(tmp_path / "elsewhere", "2.jpg")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "a" / "up").symlink_to(folder)
    assert load_pool(str(folder))["id"][:] == ["a/1", "linked/2"]


def test_fingerprint_of_a_folder_survives_a_copy_and_notices_a_change(tmp_path, monkeypatch):
    first = touch(tmp_path / "x", "a/1.jpg", "a/2.jpg")
    known = load_pool(str(first))._fingerprint
    copy = shutil.copytree(first, tmp_path / "deep" / "copy")
    assert load_pool(str(copy))._fingerprint == known
    monkeypatch.chdir(tmp_path)
    assert load_pool("x")._fingerprint == known
    assert load_pool("x", include="*1*")._fingerprint != known
    (copy / "a" / "2.jpg").write_bytes(jpeg() + b"more")
    assert load_pool(str(copy))._fingerprint != known
    (first / "a" / "2.jpg").rename(first / "a" / "3.jpg")
    assert load_pool("x")._fingerprint != known


def test_two_files_that_would_share_an_id(tmp_path):
    folder = touch(tmp_path / "x", "1.jpg", "1.png", "2.jpg")
    with pytest.raises(InvalidDataset, match=r"differ in suffix only.*'1'"):
        load_pool(str(folder))
    assert load_pool(str(folder), include="*.jpg")["id"][:] == ["1", "2"]


def test_a_file_name_that_is_no_text(tmp_path):
    folder = touch(tmp_path / "x", "1.jpg")
    Path(os.fsdecode(bytes(folder) + b"/\xff.jpg")).write_bytes(jpeg())
    with pytest.raises(InvalidDataset, match="not UTF-8"):
        load_pool(str(folder))


def test_a_built_folder_with_configs_and_splits(tmp_path):
    folder = built(tmp_path / "datadel")
    assert len(load_pool(f"{folder}:c1")) == 2
    assert len(load_pool(f"{folder}:c2@test")) == 4
    row = load_pool(f"{folder}:c2")[1]
    assert row == {"id": "f1", "image": {"bytes": jpeg(1), "path": None}}
    stream = load_pool(f"{folder}:c2", streaming=True)
    assert isinstance(stream, IterableDataset)
    assert [dict(row) for row in stream] == list(load_pool(f"{folder}:c2"))
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert load_pool(f"{copy}:c2")._fingerprint == load_pool(f"{folder}:c2")._fingerprint
    prints = {load_pool(f"{folder}:{name}")._fingerprint for name in ("c1", "c2", "c2@test")}
    assert len(prints) == 3


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        ("", "has several configurations: choose one with ':name' from c1, c2"),
        (":c3", "has no configuration 'c3': choose one with ':name' from c1, c2"),
        (":c2@val", "has no split 'val': choose one with '@name' from train, test"),
    ],
)
def test_the_error_lists_what_there_is(suffix, message, tmp_path):
    with pytest.raises(InvalidDataset) as caught:
        load_pool(f"{built(tmp_path / 'datadel')}{suffix}")
    assert str(caught.value).endswith(message)


def test_saved_to_disk(tmp_path):
    frames().save_to_disk(tmp_path / "one")
    DatasetDict({"train": frames(2), "test": frames(1)}).save_to_disk(tmp_path / "two")
    assert load_pool(str(tmp_path / "one"))["image"][1] == {"bytes": jpeg(1), "path": None}
    assert len(load_pool(str(tmp_path / "two"))) == 2
    assert len(list(load_pool(f"{tmp_path / 'two'}@test", streaming=True))) == 1
    with pytest.raises(InvalidDataset, match="no split 'val'"):
        load_pool(f"{tmp_path / 'two'}@val")
    with pytest.raises(InvalidArgument, match="drop '@train'"):
        load_pool(f"{tmp_path / 'one'}@train")
    with pytest.raises(InvalidArgument, match="drop ':small'"):
        load_pool(f"{tmp_path / 'one'}:small")


def test_what_is_no_pool(tmp_path):
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "one.jpg")
    for spec, message in ((tmp_path / "nowhere", "does not exist"), ("./nowhere", "does not exist"),
                          (tmp_path / "empty", "holds no images"), (tmp_path / "one.jpg", "is a file")):  # fmt: skip
        with pytest.raises(InvalidDataset, match=message):
            load_pool(str(spec))
    with pytest.raises(InvalidArgument, match="drop ':' and '@'"):
        load_pool(f"{touch(tmp_path / 'x', '1.jpg')}@train")
    with pytest.raises(InvalidArgument, match="is a data set: drop it"):
        load_pool(f"{built(tmp_path / 'datadel')}:c1", include="*")


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("selection", "`meddel select` (it is a selection, not a pool of frames): give the pool that was embedded"),
        ("embeddings", "`meddel embed` (it holds embeddings, not a pool of frames): give the pool that was embedded"),
        ("report", "`meddel report` (it is a report, not a pool of frames): give the pool itself"),
        ("tokens", "an earlier step (it holds its tokens, not a pool of frames): give the pool itself"),
    ],
)
def test_what_another_step_wrote_is_no_pool(step, words, tmp_path, monkeypatch):
    """A selection's folder holds pictures, its contact sheets."""
    Manifest(step, "f00").write(touch(tmp_path / "x", "duplicates.png"), ())
    monkeypatch.chdir(tmp_path)
    for options in ({}, {"include": "*.png"}):
        with pytest.raises(InvalidDataset) as told:
            load_pool("x", **options)
        assert str(told.value) == f"x was written by {words}"


def test_a_data_set_that_a_step_wrote_is_a_pool(tmp_path):
    folder = built(tmp_path / "x")
    for step in ("datadel", "near-copies", "pool", "subset"):
        Manifest(step, "f00").write(folder, ())
        assert len(load_pool(f"{folder}:c1")) == 2


def test_a_manifest_of_somebody_else_makes_no_step(tmp_path):
    folder = touch(tmp_path / "x", "1.jpg")
    (folder / "manifest.json").write_text('{"step": "selection"}')
    assert load_pool(str(folder))["id"][:] == ["1"]


def test_a_path_with_signs_in_it_is_a_path(tmp_path):
    folder = touch(tmp_path / "mail@home:2", "1.jpg")
    assert len(load_pool(str(folder))) == 1


@pytest.mark.parametrize("binary", [pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("text", [None, pa.string(), pa.large_string(), pa.null()])
def test_images_that_another_program_wrote(binary, text, tmp_path):
    """Parquet of pandas, polars or pyarrow: bytes and path without the word of `datasets` that they are an image."""
    kind = pa.struct([("bytes", binary), *([] if text is None else [("path", text)])])
    stored = [{"bytes": jpeg(level)} for level in range(3)]
    columns = {"id": ["a", "b", "c"], "image": pa.array(stored, kind), "mask": pa.array(stored, kind)}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    dataset = load_pool(str(tmp_path))
    assert dataset.features["mask"] == Image()
    assert dataset.features["image"] == Image(decode=False)
    pool = Pool.of(dataset)
    assert [pool.frames[row]["image"]["bytes"] for row in range(3)] == [jpeg(level) for level in range(3)]


def test_bytes_that_another_program_wrote(tmp_path):
    stored = pa.array([jpeg(level) for level in range(3)], pa.large_binary())
    pq.write_table(pa.table({"id": ["a", "b", "c"], "image": stored}), tmp_path / "train.parquet")
    dataset = load_pool(str(tmp_path))
    assert [image["bytes"] for image in Pool.of(dataset).frames["image"]] == stored.to_pylist()
    assert dataset.features["image"] == Image(decode=False)


def test_lists_of_images_are_no_frames(tmp_path):
    kind = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": pa.array([[{"bytes": jpeg()}]], kind)}), tmp_path / "train.parquet")
    with pytest.raises(InvalidDataset, match=r"column 'image' holds List.*: expected images, their bytes"):
        Pool.of(load_pool(str(tmp_path)))


@pytest.mark.parametrize("form", ["stream", "file"])
def test_an_arrow_file_beside_a_preview(form, tmp_path):
    table = pa.table({"id": ["a", "b"], "image": [{"bytes": jpeg(level), "path": None} for level in range(2)]})
    write = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
    with write(str(tmp_path / "train.arrow"), table.schema) as writer:
        writer.write_table(table)
    dataset = load_pool(str(touch(tmp_path, "preview.jpg")))
    assert dataset["id"][:] == ["a", "b"]


def test_a_checked_pool():
    dataset = frames(3, note=["x", "y", "z"])
    pool = Pool.of(dataset)
    assert (pool.ids, pool.id_column, pool.fingerprint) == (["f0", "f1", "f2"], "id", dataset._fingerprint)
    assert pool.frames.column_names == ["image"]
    assert pool.frames[0:2]["image"] == [{"bytes": jpeg(row), "path": None} for row in range(2)]
    assert dataset.features["image"] == Image(), "the caller's data set stays as it is"


def test_row_numbers_stand_in_for_ids():
    pool = Pool.of(frames(3).remove_columns("id"))
    assert (pool.ids, pool.id_column) == (["0", "1", "2"], None)
    assert Pool.of(frames(), id_column=None).ids == ["0", "1", "2"]
    assert Pool.of(Dataset.from_dict({"id": [7, 3], "image": ["a.jpg", "b.jpg"]})).ids == ["7", "3"]


def test_a_formatted_data_set_is_read_raw():
    pool = Pool.of(frames().with_format("numpy"))
    assert pool.frames[0:1]["image"] == [{"bytes": jpeg(), "path": None}]
    transformed = frames().with_transform(lambda batch: 1 / 0)
    assert Pool.of(transformed).ids == ["f0", "f1", "f2"]


def test_a_stream_learns_its_columns_from_its_first_row():
    stream = IterableDataset.from_generator(lambda: iter([{"name": "x", "image": Picture.new("L", (2, 2))}]))
    assert stream.column_names is None
    pool = Pool.of(stream, id_column="name")
    assert (pool.ids, pool.fingerprint, pool.id_column) == (None, None, "name")
    assert Pool.of(frames().to_iterable_dataset()).frames.features["image"] == Image(decode=False)


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (frames(), {"image_column": "frame"}, "no image column 'frame'; it has id, image"),
        (frames(), {"id_column": "name"}, "no id column 'name'; it has id, image"),
        (frames(2, note=["x", "x"]), {"id_column": "note"}, "1 stands more than once, such as 'x'"),
        (frames(2, note=["x", None]), {"id_column": "note"}, "1 row has no id, such as row 1"),
        (frames(2, note=["", "y"]), {"id_column": "note"}, "1 row has no id, such as row 0"),
        (Dataset.from_dict({"id": [0.5], "image": ["a"]}), {}, "strings or integers, got 0.5"),
        (Dataset.from_dict({"id": ["a"], "image": [3]}), {}, "column 'image' holds Value"),
        (Dataset.from_dict({"image": [np.zeros((2, 2, 3))]}, features=Features({"image": Array3D((2, 2, 3), "uint8")})),
         {}, "column 'image' holds Array3D"),
        (frames().select([]), {}, "no rows"),
        (IterableDataset.from_generator(lambda: iter(())), {}, "no rows"),
        (DatasetDict({"train": frames()}), {}, r"dictionary of splits \(train\)"),
        ([1, 2], {}, "got list"),
    ],
)  # fmt: skip
def test_a_data_set_that_cannot_be_embedded(dataset, options, message):
    with pytest.raises(InvalidDataset, match=message):
        Pool.of(dataset, **options)


@pytest.mark.parametrize("mistyped", ["framse", "./framse"])
def test_a_mistyped_folder_is_told_what_it_may_have_meant(mistyped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    with pytest.raises(InvalidDataset, match=r"framse .*; did you mean 'frames'\?$"):
        load_pool(mistyped)

"""Data set folders are read as they are now, whatever `datasets` remembers of another folder, or of this one before."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from datasets import Dataset, Features, Image, Value, are_progress_bars_disabled, load_dataset
from PIL import Image as Picture

from meddel_hf.data.local import open_folder
from meddel_hf.data.pool import load_pool
from meddel_hf.errors import InvalidDataset
from meddel_hf.runtime.manifest import Manifest

pytestmark = [  # the readers of `datasets` leave tables open
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
FEATURES = Features({"id": Value("string"), "image": Image()})
CARD = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*.{suffix}\n---\n"


def png(level: int) -> bytes:
    file = io.BytesIO()
    Picture.new("RGB", (4, 4), (level, 0, 0)).save(file, "PNG")
    return file.getvalue()


def rows(levels: list[int]) -> Dataset:
    images = [{"bytes": png(level), "path": None} for level in levels]
    return Dataset.from_dict({"id": [f"f{row}" for row in range(len(levels))], "image": images}, features=FEATURES)


def parquet(folder: Path, levels: list[int]) -> None:
    (folder / "data").mkdir(parents=True)
    rows(levels).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    (folder / "README.md").write_text(CARD.format(suffix="parquet"))


def arrow(folder: Path, levels: list[int]) -> None:
    rows(levels).save_to_disk(folder.parent / "aside")
    (folder / "data").mkdir(parents=True)
    shutil.copy(next((folder.parent / "aside").glob("*.arrow")), folder / "data" / "train-0.arrow")
    (folder / "README.md").write_text(CARD.format(suffix="arrow"))


def csv(folder: Path, levels: list[int], suffix: str = "csv") -> None:
    """A table that names its pictures, always by the same names."""
    (folder / "data").mkdir(parents=True)
    names = []
    for row, level in enumerate(levels):
        (folder / f"{row}.png").write_bytes(png(level))
        names.append(str(folder / f"{row}.png"))
    table = folder / "data" / f"train-0.{suffix}"
    if suffix == "csv":
        lines = [f"f{row},{name}" for row, name in enumerate(names)]
        table.write_text("\n".join(["id,image", *lines, ""]))
    else:
        lines = [json.dumps({"id": f"f{row}", "image": name}) for row, name in enumerate(names)]
        table.write_text("\n".join([*lines, ""]))
    (folder / "README.md").write_text(CARD.format(suffix=suffix))


def jsonl(folder: Path, levels: list[int]) -> None:
    csv(folder, levels, "jsonl")


def imagefolder(folder: Path, levels: list[int]) -> None:
    (folder / "train").mkdir(parents=True)
    for row, level in enumerate(levels):
        (folder / "train" / f"{row}.png").write_bytes(png(level))
    lines = [f"{row}.png,f{row}" for row in range(len(levels))]
    (folder / "train" / "metadata.csv").write_text("\n".join(["file_name,id", *lines, ""]))
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train/*\n---\n"
    )


def webdataset(folder: Path, levels: list[int]) -> None:
    (folder / "data").mkdir(parents=True)
    with tarfile.open(folder / "data" / "train-0.tar", "w") as tar:
        for row, level in enumerate(levels):
            for name, content in ((f"{row}.image.png", png(level)), (f"{row}.id.txt", f"f{row}".encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    (folder / "README.md").write_text(CARD.format(suffix="tar"))


def saved(folder: Path, levels: list[int]) -> None:
    rows(levels).save_to_disk(folder)


FORMATS = [parquet, arrow, csv, jsonl, imagefolder, webdataset, saved]


def levels_of(dataset) -> list[int]:
    """Red of each frame's first pixel, read by Pillow."""
    found = []
    for row in dataset:
        image = row["image"] if "image" in row else row["image.png"]
        if isinstance(image, dict):
            image = io.BytesIO(image["bytes"]) if image["bytes"] else image["path"]
        picture = image if isinstance(image, Picture.Image) else Picture.open(image)
        found.append(picture.convert("RGB").getpixel((0, 0))[0])
    return found


def written_again(write, folder: Path, levels: list[int]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(folder.parent / "aside", ignore_errors=True)
    write(folder, levels)


@pytest.mark.parametrize("write", FORMATS)
def test_a_folder_that_was_written_again_gives_its_new_rows(write, tmp_path):
    """Same names, same card, same number of rows, same sizes."""
    folder, prints = tmp_path / "frames", []
    for levels in ([1, 2, 3], [4, 5, 6], [1, 2, 3]):
        written_again(write, folder, levels)
        dataset = load_pool(str(folder))
        prints.append(dataset._fingerprint)
        assert levels_of(dataset) == levels
        assert levels_of(load_pool(str(folder), streaming=True)) == levels
    assert prints[0] == prints[2] != prints[1]


@pytest.mark.parametrize("write", [parquet, imagefolder])
def test_two_folders_of_one_name(write, tmp_path):
    for place, levels in (("a", [1, 2]), ("b", [3, 4]), ("c", [1, 2])):
        write(tmp_path / place / "frames", levels)
    for place, levels in (("a", [1, 2]), ("b", [3, 4]), ("c", [1, 2]), ("a", [1, 2])):
        assert levels_of(load_pool(str(tmp_path / place / "frames"))) == levels
    first, second = load_pool(str(tmp_path / "a" / "frames")), load_pool(str(tmp_path / "c" / "frames"))
    assert first._fingerprint == second._fingerprint, "a copy is the same pool"
    shutil.rmtree(tmp_path / "a")
    assert levels_of(load_pool(str(tmp_path / "c" / "frames"))) == [1, 2]


def test_another_project_under_the_same_name(tmp_path):
    """Other columns, a split more: nothing that was known of the older folder shows."""
    folder = tmp_path / "frames"
    parquet(folder, [1, 2])
    assert load_pool(str(folder)).column_names == ["id", "image"]
    shutil.rmtree(folder)
    (folder / "data").mkdir(parents=True)
    rows([7, 8, 9]).add_column("center", ["x", "y", "z"]).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    (folder / "README.md").write_text(CARD.format(suffix="parquet"))
    for streaming in (False, True):
        dataset = load_pool(str(folder), streaming=streaming)
        assert [row["center"] for row in dataset] == ["x", "y", "z"]
        assert levels_of(dataset) == [7, 8, 9]


def test_the_rows_are_those_of_load_dataset_when_it_was_never_asked_before(tmp_path):
    parquet(tmp_path / "frames", [1, 2, 3])
    expected = load_dataset(str(tmp_path / "frames"), split="train", cache_dir=str(tmp_path / "fresh"))
    found = open_folder(tmp_path / "frames")
    assert found.features == expected.features
    assert [(row["id"], row["image"].tobytes()) for row in found] == [
        (row["id"], row["image"].tobytes()) for row in expected
    ]


def test_a_shard_whose_content_was_not_fetched_is_not_left_out(tmp_path):
    folder = tmp_path / "frames"
    (folder / "data").mkdir(parents=True)
    rows([1]).to_parquet(folder / "data" / "train-00000-of-00002.parquet")
    (folder / "data" / "train-00001-of-00002.parquet").symlink_to("../.git/annex/objects/gone")
    (folder / "README.md").write_text(CARD.format(suffix="parquet"))
    with pytest.raises(InvalidDataset, match=r"train-00001-of-00002\.parquet is a link to nothing: fetch"):
        load_pool(str(folder))


def test_a_shard_that_was_not_copied_is_told(tmp_path):
    folder = tmp_path / "frames" / "data"
    folder.mkdir(parents=True)
    for number in (0, 2):
        rows([number]).to_parquet(folder / f"train-{number:05d}-of-00003.parquet")
    rows([5]).to_parquet(folder / "test-00000-of-00001.parquet")
    with pytest.raises(InvalidDataset, match=r"holds 2 of the 3 files train-\.\.\.-of-00003, not number 1: fetch all"):
        load_pool(str(folder.parent))
    assert levels_of(load_pool(f"{folder.parent}@test")) == [5]


def test_shards_may_be_numbered_from_one(tmp_path):
    for number in (1, 2):
        rows([number]).to_parquet(tmp_path / f"train-{number:05d}-of-00002.parquet")
    assert levels_of(load_pool(str(tmp_path))) == [1, 2]


@pytest.mark.parametrize(
    ("fault", "message"),
    [("cut", r"1-of-00002\.parquet is no Parquet file, or damaged: fetch it again"),
     ("columns", r"only one of .*0-of-00002\.parquet and .*1-of-00002\.parquet has label: give all files"),
     ("types", r"^column 'label' is of type int64 in .*0-of-00002\.parquet and string in .*1-of-00002\.parquet: give"),
     ("empty", r"0-of-00002\.parquet has no rows")],
)  # fmt: skip
def test_what_is_wrong_with_a_shard_is_told(fault, message, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("datasets"), "propagate", True)
    folder = tmp_path / "frames" / "data"
    folder.mkdir(parents=True)
    first, second = (folder / f"train-{number:05d}-of-00002.parquet" for number in range(2))
    one, two = rows([] if fault == "empty" else [1]), rows([2] if fault in ("columns", "types") else [])
    (one.add_column("label", [3]) if fault == "types" else one).to_parquet(first)
    (two.add_column("label", ["polyp"]) if len(two) else two).to_parquet(second)
    if fault == "cut":
        second.write_bytes(second.read_bytes()[:-100])
    with pytest.raises(InvalidDataset, match=message):
        load_pool(str(folder.parent))
    assert not caplog.records, "datasets says the same in its own words"


def test_a_shard_that_changes_meanwhile_is_told_and_not_kept(tmp_path, monkeypatch):
    folder = tmp_path / "frames"
    parquet(folder, [1, 2])

    def slow(*args, **options):
        found = load_dataset(*args, **options)
        rows([3, 4]).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
        return found

    with monkeypatch.context() as patch:
        patch.setattr("meddel_hf.data.local.load_dataset", slow)
        with pytest.raises(InvalidDataset, match="changed while they were being read"):
            load_pool(str(folder))
    assert levels_of(load_pool(str(folder))) == [3, 4]


def test_caches_that_nobody_used_for_a_month_are_removed(tmp_path):
    for name in ("old", "new"):
        parquet(tmp_path / name / "frames", [len(name)])
        load_pool(str(tmp_path / name / "frames"))
    caches = [path for path in (tmp_path / "cache" / "meddel_hf").iterdir() if path.is_dir()]
    assert len(caches) == 2
    for cache in caches:
        os.utime(cache, (time.time() - 31 * 86_400,) * 2)
    load_pool(str(tmp_path / "new" / "frames"))
    assert len([path for path in (tmp_path / "cache" / "meddel_hf").iterdir() if path.is_dir()]) == 1


LOADED = """
import sys
import datasets
from meddel_hf.data.pool import load_pool
dataset = load_pool(sys.argv[1])
print(dataset._fingerprint, *dataset["id"][:])
"""


def test_two_processes_open_a_folder_at_once(tmp_path):
    parquet(tmp_path / "frames", list(range(9)))
    env = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", LOADED, str(tmp_path / "frames")]
    both = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate()[0].split() for process in both]
    assert answers[0] == answers[1]
    assert answers[0][1:] == [f"f{row}" for row in range(9)]
    assert len([path for path in (tmp_path / "cache" / "meddel_hf").iterdir() if path.is_dir()]) == 1


MISTYPED = """
import os, shutil, sys
from datasets import load_dataset
from meddel_hf.errors import InvalidDataset
from meddel_hf.data.pool import load_pool
os.chdir(sys.argv[1])
load_dataset("frames", split="train")  # now the cache holds a "frames"
shutil.rmtree("frames")
for spec in ("frames", "csv", "imagefolder"):
    try:
        print(spec, len(load_pool(spec)))
    except InvalidDataset as error:
        print(error)
"""


def test_a_mistyped_folder_opens_nothing_else(tmp_path):
    """Not the rows that a cache holds under its name, nor the files of the current directory."""
    csv(tmp_path / "frames", [1, 2])
    (tmp_path / "other.csv").write_text("id,image\na,b\n")
    env = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MISTYPED, str(tmp_path)], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        f"{spec} is no folder here, and no Hub id, which names an owner too, as in owner/{spec}"
        for spec in ("frames", "csv", "imagefolder")
    ]


def test_the_bars_of_datasets_stay_off_the_terminal(tmp_path, capsys):
    parquet(tmp_path / "pool", [1, 2])
    capsys.readouterr()
    assert len(open_folder(tmp_path / "pool")) == 2
    assert capsys.readouterr().err == ""
    assert not are_progress_bars_disabled(), "those of the caller are as before"


def test_what_a_step_wrote_is_held_to_its_manifest(tmp_path):
    folders = [tmp_path / name for name in ("a", "b")]
    for number, folder in enumerate(folders):
        parquet(folder, [number])
        Manifest("subset", "0").write(folder, ["data/train-00000-of-00001.parquet"])
    first, second = (folder / "data" / "train-00000-of-00001.parquet" for folder in folders)
    assert levels_of(load_pool(str(folders[0]))) == [0]
    shutil.copy(second, first)
    with pytest.raises(
        InvalidDataset, match=r"\.parquet changed since it was written \(its checksum is another\): copy"
    ):
        load_pool(str(folders[0]))
    (folders[0] / "manifest.json").unlink()  # then it is anybody's
    assert levels_of(load_pool(str(folders[0]))) == [1]

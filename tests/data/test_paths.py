"""Ids by paths: a selection of a folder filters what `load_dataset("imagefolder")` made of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset, Image, load_dataset
from tiny import textured, tiny_encoder

from meddel_hf import MedDEL, embed, load_pool, save_subset
from meddel_hf.data.paths import ids_by_path
from meddel_hf.errors import InvalidDataset, Mismatch
from meddel_hf.selection.measures import kept_of


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "frames"
    for number in range(12):
        (folder / f"class{number % 3}").mkdir(parents=True, exist_ok=True)
        textured(number).save(folder / f"class{number % 3}" / f"{number}.v1.jpg")
    return folder


def opened(folder: Path, tmp_path: Path) -> Dataset:
    return load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache"))


def test_a_selection_of_a_folder_filters_an_imagefolder_of_it(folder, tmp_path):
    store = embed(folder, tiny_encoder(tmp_path / "encoder"), tmp_path / "store", progress=False)
    selection = MedDEL(retention=0.5, epsilon=None, scope="pool").select(store)
    dataset = opened(folder, tmp_path)
    subset = selection.filter(dataset)
    raw = subset.cast_column("image", Image(decode=False))
    paths = [Path(row["image"]["path"]).relative_to(folder).with_suffix("").as_posix() for row in raw]
    assert sorted(paths) == sorted(selection.kept)
    assert subset.column_names == ["image", "label"]
    counts = kept_of(selection, dataset, "label")
    assert sum(kept for _, _, kept in counts.rows) == 6
    save_subset(subset, tmp_path / "subset")
    assert len(load_dataset(str(tmp_path / "subset"), split="train", cache_dir=str(tmp_path / "cache"))) == 6
    with pytest.raises(Mismatch, match="it has 11 rows"):
        selection.filter(dataset.select(range(11)))
    with pytest.raises(InvalidDataset, match="nor files whose paths tell the ids"):
        selection.filter(dataset.map(lambda row: row, remove_columns="image"))
    (folder / "class0" / "new.jpg").write_bytes((folder / "class0" / "0.v1.jpg").read_bytes())
    with pytest.raises(Mismatch, match="1 id that is not in the pool, such as 'class0/new'"):
        selection.filter(opened(folder, tmp_path / "later"))


@pytest.mark.parametrize(
    ("files", "known", "ids"),
    [
        (["/d/a/1.png", "/d/b/1.png"], {"a/1", "b/1"}, ["a/1", "b/1"]),
        (["/d/a/1.png", "/d/a/2.png"], {"a/1", "a/2", "b/1"}, ["a/1", "a/2"]),
        (["/d/a/1.png", "/d/a/2.png"], {"1", "2"}, ["1", "2"]),
        (["/d/a/1.png"], {"d/a/1", "x"}, ["d/a/1"]),
        (["/d/a/1.png", "/d/a/9.png"], {"a/1"}, ["a/1", "a/9"]),
        (["/d/a/1.png"], {"z"}, None),
        (["https://x/a/1.png"], {"a/1"}, None),
        ([], {"a"}, None),
    ],
)
def test_the_folder_is_the_one_below_which_ids_are_known(files, known, ids):
    dataset = Dataset.from_dict({"image": files}).cast_column("image", Image(decode=False))
    assert ids_by_path(dataset, "image", known) == ids


def test_the_ids_are_those_of_load_pool(folder, tmp_path):
    pool = load_pool(str(folder))
    ids = ids_by_path(opened(folder, tmp_path), "image", set(pool["id"]))
    assert sorted(ids) == sorted(pool["id"])

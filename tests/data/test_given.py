"""Frames in every form in which a program may hold them become the same data set."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, DatasetDict, IterableDatasetDict
from PIL import Image
from tiny import textured, tiny_encoder

from meddel_hf import MedDEL, embed
from meddel_hf.data.given import as_data_set
from meddel_hf.data.pool import Pool
from meddel_hf.errors import InvalidArgument, InvalidDataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Six pictures in two folders."""
    folder = tmp_path_factory.mktemp("pool")
    for number in range(6):
        (folder / f"video{number % 2}").mkdir(exist_ok=True)
        textured(number).save(folder / f"video{number % 2}" / f"{number}.png")
    return folder


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.png"))


def read(file: Path) -> Image.Image:
    picture = Image.open(file)
    picture.load()  # closes the file
    return picture


def png(number: int) -> bytes:
    file = io.BytesIO()
    textured(number).save(file, "PNG")
    return file.getvalue()


def splits() -> DatasetDict:
    parts = {"train": range(4), "test": range(4, 6)}
    return DatasetDict(
        {
            name: Dataset.from_dict({"id": list(map(str, numbers)), "image": [png(number) for number in numbers]})
            for name, numbers in parts.items()
        }
    )


def test_every_form_embeds_to_the_same_numbers(folder, tmp_path):
    encoder, files = tiny_encoder(tmp_path / "encoder"), files_of(folder)
    forms = {
        "folder": folder,
        "text": str(folder),
        "files": files,
        "names of files": [str(file) for file in files],
        "pictures": [read(file) for file in files],
        "arrays": [np.asarray(Image.open(file)) for file in files],
        "one array": np.stack([np.asarray(Image.open(file)) for file in files]),
        "data set": as_data_set(files),
        "splits": {"train": as_data_set(files[:4]), "test": as_data_set(files[4:])},
    }
    stores = {name: embed(form, encoder, tmp_path / name, progress=False) for name, form in forms.items()}
    for name, store in stores.items():
        np.testing.assert_array_equal(store.embeddings, stores["folder"].embeddings, err_msg=name)
        numbered = name in ("pictures", "arrays", "one array")
        assert store.row_ids == numbered, name
        if not numbered and name != "splits":  # of each split the folder that its files share is another
            assert store.pool_ids == ["video0/0", "video0/2", "video0/4", "video1/1", "video1/3", "video1/5"]
    assert stores["text"].pool_spec == stores["folder"].pool_spec == str(folder)
    again = embed(forms["arrays"], encoder, tmp_path / "arrays", progress=False)
    assert again.fingerprint == stores["arrays"].fingerprint


def test_of_splits_all_or_one():
    assert as_data_set(splits())["id"][:] == list("012345")
    assert as_data_set(splits(), "test")["id"][:] == ["4", "5"]
    assert as_data_set({"train": splits()["train"]})["id"][:] == list("0123")
    streams = IterableDatasetDict({name: part.to_iterable_dataset() for name, part in splits().items()})
    assert [row["id"] for row in as_data_set(streams)] == list("012345")
    assert Pool.of(as_data_set(splits())).fingerprint == Pool.of(as_data_set(splits())).fingerprint
    with pytest.raises(InvalidDataset, match=r"no split 'tset'; there are train, test; did you mean 'test'\?"):
        as_data_set(splits(), "tset")
    other = DatasetDict({**splits(), "odd": Dataset.from_dict({"id": [0], "image": [1.5]})})
    with pytest.raises(InvalidDataset, match="the splits train, test, odd do not go together"):
        as_data_set(other)
    with pytest.raises(InvalidDataset, match=r"stands? more than once, such as '0'"):
        Pool.of(as_data_set({"a": splits()["train"], "b": splits()["train"]}))


def test_a_selection_filters_all_splits():
    chosen = MedDEL(retention=0.5, epsilon=None).select(np.random.default_rng(0).standard_normal((6, 4)))
    from dataclasses import replace

    chosen = replace(chosen, origin=replace(chosen.origin, row_ids=False))
    assert chosen.filter(splits())["id"][:] == chosen.kept


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (None, "got a NoneType"),
        ([], "got a list of nothing"),
        (3, "got a int"),
        (b"bytes", "got a bytes"),
        (Image.new("L", (2, 2)), "got a Image"),
        ([1, 2], "got a int in it"),
        ([np.zeros((4, 4, 3), np.float32)], r"got an array of float32, shape \(4, 4, 3\) in it"),
        (np.zeros((4, 4, 3), np.uint8), r"got an array of uint8, shape \(4, 4, 3\)$"),
        ([np.zeros((4, 4, 2), np.uint8)], r"shape \(4, 4, 2\) in it"),
        ([np.zeros((4, 4), np.uint8), "x.png"], "got a str in it"),
        (["nowhere.png"], r"nowhere\.png is not there: expected a list of files"),
        (["/"], "/ is a folder: expected a list of files"),
        ({}, "expected data sets by the names of their splits"),
        ({"train": [1]}, "expected data sets by the names of their splits"),
    ],
)
def test_what_holds_no_frames_is_one_sentence(given, sentence):
    with pytest.raises(InvalidDataset, match=sentence):
        as_data_set(given)


def test_a_split_of_what_has_none(folder):
    for given in (str(folder), files_of(folder), splits()["train"]):
        with pytest.raises(InvalidArgument, match=r"split='test' chooses from a dictionary of splits.*@test"):
            as_data_set(given, "test")


def test_two_files_of_one_id_are_refused(folder, tmp_path):
    first = files_of(folder)[0]
    with pytest.raises(InvalidDataset, match="the same id"):
        as_data_set([first, first])

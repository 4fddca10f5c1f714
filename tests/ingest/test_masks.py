"""Which mask is whose: never one of another frame that has its name."""

from __future__ import annotations

import pytest

from meddel_hf.datadel.archives.entries import Entry
from meddel_hf.errors import InvalidArgument
from meddel_hf.ingest.files import File
from meddel_hf.ingest.masks import Rules, base_of, paired, where


def file(path: str, root: int = 0) -> File:
    folder, _, name = path.rpartition("/")
    return File(path, Entry(f"x/{folder}".rstrip("/"), name, 1, 1, 0), root)


def pairs(rules: Rules, *paths: str, elsewhere: tuple[str, ...] = ()) -> tuple[dict[str, list[str]], list[str]]:
    """(frame without suffix -> masks, masks that are nobody's)"""
    files = [*map(file, paths), *(file(path, 1) for path in elsewhere)]
    masks = [one for one in files if rules.mask_base(one) is not None]
    frames = [one for one in files if one not in masks and rules.image_base(one) is not None]
    found = paired(frames, masks, rules)
    return {stem: [one.path for one in mine] for stem, mine in found.frames.items()}, [m.path for m, _ in found.alone]


FOLDER = Rules(folders=("masks",))


@pytest.mark.parametrize(
    ("rules", "paths", "frame", "mask"),
    [
        (FOLDER, ["images/1.jpg", "masks/1.png"], "images/1", "masks/1.png"),
        (FOLDER, ["1.jpg", "masks/1.png"], "1", "masks/1.png"),
        (FOLDER, ["images/p1/1.jpg", "masks/p1/1.png"], "images/p1/1", "masks/p1/1.png"),
        (FOLDER, ["p1/images/1.jpg", "p1/masks/1_mask.png"], "p1/images/1", "p1/masks/1_mask.png"),
        (FOLDER, ["p1/1.jpg", "masks/p1/1.png"], "p1/1", "masks/p1/1.png"),
        (FOLDER, ["a/b/images/1.jpg", "a/b/masks/1_segmentation.png"], "a/b/images/1", "a/b/masks/1_segmentation.png"),
        (FOLDER, ["images/1.jpg", "masks/1_Mask.png"], "images/1", "masks/1_Mask.png"),
        (Rules(folders=("masks",), endings=("_m",)), ["1.jpg", "masks/1_mask.png"], "1", "masks/1_mask.png"),
        (Rules(folders=("masks",), endings=("_m",)), ["1.jpg", "masks/1_m.png"], "1", "masks/1_m.png"),
        (FOLDER, ["images/1.jpg", "masks/1_mask_2.png"], "images/1", "masks/1_mask_2.png"),
        (FOLDER, ["images/u\u0308.jpg", "masks/\xfc.png"], "images/u\u0308", "masks/\xfc.png"),
        (Rules(endings=("_mask",)), ["a/1.jpg", "a/1_mask.png"], "a/1", "a/1_mask.png"),
        (Rules(endings=("-gt",)), ["1.jpg", "1-gt.png"], "1", "1-gt.png"),
        (Rules(folders=("masks",), endings=("_m",)), ["images/1.jpg", "masks/1_m.png"], "images/1", "masks/1_m.png"),
        (Rules(folders=("masks_C*",)), ["C1/images_C1/1.jpg", "C1/masks_C1/1_mask.jpg"], "C1/images_C1/1",
         "C1/masks_C1/1_mask.jpg"),
        (Rules(folders=("masks",), images="images"), ["images/1.jpg", "preview/1.jpg", "masks/1.png"], "images/1",
         "masks/1.png"),
        (Rules(endings=("_mask",), images="_image"), ["1_image.jpg", "1_mask.png"], "1_image", "1_mask.png"),
    ],
)  # fmt: skip
def test_a_mask_finds_its_frame(rules, paths, frame, mask):
    assert pairs(rules, *paths) == ({frame: [mask]}, [])


@pytest.mark.parametrize(
    ("rules", "paths"),
    [
        (FOLDER, ["north/images/1.jpg", "south/masks/1.png"]),  # of another centre
        (FOLDER, ["images/p1/1.jpg", "masks/p2/1.png"]),  # of another patient
        (FOLDER, ["images/1.jpg", "masks/2.png"]),
        (FOLDER, ["images/1.jpg", "masks/1_old.png"]),
        (Rules(endings=("_mask",)), ["a/1.jpg", "b/1_mask.png"]),
        (Rules(endings=("_mask",)), ["a/b/1.jpg", "b/1_mask.png"]),
        (Rules(folders=("masks",), images="images"), ["frames/1.jpg", "images/2.jpg", "masks/1.png"]),
    ],
)
def test_a_mask_of_another_folder_is_nobodys(rules, paths):
    found, alone = pairs(rules, *paths)
    assert found == {}
    assert alone == [path for path in paths if "mask" in path]


def test_a_mask_that_two_frames_fit_is_neithers():
    found, alone = pairs(FOLDER, "raw/1.jpg", "small/1.jpg", "masks/1.png")
    assert (found, alone) == ({}, ["masks/1.png"])


def test_two_masks_of_a_frame_are_both_told():
    found, _ = pairs(FOLDER, "images/1.jpg", "masks/1.png", "masks/1_mask.png")
    assert found == {"images/1": ["masks/1.png", "masks/1_mask.png"]}


def test_masks_in_a_folder_elsewhere():
    rules = Rules(roots=(1,))
    assert pairs(rules, "p1/1.jpg", "p2/1.jpg", elsewhere=("p1/1.png", "p2/1_mask.png", "p3/1.png")) == (
        {"p1/1": ["p1/1.png"], "p2/1": ["p2/1_mask.png"]},
        ["p3/1.png"],
    )
    with_images = Rules(roots=(1,), images="images")
    assert pairs(with_images, "p1/images/1.jpg", "p2/images/1.jpg", elsewhere=("p2/1.png",))[0] == {
        "p2/images/1": ["p2/1.png"]
    }


def test_the_highest_folder_that_fits_is_the_base():
    assert base_of(file("a/masks/b/masks/1.png"), "masks") == "a/masks"
    assert base_of(file("a/masks2/1.png"), "masks") is None
    assert base_of(file("masks.png"), "masks") is None


def test_what_is_typed_is_a_name_a_path_or_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames" / "deep" / "gt").mkdir(parents=True)
    (tmp_path / "masks").mkdir()
    files = [file("deep/gt/1.png")]
    assert where("gt", tmp_path / "frames", files, "--masks") == "gt"
    assert where("frames/deep", tmp_path / "frames", [], "--masks") == "deep"
    assert where("masks", tmp_path / "frames", files, "--masks") == tmp_path / "masks"
    with pytest.raises(InvalidArgument, match="--masks 'nowhere' is no folder with pictures"):
        where("nowhere", tmp_path / "frames", files, "--masks")

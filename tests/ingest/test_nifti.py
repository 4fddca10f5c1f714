"""NIfTI volumes as slices: each voxel where a radiologist looks for it, whatever way the volume is stored."""

from __future__ import annotations

import gzip

import nibabel
import numpy as np
import pytest
from make_own_files import nifti
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from own_pools import pool

SHAPE = (9, 11, 6)  # right, front, up
RIGHT, FRONT, UP = (7, 5, 3), (4, 9, 3), (4, 5, 5)  # voxels that are bright


def body(*voxels: tuple[int, int, int]) -> np.ndarray:
    """int16, grey but for the voxels that are told; axes point right, to the front, up."""
    values = (100 + np.arange(np.prod(SHAPE)).reshape(SHAPE) % 7).astype(np.int16)
    for voxel in voxels:
        values[voxel] = 200
    return values


def stored(
    values: np.ndarray, codes: str, sides: tuple[float, float, float] = (1, 1, 1)
) -> tuple[np.ndarray, np.ndarray]:
    """The same body as a scanner with other axes stores it, and its affine."""
    affine = np.diag([*sides, 1.0])
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    return nibabel.orientations.apply_orientation(values, turn), affine @ inv_ornt_aff(turn, values.shape)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SRA"])
@pytest.mark.parametrize(
    ("axis", "name", "place", "size"),
    [
        # the voxel to the right lies left of the middle; the one in front above it
        ("axial", "z0003", {RIGHT: (5, 1), FRONT: (1, 4)}, (11, 9)),
        ("coronal", "y0005", {RIGHT: (2, 1), UP: (0, 4)}, (6, 9)),
        ("sagittal", "x0004", {FRONT: (2, 1), UP: (0, 5)}, (6, 11)),
    ],
)
def test_every_voxel_is_where_it_belongs(codes, axis, name, place, size, tmp_path):
    values, affine = stored(body(*place), codes)
    nifti(values, affine, tmp_path / "files" / "v.nii.gz")
    made, rows = pool(tmp_path / "files", tmp_path / "pool", axis=axis, window=(100, 200))
    pixels = np.asarray(rows[f"v/{name}"]["image"])
    assert pixels.shape == size
    assert {tuple(index) for index in np.argwhere(pixels == 255)} == set(place.values())
    assert made.rows == SHAPE["xyz".index(name[0])]
    assert rows[f"v/{name}"]["frame"] == int(name[1:])
    assert {row["group"] for row in rows.values()} == {"v"}


def test_slices_are_cut_across_the_thickest_side(tmp_path):
    for number, sides in enumerate([(1, 1, 1), (1, 1, 5), (4, 1, 1), (1, 3, 1)]):
        values, affine = stored(body(RIGHT), "LPS", sides)
        nifti(values, affine, tmp_path / "files" / f"{number}.nii")
    _, rows = pool(tmp_path / "files", tmp_path / "pool")
    assert sorted({id[:3] for id in rows}) == ["0/z", "1/z", "2/x", "3/y"]


def test_windows(tmp_path):
    values = np.random.default_rng(0).normal(1000, 300, SHAPE).astype(np.float32)
    nifti(values, np.eye(4), tmp_path / "files" / "plain.nii")
    nifti(values, np.eye(4), tmp_path / "files" / "calibrated.nii", cal_min=700, cal_max=1300)
    _, rows = pool(tmp_path / "files", tmp_path / "pool")
    plane = values[:, :, 2][::-1, ::-1].T
    low, high = np.percentile(values, [0.5, 99.5])
    for name, ends in {"plain": (low, high), "calibrated": (700, 1300)}.items():
        expected = np.clip((plane - ends[0]) / (ends[1] - ends[0]), 0, 1) * 255
        assert np.abs(np.asarray(rows[f"{name}/z0002"]["image"]) - expected).max() <= 0.501
    _, rows = pool(tmp_path / "files", tmp_path / "pool", window=(900, 100), include="plain*")
    expected = np.clip((plane - 850) / 100, 0, 1) * 255
    assert np.abs(np.asarray(rows["plain/z0002"]["image"]) - expected).max() <= 0.501


def test_time_every_and_empty_slices(tmp_path):
    values = np.stack([body(RIGHT), body(FRONT)], axis=-1)
    values[:, :, 0] = 0
    nifti(values, np.eye(4), tmp_path / "files" / "v.nii")
    made, rows = pool(tmp_path / "files", tmp_path / "pool", every=2, window=(100, 200))
    assert sorted(rows) == [f"v/t{t:04}-z{z:04}" for t in (0, 1) for z in (2, 4)]
    (remark,) = (problem for problem in made.of_kind("remark") if problem.path == "v.nii")
    assert remark.reason == "left out 2 slices of a single grey level"


def test_squeezed_pixels_are_told(tmp_path):
    nifti(body(RIGHT), np.diag([1, 1, 3, 1.0]), tmp_path / "files" / "v.nii")
    made, _ = pool(tmp_path / "files", tmp_path / "pool", axis="coronal")
    assert "its pixels are 1 x 3 mm, not square" in made.of_kind("remark")[0].reason


def test_masks_lie_upon_their_volumes(tmp_path):
    for codes in ("RAS", "LPS"):
        values, affine = stored(body(RIGHT), codes)
        nifti(values, affine, tmp_path / "files" / "imagesTr" / f"{codes}.nii.gz")
        mask = np.zeros(SHAPE, np.uint8)
        mask[RIGHT] = mask[FRONT] = 1
        nifti(*stored(mask, codes), tmp_path / "files" / "labelsTr" / f"{codes}.nii.gz")
    made, rows = pool(tmp_path / "files", tmp_path / "pool", masks="labelsTr", images="imagesTr", axis="axial")
    assert made.masks == made.rows == 2 * SHAPE[2]
    for codes in ("RAS", "LPS"):
        mask = np.asarray(rows[f"imagesTr/{codes}/z0003"]["mask"])
        assert {tuple(index) for index in np.argwhere(mask)} == {(5, 1), (1, 4)}
        assert not np.asarray(rows[f"imagesTr/{codes}/z0001"]["mask"]).any()


@pytest.mark.parametrize(
    ("mask", "affine", "reason"),
    [
        (np.zeros((9, 11, 5), np.uint8), np.eye(4), "mask v.nii is of shape (9, 11, 5), its volume (9, 11, 6)"),
        (np.zeros(SHAPE, np.uint8), np.diag([1, 1, 2, 1.0]), "does not lie where its volume does"),
        (np.arange(np.prod(SHAPE), dtype=np.uint8).reshape(SHAPE) % 3, np.eye(4), "holds 0, 1, 2: expected 0 and 255"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask, affine, reason, tmp_path):
    nifti(body(RIGHT), np.eye(4), tmp_path / "files" / "images" / "v.nii")
    nifti(body(RIGHT), np.eye(4), tmp_path / "files" / "images" / "good.nii")
    nifti(mask, affine, tmp_path / "files" / "masks" / "v.nii")
    made, _ = pool(tmp_path / "files", tmp_path / "pool", masks="masks")
    (problem,) = made.of_kind("kept out")
    assert reason in problem.reason


def test_a_header_that_was_put_right_is_told(tmp_path, capfd):
    path = nifti(body(RIGHT), np.eye(4), tmp_path / "files" / "v.nii")
    data = bytearray(path.read_bytes())
    data[254:256] = (77).to_bytes(2, "little")  # sform_code, of which there are six
    path.write_bytes(data)
    made, _ = pool(tmp_path / "files", tmp_path / "pool")
    (remark,) = made.of_kind("remark")
    assert remark.reason.startswith("its header was put right: sform_code 77 not valid")
    assert "sform_code" not in capfd.readouterr().err


def test_damaged_volumes_are_listed(tmp_path):
    files = tmp_path / "files"
    good = nifti(body(RIGHT), np.eye(4), files / "good.nii.gz").read_bytes()
    plain = gzip.decompress(good)
    (files / "cut.nii.gz").write_bytes(good[:-20])
    (files / "no.nii.gz").write_bytes(b"no gzip")
    (files / "short.nii").write_bytes(plain[:-100])
    (files / "head.nii").write_bytes(plain[:200])
    (files / "zeros.nii").write_bytes(bytes(1000))
    huge = bytearray(plain)
    huge[40:48] = np.array([3, 30_000, 30_000, 30_000], "<i2").tobytes()  # dim
    (files / "huge.nii").write_bytes(bytes(huge))
    colours = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nifti(colours, np.eye(4), files / "colours.nii")
    made, rows = pool(files, tmp_path / "pool")
    assert {id.split("/")[0] for id in rows} == {"good"}
    reasons = {problem.path: problem.reason for problem in made.of_kind("kept out")}
    assert sorted(reasons) == [
        "colours.nii",
        "cut.nii.gz",
        "head.nii",
        "huge.nii",
        "no.nii.gz",
        "short.nii",
        "zeros.nii",
    ]
    assert reasons["huge.nii"].startswith("too large: a volume of shape")
    assert reasons["colours.nii"].startswith("values of type")

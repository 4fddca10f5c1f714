"""DICOM files as frames: values by the standard's own formulas, ids as pseudonyms, and nothing else of the header."""

from __future__ import annotations

import io
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from make_own_files import clip, dicom
from own_pools import pool
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from meddel_hf.errors import InvalidArgument

RAMP = np.arange(-200, 312, 2, dtype=np.int16).reshape(16, 16)


def grey(row: dict) -> np.ndarray:
    pixels = np.asarray(row["image"])
    assert pixels.ndim == 2
    return pixels


def windowed(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1, value by value, for an output from 0 to 255."""
    answer = []
    for x in values.ravel().astype(float):
        if x <= centre - 0.5 - (width - 1) / 2:
            answer.append(0.0)
        elif x > centre - 0.5 + (width - 1) / 2:
            answer.append(255.0)
        else:
            answer.append(((x - (centre - 0.5)) / (width - 1) + 0.5) * 255)
    return np.array(answer).reshape(values.shape)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def test_a_window_and_a_rescale(folder, tmp_path):
    dicom(RAMP, folder / "a.dcm", RescaleSlope=2, RescaleIntercept=-10, WindowCenter=[40, 300], WindowWidth=[200, 900])
    made, rows = pool(folder, tmp_path / "pool")
    expected = windowed(RAMP * 2.0 - 10, 40, 200)
    assert np.abs(grey(rows["a"]) - expected).max() <= 0.5
    theirs = pydicom.dcmread(folder / "a.dcm")
    seen = apply_voi_lut(apply_modality_lut(RAMP, theirs), theirs)
    seen = (seen - seen.min()) / (seen.max() - seen.min()) * 255
    assert np.abs(grey(rows["a"]) - seen).max() <= 0.5
    assert made.problems == ()
    assert (rows["a"]["width"], rows["a"]["height"], rows["a"]["frame"]) == (16, 16, 0)


def test_a_rescale_that_is_there_and_empty_is_none(folder, tmp_path):
    dicom(RAMP, folder / "a.dcm", RescaleSlope=None, RescaleIntercept=None, WindowCenter=40, WindowWidth=200)
    made, rows = pool(folder, tmp_path / "pool")
    assert made.problems == ()
    assert np.abs(grey(rows["a"]) - windowed(RAMP, 40, 200)).max() <= 0.5


def test_a_window_that_was_asked_for_goes_before_the_files(folder, tmp_path):
    dicom(RAMP, folder / "a.dcm", WindowCenter=40, WindowWidth=200)
    _, rows = pool(folder, tmp_path / "pool", window=(0, 100))
    assert np.abs(grey(rows["a"]) - np.clip((RAMP + 50) / 100 * 255, 0, 255)).max() <= 0.5


@pytest.mark.parametrize(("function", "formula"), [
    ("LINEAR_EXACT", lambda x: np.clip((x - 40) / 200 + 0.5, 0, 1)),
    ("SIGMOID", lambda x: 1 / (1 + np.exp(-4 * (x - 40) / 200))),
])  # fmt: skip
def test_other_functions_of_a_window(function, formula, folder, tmp_path):
    dicom(RAMP, folder / "a.dcm", WindowCenter=40, WindowWidth=200, VOILUTFunction=function)
    _, rows = pool(folder, tmp_path / "pool")
    assert np.abs(grey(rows["a"]) - formula(RAMP.astype(float)) * 255).max() <= 0.501


def test_a_table_of_interest(folder, tmp_path):
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [256, 0, 8], [255 - n for n in range(256)]
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    pixels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    dicom(pixels, folder / "a.dcm", VOILUTSequence=[item])
    _, rows = pool(folder, tmp_path / "pool")
    assert np.array_equal(grey(rows["a"]), 255 - pixels)


def test_monochrome1_is_inverted_and_padding_is_black(folder, tmp_path):
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    dicom(pixels, folder / "a.dcm", PhotometricInterpretation="MONOCHROME1")
    dicom(pixels, folder / "b.dcm", PresentationLUTShape="INVERSE")
    dicom(pixels, folder / "c.dcm", PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0)
    _, rows = pool(folder, tmp_path / "pool")
    assert np.array_equal(grey(rows["a"]), 255 - pixels)
    assert np.array_equal(grey(rows["b"]), 255 - pixels)
    assert grey(rows["c"])[0, 0] == 0
    assert np.array_equal(grey(rows["c"])[1:], 255 - pixels[1:])


def test_eight_bits_without_a_window_stay_as_they_are(folder, tmp_path):
    pixels = np.random.default_rng(0).integers(30, 90, (16, 16), dtype=np.uint8)
    dicom(pixels, folder / "a.dcm")
    made, rows = pool(folder, tmp_path / "pool")
    assert np.array_equal(grey(rows["a"]), pixels)
    assert made.problems == ()


def test_sixteen_bits_without_a_window_are_scaled_and_told(folder, tmp_path):
    pixels = np.random.default_rng(0).normal(900, 100, (64, 64)).astype(np.int16)
    dicom(pixels, folder / "a.dcm")
    made, rows = pool(folder, tmp_path / "pool")
    low, high = np.percentile(pixels, [0.5, 99.5])
    assert np.abs(grey(rows["a"]) - np.clip((pixels - low) / (high - low), 0, 1) * 255).max() <= 0.5
    (remark,) = made.of_kind("remark")
    assert "no window in the file" in remark.reason


@pytest.mark.parametrize("name", ["JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEGBaselineProcess1"])
def test_codings_that_scanners_write(name, folder, tmp_path):
    """Compressed by GDCM's own tools."""
    y, x = np.mgrid[:64, :80]
    pixels = (120 + 60 * np.sin(x / 9) + 40 * np.cos(y / 7)).astype(np.uint8)
    dicom(pixels, tmp_path / "plain.dcm")
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(tmp_path / "plain.dcm"))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(folder / "a.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    _, rows = pool(folder, tmp_path / "pool")
    worst = np.abs(grey(rows["a"]).astype(int) - pixels).max()
    assert worst <= (4 if "Baseline" in name else 0)


@pytest.mark.parametrize("coding", [None, RLELossless, JPEG2000Lossless])
def test_several_frames_in_every_coding(coding, folder, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 64, 80), dtype=np.uint8)
    dicom(pixels, folder / "deep" / "a.dcm", coding=coding)
    _, rows = pool(folder, tmp_path / "pool")
    assert list(rows) == [f"deep/a/{n:06}" for n in range(5)]
    for number, row in enumerate(rows.values()):
        assert np.array_equal(grey(row), pixels[number])
        assert row["frame"] == number
    _, rows = pool(folder, tmp_path / "pool", every=2)
    assert list(rows) == ["deep/a/000000", "deep/a/000002", "deep/a/000004"]


def test_colours(folder, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    dicom(pixels, folder / "a.dcm")
    index = np.arange(256, dtype=np.uint8).reshape(16, 16)
    tables = {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 16] for name in ("Red", "Green", "Blue")}
    levels = {"Red": lambda n: n, "Green": lambda n: 255 - n, "Blue": lambda n: n // 2}
    tables |= {f"{name}PaletteColorLookupTableData": b"".join(int(level(n) * 257).to_bytes(2, "little")
               for n in range(256)) for name, level in levels.items()}  # fmt: skip
    dicom(index, folder / "b.dcm", PhotometricInterpretation="PALETTE COLOR", **tables)
    jpeg = io.BytesIO()
    smooth = Image.fromarray(pixels).resize((4, 3)).resize((64, 48), Image.Resampling.BICUBIC)
    smooth.save(jpeg, "JPEG", quality=95)
    ybr = {"PhotometricInterpretation": "YBR_FULL_422", "PixelData": encapsulate([jpeg.getvalue()])}
    data = dicom(np.zeros((48, 64, 3), np.uint8), PhotometricInterpretation="YBR_FULL_422")
    ds = pydicom.dcmread(io.BytesIO(data))
    ds.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    ds.PixelData = ybr["PixelData"]
    ds["PixelData"].is_undefined_length = True
    ds.save_as(folder / "c.dcm")
    _, rows = pool(folder, tmp_path / "pool")
    assert np.array_equal(np.asarray(rows["a"]["image"]), pixels)
    expected = np.stack([index, 255 - index, index // 2], axis=-1)
    assert np.array_equal(np.asarray(rows["b"]["image"]), expected)
    with Image.open(jpeg) as image:
        assert np.abs(np.asarray(rows["c"]["image"]).astype(int) - np.asarray(image)).max() <= 3


def test_windows_of_single_frames(folder, tmp_path):
    pixels = np.stack([RAMP, RAMP])

    def groups(centre: float) -> Dataset:
        window, item = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = centre, 100
        item.FrameVOILUTSequence = [window]
        return item

    shared, rescale = Dataset(), Dataset()
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1, -20, "HU"
    shared.PixelValueTransformationSequence = [rescale]
    dicom(
        pixels,
        folder / "a.dcm",
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=[groups(0), groups(100)],
    )
    _, rows = pool(folder, tmp_path / "pool")
    for number, centre in enumerate((0, 100)):
        expected = windowed(RAMP - 20.0, centre, 100)
        assert np.abs(grey(rows[f"a/{number:06}"]) - expected).max() <= 0.5


def test_a_wrapped_video(folder, tmp_path):
    data = dicom(np.zeros((64, 96, 3), np.uint8), PhotometricInterpretation="YBR_PARTIAL_420", NumberOfFrames=50)
    ds = pydicom.dcmread(io.BytesIO(data))
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    ds.PixelData = encapsulate([clip(50)])
    ds["PixelData"].is_undefined_length = True
    ds.save_as(folder / "exam.dcm")
    made, rows = pool(folder, tmp_path / "pool", fps=1)
    assert list(rows) == ["exam/000000", "exam/000025"]
    assert made.counts["patient"].total() == 2


def test_the_key_does_not_lie_among_the_files(folder, tmp_path):
    dicom(RAMP, folder / "a.dcm", WindowCenter=40, WindowWidth=200)
    for out, options in ((folder / "pool", {}), (tmp_path / "pool", {"key": folder / "mine.key"})):
        with pytest.raises(InvalidArgument, match=r"key of the pseudonyms, .*\.key, would lie among the files of"):
            pool(folder, out, **options)
    assert not list(folder.rglob("*.key"))
    made, _ = pool(folder, folder / "pool", key=tmp_path / "mine.key")
    assert made.key == tmp_path / "mine.key"


def test_nothing_personal_enters_the_pool(folder, tmp_path):
    dicom(RAMP, folder / "a.dcm", WindowCenter=40, WindowWidth=200)
    dicom(RAMP + np.int16(1), folder / "b.dcm", PatientID="4712", WindowCenter=40, WindowWidth=200)
    dicom(RAMP + np.int16(2), folder / "c.dcm", PatientID="", StudyInstanceUID="", SeriesInstanceUID="9.9",
          WindowCenter=40, WindowWidth=200)  # fmt: skip
    made, rows = pool(folder, tmp_path / "pool")
    key = tmp_path / "pool.key"
    assert made.key == key
    assert key.stat().st_mode & 0o077 == 0
    assert rows["a"]["patient"] != rows["b"]["patient"]
    assert rows["a"]["study"] == rows["b"]["study"]
    assert rows["a"]["group"] == rows["a"]["patient"]
    assert (rows["c"]["patient"], rows["c"]["study"], rows["c"]["group"]) == (None, None, None)
    written = b"".join(path.read_bytes() for path in (tmp_path / "pool").rglob("*") if path.is_file())
    for word in (b"DOE", b"4711", b"19700101", b"1.2.3.1", b"1.2.3.2", b"SECRET", key.read_bytes().strip()):
        assert word not in written, word
    assert str(key) in str(made)


def test_pseudonyms_are_those_of_the_key(folder, tmp_path):
    dicom(RAMP, folder / "a.dcm", WindowCenter=40, WindowWidth=200)
    _, first = pool(folder, tmp_path / "one", key=tmp_path / "k")
    _, again = pool(folder, tmp_path / "two", key=tmp_path / "k")
    _, other = pool(folder, tmp_path / "three", key=tmp_path / "k2")
    assert first["a"]["patient"] == again["a"]["patient"] != other["a"]["patient"]
    made, plain = pool(folder, tmp_path / "four", plain_ids=True)
    assert [plain["a"][name] for name in ("patient", "study", "series")] == ["4711", "1.2.3.1", "1.2.3.2"]
    assert "they may name people" in str(made)


def test_what_a_path_says_of_the_patient_goes_before_the_file(folder, tmp_path):
    dicom(RAMP, folder / "north" / "p1" / "a.dcm", WindowCenter=40, WindowWidth=200)
    _, rows = pool(folder, tmp_path / "pool", parts="{center}/{patient}/*")
    (row,) = rows.values()
    assert (row["center"], row["patient"], row["group"]) == ("north", "north/p1", "north/p1")


def test_a_mask_beside_a_dicom_file(folder, tmp_path):
    dicom(RAMP, folder / "a.dcm", WindowCenter=40, WindowWidth=200)
    Image.fromarray(np.uint8(RAMP > 0) * 255).save(folder / "a_mask.png")
    made, rows = pool(folder, tmp_path / "pool", masks="_mask")
    assert np.array_equal(np.asarray(rows["a"]["mask"]) > 0, RAMP > 0)
    assert made.masks == 1


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"BurnedInAnnotation": "YES"}, "text is burnt into its pixels"),
        ({"Rows": 40_000, "Columns": 40_000}, "too large: 40000x40000 pixels"),
        ({"PhotometricInterpretation": "YBR_RCT"}, ""),
        ({"WindowWidth": 0}, "damaged: a window of width 0"),
    ],
)
def test_what_cannot_be_taken_is_listed(tags, reason, folder, tmp_path):
    dicom(RAMP, folder / "good.dcm", WindowCenter=40, WindowWidth=200)
    dicom(RAMP, folder / "bad.dcm", **{"WindowCenter": 40, "WindowWidth": 200, **tags})
    made, rows = pool(folder, tmp_path / "pool")
    assert list(rows) == ["good"]
    (problem,) = made.of_kind("kept out")
    assert problem.path == "bad.dcm"
    assert reason in problem.reason


def test_a_deflated_file(folder, tmp_path):
    plain = dicom(RAMP, folder / "a.dcm", WindowCenter=40, WindowWidth=200)
    whole = pydicom.dcmread(io.BytesIO(plain))
    whole.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    whole.save_as(folder / "b.dcm")
    _, rows = pool(folder, tmp_path / "pool")
    np.testing.assert_array_equal(grey(rows["a"]), grey(rows["b"]))


def test_burnt_in_text_is_taken_where_somebody_looked(folder, tmp_path):
    dicom(RAMP, folder / "a.dcm", BurnedInAnnotation="YES", WindowCenter=40, WindowWidth=200)
    _, rows = pool(folder, tmp_path / "pool", burned_in=True)
    assert list(rows) == ["a"]


def test_damaged_files_and_those_without_pictures(folder, tmp_path):
    good = dicom(RAMP, folder / "good", WindowCenter=40, WindowWidth=200)  # known by its first bytes
    (folder / "1.2.840.10008").write_bytes(good)
    (folder / "cut.dcm").write_bytes(good[:-200])
    (folder / "head.dcm").write_bytes(good[:140])
    (folder / "text.dcm").write_bytes(b"hello")
    (folder / "empty.dcm").write_bytes(b"")
    dicom(None, folder / "report.dcm", Modality="SR")
    bare = pydicom.dcmread(io.BytesIO(good))
    del bare.PixelData
    bare.save_as(folder / "bare.dcm")
    (folder / "notes").write_text("no DICOM")
    made, rows = pool(folder, tmp_path / "pool")
    assert sorted(rows) == ["1.2.840.10008", "good"]
    reasons = {problem.path: problem.reason for problem in made.problems}
    assert reasons["report.dcm"] == "holds no picture (modality SR)"
    assert reasons["bare.dcm"].startswith("holds no pixels (modality ")
    assert reasons["text.dcm"] == "not a DICOM file"
    assert {"cut.dcm", "head.dcm", "empty.dcm"} <= set(reasons)
    assert reasons["notes"].startswith("no picture, video")
    assert reasons["good"] == "the same bytes as '1.2.840.10008'"

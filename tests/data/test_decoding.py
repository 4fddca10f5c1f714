"""Damage is damage on every way to the pixels: against what Pillow itself says on a plain load."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import pytest
import tifffile
from make_archives import encoded
from make_metadata import png_chunk
from PIL import Image, ImageFile, features

from meddel_hf.data.images import Preprocessing, decode, look, prepare
from meddel_hf.errors import UnreadableImage

SQUARE = Preprocessing((16, 16), None, 2, 1 / 255, (0.0,) * 3, (1.0,) * 3)
SHORTEST = Preprocessing(16, (16, 16), 2, 1 / 255, (0.0,) * 3, (1.0,) * 3)
READERS = {"decode": decode, "prepare": lambda data: prepare(data, SQUARE), "look": lambda data: look(data, 16)}


def picture(width: int = 60, height: int = 44, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    return Image.fromarray(smooth ^ (np.random.default_rng(seed).integers(0, 8, smooth.shape, dtype=np.uint8)))


def marked_grey(pixels: np.ndarray) -> bytes:
    """CVC-ClinicDB's kind of TIFF, which Pillow refuses: three samples, marked as grey."""
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="rgb", metadata=None)
    data = bytearray(file.getvalue())
    tag = data.index(struct.pack("<HHI", 262, 3, 1))
    data[tag + 8 : tag + 10] = struct.pack("<H", 1)
    return bytes(data)


def animation(kind: str) -> bytes:
    return encoded(picture(), kind, save_all=True, append_images=[picture(seed=1)])


SOUND = {
    "JPEG": encoded(picture(), "JPEG"),
    "progressive": encoded(picture(), "JPEG", progressive=True),
    "PNG": encoded(picture(), "PNG"),
    "APNG": animation("PNG"),
    "GIF": animation("GIF"),
    "BMP": encoded(picture(), "BMP"),
    "PNM": encoded(picture(), "PPM"),
    "TIFF": encoded(picture(), "TIFF"),
    "TIFF lzw": encoded(picture(), "TIFF", compression="tiff_lzw"),
    "TIFF deflate": encoded(picture(), "TIFF", compression="tiff_adobe_deflate"),
    **({"WebP": encoded(picture(), "WEBP")} if features.check("webp") else {}),
}


def plain(data: bytes) -> bool:
    """Whether Pillow itself loads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            Image.open(io.BytesIO(data)).load()
        except Exception:
            return False
    return True


def damaged(data: bytes, draw: np.random.Generator) -> bytes:
    """A flipped bit, a few of them, or a cut."""
    found, kind = bytearray(data), draw.integers(0, 4)
    if kind == 3:
        return bytes(found[: int(draw.integers(1, len(data)))])
    for at in draw.integers(0, len(data) if kind else min(200, len(data)), 1 + 4 * (kind == 2)):
        found[at] ^= 1 << int(draw.integers(0, 8))
    return bytes(found)


@pytest.mark.parametrize("kind", SOUND)
def test_what_pillow_refuses_is_refused_and_nothing_else_is_raised(kind, capfd, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)  # a flipped bit in a header asks for billions
    draw = np.random.default_rng(0)
    passed, refused = [], 0
    for trial in range(120):
        data = damaged(SOUND[kind], draw)
        refuses = not plain(data)
        refused += refuses
        for name, read in READERS.items():
            try:
                read(data)
            except UnreadableImage:
                continue
            passed += [(trial, name)] * refuses
    capfd.readouterr()  # libtiff writes to standard error
    assert not passed
    assert refused >= 5, "the fuzz damages files"


def first_idat(data: bytes) -> int:
    return data.index(b"IDAT")


@pytest.mark.parametrize("name", READERS)
def test_a_png_whose_load_fails_once_is_not_taken_as_sound(name):
    """The load's error was swallowed by asking for EXIF before it; a second load finds nothing left to do."""
    data = bytearray(SOUND["PNG"])
    data[first_idat(bytes(data)) + 400] ^= 255
    with pytest.raises((OSError, SyntaxError)):
        Image.open(io.BytesIO(data)).load()
    with pytest.raises(UnreadableImage, match=r"damaged|truncated"):
        READERS[name](bytes(data))


def test_a_png_is_held_to_its_checksums():
    """Pillow's load reads no CRC of the pixel data: the last bytes can change, and pixels with them."""
    data = bytearray(SOUND["PNG"])
    start = first_idat(bytes(data))
    length = struct.unpack(">I", data[start - 4 : start])[0]
    data[start + 4 + length] ^= 1  # the first byte of the CRC
    assert plain(bytes(data)), "Pillow takes it"
    for read in READERS.values():
        with pytest.raises(UnreadableImage, match="broken PNG file"):
            read(bytes(data))
    no_end = SOUND["PNG"][: SOUND["PNG"].index(b"IEND") - 4]
    with pytest.raises(UnreadableImage, match="truncated"):
        decode(no_end)


def test_a_second_look_at_a_broken_image_in_hand_fails_too():
    data = bytearray(SOUND["PNG"])
    data[first_idat(bytes(data)) + 400] ^= 255
    image = Image.open(io.BytesIO(data))
    for _ in range(3):
        with pytest.raises(UnreadableImage):
            prepare(image, SQUARE)


def with_exif(kind: str, exif: bytes, pixels: np.ndarray) -> bytes:
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    return encoded(Image.fromarray(pixels), kind, exif=exif, **options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", *(["WEBP"] if features.check("webp") else [])])
def test_damaged_exif_leaves_a_sound_frame_readable(kind):
    pixels = np.asarray(picture(40, 24))
    block = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0\xff\xff\xff\xff\x06\0\0\0"  # 65,535 tags in 24 bytes
    found = np.asarray(decode(with_exif(kind, block, pixels))).astype(int)
    assert found.shape in (pixels.shape, (*pixels.shape[1::-1], 3))
    if found.shape == pixels.shape:
        assert np.abs(found - pixels).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "TIFF marked grey"])
def test_upright_size_and_pixels_of_every_format(kind, orientation):
    """Numpy turns the array; a corner of its own colour tells where it lies."""
    stored = np.full((24, 40, 3), 60, np.uint8)
    stored[:12, :20] = (220, 30, 30)
    turns = [lambda a: a, np.fliplr, lambda a: np.rot90(a, 2), np.flipud, lambda a: a.swapaxes(0, 1),
             lambda a: np.rot90(a, -1), lambda a: np.rot90(a, 2).swapaxes(0, 1), np.rot90]  # fmt: skip
    upright = turns[orientation - 1](stored)
    if kind == "TIFF marked grey":
        file = io.BytesIO()
        tifffile.imwrite(file, stored, photometric="rgb", metadata=None, extratags=[(274, 3, 1, orientation, True)])
        data = bytearray(file.getvalue())
        tag = data.index(struct.pack("<HHI", 262, 3, 1))
        data[tag + 8 : tag + 10] = struct.pack("<H", 1)
        data = bytes(data)
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
        data = encoded(Image.fromarray(stored), kind, exif=exif, **options)
    np.testing.assert_allclose(np.asarray(decode(data)).astype(int), upright, atol=20 if kind == "JPEG" else 0)
    seen = look(data, 8)
    assert (seen.height, seen.width) == upright.shape[:2]
    small = np.asarray(prepare(data, SHORTEST)).astype(int)  # cropped from the centre of the shortest edge's resize
    assert small.shape == (16, 16, 3)
    wanted = prepare(Image.fromarray(np.ascontiguousarray(upright)), SHORTEST).astype(int)
    assert np.abs(small - wanted).mean() < 12


def flipped_tag(data: bytes, tag: int, value: int) -> bytes:
    found = bytearray(data)
    at = next(at for at in range(8, len(data)) if struct.unpack_from("<H", data, at)[0] == tag
              and struct.unpack_from("<H", data, at + 2)[0] in (3, 4))  # fmt: skip
    struct.pack_into("<H", found, at + 8, value)
    return bytes(found)


def test_a_damaged_header_is_not_read_by_another_library_instead():
    """tifffile puts a default where a tag is gone: what Pillow refuses is read by it only where all tags agree."""
    pixels = np.asarray(picture())
    sound = marked_grey(pixels)
    np.testing.assert_array_equal(np.asarray(decode(sound)), pixels)
    changed = [flipped_tag(data, tag, value) for data in (SOUND["TIFF"], sound)
               for tag, value in ((258, 9), (259, 10825), (262, 1026), (277, 1), (284, 9))]  # fmt: skip
    for lost in (258, 259, 262, 277):
        data = bytearray(sound)
        struct.pack_into("<H", data, sound.index(struct.pack("<HH", lost, 3)), lost + 0x8000)
        changed.append(bytes(data))
    refused = [data for data in changed if not plain(data)]
    assert len(refused) > 8
    for data in refused:
        with pytest.raises(UnreadableImage):
            decode(data)
    with pytest.raises(UnreadableImage, match="truncated"):
        decode(sound[:-100])


def test_a_grey_tiff_that_pillow_refuses_keeps_its_width():
    grey = np.linspace(0, 1, 40 * 30).reshape(30, 40)
    file = io.BytesIO()
    tifffile.imwrite(file, grey, photometric="minisblack")
    assert not plain(file.getvalue())
    np.testing.assert_array_equal(np.asarray(decode(file.getvalue()).convert("L")), np.rint(grey * 255))


def test_truncated_images_stay_an_error_for_the_whole_process():
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_trailing_bytes_and_long_text_are_no_damage():
    text = SOUND["PNG"][:33] + png_chunk(b"tEXt", b"Comment\0" + b"a" * 100_000) + SOUND["PNG"][33:]
    for data in (SOUND["JPEG"] + bytes(4096), SOUND["PNG"] + bytes(4096), text):
        wanted = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        np.testing.assert_array_equal(np.asarray(decode(data)), wanted)


def test_no_other_program_is_started_for_a_picture(tmp_path, monkeypatch):
    """Pillow loads an EPS file by running the `gs` that stands on PATH; a file of any name may be one."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\necho 10.0\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "EPS")
    for read in (
        decode,
        lambda data: look(data, 8),
        lambda data: prepare(data, SQUARE),
    ):
        with pytest.raises(UnreadableImage, match="EPS, which another program"):
            read(file.getvalue())
    assert not (tmp_path / "ran").exists()
    with pytest.raises(OSError, match=r"Ghostscript|image file|truncated|cannot"):
        Image.open(io.BytesIO(file.getvalue())).load()
    assert (tmp_path / "ran").exists()  # so the test could have failed

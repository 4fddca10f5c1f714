"""Metadata of frames: every place where Pillow and tifffile put text is found, and goes without a pixel changing."""

from __future__ import annotations

import io
import random
import warnings

import make_metadata as make
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageOps, ImageSequence

from meddel_hf.data.masks import binary
from meddel_hf.data.metadata.frames import stripped, tags_of
from meddel_hf.errors import UnreadableImage

PRIVATE = {
    "jpeg": make.jpeg(),
    "jpeg, grey": make.jpeg(mode="L"),
    "jpeg, CMYK with Adobe's segment": make.jpeg(mode="CMYK"),
    "jpeg, progressive": make.jpeg(progressive=True),
    "jpeg, restarts": make.jpeg(restart_marker_rows=1),
    "jpeg, in XMP turned": make.with_segments(make.jpeg(), (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + make.xmp(6))),
    "jpeg, something after it": make.jpeg() + make.jpeg(),
    "png": make.png(),
    "png, palette": make.png(mode="P"),
    "png, transparent": make.png(mode="RGBA"),
    "png, 16 bit": make.png(mode="I;16"),
    "tiff": make.tiff(),
    "tiff, packed": make.tiff(compression="tiff_lzw"),
    "tiff, jpeg": make.tiff(compression="jpeg"),
    "tiff, bilevel": make.tiff(mode="1", compression="group4"),
    "tiff, pages": make.tiff_pages(),
    "tiff, big": make.tiff_pages(bigtiff=True),
    "webp": make.webp(),
    "webp, lossless": make.webp(lossless=True, mode="RGBA"),
    "gif": make.gif(),
    "jp2": make.jp2(),
    "j2k": make.jp2("j2k"),
    "ppm": make.ppm(),
    "pgm": make.plain_pgm(),
}
TURNED = {"jpeg": make.jpeg, "png": make.png, "tiff": make.tiff, "webp": make.webp}


def pixels(data: bytes) -> list[np.ndarray]:
    """All pictures of a file as Pillow decodes them, each upright, with palette and transparency carried out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(data))
        if image.format == "MPO":
            return [np.asarray(ImageOps.exif_transpose(image))]
        shown = [ImageOps.exif_transpose(frame.copy()) for frame in ImageSequence.Iterator(image)]
        return [np.asarray(frame.convert("RGBA") if frame.mode in ("P", "PA") else frame) for frame in shown]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("kind", PRIVATE)
def test_metadata_goes_and_pixels_stay(kind):
    data = PRIVATE[kind]
    assert make.SECRET in data or kind.startswith("png")
    assert tags_of(data)
    clean = stripped(data)
    assert same(pixels(data), pixels(clean))
    assert make.SECRET not in clean
    assert tags_of(clean) == ()
    assert stripped(clean) == clean
    assert "Artist" not in str(dict(Image.open(io.BytesIO(clean)).getexif()))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", TURNED)
def test_a_frame_stays_turned_as_it_was(kind, orientation):
    data = TURNED[kind](orientation)
    clean = stripped(data)
    upright = pixels(data)
    assert same(upright, pixels(clean))
    assert (upright[0].shape[0] > upright[0].shape[1]) == (orientation >= 5)
    left = Image.open(io.BytesIO(clean)).getexif()
    assert left.get(ExifTags.Base.Orientation, 1) == orientation
    assert not left.get_ifd(ExifTags.IFD.GPSInfo)
    assert not left.get_ifd(ExifTags.IFD.Exif)


def test_a_tiff_that_only_its_xmp_turns_stays_turned():
    block = make.exif()
    block[700] = make.xmp(8)
    saved = io.BytesIO()
    make.picture().save(saved, "TIFF", exif=block)
    assert same(pixels(saved.getvalue()), pixels(stripped(saved.getvalue())))


def test_a_tiff_that_pillow_refuses_keeps_its_pixels():
    saved = io.BytesIO()
    frame = np.asarray(make.picture())
    with tifffile.TiffWriter(saved, byteorder=">") as file:
        file.write(frame, photometric="minisblack", planarconfig="contig", description="Jane", metadata=None)
    clean = stripped(saved.getvalue())
    assert np.array_equal(tifffile.imread(io.BytesIO(clean)), frame)
    assert b"Jane" in saved.getvalue()
    assert b"Jane" not in clean


def test_tags_have_their_names_and_say_which_tell_who():
    tags = {tag.name: tag.telling for tag in tags_of(make.jpeg())}
    assert {name for name, telling in tags.items() if telling} >= {
        "Artist", "ImageDescription", "BodySerialNumber", "GPSInfo", "XMP creator", "IPTC By-line"
    }  # fmt: skip
    assert {"Software", "MakerNote", "JPEG comment", "APP12 Ducky", "Thumbnail"} <= tags.keys()
    assert not tags["Software"]
    tags = {tag.name: tag.telling for tag in tags_of(make.png())}
    assert tags["PNG Author"]
    assert tags["PNG Comment"]
    assert tags["Artist"]
    assert not tags["PNG tIME"]
    assert "data after the picture" in tags


def test_what_says_nothing_of_anybody_is_no_finding():
    block = Image.Exif()
    block[ExifTags.Base.Orientation], block[ExifTags.Base.XResolution] = 6, 72.0
    profile = b"\0" * 200
    for format in ("JPEG", "PNG", "TIFF", "WEBP"):
        saved = io.BytesIO()
        make.picture().save(saved, format, exif=block, icc_profile=profile, dpi=(72, 72))
        assert tags_of(saved.getvalue()) == ()
        assert Image.open(io.BytesIO(stripped(saved.getvalue()))).info["icc_profile"] == profile
    assert tags_of(make.bmp()) == ()
    assert stripped(make.bmp()) == make.bmp()


def test_an_empty_artist_and_a_gps_version_alone_tell_nothing():
    block = Image.Exif()
    block[ExifTags.Base.Artist] = "   "
    block.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSVersionID] = b"\2\3\0\0"
    saved = io.BytesIO()
    make.picture().save(saved, "JPEG", exif=block)
    assert {tag.name: tag.telling for tag in tags_of(saved.getvalue())} == {"Artist": False, "GPSInfo": False}


def test_a_mask_of_bools_is_not_read_as_its_opposite():
    """tifffile says that 0 is white and leaves 0 black; that it was tifffile is all that tells so."""
    inside = np.zeros((40, 40), bool)
    inside[5:10, 5:10] = True
    saved = io.BytesIO()
    tifffile.imwrite(saved, inside, description="Anna Mueller", metadata=None)
    clean = stripped(saved.getvalue())
    assert b"Mueller" not in clean
    assert tags_of(clean) == ()
    assert np.array_equal(binary(saved.getvalue())[0], inside)
    assert np.array_equal(binary(clean)[0], inside)
    told = io.BytesIO()
    tifffile.imwrite(told, inside, software="tifffile.py of Anna Mueller", metadata=None)
    assert b"Mueller" not in stripped(told.getvalue())


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\xff\xd8\xff", make.png()[:60], make.tiff()[:40]])
def test_what_cannot_be_read_is_refused(data):
    with pytest.raises(UnreadableImage):
        tags_of(data)
    with pytest.raises(UnreadableImage):
        stripped(data)


def test_a_tiff_whose_tags_lie_over_its_pixels_is_refused():
    data = bytearray(make.tiff())
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        page = file.pages[0]
        artist, strips = page.tags["Artist"], page.tags["StripOffsets"]
    data[strips.valueoffset : strips.valueoffset + 4] = artist.valueoffset.to_bytes(4, "little")
    with pytest.raises(UnreadableImage, match=r"over its pixels|outside"):
        stripped(bytes(data))


def test_damaged_files_end_in_a_reason_or_in_the_same_pixels():
    """Bits flipped anywhere: no foreign exception, and what is published decodes as the damaged file did, or not."""
    rng = random.Random(11)
    wrong = 0
    for data in PRIVATE.values():
        for _ in range(60):
            flipped = bytearray(data)
            for _ in range(rng.choice((1, 1, 3))):
                flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            if rng.random() < 0.2:
                del flipped[rng.randrange(len(data)) :]
            try:
                tags_of(bytes(flipped))
                clean = stripped(bytes(flipped))
            except UnreadableImage:
                continue
            try:
                before = pixels(bytes(flipped))
            except Exception:
                continue  # nobody can see it: then no pixel can be lost
            wrong += not same(before, pixels(clean))
    assert wrong == 0

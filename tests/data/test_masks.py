"""Masks drawn with numpy, stored in the ways that owners store them, and read back by what their values mean."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import tifffile
from datasets import Dataset, Features, Value
from datasets import Image as ImageColumn
from make_archives import encoded
from make_metadata import png_of
from PIL import Image

from meddel_hf.data.masks import UnclearMask, binary, classes
from meddel_hf.downstream.segmentation.masked_frames import LabelledFrames
from meddel_hf.errors import InvalidDataset, UnreadableImage
from meddel_hf.pretraining.frame_cache import squeezed

SIZE = (120, 96)  # width, height


def disc(cx: float = 0.4, cy: float = 0.5, radius: float = 0.25) -> np.ndarray:
    """(height, width) bool"""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    return (x - cx * SIZE[0]) ** 2 + (y - cy * SIZE[1]) ** 2 < (radius * SIZE[1]) ** 2


INSIDE = disc()
OTHER = disc(cx=0.8, cy=0.3, radius=0.15)
BYTES = INSIDE.astype(np.uint8)


def grey(values: np.ndarray, kind: str = "PNG", **options) -> bytes:
    return encoded(Image.fromarray(values), kind, **options)


def palette(index: np.ndarray, *colours: tuple[int, int, int], kind: str = "PNG") -> bytes:
    image = Image.frombytes("P", index.shape[::-1], index.astype(np.uint8).tobytes())
    image.putpalette([value for colour in colours for value in colour])
    return encoded(image, kind)


def coloured(colour: tuple[int, int, int], kind: str = "PNG", **options) -> bytes:
    return encoded(Image.fromarray(BYTES[..., None] * np.array(colour, np.uint8)), kind, **options)


def channels(*planes: np.ndarray) -> bytes:
    return encoded(Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8)))


def soft() -> np.ndarray:
    """The same disc anti-aliased: drawn four times as large, and averaged."""
    y, x = np.mgrid[: 4 * SIZE[1], : 4 * SIZE[0]]
    large = (x - 1.6 * SIZE[0] - 1.5) ** 2 + (y - 2 * SIZE[1] - 1.5) ** 2 < SIZE[1] ** 2
    return np.rint(large.reshape(SIZE[1], 4, SIZE[0], 4).mean(axis=(1, 3)) * 255).astype(np.uint8)


def shallow(values: np.ndarray, bits: int) -> bytes:
    """A grey PNG of 2 or 4 bits a pixel, which Pillow cannot write."""
    each = values.reshape(values.shape[0], -1, 8 // bits).astype(np.uint8)
    rows = sum(each[..., place] << (8 - bits * (place + 1)) for place in range(8 // bits)).astype(np.uint8)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    return png_of(values.shape[1], values.shape[0], body, bits=bits, kind=0)


def of_16_bits_a_pixel(inside: np.ndarray) -> bytes:
    """A BMP of 5 bits a channel, white where inside, black elsewhere."""
    height, width = inside.shape
    rows = np.zeros((height, (width + 1) // 2 * 2), "<u2")
    rows[:, :width] = np.where(inside[::-1], 0x7FFF, 0)
    sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 16, 0, rows.nbytes, 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + rows.nbytes, 0, 0, 54) + sizes + rows.tobytes()


def as_tiff(values: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **{"photometric": "minisblack", **options})
    return file.getvalue()


EXACT: dict[str, bytes] = {
    "0 and 1": grey(BYTES),
    "0 and 255": grey(BYTES * np.uint8(255)),
    "0 and 200": grey(BYTES * np.uint8(200)),
    "one bit": encoded(Image.fromarray(INSIDE)),
    "two bits": shallow(BYTES, 2),
    "four bits": shallow(BYTES, 4),
    "16 bits, 0 and 1": grey(BYTES.astype(np.uint16)),
    "16 bits, 0 and 255": grey(BYTES.astype(np.uint16) * np.uint16(255)),
    "16 bits, 0 and 65535": grey(BYTES.astype(np.uint16) * np.uint16(65535)),
    "32 bits": as_tiff(BYTES.astype(np.int32)),
    "64 bits": as_tiff(BYTES.astype(np.int64)),
    "float64": as_tiff(BYTES.astype(np.float64)),
    "floats, 0 and 1": grey(BYTES.astype(np.float32), "TIFF"),
    "floats, 0 and 255": grey(BYTES.astype(np.float32) * 255, "TIFF"),
    "grey as RGB": channels(BYTES * 255, BYTES * 255, BYTES * 255),
    "0 and 1 as RGB": channels(BYTES, BYTES, BYTES),
    "grey with alpha": channels(BYTES * 255, np.full_like(BYTES, 255)),
    "RGB with alpha": channels(BYTES * 255, BYTES * 0, BYTES * 0, np.full_like(BYTES, 255)),
    "object opaque, rest transparent": channels(BYTES * 0, BYTES * 0, BYTES * 0, BYTES * 255),
    "white object, white but transparent rest": channels(*[np.full_like(BYTES, 255)] * 3, BYTES * 255),
    "red object, transparent rest": channels(BYTES * 255, BYTES * 0, BYTES * 0, BYTES * 255),
    "half transparent overlay": channels(BYTES * 255, BYTES * 0, BYTES * 0, BYTES * 128),
    "palette, dark red": palette(BYTES, (0, 0, 0), (128, 0, 0)),
    "palette, dark blue": palette(BYTES, (0, 0, 0), (0, 0, 128)),
    "palette, all black": palette(BYTES, (0, 0, 0), (0, 0, 0)),
    "palette, dark grey": palette(BYTES, (0, 0, 0), (1, 1, 1)),
    "palette, index 3": palette(BYTES * 3, (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 64)),
    "palette, background in purple": palette(BYTES, (68, 1, 84), (253, 231, 37)),
    "palette, GIF": palette(BYTES, (0, 0, 0), (0, 0, 128), kind="GIF"),
    "5 bits a channel, BMP": of_16_bits_a_pixel(INSIDE),
    "palette, BMP": palette(BYTES, (0, 0, 0), (0, 128, 0), kind="BMP"),
    "palette, TIFF": palette(BYTES, (0, 0, 0), (0, 0, 128), kind="TIFF"),
    "grey GIF": grey(BYTES * np.uint8(255), "GIF"),
    "red": coloured((255, 0, 0)),
    "blue": coloured((0, 0, 255)),
    "dark blue": coloured((0, 0, 128)),
    "darker blue": coloured((0, 0, 64)),
    "white is zero": as_tiff(BYTES * np.uint8(255) ^ np.uint8(255), photometric="miniswhite"),
    "TIFF with lzw": encoded(Image.fromarray(BYTES * np.uint8(255)), "TIFF", compression="tiff_lzw"),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_the_object_is_read_whatever_it_is_stored_as(name):
    np.testing.assert_array_equal(binary(EXACT[name]), INSIDE[None])


SOFT = soft()
EDGES: dict[str, bytes] = {
    "anti-aliased": grey(SOFT),
    "anti-aliased, 16 bits": grey(SOFT.astype(np.uint16) * np.uint16(257)),
    "anti-aliased, floats": grey(SOFT.astype(np.float32) / 255, "TIFF"),
    "anti-aliased, alpha": channels(SOFT * 0, SOFT * 0, SOFT * 0, SOFT),
    "anti-aliased, palette": encoded(Image.fromarray(SOFT).convert("P")),
    "anti-aliased, GIF": grey(SOFT, "GIF"),
    "anti-aliased, blue": channels(SOFT * 0, SOFT * 0, SOFT),
    "anti-aliased, grey 200": grey((SOFT.astype(int) * 200 // 255).astype(np.uint8)),
    "JPEG": grey(BYTES * np.uint8(255), "JPEG", quality=75),
    "JPEG as RGB": coloured((255, 255, 255), "JPEG", quality=75),
    "JPEG of green": coloured((0, 255, 0), "JPEG", quality=90, subsampling=0),
    "JPEG of grey 128": grey(BYTES * np.uint8(128), "JPEG", quality=90),
    "JPEG, then PNG": encoded(Image.open(io.BytesIO(grey(BYTES * np.uint8(255), "JPEG", quality=60)))),
}


@pytest.mark.parametrize("name", EDGES)
def test_soft_edges_are_parted_in_the_middle(name):
    found = binary(EDGES[name])[0]
    assert np.count_nonzero(found != INSIDE) <= 25, "the outline is about 150 pixels long, and sure to half of one"


STRIPES = (np.arange(SIZE[0]) // 30)[None].repeat(SIZE[1], axis=0).astype(np.uint8)  # 0, 1, 2, 3
PHOTO = np.random.default_rng(0).integers(40, 220, (*SIZE[::-1], 3), dtype=np.uint8)
UNCLEAR: dict[str, tuple[bytes, str]] = {
    "classes": (grey(np.array([0, 3, 7, 7], np.uint8)[STRIPES]), "holds 0, 3, 7: expected 0 and 255, or 0 and 1"),
    "one class by number": (grey(BYTES * np.uint8(7)), "holds 0, 7:"),
    "constant": (grey(np.full_like(BYTES, 7)), "holds 7:"),
    "1 and 2": (grey(BYTES + np.uint8(1)), "holds 1, 2:"),
    "three greys": (grey(np.choose(STRIPES, [0, 128, 255, 0]).astype(np.uint8)), "holds 0, 128, 255:"),
    "the object 1, its border 255": (grey(np.choose(STRIPES, [0, 1, 255, 0]).astype(np.uint8)), "holds 0, 1, 255:"),
    "15 and 255": (grey(np.choose(STRIPES, [0, 15, 255, 0]).astype(np.uint8)), "holds 0, 15, 255:"),
    "no black": (grey(np.choose(STRIPES, [100, 255, 255, 100]).astype(np.uint8)), "holds 100, 255:"),
    "instances": (grey(np.arange(300, dtype=np.uint16).repeat(4).reshape(30, 40)), r"\.\.\. 299 \(300 values\)"),
    "0 and 300": (grey(BYTES.astype(np.uint16) * np.uint16(300)), "holds 0, 300:"),
    "classes as JPEG": (grey(BYTES * np.uint8(3), "JPEG", quality=100), "as JPEG"),
    "white palette index 0": (palette(BYTES, (255, 255, 255), (0, 0, 0)), "0, 1 in a palette whose 0 is #ffffff"),
    "nothing in a white palette": (palette(np.ones_like(BYTES), (255, 255, 255), (0, 0, 0)), "holds 1 in a palette"),
    "1 and 2 in a palette": (palette(BYTES + 1, (0, 0, 0), (90, 0, 0), (0, 90, 0)), "holds 1, 2 as .* without 0"),
    "border in a palette": (palette(np.choose(STRIPES, [0, 1, 255, 0]), (0, 0, 0), *[(128, 0, 0)] * 255),
                            "holds 0, 1, 255 as indices"),
    "two colours, none black": (channels(BYTES * 255, BYTES * 0, 255 - BYTES * 255), "colours #0000ff, #ff0000"),
    "red on white": (channels(np.full_like(BYTES, 255), 255 - BYTES * 255, 255 - BYTES * 255), "expected one on black"),
    "photograph": (encoded(Image.fromarray(PHOTO)), "colours"),
    "grey photograph": (grey(PHOTO[..., 0]), "180 values"),
    "black with a hole over white": (channels(*[BYTES * 255] * 3, 255 - BYTES * 255), "either may be the object"),
    "black drawn on transparent white": (channels(*[255 - BYTES * 255] * 3, BYTES * 255), "either may be the object"),
    "transparent everywhere": (channels(BYTES * 255, BYTES * 0, BYTES * 0, BYTES * 0), "transparent everywhere"),
    "negative": (as_tiff(BYTES.astype(np.int32) * -5), "values from -5 to 0"),
    "not a number": (grey(np.where(INSIDE, np.nan, 0).astype(np.float32), "TIFF"), "values from nan"),
    "animation": (encoded(Image.fromarray(BYTES * np.uint8(255)), "GIF", save_all=True,
                          append_images=[Image.fromarray(OTHER.astype(np.uint8) * np.uint8(255))]), "2 pictures"),
    "16-bit colours of 0 and 1": (as_tiff(np.stack([BYTES.astype(np.uint16)] * 3, -1), photometric="rgb"), "16 bits"),
    "damaged": (EXACT["0 and 255"][:60], "truncated"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_can_be_read_in_two_ways_is_refused_with_what_it_holds(name):
    data, message = UNCLEAR[name]
    with pytest.raises(UnreadableImage, match=message):
        binary(data)


def test_nothing_and_everything():
    nothing, everything = np.zeros((4, 6), np.uint8), np.full((4, 6), 255, np.uint8)
    for data in (
        grey(nothing),
        grey(nothing, "JPEG"),
        palette(nothing, (0, 0, 0), (255, 0, 0)),
        channels(*[nothing] * 4),
        of_16_bits_a_pixel(nothing),
    ):
        assert not binary(data).any()
    for data in (grey(everything), grey(everything // 255), grey(everything, "JPEG"),
                 encoded(Image.new("1", (6, 4), 1)), palette(everything // 255, (0, 0, 0), (90, 0, 0))):  # fmt: skip
        assert binary(data).all()


def test_several_classes_are_one_object_for_the_build_and_refused_for_a_model_of_two_classes():
    index = np.choose(STRIPES, [0, 1, 2, 0])
    colours = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
    for data in (palette(index, *colours), encoded(Image.fromarray(np.array(colours, np.uint8)[index]))):
        np.testing.assert_array_equal(binary(data)[0], index > 0)
        with pytest.raises(UnreadableImage):
            binary(data, merge=False)


def test_red_marks_the_object_whatever_the_other_channels_hold():
    data = channels(BYTES * 255, OTHER * 255, OTHER * 255)
    np.testing.assert_array_equal(binary(data, red=True)[0], INSIDE)
    for name in ("0 and 1 as RGB", "0 and 1", "palette, dark blue", "grey as RGB"):
        np.testing.assert_array_equal(binary(EXACT[name], red=True)[0], INSIDE)


@pytest.mark.parametrize("lzw", [False, True])
def test_pages_of_a_tiff(lzw):
    nothing = np.zeros_like(BYTES)
    pages = [Image.fromarray(page * np.uint8(255)) for page in (BYTES, nothing, OTHER.astype(np.uint8))]
    options = {"compression": "tiff_lzw"} if lzw else {}
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:], **options)
    np.testing.assert_array_equal(binary(data), [INSIDE, nothing > 0, OTHER])
    np.testing.assert_array_equal(binary(as_tiff(np.stack([BYTES, nothing, OTHER]) * np.uint8(255))), binary(data))
    under_one_header = as_tiff(np.stack([BYTES, nothing, OTHER]) * np.uint8(255), imagej=True, photometric=None)
    np.testing.assert_array_equal(binary(under_one_header), binary(data))
    mixed = encoded(pages[0], "TIFF", save_all=True, append_images=[Image.fromarray(BYTES)])
    with pytest.raises(UnclearMask):  # a 1 beside 255 is noise or another class
        binary(mixed)


def test_a_page_of_another_size_and_too_many_pages(monkeypatch):
    white = Image.new("L", SIZE, 255)
    with pytest.raises(UnreadableImage, match="pages of 2 sizes"):
        binary(encoded(white, "TIFF", save_all=True, append_images=[Image.new("L", (7, 5), 255)]))
    data = encoded(white, "TIFF", save_all=True, append_images=[white] * 9)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5 * SIZE[0] * SIZE[1])
    with pytest.raises(UnreadableImage, match="too large"):
        binary(data)
    with pytest.raises(UnreadableImage, match="too large"):
        binary(encoded(Image.new("L", (9 * SIZE[0], SIZE[1]))))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_mask_is_turned_by_its_own_orientation(kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    lying = Image.fromarray(np.rot90(BYTES * np.uint8(255)))
    np.testing.assert_array_equal(binary(encoded(lying, kind, exif=exif))[0], INSIDE)
    np.testing.assert_array_equal(classes(encoded(lying, kind, exif=exif)), BYTES * np.uint8(255))


def test_classes_are_values_and_indices():
    for data in (grey(STRIPES), shallow(STRIPES, 2), shallow(STRIPES, 4), grey(STRIPES.astype(np.uint16)),
                 palette(STRIPES, (9, 9, 9), (0, 0, 0), (255, 255, 255), (1, 2, 3)), channels(*[STRIPES] * 3),
                 channels(*[STRIPES] * 3, np.full_like(STRIPES, 255))):  # fmt: skip
        np.testing.assert_array_equal(classes(data), STRIPES)
    for wrong in (
        encoded(Image.fromarray(PHOTO)),
        grey(BYTES.astype(np.uint16) * np.uint16(300)),
        grey(STRIPES * np.float32(1.5), "TIFF"),
    ):
        with pytest.raises(UnreadableImage, match="not one channel of classes below 256"):
            classes(wrong)


def test_classes_that_jpeg_has_blurred_are_refused():
    several = np.zeros((96, 96), np.uint8)
    several[20:40, 20:40], several[50:80, 40:70] = 3, 7
    blurred = grey(several, "JPEG")
    with Image.open(io.BytesIO(blurred)) as read:
        assert set(np.unique(np.asarray(read))) - {0, 3, 7}, "what is refused has classes that nobody drew"
    with pytest.raises(UnclearMask, match=r"^holds 0, 1, .* as JPEG, .*: expected classes in a file .* such as PNG$"):
        classes(blurred)
    assert not classes(grey(np.zeros((96, 96), np.uint8), "JPEG")).any()


def labelled(frame: bytes, mask: bytes, num_labels: int = 2) -> LabelledFrames:
    features = Features({"id": Value("string"), "image": ImageColumn(), "mask": ImageColumn()})
    rows = [{"id": "a", "image": {"bytes": frame, "path": None}, "mask": {"bytes": mask, "path": None}}]
    return LabelledFrames.of(Dataset.from_list(rows, features=features), "mine", num_labels)


def lying(array: np.ndarray, kind: str, tag: bool) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(np.rot90(array)), kind, **({"exif": exif} if tag else {}))


def test_a_frame_and_its_mask_are_each_turned_by_their_own_tag_and_must_be_of_one_size():
    green = np.where(INSIDE[..., None], np.array([40, 200, 60]), np.array([180, 90, 80])).astype(np.uint8)
    shown = squeezed(48)
    small = np.asarray(Image.fromarray(BYTES).resize((48, 48), Image.Resampling.NEAREST))
    for frame, mask in (
        (encoded(Image.fromarray(green)), grey(BYTES)),
        (lying(green, "PNG", tag=True), lying(BYTES, "PNG", tag=True)),
        (lying(green, "JPEG", tag=True), grey(BYTES)),
        (encoded(Image.fromarray(green)), lying(BYTES, "PNG", tag=True)),
    ):
        found = labelled(frame, mask).decoded(shown)
        np.testing.assert_array_equal(found.masks[0], small)
        drawn = (found.pixels[0, ..., 1] > 145) & (found.pixels[0, ..., 0] < 110)
        assert (drawn == small).mean() > 0.97
        picture, own = labelled(frame, mask).picture(0)
        assert picture.size == SIZE
        np.testing.assert_array_equal(own, BYTES)
    wrong = labelled(lying(green, "JPEG", tag=True), lying(BYTES, "PNG", tag=False))
    for read in (wrong.decoded, wrong.shown):
        with pytest.raises(InvalidDataset, match="mask of a in mine is 96 x 120 pixels, its frame 120 x 96"):
            read(shown)
    half = labelled(encoded(Image.fromarray(green)), grey(np.ascontiguousarray(BYTES[::2, ::2])))
    with pytest.raises(InvalidDataset, match="is 60 x 48 pixels, its frame 120 x 96"):
        half.decoded(shown)


@pytest.mark.parametrize("name", ["palette, dark blue", "JPEG", "blue", "16 bits, 0 and 65535", "RGB with alpha"])
def test_segmentation_reads_masks_as_the_build_does(name):
    data = {**EXACT, **EDGES}[name]
    frames = labelled(encoded(Image.new("RGB", SIZE)), data)
    np.testing.assert_array_equal(next(frames.masks()), binary(data)[0])


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(InvalidDataset) as caught:
        read()
    return str(caught.value)


def test_what_segmentation_refuses_names_the_frame_and_the_values(monkeypatch):
    frame = encoded(Image.new("RGB", SIZE))

    def said(mask: bytes, labels: int = 2) -> str:
        return refusal(lambda: next(labelled(frame, mask, labels).masks()))

    assert said(UNCLEAR["classes"][0]) == (
        "the mask of a in mine holds class 0, 3, 7, and the head has 2 classes: expected 0 and 255, or 0 and 1; give "
        "the right num_labels (--num-labels)"
    )
    assert "holds class 0, 1, 2, and" in said(palette(np.choose(STRIPES, [0, 1, 2, 0]), (0, 0, 0), *[(9, 9, 9)] * 3))
    assert "holds class 3, and the head has 3 classes: expected 0 to 2, or 255" in said(grey(STRIPES), 3)
    assert "has 2 pages: expected one" in said(as_tiff(np.stack([BYTES, BYTES])))
    assert "cannot be read: damaged" in said(b"II*\0" + bytes(50)) or "not an image" in said(b"II*\0" + bytes(50))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "cannot be read: too large" in said(grey(BYTES)), "Pillow itself would only warn here"


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_a_mask_that_tifffile_wrote_from_bools_is_not_turned_inside_out(options):
    drawn = np.zeros((40, 64), bool)
    drawn[5:12, 8:30] = True
    file = io.BytesIO()
    tifffile.imwrite(file, drawn, **options)
    assert np.array_equal(tifffile.imread(io.BytesIO(file.getvalue())), drawn)
    assert np.array_equal(binary(file.getvalue()), drawn[None])
    by_pillow = io.BytesIO()
    Image.fromarray(drawn).save(by_pillow, "TIFF")
    assert np.array_equal(binary(by_pillow.getvalue()), drawn[None])
    white_is_zero = Image.fromarray(drawn)  # as the specification means it, by a writer that means it
    fax = io.BytesIO()
    white_is_zero.save(fax, "TIFF", compression="group4")
    assert np.array_equal(binary(fax.getvalue()), np.asarray(Image.open(fax))[None])

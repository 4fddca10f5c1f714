"""The field of view, on frames of known truth and on real ones whose polyps were outlined by hand."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw, ImageFilter

import meddel_hf
from meddel_hf.data.images import Preprocessing, prepare
from meddel_hf.data.view import fill, visible
from meddel_hf.errors import InvalidArgument

WIDTH, HEIGHT = 320, 256
SHAPES = {
    "octagon": [(140, 8), (260, 8), (304, 60), (304, 196), (260, 248), (140, 248), (96, 196), (96, 60)],
    "rectangle": [(100, 20), (300, 20), (300, 236), (100, 236)],
    "to three sides": [(130, 0), (290, 0), (319, 50), (319, 205), (290, 255), (130, 255), (90, 205), (90, 50)],
}
CIRCLE = (60, 8, 300, 248)
GREEN, BLUE = (28, 170, 140), (80, 110, 190)
POOL = Path(meddel_hf.__file__).parent / "assets" / "pool" / "data"
PLAIN = Preprocessing((96, 96), None, 2, 1 / 255, (0.0,) * 3, (1.0,) * 3)


def mucosa(seed: int, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Red folds, brighter in the middle, with highlights."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(70, 150, (6, 8, 1), dtype=np.uint8).repeat(3, axis=2))
    light = np.asarray(small.resize((width, height), 3)).astype(float) * np.array([1.5, 0.8, 0.6])
    light += rng.normal(0, 5, (height, width, 1))
    picture = Image.fromarray(light.clip(40, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for x, y in rng.integers(0, (width, height), (20, 2)).tolist():
        draw.ellipse((x, y, x + 4, y + 3), fill="white")
    return picture


def drawn(shape: str) -> Image.Image:
    truth = Image.new("1", (WIDTH, HEIGHT))
    draw = ImageDraw.Draw(truth)
    if shape == "circle":
        draw.ellipse(CIRCLE, fill=1)
    else:
        draw.polygon(SHAPES[shape], fill=1)
    return truth


def endoscope(shape: str, *, level: int = 0, seed: int = 0) -> tuple[Image.Image, Image.Image]:
    """A frame with a surround of that grey level, and the mask of its field."""
    truth = drawn(shape)
    return Image.composite(mucosa(seed), Image.new("RGB", truth.size, (level,) * 3), truth), truth


def jpeg(picture: Image.Image, quality: int = 80) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def at(side: int, picture: Image.Image) -> np.ndarray:
    """As it comes from a file, squeezed to a square."""
    return np.asarray(Image.open(io.BytesIO(jpeg(picture))).resize((side, side), 2))


def found(picture: Image.Image, side: int = 96) -> np.ndarray:
    return visible(at(side, picture), picture.width / picture.height)


def small(truth: Image.Image, side: int = 96) -> np.ndarray:
    return np.asarray(truth.convert("L").resize((side, side), 2)) > 127


@pytest.mark.parametrize("side", [64, 96, 224, 256, 518])
@pytest.mark.parametrize("level", [0, 16, 30])
@pytest.mark.parametrize("shape", [*SHAPES, "circle"])
def test_the_field_is_what_was_drawn(shape, level, side):
    picture, truth = endoscope(shape, level=level)
    mask, field = found(picture, side), Image.fromarray(small(truth, side)).convert("L")
    pixel = 2 * -(-side // 96)  # of what is looked at, on both sides
    wider, narrower = (np.asarray(field.filter(kind(pixel * k + 1))) > 0 for kind, k in
                       ((ImageFilter.MaxFilter, 1), (ImageFilter.MinFilter, 3)))  # fmt: skip
    assert mask[~wider].sum() < 2 * pixel**2  # a corner
    assert mask[narrower].all()


def test_a_frame_is_seen_at_its_own_shape_too():
    picture, truth = endoscope("octagon")
    mask = visible(np.asarray(picture))
    assert mask.shape == (HEIGHT, WIDTH)
    assert (mask == np.asarray(truth)).mean() > 0.96


@pytest.mark.parametrize("side", ["left", "right", "top", "middle"])
def test_dark_lumen_is_no_part_of_the_surround(side):
    """As black as the surround and touching it, where the other half of the field is bright."""
    picture, truth = endoscope("octagon")
    where = {"left": (80, 90, 150, 160), "right": (250, 80, 330, 150), "top": (150, -40, 250, 70),
             "middle": (150, 90, 250, 170)}[side]  # fmt: skip
    lumen = Image.new("1", picture.size)
    ImageDraw.Draw(lumen).ellipse(where, fill=1)
    picture = Image.composite(Image.new("RGB", picture.size), picture, lumen)
    inside = small(truth) & small(lumen)
    assert found(picture)[inside].mean() > (0.8 if side == "top" else 0.9)
    assert found(picture)[~small(truth)].mean() < 0.03


@pytest.mark.parametrize("level", [0, 16])
@pytest.mark.parametrize("kind", ["green", "green and blue", "framed", "with text across", "in the surround"])
def test_a_box_is_masked_whole_and_nothing_beside_it(kind, level):
    picture, truth = endoscope("octagon", level=level)
    left = 0 if kind == "in the surround" else 80
    draw = ImageDraw.Draw(picture)
    if kind == "framed":
        draw.rectangle((left - 5, 165, left + 85, 255), fill="black")
    draw.rectangle((left, 170, left + 80, 250), fill=GREEN)
    if kind in ("green and blue", "with text across"):
        draw.rectangle((left + 40, 170, left + 80, 250), fill=BLUE)
    if kind == "with text across":
        draw.rectangle((left, 205, left + 80, 218), fill=(0, 0, 130))
    draw.line((left + 20, 240, left + 30, 190, left + 60, 200), fill=(20, 40, 40), width=2)
    mask = found(picture)
    box = np.zeros((HEIGHT, WIDTH), bool)
    box[170:251, left : left + 81] = True
    around = np.zeros((HEIGHT, WIDTH), bool)
    around[150:, max(left - 20, 0) : left + 100] = True
    assert not mask[small(Image.fromarray(box))].any()
    assert mask[small(truth) & ~small(Image.fromarray(around))].mean() > 0.92


def test_a_box_without_a_surround_is_masked_alone():
    picture = mucosa(1)
    ImageDraw.Draw(picture).rectangle((0, 170, 80, 255), fill=GREEN)
    mask = found(picture)
    assert 0.85 < mask.mean() < 0.95
    assert mask[: 96 // 2].all()
    assert not mask[-20:, :20].any()


def test_a_box_that_was_painted_over_is_masked():
    picture = mucosa(2)
    ImageDraw.Draw(picture).rectangle((0, 176, 90, 255), fill="black")
    mask = found(picture)
    assert not mask[-28:, :26].any()
    assert mask[:60].all()
    assert mask[:, 34:].all()


def test_text_and_small_pictures_in_the_surround_go_with_it():
    picture, truth = endoscope("octagon")
    draw = ImageDraw.Draw(picture)
    for y in range(20, 120, 20):
        draw.text((6, y), "24/11/2026", fill="white")
    picture.paste(mucosa(3).resize((50, 60)), (20, 150))
    assert found(picture)[~small(truth)].mean() < 0.03
    assert found(picture)[small(truth)].mean() > 0.92


def capsule() -> Image.Image:
    disk = Image.new("1", (256, 256))
    ImageDraw.Draw(disk).ellipse((2, 2, 253, 253), fill=1)
    picture = Image.composite(mucosa(4, 256, 256), Image.new("RGB", (256, 256)), disk)
    ImageDraw.Draw(picture).text((2, 2), "00:12:45", fill="white")
    return picture


def x_ray() -> Image.Image:
    chest = Image.new("L", (300, 256))
    draw = ImageDraw.Draw(chest)
    draw.rectangle((40, 12, 260, 244), fill=150)
    draw.ellipse((60, 40, 140, 220), fill=50)
    draw.ellipse((160, 40, 240, 220), fill=50)
    return chest.filter(ImageFilter.GaussianBlur(3)).convert("RGB")


def histology() -> Image.Image:
    picture = Image.new("RGB", (300, 256), (240, 235, 240))
    draw = ImageDraw.Draw(picture)
    for x, y in np.random.default_rng(5).integers(0, (300, 256), (300, 2)).tolist():
        draw.ellipse((x, y, x + 9, y + 8), fill=(120, 60, 150))
    return picture


def fluorescence() -> Image.Image:
    picture = Image.new("RGB", (300, 256))
    draw = ImageDraw.Draw(picture)
    for x, y in np.random.default_rng(6).integers(0, (300, 256), (60, 2)).tolist():
        draw.ellipse((x, y, x + 14, y + 14), fill=(30, 220, 60))
    return picture


def photograph() -> Image.Image:
    """A lawn below a sky, with a bus of one green."""
    rows = np.linspace(0, 1, 256)[:, None, None]
    sky = np.array([120, 160, 230]) * (1 - rows) + np.array([90, 140, 60]) * rows
    noise = np.random.default_rng(7).normal(0, 12, (256, 300, 3))
    return Image.fromarray((sky + noise).clip(0, 255).astype(np.uint8))


def at_night() -> Image.Image:
    """Lights of a street on a black sky."""
    picture = Image.new("RGB", (300, 256), (4, 4, 8))
    draw = ImageDraw.Draw(picture)
    draw.polygon([(0, 255), (0, 150), (60, 150), (60, 90), (110, 90), (110, 200), (299, 230), (299, 255)],
                 fill=(150, 110, 60))  # fmt: skip
    return picture


OTHERS = {
    "no surround": lambda: mucosa(8),
    "dark lumen in a corner": lambda: Image.composite(
        Image.new("RGB", (WIDTH, HEIGHT), (9, 4, 3)), mucosa(9),
        Image.radial_gradient("L").resize((WIDTH, HEIGHT)).point(lambda v: 255 if v < 60 else 0).transform(
            (WIDTH, HEIGHT), Image.Transform.AFFINE, (1, 0, 120, 0, 1, 90))),
    "capsule": capsule, "x-ray": x_ray, "histology": histology, "fluorescence": fluorescence,
    "photograph": photograph, "at night": at_night,
    "black": lambda: Image.new("RGB", (300, 256)), "white": lambda: Image.new("RGB", (300, 256), "white"),
    "tiny": lambda: endoscope("octagon")[0].resize((20, 16)),
    "elongated": lambda: Image.new("RGB", (4000, 3), (9, 0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_endoscopy_frame_with_a_surround_is_left_alone(kind):
    picture = OTHERS[kind]()
    assert visible(np.asarray(picture)).all()
    if min(picture.size) > 96:
        assert found(picture).all()


def test_polyps_of_real_frames_stay_visible_and_what_is_masked_is_dark_or_a_box():
    """The 450 carried frames: 300 of them have an outlined polyp or more."""
    eaten, polyps, bright, masked = 0, 0, 0, 0
    for file in sorted(POOL.glob("*/*/*.parquet")):
        for row in pq.read_table(file, columns=["image", "mask", "id"]).to_pylist():
            frame = Image.open(io.BytesIO(row["image"]["bytes"]))
            pixels = np.asarray(frame.resize((96, 96), 2))
            mask = visible(pixels, frame.width / frame.height)
            assert 0.45 < mask.mean() < 1, row["id"]  # every one of these has a surround
            polyp = small(Image.open(io.BytesIO(row["mask"]["bytes"])))
            eaten, polyps = eaten + int((polyp & ~mask).sum()), polyps + int(polyp.sum())
            red = pixels[..., 0].astype(int)
            bright, masked = bright + int((~mask & (red > 120)).sum()), masked + int((~mask).sum())
    assert eaten < 0.01 * polyps
    assert bright < 0.03 * masked  # text, small pictures, and the line along the edge


def test_what_is_filled_has_the_mean_colour_of_the_rest():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    before = pixels.copy()
    mask = np.zeros((20, 30), bool)
    mask[5:15, 4:9] = True
    filled = fill(pixels, mask)
    np.testing.assert_array_equal(filled[mask], before[mask])
    np.testing.assert_allclose(filled[~mask], np.broadcast_to(before[mask].mean(axis=0), (550, 3)), atol=0.51)
    np.testing.assert_array_equal(pixels, before)
    assert fill(pixels, np.ones((20, 30), bool)) is pixels
    assert fill(pixels, np.zeros((20, 30), bool)) is pixels


def test_preparing_a_frame_fills_it_before_the_crop():
    picture, truth = endoscope("octagon")
    data = jpeg(picture)
    whole, auto = prepare(data, PLAIN), prepare(data, replace(PLAIN, view="auto"))
    np.testing.assert_array_equal(auto, fill(whole, visible(whole, WIDTH / HEIGHT)))
    assert (auto.max(axis=2)[~small(truth)] > 40).mean() > 0.98  # nothing dark is left there
    cropped = replace(PLAIN, resize=96, crop=(96, 96), view="auto")  # cuts off the right of the surround
    left = round((96 * WIDTH / HEIGHT - 96) / 2)
    field = np.asarray(truth.convert("L").resize((120, 96), 2))[:, left : left + 96] > 127
    assert (prepare(data, cropped).max(axis=2)[~field] > 40).mean() > 0.98


def test_a_frame_without_a_surround_is_prepared_as_ever():
    data = jpeg(mucosa(10))
    np.testing.assert_array_equal(prepare(data, replace(PLAIN, view="auto")), prepare(data, PLAIN))


def test_an_unknown_view_is_refused():
    with pytest.raises(InvalidArgument, match="view must be one of whole, auto, got 'mask'"):
        replace(PLAIN, view="mask")

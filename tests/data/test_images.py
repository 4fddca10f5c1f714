"""The decode path against Hugging Face's image processors, pixel for pixel, and against files that go wrong."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from pathlib import Path

import datasets
import numpy as np
import pytest
import tifffile
from make_archives import encoded
from make_metadata import png_of
from PIL import Image
from transformers.models.beit.image_processing_pil_beit import BeitImageProcessorPil
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from meddel_hf.data.images import Preprocessing, decode, prepare
from meddel_hf.errors import InvalidArgument, UnreadableImage

PROCESSORS = {
    "vit": ViTImageProcessorPil(),
    "vit, oblong": ViTImageProcessorPil(size={"height": 96, "width": 128}),
    "mae": ViTImageProcessorPil(resample=3, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]),
    "dinov2": BitImageProcessorPil(size={"shortest_edge": 256}, image_mean=[0.485, 0.456, 0.406]),
    "clip": CLIPImageProcessorPil(),
    "clip, smaller than its crop": CLIPImageProcessorPil(size={"shortest_edge": 101}),
    "siglip": SiglipImageProcessorPil(),
    "deit": DeiTImageProcessorPil(),
    "beit": BeitImageProcessorPil(),
    "convnext": ConvNextImageProcessorPil(size={"shortest_edge": 224}),
    "convnext, squeezed": ConvNextImageProcessorPil(size={"shortest_edge": 384}),
    "resnet": ConvNextImageProcessorPil(size={"shortest_edge": 100}, crop_pct=0.95, image_mean=[0.485, 0.456, 0.406]),
    "raw pixels": ViTImageProcessorPil(do_rescale=False, do_normalize=False),
}
SQUARE = Preprocessing(resize=(8, 8), crop=None, resample=2, scale=1 / 255, mean=(0.0,) * 3, std=(1.0,) * 3)


def read_back(processor, folder: Path) -> Preprocessing:
    processor.save_pretrained(folder)
    return Preprocessing.from_pretrained(str(folder), model_type="unknown")


def without_draft(preprocessing: Preprocessing) -> Preprocessing:
    return Preprocessing(**{**vars(preprocessing), "draft": False})


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colour with fine noise, so that a wrong filter, crop or axis shows."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((width, height), 3)
    return Image.fromarray((np.asarray(coarse) * 0.8 + rng.integers(0, 50, (height, width, 3))).astype(np.uint8))


@pytest.mark.parametrize("size", [(720, 576), (300, 301), (224, 224), (97, 411), (33, 20), (1, 1)])
@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_are_those_of_the_image_processor(name, size, tmp_path):
    processor = PROCESSORS[name]
    preprocessing = read_back(processor, tmp_path)
    data = encoded(picture(*size), "JPEG", quality=95)
    got = prepare(data, without_draft(preprocessing))
    wanted = processor(Image.open(io.BytesIO(data)), do_rescale=False, do_normalize=False)["pixel_values"][0]
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, np.moveaxis(wanted, 0, -1))

    normalised = processor(Image.open(io.BytesIO(data)))["pixel_values"][0]
    ours = (got * preprocessing.scale - preprocessing.mean) / preprocessing.std
    np.testing.assert_allclose(np.moveaxis(ours, -1, 0), normalised, atol=1e-5)


def test_old_files_that_leave_options_out():
    vit = Preprocessing.from_config({"size": 224, "resample": 2, "feature_extractor_type": "ViTFeatureExtractor"},
                                    model_type="vit")  # fmt: skip
    assert (vit.size, vit.resize, vit.crop, vit.resample, vit.mean) == ((224, 224), (224, 224), None, 2, (0.5,) * 3)
    clip = {"size": 224, "crop_size": 224, "do_center_crop": True, "do_resize": True, "do_normalize": True, "resample":
            3, "image_mean": [0.48, 0.45, 0.40], "image_std": [0.2, 0.3, 0.4]}  # fmt: skip
    assert Preprocessing.from_config(clip, model_type="clip").resize == 224
    assert Preprocessing.from_config(clip, model_type="clip").crop == (224, 224)
    assert Preprocessing.from_config({}, model_type="vit_mae") == Preprocessing.from_config({}, model_type="vit")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"image_processor_type": "Pix2StructImageProcessor"}, "not known to only resize"),
        ({}, "model type 'unknown'"),
        ({"image_processor_type": "ViTImageProcessor", "do_resize": False}, "does not resize"),
        ({"image_processor_type": "ViTImageProcessor", "size": {"longest_edge": 3}}, "not understood"),
        ({"image_processor_type": "CLIPImageProcessor", "do_center_crop": False}, "crops nothing"),
    ],
)
def test_an_image_processor_that_cannot_be_followed_is_refused(config, message):
    with pytest.raises(InvalidArgument, match=message):
        Preprocessing.from_config(config, model_type="unknown")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_as_the_image_feature_of_datasets(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(60, 40), "JPEG", exif=exif)
    wanted = datasets.Image().decode_example({"bytes": data, "path": None})
    np.testing.assert_array_equal(np.asarray(decode(data)), np.asarray(wanted))
    preprocessing = Preprocessing(resize=20, crop=(20, 20), resample=3, scale=1.0, mean=(0,) * 3, std=(1,) * 3)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 20}, crop_size={"height": 20, "width": 20})
    theirs = processor(wanted, do_rescale=False, do_normalize=False)["pixel_values"][0]
    np.testing.assert_array_equal(prepare(data, without_draft(preprocessing)), np.moveaxis(theirs, 0, -1))
    drafted = prepare(data, preprocessing).astype(int) - np.moveaxis(theirs, 0, -1)
    assert np.abs(drafted).mean() < 12  # turned the wrong way it would be about 60


def test_draft_never_decodes_below_the_target(monkeypatch):
    seen = []
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda self, *args: (seen.append(self.size), resize(self, *args))[1])
    for size, target, expected in [
        ((720, 576), (224, 224), (360, 288)),
        ((720, 576), (289, 224), (720, 576)),
        ((1800, 1800), (224, 224), (225, 225)),
        ((300, 900), (100, 100), (150, 450)),
    ]:
        preprocessing = Preprocessing(**{**vars(SQUARE), "resize": target})
        got = prepare(encoded(Image.new("RGB", size, "red"), "JPEG"), preprocessing)
        assert (seen.pop(), got.shape) == (expected, (*target, 3))


def test_draft_stays_close_to_the_full_decode():
    data = encoded(picture(720, 576), "JPEG", quality=90)
    preprocessing = Preprocessing(**{**vars(SQUARE), "resize": (224, 224)})
    difference = prepare(data, preprocessing).astype(int) - prepare(data, without_draft(preprocessing))
    assert 0 < np.abs(difference).mean() < 2


def test_an_image_in_hand_is_not_changed():
    image = Image.open(io.BytesIO(encoded(picture(64, 64), "JPEG")))
    prepare(image, SQUARE)
    assert image.size == (64, 64)


def rgb(source) -> np.ndarray:
    return np.asarray(decode(source)).astype(int)


def test_grey_and_palette_frames():
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    np.testing.assert_array_equal(rgb(encoded(Image.fromarray(grey))), np.repeat(grey[..., None], 3, 2))
    bits = Image.fromarray(grey > 100)
    assert set(np.unique(rgb(encoded(bits)))) == {0, 255}
    palette = picture(16, 16).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    np.testing.assert_array_equal(rgb(encoded(palette)), np.asarray(palette.convert("RGB")))


def test_transparency_lies_on_white():
    colour = np.zeros((2, 2, 4), np.uint8)
    colour[..., 0] = 200
    colour[..., 3] = [[0, 255], [51, 255]]
    red = rgb(encoded(Image.fromarray(colour)))
    np.testing.assert_allclose(red[..., 0], [[255, 200], [244, 200]], atol=1)
    np.testing.assert_allclose(red[..., 1], [[255, 0], [204, 0]], atol=1)
    keyed = Image.new("P", (2, 1))
    keyed.putpalette([10, 20, 30, 40, 50, 60])
    keyed.putdata([0, 1])
    assert rgb(encoded(keyed, transparency=1)).tolist() == [[[10, 20, 30], [255, 255, 255]]]
    assert rgb(encoded(keyed, transparency=b"\x00\xff")).tolist() == [[[255, 255, 255], [40, 50, 60]]]
    veil = Image.fromarray(np.array([[[100, 0], [100, 255]]], np.uint8), "LA")
    assert rgb(encoded(veil))[0, :, 0].tolist() == [255, 100]


def test_cmyk_frame():
    image = picture(32, 32).convert("CMYK")
    np.testing.assert_array_equal(rgb(encoded(image, "TIFF")), np.asarray(image.convert("RGB")))
    assert np.abs(rgb(encoded(image, "JPEG", quality=98)) - np.asarray(image.convert("RGB"))).mean() < 8


def test_sixteen_bits_are_scaled_and_not_clipped():
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    wanted = np.rint(ramp.astype(float) / 257)[..., None].repeat(3, 2)
    np.testing.assert_array_equal(rgb(encoded(Image.fromarray(ramp))), wanted)
    np.testing.assert_array_equal(rgb(encoded(Image.fromarray(ramp), "TIFF")), wanted)
    np.testing.assert_array_equal(rgb(Image.fromarray(ramp.astype(np.int32))), wanted)
    colour = np.stack([ramp, ramp.T, 65535 - ramp], -1)
    file = io.BytesIO()
    tifffile.imwrite(file, colour, photometric="rgb")
    np.testing.assert_allclose(rgb(file.getvalue()), colour / 257.0, atol=1)  # Pillow drops the low byte of colour


def test_floats_are_taken_as_shares_or_as_levels():
    share = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    for scale in (1, 255):
        got = rgb(encoded(Image.fromarray(share * scale), "TIFF"))
        np.testing.assert_array_equal(got[..., 0], np.rint(share * 255))
    for strange in (share * 3000, share - 0.5, np.full((4, 4), np.nan, np.float32)):
        with pytest.raises(UnreadableImage, match="pixel values from"):
            decode(encoded(Image.fromarray(strange), "TIFF"))


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "green", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert rgb(data)[2, 3].tolist() == [255, 0, 0]


def test_a_tiff_that_pillow_refuses(tmp_path):
    """CVC-ClinicDB's frames: PhotometricInterpretation 1 (grey) with three samples per pixel and no ExtraSamples."""
    pixels = np.asarray(picture(40, 30))
    path = tmp_path / "1.tif"
    tifffile.imwrite(path, pixels, photometric="rgb")
    data = bytearray(path.read_bytes())
    tag = data.index(struct.pack("<HHI", 262, 3, 1))
    data[tag + 8 : tag + 10] = struct.pack("<H", 1)
    with pytest.raises(Image.UnidentifiedImageError):
        Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(rgb(bytes(data)), pixels)
    assert prepare(bytes(data), SQUARE).shape == (8, 8, 3)


def test_every_kind_of_source(tmp_path):
    data = encoded(picture(16, 12))
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "deep/a.png")
    wanted = rgb(data)
    for source in (path, str(path), {"bytes": data, "path": None}, {"bytes": None, "path": str(path)}, bytearray(data),
                   {"bytes": data, "path": "elsewhere.png"}, Image.open(path),
                   f"zip://deep/a.png::{tmp_path}/a.zip"):  # fmt: skip
        np.testing.assert_array_equal(rgb(source), wanted)


def huge_tiff() -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((4, 4, 3), np.uint8), photometric="minisblack", planarconfig="contig")
    data = bytearray(file.getvalue())
    for tag in (256, 257):
        place = next(at for at in range(len(data)) if data[at : at + 2] == struct.pack("<H", tag)
                     and struct.unpack_from("<H", data, at + 2)[0] in (3, 4))  # fmt: skip
        data[place + 2 : place + 12] = struct.pack("<HII", 4, 1, 60000)
    return bytes(data)


UNREADABLE = {
    "truncated": (encoded(picture(300, 200), "JPEG")[:4000], "truncated"),
    "truncated png": (encoded(picture(300, 200))[:4000], "truncated"),
    "zero bytes": (b"", "empty file"),
    "not an image": (b"<html>404 not found</html>", "not an image"),
    "text that begins like a TIFF": (b"II*\x00 is how it begins", "not an image|damaged"),
    "bomb": (png_of(30000, 30000), "too large"),
    "lesser bomb": (png_of(12000, 12000), "too large: 12000x12000 pixels"),
    "tiff bomb": (huge_tiff(), "too large: 60000x60000"),
    "missing file": ("/nowhere/at/all.jpg", "file not found"),
    "folder": ("/", "not a file: a folder"),
    "nothing": (None, "no image"),
    "nothing in the cell": ({"bytes": None, "path": None}, "no image"),
    "number": (7, "not an image: int"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_reason_of_an_unreadable_frame(name):
    source, pattern = UNREADABLE[name]
    reasons = set()
    for _ in range(2):
        with pytest.raises(UnreadableImage, match=pattern) as caught:
            prepare(source, SQUARE)
        reasons.add(str(caught.value))
    assert len(reasons) == 1, "the reason must not hold an address or a time"
    assert len(reasons.pop()) <= 120


def test_a_thread_like_frame_is_not_blown_up():
    preprocessing = Preprocessing(**{**vars(SQUARE), "resize": 224, "crop": (224, 224)})
    with pytest.raises(UnreadableImage, match="too elongated"):
        prepare(encoded(Image.new("L", (1, 50000))), preprocessing)
    assert prepare(encoded(Image.new("L", (1, 1), 7)), preprocessing).tolist() == np.full((224, 224, 3), 7).tolist()


def test_random_damage_never_raises_anything_else():
    rng = np.random.default_rng(0)
    originals = [encoded(picture(90, 70), kind) for kind in ("JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP")]
    for trial in range(600):
        data = bytearray(originals[trial % len(originals)])
        for at in rng.integers(0, min(len(data), 400 if trial % 2 else len(data)), rng.integers(1, 12)):
            data[at] = rng.integers(0, 256)
        with contextlib.suppress(UnreadableImage):
            assert prepare(bytes(data), SQUARE).shape == (8, 8, 3)

"""The one decode path: bytes to RGB at the encoder's size, for embedding, pre-training and segmentation alike.

`prepare` gives exactly the pixels that the Hugging Face image processor of the model would (its Pillow backend), once
`draft` is off. With `draft` on, the default, a JPEG is decoded at a half, quarter or eighth of its size where that is
still no smaller than what the resize asks for: twice as fast, and the manifest says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from PIL import Image, ImageOps

from meddel_hf.data.decoding import (
    ImageSource,
    as_bytes,
    decoding,
    drafted,
    is_halved,
    loaded,
    opened,
    orientation_of,
    raw_mode,
    size_before_loading,
)
from meddel_hf.data.limits import too_many
from meddel_hf.data.view import View, fill, visible
from meddel_hf.errors import InvalidArgument, UnreadableImage
from meddel_hf.runtime.checks import LARGEST_SIDE

_NEARLY_BLACK = 2**13  # of 16 bits: what 12 or 13 of them hold
_HALF = [0.5, 0.5, 0.5]
_CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
_CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
_ANY: dict[str, Any] = {
    "do_resize": True, "do_center_crop": False, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255,
    "size": 224, "crop_size": 224, "image_mean": _HALF, "image_std": _HALF,
}  # fmt: skip
_CLIP = {"resample": 3, "do_center_crop": True, "image_mean": _CLIP_MEAN, "image_std": _CLIP_STD}
# Image processors of transformers that resize, crop, rescale and normalise, and do nothing else.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "ViT": {**_ANY, "resample": 2},
    "DeiT": {**_ANY, "resample": 3, "size": 256, "do_center_crop": True},
    "Siglip": {**_ANY, "resample": 3, "size": {"height": 224, "width": 224}},
    "Bit": {**_ANY, **_CLIP},
    "CLIP": {**_ANY, **_CLIP},
    "Beit": {**_ANY, "resample": 3},
    "ConvNext": {**_ANY, "resample": 3, "size": {"shortest_edge": 384}, "crop_pct": 224 / 256},
    "DINOv3ViT": {**_ANY, "resample": 2},  # has no Pillow backend; it rescales before the resize, so within one level
}
_KINDS = {
    "vit": "ViT", "vit_mae": "ViT", "vit_msn": "ViT", "deit": "DeiT", "dinov2": "Bit", "dinov2_with_registers": "Bit",
    "beit": "Beit", "data2vec-vision": "Beit", "convnext": "ConvNext", "convnextv2": "ConvNext", "resnet": "ConvNext",
    "swin": "ViT", "swinv2": "ViT", "hiera": "Bit", "ijepa": "ViT",
    "clip": "CLIP", "clip_vision_model": "CLIP", "siglip": "Siglip", "siglip_vision_model": "Siglip",
}  # fmt: skip


@dataclass(frozen=True)
class Preprocessing:
    """What is done to a frame before the encoder sees it; the same for every frame of a store.

    resize:   (height, width) in pixels, or one number: the shortest edge, with the aspect ratio kept.
    crop:     (height, width) cut from the centre after the resize (black where the frame is smaller), or None.
    resample: Pillow's filter number: 2 is bilinear, 3 bicubic.
    scale, mean, std: the model sees (pixel · scale - mean) / std, for the channels red, green, blue.
    draft:    decode JPEGs at a reduced size, never below the resize's.
    view:     "auto" fills what is not mucosa (data/view.py) with the mean colour of what is.
    """

    resize: tuple[int, int] | int
    crop: tuple[int, int] | None
    resample: int
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    draft: bool = True
    view: View = "whole"

    @classmethod
    def from_pretrained(cls, name: str, *, model_type: str, revision: str | None = None) -> Preprocessing:
        """Read the image processor of a model, by Hub id or folder; `model_type` stands in where the file names none.

        Raises InvalidArgument where there is none, or where it does more than resize, crop, rescale and normalise.
        """
        from transformers.models.auto.image_processing_auto import get_image_processor_config

        processor = get_image_processor_config(name, revision=revision)
        if not processor:
            raise InvalidArgument(
                f"{name} has no preprocessor_config.json, so nobody knows what its pixels should be like: save its "
                "image processor beside its weights (processor.save_pretrained)"
            )
        return cls.from_config(processor, model_type=model_type)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, model_type: str) -> Preprocessing:
        """The same from the file's content; options that an old file leaves out have its class's defaults."""
        kind = config.get("image_processor_type") or config.get("feature_extractor_type")
        kind = re.sub(r"(ImageProcessor|FeatureExtractor)(Fast|Pil)?$", "", kind) if kind else _KINDS.get(model_type)
        if kind not in _DEFAULTS:
            raise InvalidArgument(
                f"the image processor {kind or f'of model type {model_type!r}'} is not known to only resize, crop, "
                f"rescale and normalise: expected one of {', '.join(sorted(_DEFAULTS))}"
            )
        options = {**_DEFAULTS[kind], **{key: value for key, value in config.items() if value is not None}}
        if not options["do_resize"]:
            raise InvalidArgument("the image processor does not resize, so frames would differ in size: set do_resize")
        if kind == "ConvNext":
            options |= _as_convnext(options)
        scale = options["rescale_factor"] if options["do_rescale"] else 1.0
        mean, std = (options["image_mean"], options["image_std"]) if options["do_normalize"] else (0.0, 1.0)
        return cls(
            resize=_size(options["size"], one_number_is_square=kind in ("ViT", "DeiT")),
            crop=_pair(options["crop_size"]) if options["do_center_crop"] else None,
            resample=int(options["resample"]),
            scale=float(scale),
            mean=_triple(mean),
            std=_triple(std),
        )

    def __post_init__(self) -> None:
        for side in (self.resize, *(self.resize if isinstance(self.resize, tuple) else ()), *(self.crop or ())):
            if isinstance(side, int) and not 1 <= side <= LARGEST_SIDE:
                raise InvalidArgument(f"the image processor asks for {side} pixels: expected 1 to {LARGEST_SIDE:,}")
        if self.view not in get_args(View):
            raise InvalidArgument(f"view must be one of {', '.join(get_args(View))}, got {self.view!r}")
        if self.resample not in range(6):
            raise InvalidArgument(f"the image processor's filter {self.resample} is none of Pillow's, 0 to 5")
        numbers = [self.scale, *self.mean, *self.std]
        if not all(map(math.isfinite, numbers)) or 0 in self.std:
            raise InvalidArgument("the image processor's factor, mean or deviation is no finite number, or zero")
        if self.crop is None and isinstance(self.resize, int):
            raise InvalidArgument(
                f"the image processor resizes the shortest edge to {self.resize} and crops nothing, so frames would "
                "differ in size: give it crop_size and do_center_crop, or a size with height and width"
            )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels of what the encoder sees."""
        return self.crop or self.resize  # type: ignore[return-value]  # __post_init__: one of them is a pair

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) after the resize of a frame of that width and height."""
        if not isinstance(self.resize, int):
            return self.resize[1], self.resize[0]
        longest = int(self.resize * max(width, height) / min(width, height))
        return (self.resize, longest) if width <= height else (longest, self.resize)


def _as_convnext(options: Mapping[str, Any]) -> dict[str, Any]:
    """How a ConvNeXt sees its frames: below 384 pixels it crops the middle of a larger one, else it squeezes."""
    size = options["size"]
    side = size["shortest_edge"] if isinstance(size, Mapping) and "shortest_edge" in size else size
    if not isinstance(side, int):
        raise InvalidArgument(
            f"the image processor's size {size} is not understood: expected a shortest edge in pixels"
        )
    if options["do_center_crop"]:
        raise InvalidArgument("the image processor crops by crop_pct and by do_center_crop: expected one of them")
    if side >= 384:
        return {"size": {"height": side, "width": side}}
    whole = int(side / options["crop_pct"])
    return {"size": {"shortest_edge": whole}, "do_center_crop": True, "crop_size": {"height": side, "width": side}}


def _size(size: int | list[int] | Mapping[str, int], *, one_number_is_square: bool) -> tuple[int, int] | int:
    if isinstance(size, Mapping) and set(size) == {"shortest_edge"}:
        return int(size["shortest_edge"])
    if isinstance(size, int) and not one_number_is_square:
        return size
    return _pair(size)


def _pair(size: int | list[int] | Mapping[str, int]) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping) and set(size) == {"height", "width"}:
        return int(size["height"]), int(size["width"])
    if not isinstance(size, Mapping) and len(size) == 2:
        return int(size[0]), int(size[1])
    raise InvalidArgument(f"the image processor's size {size} is not understood: expected height and width in pixels")


def _triple(value: float | list[float]) -> tuple[float, float, float]:
    red, green, blue = value if isinstance(value, (list, tuple)) else (value, value, value)
    return float(red), float(green), float(blue)


def prepare(source: ImageSource, preprocessing: Preprocessing) -> np.ndarray:
    """Decode a frame and bring it to the encoder's size.

    Returns (height, width, 3) uint8, RGB. Raises UnreadableImage, whose message is the reason.
    """
    return prepare_sized(source, preprocessing).pixels


@dataclass(frozen=True)
class Prepared:
    """A frame at the encoder's size, (H, W, 3) uint8, and the upright size in pixels that it had.

    remarks: what its owner should know of it.
    """

    pixels: np.ndarray
    width: int
    height: int
    remarks: tuple[str, ...]


def prepare_sized(source: ImageSource, preprocessing: Preprocessing) -> Prepared:
    """`prepare`, for what must be laid upon the frame: it tells the frame's own size too."""
    with decoding():
        image = opened(source)
        size, raw = size_before_loading(image), raw_mode(image)
        if size is not None and preprocessing.draft and image is not source:  # draft would change the caller's image
            drafted(image, None, *_resized(size, preprocessing))
        upright = loaded(image)
        size = upright.size if size is None else size
        frame = _rgb(upright).resize(_resized(size, preprocessing), preprocessing.resample)
        remarks = () if image is source else tuple(_remarks(image, raw))
    if preprocessing.view == "auto":  # before the crop, which cuts a surround off from the border that tells it
        pixels = np.asarray(frame)
        frame = Image.fromarray(fill(pixels, visible(pixels, size[0] / size[1])))
    if preprocessing.crop is not None:
        frame = _centre(frame, *preprocessing.crop)
    return Prepared(np.asarray(frame), *size, remarks)


def _resized(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    width, height = preprocessing.resized(*size)
    if too_many(width * height):
        raise UnreadableImage(f"too elongated to be resized: {size[0]}x{size[1]} pixels")
    return width, height


def decode(source: ImageSource) -> Image.Image:
    """Decode a frame at full size: RGB, upright, the first frame of an animation, transparency on white.

    Raises UnreadableImage, whose message is the reason.
    """
    with decoding():
        return _rgb(loaded(opened(source)))


def reduced(source: ImageSource, side: int) -> Image.Image:
    """Decode a frame to be shown in small: as `decode` does, but its longer side at most `side` pixels.

    A JPEG is decoded at a reduced size. Raises UnreadableImage, whose message is the reason.
    """
    with decoding():
        image = opened(source)
        if image is not source:
            drafted(image, "RGB", side, side)
        upright = _rgb(loaded(image))
        return upright if max(upright.size) <= side else ImageOps.contain(upright, (side, side))


@dataclass(frozen=True)
class Look:
    """What a quick look at a frame tells: its upright size in pixels, and a small picture of all of it.

    small:  grey, upright, no smaller than was asked for where the frame is not.
    native: Pillow reads the file itself, so any reader of the data set can.
    orientation: EXIF's, from 1 to 8, that it was turned by.
    remarks: what its owner should know of it.
    """

    width: int
    height: int
    small: Image.Image
    native: bool
    orientation: int
    remarks: tuple[str, ...]


def look(source: ImageSource, side: int) -> Look:
    """Decode a frame at about `side` pixels, a JPEG at a reduced size; all of its data are read, so damage is noticed.

    Raises UnreadableImage, whose message is the reason.
    """
    with decoding():
        image = opened(source)
        native, size, raw = image.format is not None, size_before_loading(image), raw_mode(image)
        if image is not source:
            drafted(image, "L", side, side)
        upright = loaded(image)
        width, height = upright.size if size is None else size
        small = upright if upright.mode == "L" else _rgb(upright).convert("L")
        return Look(width, height, small, native, orientation_of(image), tuple(_remarks(image, raw)))


def _remarks(image: Image.Image, raw: str) -> Iterator[str]:
    """Of a picture that is loaded. raw: its `raw_mode` before that."""
    if (count := _count(image)) > 1:
        yield f"only the first of its {count:,} pictures was taken"
    step = 1 if image.mode.startswith("I") else 256 if is_halved(raw) else 0
    if step:
        top = int(np.asarray(image).max()) * step
        if 0 < top < _NEARLY_BLACK:
            yield (
                f"nearly black: its 16-bit values end at {top:,}, and white is 65,535; scale it to them, where it was "
                "taken with fewer bits"
            )


def _count(image: Image.Image) -> int:
    """Pictures in a file that is loaded; the others of an MPO show the same in another way."""
    try:
        return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    except Exception:  # the first picture is sound, and what comes after it damaged
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB: transparency on white, 16 bits and floats scaled to 8 (Pillow would clip them)."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(as_bytes(np.asarray(image))).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        image = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _centre(image: Image.Image, height: int, width: int) -> Image.Image:
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))

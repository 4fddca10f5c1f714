"""Masks by what their values mean: one reading for the build and for segmentation.

An owner's mask is black where nothing is, and holds the object as 1, as 255, as 65535, as an index of a palette, as a
colour, or as what is not transparent; its edges may be soft, and JPEG adds a few grey levels at both ends. What can be
read in two ways is refused with the values found: a mask that is guessed wrong teaches the opposite, and no step tells.
Never guessed: a white picture with black objects. White is the object.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from meddel_hf.data import tiff
from meddel_hf.data.decoding import ImageSource, bytes_of, decoding, is_halved, loaded, opened, raw_mode, turned
from meddel_hf.data.limits import check_size, too_many
from meddel_hf.errors import UnreadableImage

EXPECTED = "0 and 255, or 0 and 1"
_FEW = 16  # levels: JPEG and soft edges make about as many, or more; masks of classes have fewer
_FLAT = 0.001  # share of the pixels that may lie in flat patches of a level which is neither black nor the object
_SOFT = 0.25  # share of the pixels that may be neither dark nor bright
_NOISE = 8  # levels that JPEG adds to black
_PHOTOMETRIC, _SOFTWARE = 262, 305  # tags of a TIFF
_SHOWN = 8  # values in a message
_DEPTHS = {"L;2": 85, "L;4": 17}  # Pillow brings 2 and 4 bits to 8: what one step of the file is then
_HALVED = "colours of 16 bits, of which Pillow reads the upper 8, and these are 0: save the mask with 8 bits"
_HOLE = (
    "black, and transparent over another colour: either may be the object; save the mask without alpha, the object "
    "white on black"
)


class UnclearMask(UnreadableImage):
    """A mask that can be read in two ways, or in none. values: what it holds, in words."""

    def __init__(self, values: np.ndarray, note: str = "", expected: str = EXPECTED) -> None:
        self.values = _listed([int(value) for value in values])
        super().__init__(f"holds {self.values}{note}: expected {expected}")


def _listed(values: list[int]) -> str:
    if len(values) <= _SHOWN:
        return ", ".join(map(str, values))
    return f"{', '.join(map(str, values[: _SHOWN - 1]))} ... {values[-1]} ({len(values)} values)"


def binary(source: ImageSource, *, red: bool = False, merge: bool = True) -> np.ndarray:
    """(pages, height, width) bool, upright: where the object is; one page but for TIFF files of several.

    red:   255 in the red channel marks the object, whatever the other channels hold.
    merge: several palette indices or colours are one object; without it they are refused, as is an index that is
           neither 1 nor 255: a model of two classes was asked for, and these may be more.
    Raises UnreadableImage; UnclearMask, which is one, where the values can be read in two ways.
    """
    pages = _pages(source)
    planes = [_plane(page, red, merge) for page in pages]
    if len({plane.shape for plane in planes}) > 1:
        raise UnreadableImage(f"pages of {len({plane.shape for plane in planes})} sizes: expected one")
    top = max((int(plane.max(initial=0)) for plane in planes if plane.dtype != np.bool_), default=0)
    return np.stack([plane if plane.dtype == np.bool_ else _bright(plane, top) for plane in planes])


def classes(source: ImageSource) -> np.ndarray:
    """(height, width) uint8, upright: the class of each pixel by value, of a palette by index.

    Raises UnreadableImage where the file is not one channel of whole numbers below 256; UnclearMask, which is one,
    where JPEG has stored several values, and made others of them.
    """
    pages = _pages(source)
    if len(pages) > 1:
        raise UnreadableImage(f"{len(pages)} pages: expected one")
    page = pages[0]
    values = page.pixels
    if page.alpha is not None and (page.alpha == page.alpha.flat[0]).all():
        page.alpha = None
    if values.ndim == 3 and (values == values[..., :1]).all():
        values = values[..., 0]  # grey stored as RGB
    whole = values.dtype.kind in "bui"
    if page.halved and not values.any():
        raise UnreadableImage(_HALVED)
    if page.alpha is not None or values.ndim != 2 or not whole or values.max() > 255 or values.min() < 0:
        raise UnreadableImage(f"not one channel of classes below 256, but {page.mode} of shape {values.shape}")
    if page.lossy and values.min() < values.max():
        lossless = "classes in a file that keeps values as they are, such as PNG"
        raise UnclearMask(np.unique(values), " as JPEG, which makes new values between classes", lossless)
    return (values // page.step).astype(np.uint8)


class _Page:
    """One picture as it is stored, upright.

    pixels:  (height, width), or (height, width, 3) of colours; of a palette its indices.
    palette: (n, 3) uint8, or None. alpha: (height, width) uint8, or None. lossy: JPEG.
    step:    what a step of the file is in `pixels`. halved: of 16-bit colours only the upper 8 bits are there.
    """

    def __init__(self, image: Image.Image, kind: str | None, raw: str) -> None:
        self.mode, self.lossy = image.mode, kind in ("JPEG", "MPO")
        self.step, self.halved = _DEPTHS.get(raw, 1), is_halved(raw)
        self.palette: np.ndarray | None = None
        self.alpha: np.ndarray | None = None
        if image.mode == "P":
            colours = np.frombuffer(image.im.getpalette("RGB", "RGB"), np.uint8).reshape(-1, 3)
            self.palette = np.concatenate([colours, np.zeros((256 - len(colours), 3), np.uint8)])
        elif image.mode in ("RGBA", "RGBa", "LA", "La", "PA"):
            image = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
            self.alpha = np.asarray(image.getchannel("A"))
            image = image.convert("RGB")
        elif image.mode not in ("1", "L", "I", "F", "RGB") and not image.mode.startswith("I;16"):
            image = image.convert("RGB")
        self.pixels = np.asarray(image)
        if not self.pixels.size:
            raise UnreadableImage("a picture without pixels")


def _pages(source: ImageSource) -> list[_Page]:
    with decoding():
        data = source if isinstance(source, Image.Image) else bytes_of(source)
        image = opened(data)
        if image.format is None and isinstance(data, bytes):  # read by tifffile, and brought to 8 bits
            return [_page(_unscaled(*tiff.first_page(data)))]
        count = getattr(image, "n_frames", 1)
        if image.format != "TIFF":
            if count > 1 and image.format != "MPO":
                raise UnreadableImage(f"an animation of {count} pictures: expected one mask")
            return [_page(image)]
        if too_many(image.width * image.height * count):
            raise UnreadableImage(f"too large: {count} pages of {image.width}x{image.height} pixels")
        stacked = tiff.stack(data) if count == 1 and isinstance(data, bytes) else None
        if stacked is not None:
            return [_page(Image.fromarray(page)) for page in stacked]
        pages, pixels = [], 0
        for number in range(count):
            image.seek(number)
            pixels += image.width * image.height
            check_size(image.width, image.height)
            if too_many(pixels):
                raise UnreadableImage(f"too large: {count} pages")
            pages.append(_page(image))
        return pages


def _unscaled(pixels: np.ndarray, orientation: int) -> Image.Image:
    """With the values that the file holds: a frame's 1 of 65535 is black, a mask's is the object."""
    if pixels.dtype in (np.uint8, np.bool_):
        return turned(Image.fromarray(pixels), orientation)
    if pixels.ndim == 3:
        raise UnreadableImage(f"colours of type {pixels.dtype}: save the mask with 8 bits")
    if pixels.dtype.kind in "ui" and not (pixels.min() >= 0 and pixels.max() <= 65535):
        raise UnreadableImage(f"holds values from {pixels.min()} to {pixels.max()}: expected {EXPECTED}")
    return turned(Image.fromarray(pixels.astype(np.float32 if pixels.dtype.kind == "f" else np.int32)), orientation)


def _page(image: Image.Image) -> _Page:
    kind, raw = image.format, raw_mode(image)
    upside_down = _is_of_bools(image)
    page = _Page(loaded(image), kind, raw)
    if upside_down:
        page.pixels = ~page.pixels
    return page


def _is_of_bools(image: Image.Image) -> bool:
    """Whether tifffile wrote the page from an array of bools: it says that 0 is white, and leaves the bits as they are.

    Pillow believes what it says, and would show the object as nothing, and all else as the object.
    """
    if image.format != "TIFF" or image.mode != "1":
        return False
    tags = image.tag_v2  # type: ignore[attr-defined]
    return tags.get(_PHOTOMETRIC) == 0 and str(tags.get(_SOFTWARE, "")).startswith("tifffile")


def _plane(page: _Page, red: bool, merge: bool) -> np.ndarray:
    """(height, width): bool where the object is certain, else levels of grey."""
    if page.palette is not None:
        return _by_index(page, page.palette, red, merge)
    pixels = page.pixels
    if pixels.ndim == 3:
        return _by_colour(page, red, merge)
    if pixels.dtype == np.bool_:
        return pixels
    return _levels(pixels, page)


def _levels(pixels: np.ndarray, page: _Page) -> np.ndarray:
    """Grey of any type as uint8 or uint16."""
    low, high = pixels.min(), pixels.max()
    if pixels.dtype.kind == "f" and low >= 0 and high <= 255:
        whole = np.array_equal(pixels, np.rint(pixels))
        pixels = pixels if whole or high > 1 else pixels * 255
        answer: np.ndarray = np.rint(pixels).astype(np.uint8)
        return answer
    if pixels.dtype.kind not in "ui" or not (low >= 0 and high <= 65535):  # so that NaN fails too
        raise UnreadableImage(f"holds values from {low:g} to {high:g}: expected {EXPECTED}")
    if page.step > 1 and high < 128:
        pixels = pixels // page.step
    if page.lossy and 0 < high <= _NOISE:
        raise UnclearMask(np.unique(pixels), " as JPEG")  # black with noise, or classes that JPEG has blurred
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.uint16)


def _bright(grey: np.ndarray, top: int) -> np.ndarray:
    """(height, width) bool: the upper half of the levels, where they are those of a mask. top: of all pages."""
    if top <= 1:
        answer: np.ndarray = grey == 1
        return answer
    counts = _counts(grey)
    values = np.flatnonzero(counts)
    if not values[-1]:
        return np.zeros(grey.shape, bool)
    if top < 128 or 255 < top < 32768 or (len(values) == 1 and values[0] < 0.97 * (255 if top < 256 else 65535)):
        raise UnclearMask(values)
    scaled = (
        grey if top == 255 else ((np.arange(top + 1, dtype=np.int64) * 255 + top // 2) // top).astype(np.uint8)[grey]
    )
    if set(values) - {0, top}:
        _check_levels(scaled, counts if scaled is grey else _counts(scaled), values)
    return scaled > 127


def _check_levels(grey: np.ndarray, counts: np.ndarray, values: np.ndarray) -> None:
    """Soft edges and noise have no flat patches in between, and are few; classes have, and photographs are many.

    Measured on 2,672 masks of five owners: with 16 levels or fewer no level has more than 0.03 % of the pixels in flat
    patches; with more, none between a quarter and three quarters of white; at most 8 % of the pixels are in between.
    """
    corner = grey[:-1, :-1]
    flat = corner[(corner == grey[1:, :-1]) & (corner == grey[:-1, 1:]) & (corner == grey[1:, 1:])]
    patches = _counts(flat[None])
    between = patches[1:255] if len(values) <= _FEW else patches[64:192]
    if between.max() > _FLAT * grey.size or counts[32:224].sum() > _SOFT * grey.size:
        raise UnclearMask(values)


def _by_index(page: _Page, palette: np.ndarray, red: bool, merge: bool) -> np.ndarray:
    """A palette's index is the class, 0 the background; its colours are for the eye.

    But where the colours are greys, or more than classes would be, the palette is a way to store a picture.
    """
    index = page.pixels
    used = np.flatnonzero(_counts(index))
    colours, objects = palette[used], set(used.tolist()) - {0}
    if red and (colours[:, 0] > 127).any():
        return np.asarray(palette[index][..., 0])
    dark = colours.max(axis=1) <= _NOISE
    if palette[0].max() > _NOISE and dark.any():
        raise UnclearMask(used, f" in a palette whose 0 is {_hexed(palette[0])} and whose {used[dark][0]} is black")
    if len(used) > _FEW:
        page.palette, page.pixels = None, palette[index]
        return _by_colour(page, red, merge)
    if len(used) > 2 and (colours == colours[:, :1]).all() and colours.max() > 127:  # grey, perhaps with soft edges
        try:
            return _bright(palette[index][..., 0], int(colours.max()))
        except UnclearMask:
            pass
    mixed = len(objects) > 1 and 255 in objects  # by custom 255 is the border that belongs to no class
    if mixed or not (merge or objects <= {1} or objects <= {255}):
        raise UnclearMask(used, " as indices of its palette")
    if len(used) > 1 and used[0] > 0:
        raise UnclearMask(used, " as indices of its palette, without 0, the background")
    answer: np.ndarray = index != 0
    return answer


def _by_colour(page: _Page, red: bool, merge: bool) -> np.ndarray:
    """(height, width): levels, or bool of what is not black where the colours are few."""
    colour = page.pixels
    if page.alpha is not None and (page.alpha != page.alpha.flat[0]).any():
        seen = colour[page.alpha > 0]
        if (seen == seen[0]).all():  # one colour, and the rest transparent: the colour says nothing
            if seen[0].max() <= _NOISE and colour.max() > _NOISE:
                raise UnreadableImage(_HOLE)
            return _levels(page.alpha, page)
        colour = (colour.astype(np.uint16) * page.alpha[..., None] // 255).astype(np.uint8)
    elif page.alpha is not None and not page.alpha.any() and colour.any():
        raise UnreadableImage("transparent everywhere, with colours beneath: save the mask without alpha")
    if page.halved and not colour.any():
        raise UnreadableImage(_HALVED)
    if red and (colour[..., 0] > 127).any():
        return colour[..., 0]
    channels = [colour[..., number] for number in range(3)]  # numpy reduces so short an axis slowly
    if all(np.array_equal(channels[0], other) for other in channels[1:]):
        return _levels(channels[0].copy(), page)
    strongest = np.maximum(np.maximum(channels[0], channels[1]), channels[2])
    weakest = np.minimum(np.minimum(channels[0], channels[1]), channels[2])
    if (strongest - weakest).max() <= 2 * _NOISE:  # grey, but for the noise of JPEG
        return _levels(strongest, page)
    packed = colour.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
    colours = np.unique(packed)
    if strongest.min() > _NOISE or (len(colours) > 2 and len(colours) <= _FEW and not merge):
        raise UnreadableImage(f"holds the colours {_named(colours)}: expected one on black")
    try:
        return _bright(strongest, int(strongest.max()))
    except UnclearMask:
        if len(colours) <= _FEW and colours[0] == 0:
            answer: np.ndarray = packed != 0
            return answer
        raise UnreadableImage(f"holds the colours {_named(colours)}: expected one on black") from None


def _counts(values: np.ndarray) -> np.ndarray:
    """How many pixels have each value from 0: (256,) for uint8, as many as needed for wider integers."""
    if values.dtype == np.uint8 and values.size:
        return np.array(Image.fromarray(values).histogram())  # np.bincount would take eight bytes a pixel
    return np.bincount(values.ravel(), minlength=256)


def _hexed(colour: np.ndarray) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _named(packed: np.ndarray) -> str:
    shown = ", ".join(f"#{colour:06x}" for colour in packed[:_SHOWN])
    return shown if len(packed) <= _SHOWN else f"{shown} ... ({len(packed):,} colours)"

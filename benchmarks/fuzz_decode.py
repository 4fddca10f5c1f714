"""What damage gets through: flipped bits, cuts and zeroed spans in real frames, against what Pillow says of the same.

    python benchmarks/fuzz_decode.py --frames FOLDER [--trials 2000] [--seed 0]

For each format a table row counts, of so many damaged files:
  passed     accepted by meddel_hf although a plain `Image.open(...).load()` refuses: must be 0
  foreign    any exception but UnreadableImage: must be 0
  hangs      no answer within 10 seconds: must be 0
  differ     accepted by both with other pixels than Pillow's: must be 0
  stricter   refused by meddel_hf and accepted by Pillow, with the reasons below the table
  refused    refused by both
  altered    accepted by both with pixels that are not the sound frame's: what no decoder of the format can notice
"""

from __future__ import annotations

import argparse
import io
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, features

from meddel_hf.data.decoding import ImageSource
from meddel_hf.data.images import Preprocessing, decode, look, prepare
from meddel_hf.data.masks import binary
from meddel_hf.errors import UnreadableImage

SQUARE = Preprocessing((64, 64), None, 2, 1 / 255, (0.0,) * 3, (1.0,) * 3)
SIDE = 320  # pixels, the longer side of the frames that are damaged
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
SECONDS = 10
LARGEST = 20_000_000  # pixels: a flipped bit in a header asks for billions, and both sides must stay small here


def formats() -> dict[str, tuple[str, dict[str, Any]]]:
    """Name of a row -> Pillow's format and options."""
    found: dict[str, tuple[str, dict[str, Any]]] = {
        "JPEG": ("JPEG", {"quality": 90}), "JPEG, progressive": ("JPEG", {"quality": 90, "progressive": True}),
        "PNG": ("PNG", {}), "PNG, palette": ("PNG", {}), "APNG": ("PNG", {"save_all": True}), "GIF": ("GIF", {}),
        "GIF, animated": ("GIF", {"save_all": True}), "BMP": ("BMP", {}), "PNM": ("PPM", {}),
        **{f"TIFF, {name}": ("TIFF", {"compression": code}) for name, code in (
            ("raw", None), ("lzw", "tiff_lzw"), ("deflate", "tiff_adobe_deflate"), ("packbits", "packbits"),
            ("jpeg", "jpeg"))},
    }  # fmt: skip
    if features.check("webp"):
        found |= {"WebP": ("WEBP", {}), "WebP, lossless": ("WEBP", {"lossless": True})}
    if features.check("jpg_2000"):
        found["JPEG 2000"] = ("JPEG2000", {"quality_mode": "rates", "quality_layers": [10]})
    return found


def encoded(frame: Image.Image, name: str, kind: str, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    if "palette" in name or kind == "GIF":
        frame = frame.convert("P", palette=Image.Palette.ADAPTIVE)
    if options.get("save_all"):
        options = {**options, "append_images": [frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]}
    frame.save(file, kind, **options)
    return file.getvalue()


def damaged(data: bytes, draw: np.random.Generator) -> bytes:
    """One flipped bit (half of the time), a few, a cut end, or a span of zeros; a third of the flips near the front."""
    kind, found = draw.integers(0, 8), bytearray(data)
    if kind < 6:
        span = len(data) if draw.random() < 2 / 3 else min(len(data), 512)
        for at in draw.integers(0, span, 1 if kind < 4 else draw.integers(2, 9)):
            found[at] ^= 1 << int(draw.integers(0, 8))
    elif kind == 6:
        del found[int(draw.integers(1, len(data))) :]
    else:
        start = int(draw.integers(0, len(data)))
        stop = min(len(data), start + int(draw.integers(1, 64)))
        found[start:stop] = bytes(stop - start)
    return bytes(found)


def plain(data: bytes) -> Image.Image | None:
    """What Pillow itself makes of it; None where it refuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data))
            image.load()
            return image
        except Exception:
            return None


def pixels_of(image: Image.Image) -> np.ndarray | None:
    """RGB, upright, where the way there is beyond doubt."""
    if image.mode not in ("RGB", "L", "P", "1") or "transparency" in image.info:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except Exception:
            return None


class Hang(BaseException):
    """No answer in time; not an Exception, so that nothing on the way takes it for damage."""


def _ring(*_: object) -> None:
    raise Hang


def ours(read: Callable[[ImageSource], Any], data: bytes) -> tuple[str, Any]:
    """("ok", result), ("refused", reason), ("foreign", exception) or ("hang", None)."""
    signal.alarm(SECONDS)
    try:
        return "ok", read(data)
    except UnreadableImage as error:
        return "refused", str(error)
    except Hang:
        return "hang", None
    except BaseException as error:
        return "foreign", repr(error)
    finally:
        signal.alarm(0)


MASKS: dict[str, Callable[[ImageSource], Any]] = {"mask": binary}
READERS: dict[str, Callable[[ImageSource], Any]] = {
    "decode": decode,
    "prepare": lambda source: prepare(source, SQUARE),
    "look": lambda source: look(source, 64),
}


def judged(sound: bytes, data: bytes, readers: dict[str, Callable[[ImageSource], Any]]) -> Iterator[str]:
    """The words of the table, each with what came of it."""
    theirs = plain(data)
    for name, read in readers.items():
        status, found = ours(read, data)
        if status == "ok" and theirs is None:
            yield f"passed: {name}"
        elif status == "refused":
            yield "refused" if theirs is None else f"stricter: {name}: {found}"
        elif status != "ok":
            yield f"{status}: {name}: {found}"
        elif name == "decode":
            wanted, original = pixels_of(theirs) if theirs else None, plain(sound)
            if wanted is not None and not np.array_equal(np.asarray(found), wanted):
                yield "differ"
            elif original is None or not np.array_equal(np.asarray(found), pixels_of(original)):
                yield "altered"
        elif name == "mask" and not np.array_equal(found, binary(sound)):
            yield "altered"


def frames_in(folder: Path, number: int) -> list[Image.Image]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    found = []
    for at in np.linspace(0, len(paths) - 1, number).astype(int):
        with Image.open(paths[at]) as image:
            found.append(ImageOps.contain(image.convert("RGB"), (SIDE, SIDE)))
    return found


def masks_like(frames: list[Image.Image]) -> list[Image.Image]:
    """Two ellipses on black for every frame, of its size."""
    found = []
    for frame in frames:
        y, x = np.mgrid[: frame.height, : frame.width] / max(frame.size)
        inside = ((x - 0.3) / 0.2) ** 2 + ((y - 0.4) / 0.3) ** 2 < 1
        inside |= ((x - 0.8) / 0.1) ** 2 + ((y - 0.3) / 0.1) ** 2 < 1
        found.append(Image.fromarray(inside.astype(np.uint8) * np.uint8(255)))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Damage frames, and count what gets through.")
    parser.add_argument("--frames", type=Path, required=True, help="folder of sound frames, searched to the bottom")
    parser.add_argument("--trials", type=int, default=2000, help="damaged files for each format (default: 2000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", default="", help="only the rows whose name holds this")
    args = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = LARGEST
    signal.signal(signal.SIGALRM, _ring)
    frames, total = frames_in(args.frames, 6), Counter[str]()
    words = ("passed", "foreign", "hang", "differ", "stricter", "refused", "altered")
    print(f"| format | files | {' | '.join(words)} |\n|---|{'---:|' * (len(words) + 1)}")
    rows = [(name, frames, READERS, *how) for name, how in formats().items()]
    rows += [(f"mask, {name}", masks_like(frames), MASKS, *how) for name, how in formats().items()
             if not how[1].get("save_all")]  # fmt: skip
    for name, pictures, readers, kind, options in rows:
        if args.formats.lower() not in name.lower():
            continue
        draw, counts = np.random.default_rng([args.seed, len(name)]), Counter[str]()
        originals = [encoded(picture, name, kind, options) for picture in pictures]
        for trial in range(args.trials):
            sound = originals[trial % len(originals)]
            found = set(judged(sound, damaged(sound, draw), readers))
            counts.update({word.partition(":")[0] for word in found})
            total.update(word for word in found if word.partition(":")[0] not in ("refused", "altered"))
        row = " | ".join(str(counts[word]) for word in words)
        print(f"| {name} | {args.trials} | {row} |", flush=True)
    print("\nwhat and how often:")
    for word, count in total.most_common(40):
        print(f"{count:6d}  {word}")
    return int(any(word.startswith(("passed", "foreign", "hang", "differ")) for word in total))


if __name__ == "__main__":
    sys.exit(main())

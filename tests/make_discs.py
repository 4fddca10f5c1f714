"""Frames with masks that a small model learns in seconds: red discs on grey noise."""

from __future__ import annotations

import io

import numpy as np
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture

FEATURES = Features({"id": Value("string"), "image": Image(), "mask": Image(), "group": Value("string")})


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Picture.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def disc(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A grey frame with noise and a red disc, (height, width, 3) uint8, and where the disc is, (height, width) bool."""
    draw = np.random.default_rng(seed)
    height, width = (int(side) for side in draw.integers(40, 80, 2))
    radius = draw.uniform(0.2, 0.3) * min(height, width)
    y, x = draw.uniform(0.35, 0.65) * height, draw.uniform(0.35, 0.65) * width
    rows, columns = np.mgrid[:height, :width]
    inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
    pixels = draw.integers(90, 130, (height, width, 3))
    pixels[inside] += (90, -60, -60)
    return pixels.astype(np.uint8), inside


def frames(first: int, rows: int, group: str | None = None, **change) -> Dataset:
    pairs = [disc(first + row) for row in range(rows)]
    columns = {
        "id": [f"f/{first + row:03d}" for row in range(rows)],
        "image": [png(pixels) for pixels, _ in pairs],
        "mask": [png(inside.astype(np.uint8) * np.uint8(255)) for _, inside in pairs],
        "group": [group and f"{group} {row // 2}" for row in range(rows)],
        **change,
    }
    return Dataset.from_dict(columns, features=FEATURES)

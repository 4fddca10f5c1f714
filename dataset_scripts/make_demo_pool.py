"""Make the small multi-centre pool that the package carries: scaled-down frames of PolypGen (CC BY 4.0), six centres.

    python dataset_scripts/make_demo_pool.py RAW/PolypGen2021_MultiCenterData_v3 --out meddel_hf/assets/pool

The result is a data set folder that `load_dataset` opens and that may be pushed to the Hub as it is. The frames of a
centre are its closest pairs, as the archive really holds them, and others at even steps through its file names; no
frame is made up or copied. The same input and the same versions of Pillow, datasets and pyarrow write the same bytes.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image as Pillow

from meddel_hf.datadel.features import FEATURES
from meddel_hf.runtime.files import whole_folder

CENTRES = range(1, 7)
FRAMES_PER_CENTRE = 75
OF_THEM_IN_CLOSE_PAIRS = 30
LONGER_SIDE = 144  # pixels
JPEG_QUALITY = 80

CARD = """\
---
license: cc-by-4.0
pretty_name: DataDEL demo pool (PolypGen)
task_categories:
- image-segmentation
- image-feature-extraction
tags:
- medical
- endoscopy
- colonoscopy
size_categories:
- n<1K
configs:
- config_name: default
  default: true
  data_files:
  - split: train
    path: data/polypgen2021/*/train-*.parquet
{configs}
---

# DataDEL demo pool: {rows} colonoscopy frames of six centres

A pool small enough to travel inside the package `meddel-hf`, so that `meddel demo` shows on real frames, without a
network, how near-duplicates are found and a subset is chosen. It is not meant for training or for evaluation.

## Where the frames come from

**PolypGen**: Ali, S., Jha, D., Ghatwary, N. et al. "A multi-centre polyp detection and segmentation dataset for
generalisability assessment." *Scientific Data* 10, 75 (2023). <https://doi.org/10.1038/s41597-023-01981-y>.
Licence: [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/). The owners ask that the frames be used for research
and education and that the paper be cited.

| config | frames | in the archive's single-frame set, as read here |
|---|---|---|
{table}

The paper lists six hospitals: Ambroise Paré (Paris, France), Istituto Oncologico Veneto (Padova, Italy), Centro
Riferimento Oncologico IRCCS (Italy), Oslo University Hospital (Norway), John Radcliffe Hospital (Oxford, UK) and the
University of Alexandria (Egypt). That the archive's folders C1 to C6 stand in this order is assumed, not verified.

## What was changed

Made by `dataset_scripts/make_demo_pool.py`. Frames were scaled down to {side} pixels on the longer side and stored as
JPEG of quality {quality}, masks by the nearest pixel, at a threshold of 128, as PNG with the values 0 and 255. Of each
centre, {close} frames are those with the closest neighbour in that centre (cosine of centred 16 x 16 thumbnails, taken
pair by pair), and the others stand at even steps through the file names. Close pairs are therefore more frequent here
than in the archive. Every frame is one of the archive's; none was synthesised or copied. {empty} masks are empty, as
they are in the archive.

## Columns

`id` (`polypgen2021/<path in the archive without suffix>`), `image`, `mask`, `source`, `center` (`c1` to `c6`), `width`
and `height` (pixels, of the stored frame). `boxes` is empty, and `label`, `group` and `official_split` are null: the
columns are DataDEL's, the same in every config.

```python
from datasets import load_dataset

pool = load_dataset("PATH", split="train")
one_centre = load_dataset("PATH", "polypgen2021_c3", split="train")
```
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path, help="the unpacked archive, with data_C1 to data_C6")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    counts, empty = {}, 0
    with whole_folder(args.out) as folder:
        for centre in CENTRES:
            frames = frames_of(args.raw, centre)
            chosen = choose(frames)
            counts[centre] = (len(chosen), len(frames))
            target = folder / f"data/polypgen2021/c{centre}/train-00000-of-00001.parquet"
            target.parent.mkdir(parents=True)
            rows = [row_of(args.raw, frames[at], centre) for at in chosen]
            empty += sum(is_empty(row["mask"]["bytes"]) for row in rows)
            Dataset.from_list(rows, features=FEATURES).to_parquet(target)
        (folder / "README.md").write_text(card(counts, empty), encoding="utf-8")


def frames_of(raw: Path, centre: int) -> list[Path]:
    """The centre's frames by name; ends the script where there are none."""
    frames = sorted((raw / f"data_C{centre}/images_C{centre}").glob("*.jpg"))
    if len(frames) < FRAMES_PER_CENTRE:
        raise SystemExit(f"{raw} holds {len(frames)} frames of centre {centre}, expected {FRAMES_PER_CENTRE} or more")
    return frames


def choose(frames: list[Path]) -> list[int]:
    """Positions of FRAMES_PER_CENTRE frames, ascending: the closest pairs, then even steps through the rest."""
    close: set[int] = set()
    for pair in closest_pairs(np.stack([thumbnail(path) for path in frames])):
        if len(close | set(pair)) > OF_THEM_IN_CLOSE_PAIRS:
            break
        close |= set(pair)
    rest = [at for at in range(len(frames)) if at not in close]
    steps = np.linspace(0, len(rest) - 1, FRAMES_PER_CENTRE - len(close)).round().astype(int)
    return sorted(close | {rest[step] for step in steps})


def closest_pairs(thumbnails: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, of (n, d) unit rows, by falling cosine."""
    left, right = np.triu_indices(len(thumbnails), k=1)
    for at in np.argsort(-(thumbnails @ thumbnails.T)[left, right], kind="stable"):
        yield int(left[at]), int(right[at])


def thumbnail(path: Path) -> np.ndarray:
    """(768,) float64: 16 x 16 pixels, centred, of length 1."""
    with Pillow.open(path) as image:
        small = np.asarray(image.convert("RGB").resize((16, 16), Pillow.Resampling.BOX), dtype=np.float64).ravel()
    centred = small - small.mean()
    return centred / np.linalg.norm(centred)


def row_of(raw: Path, path: Path, centre: int) -> dict[str, Any]:
    """One row of FEATURES, image and mask scaled down."""
    with Pillow.open(path) as image:
        frame = image.convert("RGB")
        frame.thumbnail((LONGER_SIDE, LONGER_SIDE), Pillow.Resampling.LANCZOS)
    with Pillow.open(raw / f"data_C{centre}/masks_C{centre}/{path.stem}_mask.jpg") as image:
        mask = image.convert("L").resize(frame.size, Pillow.Resampling.NEAREST).point(lambda v: 255 * (v >= 128))
    return {
        "id": f"polypgen2021/{path.relative_to(raw).with_suffix('').as_posix()}",
        "image": {"bytes": encoded(frame, "JPEG", quality=JPEG_QUALITY, optimize=True), "path": path.name},
        "mask": {"bytes": encoded(mask, "PNG", optimize=True), "path": f"{path.stem}_mask.png"},
        "boxes": [],
        "label": None,
        "source": "polypgen2021",
        "center": f"c{centre}",
        "group": None,
        "official_split": None,
        "width": frame.width,
        "height": frame.height,
    }


def encoded(image: Pillow.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def is_empty(mask: bytes) -> bool:
    with Pillow.open(io.BytesIO(mask)) as image:
        return image.getbbox() is None


def card(counts: dict[int, tuple[int, int]], empty: int) -> str:
    """README.md; counts: centre -> (frames here, frames in the archive); empty: masks without a polyp."""
    configs = "\n".join(
        f"- config_name: polypgen2021_c{centre}\n  data_files:\n  - split: train\n"
        f"    path: data/polypgen2021/c{centre}/train-*.parquet"
        for centre in counts
    )
    table = "\n".join(f"| `polypgen2021_c{centre}` | {here} | {there} |" for centre, (here, there) in counts.items())
    return CARD.format(
        configs=configs,
        table=table,
        rows=sum(here for here, _ in counts.values()),
        side=LONGER_SIDE,
        quality=JPEG_QUALITY,
        close=OF_THEM_IN_CLOSE_PAIRS,
        empty=empty,
    )


if __name__ == "__main__":
    main()

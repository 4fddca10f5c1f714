"""What masking the surround and the scope guide does to neighbours, to what MedDEL keeps and to a linear probe.

    python benchmarks/field_of_view.py --data RAW [--encoder meddel_hf/assets/encoder] [--pooling mean]

RAW holds Gastrovision/ and PolypGen2021_MultiCenterData_v3/ (their owners' layout). Each frame is decoded once and
embedded four times: whole, filled with the mean colour of what is visible (view="auto"), filled with the encoder's
grey, and as its surround and box alone, which shows what a probe reads off them. Cosines are of embeddings minus their
mean. A frame has a box where a tenth of its lower left quarter is of a box's colours: a rule that no mask uses.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from meddel_hf import MedDEL
from meddel_hf.data.images import Preprocessing, decode, prepare
from meddel_hf.data.view import fill, visible
from meddel_hf.downstream.probing.classifiers import Ridge
from meddel_hf.embedding.encoder import Encoder, load_encoder

TEST_SHARE, SPLITS, BATCH, LEVEL = 0.3, 20, 64, 0.95


@dataclass(frozen=True)
class Frames:
    """All n frames.

    pixels: (n, H, W, 3) uint8. masks: (n, H, W), what is visible. centre, finding ("" in PolypGen): (n,) text.
    coloured: (n, H, W), pixels of a box's colours in the lower left quarter. polyps: (n, H, W), outlined by hand
    (PolypGen; nowhere True in GastroVision).
    """

    pixels: np.ndarray
    masks: np.ndarray
    centre: np.ndarray
    finding: np.ndarray
    coloured: np.ndarray
    polyps: np.ndarray

    @cached_property
    def box(self) -> np.ndarray:
        """Has a frame a box? (n,) bool."""
        return np.asarray(self.coloured.mean(axis=(1, 2)) > 0.1 / 4)

    @cached_property
    def box_seen(self) -> np.ndarray:
        """Is more than a tenth of its box outside the mask? (n,) bool."""
        seen = (self.coloured & self.masks).sum(axis=(1, 2)) / np.maximum(self.coloured.sum(axis=(1, 2)), 1)
        return self.box & (seen > 0.1)


def read(raw: Path, preprocessing: Preprocessing) -> Frames:
    rows: list[tuple[str, str, Path]] = []
    for path in sorted(raw.glob("Gastrovision/*/*.jpg")):
        rows.append(("gastrovision", path.parent.name, path))
    for path in sorted(raw.glob("PolypGen2021_MultiCenterData_v3/data_C*/images_C*/*.jpg")):
        rows.append((path.parents[1].name[-2:].lower(), "", path))
    pixels, masks, polyps, seconds = [], [], [], 0.0
    for _, _, path in rows:
        width, height = decode(str(path)).size
        pixels.append(prepare(str(path), preprocessing))
        began = time.perf_counter()
        masks.append(visible(pixels[-1], width / height))
        seconds += time.perf_counter() - began
        outlined = path.parents[1] / path.parent.name.replace("images", "masks") / f"{path.stem}_mask.jpg"
        if outlined.is_file():
            polyps.append(prepare(str(outlined), preprocessing)[..., 0] > 127)
        else:
            polyps.append(np.zeros_like(masks[-1]))
    print(f"{len(rows):,} frames, {1000 * seconds / len(rows):.2f} ms a mask\n")
    stack = np.stack(pixels)
    centre, finding = (np.array([row[k] for row in rows]) for k in (0, 1))
    return Frames(stack, np.stack(masks), centre, finding, box_colours(stack), np.stack(polyps))


def box_colours(pixels: np.ndarray) -> np.ndarray:
    """Saturated green or blue in the lower left quarter: (n, H, W) bool."""
    red, green, blue = np.moveaxis(pixels.astype(np.int16), 3, 0)
    greenish = (green - red > 70) & (green > 110) & (blue > 60) & (red < 100)
    bluish = (blue - red > 70) & (blue > 140) & (blue - green > 40)
    coloured = greenish | bluish
    coloured[:, : pixels.shape[1] // 2] = False
    coloured[:, :, pixels.shape[2] // 2 :] = False
    return np.asarray(coloured)


def filled_grey(pixels: np.ndarray, mask: np.ndarray, grey: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None], pixels, grey)


def embedded(frames: Frames, encoder: Encoder, change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """(n, d) float32, minus their mean, of length 1."""
    rows = []
    for start in range(0, len(frames.pixels), BATCH):
        some = slice(start, start + BATCH)
        batch = [change(*pair) for pair in zip(frames.pixels[some], frames.masks[some], strict=True)]
        rows.append(encoder(np.stack(batch)).cpu().numpy())
    unit = np.concatenate(rows)
    unit = unit - unit.mean(axis=0)
    return np.asarray(unit / np.linalg.norm(unit, axis=1, keepdims=True))


def nearest(unit: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """For each of the rows its nearest other one, as numbers in `rows`."""
    cosines = unit[rows] @ unit[rows].T
    np.fill_diagonal(cosines, -2)
    return np.asarray(cosines.argmax(axis=1))


def by_class(right: np.ndarray, classes: np.ndarray) -> float:
    return float(np.mean([right[classes == one].mean() for one in np.unique(classes)]))


def probes(x: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Balanced accuracy of a ridge probe on seeded splits, each class by itself: (SPLITS,)."""
    scores = []
    for seed in range(SPLITS):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(x))
        rank = np.empty(len(x))
        for one in np.unique(classes):
            members = order[classes[order] == one]
            rank[members] = np.arange(len(members)) / len(members)
        train, test = np.flatnonzero(rank >= TEST_SHARE), np.flatnonzero(rank < TEST_SHARE)
        model = Ridge.fit(x[train], classes[train], [str(row) for row in train], seed=seed)
        scores.append(by_class(model.predict(x[test]) == classes[test], classes[test]))
    return np.array(scores)


def interval(values: np.ndarray) -> str:
    """Mean and t interval of values on overlapping splits (Nadeau and Bengio, Machine Learning 52 (2003) 239-281)."""
    spread = np.sqrt(values.var(ddof=1) * (1 / len(values) + TEST_SHARE / (1 - TEST_SHARE)))
    half = student.ppf((1 + LEVEL) / 2, len(values) - 1) * spread
    return f"{values.mean():+.3f} ({values.mean() - half:+.3f} to {values.mean() + half:+.3f})"


def table(title: str, header: list[str], rows: list[list[str]]) -> None:
    print(f"### {title}\n")
    for row in [header, ["---"] * len(header), *rows]:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default="meddel_hf/assets/encoder")
    parser.add_argument("--pooling", choices=("cls", "mean"), default="mean")
    args = parser.parse_args()
    encoder = load_encoder(args.encoder, pooling=args.pooling)
    frames = read(args.data, encoder.preprocessing)
    grey = np.round(np.array(encoder.preprocessing.mean) / encoder.preprocessing.scale).astype(np.uint8)
    views = {
        "whole": lambda pixels, mask: pixels,
        "mean colour (auto)": fill,
        "grey": lambda pixels, mask: filled_grey(pixels, mask, grey),
        "surround and box alone": lambda pixels, mask: filled_grey(pixels, ~mask, grey),
    }
    vectors = {name: embedded(frames, encoder, change) for name, change in views.items()}
    describe(frames)
    neighbours(frames, vectors)
    choices(frames, vectors)
    findings(frames, vectors)


def describe(frames: Frames) -> None:
    """Masks by centre, and how constant what they mask is over the frames of a centre."""
    rows = []
    for one in np.unique(frames.centre):
        here = frames.centre == one
        share = frames.masks[here].mean(axis=(1, 2))
        low, middle, high = np.percentile(share, [5, 50, 95])
        rows.append([
            one, f"{here.sum():,}", f"{frames.box[here].sum():,}", f"{frames.box_seen[here].sum()}",
            f"{(share == 1).sum()}", eaten(frames, here),
            f"{low:.2f} {middle:.2f} {high:.2f}", f"{constant(frames, here, masked=True):.1%}",
            f"{constant(frames, here, masked=False):.1%}",
        ])  # fmt: skip
    header = [
        "centre",
        "frames",
        "with a box",
        "box not masked",
        "left alone",
        "polyp masked, frames",
        "visible (5, 50, 95 %)",
    ]
    table("Masks", [*header, "masked pixels that stay the same", "visible ones"], rows)


def eaten(frames: Frames, here: np.ndarray) -> str:
    """Share of the outlined polyps' pixels that the masks hide, and frames of which they hide more than a hundredth."""
    polyps, hidden = frames.polyps[here], frames.polyps[here] & ~frames.masks[here]
    if not polyps.any():
        return ""
    much = hidden.sum(axis=(1, 2)) > 0.01 * polyps.sum(axis=(1, 2))
    return f"{hidden.sum() / polyps.sum():.2%}, {much.sum()}"


def constant(frames: Frames, here: np.ndarray, masked: bool) -> float:
    """Of the (un)masked pixels of a centre's frames without a box: share within 16 levels of that pixel's median."""
    chosen = here & ~frames.box
    wanted = frames.masks[chosen] != masked
    values = np.ma.masked_array(frames.pixels[chosen].max(axis=3), ~wanted)
    near = np.ma.abs(values - np.ma.median(values, axis=0)) <= 16
    return float(near.mean())


def neighbours(frames: Frames, vectors: dict[str, np.ndarray]) -> None:
    everyone = np.arange(len(frames.box))
    share = frames.box.mean()
    rows = [["chance", f"{share**2 + (1 - share) ** 2:.3f}", f"{chance(frames.centre):.3f}"]]
    for name, unit in vectors.items():
        other = nearest(unit, everyone)
        same_box, same_centre = (facts[other] == facts for facts in (frames.box, frames.centre))
        rows.append([name, f"{same_box.mean():.3f}", f"{same_centre.mean():.3f}"])
    table("Nearest neighbour", ["view", "same box state", "same centre"], rows)


def chance(groups: np.ndarray) -> float:
    shares = np.unique(groups, return_counts=True)[1] / len(groups)
    return float((shares**2).sum())


def choices(frames: Frames, vectors: dict[str, np.ndarray]) -> None:
    """What MedDEL keeps at 5 %, over the pool."""
    centres = np.unique(frames.centre)
    rows = []
    for name, unit in list(vectors.items())[:3]:
        for scope in ("cluster", "pool"):
            answer = MedDEL(retention=0.05, scope=scope, epsilon=None).select(unit).table
            kept = np.array(answer["kept"])
            pairs = zip(answer["id"].to_pylist(), answer["duplicate_of"].to_pylist(), strict=True)
            same = np.mean([frames.box[int(one)] == frames.box[int(other)] for one, other in pairs if other])
            shares = [f"{kept[frames.centre == one].mean():.1%}" for one in centres]
            rows.append([name, scope, *shares, f"{kept[frames.box].mean():.1%}", f"{kept[~frames.box].mean():.1%}",
                         f"{same:.3f}"])  # fmt: skip
    header = ["view", "scope", *centres, "with a box", "without", "dropped for one of the same box state"]
    table("Kept at 5 %", header, rows)


def findings(frames: Frames, vectors: dict[str, np.ndarray]) -> None:
    """Neighbours and probes on GastroVision's findings: all of them, and polyps against normal bowel by box state."""
    all_of_it = frames.finding != ""
    bowel = np.char.startswith(frames.finding, "Colon") | np.char.startswith(frames.finding, "Normal mucosa")
    for title, chosen in (
        ("all four findings", all_of_it),
        ("three findings, without the 15 of erythema", all_of_it & (frames.finding != "Erythema")),
        ("polyp or normal bowel", bowel),
        ("polyp or normal bowel, frames without a box", bowel & ~frames.box),
        ("polyp or normal bowel, frames with a box", bowel & frames.box),
    ):
        rows_of_it = np.flatnonzero(chosen)
        names, classes, counts = np.unique(frames.finding[rows_of_it], return_inverse=True, return_counts=True)
        whole = probes(vectors["whole"][rows_of_it], classes)
        rows = [["chance", f"{chance(classes):.3f}", f"{1 / len(names):.3f}", f"{1 / len(names):.3f}", ""]]
        for name, unit in vectors.items():
            right = classes[nearest(unit, rows_of_it)] == classes
            scores = whole if name == "whole" else probes(unit[rows_of_it], classes)
            difference = "" if name == "whole" else interval(scores - whole)
            agreed = [f"{right.mean():.3f}", f"{by_class(right, classes):.3f}"]
            rows.append([name, *agreed, f"{scores.mean():.3f}", difference])
        facts = np.c_[frames.box[rows_of_it], edges(frames.masks[rows_of_it])].astype(np.float64)
        scores = probes(facts, classes)
        rows.append(["box or not, the mask's edges", "", "", f"{scores.mean():.3f}", interval(scores - whole)])
        print(", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True)) + "\n")
        header = ["view", "neighbour agrees", "mean of classes", "linear probe, balanced accuracy", "less whole"]
        table(f"GastroVision: {title}", header, rows)


def edges(masks: np.ndarray) -> np.ndarray:
    """Share visible of the frame, and first and last visible row and column: (n, 5)."""
    columns, rows = masks.any(axis=1), masks.any(axis=2)
    ends = [side for seen in (rows, columns) for side in (seen.argmax(axis=1), seen[:, ::-1].argmax(axis=1))]
    return np.c_[masks.mean(axis=(1, 2)), np.stack(ends, axis=1)]


if __name__ == "__main__":
    main()

"""Measure what an encoder's features are worth: kNN and linear probes against two rivals that know nothing.

    python dataset_scripts/probe_encoder.py meddel_hf/assets/encoder --gastrovision RAW/Gastrovision \\
        --polypgen RAW/PolypGen2021_MultiCenterData_v3 --cp-child CP-CHILD-A --card meddel_hf/assets/encoder/README.md

The rivals are the same network with random weights (several seeds) and thumbnails of 16 x 16 pixels. The tasks:
GastroVision's classes and PolypGen's centres (balanced accuracy, five folds; near-copies share a fold), and polyp or
none on CP-CHILD (area under the ROC curve, Train to Test). Intervals are 95 % bootstrap intervals over groups of
near-copies; a difference is taken resample by resample, so that what is hard for both cancels. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.sparse.csgraph import connected_components
from sklearn.linear_model import RidgeClassifierCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoConfig, AutoImageProcessor, AutoModel, BaseImageProcessor, PreTrainedModel

NEAR_COPY = 0.98  # cosine of centred thumbnails from which two frames count as one group
NEIGHBOURS = 5
FOLDS = 5
PENALTIES = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)  # of the linear probe, chosen on its training rows, one left out
RESAMPLES = 1000
BATCH = 128
MARK, END = "<!-- probes -->", "<!-- end of probes -->"

Predict = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # train (n, d), labels (n,), test (m, d): (m, c)


@dataclass(frozen=True)
class Task:
    """Frames with labels, and which rows train for which rows.

    labels: (n,) int; groups: (n,) int, near-copies share one; splits: (train rows, test rows) of each fold.
    ranked: the measure is the area under the ROC curve of class 1, else the balanced accuracy.
    """

    name: str
    paths: list[Path]
    labels: np.ndarray
    groups: np.ndarray
    splits: list[tuple[np.ndarray, np.ndarray]]
    ranked: bool

    def scores(self, features: np.ndarray, predict: Predict) -> np.ndarray:
        """(1 + RESAMPLES,) the measure on all tested rows, then on bootstrap resamples of their groups."""
        tested = np.concatenate([test for _, test in self.splits])
        votes = np.concatenate([predict(features[a], self.labels[a], features[b]) for a, b in self.splits])
        return np.array([self._measure(tested[at], votes[at]) for at in resamples(self.groups[tested])])

    def _measure(self, rows: np.ndarray, votes: np.ndarray) -> float:
        truth = self.labels[rows]
        if self.ranked:
            return float(roc_auc_score(truth, votes[:, 1]))
        right = votes.argmax(1) == truth
        return float(np.mean([right[truth == each].mean() for each in np.unique(truth)]))


def resamples(groups: np.ndarray) -> Iterator[np.ndarray]:
    """All rows, then RESAMPLES draws of whole groups with replacement; the same draws at every call."""
    rng = np.random.default_rng(0)
    yield np.arange(len(groups))
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    for _ in range(RESAMPLES):
        yield np.concatenate([members[at] for at in rng.integers(len(members), size=len(members))])


def folds_task(name: str, folders: dict[str, list[Path]]) -> Task:
    """Five folds over classes (folder name -> frames); a group of near-copies stays in one fold."""
    paths = [path for frames in folders.values() for path in frames]
    labels = np.repeat(np.arange(len(folders)), [len(frames) for frames in folders.values()])
    groups = near_copies(centred(thumbnails(paths)))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    return Task(name, paths, labels, groups, list(folds.split(labels, labels, groups)), ranked=False)


def gastrovision_tasks(folder: Path) -> list[Task]:
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    frames = {each.name: sorted(each.glob("*.jpg")) for each in classes}
    return [folds_task(f"GastroVision, {len(classes)} classes ({sum(map(len, frames.values()))} frames)", frames)]


def polypgen_tasks(folder: Path) -> list[Task]:
    centres = {f"c{i}": sorted((folder / f"data_C{i}/images_C{i}").glob("*.jpg")) for i in range(1, 7)}
    return [folds_task(f"PolypGen, 6 centres ({sum(map(len, centres.values()))} frames)", centres)]


def cp_child_tasks(folder: Path) -> list[Task]:
    """Train to Test as published, and the same without the test frames that have a near-copy in Train."""
    parts = [(part, label) for part in ("Train", "Test") for label in ("Non-Polyp", "Polyp")]
    found = [sorted((folder / part / label).glob("*.jpg")) for part, label in parts]
    sizes = [len(frames) for frames in found]
    paths = [path for frames in found for path in frames]
    labels, testing = np.repeat([0, 1, 0, 1], sizes), np.repeat([False, False, True, True], sizes)
    unit = centred(thumbnails(paths))
    groups = np.arange(len(paths))
    groups[testing] = near_copies(unit[testing])
    train, test = np.flatnonzero(~testing), np.flatnonzero(testing)
    fresh = test[(unit[test] @ unit[train].T).max(axis=1) <= NEAR_COPY]
    named = {"polyp or none": test, "the same, test frames without a near-copy in Train": fresh}
    return [
        Task(f"CP-CHILD, {name} ({len(rows)} tested)", paths, labels, groups, [(train, rows)], ranked=True)
        for name, rows in named.items()
    ]


def thumbnails(paths: list[Path]) -> np.ndarray:
    """(n, 768) float32 in [0, 1]: 16 x 16 pixels by box averaging."""
    return np.stack([thumbnail(path) for path in paths]).reshape(len(paths), -1)


def thumbnail(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((16, 16), Image.Resampling.BOX), dtype=np.float32) / 255


def centred(small: np.ndarray) -> np.ndarray:
    """Unit rows after each row's own mean brightness is taken out."""
    return normalised(small - small.mean(axis=1, keepdims=True))


def near_copies(unit: np.ndarray) -> np.ndarray:
    """(n,) group numbers: frames linked by a chain of `centred` thumbnails whose cosine exceeds NEAR_COPY."""
    return connected_components(unit @ unit.T > NEAR_COPY, directed=False)[1]


def normalised(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)


@torch.inference_mode()
def network_features(
    models: list[PreTrainedModel], processor: BaseImageProcessor, paths: list[Path]
) -> list[dict[str, np.ndarray]]:
    """Of each model {"CLS": (n, d), "mean": (n, d)} float32: class token and mean of patch tokens, after the norm."""
    found: list[dict[str, list[np.ndarray]]] = [{"CLS": [], "mean": []} for _ in models]
    for start in range(0, len(paths), BATCH):
        images = [Image.open(path).convert("RGB") for path in paths[start : start + BATCH]]
        inputs = processor(images, return_tensors="pt")
        for model, features in zip(models, found, strict=True):
            hidden = model(**inputs).last_hidden_state  # (BATCH, 1 + patches, d)
            features["CLS"].append(hidden[:, 0].numpy())
            features["mean"].append(hidden[:, 1:].mean(1).numpy())
    return [{pooling: np.concatenate(parts) for pooling, parts in features.items()} for features in found]


def nearest(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """(m, classes): the sum of cosines of the NEIGHBOURS closest training rows, by class."""
    cosine = normalised(test) @ normalised(train).T
    closest = np.argpartition(-cosine, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    weight = np.take_along_axis(cosine, closest, axis=1) + 1  # not negative
    return np.stack([(weight * (labels[closest] == each)).sum(1) for each in range(labels.max() + 1)], axis=1)


def nearest_centred(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """`nearest` after the mean of the training rows is subtracted (`subtract_mean=True` of the selection)."""
    return nearest(train - train.mean(0), labels, test - train.mean(0))


def linear(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """(m, classes): decision values of a ridge classifier on standardised features, classes weighted equally."""
    probe = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES, class_weight="balanced"))
    values = probe.fit(train.astype(np.float64), labels).decision_function(test.astype(np.float64))
    return np.stack([-values, values], axis=1) if values.ndim == 1 else values


PROBES: dict[str, Predict] = {"kNN": nearest, "kNN, mean subtracted": nearest_centred, "linear": linear}


def measure(tasks: list[Task], encoders: list[Path], seeds: int) -> list[str]:
    """Markdown tables of tasks on the same frames: every encoder, pooling and probe against both rivals."""
    paths = tasks[0].paths
    config = AutoConfig.from_pretrained(encoders[0])
    models = [AutoModel.from_pretrained(path, dtype=torch.float32).eval() for path in encoders]
    models += [random_network(config, seed) for seed in range(seeds)]
    features = network_features(models, AutoImageProcessor.from_pretrained(encoders[0]), paths)
    trained, blank = dict(zip(encoders, features, strict=False)), features[len(encoders) :]
    small = thumbnails(paths)
    lines = []
    for task in tasks:
        measured = "area under the ROC curve" if task.ranked else "balanced accuracy"
        lines += [f"**{task.name}**, {measured}:", "", *header(seeds)]
        for probe, predict in PROBES.items():
            by_thumbnail = task.scores(small, predict)
            for pooling in ("CLS", "mean"):
                by_blank = np.mean([task.scores(each[pooling], predict) for each in blank], axis=0)
                for path, each in trained.items():
                    ours = task.scores(each[pooling], predict)
                    rivals = [f"{interval(by)} | {interval(ours - by, sign='+')}" for by in (by_blank, by_thumbnail)]
                    name = f"`{path.name}` " if len(encoders) > 1 else ""
                    lines.append(f"| {name}{probe} | {pooling} | {interval(ours)} | {' | '.join(rivals)} |")
        lines.append("")
    return lines


def random_network(config: AutoConfig, seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    return AutoModel.from_config(config).eval()


def interval(scores: np.ndarray, sign: str = "") -> str:
    """Score of all rows, with the middle 95 % of its resamples."""
    low, high = np.percentile(scores[1:], [2.5, 97.5])
    return f"{scores[0]:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", type=Path, nargs="+", help="transformers folders of one architecture")
    parser.add_argument("--gastrovision", type=Path)
    parser.add_argument("--polypgen", type=Path)
    parser.add_argument("--cp-child", type=Path)
    parser.add_argument("--seeds", type=int, default=5, help="random networks to average over")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--card", type=Path, help=f"file in which the text from {MARK} to {END} becomes the tables")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    readers = {
        gastrovision_tasks: args.gastrovision,
        cp_child_tasks: args.cp_child,
        polypgen_tasks: args.polypgen,
    }
    lines = []
    for read, folder in readers.items():
        if folder:
            tables = measure(read(folder), args.encoders, args.seeds)
            print("\n".join(tables), flush=True)
            lines += tables
    if args.card:
        text = args.card.read_text(encoding="utf-8")
        before, after = text.split(MARK)[0], text.split(END)[1]
        args.card.write_text("\n".join([before + MARK, *lines, END + after]), encoding="utf-8")


def header(seeds: int) -> list[str]:
    rivals = f"random weights, mean of {seeds} | gain over them | thumbnails | gain over them"
    return [f"| probe | pooling | encoder | {rivals} |", "|---" * 7 + "|"]


if __name__ == "__main__":
    main()

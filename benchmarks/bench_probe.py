"""The linear probe beside scikit-learn's logistic regression: balanced accuracy on real frames, and seconds.

    meddel embed CP-CHILD-A --encoder meddel_hf/assets/encoder --pooling mean --out cp-child
    python benchmarks/bench_probe.py cp-child=CP-CHILD-A=Test/* gastrovision=Gastrovision

Each argument is EMBEDDINGS=FOLDER, with =PATTERN of the ids that are tested where the folder has its own split; else
seeded splits are averaged. Classes are the folders' names. Both see the same standardised features and weigh classes
the same; both choose their penalty on five folds of the training rows. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from meddel_hf.data.pool import load_pool
from meddel_hf.downstream.probing.classifiers import PENALTIES, Ridge, nearest_neighbours
from meddel_hf.downstream.probing.labels import Labelled, Parts
from meddel_hf.embedding.store import EmbeddingStore

STRENGTHS = 10.0 ** np.arange(-4, 3)  # scikit-learn's C; its default 1 is among them


def ridge(x, y, asked, seed):
    return Ridge.fit(x, y, [str(i) for i in range(len(x))], seed=seed).predict(asked)


def weakest_ridge(x, y, asked, seed):
    return Ridge.fit(x, y, [str(i) for i in range(len(x))], penalties=PENALTIES[:1], seed=seed).predict(asked)


def logistic(x, y, asked, seed, strengths=STRENGTHS):
    scaler, folds = StandardScaler().fit(x), StratifiedKFold(5, shuffle=True, random_state=seed)
    model = LogisticRegressionCV(
        Cs=strengths, cv=folds, class_weight="balanced", scoring="balanced_accuracy", max_iter=500,
        l1_ratios=(0,), use_legacy_attributes=False,
    )  # fmt: skip
    return model.fit(scaler.transform(x), y).predict(scaler.transform(asked))


def weak_logistic(x, y, asked, seed):
    return logistic(x, y, asked, seed, strengths=[1.0])


def neighbours(x, y, asked, seed):
    return nearest_neighbours(x, y, asked)


METHODS = {
    "linear (ridge)": ridge,
    "ridge, least penalty": weakest_ridge,
    "logistic": logistic,
    "logistic, C = 1": weak_logistic,
    "knn": neighbours,
}


def parts(labelled: Labelled, pattern: str | None, seeds: int) -> list[Parts]:
    if pattern:
        return [labelled.matched(None, {"test": pattern})]
    return [labelled.split(official=False, seed=seed) for seed in range(seeds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", metavar="EMBEDDINGS=FOLDER[=PATTERN]")
    parser.add_argument("--include", metavar="PATTERN", help="of the folders, only images that match")
    parser.add_argument("--seeds", type=int, default=5, help="seeded splits to average over")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print("| task | trained | tested | method | balanced accuracy | seconds |", "|---" * 6 + "|", sep="\n")
    for task in args.tasks:
        folder, pool, pattern = [*task.split("="), None][:3]
        store = EmbeddingStore.load(folder)
        ids = [store.pool_ids[row] for row in store.rows]
        labelled = Labelled.of(load_pool(pool, include=args.include), "folder")
        classes = np.unique([labelled.labels[id] for id in ids], return_inverse=True)[1]
        place = {id: at for at, id in enumerate(ids)}
        for name, method in METHODS.items():
            found, seconds = [], 0.0
            for seed, part in enumerate(parts(labelled, pattern, args.seeds)):
                train, test = ([place[id] for id in chosen] for chosen in (part.train, part.test["test"]))
                began = time.perf_counter()
                said = method(store.embeddings[train], classes[train], store.embeddings[test], seed)
                seconds += time.perf_counter() - began
                found.append(balanced_accuracy_score(classes[test], said))
            figures = f"{np.mean(found):.3f} | {seconds / len(found):.2f}"
            print(f"| {folder} | {len(train):,} | {len(test):,} | {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()

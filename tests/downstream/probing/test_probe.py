"""Probes against brute force and refits; what trains and what is tested; the command; what is refused."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections import Counter
from pathlib import Path

import fork_server
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from oracle import cosines
from PIL import Image as Picture

import meddel_hf.downstream.probing.classifiers
import meddel_hf.downstream.probing.probe
from meddel_hf.cli import alone
from meddel_hf.commands.probe import _name_and_pattern, table
from meddel_hf.downstream.probing.classifiers import PENALTIES, Ridge, nearest_neighbours
from meddel_hf.downstream.probing.labels import Labelled
from meddel_hf.downstream.probing.probe import probe
from meddel_hf.downstream.scores import Scores
from meddel_hf.embedding.store import EmbeddingStore, Shard, StoreWriter
from meddel_hf.errors import IncompleteStore, InvalidArgument, InvalidDataset, MedDELError, Mismatch

# ---- classifiers


def clouds(seed: int, sizes=(60, 25, 15), dim: int = 8, spread: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """(n, dim) rows around a centre for each class, shuffled, and their classes."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = rng.normal(0, 1, (len(sizes), dim))
    return (centres[labels] + rng.normal(0, spread, (len(labels), dim))).astype(np.float32), labels


def dense_ridge(x, labels, penalty, *, weights=None, classes=None):
    """Weighted ridge as one least-squares problem: rows times sqrt(weight), then a row for every penalised number."""
    classes = classes or labels.max() + 1
    weights = (len(x) / classes / np.bincount(labels))[labels] if weights is None else weights
    root = np.sqrt(weights)[:, None]
    targets = np.where(labels[:, None] == np.arange(classes), 1.0, -1.0)
    above = np.hstack([x * root, root])
    below = np.hstack([np.sqrt(penalty * weights.sum()) * np.eye(x.shape[1]), np.zeros((x.shape[1], 1))])
    right = np.vstack([targets * root, np.zeros((x.shape[1], classes))])
    found = np.linalg.lstsq(np.vstack([above, below]), right, rcond=None)[0]
    return found[:-1], found[-1]


def standardised(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return (x - x.mean(axis=0)) / x.std(axis=0)


@pytest.mark.parametrize("penalty", [1e-5, 0.1, 10])
def test_ridge_solves_the_least_squares_problem(penalty):
    x, labels = clouds(0)
    model = Ridge.fit(x, labels, [str(i) for i in range(len(x))], penalties=[penalty])
    weights, bias = dense_ridge(standardised(x), labels, penalty)
    np.testing.assert_allclose(model.weights, weights, atol=1e-9)
    np.testing.assert_allclose(model.bias, bias, atol=1e-9)
    np.testing.assert_allclose(model.values(x), standardised(x) @ weights + bias, atol=1e-8)


def test_ridge_is_scikit_learns():
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, labels = clouds(1, sizes=(80, 10))
    model = Ridge.fit(x, labels, [str(i) for i in range(len(x))], penalties=[0.03])
    rival = linear_model.RidgeClassifier(alpha=0.03 * len(x), class_weight="balanced").fit(standardised(x), labels)
    values = model.values(x)
    np.testing.assert_allclose(values[:, 1], rival.decision_function(standardised(x)), atol=1e-6)
    np.testing.assert_array_equal(model.predict(x), rival.predict(standardised(x)))


def test_the_penalty_is_the_one_that_refits_without_each_fold_find_best():
    x, labels = clouds(2)
    groups = [f"video {i // 3}" for i in range(len(x))]
    model = Ridge.fit(x, labels, groups, seed=5)
    folds = meddel_hf.downstream.probing.classifiers._folds(labels, groups, 5)
    z, weight = standardised(x), (len(x) / 3 / np.bincount(labels))[labels]
    errors = []
    for penalty in PENALTIES:
        error = 0.0
        for fold in range(5):
            held = folds == fold
            found, bias = dense_ridge(z[~held], labels[~held], penalty, weights=weight[~held], classes=3)
            targets = np.where(labels[held, None] == np.arange(3), 1.0, -1.0)
            error += (weight[held, None] * (z[held] @ found + bias - targets) ** 2).sum()
        errors.append(error / len(x))
    np.testing.assert_allclose(model.errors, errors, rtol=1e-7)
    assert model.penalty == PENALTIES[int(np.argmin(errors))]


def test_copies_in_other_folds_would_choose_too_small_a_penalty():
    """Labels that mean nothing, each row five times: only folds that know the copies see that there is nothing."""
    rng = np.random.default_rng(3)
    x = np.repeat(rng.normal(0, 1, (60, 40)), 5, axis=0)
    labels = np.repeat(rng.integers(0, 2, 60), 5)
    by_copy = Ridge.fit(x, labels, [str(i // 5) for i in range(300)]).penalty
    by_row = Ridge.fit(x, labels, [str(i) for i in range(300)]).penalty
    assert by_copy >= 1
    assert by_row < by_copy / 10


def test_folds_part_no_group_and_share_out_classes():
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1, 2], [200, 60, 10])
    groups = [f"{label} {rng.integers(20)}" for label in labels]
    folds = meddel_hf.downstream.probing.classifiers._folds(labels, groups, 0)
    assert set(folds) == set(range(5))
    assert all(len({f for f, g in zip(folds, groups, strict=True) if g == group}) == 1 for group in groups)
    of_class = [{(g, f) for g, f, y in zip(groups, folds, labels, strict=True) if y == label} for label in range(3)]
    for members in of_class:
        counts = Counter(fold for _, fold in members)
        assert max(counts.values()) - min(counts.get(fold, 0) for fold in range(5)) <= 1


def test_classes_weigh_the_same():
    """20 rows against 2,000, overlapping: both are told right about equally often."""
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1], [2000, 20])
    x = rng.normal(0, 1, (2020, 2)) + 1.5 * labels[:, None]
    asked = np.concatenate([rng.normal(0, 1, (4000, 2)), rng.normal(1.5, 1, (4000, 2))])
    said = Ridge.fit(x, labels, [str(i) for i in range(2020)]).predict(asked)
    recalls = (said[:4000] == 0).mean(), (said[4000:] == 1).mean()
    assert min(recalls) > 0.75
    assert abs(recalls[0] - recalls[1]) < 0.15


def test_a_constant_feature_and_fewer_rows_than_features_do_no_harm():
    x, labels = clouds(6, sizes=(6, 6), dim=30)
    x[:, 3] = 2
    model = Ridge.fit(x, labels, [str(i) for i in range(12)])
    assert np.isfinite(model.values(x)).all()
    with pytest.raises(InvalidArgument, match="one group"):
        Ridge.fit(x, labels, ["a"] * 12)


def slow_neighbours(train, labels, test, k):
    """Every cosine, sorted by (cosine, earlier row), votes added up in exact integers."""
    answers = []
    for row in np.rint(cosines(test, train) * 2**24).astype(int):
        closest = sorted(range(len(train)), key=lambda at, row=row: (-row[at], at))[:k]
        votes = Counter()
        for at in closest:
            votes[int(labels[at])] += int(row[at]) + 2**24
        answers.append(min(votes, key=lambda label, votes=votes: (-votes[label], label)))
    return answers


@pytest.mark.parametrize("k", [1, 2, 5, 40])
@pytest.mark.parametrize("tile", [7, 4096])
def test_neighbours_are_those_of_brute_force(k, tile, monkeypatch):
    monkeypatch.setattr(meddel_hf.downstream.probing.classifiers, "_TILE", tile)
    monkeypatch.setattr(meddel_hf.downstream.probing.classifiers, "_BLOCK", 16)
    x, labels = clouds(7, sizes=(30, 30, 30), dim=4)
    x[10:20] = x[0]  # copies, of any class: ties
    test = np.concatenate([clouds(8, sizes=(20, 20), dim=4)[0], x[:25], -x[:5]])
    found = nearest_neighbours(x, labels, test, neighbours=k)
    assert found.tolist() == slow_neighbours(x, labels, test, k)


def test_neighbours_out_of_range():
    x, labels = clouds(9)
    for k in (0, len(x) + 1):
        with pytest.raises(InvalidArgument, match="between 1 and the 100 training rows"):
            nearest_neighbours(x, labels, x, neighbours=k)


# ---- the step


def make_store(folder: Path, vectors: dict[str, np.ndarray | None], *, row_ids: bool = False) -> EmbeddingStore:
    """A store of these embeddings; None is an unreadable frame."""
    writer = StoreWriter.begin(folder, {"encoder": "made", "pool": None}, {"encoder": "made", "pool": "made"})
    rows = [v / np.linalg.norm(v) for v in vectors.values() if v is not None]
    reasons = [None if v is not None else "cut short" for v in vectors.values()]
    writer.write(Shard(0, 0, list(vectors), reasons, np.array(rows, np.float32)))
    return writer.finish(dim=len(rows[0]), row_ids=row_ids)


@pytest.fixture
def made(tmp_path):
    """(store, labels, train ids, test ids): three classes of 20 frames, easy to tell; every fourth is tested."""
    x, labels = clouds(10, sizes=(20, 20, 20), spread=0.2)
    ids = [f"f/{i:02d}" for i in range(60)]
    store = make_store(tmp_path / "store", dict(zip(ids, x, strict=True)))
    names = {id: "abc"[label] for id, label in zip(ids, labels, strict=True)}
    return store, names, [id for i, id in enumerate(ids) if i % 4], ids[::4]


@pytest.mark.parametrize("method", ["linear", "knn"])
def test_what_can_be_told_is_told(made, method, tmp_path):
    store, labels, train, test = made
    scores = probe(store, labels, tmp_path / "out", train=train, test={"test": test}, method=method)
    assert scores.value() == 1
    assert scores.table["id"].to_pylist() == test
    assert scores.table["label"].to_pylist() == [labels[id] for id in test]
    assert scores.table["group"].to_pylist() == test
    wrong = dict(zip(labels, np.random.default_rng(0).permutation(list(labels.values())), strict=True))
    lost = probe(store, wrong, tmp_path / "lost", train=train, test={"test": test}, method=method)
    assert lost.value() < 0.75


def test_each_frame_is_scored_by_what_the_classifier_says_of_it(made, tmp_path):
    store, labels, train, test = made
    noisy = {id: ("a" if i % 7 == 0 else label) for i, (id, label) in enumerate(labels.items())}
    scores = probe(store, noisy, tmp_path / "out", train=train, test={"x": test[:8], "y": test[8:]}, method="knn")
    row = {id: at for at, id in enumerate(store.pool_ids)}
    x, y = store.embeddings[[row[id] for id in train]], np.array(["abc".index(noisy[id]) for id in train])
    said = slow_neighbours(x, y, store.embeddings[[row[id] for id in test]], 5)
    right = [float("abc"[answer] == noisy[id]) for answer, id in zip(said, test, strict=True)]
    assert scores.table["score"].to_pylist() == right
    assert 0 < sum(right) < len(right)
    assert scores.sets == ["x", "y"]


def test_the_order_of_ids_does_not_matter(made, tmp_path):
    store, labels, train, test = made
    for name, turn in (("a", 1), ("b", -1)):
        probe(store, labels, tmp_path / name, train=train[::turn], test={"test": test[::turn]})
    for file in ("scores.parquet", "manifest.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_finished_folder_is_read_and_no_other_work_done(made, tmp_path):
    store, labels, train, test = made
    ask = {"train": train, "test": {"test": test}}
    first = probe(store, labels, tmp_path / "out", **ask)
    (store.folder / "shard-00000.safetensors").unlink()  # the opened store can't be read any more
    again = probe(EmbeddingStore(store.folder, store.manifest), labels, tmp_path / "out", **ask)
    assert again.table.equals(first.table)
    others = [{"method": "knn"}, {"seed": 1}, {"groups": {train[0]: "video"}}, {"train": train[1:]}]
    for change in others:
        with pytest.raises(Mismatch, match=r"out was made with another (method|seed|train)"):
            probe(store, labels, tmp_path / "out", **{**ask, **change})
    with pytest.raises(Mismatch, match="another test"):
        probe(store, labels, tmp_path / "out", train=train, test={"other": test})


def test_an_interrupted_probe_starts_again(made, tmp_path):
    store, labels, train, test = made
    with subprocess.Popen([sys.executable, "-c", ""]) as killed:
        killed.wait()
    half = tmp_path / f".out.{platform.node()}-{killed.pid}.part"
    half.mkdir()
    (half / "scores.parquet").write_bytes(b"half")
    assert probe(store, labels, tmp_path / "out", train=train, test={"test": test}).value() == 1
    assert not half.exists()


def test_a_damaged_probe_is_not_answered_from(made, tmp_path):
    store, labels, train, test = made
    ask = {"train": train, "test": {"test": test}}
    probe(store, labels, tmp_path / "out", **ask)
    data = bytearray((tmp_path / "out" / "scores.parquet").read_bytes())
    data[20] ^= 1
    (tmp_path / "out" / "scores.parquet").write_bytes(data)
    with pytest.raises(IncompleteStore, match=r"scores\.parquet changed since it was written"):
        probe(store, labels, tmp_path / "out", **ask)


def test_the_folder_of_another_step_is_left_alone(made):
    store, labels, train, test = made
    with pytest.raises(Mismatch, match="'embeddings', expected 'probe'"):
        probe(store, labels, store.folder, train=train, test={"test": test})


def test_unreadable_frames_are_left_out_and_counted(tmp_path):
    x, labels = clouds(11, sizes=(20, 20), spread=0.2)
    vectors = {f"f/{i:02d}": (None if i in (1, 5, 30) else row) for i, row in enumerate(x)}
    store = make_store(tmp_path / "store", vectors)
    ids = list(vectors)
    names = {id: "ab"[label] for id, label in zip(ids, labels, strict=True)}
    scores = probe(store, names, tmp_path / "out", train=ids[:24], test={"test": ids[24:]})
    assert scores.table["id"].to_pylist() == [id for id in ids[24:] if id != "f/30"]
    facts = json.loads((tmp_path / "out" / "manifest.json").read_text())["details"]
    assert (facts["unreadable"], facts["train"], facts["sets"]["test"]["frames"]) == (3, 22, 15)


def test_a_class_that_never_trained_counts_as_wrong(made, tmp_path):
    store, labels, train, test = made
    few = [id for id in train if labels[id] != "c"]
    for method in ("linear", "knn"):
        scores = probe(store, labels, tmp_path / method, train=few, test={"test": test}, method=method)
        assert scores.value() == pytest.approx(2 / 3)
    facts = json.loads((tmp_path / "linear" / "manifest.json").read_text())["details"]
    assert facts["sets"]["test"]["unseen"] == {"c": sum(labels[id] == "c" for id in test)}


def test_what_is_refused(made, tmp_path):
    store, labels, train, test = made
    only_a = [id for id in train if labels[id] == "a"]
    video = {train[0]: "v", test[0]: "v"}
    refused = [
        ({"train": []}, "no frame is in train"),
        ({"test": {}}, "no frame is in test"),
        ({"test": {"seen": test, "hidden": []}}, "no frame is in hidden"),
        ({"train": [*train, test[0]]}, f"1 frame is in train and in test, such as '{test[0]}'"),
        ({"groups": video}, "1 group has frames in train and in test, such as 'v'"),
        ({"train": only_a}, "one class, 'a'"),
        ({"test": {"test": [id for id in test if labels[id] == "b"]}}, "holds one class, 'b'"),
        ({"train": [*train, "f/99"]}, "1 frame has no label, such as 'f/99'"),
        ({"method": "svm"}, "method must be one of knn, linear"),
    ]
    for change, message in refused:
        with pytest.raises((InvalidDataset, InvalidArgument), match=message):
            probe(store, labels, tmp_path / "out", **{"train": train, "test": {"test": test}, **change})
    with pytest.raises(Mismatch, match=r"1 of 61 labelled frames are not in .*, such as 'f/99'"):
        probe(store, {**labels, "f/99": "a"}, tmp_path / "out", train=[*train, "f/99"], test={"test": test})
    other = {**labels, **{id: f"{label}2" for id, label in labels.items() if id in test}}
    with pytest.raises(InvalidDataset, match="holds 'a2', 'b2', 'c2', the training frames 'a', 'b', 'c'"):
        probe(store, other, tmp_path / "out", train=train, test={"test": test})
    assert not (tmp_path / "out").exists()


# ---- what frames are labelled as


def rows(**columns) -> Dataset:
    return Dataset.from_dict(columns)


def test_labels_are_text_numbers_or_class_labels():
    ids = ["a", "b", "c"]
    assert Labelled.of(rows(id=ids, label=["x", None, "y"])).labels == {"a": "x", "c": "y"}
    assert Labelled.of(rows(id=ids, label=["x", None, "y"])).unlabelled == 1
    assert Labelled.of(rows(id=ids, grade=[0, 1, 1]), "grade").labels == {"a": "0", "b": "1", "c": "1"}
    named = Dataset.from_dict(
        {"id": ids, "label": [1, 0, None]},
        features=Features({"id": Value("string"), "label": ClassLabel(names=["no", "yes"])}),
    )
    assert Labelled.of(named).labels == {"a": "yes", "b": "no"}
    assert Labelled.of(rows(label=["x", "y"])).labels == {"0": "x", "1": "y"}
    assert Labelled.of(rows(id=["Train/Polyp/1", "No/2"]), "folder").labels == {"Train/Polyp/1": "Polyp", "No/2": "No"}


@pytest.mark.parametrize(
    ("columns", "target", "message"),
    [
        ({"id": ["a"], "center": ["x"]}, "label", r"no column 'label'; it has id, center: name one of them as target"),
        ({"id": ["a"], "label": [None]}, "label", "no row has a label"),
        ({"id": ["a"], "label": [0.5]}, "label", "holds '0.5': expected classes"),
        ({"id": ["a", "a"], "label": ["x", "y"]}, "label", "ids must be unique"),
        ({"id": ["a"]}, "folder", "'a' names no folder"),
    ],
)
def test_labels_that_are_none(columns, target, message):
    with pytest.raises(InvalidDataset, match=message):
        Labelled.of(rows(**columns), target)


def test_parts_by_pattern():
    ids = ["Train/Polyp/1", "Train/No/2", "Test/Polyp/3", "Test/No/4", "Else/No/5"]
    labelled = Labelled.of(rows(id=ids), "folder")
    parts = labelled.matched("Train/*", {"test": "Test/*"})
    assert (parts.train, parts.test, parts.left_out) == (tuple(ids[:2]), {"test": tuple(ids[2:4])}, 1)
    rest = labelled.matched(None, {"test": "Test/*", "else": "Else/*"})
    assert (rest.train, rest.test["else"], rest.left_out) == (tuple(ids[:2]), ("Else/No/5",), 0)
    for ask in (("Nowhere/*", {"test": "Test/*"}), ("Train/*", {"test": "Nowhere/*"})):
        with pytest.raises(InvalidArgument, match=r"no id matches 'Nowhere/\*': ids look like 'Train/Polyp/1'"):
            labelled.matched(*ask)


def test_the_owners_split_is_taken_where_there_is_one():
    columns = {"id": list("abcd"), "label": list("xyxy"), "official_split": ["train", "train", "test", "test"]}
    labelled = Labelled.of(rows(**columns))
    parts = labelled.split()
    assert (parts.train, parts.test, parts.by) == (("a", "b"), {"test": ("c", "d")}, "official")
    named = rows(**columns | {"official_split": [0, 0, 1, 1]}).cast_column(
        "official_split", ClassLabel(names=["train", "test"])
    )
    assert Labelled.of(named).split() == parts
    with pytest.raises(InvalidDataset, match="no official split"):
        Labelled.of(rows(id=list("abcd"), label=list("xyxy"))).split(official=True)


def test_a_seeded_split_parts_no_group_and_shares_out_every_class():
    rng = np.random.default_rng(12)
    labels = ["common"] * 300 + ["rare"] * 15 + ["once"] * 4
    groups = [f"{label} {rng.integers(60)}" for label in labels[:300]] + [f"r{i // 3}" for i in range(15)] + ["o"] * 4
    ids = [f"{i}" for i in range(len(labels))]
    labelled = Labelled.of(rows(id=ids, label=labels, group=groups))
    for seed in range(5):
        parts = labelled.split(seed=seed)
        tested = parts.test["test"]
        of = dict(zip(ids, groups, strict=True))
        assert {of[id] for id in parts.train}.isdisjoint({of[id] for id in tested})
        assert sorted([*parts.train, *tested], key=int) == ids
        counts = Counter(labelled.labels[id] for id in tested)
        assert abs(counts["common"] - 60) <= 8
        assert counts["rare"] == 3
        assert counts["once"] == 0  # of one video: it can only train
    assert labelled.split(seed=1) == labelled.split(seed=1)
    assert labelled.split(seed=1) != labelled.split(seed=2)
    with pytest.raises(InvalidDataset, match="each class is of one group"):
        Labelled.of(rows(id=["a", "b"], label=["x", "y"])).split()


# ---- the command


@pytest.fixture
def images(tmp_path) -> tuple[Path, Path]:
    """(folder of images, store of embeddings): 24 polyps and 24 others, two thirds under Train."""
    x, labels = clouds(13, sizes=(24, 24), spread=0.2)
    vectors = {}
    for i, (row, label) in enumerate(zip(x, labels, strict=True)):
        path = tmp_path / "images" / ("Test" if i % 3 == 0 else "Train") / ("Polyp" if label else "No") / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Picture.new("RGB", (4, 4)).save(path)
        vectors[path.relative_to(tmp_path / "images").with_suffix("").as_posix()] = row
    make_store(tmp_path / "store", vectors)
    return tmp_path / "images", tmp_path / "store"


def call(*words: str | Path) -> int:
    return alone("probe", [str(word) for word in words])


def test_the_command(images, tmp_path):
    folder, store = images
    words = [store, "--labels", folder, "--target", "folder", "--train-match", "Train/*", "--test-match", "Test/*"]
    done = fork_server.alone("-m", "meddel_hf.probe", *words, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    header, line = done.stdout.splitlines()
    assert header.split() == ["set", "frames", "classes", "balanced", "accuracy", "chance"]
    assert line.split() == ["test", "16", "2", "1.000", "(1.000", "to", "1.000)", "0.500"]
    assert "32 frames trained, split by pattern" in done.stderr
    assert Scores.load(tmp_path / "out").value() == 1


def test_the_command_splits_by_itself(images, tmp_path, capsys):
    folder, store = images
    assert call(store, "--labels", folder, "--target", "folder", "--out", tmp_path / "out", "--method", "knn") == 0
    assert "split seeded, by frame" in capsys.readouterr().err
    half = ["--test-match", "polyps=*/Polyp/*[0-4]", "--test-match", "all=*[0-4]"]
    assert call(store, "--labels", folder, "--target", "folder", "--out", tmp_path / "sets", *half) == 2
    assert "test set 'polyps' holds one class, 'Polyp'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "label"], "no column 'label'; it has id, image"),
        (["--target", "folder", "--train-match", "Train/*"], "--train-match alone"),
        (["--target", "folder", "--test-match", "a=x", "--test-match", "a=y"], "two test sets of one name"),
        (["--target", "folder", "--split", "official"], "no official split"),
        (["--target", "folder", "--neighbours", "3"], "--neighbours are asked by --method knn alone: add it"),
    ],
)
def test_the_command_says_what_is_wrong(images, words, message, tmp_path, capsys):
    folder, store = images
    assert call(store, "--labels", folder, "--out", tmp_path / "out", *words) == 2
    assert message in capsys.readouterr().err


def test_row_numbers_of_another_data_set_are_no_ids(tmp_path, capsys):
    x, _ = clouds(14, sizes=(4, 4))
    make_store(tmp_path / "store", {str(i): row for i, row in enumerate(x)}, row_ids=True)
    rows(label=list("abababab")).save_to_disk(tmp_path / "labels")
    assert call(tmp_path / "store", "--labels", tmp_path / "labels", "--out", tmp_path / "out") == 2
    assert "row numbers for ids" in capsys.readouterr().err


def test_labels_without_ids_do_not_go_with_embeddings_that_have_names(images, tmp_path, capsys):
    _, store = images
    rows(label=list("ab") * 24).save_to_disk(tmp_path / "labels")
    assert call(store, "--labels", tmp_path / "labels", "--out", tmp_path / "out") == 2
    assert "has no column 'id', and the embeddings have names for ids, such as T" in capsys.readouterr().err


def test_a_pattern_may_hold_an_equals_sign():
    assert _name_and_pattern("fold=1/*") == ("fold", "1/*")
    assert _name_and_pattern("*/fold=1/*") == ("test", "*/fold=1/*")
    assert _name_and_pattern("east=*/fold=1/*") == ("east", "*/fold=1/*")


def test_the_table_says_what_chance_would_be(made, tmp_path):
    store, labels, train, test = made
    scores = probe(store, labels, tmp_path / "out", train=train, test={"test": test})
    assert table(scores).splitlines()[1].split() == ["test", "15", "3", "1.000", "(1.000", "to", "1.000)", "0.333"]


def test_the_module_is_called_like_the_function(made, tmp_path):
    store, labels, train, test = made
    assert meddel_hf.probe(store.folder, labels, tmp_path / "out", train=train, test={"t": test}).value() == 1
    with pytest.raises(MedDELError):
        meddel_hf.probe(tmp_path / "nowhere", labels, tmp_path / "new", train=train, test={"t": test})

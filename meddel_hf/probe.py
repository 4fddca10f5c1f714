"""What frozen features are worth: a nearest-neighbour or linear classifier on an embedding store, per tested frame.

    meddel probe EMBEDDINGS --labels datadel:gastrovision --out DIR
    meddel probe EMBEDDINGS --labels CP-CHILD-A --target folder --train-match 'Train/*' --test-match 'Test/*' --out DIR

Frames are joined on their ids. A frame of a class that no training frame has cannot be told right, and counts as wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, get_args

from meddel_hf.errors import InvalidArgument, InvalidDataset, Mismatch
from meddel_hf.runtime import checks, options
from meddel_hf.runtime.exits import command, exit_status
from meddel_hf.schema import LABEL, MANIFEST, TRUST, Manifest, check_target, fingerprint, step_folder

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from meddel_hf.labels import Labelled, Parts
    from meddel_hf.scores import Scores
    from meddel_hf.store import EmbeddingStore

Method = Literal["knn", "linear"]


def probe(
    store: EmbeddingStore | str | Path,
    labels: Mapping[str, str],
    out: str | Path,
    *,
    train: Collection[str],
    test: Mapping[str, Collection[str]],
    groups: Mapping[str, str] | None = None,
    method: Method = "linear",
    neighbours: int = 5,
    seed: int = 0,
) -> Scores:
    """Train a classifier on the embeddings of some frames and test it on those of others; measure: balanced accuracy.

    labels: id -> class of every frame that trains or is tested; others do not matter.
    out:    folder for manifest.json and scores.parquet; finished by the same arguments, it is read, not made again.
    train:  ids. test: set -> ids; a set is scored and named by itself. Their order does not matter.
    groups: id -> video, patient or what else looks alike; a frame that is not named is a group of its own. Near-copies
            across train and test are the caller's business: name them here.
    method: "linear", ridge regression with its penalty chosen on held-out groups of `train`, or "knn" by cosine.
    neighbours: that vote, of "knn". seed: of the folds on which "linear" chooses its penalty.

    Frames that the store lists as unreadable are left out and counted. Raises Mismatch where the store lacks an id or
    `out` was made with other arguments, InvalidDataset where a label is missing, one class trains alone, a set is empty
    or of one class, or train and test share an id or a group.
    """
    from meddel_hf.labels import check_parts
    from meddel_hf.scores import FILE, Scores
    from meddel_hf.store import EmbeddingStore

    checks.choice("method", method, get_args(Method))
    checks.count("neighbours", neighbours, 1)
    checks.seed(seed)
    store = store if isinstance(store, EmbeddingStore) else EmbeddingStore.load(store)
    groups, out = groups or {}, Path(out)
    parts = {name: set(ids) for name, ids in test.items()}
    check_parts(set(train), parts, labels, groups)
    arguments = {
        "method": method, "neighbours": neighbours, "seed": seed, "train": _digest(train, labels, groups),
        "test": {name: _digest(ids, labels, groups) for name, ids in parts.items()},
    }  # fmt: skip
    parents = {"embeddings": store.fingerprint}
    parents |= {"encoder": store.manifest.parents["encoder"]} if "encoder" in store.manifest.parents else {}
    if (out / MANIFEST).is_file():
        found = Manifest.read(out, "probe")
        before = {**parents, **found.arguments, **found.parents}  # older folders name no encoder
        for key, value in {**arguments, **parents}.items():
            if before.get(key) != value:
                raise Mismatch(f"{out} was made with another {key}: choose another folder, or delete this one")
        return Scores.load(out)
    check_target(out, "probe")
    features = _Features.of(store, labels, groups, [set(train), *parts.values()])
    scores, facts = _score(features, set(train), parts, method, neighbours, seed)
    identity = fingerprint(repr(sorted(arguments.items())), store.fingerprint)
    with step_folder(out, "probe") as aside:
        scores.write(aside)
        Manifest("probe", identity, arguments, parents, facts).write(aside, [FILE])
    return scores


@dataclass(frozen=True, eq=False)
class _Features:
    """The embeddings that train or are tested, in the store's order.

    ids: (n,); rows: (n, d) float32, unit length; labels, groups: (n,) of each. unreadable: frames without an embedding.
    """

    ids: list[str]
    rows: np.ndarray
    labels: list[str]
    groups: list[str]
    unreadable: frozenset[str]

    @classmethod
    def of(
        cls, store: EmbeddingStore, labels: Mapping[str, str], groups: Mapping[str, str], parts: Sequence[set[str]]
    ) -> _Features:
        from meddel_hf.labels import examples

        wanted = set().union(*parts)
        missing = sorted(wanted.difference(store.pool_ids))
        if missing:
            raise Mismatch(
                f"{len(missing):,} of {len(wanted):,} labelled frames are not in {store.folder}, such as "
                f"{examples(missing)}: embed the labelled frames, with the ids that the labels have"
            )
        ids = [store.pool_ids[row] for row in store.rows.tolist()]
        at = [place for place, id in enumerate(ids) if id in wanted]
        chosen = [ids[place] for place in at]
        return cls(
            chosen, store.embeddings[at], [labels[id] for id in chosen], [groups.get(id, id) for id in chosen],
            frozenset(wanted.difference(chosen)),
        )  # fmt: skip

    def part(self, ids: set[str]) -> list[int]:
        return [row for row, id in enumerate(self.ids) if id in ids]

    def scored(self, name: str, rows: list[int], answers: list[str]) -> pa.Table:
        """Rows of a scores table, for one test set."""
        import pyarrow as pa

        from meddel_hf.scores import COLUMNS

        of_masks = pa.nulls(len(rows), pa.list_(pa.int64()))
        return pa.table(
            [
                pa.array([self.ids[row] for row in rows]),
                pa.array([name] * len(rows)),
                pa.array([self.groups[row] for row in rows]),
                pa.array([self.labels[row] for row in rows]),
                pa.array([float(self.labels[row] == said) for row, said in zip(rows, answers, strict=True)]),
                of_masks,
                of_masks,
            ],
            names=COLUMNS.names,
        ).cast(COLUMNS)


def _score(
    features: _Features, train: set[str], test: Mapping[str, set[str]], method: Method, neighbours: int, seed: int
) -> tuple[Scores, dict[str, Any]]:
    """(scores, facts for the manifest)"""
    import numpy as np
    import pyarrow as pa

    from meddel_hf.classifiers import Ridge, nearest_neighbours
    from meddel_hf.labels import check_tested
    from meddel_hf.scores import Scores

    rows = features.part(train)
    classes = sorted({features.labels[row] for row in rows})
    if len(classes) < 2:
        found = f"one class, {classes[0]!r}" if classes else "no readable frame"
        raise InvalidDataset(f"the training frames hold {found}: a probe needs two classes to tell apart")
    number = {name: at for at, name in enumerate(classes)}
    x, y = features.rows[rows], np.array([number[features.labels[row]] for row in rows])
    model = Ridge.fit(x, y, [features.groups[row] for row in rows], seed=seed) if method == "linear" else None
    tables, sets = [], {}
    for name, ids in test.items():
        at = features.part(ids)
        truth = [features.labels[row] for row in at]
        check_tested(name, truth, classes)
        asked = features.rows[at]
        answer = model.predict(asked) if model else nearest_neighbours(x, y, asked, neighbours=neighbours)
        tables.append(features.scored(name, at, [classes[said] for said in answer.tolist()]))
        unseen = Counter(label for label in truth if label not in number)
        sets[name] = {
            "frames": len(at), "classes": len(set(truth)), "unseen": dict(sorted(unseen.items())),
            "balanced_accuracy": Scores(tables[-1], "balanced-accuracy").value(),
        }  # fmt: skip
    facts = {"train": len(rows), "classes": classes, "unreadable": len(features.unreadable), "sets": sets}
    facts.update({"penalty": model.penalty} if model else {})
    return Scores(pa.concat_tables(tables), "balanced-accuracy"), facts


def _digest(ids: Collection[str], labels: Mapping[str, str], groups: Mapping[str, str]) -> str:
    return fingerprint(*(part for id in sorted(ids) for part in (id, labels[id], groups.get(id, id))))


def table(scores: Scores) -> str:
    """Of each test set: frames, classes, balanced accuracy with its interval over frames, and chance, as text."""
    from meddel_hf.bootstrap import interval

    lines = [("set", "frames", "classes", "balanced accuracy", "chance")]
    for name in scores.sets:
        part = scores.of(name)
        classes = len(set(part.table[LABEL].to_pylist()))
        lines.append((name, f"{len(part):,}", str(classes), str(interval([part])), f"{1 / classes:.3f}"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in lines
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `meddel probe` and `python -m meddel_hf.probe`."""
    add = parser.add_argument
    add("embeddings", metavar="EMBEDDINGS", type=options.path, help="folder that meddel embed wrote")
    add(
        "--labels",
        required=True,
        metavar="POOL",
        type=options.text,
        help="labelled data set, joined on id: as in meddel embed",
    )
    add("--include", metavar="PATTERN", help="of a folder of images, only paths that match: as in meddel embed")
    add("--out", required=True, type=options.path, help="folder to write; finished with the same arguments, it is read")
    add("--target", default=LABEL, metavar="COLUMN", help="column of the classes (default: label), or folder: the name "
        "of the folder that holds the image")  # fmt: skip
    add("--method", choices=get_args(Method), default="linear", help="ridge regression, or kNN by cosine")
    add("--neighbours", type=options.count(1), default=5, metavar="K", help="that vote, of knn (default: 5)")
    add("--train-match", metavar="PATTERN", help="ids that train, such as 'Train/*' (default: all that is not tested)")
    add("--test-match", metavar="PATTERN", action="append", help="ids that are tested, such as 'Test/*'; NAME=PATTERN, "
        "and again for more test sets (default: the official split, else a seeded fifth of each class)")  # fmt: skip
    add("--split", choices=("auto", "official", "seeded"), default="auto", help="where nothing is matched (default: "
        "auto, the official one where there is one)")  # fmt: skip
    add("--trust", action="store_true", help=TRUST)
    add("--seed", type=options.seed, default=0, help="of a seeded split, and of the folds that choose the penalty")


def run(args: argparse.Namespace) -> int:
    """Do what `add_arguments` asked for. Returns the exit status: 0, 2 after an error, 130 after Ctrl-C."""
    return exit_status(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    from meddel_hf.data.identity import same_pool
    from meddel_hf.labels import Labelled
    from meddel_hf.pool import load_pool
    from meddel_hf.store import EmbeddingStore

    check_target(args.out, "probe", begun=())  # before the work
    store = EmbeddingStore.load(args.embeddings, trust=args.trust)
    dataset = load_pool(args.labels, include=args.include)
    labelled = Labelled.of(dataset, args.target)
    if store.row_ids and not same_pool(dataset, store.pool_fingerprint):
        raise Mismatch(
            f"{args.embeddings} has row numbers for ids and was made from another data set than {args.labels}: "
            "embed that one, or give both an id column"
        )
    parts = _parts(labelled, args)
    scores = probe(
        store, labelled.labels, args.out, train=parts.train, test=parts.test, groups=labelled.groups,
        method=args.method, neighbours=args.neighbours, seed=args.seed,
    )  # fmt: skip
    print(table(scores))
    print(_remarks(Manifest.read(args.out, "probe"), labelled, parts), file=sys.stderr)


def _parts(labelled: Labelled, args: argparse.Namespace) -> Parts:
    from meddel_hf.splits import OFFICIAL

    if args.test_match:
        named = [_name_and_pattern(text) for text in args.test_match]
        if len(dict(named)) < len(named):
            raise InvalidArgument("two test sets of one name: give each its own, --test-match NAME=PATTERN")
        return labelled.matched(args.train_match, dict(named))
    if args.train_match:
        raise InvalidArgument("--train-match alone says nothing of the test: add --test-match PATTERN")
    return labelled.split(official=OFFICIAL[args.split], seed=args.seed)


def _name_and_pattern(text: str) -> tuple[str, str]:
    name, found, pattern = text.partition("=")
    return (name, pattern) if found else ("test", text)


def _remarks(manifest: Manifest, labelled: Labelled, parts: Parts) -> str:
    from meddel_hf.labels import examples

    facts, by = (
        manifest.details,
        {"match": "by pattern", "official": "official"}.get(parts.by, f"seeded, by {parts.by}"),
    )
    remarks = [f"{facts['train']:,} frames trained, split {by}"]
    remarks += [f"{parts.left_out:,} in neither part"] * bool(parts.left_out)
    remarks += [f"{labelled.unlabelled:,} without a label"] * bool(labelled.unlabelled)
    remarks += [f"{facts['unreadable']:,} unreadable, left out"] * bool(facts["unreadable"])
    unseen = sorted({label for each in facts["sets"].values() for label in each["unseen"]})
    remarks += [f"tested, never trained and so counted wrong: {examples(unseen)}"] * bool(unseen)
    return "; ".join(remarks)


def main() -> int:
    """Entry of `python -m meddel_hf.probe`."""
    return command("meddel_hf.probe", "Probe frozen features with a simple classifier.", add_arguments, run)


class _CallableModule(ModuleType):
    """`from meddel_hf import probe` finds this module instead of the function once it was imported: call it alike."""

    def __call__(self, *args: Any, **kwargs: Any) -> Scores:
        return probe(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    sys.exit(main())

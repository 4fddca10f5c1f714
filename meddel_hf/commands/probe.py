"""`meddel probe`: a simple classifier on frozen features, scored frame by frame."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, get_args

from meddel_hf.commands import kinds, options
from meddel_hf.commands.apart import tell_if_inside
from meddel_hf.commands.printing import print_json, say
from meddel_hf.downstream.probing.probe import NEIGHBOURS, Method
from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.runtime.text_table import aligned
from meddel_hf.runtime.words import plural
from meddel_hf.schema import LABEL

if TYPE_CHECKING:
    from meddel_hf.downstream.probing.labels import Labelled, Parts
    from meddel_hf.downstream.scores import Scores
    from meddel_hf.runtime.manifest import Manifest

HELP = "tell what frozen features are worth to a simple classifier"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    options.embeddings(parser, "EMBEDDINGS")
    text = "labelled data set, joined on id: as in meddel embed"
    add("--labels", required=True, metavar="POOL", type=kinds.text, help=text)
    options.include(parser)
    options.out(parser, "folder to write; finished with the same arguments, it is read")
    options.force(parser)
    text = "column of the classes (default: label), or folder: the name of the folder that holds the image"
    add("--target", default=LABEL, metavar="COLUMN", help=text)
    add("--method", choices=get_args(Method), default="linear", help="ridge regression, or kNN by cosine")
    add("--neighbours", type=kinds.count(1), metavar="K", help=f"that vote, of knn (default: {NEIGHBOURS})")
    add("--train-match", metavar="PATTERN", help="ids that train, such as 'Train/*' (default: all that is not tested)")
    text = (
        "ids that are tested, such as 'Test/*'; NAME=PATTERN, and again for more test sets (default: the official "
        "split, else a seeded fifth of each class)"
    )
    add("--test-match", metavar="PATTERN", action="append", help=text)
    options.split(parser, "where nothing is matched (default: auto, the official one where there is one)")
    options.as_json(parser)
    options.trust(parser)
    options.seed(parser, "of a seeded split, and of the folds that choose the penalty")


def run(args: argparse.Namespace) -> None:
    from meddel_hf.data.identity import same_pool
    from meddel_hf.data.pool import load_pool
    from meddel_hf.downstream.probing.labels import Labelled
    from meddel_hf.downstream.probing.probe import probe
    from meddel_hf.embedding.store import EmbeddingStore
    from meddel_hf.runtime.manifest import Manifest, check_target
    from meddel_hf.runtime.reading import printable
    from meddel_hf.schema import ID

    if args.neighbours is not None and args.method != "knn":
        raise InvalidArgument("--neighbours are asked by --method knn alone: add it, or leave them out")
    check_target(args.out, "probe", begun=())  # before the work
    tell_if_inside(args.out, args.labels)
    store = EmbeddingStore.load(args.embeddings, trust=args.trust)
    dataset = load_pool(args.labels, include=args.include)
    labelled = Labelled.of(dataset, args.target)
    if store.row_ids and not same_pool(dataset, store.pool_fingerprint):
        raise Mismatch(
            f"{args.embeddings} has row numbers for ids and was made from another data set than {args.labels}: "
            "embed that one, or give both an id column"
        )
    if ID not in dataset.column_names and not store.row_ids:
        raise Mismatch(
            f"{args.labels} has no column {ID!r}, and the embeddings have names for ids, such as "
            f"{printable(store.pool_ids[0])}: give the labels a column {ID!r} with these names"
        )
    parts = _parts(labelled, args)
    scores = probe(
        store, labelled.labels, args.out, train=parts.train, test=parts.test, groups=labelled.groups,
        method=args.method, neighbours=args.neighbours or NEIGHBOURS, seed=args.seed,
    )  # fmt: skip
    if args.json:
        print_json(facts(scores))
    else:
        print(table(scores))
    say(_remarks(Manifest.read(args.out, "probe"), labelled, parts))


def _parts(labelled: Labelled, args: argparse.Namespace) -> Parts:
    from meddel_hf.downstream.splits import OFFICIAL

    if args.test_match:
        named = [_name_and_pattern(text) for text in args.test_match]
        if len(dict(named)) < len(named):
            raise InvalidArgument("two test sets of one name: give each its own, --test-match NAME=PATTERN")
        return labelled.matched(args.train_match, dict(named))
    if args.train_match:
        raise InvalidArgument("--train-match alone says nothing of the test: add --test-match PATTERN")
    return labelled.split(official=OFFICIAL[args.split], seed=args.seed)


def _name_and_pattern(text: str) -> tuple[str, str]:
    """ "NAME=PATTERN", or a pattern alone, which may hold an equals sign behind a folder or an asterisk."""
    name, equals, pattern = text.partition("=")
    return (name, pattern) if equals and not {"/", "*", "?", "["} & set(name) else ("test", text)


def facts(scores: Scores) -> list[dict[str, Any]]:
    """Of each test set the same as plain values."""
    from meddel_hf.downstream.intervals import interval

    rows = []
    for name in scores.sets:
        part = scores.of(name)
        classes, spread = len(set(part.table[LABEL].to_pylist())), interval([part])
        rows.append(
            {
                "set": name, "frames": len(part), "classes": classes, "balanced_accuracy": spread.value,
                "low": spread.low, "high": spread.high, "level": spread.level, "chance": 1 / classes,
            }
        )  # fmt: skip
    return rows


def table(scores: Scores) -> str:
    """Of each test set: frames, classes, balanced accuracy with its interval over frames, and chance, as text."""
    from meddel_hf.downstream.intervals import interval

    lines = [("set", "frames", "classes", "balanced accuracy", "chance")]
    for name in scores.sets:
        part = scores.of(name)
        classes = len(set(part.table[LABEL].to_pylist()))
        lines.append((name, f"{len(part):,}", str(classes), str(interval([part])), f"{1 / classes:.3f}"))
    return aligned(lines)


def _remarks(manifest: Manifest, labelled: Labelled, parts: Parts) -> str:
    from meddel_hf.downstream.probing.labels import examples

    facts = manifest.details
    by = {"match": "by pattern", "official": "official"}.get(parts.by, f"seeded, by {parts.by}")
    remarks = [f"{plural(facts['train'], 'frame')} trained, split {by}"]
    remarks += [f"{parts.left_out:,} in neither part"] * bool(parts.left_out)
    remarks += [f"{labelled.unlabelled:,} without a label"] * bool(labelled.unlabelled)
    remarks += [f"{facts['unreadable']:,} unreadable, left out"] * bool(facts["unreadable"])
    unseen = sorted({label for each in facts["sets"].values() for label in each["unseen"]})
    remarks += [f"tested, never trained and so counted wrong: {examples(unseen)}"] * bool(unseen)
    return "; ".join(remarks)

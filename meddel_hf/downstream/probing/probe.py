"""What frozen features are worth: a nearest-neighbour or linear classifier on an embedding store, per tested frame.

    meddel probe EMBEDDINGS --labels datadel:gastrovision --out DIR
    meddel probe EMBEDDINGS --labels CP-CHILD-A --target folder --train-match 'Train/*' --test-match 'Test/*' --out DIR

Frames are joined on their ids. A frame of a class that no training frame has cannot be told right, and counts as wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from meddel_hf.errors import Mismatch
from meddel_hf.runtime import checks
from meddel_hf.runtime.manifest import Manifest, check_target, fingerprint, step_folder
from meddel_hf.runtime.resume import check_same, state

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from meddel_hf.downstream.scores import Scores
    from meddel_hf.embedding.store import EmbeddingStore

Method = Literal["knn", "linear"]
NEIGHBOURS = 5  # that vote


def probe(
    store: EmbeddingStore | str | Path,
    labels: Mapping[str, str],
    out: str | Path,
    *,
    train: Collection[str],
    test: Mapping[str, Collection[str]],
    groups: Mapping[str, str] | None = None,
    method: Method = "linear",
    neighbours: int = NEIGHBOURS,
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
    from meddel_hf.downstream.probing.labels import check_parts
    from meddel_hf.downstream.scores import FILE, Scores
    from meddel_hf.embedding.store import EmbeddingStore

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
    if state(out) == "finished":
        manifest = Manifest.read(out, "probe")
        before, now = {**parents, **manifest.arguments, **manifest.parents}, {**arguments, **parents}
        check_same(out, {name: before.get(name) for name in now}, now, "was made with")  # older folders name no encoder
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
        from meddel_hf.downstream.probing.labels import examples

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

        from meddel_hf.downstream.scores import COLUMNS

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

    from meddel_hf.downstream.probing.classifiers import Ridge, nearest_neighbours
    from meddel_hf.downstream.probing.labels import check_tested, check_trained
    from meddel_hf.downstream.scores import Scores

    rows = features.part(train)
    classes = sorted({features.labels[row] for row in rows})
    check_trained(classes)
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

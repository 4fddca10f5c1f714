"""A selection goes on in a grown pool: worked out again in float64, row by row."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import oracle
import pytest
from datasets import Dataset
from groups import expected_groups

import meddel_hf
import meddel_hf.dedup.larger_than_memory as larger
from meddel_hf import Dedup, EmbeddingStore, MedDEL, Selection
from meddel_hf.dedup.larger_than_memory import Plan, Room
from meddel_hf.embedding.store import Shard, StoreWriter
from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.selectors import Random
from meddel_hf.selectors.caps import spaced

ETA = 0.9


@pytest.fixture(params=["in memory", "in parts", "a few rows at once"])
def extend(request, monkeypatch):
    """As it is; with a memory that the pool does not fit into; and where no cluster fits."""
    if request.param == "in memory":
        return meddel_hf.extend
    if request.param == "a few rows at once":
        monkeypatch.setattr(Plan, "within", lambda *_: Plan(50))

    def in_parts(old, embeddings, *args, **kwargs):
        with monkeypatch.context() as here:
            here.setattr(
                Room, "fits", lambda _, source, **__: source.shape[0] < len(embeddings) / 2
            )  # what is new does
            for name in ("_PROGRAM", "_LEAST_PIECE"):
                here.setattr(larger, name, 0)
            if old.origin.reference is None:  # a reference set is in memory
                here.setattr(EmbeddingStore, "embeddings", property(lambda store: pytest.fail("read as a whole")))
            return meddel_hf.extend(old, embeddings, *args, memory=10**7, **kwargs)

    return in_parts


def stored(
    folder: Path,
    x: np.ndarray,
    names: list[str],
    ids: list[str] | None = None,
    encoder: str = "e",
    digests: bool = True,
) -> EmbeddingStore:
    """A store of frames called `names`, which stand for their bytes; ids are the names unless others are given."""
    content = [hashlib.md5(name.encode()).digest() for name in names] if digests else None
    writer = StoreWriter.begin(
        folder, {"encoder": encoder, "pool": None, "revision": None, "pooling": "cls"},
        {"pool": "-".join(ids or names)[-40:], "encoder": encoder},
    )  # fmt: skip
    for index in range(-(-len(x) // 64)):
        part = slice(index * 64, (index + 1) * 64)
        own = content[part] if content else None
        writer.write(Shard(index, index * 64, (ids or names)[part], [None] * len(x[part]), x[part], digests=own))
    return writer.finish(dim=x.shape[1], row_ids=False)


def world(n: int = 300, old: int = 260, seed: int = 0, spread: float = 0.3) -> tuple[np.ndarray, list[str], np.ndarray]:
    """(all vectors, names, rows of the earlier pool), rows of clumps in any order."""
    x = oracle.clumps(n, 8, seed=seed, spread=spread)
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    rng = np.random.default_rng(seed)
    return x, [f"frame/{row:03d}" for row in range(n)], np.sort(rng.permutation(n)[:old])


def by_hand(x: np.ndarray, names: list[str], before: dict[str, str | None], order: np.ndarray, eta: float):
    """Who stays: before has the reason of known rows. Then of each that goes, the nearest that stays."""
    cosine = oracle.cosines(x)
    stays = [row for row, name in enumerate(names) if before.get(name, "new") is None]
    for row in order:
        if names[row] not in before and not (cosine[row, stays] > oracle.grid(eta)).any():
            stays.append(int(row))
    kept = np.isin(np.arange(len(x)), stays)
    return kept, {row: cosine[row, kept].max() for row in np.flatnonzero(~kept)}


def reasons(selection: Selection) -> dict[str, str | None]:
    return dict(zip(selection.ids, selection.table["reason"].to_pylist(), strict=True))


@pytest.mark.parametrize("selector", [Dedup(eta=ETA), MedDEL(eta=ETA, scope="pool", epsilon=None, keep="farthest")])
@pytest.mark.parametrize("seed", range(3))
def test_new_rows_are_screened_against_the_kept_and_among_themselves(selector, seed, tmp_path, extend):
    x, names, rows = world(seed=seed)
    old = selector.select(stored(tmp_path / "1", x[rows], [names[row] for row in rows]))
    selection = extend(old, stored(tmp_path / "2", x, names))
    (order,) = expected_groups(x, "pool", selector.keep, None)[0]
    kept, value = by_hand(x, names, reasons(old), order, ETA)
    assert selection.table["kept"].to_pylist() == kept.tolist()
    assert set(old.kept) <= set(selection.kept)
    assert not set(selection.kept) & (set(old.ids) - set(old.kept))
    assert 0 < len(selection.kept) - len(old.kept) < 40, "some new ones stay, some go"
    for row, line in enumerate(selection.table.to_pylist()):
        if not line["kept"]:
            assert line["reason"] == "near-duplicate"
            assert line["similarity"] == np.float32(value[row])
            assert oracle.cosines(x[[row]], x[[names.index(line["duplicate_of"])]])[0, 0] == value[row]
    assert selection.summary.coverage == 1
    assert selection.eta == old.eta
    assert selection.fingerprint != old.fingerprint
    assert selection.settings["extends"] == old.fingerprint
    selection.save(tmp_path / "s")
    assert Selection.load(tmp_path / "s").table.equals(selection.table)


def test_it_is_one_pass_of_the_greedy_rule_with_the_new_rows_last(tmp_path, extend):
    x, names, rows = world()
    old = Dedup(eta=ETA).select(stored(tmp_path / "1", x[rows], [names[row] for row in rows]))
    selection = extend(old, stored(tmp_path / "2", x, names))
    (before,) = expected_groups(x[rows], "pool", "closest", None)[0]
    (now,) = expected_groups(x, "pool", "closest", None)[0]
    order = np.concatenate([rows[before], now[~np.isin(now, rows)]])
    assert selection.table["kept"].to_pylist() == oracle.greedy(oracle.cosines(x), [order], ETA).tolist()


def test_nothing_new_is_the_selection_as_it_was(tmp_path, extend):
    x, names, _ = world()
    for number, selector in enumerate(
        [Dedup(eta=ETA), Dedup(0.1, eta=ETA, then="cover"), MedDEL(eta=ETA), MedDEL(retention=0.3, epsilon=1.2)]
    ):
        store = stored(tmp_path / str(number), x, names)
        old = selector.select(store)
        assert extend(old, store).table.equals(old.table)


def test_week_after_week(tmp_path, extend):
    """Each extended selection is the old one of the next week, also where frames go meanwhile."""
    x, names, _ = world(420, 420)
    order = np.random.default_rng(9).permutation(420)
    weeks = [np.sort(order[:300]), np.sort(order[:360]), np.sort(order[20:420])]
    selection = Dedup(eta=ETA).select(stored(tmp_path / "0", x[weeks[0]], [names[row] for row in weeks[0]]))
    drawn = Dedup(0.1, eta=ETA).select(EmbeddingStore.load(tmp_path / "0"))
    for number, rows in enumerate(weeks[1:], 1):
        here = [names[row] for row in rows]
        store = stored(tmp_path / str(number), x[rows], here)
        before = reasons(selection)
        lost = set(before) - set(here)
        for line in selection.table.to_pylist():
            if line["duplicate_of"] in lost:
                before.pop(line["id"])  # it is judged again
        (keep_order,) = expected_groups(x[rows], "pool", "closest", None)[0]
        kept, _ = by_hand(x[rows], here, before, keep_order, ETA)
        selection, drawn = extend(selection, store), extend(drawn, store)
        assert selection.table["kept"].to_pylist() == kept.tolist()
        assert len(drawn.kept) == round(0.1 * len(rows))
        assert extend(selection, store).table.equals(selection.table)


CENTERS = np.array(["north", "south", "west", None], object)


def grown(tmp_path: Path, selector: Dedup) -> tuple[Selection, EmbeddingStore, Dataset, dict[str, str | None]]:
    """(old selection, store of the grown pool, its columns, center of each frame): 40 of 300 frames are new, of which
    the last 15 are all of the east; that of the others goes by their number."""
    x, names, rows = world()
    center = {name: CENTERS[row % 4] for row, name in enumerate(names)}
    new = [name for row, name in enumerate(names) if row not in rows]
    center |= dict.fromkeys(new[-15:], "east")
    columns = Dataset.from_dict({"id": names, "center": [center[name] for name in names]})
    store = stored(tmp_path / "1", x[rows], [names[row] for row in rows])
    return selector.select(store, pool=columns.select(rows)), stored(tmp_path / "2", x, names), columns, center


def counts(names: list[str], center: dict[str, str | None]) -> Counter:
    return Counter(center[name] for name in names)


@pytest.mark.parametrize("least", [3, 9])
def test_floors_are_about_all_that_is_kept(least, tmp_path, extend):
    selector = Dedup(40 / 260, eta=0.99, min_per={"center": least}, seed=2)
    old, store, columns, center = grown(tmp_path, selector)
    selection = extend(old, store, columns)
    assert set(old.kept) <= set(selection.kept)
    assert len(selection.kept) == max(round(40 / 260 * 300), len(old.kept) + least)
    assert all(counts(selection.kept, center)[name] >= least for name in ("north", "south", "west", "east"))
    assert all(center[name] in ("east", *CENTERS) for name in set(selection.kept) - set(old.kept))
    if least == 9:  # the east has them all, and the retention is exceeded
        assert counts(list(set(selection.kept) - set(old.kept)), center) == {"east": 9}
        assert any("was asked for and is now" in note for note in selection.notes)


@pytest.mark.parametrize("retention", [None, 40 / 260])
def test_caps_are_about_all_that_is_kept(retention, tmp_path, extend):
    selector = Dedup(retention, eta=0.99, max_per={"center": 12})
    old, store, columns, center = grown(tmp_path, selector)
    before = counts(old.kept, center)
    selection = extend(old, store, columns)
    now = counts(selection.kept, center)
    assert set(old.kept) <= set(selection.kept)
    assert all(number <= 12 for name, number in now.items() if name is not None)
    if retention is None:
        assert before == {"north": 12, "south": 12, "west": 12, None: before[None]}
        assert now["east"] == 12
        why = reasons(selection)
        apart = [name for name in columns["id"] if center[name] == "east" and why[name] != "near-duplicate"]
        expected = [apart[place] for place in spaced(len(apart), 12)]
        assert [name for name in selection.kept if center[name] == "east"] == expected
    assert extend(old, EmbeddingStore.load(tmp_path / "1"), columns).kept == old.kept, "nothing new"


def test_rows_are_known_by_their_content_and_not_by_id_or_place(tmp_path, extend):
    x, names, rows = world()
    old = Dedup(eta=ETA).select(stored(tmp_path / "1", x[rows], [names[row] for row in rows]))
    straight = extend(old, stored(tmp_path / "2", x, names))
    order = np.random.default_rng(3).permutation(len(x))
    ids = [f"moved/{row}" for row in range(len(x))]
    ids[0] = names[order[7]]  # the id of another frame
    moved = extend(old, stored(tmp_path / "3", x[order], [names[row] for row in order], ids))
    by_name = dict(zip(names, straight.table["kept"].to_pylist(), strict=True))
    assert moved.table["kept"].to_pylist() == [by_name[names[row]] for row in order]


def test_copies_of_one_content_are_paired_one_by_one(tmp_path, extend):
    x, names, _ = world(40, 40)
    x[1] = x[2] = x[0]
    names[1] = names[2] = names[0]
    ids = [f"i{row}" for row in range(40)]
    old = Dedup(eta=0.999).select(stored(tmp_path / "1", x[1:], names[1:], ids[1:]))
    selection = extend(old, stored(tmp_path / "2", x, names, ids))
    assert [reasons(selection)[name] for name in ids[:3]].count(None) == 1
    assert [reasons(selection)[name] for name in ids[1:3]] == [reasons(old)[name] for name in ids[1:3]]


def test_without_digests_ids_join(tmp_path, extend):
    x, names, rows = world()
    old = Dedup(eta=ETA).select(stored(tmp_path / "1", x[rows], [names[row] for row in rows], digests=False))
    with_digests = Dedup(eta=ETA).select(stored(tmp_path / "2", x[rows], [names[row] for row in rows]))
    grown = stored(tmp_path / "3", x, names)
    assert extend(old, grown).table.equals(extend(with_digests, grown).table)
    arrays = extend(Dedup(eta=ETA).select(x[:260]), x)  # plain arrays: rows are their numbers
    assert arrays.ids == [str(row) for row in range(300)]


def test_where_a_kept_row_is_gone_the_next_best_takes_its_place(tmp_path, extend):
    x, names, _ = world()
    old = Dedup(eta=ETA).select(stored(tmp_path / "1", x, names))
    counts = old.table["duplicate_of"].value_counts().to_pylist()
    gone = max((row for row in counts if row["values"]), key=lambda row: row["counts"])["values"]
    left = [row for row, name in enumerate(names) if name != gone]
    selection = extend(old, stored(tmp_path / "2", x[left], [names[row] for row in left]))
    freed = {row["id"] for row in old.table.to_pylist() if row["duplicate_of"] == gone}
    before = {name: reason for name, reason in reasons(old).items() if name not in freed}
    (order,) = expected_groups(x[left], "pool", "closest", None)[0]
    kept, _ = by_hand(x[left], [names[row] for row in left], before, order, ETA)
    assert selection.table["kept"].to_pylist() == kept.tolist()
    assert set(selection.kept) - set(old.kept) <= freed
    assert set(selection.kept) - set(old.kept), "one of them is kept now"
    assert "1 frame is gone" in selection.notes[0]
    assert "that had gone are kept now" in selection.notes[0]


@pytest.mark.parametrize("then", ["random", "cover", "k-centre"])
def test_what_was_drawn_is_drawn_again_for_the_new_rows(then, tmp_path, extend):
    x, names, rows = world(600, 500, spread=0.4)
    old = Dedup(0.05, eta=ETA, then=then).select(stored(tmp_path / "1", x[rows], [names[row] for row in rows]))
    assert len(old.kept) == 25
    selection = extend(old, stored(tmp_path / "2", x, names))
    assert len(selection.kept) == 30
    assert set(old.kept) < set(selection.kept)
    cosine, kept = oracle.cosines(x), selection.table["kept"].to_numpy()
    for row, line in enumerate(selection.table.to_pylist()):
        if not line["kept"]:
            assert line["nearest_similarity"] == np.float32(cosine[row, kept].max())
            if line["reason"] == "near-duplicate":
                assert line["similarity"] > ETA
                assert reasons(selection)[line["duplicate_of"]] in (None, "not-selected")


def test_a_retention_that_eta_met_follows(tmp_path, extend):
    x, names, rows = world()
    old = MedDEL(retention=0.3, scope="pool", epsilon=None).select(
        stored(tmp_path / "1", x[rows], [names[row] for row in rows])
    )
    selection = extend(old, stored(tmp_path / "2", x, names))
    assert selection.eta == old.eta
    assert any("a retention of 0.3 was asked for and is now" in note for note in selection.notes)


def test_in_clusters_new_rows_join_the_nearest_centroid(tmp_path, extend):
    x, names, rows = world()
    old = MedDEL(eta=ETA, n_clusters=6, epsilon=0.75).select(
        stored(tmp_path / "1", x[rows], [names[row] for row in rows])
    )
    selection = extend(old, stored(tmp_path / "2", x, names))
    assert selection.summary.outliers > old.summary.outliers
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    table = selection.table.to_pylist()
    old_label = {row["id"]: row["cluster"] for row in old.table.to_pylist()}
    label = np.array([row["cluster"] for row in table])
    known = np.array([name in old_label for name in names])
    means = np.stack([unit[known & (label == c)].sum(axis=0) for c in range(6)])
    nearest = oracle.cosines(x, means)
    assert label[~known].tolist() == nearest[~known].argmax(axis=1).tolist()
    assert [row["cluster"] for row in table if row["id"] in old_label] == [
        old_label[name] for name in names if name in old_label
    ]
    far = oracle.distances(nearest.max(axis=1))
    cosine = oracle.cosines(x)
    kept = np.array([row["kept"] for row in table])
    for row in np.flatnonzero(~known):
        assert (table[row]["reason"] == "outlier") == (np.float32(far[row]) > np.float32(0.75))
        if table[row]["reason"] == "near-duplicate":
            mates = kept & (label == label[row])
            assert table[row]["similarity"] == np.float32(cosine[row, mates].max())
            assert table[row]["similarity"] > ETA
        elif kept[row]:
            old_kept = kept & known & (label == label[row])
            assert not (cosine[row, old_kept] > ETA).any()


def test_what_cannot_be_extended_is_refused(tmp_path, extend):
    x, names, rows = world()
    store = stored(tmp_path / "1", x[rows], [names[row] for row in rows])
    grown = stored(tmp_path / "2", x, names)
    with pytest.raises(InvalidArgument, match="'random' cannot be extended"):
        extend(Random(0.3).select(store), grown)
    for other in (MedDEL(eta=ETA, rule="semdedup"), MedDEL(eta=ETA, max_iterations=3)):
        with pytest.raises(InvalidArgument, match="semdedup, or of several iterations"):
            extend(other.select(store), grown)
    with pytest.raises(Mismatch, match="another encoder"):
        extend(Dedup(eta=ETA).select(store), stored(tmp_path / "3", x, names, encoder="other"))
    with pytest.raises(Mismatch, match="none of the 300 rows"):
        extend(Dedup(eta=ETA).select(store), stored(tmp_path / "4", x, [f"x{name}" for name in names]))
    numbered = StoreWriter.begin(tmp_path / "5", {"encoder": "e", "pool": None}, {"pool": "p", "encoder": "e"})
    numbered.write(Shard(0, 0, [str(row) for row in range(8)], [None] * 8, x[:8].astype("f4")))
    store = numbered.finish(dim=x.shape[1], row_ids=True)
    with pytest.raises(Mismatch, match="row numbers, which change as a pool grows"):
        extend(Dedup(eta=ETA).select(store), store)


def test_beside_a_reference_set_what_is_new_is_compared_with_it_too(tmp_path, extend):
    """Who is in-reference: who was, and every new row with a cosine above the threshold, in float64."""
    x, names, rows = world(spread=0.35)
    rng = np.random.default_rng(7)
    new = np.setdiff1d(np.arange(300), rows)
    beside = x[[*rows[:4], *new[:4]]] + 0.02 * rng.standard_normal((8, x.shape[1])).astype(np.float32)
    unit = (beside / np.linalg.norm(beside, axis=1, keepdims=True)).astype(np.float32)
    reference = stored(tmp_path / "r", unit, [f"test/{row}" for row in range(8)])
    first = stored(tmp_path / "1", x[rows], [names[row] for row in rows])
    (tmp_path / "2").mkdir()
    left = np.delete(np.arange(300), rows[[0, 50]])  # some are gone, one of them in reach
    grown = stored(tmp_path / "2", x[left], [names[row] for row in left])
    to_it = oracle.cosines(x[left], unit)
    expected = to_it.max(axis=1) > oracle.grid(0.95)
    for selector in (Dedup(eta=ETA), Dedup(0.1, eta=ETA, then="random"), MedDEL(eta=ETA, n_clusters=6, epsilon=0.8)):
        old = selector.select(first, reference=reference, reference_eta=0.95)
        selection = extend(old, grown)
        table = selection.table.to_pylist()
        assert [line["reason"] == "in-reference" for line in table] == expected.tolist()
        assert old.summary.in_reference - 1 < selection.summary.in_reference
        for row in np.flatnonzero(expected):
            line = table[row]
            assert line["in_reference"] == f"test/{to_it[row].argmax()}"
            assert line["reference_similarity"] == np.float32(to_it[row].max())
            assert {line[name] for name in ("kept", "duplicate_of", "cluster", "distance")} == {False, None}
        # The others are judged as if those in reach were not there.
        out = [row for row in range(len(left)) if not expected[row]]
        was = [place for place, reason in enumerate(old.table["reason"].to_pylist()) if reason != "in-reference"]
        without = selector.select(
            stored(tmp_path / f"{len(old.kept)}-1", x[rows[was]], [names[row] for row in rows[was]])
        )
        if old.settings["retention"] is None:
            alone = extend(
                without, stored(tmp_path / f"{len(old.kept)}-2", x[left[out]], [names[left[r]] for r in out])
            )
            assert alone.kept == selection.kept
        assert selection.summary.pool == 298
        assert f"{expected.sum()} frames look like one of the reference, and go" in selection.notes[-1]
        selection.save(tmp_path / "s")
        again = Selection.load(tmp_path / "s")
        assert again.table.equals(selection.table)
        assert (again.origin.reference, again.origin.reference_spec) == (old.origin.reference, str(tmp_path / "r"))
        assert extend(again, grown).table.equals(selection.table)


def test_the_reference_set_of_an_extended_selection_is_the_old_one(tmp_path, extend):
    x, names, rows = world()
    reference = stored(tmp_path / "r", x[:3], ["t/0", "t/1", "t/2"])
    other = stored(tmp_path / "o", x[:4], ["t/0", "t/1", "t/2", "t/3"])
    first = stored(tmp_path / "1", x[rows], [names[row] for row in rows])
    grown = stored(tmp_path / "2", x, names)
    old = Dedup(eta=ETA).select(first, reference=reference, reference_eta=0.95)
    with pytest.raises(Mismatch, match="another than the old selection's"):
        extend(old, grown, reference=other)
    with pytest.raises(InvalidArgument, match="made without a reference set"):
        extend(Dedup(eta=ETA).select(first), grown, reference=reference)
    straight = extend(old, grown)
    (tmp_path / "r").rename(tmp_path / "moved")
    with pytest.raises(InvalidArgument, match=r"not at hand \(.*r is no folder\): give it"):
        extend(old, grown)
    assert extend(old, first).table.equals(old.table), "nothing is new, so that nothing is compared"
    moved = extend(old, grown, reference=tmp_path / "moved")
    assert moved.table.equals(straight.table)
    assert moved.origin.reference_spec == str(tmp_path / "moved")
    arrays = Dedup(eta=ETA).select(x[:260], reference=x[:3], reference_eta=0.95)
    with pytest.raises(InvalidArgument, match="not at hand: give it"):
        extend(arrays, x)
    assert extend(arrays, x, reference=x[:3]).summary.in_reference >= 3

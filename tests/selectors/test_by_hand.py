"""A person has the last word: for every selector, against all cosines in float64."""

from __future__ import annotations

import numpy as np
import oracle
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stores import IDS, UNREADABLE, options, pool, stored

from meddel_hf import Dedup, MedDEL, Selection
from meddel_hf.errors import InvalidArgument, InvalidDataset, Mismatch
from meddel_hf.selection.card import how_chosen
from meddel_hf.selectors import Random, registry
from meddel_hf.selectors.by_hand import Overrides
from meddel_hf.selectors.extending import extend
from meddel_hf.selectors.measured import measured

KEEP, NEVER = [IDS[3], IDS[11], IDS[12]], [IDS[20], IDS[2]]
NAMES = [name for name in registry.names() if name != "retrieval"]


@pytest.fixture
def store(tmp_path):
    return stored(tmp_path / "store", pool())


def rows_of(selection: Selection) -> dict[str, dict]:
    return {row["id"]: row for row in selection.table.to_pylist()}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_marked_is_so_and_the_retention_is_met(store, name, tmp_path):
    selector = registry.make(name, retention=0.4, seed=1, **options(name))
    selection = selector.select(store, pool=pool(), overrides=Overrides(KEEP, NEVER))
    rows = rows_of(selection)
    assert len(selection.kept) == 12
    assert set(KEEP) <= set(selection.kept)
    assert all(rows[id]["reason"] == "set-aside" and rows[id]["by_hand"] == "never" for id in NEVER)
    assert {id for id, row in rows.items() if row["by_hand"] == "keep"} == set(KEEP)
    assert {id for id, row in rows.items() if row["reason"] == "unreadable"} == {IDS[row] for row in UNREADABLE}
    assert selection.settings["retention"] == 0.4
    assert selection.summary.set_aside == 2
    assert "2 set aside by hand" in how_chosen(selection)
    assert selection.why(KEEP[0]).startswith(f"{KEEP[0]} is kept, by hand")
    assert selection.why(NEVER[0]) == f"{NEVER[0]} is dropped: set aside by hand"
    again = Selection.load(selection.save(tmp_path / "s"))
    assert again.table.equals(selection.table)
    assert again.fingerprint == selection.fingerprint
    other = selector.select(store, pool=pool(), overrides=Overrides(KEEP, [*NEVER, IDS[25]]))
    assert other.fingerprint != selection.fingerprint


@pytest.mark.parametrize("make", [lambda eta: Dedup(eta=eta), lambda eta: MedDEL(eta=eta, scope="pool", epsilon=None)])
def test_near_duplicates_of_what_is_always_kept_go_for_it(store, make):
    """By brute force: marked rows stay, whatever lies near; of the others the greedy rule, after those near a mark."""
    eta = 0.93
    selection = make(eta).select(store, overrides=Overrides(KEEP, NEVER))
    cosine = oracle.cosines(store.embeddings)
    place = {store.pool_ids[row]: at for at, row in enumerate(store.rows)}
    marked, never = [place[id] for id in KEEP], [place[id] for id in NEVER]
    others = [at for at in range(27) if at not in marked and at not in never]
    near = {
        at: marked[int(cosine[at, marked].argmax())] for at in others if (cosine[at, marked] > oracle.grid(eta)).any()
    }
    assert near  # else this shows nothing
    rows = rows_of(selection)
    for at, of in near.items():
        row = rows[store.pool_ids[store.rows[at]]]
        assert row["reason"] == "near-duplicate"
        assert row["duplicate_of"] == store.pool_ids[store.rows[of]]
        assert row["similarity"] == np.float32(cosine[at, of])
    left = [at for at in others if at not in near]
    direction = store.embeddings[left].astype(np.float64).mean(axis=0)
    order = np.array(sorted(left, key=lambda at: -(store.embeddings[at].astype(np.float64) @ direction)))
    kept = oracle.greedy(cosine, [order], eta)
    assert {store.pool_ids[store.rows[at]] for at in np.flatnonzero(kept)} | set(KEEP) == set(selection.kept)
    for id in selection.kept:
        assert rows[id]["duplicate_of"] is None


def test_the_nearest_kept_frame_may_be_one_that_was_marked(store):
    selection = measured(Random(0.2).select(store, overrides=Overrides(KEEP, NEVER)), store)
    cosine = oracle.cosines(store.embeddings)
    place = {store.pool_ids[row]: at for at, row in enumerate(store.rows)}
    kept = [place[id] for id in selection.kept]
    named = [row for row in selection.table.to_pylist() if row["nearest_kept"] is not None]
    assert len(named) == 27 - len(kept) - len(NEVER)
    for row in named:
        at = place[row["id"]]
        assert place[row["nearest_kept"]] == kept[int(cosine[at, kept].argmax())]
    assert {row["nearest_kept"] for row in named} & set(KEEP)


def test_a_person_decides_beside_a_reference_set_too(store, tmp_path):
    """Two rows look like frames of the reference; one of them is always kept all the same."""
    x = oracle.clumps(30, 6, seed=2, spread=0.4)
    away = -np.abs(x) * np.sign(x.mean(axis=0))
    away[[5, 11]] = x[[5, 11]]
    reference = stored(tmp_path / "reference", pool().map(lambda row: {"id": "t" + row["id"]}), away)
    alone = Random(0.2).select(store, reference=reference, reference_eta=0.9999)
    assert {id for id, row in rows_of(alone).items() if row["reason"] == "in-reference"} == {IDS[5], IDS[11]}
    selection = Random(0.2).select(store, reference=reference, reference_eta=0.9999, overrides=Overrides(KEEP, NEVER))
    rows = rows_of(selection)
    assert rows[IDS[5]]["reason"] == "in-reference"
    assert rows[IDS[5]]["in_reference"] == "t" + IDS[5]
    assert IDS[11] in KEEP
    assert set(KEEP) <= set(selection.kept)
    assert len(selection.kept) == 6


def test_marks_of_another_pool_of_no_pool_and_both_at_once_are_told(store):
    with pytest.raises(Mismatch, match=r"none of the 2 marked frames .* is in the pool"):
        Random(0.2).select(store, overrides=Overrides(["a"], ["b"]))
    selection = Random(0.2).select(store, overrides=Overrides([KEEP[0], "gone", IDS[7]]))
    assert "1 marked frame is not in the pool: gone" in selection.notes[1]
    assert f"1 frame that is always kept cannot be read, and goes: {IDS[7]}" in selection.notes[2]
    with pytest.raises(InvalidArgument, match="both as always and as never kept"):
        Overrides(["a"], ["a"])
    with pytest.raises(InvalidArgument, match="must be a list of ids"):
        Overrides("abc")
    with pytest.raises(InvalidArgument, match=r"3 frames are always kept, and retention 0.1 of 30 asks for 3"):
        Random(0.1).select(store, overrides=Overrides(KEEP))


def test_a_selection_that_was_decided_by_hand_is_not_extended(store):
    with pytest.raises(InvalidArgument, match=r"decided by hand.* the same --overrides"):
        extend(Dedup(eta=0.9).select(store, overrides=Overrides(KEEP)), store)


def test_no_marks_change_nothing(store):
    plain, marked = (
        Dedup(0.4, eta=0.99, then="random").select(store),
        Dedup(0.4, eta=0.99, then="random").select(store, overrides=Overrides()),
    )
    assert marked.kept == plain.kept


def test_marks_are_read_from_parquet_and_csv(tmp_path):
    marks = Overrides(["=b", "é,\n"], ["c"])
    assert Overrides.read(marks.save(tmp_path / "m.parquet")) == marks
    assert pq.read_table(tmp_path / "m.parquet").column_names == ["id", "mark"]
    (tmp_path / "m.csv").write_text(
        '\ufeffmark,id,note\nkeep,=b,"said, so"\nnever ,c,\nkeep,"é,\n",\n', encoding="utf-8"
    )
    assert Overrides.read(tmp_path / "m.csv") == marks
    (tmp_path / "bad.csv").write_text("id,mark\na,maybe\n")
    with pytest.raises(InvalidDataset, match="the mark of a, row 1, is 'maybe': write keep or never"):
        Overrides.read(tmp_path / "bad.csv")
    (tmp_path / "short.csv").write_text("mark,id\nkeep\nnever,c\n")
    assert Overrides.read(tmp_path / "short.csv") == Overrides([""], ["c"])
    (tmp_path / "latin.csv").write_bytes("id,mark\né,keep\n".encode("latin-1"))
    assert Overrides.read(tmp_path / "latin.csv") == Overrides(["é"])
    (tmp_path / "semi.csv").write_text(" Mark;ID;note\r\nKeep;a;x\r\nNEVER;c;\r\n", encoding="utf-8-sig")
    assert Overrides.read(tmp_path / "semi.csv") == Overrides(["a"], ["c"])
    (tmp_path / "tabs.TSV").write_text("id\tmark\na\tkeep\n")
    assert Overrides.read(tmp_path / "tabs.TSV") == Overrides(["a"])
    (tmp_path / "lines.jsonl").write_text('{"id": 7, "mark": "never"}\n')
    assert Overrides.read(tmp_path / "lines.jsonl") == Overrides([], ["7"])
    (tmp_path / "both.csv").write_text("id,Id,mark\na,b,keep\n")
    with pytest.raises(InvalidDataset, match=r"two columns for id, 'id' and 'Id': leave one"):
        Overrides.read(tmp_path / "both.csv")
    (tmp_path / "none.csv").write_text("name,mark\na,keep\n")
    with pytest.raises(InvalidDataset, match="has no column 'id': needed are id and mark, and it has name, mark"):
        Overrides.read(tmp_path / "none.csv")
    pq.write_table(pa.table({"id": ["a", "a"], "mark": ["keep", "never"]}), tmp_path / "both.parquet")
    with pytest.raises(InvalidArgument, match="a is marked both"):
        Overrides.read(tmp_path / "both.parquet")


def test_a_file_of_marks_that_is_not_there(tmp_path):
    (tmp_path / "overrides.csv").write_text("id,mark\n")
    for name in ("overides.csv", "overides.parquet"):
        with pytest.raises(InvalidDataset, match=rf"{name} does not exist: expected a table of marks.*'overrides.csv'"):
            Random(0.5).select(oracle.noise(9, 4), overrides=tmp_path / name)

"""Dedup in two steps: each worked out again in float64, with plain loops."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import numpy as np
import oracle
import pytest
from datasets import Dataset, Features, Image, Value
from groups import expected_groups
from stores import of_many_rows, stored
from tiny import textured, tiny_encoder

import meddel_hf.dedup.larger_than_memory as larger
from meddel_hf import Dedup, MedDEL, Selection, embed
from meddel_hf.dedup.graph import NearDuplicateGraph, SecondStep
from meddel_hf.dedup.scratch import Scratch
from meddel_hf.embedding.remainder import Remainder
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidArgument, InvalidDataset
from meddel_hf.neighbors.stored_pairs import Pairs
from meddel_hf.selectors.by_hand import Overrides
from meddel_hf.selectors.filling import RULES

ETA = 0.9


def first_step(x: np.ndarray, eta: float):
    """(cosines, keep order, who stays) of the greedy rule over the whole pool, those closest to the mean first."""
    cosine = oracle.cosines(x)
    (order,) = expected_groups(x, "pool", "closest", None)[0]
    return cosine, order, oracle.greedy(cosine, [order], eta)


def pool(n: int) -> Dataset:
    centers = ["big"] * (n - n // 5 - 3) + ["small"] * (n // 5) + ["tiny"] * 3
    labels = ["polyp" if row % 4 == 0 else None for row in range(n)]
    return Dataset.from_dict({"id": [str(row) for row in range(n)], "center": centers, "label": labels})


@pytest.mark.parametrize("name", oracle.INPUTS)
def test_near_duplicates_alone(name):
    x = oracle.INPUTS[name]()
    for eta in (0.5, 0.8):
        cosine, order, stays = first_step(x, eta)
        table = Dedup(eta=eta).select(x).table
        where, value = oracle.nearest_kept(cosine, [order], stays)
        assert table["kept"].to_pylist() == stays.tolist()
        assert table["reason"].to_pylist() == [None if kept else "near-duplicate" for kept in stays]
        assert table["duplicate_of"].to_pylist() == [
            None if kept else str(of) for kept, of in zip(stays, where, strict=True)
        ]
        assert np.array_equal(table["similarity"].to_numpy()[~stays], value[~stays].astype("f4"))
        assert table.column_names[-1] == "distance", "nothing was left out, so nobody asks for the nearest kept frame"


@pytest.mark.parametrize("then", ["random", "stratified", "meddel", "k-centre"])
def test_what_is_left_out_is_no_near_duplicate_and_names_the_nearest_kept_frame(then):
    x = oracle.clumps(400, 8, seed=3, spread=0.2)
    cosine, _, stays = first_step(x, ETA)
    assert 60 < stays.sum() < 300
    selection = Dedup(0.1, eta=ETA, then=then).select(x)
    rows = selection.table.to_pylist()
    kept = np.array([row["kept"] for row in rows])
    assert kept.sum() == 40
    assert not (kept & ~stays).any()
    for number, row in enumerate(rows):
        if kept[number]:
            assert (row["reason"], row["nearest_kept"], row["nearest_similarity"]) == (None, None, None)
            continue
        assert row["reason"] == ("not-selected" if stays[number] else "near-duplicate")
        assert (row["duplicate_of"] is None) == stays[number]
        best = cosine[number][kept].max()
        assert row["nearest_similarity"] == best.astype("f4")
        assert cosine[number, int(row["nearest_kept"])] == best
        sentence = selection.why(row["id"])
        assert ("near-duplicate of" in sentence) != stays[number]
        assert row["nearest_kept"] in sentence
    assert selection.summary.not_selected == stays.sum() - 40
    assert selection.summary.near_duplicates == (~stays).sum()
    assert "coverage" not in str(selection.summary)


@pytest.mark.parametrize("retention", [0.05, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("then", [*RULES][:2])
def test_a_retention_is_met_exactly_on_both_sides_of_the_first_step(retention, then):
    x = oracle.clumps(200, 8, seed=5, spread=0.2)
    cosine, order, stays = first_step(x, ETA)
    selection = Dedup(retention, eta=ETA, then=then, seed=4).select(x)
    kept = selection.table["kept"].to_numpy()
    assert kept.sum() == round(200 * retention)
    if kept.sum() > stays.sum():
        assert set(np.flatnonzero(stays)) <= set(np.flatnonzero(kept))
        _, value = oracle.nearest_kept(cosine, [order], stays)
        assert value[kept & ~stays].max() <= value[~kept].min(initial=2), (
            "those least similar to what is kept come back"
        )


def test_frames_of_one_scene_are_drawn_one_first():
    """b is near a and c, which are not near each other: where a and c stay, b tells that they are of one scene."""
    rng = np.random.default_rng(0)
    middle, side = rng.standard_normal((2, 40, 64))
    side -= middle * ((side * middle).sum(axis=1) / (middle**2).sum(axis=1))[:, None]
    side *= 0.45 * np.linalg.norm(middle, axis=1, keepdims=True) / np.linalg.norm(side, axis=1, keepdims=True)
    x = np.concatenate([middle, middle + side, middle - side]).astype("f4")
    cosine, eta = oracle.cosines(x), 0.88
    for k in range(40):
        assert cosine[k, 40 + k] > eta > cosine[40 + k, 80 + k]

    def scenes(ids) -> int:
        return len({int(id) % 40 for id in ids})

    stay = Dedup(eta=eta, keep="farthest").select(x).kept
    assert len(stay) > scenes(stay) == 40
    for seed in range(3):
        for rows in (40, len(stay) - 1):
            kept = Dedup(rows / 120, eta=eta, then="random", keep="farthest", seed=seed).select(x).kept
            assert set(kept) < set(stay)
            assert (len(kept), scenes(kept)) == (rows, 40)


def test_a_lower_retention_of_a_random_draw_is_a_part_of_a_higher_one():
    x = oracle.clumps(400, 8, seed=3, spread=0.2)
    ladder = [set(Dedup(share, eta=ETA, then="random", seed=4).select(x).kept) for share in (0.02, 0.05, 0.1, 0.12)]
    assert all(fewer < more for fewer, more in pairwise(ladder))


def test_the_rule_is_algorithm_1_among_the_distinct_rows():
    x = oracle.noise(300, 16)
    assert first_step(x, ETA)[2].all()  # all are distinct, and Algorithm 1 chooses among all
    selection = Dedup(0.1, eta=ETA, seed=5).select(x)
    assert selection.settings["then"] == "meddel"
    assert selection.kept == MedDEL(retention=0.1, subtract_mean=True, epsilon=None, seed=5).select(x).kept


def test_strata_keep_their_shares_and_seeds_differ():
    x, data = oracle.noise(300, 16), pool(300)
    assert first_step(x, ETA)[2].all()
    counts = []
    for seed in range(3):
        kept = Dedup(0.1, eta=ETA, then="stratified", seed=seed).select(x, pool=data).kept
        counts.append([sum(data["center"][int(id)] == c for id in kept) for c in ("big", "small", "tiny")])
    assert counts == [[24, 5, 1]] * 3 or counts == [[23, 6, 1]] * 3  # 237, 60 and 3 of 300, at a tenth
    assert (
        len({tuple(Dedup(0.1, eta=ETA, then="stratified", seed=seed).select(x, pool=data).kept) for seed in range(3)})
        == 3
    )
    by_label = Dedup(0.1, eta=ETA, then="stratified", by="label").select(x, pool=data).kept
    assert sum(data["label"][int(id)] == "polyp" for id in by_label) in (7, 8)


def test_shares_per_value():
    x, data = oracle.noise(300, 16), pool(300)
    for shares, expected in (("equal", [14, 13, 3]), ("root", [19, 9, 2]), ("proportional", [24, 6, 0])):
        kept = Dedup(0.1, eta=ETA, then="random", per="center", shares=shares).select(x, pool=data).kept
        counts = [sum(data["center"][int(id)] == c for id in kept) for c in ("big", "small", "tiny")]
        assert sum(counts) == 30
        assert np.abs(np.array(counts) - expected).max() <= 1, (shares, counts)


def test_floors_hold_and_the_retention_stays():
    x, data = oracle.noise(300, 16), pool(300)
    for seed in range(5):
        selection = Dedup(0.1, eta=ETA, then="random", seed=seed, min_per={"center": 5, "label": 12}).select(
            x, pool=data
        )
        kept = [int(id) for id in selection.kept]
        assert len(kept) == 30
        assert sum(data["center"][row] == "small" for row in kept) >= 5
        assert sum(data["center"][row] == "tiny" for row in kept) == 3, "all that there are"
        assert sum(data["label"][row] == "polyp" for row in kept) >= 12
    assert any("tiny (3) have fewer than 5 distinct frames" in note for note in selection.notes)
    with pytest.raises(InvalidArgument, match=r"the floors \(12 per center\) need 27 rows, 12 more than the 15 that"):
        Dedup(0.05, eta=ETA, then="random", min_per={"center": 12}).select(x, pool=data)
    with pytest.raises(InvalidDataset, match=r"the pool has no column 'site' .*; it has center, label"):
        Dedup(0.1, eta=ETA, min_per={"site": 1}).select(x, pool=data)


def test_a_centre_may_be_called_what_rows_without_one_were_called():
    x = oracle.noise(300, 16)
    centers = ["big"] * 240 + ["(none)"] * 30 + [None] * 30
    data = Dataset.from_dict({"id": [str(row) for row in range(300)], "center": centers})

    def counts(**options) -> list[int]:
        kept = [centers[int(id)] for id in Dedup(0.1, eta=ETA, then="random", **options).select(x, pool=data).kept]
        return [kept.count(name) for name in ("big", "(none)", None)]

    assert counts(min_per={"center": 12})[1] == 12
    assert counts(per="center") == [10, 10, 10]
    kept = Dedup(0.1, eta=ETA, then="stratified").select(x, pool=data).kept
    assert [sum(centers[int(id)] == name for id in kept) for name in ("big", "(none)", None)] == [24, 3, 3]


def test_shares_hold_whichever_frames_share_scenes():
    """Centre a is ten scenes of six frames, just too far apart to be near-duplicates; b is 60 singles."""
    rng = np.random.default_rng(1)
    middle = rng.standard_normal((10, 1, 64))
    sides = rng.standard_normal((10, 6, 64))
    sides -= middle * ((sides * middle).sum(axis=2, keepdims=True) / (middle**2).sum(axis=2, keepdims=True))
    sides *= 0.45 * np.linalg.norm(middle, axis=2, keepdims=True) / np.linalg.norm(sides, axis=2, keepdims=True)
    x = np.concatenate([middle[:, 0], (middle + sides).reshape(60, 64), rng.standard_normal((60, 64))]).astype("f4")
    centers = ["a"] * 70 + ["b"] * 60
    data = Dataset.from_dict({"id": [str(row) for row in range(130)], "center": centers})
    whole = Dedup(eta=0.88, keep="farthest").select(x)
    left = [centers[int(id)] for id in whole.kept]
    assert left.count("a") > 40, "many of one scene stay"
    kept = Dedup(80 / 130, eta=0.88, keep="farthest", then="random", per="center").select(x, pool=data).kept
    assert [sum(centers[int(id)] == name for id in kept) for name in "ab"] == [40, 40]


def test_names_from_the_data_are_printable():
    x = oracle.noise(60, 16)
    data = Dataset.from_dict({"id": [str(row) for row in range(60)], "center": ["\x1b[31mred"] * 2 + ["a"] * 58})
    (note,) = Dedup(0.5, eta=ETA, then="random", min_per={"center": 3}).select(x, pool=data).notes
    assert note.startswith(r"center: '\x1b[31mred' (2) have fewer than 3 distinct frames")


def test_strata_that_are_not_there_are_told():
    x, data = oracle.noise(60, 16), Dataset.from_dict({"id": [str(row) for row in range(60)], "site": ["a", "b"] * 30})
    stratified = Dedup(0.5, eta=ETA, then="stratified")
    (note,) = stratified.select(x, pool=data).notes
    assert note == "rows were drawn without strata: the pool has no column center or source; --by names others"
    (note,) = stratified.select(x).notes
    assert "no pool is named: pass the data set that was embedded" in note
    for then in ("stratified", "random-stratified"):
        kept = Dedup(0.5, eta=ETA, then=then, by="site").select(x, pool=data).kept
        assert sum(data["site"][int(id)] == "a" for id in kept) == 15
        with pytest.raises(InvalidDataset, match="the pool has no column 'centre'"):
            Dedup(0.5, eta=ETA, then=then, by=["centre"]).select(x, pool=data)
    with pytest.raises(InvalidDataset, match=r"pool must be a datasets.Dataset, got dict: give one split"):
        stratified.select(x, pool={"train": data})


def test_options_that_change_nothing_are_refused_or_told():
    for options, sentence in (
        ({"then": "random"}, r"then \(--then\) is about what is drawn"), ({"per": "center"}, "per "),
        ({"by": "label"}, "by "), ({"shares": "root"}, "shares "), ({"min_per": {"center": 2}}, "min_per "),
    ):  # fmt: skip
        with pytest.raises(InvalidArgument, match=rf"^{sentence}.*give a retention \(--retention\), or leave it out"):
            Dedup(**options)
    with pytest.raises(
        InvalidArgument, match=r"by .* names the strata of the rule 'stratified', and the rule is 'auto'"
    ):
        Dedup(0.5, by="label")
    with pytest.raises(InvalidArgument, match=r"shares .* none is named"):
        Dedup(0.5, shares="root")
    x, data = oracle.noise(300, 16), pool(300)
    (note,) = Dedup(1.0, eta=ETA, min_per={"center": 5}, per="center").select(x, pool=data).notes
    assert note.endswith("keeps all frames that are no near-duplicates: per, min_per changed nothing")
    assert not Dedup(1.0, eta=ETA).select(x, pool=data).notes
    for options in ({"min_per": {"site": 5}}, {"per": "site"}, {"by": "site", "then": "stratified"}):
        with pytest.raises(InvalidDataset, match="the pool has no column 'site'"):
            Dedup(1.0, eta=ETA, **options).select(x, pool=data)
    empty = data.add_column("site", [None] * 300)
    for options in ({"min_per": {"site": 5}}, {"per": "site"}, {"by": "site", "then": "stratified"}):
        with pytest.raises(InvalidDataset, match="column 'site' of the pool is empty"):
            Dedup(0.1, eta=ETA, **options).select(x, pool=empty)
    with pytest.raises(InvalidArgument, match="a plain array has no poolings, got pooling='mean': leave it out"):
        Dedup(0.1, eta=ETA, pooling="mean").select(x)


def test_settings_can_be_compared_and_kept_in_sets():
    assert len({Dedup(0.5), Dedup(0.5), Dedup(0.4), Dedup(0.5, min_per={"center": 2})}) == 3
    assert Dedup(0.5, then="stratified", by=["a"]) in {Dedup(0.5, then="stratified", by=("a",))}
    frozen = MappingProxyType({"center": 1})
    assert Dedup(1.0, eta=ETA, min_per=frozen).select(oracle.noise(20, 8), pool=pool(20)).summary.kept == 20


def test_bad_settings_are_one_sentence():
    for options, sentence in (
        ({"eta": 2}, "eta must be 'auto' or a cosine"), ({"then": "magic"}, "then must be one of auto, random"),
        ({"then": "dedup"}, "then must be one of"), ({"shares": "half"}, "shares must be one of"),
        ({"min_per": {"center": 0}}, r"min_per\['center'\]"), ({"retention": 0}, "retention must"),
        ({"subtract_mean": "yes"}, "subtract_mean must be"), ({"pooling": "max"}, "pooling must be one of"),
        ({"subtract_mean": 1}, "subtract_mean must be 'auto', true or false, got 1"), ({"eta": "aut0"}, "got 'aut0'"),
        ({"eta": True}, "eta must be"), ({"eta": np.zeros(2)}, "eta must be"), ({"by": 3}, "by must name .* got 3"),
        ({"by": ()}, "by must name"), ({"by": ["a", 3]}, "by must name"), ({"per": 1}, "per must name .* got 1"),
        ({"max_per": {"video": 0}}, r"max_per\['video'\]"), ({"max_per": 3}, "max_per must say .* got 3"),
        ({"per": ""}, "per must name"), ({"min_per": 3}, "min_per must say .* got 3"), ({"min_per": None}, "min_per"),
        ({"min_per": {3: 1}}, "min_per must say"), ({"min_per": {"center": 2.5}}, "must be a whole number, got 2.5"),
        ({"then": 3}, "then must be one of"), ({"seed": "a"}, "seed must"), ({"retention": "half"}, "retention must"),
    ):  # fmt: skip
        with pytest.raises(InvalidArgument, match=sentence):
            Dedup(**options)
    with pytest.raises(InvalidArgument, match="a plain array does not have: give an eta, or an embedding store"):
        Dedup(0.5).select(oracle.noise(10, 4))


def test_a_store_without_calibration_says_what_to_do(tmp_path):
    data = Dataset.from_dict({"id": [f"frame/{row:02d}" for row in range(30)]})
    store = stored(tmp_path / "e", data)
    with pytest.raises(InvalidArgument, match="holds no mild copies of its frames: run its `meddel embed` again"):
        Dedup(0.5).select(store)
    assert Dedup(0.5, eta=0.99, then="random").select(store).summary.kept == 15


def again(selector: Dedup, retention: float, x, of) -> tuple[list, list]:
    """What stays, and why others go: looked up at another retention, and selected anew."""
    looked_up, anew = selector.select(x, pool=of).at(retention=retention), replace(selector, retention=retention)
    selected = anew.select(x, pool=of)
    assert looked_up.settings == selected.settings
    assert looked_up.fingerprint == selected.fingerprint
    columns = ["kept", "reason", "duplicate_of", "similarity"]
    return looked_up.table.select(columns).to_pylist(), selected.table.select(columns).to_pylist()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("more", [{}, {"max_per": {"label": 20}}], ids=["plain", "capped"])
def test_another_retention_is_looked_up_as_it_would_be_selected(seed, more):
    x = oracle.clumps(300, 12, spread=0.7, seed=seed)
    selector = Dedup(0.3, eta=ETA, seed=seed, **more)
    second = selector.select(x, pool=pool(300)).second
    cosine, order, stays = first_step(x, ETA)
    if not more:
        apart = {row for row in order if stays[row] and not shares_one(cosine, order, stays, row)}
        assert {row for group in second.graph.groups for row in group.tolist()} == apart
    for count in (second.fewest, 40, 77, second.most):
        looked_up, selected = again(selector, count / 300, x, pool(300))
        assert looked_up == selected
        assert sum(row["kept"] for row in looked_up) == count
    for count in (second.fewest - 1, second.most + 1):
        with pytest.raises(InvalidArgument, match=f"keeps {count} of 300 frames, and the stored pairs tell what"):
            selector.select(x, pool=pool(300)).at(retention=count / 300)


def shares_one(cosine: np.ndarray, order: np.ndarray, stays: np.ndarray, row: int) -> bool:
    """Whether a near-duplicate of a row that stays is also one of another that stays, earlier in keep order, and that
    shares none itself."""
    return row in _sharing(cosine, tuple(order.tolist()), tuple(stays.tolist()))


def _sharing(cosine: np.ndarray, order: tuple[int, ...], stays: tuple[bool, ...]) -> set[int]:
    taken: set[int] = set()
    sharing: set[int] = set()
    for row in order:
        if stays[row]:
            near = {other for other in order if not stays[other] and cosine[row, other] > ETA}
            if near & taken:
                sharing.add(row)
            else:
                taken |= near
    return sharing


@pytest.mark.parametrize(
    "more",
    [{"then": "random"}, {"then": "balanced"}, {"per": "center"}, {"min_per": {"center": 2}}, {"retention": 0.02}],
    ids=str,
)
def test_what_is_not_drawn_by_pairs_alone_is_not_looked_up(more):
    x = oracle.clumps(300, 12, spread=0.7)
    selection = Dedup(**{"retention": 0.3, "eta": ETA, **more}).select(x, pool=pool(300))
    assert selection.second is None
    with pytest.raises(InvalidArgument, match="needs the embeddings"):
        selection.at(retention=0.2)


def test_a_second_step_is_saved_and_found_again(tmp_path):
    x = oracle.clumps(300, 12, spread=0.7)
    selection = Dedup(0.3, eta=ETA).select(x)
    loaded = Selection.load(selection.save(tmp_path / "s"))
    other = loaded.at(retention=0.2)
    assert other.table.equals(selection.at(retention=0.2).table)
    assert Selection.load(other.save(tmp_path / "s")).at(retention=0.3).fingerprint == selection.fingerprint
    assert "nearest_kept" not in other.table.column_names
    gone = other.table.filter(other.table["reason"].to_numpy(zero_copy_only=False) == "near-duplicate").to_pylist()
    drawn = set(other.kept)
    for row in gone:
        end = "which is kept" if row["duplicate_of"] in drawn else "which is not selected either"
        assert other.why(row["id"]).endswith(end)
    selection.at(eta=0.95).save(tmp_path / "s")
    assert not list((tmp_path / "s").glob("drawn-*")), "the first step alone draws nothing"


@pytest.mark.parametrize(
    "more", [{"min_per": {"label": 2, "center": 1}}, {"max_per": {"label": 9, "center": 20}}], ids=str
)
def test_floors_and_caps_in_any_order_are_found_again(more, tmp_path):
    x = oracle.clumps(300, 12, spread=0.7)
    selection = Dedup(0.1, eta=ETA, **more).select(x, pool=pool(300))
    loaded = Selection.load(selection.save(tmp_path / "s"))
    assert loaded.kept == selection.kept
    assert loaded.fingerprint == selection.fingerprint
    backwards = {name: dict(reversed(columns.items())) for name, columns in more.items()}
    assert Dedup(0.1, eta=ETA, **backwards).select(x, pool=pool(300)).fingerprint == selection.fingerprint


@pytest.mark.parametrize("floor", [0.2, 0.5, 0.7])
def test_what_the_stored_pairs_do_not_tell_is_said(floor):
    """Of a graph that holds pairs above a cosine alone, what can be told begins where that one keeps so many."""
    x = oracle.clumps(300, 12, spread=0.7)
    whole = Dedup(0.3, eta=ETA).select(x)
    pairs, groups = whole.second.graph.pairs, whole.second.graph.groups
    above = pairs.cosine > oracle.grid(floor)
    few = Pairs(pairs.first[above], pairs.second[above], pairs.cosine[above], floor)
    selection = replace(whole, second=SecondStep(NearDuplicateGraph(few, groups), whole.second.density))
    fewest, most = selection.second.fewest, selection.second.most
    rows = np.sort(np.concatenate(groups))
    unit = (x / np.linalg.norm(x, axis=1, keepdims=True))[rows]
    cosine = np.eye(300)
    cosine[np.ix_(rows, rows)] = oracle.cosines(unit - unit.mean(axis=0))
    assert fewest == max(whole.second.fewest, oracle.greedy(cosine, groups, floor).sum())
    told = f"the stored pairs tell what {fewest} to {most} would be: select again from the embeddings"
    nearly, answered = "so few that the stored pairs do not tell which: ask for more, or select again", []
    for count in range(whole.second.fewest, most + 1):
        if count >= fewest:
            with suppress(InvalidArgument):
                assert selection.at(retention=count / 300).kept == whole.at(retention=count / 300).kept
                answered.append(count)
        if count not in answered:
            with pytest.raises(InvalidArgument, match=told if count < fewest else nearly):
                selection.at(retention=count / 300)
    assert answered == list(range(answered[0], most + 1)), "but for some near the fewest, where the search looks below"
    assert len(answered) > (most - fewest) / 2


def test_beside_a_reference_and_by_hand(tmp_path):
    x = oracle.clumps(300, 12, spread=0.7)
    beside = Dedup(0.3, eta=ETA).select(x, reference=x[:9], reference_eta=0.95)
    anew = Dedup(0.2, eta=ETA).select(x, reference=x[:9], reference_eta=0.95)
    assert beside.at(retention=0.2).kept == anew.kept
    assert beside.at(retention=0.2).table["in_reference"].equals(anew.table["in_reference"])
    by_hand = Dedup(0.3, eta=ETA).select(x, overrides=Overrides(keep=["7"]))
    assert by_hand.second is None


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """(store, data set): 60 frames of two centres, ten of which stand twice."""
    folder = tmp_path_factory.mktemp("calibrated")
    images = []
    for row in range(60):
        file = io.BytesIO()
        textured(row % 50).save(file, "JPEG" if row >= 50 else "PNG")
        images.append(file.getvalue())
    features = Features({"id": Value("string"), "image": Image(decode=False), "center": Value("string")})
    data = Dataset.from_dict(
        {"id": [f"f/{row}" for row in range(60)], "image": images, "center": ["a"] * 45 + ["b"] * 15}, features=features
    )
    encoder = tiny_encoder(folder / "encoder")
    return embed(data, encoder, folder / "e", precision="float32", progress=False), data, encoder


def test_it_calibrates_itself_saves_and_answers_for_another_eta(calibrated, tmp_path):
    store, data, _ = calibrated
    selection = Dedup(0.2, then="stratified").select(store, pool=data)
    assert selection.summary.near_duplicates == 10
    assert selection.settings["eta"] == "auto"
    again = Selection.load(selection.save(tmp_path / "s"))
    assert again.table.equals(selection.table)
    assert again.summary == selection.summary
    assert again.at(eta=0.9999).summary.near_duplicates <= 10
    assert "nearest_kept" not in again.at(eta=0.9999).table.column_names
    assert again.settings["then"] == "stratified"
    assert again.at(eta=0.9999).settings["then"] is None, "nothing is drawn"
    assert again.at(eta=np.float32(0.5)).table.equals(again.at(eta=0.5).table)
    with pytest.raises(InvalidArgument, match=r"needs the embeddings, .* Dedup\(0\.\d+\)\.select\(store\)"):
        again.at(retention=0.5)
    for eta in ("auto", 2, True, float("nan"), np.zeros(2)):
        with pytest.raises(InvalidArgument, match="eta must be from -1 to 1, got"):
            again.at(eta=eta)
    subset = selection.filter(data)
    assert subset["id"] == selection.kept
    center = np.array(data["center"])
    distinct = np.array([row["reason"] != "near-duplicate" for row in selection.table.to_pylist()])
    kept = selection.table["kept"].to_numpy()
    share = (center[distinct] == "b").mean()
    assert abs((center[kept] == "b").sum() - 12 * share) < 1, "each centre's share of the distinct frames"


def test_spaces_can_be_chosen(calibrated):
    store, _, _ = calibrated
    for pooling in ("cls", "mean"):
        assert (Remainder.of(store, np.array([3, 40])).pooled(pooling) == store.pooled(pooling)[[3, 40]]).all()
        for subtracted in (False, True):
            selection = Dedup(pooling=pooling, subtract_mean=subtracted).select(store)
            assert (selection.settings["pooling"], selection.settings["subtract_mean"]) == (pooling, subtracted)
            x = store.pooled(pooling).astype(np.float64)
            x = x - (x / np.linalg.norm(x, axis=1, keepdims=True)).mean(axis=0) if subtracted else x
            kept = first_step(x.astype("f4"), selection.eta)[2]
            assert abs(int(kept.sum()) - selection.summary.kept) <= 1


def test_filter_in_one_call(calibrated):
    _, data, encoder = calibrated
    assert len(Dedup(encoder=encoder).filter(data)) == 50
    with pytest.raises(InvalidArgument, match="say with which model"):
        Dedup().filter(data)


def test_meddel_takes_the_calibrated_threshold(calibrated):
    store, _, _ = calibrated
    selection = MedDEL(eta="auto", scope="pool", epsilon=None).select(store)
    assert selection.summary.near_duplicates == 10
    with pytest.raises(InvalidArgument, match="a plain array does not have"):
        MedDEL(eta="auto").select(oracle.noise(10, 4))


def test_a_large_pool_is_compared_inside_clusters_unless_one_says_otherwise(monkeypatch):
    x = oracle.clumps(400, 8, seed=3, spread=0.2)
    small = Dedup(0.1, eta=ETA).select(x)
    assert small.settings["scope"] == "pool"
    monkeypatch.setattr("meddel_hf.selectors.dedup._ALL_WITH_ALL", 399)
    large = Dedup(0.1, eta=ETA).select(x)
    assert "beyond 399 frames near-duplicates are sought inside clusters" in large.notes[0]
    assert large.table.equals(Dedup(0.1, eta=ETA, scope="cluster").select(x).table)
    assert large.settings == Dedup(0.1, eta=ETA, scope="cluster").select(x).settings
    assert Dedup(0.1, eta=ETA, scope="pool").select(x).table.equals(small.table)


def test_the_nearest_kept_frames_of_many_are_not_named_inside_clusters(monkeypatch):
    x = oracle.clumps(400, 8, seed=3, spread=0.2)
    named, in_pool = Dedup(0.1, eta=ETA, scope="cluster").select(x), Dedup(0.1, eta=ETA).select(x)
    monkeypatch.setattr("meddel_hf.selectors.dedup._MOST_NEAREST", 360 * 40 - 1)
    assert Dedup(0.1, eta=ETA).select(x).table.equals(in_pool.table)  # where more is compared anyway
    selection = Dedup(0.1, eta=ETA, scope="cluster").select(x)
    without = [name for name in named.table.column_names if not name.startswith("nearest_")]
    assert selection.table.equals(named.table.select(without))
    gone = next(row["id"] for row in selection.table.to_pylist() if row["reason"] == "not-selected")
    assert "nearest" not in selection.why(gone)


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    return of_many_rows(tmp_path_factory.mktemp("many"))


@pytest.fixture
def only_in_parts(monkeypatch):
    """What is held in memory is so many bytes as are asked for, and no store is read as a whole."""
    monkeypatch.setattr(larger, "_PROGRAM", 0)
    for name in ("embeddings", "_mean"):
        monkeypatch.setattr(EmbeddingStore, name, property(lambda store: pytest.fail("read as a whole")))


CENTERS = Dataset.from_dict(
    {"id": [f"f/{row}" for row in range(5000)], "center": [f"c{row % 7 // 3}" for row in range(5000)]}
)


def same(parts: Selection, whole: Selection) -> None:
    assert parts.table.equals(whole.table)
    assert (parts.settings, parts.eta, parts.notes, parts.origin) == (
        whole.settings, whole.eta, whole.notes, whole.origin,
    )  # fmt: skip
    assert parts.density.stay.tobytes() + parts.density.pairs.tobytes() == (
        whole.density.stay.tobytes() + whole.density.pairs.tobytes()
    )
    assert parts.graph is None


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"retention": 0.4},  # more than are distinct
        {"retention": 0.05},
        {"retention": 0.01, "scope": "cluster", "keep": "random", "seed": 3},
        {"retention": 0.05, "subtract_mean": True, "keep": "farthest"},
        {"retention": 0.05, "then": "random"},
        {"retention": 0.05, "then": "stratified"},
        {"retention": 0.05, "per": "center", "min_per": {"center": 30}, "max_per": {"center": 200}},
    ],
    ids=str,
)
def test_a_pool_larger_than_memory_gets_the_same_rows(how, many, tmp_path, request):
    whole = Dedup(eta=0.8, **how).select(many, pool=CENTERS)
    request.getfixturevalue("only_in_parts")
    same(Dedup(eta=0.8, **how, memory="4.5MB", scratch=tmp_path).select(many, pool=CENTERS), whole)
    assert not list(tmp_path.iterdir())


def test_what_is_beside_a_selector_is_as_it_is_of_a_pool_in_memory(many, tmp_path, request):
    beside = {
        "reference": EmbeddingStore.load(many).embeddings[::500],
        "reference_eta": 0.9,
        "overrides": Overrides(keep=["f/1", "f/777"], never=["f/2", "f/4001"]),
    }
    whole = Dedup(0.05, eta=0.8).select(many, **beside)
    assert whole.summary.in_reference >= 10
    request.getfixturevalue("only_in_parts")
    same(Dedup(0.05, eta=0.8, memory="4.5MB", scratch=tmp_path).select(many, **beside), whole)


def test_a_rule_that_compares_all_at_once_needs_the_memory_for_it(many, tmp_path, request, monkeypatch):
    whole = Dedup(0.05, eta=0.8, then="balanced").select(many)
    request.getfixturevalue("only_in_parts")
    parts = Dedup(0.05, eta=0.8, then="balanced", memory="4.5MB", scratch=tmp_path).select(many)
    same(parts, whole)  # what is left after the first step fits
    with pytest.raises(InvalidArgument, match=r"4,950 embeddings of 64 numbers do not fit into 5 MB, .*then: meddel"):
        Dedup(0.9, eta=1.0, then="balanced", memory="4.5MB", scratch=tmp_path).select(many)
    with pytest.raises(InvalidArgument, match=r"4,950 embeddings of 64 numbers need 2 MB of memory, got 1 MB"):
        Dedup(eta=0.8, memory=900_000, scratch=tmp_path).select(many)
    monkeypatch.setattr(Scratch, "of", lambda *_: pytest.fail("begun"))
    with pytest.raises(
        InvalidArgument, match=r"need 5 MB of memory, got 4 MB: give so much; or ask MedDEL for fewer clusters"
    ):
        Dedup(0.05, eta=0.8, memory="4MB", scratch=tmp_path).select(many)  # the second step's, before the first
    with pytest.raises(InvalidArgument, match="memory must be a size such as 4GB"):
        Dedup(memory="a lot")


def test_a_calibrated_store_in_parts(calibrated, tmp_path, monkeypatch):
    store, data, _ = calibrated
    for name in ("_PROGRAM", "_LEAST_PIECE"):
        monkeypatch.setattr(larger, name, 0)
    monkeypatch.setattr(larger, "_OF_A_NUMBER", 10**4)
    for how in ({}, {"retention": 0.2}, {"pooling": "mean", "subtract_mean": False}):
        whole = Dedup(**how).select(store, pool=data)
        assert "look alike in their pixels" in whole.notes[0]
        same(Dedup(**how, memory=19_230_000, scratch=tmp_path).select(store, pool=data), whole)

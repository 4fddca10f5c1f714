"""The nearest kept frame of what any selector leaves out, against all cosines."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from stores import IDS, stored
from tiny import textured, tiny_encoder

from meddel_hf import Dedup, MedDEL, embed
from meddel_hf.cli import main
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.selection.measures import farthest
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors import measured as module
from meddel_hf.selectors.advice import advise
from meddel_hf.selectors.measured import measured
from meddel_hf.selectors.random import Random


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Of 40 frames, one of which cannot be read."""
    folder = tmp_path_factory.mktemp("measured")
    images = [textured(row) for row in range(40)]
    features = Features({"id": Value("string"), "image": Image()})
    data = Dataset.from_dict({"id": [f"f{row}" for row in range(40)], "image": images}, features=features)
    data = data.cast_column("image", Image(decode=False))
    data = data.map(lambda row: {"image": {"bytes": b"", "path": None}} if row["id"] == "f7" else row)
    return embed(data, tiny_encoder(folder / "encoder"), folder / "e", precision="float32", progress=False)


def cosines(store) -> np.ndarray:
    space = advise(store).threshold.space
    unit = store.pooled(space.pooling).astype(np.float64)
    if space.subtract_mean:
        unit = unit - unit.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return unit @ unit.T


@pytest.mark.parametrize("selector", [Random(0.2), MedDEL(retention=0.2, epsilon=None), Dedup(0.2)])
def test_the_nearest_kept_frame_of_each_that_goes(store, selector, tmp_path):
    plain = selector.select(store)
    selection = measured(plain, store)
    assert selection.fingerprint == plain.fingerprint
    assert selection.summary == plain.summary
    rows, cosine = selection.table.to_pylist(), cosines(store)
    place = {store.pool_ids[row]: at for at, row in enumerate(store.rows)}
    kept = [place[id] for id in selection.kept]
    for row in rows:
        if row["kept"] or row["id"] not in place:
            assert row["nearest_kept"] is row["nearest_similarity"] is None
        else:
            near = cosine[place[row["id"]]]
            assert row["nearest_similarity"] == pytest.approx(near[kept].max(), abs=1e-5)
            assert near[place[row["nearest_kept"]]] == pytest.approx(near[kept].max(), abs=1e-5)
    gone = [at for at in range(len(cosine)) if at not in kept]
    assert farthest(selection)[1] == pytest.approx(cosine[np.ix_(gone, kept)].max(axis=1).min(), abs=1e-5)
    assert Selection.load(selection.save(tmp_path / "s")).table.equals(selection.table)


def test_too_many_cosines_and_nothing_that_goes_are_left_alone(store, monkeypatch):
    selection = Random(0.2).select(store)
    monkeypatch.setattr(module, "_PAIRS", 10)
    assert measured(selection, store) is selection


def test_the_command_says_it_of_random_too(store, tmp_path, capsys):
    line = ["select", str(store.folder), "--selector", "random", "--retention", "0.2", "--no-pictures"]
    assert main([*line, "--out", str(tmp_path / "s")]) == 0
    id, value = farthest(measured(Random(0.2).select(store), store))
    out = capsys.readouterr().out
    assert f"farthest        {value:>12.4f}  ({id}, " in out
    (line,) = (line for line in out.splitlines() if line.startswith("effective"))
    unit = store.pooled("mean" if "mean" in store.poolings else store.poolings[0]).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    unit -= unit.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    kept = set(Random(0.2).select(store).kept)
    unit = unit[[store.pool_ids[row] in kept for row in store.rows]]
    share = np.linalg.eigvalsh(unit @ unit.T / len(unit))
    share = share[share > 1e-12]
    assert float(line.split()[1]) == pytest.approx(np.exp(-(share * np.log(share)).sum()), abs=0.051)


def test_diversity_reads_no_more_rows_than_it_needs(tmp_path, monkeypatch):
    """In blocks of two rows, and of some rows alone: the long way in float64, without what else a store has."""
    store = stored(tmp_path / "few", Dataset.from_dict({"id": IDS}))
    whole = store.embeddings.astype(np.float64)
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    centred = whole - whole.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    monkeypatch.setattr(EmbeddingStore, "embeddings", property(lambda store: pytest.fail("read as a whole")))
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    places = np.array([0, 3, 4, 20])
    np.testing.assert_allclose(module.directions(store, places), centred[places], atol=1e-6)
    np.testing.assert_allclose(module.directions(store), centred, atol=1e-6)
    share = np.linalg.eigvalsh(centred[places] @ centred[places].T / 4)
    share = share[share > 1e-12]
    assert module.effective_of(store, places) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-4)

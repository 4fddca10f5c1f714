"""The audit, on frames of which it is known which are copies, and how they were altered."""

from __future__ import annotations

import io
import json
import tempfile

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture
from PIL import ImageOps
from tiny import tiny_encoder

from meddel_hf import audit
from meddel_hf.cli import main
from meddel_hf.embedding.embed import embed
from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.overlap.audit import SCHEMA
from meddel_hf.overlap.sheet import draw_pairs
from meddel_hf.selectors.protocol import Readable

N = 90


def scene(seed: int) -> Picture.Image:
    """A picture with as much in it as a frame has: coarse colours, and finer ones."""
    rng = np.random.default_rng(seed)
    coarse, fine = (rng.integers(0, 256, (k, k + 1, 3), dtype=np.uint8) for k in (5, 14))
    layers = [Picture.fromarray(part).resize((120, 100), Picture.Resampling.BICUBIC) for part in (coarse, fine)]
    return Picture.blend(*layers, 0.5)


def jpeg(image: Picture.Image, quality: int) -> Picture.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Picture.open(file).convert("RGB")


ALTERED = {  # how -> (a copy of scene k, words that tell it)
    "jpeg": (lambda image: jpeg(image, 40), "as it is, but for size and compression"),
    "smaller": (lambda image: image.resize((66, 55)), "as it is, but for size and compression"),
    "moved": (lambda image: image.crop((9, 0, 120, 93)), "moved"),
    "mirrored": (ImageOps.mirror, "mirrored"),
    "darker": (lambda image: image.point(lambda value: int(value * 0.6)), "re-windowed"),
    "both": (lambda image: ImageOps.mirror(image.crop((9, 0, 120, 93))), "mirrored, moved"),
}


def dataset(images: dict[str, Picture.Image]) -> Dataset:
    def encoded(image: Picture.Image) -> dict:
        file = io.BytesIO()
        image.save(file, "PNG")
        return {"bytes": file.getvalue(), "path": None}

    rows = [{"id": id, "image": encoded(image)} for id, image in images.items()]
    return Dataset.from_list(rows, features=Features({"id": Value("string"), "image": Image(decode=False)}))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A pool of 90 scenes, and a test set of altered copies of twelve of them beside ten others."""
    folder = tmp_path_factory.mktemp("audit")
    encoder = tiny_encoder(folder / "encoder")
    pool = {f"scene/{k}": scene(k) for k in range(N)}
    test = {f"{how}/{k}": ALTERED[how][0](scene(k)) for k, how in enumerate([*ALTERED, *ALTERED])}
    test |= {f"new/{k}": scene(1000 + k) for k in range(10)}
    return {
        name: (data := dataset(images), embed(data, encoder, folder / name, progress=False))
        for name, images in (("pool", pool), ("test", test))
    }


@pytest.fixture(scope="module")
def answer(stores):
    return audit(stores["pool"][1], stores["test"][1])


def test_every_copy_is_traced_to_its_frame_and_no_other_frame_is_called_one(answer):
    rows = answer.table.to_pylist()
    planted = {row["test_id"] for row in rows if not row["test_id"].startswith("new/")}
    assert {row["test_id"] for row in rows if row["copied"]} == planted
    assert len(planted) == 12
    for row in answer.copied.to_pylist():
        how, scene_of = row["test_id"].split("/")
        assert row["pool_id"] == f"scene/{scene_of}"
        for word in ALTERED[how][1].split(", "):
            assert word in row["how"]
        assert row["mirrored"] == (how in ("mirrored", "both"))
        assert row["likeness"] > answer.likeness


def test_the_table_has_every_test_frame_most_alike_first(answer):
    assert answer.table.schema.equals(SCHEMA)
    assert len(answer.table) == 22
    likeness = answer.table["likeness"].to_numpy()
    assert (np.diff(likeness) <= 0).all()
    assert all((row["how"] is None) == (not row["copied"]) for row in answer.table.to_pylist())


def test_cosines_are_those_of_the_space_in_float64(stores, answer):
    pool, test = stores["pool"][1], stores["test"][1]
    from meddel_hf.embedding.calibration import calibration_of

    space = calibration_of(pool).best.space
    p, t = (store.pooled(space.pooling).astype(np.float64) for store in (pool, test))
    mean = (p / np.linalg.norm(p, axis=1, keepdims=True)).mean(axis=0) if space.subtract_mean else 0
    p, t = (rows / np.linalg.norm(rows, axis=1, keepdims=True) - mean for rows in (p, t))
    for row in answer.table.to_pylist():
        a, b = t[test.pool_ids.index(row["test_id"])], p[pool.pool_ids.index(row["pool_id"])]
        assert row["cosine"] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-6)


def test_how_sure_it_is(answer):
    assert answer.held is not None
    assert answer.held > 0.95
    assert answer.unlike == N
    assert answer.by_chance == pytest.approx(22 / (N + 1))
    assert str(answer).startswith("12 of 22 test frames are in the pool of 90 frames\n")
    assert "by chance (likeness above 0." in str(answer)


def test_a_pool_of_one_frame(stores, tmp_path):
    encoder = stores["pool"][1].manifest.arguments["encoder"]
    one = embed(dataset({"only": scene(1)}), encoder, tmp_path / "e", progress=False)
    copied = audit(one, stores["test"][1]).copied["test_id"].to_pylist()
    assert copied == ["smaller/1"]
    assert "takes 11 of 22 frames for one by chance" in str(audit(one, stores["test"][1]))


def test_patients_that_both_have_are_told_whether_or_not_a_frame_is_a_copy(stores, answer):
    (pool, there), (test, here) = stores["pool"], stores["test"]
    pool = pool.add_column("patient", [f"p{row // 10}" for row in range(N)])  # p0 to p8
    test = test.add_column("patient", ["p8"] * 2 + ["p9"] * 20)
    with_frames = audit(there, here, pool_frames=pool, test_frames=test)
    assert with_frames.table.equals(answer.table)
    assert answer.groups == ()
    (shared,) = with_frames.groups
    assert (shared.names, shared.pool_frames, shared.test_frames) == (("p8",), 10, 2)
    assert str(with_frames).startswith(f"{answer}\nwarning: 1 of the 2 patients of the test set has frames in the pool")
    assert with_frames.facts["groups"][0]["names"] == ("p8",)
    of = [dict(zip(frames["id"], frames["patient"], strict=True)) for frames in (test, pool)]
    met = zip(answer.copied["test_id"].to_pylist(), answer.copied["pool_id"].to_pylist(), strict=True)
    otherwise = {(of[0][mine], of[1][theirs]) for mine, theirs in met if of[0][mine] != of[1][theirs]}
    assert shared.renamed == tuple(sorted(otherwise))
    assert otherwise, "copies of p0 and others are p9 in the test set"
    assert "\nwarning: copies are of patients that have other names in the pool: " in str(with_frames)


def test_stores_that_cannot_be_compared(stores, tmp_path):
    other = embed(stores["test"][0], tiny_encoder(tmp_path / "other", seed=1), tmp_path / "e", progress=False)
    with pytest.raises(Mismatch, match="the reference's encoder is"):
        audit(stores["pool"][1], other)
    with pytest.raises(InvalidArgument, match="embedding stores, got ndarray"):
        audit(np.eye(3), stores["test"][1])


def test_contact_sheets_are_no_test_set(stores, answer, tmp_path, capsys):
    """A folder that this package wrote, and that holds pictures, is not taken for a folder of frames."""
    pool = stores["pool"][1]
    answer.save(tmp_path / "audit", pictures=lambda folder: scene(1).save(folder / "pairs.png"))
    assert main(["audit", str(pool.folder), str(tmp_path / "audit")]) == 2
    assert "is a folder of step 'audit', whose pictures are contact sheets" in capsys.readouterr().err


def test_a_saved_audit_and_its_sheet(stores, answer, tmp_path):
    sides = [(data, Readable.of(store).origin) for data, store in stores.values()]
    answer.save(tmp_path / "a", pictures=lambda folder: draw_pairs(answer, *sides, folder / "pairs.png"))
    assert pq.read_table(tmp_path / "a" / "audit.parquet").equals(answer.table)
    facts = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert (facts["step"], facts["details"]["copied"]) == ("audit", 12)
    with Picture.open(tmp_path / "a" / "pairs.png") as sheet:
        assert sheet.width > 1000
        assert len(sheet.getcolors(2**24)) > 1000, "no cell shows a frame"
    assert not draw_pairs(answer, None, None, tmp_path / "none.png")


@pytest.mark.slow
def test_the_command_says_what_it_means_by_its_status(stores, tmp_path, capsys):
    pool = str(stores["pool"][1].folder)
    assert main(["audit", pool, str(stores["test"][1].folder), "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert (facts["copied"], len(facts["copies_in_pool"])) == (12, 12)
    (tmp_path / "frames").mkdir()
    for k in range(4):
        scene(2000 + k).save(tmp_path / "frames" / f"{k}.png")
    out = tmp_path / "out"
    assert main(["audit", pool, str(tmp_path / "frames"), "--out", str(out)]) == 0  # frames, embedded on the way
    printed = capsys.readouterr()
    assert "none of 4 test frames are in the pool of 90 frames" in printed.out
    assert f"{tempfile.gettempdir()}/tmp" not in printed.err
    assert "embedded" not in printed.err
    assert len(pq.read_table(out / "audit.parquet")) == 4
    scene(5).save(tmp_path / "frames" / "copy.jpg", quality=70)
    assert main(["audit", pool, str(tmp_path / "frames"), "--out", str(out)]) == 1
    printed = capsys.readouterr().out
    assert "scene/5" in printed
    assert main(["audit", str(tmp_path / "frames"), pool]) == 2
    assert "no manifest.json" in capsys.readouterr().err

"""Frames are forgotten: nothing of them is left in any file, what they stood for has another; killed at any moment."""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from tiny import textured, tiny_encoder

from meddel_hf import Dedup, EmbeddingStore, MedDEL, Selection, embed, extend, forget
from meddel_hf.cli import main
from meddel_hf.data.pool import load_pool
from meddel_hf.errors import IncompleteStore, InvalidArgument, InvalidDataset, Mismatch
from meddel_hf.runtime import replacing
from meddel_hf.selectors import Random
from meddel_hf.selectors.by_hand import Overrides
from meddel_hf.selectors.forgetting import Forgotten

ROWS = 90


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """pool, encoder, store e (10 frames stand twice, nearly), selections s (eta auto), m (MedDEL) and r (random)."""
    folder = tmp_path_factory.mktemp("forget")
    (folder / "pool").mkdir()
    for row in range(ROWS):
        picture = textured(row if row < 70 else row - 70)
        picture.save(folder / "pool" / f"{row:03d}.jpg", "JPEG", quality=60 + row % 30)
    (folder / "pool" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut short")
    encoder = tiny_encoder(folder / "encoder")
    pool = load_pool(str(folder / "pool"))
    store = embed(pool, encoder, folder / "e", batch_size=8, shard_rows=32, num_workers=0, progress=False)
    Dedup().select(store).save(folder / "s", pictures=lambda aside: (aside / "duplicates.png").write_bytes(b"png"))
    MedDEL(eta=0.97, epsilon=None).select(store).save(folder / "m")
    Random(0.3).select(store).save(folder / "r")
    return folder


@pytest.fixture
def copied(made, tmp_path) -> Path:
    for name in ("e", "s", "m", "r"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


def kept_with_copies(selection: Selection) -> tuple[str, list[str]]:
    """A kept id, and its near-duplicates."""
    rows = selection.table.to_pylist()
    name = next(row["duplicate_of"] for row in rows if row["duplicate_of"])
    return name, [row["id"] for row in rows if row["duplicate_of"] == name]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_store_is_that_of_the_pool_without_the_frames(made, copied, tmp_path):
    gone = ["003", "041", "broken"]
    forget(gone, copied / "e")
    pool = tmp_path / "pool"
    shutil.copytree(made / "pool", pool)
    for name in gone:
        (pool / f"{name}.jpg").unlink()
    small = {"batch_size": 8, "shard_rows": 32, "num_workers": 0, "progress": False}
    scratch = embed(load_pool(str(pool)), made / "encoder", tmp_path / "scratch", **small)
    now = EmbeddingStore.load(copied / "e")
    now.verify()
    assert now.fingerprint == scratch.fingerprint
    assert now.pool_fingerprint == scratch.pool_fingerprint
    names = [
        path.name
        for path in (tmp_path / "scratch").iterdir()
        if path.name not in ("manifest.json", "copies.safetensors")
    ]
    assert {name: (copied / "e" / name).read_bytes() for name in names} == {
        name: (tmp_path / "scratch" / name).read_bytes() for name in names
    }
    assert now.copies is not None
    assert "calibration" in now.manifest.details
    assert embed(load_pool(str(pool)), made / "encoder", copied / "e", **small).fingerprint == now.fingerprint


def test_nothing_of_a_frame_is_left_in_any_file(made, copied):
    store = EmbeddingStore.load(copied / "e")
    row = int(store.copies.row[3])
    name = store.pool_ids[row]
    at = int(np.searchsorted(store.rows, row))
    traces = [
        store.embeddings[at].tobytes(), store.pooled("mean")[at].tobytes(), store.thumbnails[at].tobytes(),
        store.copies.vectors["cls"][3].tobytes(), store.copies.thumbnails[3].tobytes(), store.digests[row].as_py(),
    ]  # fmt: skip
    everything = b"".join(contents(copied / "e").values())
    assert all(trace in everything for trace in traces[:5])
    forget([name], copied / "e", [copied / "s", copied / "m", copied / "r"])
    files = {**contents(copied)}
    for path, data in files.items():
        assert not any(trace in data for trace in traces), path
    for folder in ("s", "m", "r"):
        rows = Selection.load(copied / folder).table.to_pylist()
        assert name not in [row[key] for row in rows for key in ("id", "duplicate_of")]
        assert len(rows) == ROWS
    assert "s/duplicates.png" not in files
    assert "s/duplicates.png" in contents(made)
    assert not list(copied.rglob(replacing.STAGE))


@pytest.mark.parametrize("folder", ["s", "m"])
def test_the_next_best_is_kept_and_told(folder, made, copied):
    old = Selection.load(made / folder)
    name, others = kept_with_copies(old)
    done = forget([name], copied / "e", [copied / folder])
    now = Selection.load(copied / folder)
    (change,) = done.changes
    assert change.stood_for == {name: tuple(others)}
    assert set(now.kept) == set(old.kept) - {name} | set(change.promoted)
    assert change.promoted
    assert set(change.promoted) <= set(others)
    assert f"{name} was kept and stood for {len(others)} near-duplicate{'s' * (len(others) > 1)} (" in str(done)
    assert f"kept in its place: {change.promoted[0]}" in str(done)
    store = EmbeddingStore.load(copied / "e")
    assert now.origin.embeddings == store.fingerprint
    assert now.fingerprint != old.fingerprint
    assert extend(old, store).kept == now.kept
    for row in now.table.to_pylist():  # everybody who went has one that stands for him
        if row["reason"] == "near-duplicate":
            assert row["similarity"] > now.eta
    graph, before = now.graph, old.graph
    assert {(now.ids[a], now.ids[b]) for a, b in zip(graph.pairs.first, graph.pairs.second, strict=True)} == {
        (old.ids[a], old.ids[b])
        for a, b in zip(before.pairs.first, before.pairs.second, strict=True)
        if name not in (old.ids[a], old.ids[b])
    }
    assert now.at(eta=0.999).table.num_rows == ROWS


def test_what_became_of_near_duplicates_none_of_which_is_kept_is_told(copied):
    """Of 91 frames 35 are drawn; after one went, round(35/91 * 90) = 35 would be too many for a smaller share."""
    store = EmbeddingStore.load(copied / "e")
    drawn = Dedup(0.2, eta=0.97, seed=2).select(store)
    name, others = kept_with_copies(drawn)
    name = next(row["duplicate_of"] for row in drawn.table.to_pylist() if row["duplicate_of"] in drawn.kept)
    others = [row["id"] for row in drawn.table.to_pylist() if row["duplicate_of"] == name]
    drawn.save(copied / "d")
    more = [id for id in store.pool_ids if id not in drawn.kept and id not in others and id != "broken"][:12]
    done = forget([name, *more], copied / "e", [copied / "d"])  # the share asks for fewer than are kept
    (change,) = done.changes
    now = Selection.load(copied / "d")
    assert not set(others) & set(now.kept)
    for other in others:
        assert now.table.filter(np.array([id == other for id in now.ids]))["reason"].to_pylist() == ["not-selected"]
    assert change.became == dict.fromkeys(others, "not selected, since the retention is met without")
    assert f"({others[0]}); none is kept in its place ({others[0]}: not selected, since the retention is met" in str(
        done
    )
    assert "0 of" not in str(done)
    assert f"note: {len(now.kept)} kept frames stay, at eta 0.9700 as before, 13 frames are gone" in str(done)


def test_marks_on_frames_that_stay_are_kept_and_those_on_others_go(copied):
    old = Selection.load(copied / "s")
    gone, always, never = old.ids[0], old.ids[3], old.ids[5]
    path = copied / "s" / "overrides.parquet"
    Overrides({gone, always}, {never}).save(path)
    forget([gone], copied / "e", [copied / "s"])
    assert Overrides.read(path) == Overrides({always}, {never})
    forget([always, never], copied / "e", [copied / "s"])
    assert not path.exists()


def test_what_would_be_drawn_is_not_told_by_pairs_of_a_frame_that_is_gone(copied):
    two_steps = Dedup(0.4).select(EmbeddingStore.load(copied / "e"))
    assert two_steps.second is not None
    two_steps.save(copied / "t")
    assert len(list((copied / "t").glob("drawn-*.parquet"))) == 3
    done = forget([two_steps.kept[0]], copied / "e", [copied / "t"])
    assert [change.folder for change in done.changes] == [copied / "t"]
    assert Selection.load(copied / "t").second is None
    assert not list((copied / "t").glob("drawn-*"))


def test_a_stale_selection_is_noticed(copied):
    name = Selection.load(copied / "s").kept[0]
    forget([name], copied / "e", [copied / "s"])
    with pytest.raises(Mismatch, match=r"m was not made from .*e"):
        forget(["005"], copied / "e", [copied / "m"])


def test_ids_that_are_not_there_change_nothing_and_are_told(copied):
    before = contents(copied)
    done = forget(["nobody", "nobody"], copied / "e", [copied / "s"])
    assert (done.ids, done.unknown) == ((), ("nobody",))
    assert contents(copied) == before
    with pytest.raises(InvalidArgument, match=r"all rows of .* would be removed"):
        forget(EmbeddingStore.load(copied / "e").pool_ids, copied / "e")
    with pytest.raises(InvalidArgument, match="must be a list of ids"):
        forget("003", copied / "e")
    assert contents(copied) == before


def test_an_umlaut_is_one_in_one_character_or_two_and_spaces_around_are_none(tmp_path):
    ids = ["a", "Mu\u0308ller", "c"]  # as macOS stores it
    features = Features({"id": Value("string"), "image": Image()})
    pool = Dataset.from_dict({"id": ids, "image": [textured(1), textured(2), textured(3)]}, features=features)
    embed(pool, tiny_encoder(tmp_path / "encoder"), tmp_path / "e", num_workers=0, progress=False)
    done = forget(["M\xfcller", " c ", "b"], tmp_path / "e")
    assert (done.ids, done.unknown) == (("Mu\u0308ller", "c"), ("b",))


def test_the_same_bytes_under_another_id_are_told(tmp_path):
    file = io.BytesIO()
    textured(1).save(file, "PNG")
    other = io.BytesIO()
    textured(2).save(other, "PNG")
    features = Features({"id": Value("string"), "image": Image(decode=False)})
    images = [file.getvalue(), other.getvalue(), file.getvalue()]
    pool = Dataset.from_dict({"id": ["a", "b", "c"], "image": images}, features=features)
    embed(pool, tiny_encoder(tmp_path / "encoder"), tmp_path / "e", num_workers=0, progress=False)
    done = forget(["a"], tmp_path / "e")
    assert done.same == ("c",)
    assert "1 frame that stays is the same bytes under another id: c" in str(done)
    assert EmbeddingStore.load(tmp_path / "e").pool_fingerprint.startswith("without-")


def killed_at(number: int, work) -> int:
    """Run `work` in a process that is killed at its n-th change of a name, and return its status."""
    child = os.fork()
    if child == 0:
        count = 0

        def counted(function):
            def call(*arguments, **options):
                nonlocal count
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **options)

            return call

        try:
            os.replace, os.unlink, os.mkdir = counted(os.replace), counted(os.unlink), counted(os.mkdir)
            Path.unlink, Path.mkdir = counted(Path.unlink), counted(Path.mkdir)
            shutil.rmtree = counted(shutil.rmtree)
            work()
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize("step", [27, pytest.param(1, marks=pytest.mark.slow)])  # of the moments, every how many
def test_killed_at_any_moment_all_is_old_or_all_is_finished(made, tmp_path, step):
    name, _ = kept_with_copies(Selection.load(made / "s"))
    folders = ("e", "s", "m")

    def copy(folder: Path) -> Path:
        for each in folders:
            shutil.copytree(made / each, folder / each)
        return folder

    def run(folder: Path) -> None:
        forget([name], folder / "e", [folder / "s", folder / "m"])

    whole = copy(tmp_path / "whole")
    run(whole)
    expected, old = (
        contents(whole),
        {path: data for path, data in contents(made).items() if path.split("/")[0] in folders},
    )
    seen = set()
    for number in range(1, 500, step):
        folder = copy(tmp_path / str(number))
        status = killed_at(number, lambda folder=folder: run(folder))
        if status == 0:
            break
        assert status == signal.SIGKILL
        left = {path: data for path, data in contents(folder).items() if replacing.STAGE not in path}
        pending = (folder / "e" / replacing.STAGE / "committed.json").exists()
        seen.add(pending)
        if not pending and left != expected:
            assert left == old, number
        if pending and left not in (old, expected):  # no mixture can be read
            broken = 0
            for each, load in (("e", EmbeddingStore.load), ("s", Selection.load), ("m", Selection.load)):
                try:
                    load(folder / each)
                except IncompleteStore:
                    broken += 1
                else:
                    part = {path: data for path, data in left.items() if path.startswith(f"{each}/")}
                    assert any(
                        part == {path: data for path, data in world.items() if path.startswith(f"{each}/")}
                        for world in (old, expected)
                    ), number
        run(folder)
        assert contents(folder) == expected, number
        shutil.rmtree(folder)
    assert seen == {True, False}
    assert number > 20


@pytest.mark.parametrize("done", [0, 1, 2])  # folders that were put in place before the run was killed
def test_folders_that_moved_after_a_kill_are_finished_together_or_told(made, tmp_path, monkeypatch, done):
    name, _ = kept_with_copies(Selection.load(made / "s"))
    old, folders = tmp_path / "old", ("e", "s", "m")

    def copy(folder: Path) -> Path:
        for each in folders:
            shutil.copytree(made / each, folder / each)
        return folder

    def run(folder: Path) -> Forgotten:
        return forget([name], folder / "e", [folder / "s", folder / "m"])

    whole = copy(tmp_path / "whole")
    run(whole)
    expected = contents(whole)
    copy(old)
    put, puts = replacing._put_in_place, []

    def killed(folder: Path, gone: list[str]) -> None:
        if len(puts) == done:
            raise KeyboardInterrupt
        puts.append(folder)
        put(folder, gone)

    with monkeypatch.context() as patch:
        patch.setattr(replacing, "_put_in_place", killed)
        with pytest.raises(KeyboardInterrupt):
            run(old)
    moved = old.rename(tmp_path / "moved")
    (moved / "s").rename(tmp_path / "s")
    before = contents(tmp_path)
    with pytest.raises(IncompleteStore, match=rf"^{moved}/s is not what a run left .* put all folders back"):
        run(moved)
    assert contents(tmp_path) == before
    (tmp_path / "s").rename(moved / "s")
    assert "1 frame is forgotten" in run(moved).finished
    assert contents(moved) == expected


def test_names_of_files_are_not_taken_for_frames_that_are_gone(copied, capsys):
    name, _ = kept_with_copies(Selection.load(copied / "s"))
    (copied / "withdrawn.txt").write_text(f"{name}.png\n")
    before = contents(copied)
    assert main(["forget", str(copied / "withdrawn.txt"), str(copied / "e"), str(copied / "s")]) == 2
    assert f"such as {name}.png, whose id is {name}: write ids" in capsys.readouterr().err
    assert contents(copied) == before


def test_as_it_is_typed(copied, capsys):
    name, others = kept_with_copies(Selection.load(copied / "s"))
    (copied / "withdrawn.txt").write_text(f"{name}\nnobody\n")
    line = ["forget", str(copied / "withdrawn.txt"), str(copied / "e"), str(copied / "s"), str(copied / "r")]
    assert main(line) == 0
    printed = capsys.readouterr().out
    assert "1 frame is forgotten" in printed
    assert "1 id is not in the store, or no longer: nobody" in printed
    assert f"{name} was kept and stood for {len(others)} near-duplicate{'s' * (len(others) > 1)} (" in printed
    assert main(line) == 1
    printed = capsys.readouterr().out
    assert "warning: nothing was forgotten\n2 ids are not in the store, or no longer: " in printed


def test_what_this_machine_remembers_is_named(copied, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDEL_HF_DIGESTS", str(tmp_path / "digests.sqlite"))
    (tmp_path / "digests.sqlite").touch()
    (copied / "withdrawn.txt").write_text("003\n")
    assert main(["forget", str(copied / "withdrawn.txt"), str(copied / "e")]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: frames, and names")]
    assert str(tmp_path / "digests.sqlite") in line


@pytest.fixture
def of_wards(copied) -> tuple[Path, Dataset]:
    """A pool with wards of 30 frames, and a selection f that keeps 12 in all, two of each ward at least."""
    store = EmbeddingStore.load(copied / "e")
    wards = ["abc"[int(id) // 30] if id != "broken" else None for id in store.pool_ids]
    pool = Dataset.from_dict({"id": store.pool_ids, "ward": wards})
    Dedup(12 / 91, eta=0.999, min_per={"ward": 2}, seed=1).select(store, pool=pool).save(copied / "f")
    return copied, pool


def wards_of(selection: Selection) -> dict[str, int]:
    return dict(Counter("abc"[int(id) // 30] for id in selection.kept))


def test_floors_hold_when_frames_are_forgotten(of_wards, monkeypatch):
    copied, pool = of_wards
    before = Selection.load(copied / "f").kept
    fewest = min(wards_of(Selection.load(copied / "f")).items(), key=lambda item: item[1])[0]
    kept = [id for id in before if "abc"[int(id) // 30] == fewest]
    monkeypatch.setattr("meddel_hf.selectors.strata._named", lambda *_: pool)  # as where the store names the pool
    done = forget(kept, copied / "e", [copied / "f"])
    now = Selection.load(copied / "f")
    assert wards_of(now)[fewest] >= 2
    assert len(now.kept) == round(12 / 91 * (91 - len(kept)))
    come = [id for id in now.kept if id not in before]
    assert done.changes[0].promoted == tuple(come)
    assert f"{len(come)} others are kept now: {', '.join(come[:3])}" in str(done)


def test_without_the_pool_floors_are_not_looked_at_and_the_frames_go(of_wards):
    copied, _ = of_wards
    before = Selection.load(copied / "f")
    gone = before.kept[:2]
    done = forget(gone, copied / "e", [copied / "f"])
    assert Selection.load(copied / "f").kept == before.kept[2:]
    told = "note: nothing was kept in the place of what went, nor floors and caps looked at: strata are read"
    assert told in str(done)


@pytest.fixture
def beside(copied) -> Path:
    """Stores e and t, the reference set, whose frames 0 to 3 and 80 are those of e, and selections s, m and r of e
    beside t."""
    store = EmbeddingStore.load(copied / "e")
    shutil.copytree(copied / "e", copied / "t")
    forget([id for id in store.pool_ids if id not in ("000", "001", "002", "003", "080")], copied / "t")
    for name, selector in (("s", Dedup()), ("m", MedDEL(eta=0.97, epsilon=None)), ("r", Random(0.3))):
        shutil.rmtree(copied / name)
        selection = selector.select(store, reference=EmbeddingStore.load(copied / "t"), reference_eta=0.9999)
        assert {"000", "001", "002", "003", "080"} <= in_reference(selection).keys()
        selection.save(copied / name, pictures=lambda aside: (aside / "in-reference.png").write_bytes(b"png"))
    return copied


def in_reference(selection: Selection) -> dict[str, str | None]:
    return {row["id"]: row["in_reference"] for row in selection.table.to_pylist() if row["reason"] == "in-reference"}


def test_what_went_for_a_reference_set_stays_away(beside):
    before = {name: in_reference(Selection.load(beside / name)) for name in "smr"}
    graph = Selection.load(beside / "m").at(eta=0.99)
    forget(["001", "041"], beside / "e", [beside / name for name in "smr"])
    for name in "smr":
        now = Selection.load(beside / name)
        before[name].pop("001")
        assert in_reference(now) == before[name]
        assert now.origin.reference == EmbeddingStore.load(beside / "t").fingerprint
        assert not set(now.kept) & before[name].keys()
        assert extend(now, beside / "e").table.equals(now.table) if name != "r" else True
    assert in_reference(Selection.load(beside / "m").at(eta=0.99)).keys() == in_reference(graph).keys() - {"001"}


def test_a_selection_of_which_the_reference_alone_is_left_keeps_nothing(beside):
    old = Selection.load(beside / "s")
    others = [
        id for id, reason in zip(old.ids, old.table["reason"].to_pylist(), strict=True) if reason != "in-reference"
    ]
    done = forget(others, beside / "e", [beside / "s"])
    assert done.changes[0].kept == 0
    assert Selection.load(beside / "s").ids == list(in_reference(old))


def test_frames_of_a_reference_set_are_forgotten_too(beside, capsys):
    """What was in their reach stays away; no file names or shows them."""
    before = {name: Selection.load(beside / name) for name in "smr"}
    done = forget(["001"], beside / "t", [beside / name for name in "smr"])
    assert not any(change.stood_for or change.promoted for change in done.changes)
    for name, old in before.items():
        now = Selection.load(beside / name)
        assert not (beside / name / "in-reference.png").exists()
        assert now.kept == old.kept
        assert in_reference(now) == {id: None if other == "001" else other for id, other in in_reference(old).items()}
        assert (
            now.why("001")
            == "001 is dropped: within reach of a frame that was forgotten of the reference (cosine 1.0000)"
        )
        assert now.origin.reference == EmbeddingStore.load(beside / "t").fingerprint
        if old.graph is not None:
            assert now.at(eta=0.99).table.equals(
                old.at(eta=0.99).table.set_column(
                    now.table.schema.get_field_index("in_reference"),
                    now.table.schema.field("in_reference"),
                    now.table["in_reference"],
                )
            )
    assert main(["select", str(beside / "e"), "--extend", str(beside / "s"), "--out", str(beside / "x")]) == 0
    assert in_reference(Selection.load(beside / "x"))["001"] is None
    printed = capsys.readouterr().err
    assert "frames look like one of the reference, and go\n" in printed
    assert "0 of" not in printed


def test_a_near_duplicate_of_a_forgotten_frame_is_told(made, copied, tmp_path):
    """Of a selection that cannot be extended, so that none is promoted."""
    MedDEL(eta=0.97, epsilon=None, rule="semdedup").select(EmbeddingStore.load(copied / "e")).save(copied / "d")
    name, others = kept_with_copies(Selection.load(copied / "d"))
    forget([name], copied / "e", [copied / "d"])
    assert Selection.load(copied / "d").why(others[0]) == (
        f"{others[0]} is dropped: near-duplicate of a frame that was forgotten"
    )


@pytest.fixture
def of_patients(tmp_path, made) -> tuple[Path, Dataset]:
    """A store p of 12 frames of patients Nord/p01, Süd/p01 and Süd/p02, one of them damaged, a selection q of it, and
    the pool, whose ids are paths."""
    ids = [
        f"{patient}/v{n % 2}/{n:02d}" for patient in ("Nord/p01", "Su\u0308d/p01", "Su\u0308d/p02") for n in range(4)
    ]
    files = []
    for row in range(12):
        file = io.BytesIO()
        textured(row).save(file, "PNG")
        files.append(file.getvalue() if row != 5 else b"\x89PNG cut short")
    rows = {
        "id": ids,
        "image": files,
        "patient": [id.rpartition("/v")[0] for id in ids],
        "age": [40 + n for n in range(12)],
    }
    features = Features(
        {"id": Value("string"), "image": Image(decode=False), "patient": Value("string"), "age": Value("int32")}
    )
    pool = Dataset.from_dict(rows, features=features)
    pool.to_parquet(tmp_path / "pool" / "data.parquet")
    pool = load_pool(str(tmp_path / "pool"))
    options = {"num_workers": 0, "progress": False, "pool_spec": str(tmp_path / "pool")}
    store = embed(pool, made / "encoder", tmp_path / "p", **options)
    Dedup().select(store).save(tmp_path / "q")
    return tmp_path, pool


def test_all_frames_of_a_patient_go_damaged_ones_too(of_patients, capsys):
    folder, _ = of_patients
    before = EmbeddingStore.load(folder / "p").pool_ids
    theirs = [id for id in before if id.startswith("Su\u0308d/p01")]
    assert len(theirs) == 4
    assert main(["forget", "--where", "patient=S\xfcd/p01", str(folder / "p"), str(folder / "q")]) == 0
    printed = capsys.readouterr()
    assert f"patient=S\xfcd/p01: 4 frames found: {', '.join(theirs)}\n" in printed.err
    assert printed.out.startswith("4 frames are forgotten\n")
    assert EmbeddingStore.load(folder / "p").pool_ids == [id for id in before if id not in theirs]
    assert not set(theirs) & set(Selection.load(folder / "q").ids)
    assert main(["forget", "--where", "patient=S\xfcd/p01", str(folder / "p"), str(folder / "q")]) == 1
    assert "0 frames found in the store" in capsys.readouterr().err


def test_a_value_goes_beside_ids_and_several_values_as_they_are_typed(of_patients, capsys):
    folder, _ = of_patients
    (folder / "ids.txt").write_text("Nord/p01/v0/00\n", encoding="utf-8")
    line = ["forget", str(folder / "ids.txt"), "--trust", str(folder / "p"), str(folder / "q")]
    assert main([*line, "--where", "age=43", "--where", "age=44", "--where", "patient=Nord/p01"]) == 0
    printed = capsys.readouterr()
    assert "age=43 or age=44 and patient=Nord/p01: 1 frame found: Nord/p01/v1/03" in printed.err
    assert printed.out.startswith("2 frames are forgotten\n")


def test_a_folder_is_a_value_with_all_below_it_and_needs_no_pool(of_patients):
    folder, _ = of_patients
    shutil.rmtree(folder / "pool")
    done = forget([], folder / "p", [folder / "q"], where={"folder": ["S\xfcd/p01/", "Nord/p01/v1"]})
    assert len(done.ids) == 6
    assert [len(ids) for ids in done.found.values()] == [6]
    with pytest.raises(InvalidDataset, match=r"'patient' is read from the pool, which is not at hand"):
        forget([], folder / "p", where={"patient": "Nord/p01"})


def test_columns_and_values_that_are_not_there_are_told_and_nothing_changes(of_patients, capsys):
    folder, pool = of_patients
    before = contents(folder)
    for where, sentence in (
        (
            {"patent": "p01"},
            r"no column 'patent'; it has patient, age, folder: name one of those; did you mean 'patient'",
        ),
        ({"patient": "p01"}, r"no frame has 'p01' in the column 'patient'; did you mean Nord/p01, S\xfcd/p01\?"),
        ({"patient": "X"}, r"no frame has 'X' in the column 'patient'; it has Nord/p01, "),
        ({"image": "X"}, r"'image' holds Image"),
    ):
        with pytest.raises((InvalidArgument, InvalidDataset), match=sentence):
            forget([], folder / "p", [folder / "q"], where=where, pool=pool)
    assert main(["forget", str(folder / "p")]) == 2
    assert "nothing says which frames" in capsys.readouterr().err
    assert main(["forget", "--where", "age=40"]) == 2
    assert "STORE is missing" in capsys.readouterr().err
    assert contents(folder) == before


def test_frames_that_the_pool_no_longer_knows_are_told(of_patients, caplog):
    folder, pool = of_patients
    with caplog.at_level("INFO"):
        done = forget([], folder / "p", where={"age": "40"}, pool=pool.select(range(9)))
    assert len(done.ids) == 1
    assert "3 frames of the store are not in the pool as it is now" in caplog.text


def test_a_column_called_folder_is_one_and_an_id_that_stands_twice_is_refused(of_patients, caplog):
    folder, pool = of_patients
    with_folders = pool.add_column("folder", ["ward" if row % 2 else "lab" for row in range(12)])
    twice = with_folders.select([*range(12), 3])
    with pytest.raises(InvalidDataset, match="Nord/p01/v1/03"):
        forget([], folder / "p", where={"patient": "Nord/p01"}, pool=twice)
    with pytest.raises(InvalidDataset, match="the pool has no column 'id' with the ids of the embeddings"):
        forget([], folder / "p", where={"age": "40"}, pool=pool.rename_column("id", "name"))
    assert len(forget([], folder / "p", where={"folder": "Nord"}, pool=pool.remove_columns("id")).ids) == 4
    with caplog.at_level("INFO"):
        done = forget([], folder / "p", where={"folder": "ward"}, pool=with_folders.select(range(4, 9)))
    assert len(done.ids) == 2
    assert "3 frames of the store are not in the pool as it is now" in caplog.text


def test_row_numbers_are_found_in_the_very_data_set_alone(of_patients, made):
    folder, pool = of_patients
    nameless = pool.remove_columns("id")
    embed(nameless, made / "encoder", folder / "n", num_workers=0, progress=False)
    with pytest.raises(Mismatch, match="row numbers of another data set"):
        forget([], folder / "n", where={"age": "41"}, pool=nameless.select(range(11)))
    assert forget([], folder / "n", where={"age": "41"}, pool=nameless).ids == ("1",)


def test_a_folder_in_the_list_of_ids_is_told_to_be_one(of_patients, capsys):
    folder, _ = of_patients
    (folder / "ids.txt").write_text("S\xfcd/p01\n", encoding="utf-8")
    assert main(["forget", str(folder / "ids.txt"), str(folder / "p")]) == 1
    printed = capsys.readouterr().out
    assert "S\xfcd/p01 is no frame; 4 frames lie below it: " in printed
    assert "to forget them: --where 'folder=S\xfcd/p01'" in printed

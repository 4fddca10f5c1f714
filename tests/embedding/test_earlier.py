"""A pool that has grown: what is carried over from the earlier store is what embedding all of it again gives."""

from __future__ import annotations

import io
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Dataset, Features, Image, IterableDataset, Value
from PIL import Image as Picture
from stores import contents
from transformers import ViTConfig, ViTModel
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import meddel_hf.embedding.carried
from meddel_hf import Dedup, extend
from meddel_hf.data.batches import TableBatches
from meddel_hf.data.pool import load_pool
from meddel_hf.embedding.carried import places
from meddel_hf.embedding.embed import embed
from meddel_hf.embedding.encoder import Encoder
from meddel_hf.embedding.known_again import known_again
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.runtime.records import read_facts, write_facts

SMALL = {"batch_size": 4, "shard_rows": 16, "num_workers": 0, "progress": False}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("encoder") / "vit"
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    ViTModel(ViTConfig(**sizes, image_size=32, patch_size=8)).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def png(seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Picture.fromarray(pixels).resize((50, 40), 3).save(file, "PNG")
    return file.getvalue()


def two_pages(seed: int) -> bytes:
    """Of a GIF, of which the first is taken, and its owner told."""
    file = io.BytesIO()
    first, second = (Picture.open(io.BytesIO(png(seed + page))) for page in range(2))
    first.save(file, "GIF", save_all=True, append_images=[second])
    return file.getvalue()


def frames(content: dict[str, bytes | None]) -> Dataset:
    features = Features({"id": Value("string"), "image": Image(decode=False)})
    return Dataset.from_dict({"id": list(content), "image": list(content.values())}, features=features)


def folder_of(folder: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def old_pool() -> dict[str, bytes]:
    content = {f"f/{row:03d}": png(row) for row in range(60)}
    content["f/007"] = content["f/055"] = content["f/003"]  # three rows of the same bytes
    return {**content, "f/010": b"not an image", "f/011": b"", "f/012": two_pages(12)}


def grown_pool() -> dict[str, bytes]:
    """Some frames are new, first, last and in the middle; some are gone, renamed, moved, or replaced under their id."""
    content = old_pool()
    for gone in ("f/002", "f/030", "f/059"):
        del content[gone]
    content["f/020"] = png(920)  # another frame under the same id
    moved = {("z/" if name in ("f/040", "f/041") else "") + name: data for name, data in content.items()}
    new = {f"a/{row}": png(800 + row) for row in range(3)} | {"f/025x": png(850), "z/new": two_pages(860)}
    new |= {"f/026x": b"broken too", "f/027x": old_pool()["f/050"]}  # the last is a copy of one that is known
    return dict(sorted((moved | new).items()))


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """How many rows each batch asked of the pool."""
    asked: list[int] = []
    read = TableBatches.__getitem__

    def counted(self, number):
        asked.append(len(self.rows[number]))
        return read(self, number)

    monkeypatch.setattr(TableBatches, "__getitem__", counted)
    return asked


@pytest.mark.parametrize("as_folder", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_grown_store_is_the_one_made_from_scratch(as_folder, precision, encoder, tmp_path, passes, caplog):
    def pool(name: str, content: dict[str, bytes]) -> Dataset:
        return load_pool(str(folder_of(tmp_path / name, content))) if as_folder else frames(content)

    old, grown = old_pool(), grown_pool()
    embed(pool("old", old), encoder, tmp_path / "1", precision=precision, **SMALL)
    scratch = embed(pool("grown", grown), encoder, tmp_path / "scratch", precision=precision, **SMALL)
    passes.clear()
    caplog.set_level(logging.INFO)
    store = embed(pool("grown", grown), None, tmp_path / "2", grown_from=tmp_path / "1", num_workers=0)
    assert contents(tmp_path / "2") == contents(tmp_path / "scratch")
    assert store.fingerprint == scratch.fingerprint
    assert store.remarks["id"].to_pylist() == ["f/012", "z/new"]
    embedded = [name for name, data in grown.items() if data not in old.values()]
    assert sum(passes) == len(embedded) + 1 + meddel_hf.embedding.carried.LOOKED_AT  # the empty file is read again
    new = (Counter(grown.values()) - Counter(old.values())).total()
    assert new == len(embedded) + 1
    assert (
        f"{new} of {len(grown)} frames are new, {len(embedded)} of them are embedded and 1 is the same bytes as a "
        f"known frame, {len(grown) - new - 1} are carried over from {tmp_path / '1'}, 2 of them under another id, "
        "1 that could not be read is tried again, 4 of its frames are gone"  # three, and the one that was replaced
    ) in caplog.text


def test_unchanged_frames_that_are_copies_of_one_another_have_their_own_ids(encoder, tmp_path, caplog):
    caplog.set_level("INFO", "meddel_hf")
    old = {f"f/{row:03d}": png(row) for row in range(10)} | {"f/copy": png(3)}
    embed(frames(old), encoder, tmp_path / "1", **SMALL)
    Dedup().select(EmbeddingStore.load(tmp_path / "1")).save(tmp_path / "s")
    grown = {**old, **{f"new/{row}": png(800 + row) for row in range(4)}, "new/copy": png(5), "new/broken": b"nothing"}
    store = embed(frames(grown), None, tmp_path / "2", grown_from=tmp_path / "1", num_workers=0)
    told = (
        "6 of 17 frames are new, 5 of them are embedded and 1 is the same bytes as a known frame, 11 are carried over "
    )
    assert any(line == f"{told}from {tmp_path / '1'}" for line in caplog.messages)
    (note, *_) = extend(tmp_path / "s", store).notes
    assert "of 5 new ones are kept, at eta" in note
    assert note.endswith("as before, 1 new one cannot be read")


def test_a_store_of_float16_goes_on_as_one(encoder, tmp_path):
    half = {**SMALL, "store_dtype": "float16"}
    embed(frames(old_pool()), encoder, tmp_path / "whole", **SMALL)
    embed(frames(old_pool()), encoder, tmp_path / "half", **half)
    embed(frames(grown_pool()), encoder, tmp_path / "scratch", **half)
    grown = {"num_workers": 0, "progress": False}
    embed(frames(grown_pool()), None, tmp_path / "1", grown_from=tmp_path / "half", **grown)
    embed(frames(grown_pool()), None, tmp_path / "2", grown_from=tmp_path / "whole", store_dtype="float16", **grown)
    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(tmp_path / "scratch")


def test_where_all_is_carried_over_no_rate_is_told(encoder, tmp_path, caplog):
    caplog.set_level("INFO", "meddel_hf")
    small = {f"f/{row:03d}": png(row) for row in range(6)}
    embed(frames(small), encoder, tmp_path / "1", **SMALL)
    embed(frames(small), None, tmp_path / "2", grown_from=tmp_path / "1", num_workers=0)
    assert any("0 of 6 frames are new and are embedded, 6 are carried over" in line for line in caplog.messages)
    assert "all 6 frames embedded, nothing was left to do" in caplog.messages[-1]


def test_the_reverse_is_the_smaller_store(encoder, tmp_path, passes):
    """Frames removed, and nothing new."""
    content = old_pool()
    embed(frames(content), encoder, tmp_path / "1", **SMALL)
    less = {name: data for row, (name, data) in enumerate(content.items()) if row % 3}
    embed(frames(less), encoder, tmp_path / "scratch", **SMALL)
    passes.clear()
    embed(frames(less), None, tmp_path / "2", grown_from=tmp_path / "1", progress=False)
    assert contents(tmp_path / "2") == contents(tmp_path / "scratch")
    assert sum(passes) <= meddel_hf.embedding.carried.LOOKED_AT + 1  # the empty file has no bytes to be known by


def test_shards_and_columns_may_be_cut_and_called_otherwise(encoder, tmp_path):
    content = old_pool()
    embed(frames(content), encoder, tmp_path / "1", **SMALL)
    other = frames(grown_pool()).rename_columns({"id": "name", "image": "frame"})
    names = {"image_column": "frame", "id_column": "name", "num_workers": 0, "progress": False}
    embed(other, encoder, tmp_path / "scratch", **names, batch_size=4, shard_rows=9)
    embed(other, None, tmp_path / "2", grown_from=EmbeddingStore.load(tmp_path / "1"), **names, shard_rows=9)
    assert contents(tmp_path / "2") == contents(tmp_path / "scratch")


def test_what_would_come_out_otherwise_is_refused(encoder, tmp_path, monkeypatch):
    embed(frames(old_pool()), encoder, tmp_path / "1", precision="float32", **SMALL)
    grown = {"grown_from": tmp_path / "1", "progress": False, "num_workers": 0}
    for option, value in (("batch_size", 5), ("precision", "bf16"), ("pooling", "mean"), ("view", "auto")):
        with pytest.raises(Mismatch, match=f"1 was made with another {option} .*leave --from out"):
            embed(frames(grown_pool()), encoder, tmp_path / "2", **{option: value}, **grown)
    other = shutil.copytree(encoder, tmp_path / "other")
    ViTModel(ViTConfig(**json.loads((Path(encoder) / "config.json").read_text()))).save_pretrained(other)
    with pytest.raises(Mismatch, match="another encoder"):
        embed(frames(grown_pool()), other, tmp_path / "2", **grown)
    with pytest.raises(InvalidArgument, match="is the earlier store itself"):
        embed(frames(grown_pool()), encoder, tmp_path / "1", **grown)
    with pytest.raises(InvalidArgument, match="nothing says with which model"):
        embed(frames(grown_pool()), None, tmp_path / "2")
    stream: IterableDataset = frames(grown_pool()).to_iterable_dataset()
    with pytest.raises(InvalidArgument, match="stream are not known before"):
        embed(stream, None, tmp_path / "stream", **grown)

    pooled = Encoder.pooled  # as another processor would round

    def rounded_otherwise(self, pixels, size=1):
        return {name: unit * (1 + 2**-20) for name, unit in pooled(self, pixels, size).items()}

    monkeypatch.setattr(Encoder, "pooled", rounded_otherwise)
    with pytest.raises(Mismatch, match=r"come out differently here \(embeddings, by up to .*leave --from out"):
        embed(frames(grown_pool()), encoder, tmp_path / "2", **grown)
    assert not (tmp_path / "2" / "manifest.json").exists()


def test_a_store_without_digests_carries_nothing_and_says_so(encoder, tmp_path, passes, caplog):
    store = embed(frames(old_pool()), encoder, tmp_path / "1", **SMALL)
    manifest = read_facts(store.folder / "manifest.json", "")
    for path in store.folder.glob("shard-*.parquet"):  # as an earlier version wrote it
        table = pa.parquet.read_table(path).drop(["digest"])
        pa.parquet.write_table(table, path)
        from meddel_hf.runtime.records import recorded_files

        manifest["files"] |= recorded_files(store.folder, [path.name])
    write_facts(store.folder / "manifest.json", manifest)
    assert EmbeddingStore.load(store.folder).digests is None
    passes.clear()
    embed(frames(grown_pool()), None, tmp_path / "2", grown_from=store.folder, num_workers=0)
    assert "noted no digests of frames: all are embedded" in caplog.text
    assert sum(passes) == len(grown_pool())


def test_a_frame_does_not_depend_on_those_beside_it(encoder):
    """What carrying over rests on, in passes of one size."""
    from meddel_hf.embedding.encoder import load_encoder

    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 32, 3), np.uint8)
    for precision in ("float32", "bf16"):
        model = load_encoder(encoder, pooling="both", precision=precision)
        whole = model.pooled(pixels)
        order = np.random.default_rng(2).permutation(32)
        for name, unit in model.pooled(pixels[order]).items():
            assert torch.equal(unit, whole[name][order]), (precision, name)
        for few in (1, 2, 5, 31):
            for name, unit in model.pooled(pixels[:few], 32).items():
                assert torch.equal(unit, whole[name][:few]), (precision, name, few)


@pytest.mark.slow  # kills of `embed` alone are in test_embed
@pytest.mark.parametrize("from_again", [True, False])
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(encoder, tmp_path, from_again):
    content = {f"f/{row:04d}": png(row) for row in range(160)}
    old = folder_of(tmp_path / "old", dict(list(content.items())[:80]))
    pool = folder_of(tmp_path / "pool", content)
    base = [sys.executable, "-m", "meddel_hf.embed"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    small = ["--num-workers", "0", "--quiet"]

    def run(*parts: str) -> None:
        done = subprocess.run([*base, *parts, *small], env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr

    cut = ("--encoder", encoder, "--batch-size", "2", "--shard-rows", "16")
    run(str(old), "--out", str(tmp_path / "1"), *cut)
    run(str(pool), "--out", str(tmp_path / "scratch"), *cut)
    before, out = contents(tmp_path / "1"), tmp_path / "out"
    parts = [*base, str(pool), "--from", str(tmp_path / "1"), "--out", str(out), *small]
    with subprocess.Popen(parts, env=env, stderr=subprocess.DEVNULL) as process:
        deadline, wanted = time.monotonic() + 120, random.Random(5).randint(1, 8)
        while len(list(out.glob("shard-*.json"))) < wanted and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert not (out / "manifest.json").exists(), "it was through before the signal came"
    run(str(pool), "--out", str(out), *(("--from", str(tmp_path / "1")) if from_again else cut))
    assert contents(out) == contents(tmp_path / "scratch")
    assert contents(tmp_path / "1") == before


def test_of_a_state_without_frames_all_are_new():
    none, kind = pa.chunked_array([[]], pa.string()), pa.binary(16)
    ids, digests = pa.chunked_array([["a", "b"]]), pa.array([b"x" * 16, None], kind)
    assert known_again(ids, digests, none, pa.array([], kind)).tolist() == [-1, -1]
    assert known_again(none, pa.array([], kind), ids, digests).tolist() == []


def test_places_are_those_of_a_search_one_by_one():
    rng = np.random.default_rng(0)
    few = [bytes(rng.integers(0, 3, 16, np.uint8)) for _ in range(40)] + [b"\0" * 16, b"a" + b"\0" * 15, None, None]
    there = [few[i] for i in rng.permutation(len(few))[:30]] * 2 + [None]
    wanted = [few[i] for i in rng.permutation(len(few))]
    expected = [there.index(one) if one is not None and one in there else -1 for one in wanted]
    kind = pa.binary(16)
    assert places(pa.array(wanted, kind), pa.array(there, kind)).tolist() == expected
    assert places(pa.array(wanted, kind)[5:], pa.array(there, kind)).tolist() == expected[5:]  # a slice has an offset
    assert places(pa.array(wanted, kind), pa.array([], kind)).tolist() == [-1] * len(wanted)

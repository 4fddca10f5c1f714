"""The embedding store: what is written is read back; what is not whole is not taken for whole."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open
from stores import contents

from meddel_hf.embedding.remainder import Remainder
from meddel_hf.embedding.store import EmbeddingStore, Shard, StoreWriter
from meddel_hf.embedding.thumbnails import SIDE
from meddel_hf.errors import IncompleteStore, InvalidArgument, InvalidDataset, Mismatch
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.records import write_facts

ARGUMENTS = {"encoder": "a-vit", "pool": "frames", "revision": None, "pooling": "cls", "precision": "float32",
             "batch_size": 2, "shard_rows": 4}  # fmt: skip
PARENTS = {"pool": "p" * 32, "encoder": "e" * 32}


def unit(rows: int, dim: int = 3) -> np.ndarray:
    vectors = np.random.default_rng(rows).normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def pool(rows: int, unreadable: dict[int, str]) -> tuple[np.ndarray, list[str], list[str | None]]:
    return unit(rows), [f"é/{row}" for row in range(rows)], [unreadable.get(row) for row in range(rows)]


def write(
    folder: Path, rows: int, unreadable: dict[int, str], *, order=None, finish=True, arguments=ARGUMENTS
) -> StoreWriter:
    vectors, ids, reasons = pool(rows, unreadable)
    writer = StoreWriter.begin(folder, arguments, PARENTS)
    count = -(-rows // 4)
    for index in order if order is not None else range(count):
        part = range(index * 4, min(index * 4 + 4, rows))
        readable = [row for row in part if reasons[row] is None]
        writer.write(Shard(index, part.start, [ids[row] for row in part], [reasons[row] for row in part],
                           vectors[readable]))  # fmt: skip
    if finish:
        writer.finish(dim=3, row_ids=False)
    return writer


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 9])
def test_what_is_written_is_read(rows, tmp_path):
    unreadable = {0: "truncated", 4: "not an image"} if rows > 4 else {}
    write(tmp_path, rows, unreadable)
    vectors, ids, reasons = pool(rows, unreadable)
    readable = [row for row in range(rows) if reasons[row] is None]
    store = EmbeddingStore.load(str(tmp_path))
    assert (len(store), store.dim, store.pool_fingerprint, store.pool_spec) == (len(readable), 3, "p" * 32, "frames")
    assert (store.embeddings.dtype, store.rows.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(store.embeddings, vectors[readable])
    np.testing.assert_array_equal(store.rows, readable)
    assert store.pool_ids == ids
    expected = [{"row": row, "id": ids[row], "reason": unreadable[row]} for row in unreadable]
    assert store.unreadable.to_pylist() == expected
    assert not store.row_ids
    store.verify()
    assert "rows, 3 numbers each, cls of a-vit in float32" in repr(store)


def test_one_shard_is_mapped_and_never_written_to(tmp_path):
    write(tmp_path, 3, {})
    embeddings = EmbeddingStore.load(tmp_path).embeddings
    assert isinstance(embeddings, np.memmap)
    for folder, rows in (("a", 3), ("b", 9)):
        write(tmp_path / folder, rows, {})
        with pytest.raises(ValueError, match="read-only"):
            EmbeddingStore.load(tmp_path / folder).embeddings[0, 0] = 1


def test_the_files_are_plain_safetensors_that_others_may_read(tmp_path):
    write(tmp_path, 3, {1: "truncated"})
    path = tmp_path / "shard-00000.safetensors"
    with safe_open(path, "np") as file:
        np.testing.assert_array_equal(file.get_tensor("rows"), [0, 2])
        np.testing.assert_array_equal(file.get_tensor("embeddings"), unit(3)[[0, 2]])
    plain = tmp_path / "plain"
    plain.touch()
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {stat.S_IMODE(plain.stat().st_mode)}


def test_nothing_readable(tmp_path):
    write(tmp_path, 5, dict.fromkeys(range(5), "truncated"))
    store = EmbeddingStore.load(tmp_path)
    assert (len(store), store.embeddings.shape, store.rows.shape, len(store.unreadable)) == (0, (0, 3), (0,), 5)


def test_same_bytes_in_any_order_of_writing_and_after_a_stop(tmp_path):
    write(tmp_path / "a", 9, {2: "truncated"})
    write(tmp_path / "b", 9, {2: "truncated"}, order=[2, 0, 1])
    write(tmp_path / "c", 9, {2: "truncated"}, order=[1], finish=False)
    with subprocess.Popen([sys.executable, "-c", ""]) as killed:
        killed.wait()
    (tmp_path / "c" / f".shard-00002.safetensors.{killed.pid}.part").write_bytes(b"half")
    (tmp_path / "c" / "shard-00002.parquet").write_bytes(b"of a killed process")
    write(tmp_path / "c", 9, {2: "truncated"}, order=[0, 2])
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "c")
    assert "begun.json" not in contents(tmp_path / "a")


def test_fingerprint_is_of_content_and_options_not_of_names(tmp_path):
    write(tmp_path / "a", 5, {})
    write(tmp_path / "b", 5, {1: "truncated"})
    prints = {EmbeddingStore.load(tmp_path / name).fingerprint for name in "ab"}
    assert len(prints) == 2
    write(tmp_path / "c", 5, {}, arguments={**ARGUMENTS, "encoder": "/elsewhere/a-vit", "pool": None})
    assert EmbeddingStore.load(tmp_path / "c").fingerprint == EmbeddingStore.load(tmp_path / "a").fingerprint


def test_a_damaged_shard_is_written_again(tmp_path):
    writer = write(tmp_path, 9, {}, finish=False)
    assert writer.shards() == {0: 4, 1: 4, 2: 1}
    path = tmp_path / "shard-00001.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / "shard-00002.parquet").unlink()
    assert writer.shards() == {0: 4}
    path.write_bytes(b"")
    assert writer.shards() == {0: 4}
    with pytest.raises(IncompleteStore, match="lacks shards"):
        write(tmp_path, 9, {}, order=[2])


def test_an_unfinished_or_damaged_folder_is_not_opened(tmp_path):
    with pytest.raises(IncompleteStore, match=r"has no manifest\.json"):
        EmbeddingStore.load(tmp_path)
    write(tmp_path / "a", 9, {}, finish=False)
    with pytest.raises(IncompleteStore, match="begun but not finished"):
        EmbeddingStore.load(tmp_path / "a")
    write(tmp_path / "a", 9, {}, order=[])
    path = tmp_path / "a" / "shard-00001.safetensors"
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-1])
    with pytest.raises(IncompleteStore, match=r"shard-00001\.safetensors has \d+ bytes, expected"):
        EmbeddingStore.load(tmp_path / "a")
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IncompleteStore, match=r"shard-00001\.safetensors changed since"):
        EmbeddingStore.load(tmp_path / "a").verify()
    path.unlink()
    with pytest.raises(IncompleteStore, match="is missing"):
        EmbeddingStore.load(tmp_path / "a")
    Manifest("selection", "f").write(tmp_path)
    with pytest.raises(Mismatch, match="step 'selection'"):
        EmbeddingStore.load(tmp_path)


@pytest.mark.parametrize("finish", [True, False])
def test_another_encoder_data_set_or_option_is_refused(finish, tmp_path):
    write(tmp_path, 9, {}, finish=finish)
    before = contents(tmp_path)
    for parents, arguments, message in (
        ({**PARENTS, "pool": "x"}, ARGUMENTS, "another data set"),
        ({**PARENTS, "encoder": "x"}, ARGUMENTS, "another encoder"),
        (PARENTS, {**ARGUMENTS, "pooling": "mean"}, r"another pooling \('cls', now 'mean'\)"),
        (PARENTS, {**ARGUMENTS, "shard_rows": 5}, r"another shard_rows \(4, now 5\)"),
    ):
        with pytest.raises(Mismatch, match=message):
            StoreWriter.begin(tmp_path, arguments, parents)
    assert StoreWriter.begin(tmp_path, {**ARGUMENTS, "encoder": "moved"}, PARENTS).arguments["encoder"] == "a-vit"
    assert contents(tmp_path) == before


def test_another_library_version_is_refused_midway_only(tmp_path):
    write(tmp_path, 9, {}, finish=False)
    begun = json.loads((tmp_path / "begun.json").read_text())
    begun["versions"]["torch"] = "1.0"
    write_facts(tmp_path / "begun.json", {name: begun[name] for name in ("arguments", "parents", "versions")})
    with pytest.raises(Mismatch, match=r"another torch version \('1\.0', now .*finish it with that version"):
        StoreWriter.begin(tmp_path, ARGUMENTS, PARENTS)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InvalidArgument, match="not empty"):
        StoreWriter.begin(tmp_path, ARGUMENTS, PARENTS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_process_without_the_claim_writes_nothing(tmp_path):
    StoreWriter.begin(tmp_path / "a", ARGUMENTS, PARENTS, claim=False)
    assert list((tmp_path / "a").iterdir()) == []


def test_of_a_stream_the_content_makes_the_fingerprint(tmp_path):
    prints = []
    for folder, content in (("a", "x"), ("b", "x"), ("c", "y")):
        writer = StoreWriter.begin(tmp_path / folder, ARGUMENTS, {"encoder": "e"})
        writer.write(Shard(0, 0, ["i"], [None], unit(1), content=content))
        assert writer.content(0) == content
        prints.append(writer.finish(dim=3, row_ids=True).pool_fingerprint)
    assert prints[0] == prints[1] != prints[2]
    assert pq.read_table(tmp_path / "a" / "shard-00000.parquet").column_names == ["row", "id", "reason"]
    with pytest.raises(InvalidDataset, match="no rows"):
        StoreWriter.begin(tmp_path / "empty", ARGUMENTS, {"encoder": "e"}).finish(dim=3, row_ids=True)


OTHER = {**PARENTS, "pool": "q" * 32}


def begun_with_a_strangers_shard(folder: Path, stranger: Path, *, record: bool) -> None:
    """Shards 0 and 1 of three; of number 1 the files are those of another data set's store, of the same size."""
    write(folder, 9, {}, order=[0, 1], finish=False)
    writer = StoreWriter.begin(stranger, ARGUMENTS, OTHER)
    writer.write(Shard(1, 4, [f"ü/{row}" for row in range(4, 8)], [None] * 4, unit(8)[4:]))
    for suffix in ("parquet", "safetensors", "json") if record else ("parquet", "safetensors"):
        name = f"shard-00001.{suffix}"
        assert (folder / name).stat().st_size == (stranger / name).stat().st_size
        shutil.copy(stranger / name, folder / name)


@pytest.mark.parametrize("record", [False, True])
def test_a_shard_of_another_store_is_written_anew(record, tmp_path):
    begun_with_a_strangers_shard(tmp_path / "a", tmp_path / "stranger", record=record)
    assert StoreWriter.begin(tmp_path / "a", ARGUMENTS, PARENTS).shards() == {0: 4}
    write(tmp_path / "a", 9, {}, order=[1, 2])
    write(tmp_path / "b", 9, {})
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_shard_of_another_store_is_told_in_a_finished_one(tmp_path):
    begun_with_a_strangers_shard(tmp_path / "x", tmp_path / "stranger", record=False)
    write(tmp_path / "a", 9, {})
    shutil.copy(tmp_path / "stranger" / "shard-00001.safetensors", tmp_path / "a")
    with pytest.raises(IncompleteStore, match=r"shard-00001\.safetensors changed since it was written"):
        _ = EmbeddingStore.load(tmp_path / "a").embeddings
    with pytest.raises(IncompleteStore, match=r"shard-00001\.safetensors changed since it was written"):
        StoreWriter.begin(tmp_path / "a", ARGUMENTS, PARENTS).shards()  # embed does not say that nothing is left to do
    assert EmbeddingStore.load(tmp_path / "a").pool_ids[4] == "é/4"  # of a file that is sound
    assert EmbeddingStore.load(tmp_path / "a", trust=True).embeddings.shape == (9, 3)


def test_what_a_run_left_that_was_killed_at_its_end_is_removed(tmp_path):
    write(tmp_path, 9, {}, finish=False)
    leftovers = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert len(leftovers) == 4
    write(tmp_path, 9, {}, order=[])
    whole = contents(tmp_path)
    for name, data in leftovers.items():
        (tmp_path / name).write_bytes(data)
    StoreWriter.begin(tmp_path, ARGUMENTS, PARENTS, claim=False)
    assert contents(tmp_path) == {**whole, **leftovers}
    StoreWriter.begin(tmp_path, ARGUMENTS, PARENTS)
    assert contents(tmp_path) == whole


def test_thumbnails_of_some_rows_are_read_from_their_shards_alone(tmp_path):
    small = np.random.default_rng(0).integers(0, 256, (9, SIDE, SIDE), dtype=np.uint8)
    writer = StoreWriter.begin(tmp_path / "s", {**ARGUMENTS, "thumbnails": SIDE}, PARENTS)
    for index in range(3):
        part = slice(index * 3, index * 3 + 3)
        ids, tensors = [str(row) for row in range(9)[part]], {"thumbnails": small[part]}
        writer.write(Shard(index, part.start, ids, [None] * 3, unit(9)[part], "", tensors))
    store = writer.finish(dim=3, row_ids=False)
    wanted = np.array([8, 0, 8, 2])
    assert np.array_equal(store.thumbnails_of(wanted), small[wanted])
    left = Remainder.of(store, np.array([1, 4, 8]))
    assert np.array_equal(left.thumbnails_of(np.array([2, 0])), small[[8, 1]])
    (tmp_path / "s" / "shard-00001.safetensors").write_bytes(b"")
    assert np.array_equal(store.thumbnails_of(np.array([0, 8])), small[[0, 8]]), "the others are not asked for"

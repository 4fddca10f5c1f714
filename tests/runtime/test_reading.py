"""What is read back: damage is one sentence that names the file and the cure, whatever the library says."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from meddel_hf.benchmark.plan import Plan
from meddel_hf.benchmark.yaml_file import read_yaml
from meddel_hf.embedding.shards import mapped
from meddel_hf.errors import IncompleteStore, InvalidArgument, MedDELError
from meddel_hf.runtime.reading import CURE, read_json, read_lines
from meddel_hf.runtime.tables import exactly, read_schema, read_table

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import full_disks
import fuzz_commands
import fuzz_damage
import fuzz_plans

COLUMNS = exactly(row=pa.int64(), id=pa.string())


def written(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_a_sound_table_is_read(tmp_path):
    path = written(tmp_path / "t.parquet", row=[1, 2], id=["a", "b"], more=[0.5, 1.5])
    assert read_table(path, COLUMNS).to_pylist() == [{"row": 1, "id": "a"}, {"row": 2, "id": "b"}]
    assert read_table(path).column_names == ["row", "id", "more"]
    assert read_schema(path)[1] == 2


@pytest.mark.parametrize(("columns", "words"), [
    ({"row": [1]}, "has no column 'id'"), ({"row": ["1"], "id": ["a"]}, "column 'row' is string, expected int64"),
    ({"row": [1, None], "id": ["a", "b"]}, "1 row has no 'row'"),
    ({"row": [1], "id": pa.array([b"\xff\xfe"]).cast(pa.binary()).view(pa.string())}, "UTF8")])  # fmt: skip
def test_a_table_of_something_else(columns, words, tmp_path):
    path = written(tmp_path / "t.parquet", **columns)
    with pytest.raises(IncompleteStore, match=words) as raised:
        read_table(path, COLUMNS)
    assert str(path) in str(raised.value)
    assert CURE in str(raised.value)


def test_every_cut_and_every_flipped_byte_of_a_table_is_a_table_or_a_sentence(tmp_path):
    path = written(tmp_path / "t.parquet", row=[1, 2], id=["a", "b"])
    sound, sentences = path.read_bytes(), 0
    variants = [sound[:cut] for cut in range(0, len(sound), 7)]
    variants += [sound[:at] + bytes([sound[at] ^ 0x10]) + sound[at + 1 :] for at in range(len(sound))]
    for variant in variants:
        path.write_bytes(variant)
        try:
            read_table(path, COLUMNS).to_pylist()
        except MedDELError as error:
            sentences += "\n" not in str(error)
    assert sentences > len(variants) // 3


def test_what_the_system_says_stays_an_os_error(tmp_path):
    with pytest.raises(IncompleteStore, match="is missing"):
        read_table(tmp_path / "nowhere.parquet")
    with pytest.raises(IsADirectoryError):
        read_table(tmp_path)
    with pytest.raises(IsADirectoryError):
        read_json(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"])
def test_json_that_is_no_mapping(content, tmp_path):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(IncompleteStore, match="is damaged"):
        read_json(tmp_path / "x.json")


def test_the_mark_that_windows_puts_before_a_text_is_no_part_of_the_first_id(tmp_path):
    (tmp_path / "ids").write_bytes("\ufeffa/1\r\na/2\r\n".encode())
    assert read_lines(tmp_path / "ids", "a list of ids") == ["a/1", "a/2"]


def test_a_list_of_ids_that_is_no_text(tmp_path):
    (tmp_path / "ids").write_bytes(b"a\n\xff\n")
    with pytest.raises(InvalidArgument, match="is a folder: expected a file with a list of ids, one a line"):
        read_lines(tmp_path, "a list of ids")
    with pytest.raises(InvalidArgument, match="is no text in UTF-8: expected a list of ids"):
        read_lines(tmp_path / "ids", "a list of ids")


@pytest.mark.parametrize("change", [
    lambda head: struct.pack("<Q", 2**63) + head[8:], lambda head: struct.pack("<Q", len(head)) + head[8:],
    lambda head: head.replace(b'"F32"', b'"F99"'), lambda head: head.replace(b"[0,8]", b"[8,0]"),
    lambda head: head.replace(b"[0,8]", b"[0,9]"), lambda head: head.replace(b'"shape"', b'"shapf"'),
    lambda head: b"\0" * 8 + head[8:], lambda head: head[:5], lambda head: b"",
    lambda head: head.replace(b"{", b"[", 1),
])  # fmt: skip
def test_headers_of_tensors(change, tmp_path):
    header = json.dumps(
        {"embeddings": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}}, separators=(",", ":")
    )
    content = struct.pack("<Q", len(header)) + header.encode() + np.zeros(2, np.float32).tobytes()
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert mapped(path, "embeddings", "<f4", (2,)).shape == (1, 2)
    path.write_bytes(change(content))
    with pytest.raises(IncompleteStore, match=r"x\.safetensors is damaged"):
        mapped(path, "embeddings", "<f4", (2,))


@pytest.mark.parametrize(("text", "words"), [
    ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' stands in line 1 already"), ("? [a, b]\n: c\n", "a key is text"),
    ("1: a\n", "a key is text"), ("[" * 200 + "]" * 200, "nested too deeply"), ("a: &x [*x]\n", "holds itself"),
    ("a: " + "9" * 5000, "is not YAML"), ("a: !!python/object:os.system x\n", "is not YAML"), ("\tx", "is not YAML"),
    ("a: !!set {x}\n", "is not YAML"), ("a: '" + "x" * 300_000 + "'", "larger than"),
    (fuzz_plans.laughs().decode(), "once its aliases are unfolded")])  # fmt: skip
def test_yaml_that_is_no_plan(text, words, tmp_path):
    (tmp_path / "plan.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidArgument, match=words):
        read_yaml(tmp_path / "plan.yaml", "a plan")


def test_plain_yaml_stays_what_it_is(tmp_path):
    text = "a: &d {x: 1, y: 0.5}\nb: {<<: *d, x: 2}\nday: 2024-01-01\nmore: [null, true]\n"
    (tmp_path / "plan.yaml").write_text(text, encoding="utf-8")
    assert read_yaml(tmp_path / "plan.yaml", "a plan") == {
        "a": {"x": 1, "y": 0.5}, "b": {"x": 2, "y": 0.5}, "day": "2024-01-01", "more": [None, True],
    }  # fmt: skip


@pytest.mark.parametrize(("change", "words"), [
    ({"seeds": 20240101}, r"seeds is a number of seeds from 1 to 1,000, got 20240101; a list .* \[20240101\]"),
    ({"seeds": 0}, "from 1 to 1,000"), ({"seeds": [2**32]}, "a seed must be a whole number from 0"),
    ({"seeds": list(range(60_000))}, "asks for 120,000 cells"), ({"retentions": [float("nan")]}, "finite number"),
    ({"name": "a\0b"}, "characters that no text has"), ({"name": "\ud800"}, "characters that no text has"),
    ({"tasks": [{"kind": ["x"]}]}, "kind must be one of"), ({"gate_level": 10**400}, "must be a number")])  # fmt: skip
def test_plans_that_ask_for_too_much(change, words):
    plan = {"name": "x", "pool": "p", "pretraining": {}, "tasks": [{"name": "t", "kind": "probe", "labels": "p"}]}
    assert Plan.of(plan).seeds == (0, 1, 2)
    with pytest.raises(InvalidArgument, match=words):
        Plan.of({**plan, **change})


def test_a_seeded_handful_of_plans_with_mistakes(tmp_path):
    assert fuzz_plans.fuzz(120, 11, tmp_path) == []


def test_a_seeded_handful_of_damaged_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    fuzz_commands.make(tmp_path)
    light = {"embeddings": ("select", "sweep", "probe"), "selection": ("why", "filter"), "runs": ("report", "pack"),
             "encoder": ("embed",)}  # fmt: skip
    monkeypatch.setattr(fuzz_damage, "READERS", light)
    assert [(what, str(odd)) for what, odd in fuzz_damage.fuzz(25, 2)] == []


def may_mount() -> bool:
    return shutil.which("unshare") is not None and subprocess.run(["unshare", "--mount", "true"]).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not may_mount(), reason="needs root: a small file system is mounted")
def test_full_disks(tmp_path):
    script = [sys.executable, full_disks.__file__, "--json", "--sizes", "64", "32768", "--", "embed"]
    done = subprocess.run(["unshare", "--mount", *script], cwd=tmp_path, capture_output=True, text=True)
    results = json.loads(done.stdout.splitlines()[-1])
    for name, (tries, wrong) in results.items():
        assert tries > 1, f"{name}: no try failed"
        assert wrong == [], name

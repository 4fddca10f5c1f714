"""JSON that carries a checksum of itself, and records of files."""

from __future__ import annotations

import hashlib
import json
import math

import pytest
import xxhash

from meddel_hf.errors import IncompleteStore
from meddel_hf.runtime.records import check_files, read_facts, recorded_files, write_facts

FACTS = {"b": [1, (2, 3)], "a": {"x": None, "é": "ß"}, "loss": math.inf, "long": "f" * 32}


def test_facts_are_read_as_they_were_written(tmp_path):
    for facts in (FACTS, {}):
        write_facts(tmp_path / "facts.json", facts)
        assert read_facts(tmp_path / "facts.json", "") == json.loads(json.dumps(facts))


def test_every_flipped_bit_of_facts_is_told_or_in_the_white_space(tmp_path):
    path = tmp_path / "facts.json"
    write_facts(path, FACTS)
    sound, facts, harmless = path.read_bytes(), read_facts(path, ""), 0
    for at in range(len(sound)):
        for bit in range(8):
            data = bytearray(sound)
            data[at] ^= 1 << bit
            path.write_bytes(data)
            found = read_or_told(path)
            assert found == facts or (isinstance(found, str) and str(path) in found and found.endswith(": mend it"))
            harmless += found == facts
    assert harmless < len(sound) / 2  # of eight bits a byte


def read_or_told(path):
    try:
        return read_facts(path, "mend it")
    except IncompleteStore as error:
        return str(error)


def test_facts_of_before_there_were_checksums_are_taken_as_they_stand(tmp_path):
    path = tmp_path / "facts.json"
    for facts in ({"tasks": {"a": "f" * 32}}, {}, {"seconds": 3.5}):
        path.write_text(json.dumps(facts))
        assert read_facts(path, "") == facts


def test_records_hold_what_other_tools_say(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one").write_bytes(b"one" * 400_000)  # more than a block
    found = recorded_files(tmp_path, ["in/one"])
    assert found == {"in/one": {"bytes": 1_200_000, "xxh3": xxhash.xxh3_128(b"one" * 400_000).hexdigest()}}
    check_files(tmp_path, found, "")
    older = {"in/one": {"bytes": 1_200_000, "sha256": hashlib.sha256(b"one" * 400_000).hexdigest()}}
    check_files(tmp_path, older, "")
    (tmp_path / "in" / "one").write_bytes(b"one" * 399_999 + b"onE")
    for records in (found, older):
        with pytest.raises(IncompleteStore, match=r"in/one changed since it was written .*: copy it"):
            check_files(tmp_path, records, "copy it")
        check_files(tmp_path, records, "", trust=True)
    (tmp_path / "in" / "one").write_bytes(b"one")
    with pytest.raises(IncompleteStore, match="in/one has 3 bytes, expected 1,200,000"):
        check_files(tmp_path, found, "", trust=True)


@pytest.mark.parametrize("record", [None, 3, [], {}, {"bytes": 3}, {"bytes": "many", "xxh3": ""}], ids=str)
def test_a_damaged_record_is_told(record, tmp_path):
    (tmp_path / "one").write_bytes(b"one")
    with pytest.raises(IncompleteStore, match="one"):
        check_files(tmp_path, {"one": record}, "")

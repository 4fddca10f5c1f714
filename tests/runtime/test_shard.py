"""Which of how many processes this is."""

from __future__ import annotations

import pytest

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.shard import Shard


@pytest.mark.parametrize("text", ["3/2", "0/2", "2", "/", "1/", "-1/2", "1.5/2", "a/b", "", "1/2/3"])
def test_what_is_no_shard_is_one_sentence(text):
    with pytest.raises(InvalidArgument) as caught:
        Shard.parse(text)
    assert str(caught.value) == f"a shard is i/n with 1 <= i <= n, such as 2/8; got {text!r}"


def test_parts_are_all_items_once():
    items = list(range(11))
    parts = [Shard.parse(f"{index}/4").part(items) for index in range(1, 5)]
    assert sorted(item for part in parts for item in part) == items
    assert max(map(len, parts)) - min(map(len, parts)) == 1


def test_a_launcher_says_which_it_is(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert Shard.launched() is None
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert Shard.launched() is None, "a launcher with one process shares nothing out"
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "2")
    assert Shard.launched() == Shard(3, 4)

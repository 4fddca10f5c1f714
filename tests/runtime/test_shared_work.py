"""Processes that share parts through a folder: each part is done once, and nothing foreign is taken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.runtime import shared_work as module
from meddel_hf.runtime.shard import Shard
from meddel_hf.runtime.shared_work import PartsGone, SharedWork, cut, digest_of, even, in_parts, shared_work, sharing

PARTS = 12
# Does parts of a sum, each of which it notes down and takes a moment for; then prints the sum.
WORKER = f"""
import os, sys, time
from pathlib import Path
import numpy as np
from meddel_hf.runtime.shard import Shard
from meddel_hf.runtime.shared_work import SharedWork
folder, log, index, of, slow = Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:6])
def answer(part):
    with log.open("a") as file:
        file.write(f"{{index}} {{part}}\\n")
    time.sleep(60 if part == slow else 0.05)
    return {{"square": np.array([part * part])}}
work = SharedWork(folder, {{"eta": 0.8}}, Shard(index, of), lambda: False)
print(sum(int(found["square"][0]) for found in work.answers("squares", "q", [1.0] * {PARTS}, answer)), flush=True)
"""


def begin(folder: Path, log: Path, index: int, of: int, slow: int = -1) -> subprocess.Popen:
    command = [sys.executable, "-c", WORKER, folder, log, str(index), str(of), str(slow)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def alone(folder: Path, shard: Shard = Shard(), **facts) -> SharedWork:  # noqa: B008  # frozen
    return SharedWork(folder, facts or {"eta": 0.8}, shard, lambda: False)


@pytest.mark.parametrize("of", [1, 3])
def test_every_part_is_done_once_and_all_read_all(of, tmp_path):
    log = tmp_path / "log"
    workers = [begin(tmp_path / "parts", log, index, of) for index in range(1, of + 1)]
    for worker in workers:
        out, told = worker.communicate(timeout=60)
        assert (worker.returncode, out) == (0, f"{sum(part * part for part in range(PARTS))}\n"), told
    done = [line.split() for line in log.read_text().splitlines()]
    assert sorted(int(part) for _, part in done) == list(range(PARTS))
    assert len({index for index, _ in done}) <= of


def test_the_part_of_a_process_that_is_killed_is_done_by_another(tmp_path):
    folder, log = tmp_path / "parts", tmp_path / "log"
    stuck = begin(folder, log, 1, 2, slow=0)
    until = time.monotonic() + 60
    while not (log.exists() and "1 0\n" in log.read_text()) and time.monotonic() < until:
        time.sleep(0.02)
    other = begin(folder, log, 2, 2)
    while len(log.read_text().splitlines()) < PARTS and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.5)
    assert other.poll() is None, "it waits for the part that is being done"
    stuck.send_signal(signal.SIGKILL)
    out, told = other.communicate(timeout=60)
    stuck.communicate()
    assert out == f"{sum(part * part for part in range(PARTS))}\n", told
    done = [line.split() for line in log.read_text().splitlines()]
    assert sorted(int(part) for _, part in done) == [0, *range(PARTS)]
    assert ["2", "0"] in done


def test_what_is_there_is_not_done_again(tmp_path):
    def answers(work: SharedWork, question: str) -> list[float]:
        return [float(found["x"][0]) for found in work.answers("x", question, [1.0] * 4, lambda p: {"x": np.ones(1)})]

    first, second = alone(tmp_path / "parts"), alone(tmp_path / "parts")
    assert answers(first, "a") == answers(second, "a") == [1.0] * 4
    assert (first.done, second.done, second.asked) == (4, 0, 4)
    answers(second, "b")
    assert second.done == 4, "another question has other parts"
    list(second.answers("x", "a", [2.0] * 4, lambda part: {"x": np.ones(1)}))
    assert second.done == 8, "and so has another cut"


@pytest.mark.parametrize("damage", ["cut short", "empty", "one bit"])
def test_a_damaged_part_is_done_again(damage, tmp_path):
    def answers(work: SharedWork) -> list[int]:
        return [int(found["x"][0]) for found in work.answers("x", "q", [1.0] * 3, lambda p: {"x": np.array([p])})]

    assert answers(alone(tmp_path / "parts")) == [0, 1, 2]
    (path,) = tmp_path.glob("parts/x-*/00001")
    content = bytearray(path.read_bytes())
    content[9] ^= 1
    path.write_bytes({"cut short": bytes(content[:20]), "empty": b"", "one bit": bytes(content)}[damage])
    again = alone(tmp_path / "parts")
    assert answers(again) == [0, 1, 2]
    assert again.done == 1


def test_the_dear_parts_are_begun_first_unless_in_turn(tmp_path):
    for in_turn, expected in ((False, [2, 0, 3, 1]), (True, [0, 1, 2, 3])):
        begun: list[int] = []

        def answer(part: int, begun: list[int] = begun) -> dict[str, np.ndarray]:
            begun.append(part)
            return {"x": np.zeros(1)}

        list(alone(tmp_path / str(in_turn)).answers("x", "q", [5.0, 1.0, 9.0, 2.0], answer, in_turn))
        assert begun == expected


def test_parts_that_are_not_asked_for_are_not_done(tmp_path):
    work = alone(tmp_path / "parts")
    answers = work.answers("x", "q", [1.0] * 9, lambda part: {"x": np.zeros(1)}, in_turn=True)
    next(answers)
    assert work.done == 1


def test_a_folder_of_another_question_is_refused_and_stays(tmp_path):
    list(alone(tmp_path / "parts").answers("x", "q", [1.0] * 2, lambda part: {"x": np.zeros(1)}))
    before = sorted(tmp_path.rglob("*"))
    other = alone(tmp_path / "parts", eta=0.9)
    for attempt in (other.check, lambda: list(other.answers("x", "q", [1.0], lambda part: {"x": np.zeros(1)}))):
        with pytest.raises(Mismatch, match=r"parts was begun with another eta \(0.8, now 0.9\): choose another --out"):
            attempt()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_process_whose_folder_goes_is_told(tmp_path):
    work = alone(tmp_path / "parts")
    answers = work.answers("x", "q", [1.0] * 9, lambda part: {"x": np.zeros(1)}, in_turn=True)
    next(answers)
    alone(tmp_path / "parts").remove()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(PartsGone, match="went while this process was at work"):
        next(answers)
    with pytest.raises(PartsGone):
        list(work.answers("y", "q", [1.0] * 9, lambda part: {"x": np.zeros(1)}))


def test_a_process_that_comes_late_begins_nothing(tmp_path):
    late = SharedWork(tmp_path / "parts", {"eta": 0.8}, Shard(2, 2), lambda: True)
    with pytest.raises(PartsGone, match="needed no longer"):
        list(late.answers("x", "q", [1.0] * 2, lambda part: {"x": np.zeros(1)}))


def test_an_error_of_the_work_leaves_nothing_half_written(tmp_path):
    def answer(part: int) -> dict[str, np.ndarray]:
        raise InvalidArgument("no")

    work = alone(tmp_path / "parts")
    with pytest.raises(InvalidArgument, match="no"):
        list(work.answers("x", "q", [1.0] * 2, answer))
    (folder,) = tmp_path.glob("parts/x-*")
    assert list(folder.iterdir()) == []
    folder.rmdir()
    work.remove_where_empty()
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_one_sentence(tmp_path, monkeypatch):
    def lockf(*args):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(module.fcntl, "lockf", lockf)
    with pytest.raises(InvalidArgument, match=r"without locks \(Function not implemented\).*name an --out on another"):
        list(alone(tmp_path / "parts").answers("x", "q", [1.0] * 2, lambda part: {"x": np.zeros(1)}))


@pytest.mark.parametrize("costs", [[1.0] * 1000, [1000.0] + [1.0] * 999, list(range(1000)), [0.0] * 5, [], [7.0]])
def test_a_cut_holds_every_unit_once_and_parts_cost_about_the_same(costs, monkeypatch):
    monkeypatch.setattr(module, "_LEAST", 10)
    parts = cut(np.array(costs, np.float64))
    assert [unit for part in parts for unit in range(part.start, part.stop)] == list(range(len(costs)))
    assert len(parts) <= module._MOST + 1
    size = max(10, sum(costs) / module._MOST)
    assert all(sum(costs[part]) <= size + 2 * max(costs, default=0) for part in parts)


@pytest.mark.parametrize("rows", [0, 1, 99, 1000, 12345])
@pytest.mark.parametrize("multiple", [1, 64])
def test_even_parts_hold_every_row_once(rows, multiple, monkeypatch):
    monkeypatch.setattr(module, "_LEAST", 10)
    parts = even(rows, 3.0, multiple)
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(rows))
    assert all(part.start % multiple == 0 for part in parts)
    assert len(parts) <= module._MOST


def test_who_is_alone_leaves_no_file_and_does_it_at_once(tmp_path):
    asked = []

    def answer(part: slice) -> dict[str, np.ndarray]:
        asked.append(part)
        assert shared_work() is None, "what is inside a part is not shared once more"
        return {"x": np.arange(part.start, part.stop)}

    def question() -> str:
        raise AssertionError("nobody asks for a digest where nothing is shared")

    assert in_parts("x", question, 10, 1e18, answer)["x"].tolist() == list(range(10))
    assert asked == [slice(0, 10)]
    with sharing(alone(tmp_path / "parts")):
        assert in_parts("x", lambda: "q", 10, 1e18, answer)["x"].tolist() == list(range(10))
    assert len(asked) == 11
    assert (tmp_path / "parts").is_dir()


def test_digests_tell_apart_what_differs():
    things = [
        ("ab", "c"), ("a", "bc"), (1,), (1.0,), ("1",), (np.zeros(2),), (np.zeros((2, 1)),), (np.zeros(2, np.float32),),
        (np.zeros(0),), (np.zeros(0, np.int64),), (None,),
    ]  # fmt: skip
    assert len({digest_of(*each) for each in things}) == len(things)
    x = np.arange(12.0).reshape(3, 4)
    assert digest_of(x[:, ::2]) == digest_of(x[:, ::2].copy())


def test_one_process_at_a_time_writes(tmp_path):
    code = (
        WORKER.partition("def answer")[0]
        + """
work = SharedWork(folder, {"eta": 0.8}, Shard(index, of), lambda: False)
with work.alone():
    before = log.exists()
    log.touch(); time.sleep(0.4); log.unlink()
    print(before)
"""
    )
    commands = [[sys.executable, "-c", code, tmp_path / "parts", tmp_path / "log", str(i), "3", "0"] for i in (1, 2, 3)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for command in commands]
    assert [worker.communicate(timeout=60)[0] for worker in workers] == ["False\n"] * 3

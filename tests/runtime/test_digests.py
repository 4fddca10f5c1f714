"""Digests of files: those of their content, remembered until it changes, whatever happens to the memory."""

from __future__ import annotations

import io
import os
import random
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xxhash

from meddel_hf.errors import InvalidDataset
from meddel_hf.runtime import digests, memory, regular
from meddel_hf.runtime.digests import file_digests
from meddel_hf.runtime.memory import Memory
from meddel_hf.runtime.regular import open_regular

DATABASE = "digests.sqlite"


@pytest.fixture(autouse=True)
def own_memory(tmp_path, monkeypatch):
    monkeypatch.setenv(memory.LOCATION, str(tmp_path / "memory" / DATABASE))
    monkeypatch.setattr(digests, "_RACY", -3600.0)  # files of this very second are remembered too


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The files that were opened to be read."""
    names: list[str] = []

    def counted(path):
        names.append(Path(path).name)
        return open_regular(path)

    monkeypatch.setattr(digests, "open_regular", counted)
    return names


def files(folder: Path, count: int = 70) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number}.bin" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * (number * 1000))
    return paths


def own(paths: list[Path]) -> list[str]:
    return [xxhash.xxh3_128(path.read_bytes()).hexdigest() for path in paths]


def test_digests_are_of_the_content_and_each_file_is_read_once(tmp_path, opened):
    paths = files(tmp_path / "x")
    assert file_digests(paths) == own(paths)
    assert sorted(opened) == sorted(path.name for path in paths)
    opened.clear()
    (tmp_path / "link").symlink_to(tmp_path / "x")
    assert file_digests([tmp_path / "link" / path.name for path in reversed(paths)]) == own(paths)[::-1]
    assert opened == []
    assert (tmp_path / "memory" / DATABASE).stat().st_mode & 0o077 == 0, "names of files are their owner's"


def test_same_size_and_same_time_do_not_hide_a_change(tmp_path, opened):
    paths = files(tmp_path / "x", 3)
    before, stat = file_digests(paths), paths[1].stat()
    time.sleep(0.05)  # clocks of file systems tick in milliseconds
    paths[1].write_bytes(b"?" * stat.st_size)
    os.utime(paths[1], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    opened.clear()
    assert file_digests(paths) == own(paths) != before
    assert opened == ["1.bin"]


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(digests, "_RACY", 2.0)
    paths = files(tmp_path / "x", 3)
    for _ in range(2):
        assert file_digests(paths) == own(paths)
    assert len(opened) == 6


def test_a_regular_file_with_nothing_to_read_yet(tmp_path, monkeypatch):
    def empty_pipe(path):  # /proc/kmsg answers like one, and calls itself a regular file
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        ends.append(writing)
        return os.fdopen(reading, "rb")

    ends = []
    monkeypatch.setattr(regular, "open_regular", empty_pipe)
    with pytest.raises(regular.NotRegular, match="nothing to read yet"):
        regular.read_regular(tmp_path / "kmsg.png", 100)
    os.close(*ends)


def test_what_is_no_file_is_told_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        names = ["pipe", "zero", "loop", "gone", "folder", "socket", "absent", "pipe/below"]
        assert file_digests([tmp_path / name for name in names]) == [
            "!not a file: a named pipe", "!not a file: a device", "!a link that leads to itself", "!file not found",
            "!not a file: a folder", "!not a file: a socket", "!file not found", "!file not found",
        ]  # fmt: skip


def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch):
    (path,) = files(tmp_path / "x", 1)
    path.write_bytes(b"x" * 10)

    class Written(io.FileIO):
        """A file that another process writes to as soon as it is read."""

        def read(self, size=-1):
            with path.open("ab") as more:
                more.write(b"y" * 10)
            return super().read(min(size, 10)) if path.stat().st_size < 50 else b""

    monkeypatch.setattr(digests, "open_regular", Written)
    with pytest.raises(InvalidDataset, match=r"0\.bin changed while it was being read"):
        file_digests([path])


def test_a_damaged_memory_never_changes_an_answer(tmp_path):
    paths = files(tmp_path / "x", 40)
    expected, database = own(paths), tmp_path / "memory" / DATABASE
    file_digests(paths)
    sound, chance = database.read_bytes(), random.Random(0)
    for _ in range(25):
        damaged = bytearray(sound)
        for _ in range(3):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        database.write_bytes(damaged)
        assert file_digests(paths) == expected
    for content in (b"", b"no database", sound[:5000]):
        database.write_bytes(content)
        assert file_digests(paths) == expected
    assert Memory(database).of(str(tmp_path / "x")).keys() == {path.name for path in paths}, "it was begun anew"


def test_without_a_place_to_remember_everything_works(tmp_path, monkeypatch):
    paths = files(tmp_path / "x", 3)
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "folder" / DATABASE).mkdir(parents=True)
    for place in (tmp_path / "file" / DATABASE, tmp_path / "folder" / DATABASE, "/proc/nowhere/x.sqlite", "off", ""):
        monkeypatch.setenv(memory.LOCATION, str(place))
        assert file_digests(paths) == own(paths)


def test_a_locked_memory_is_not_waited_for_long(tmp_path, monkeypatch):
    paths = files(tmp_path / "x", 3)
    file_digests(paths)
    monkeypatch.setattr(memory, "_WAIT", 0.1)
    with sqlite3.connect(tmp_path / "memory" / DATABASE, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        paths[0].write_bytes(b"new")
        assert file_digests(paths) == own(paths)
        other.execute("ROLLBACK")


def test_old_folders_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_MOST_FILES", 5)
    for name in ("a", "b", "c"):
        file_digests(files(tmp_path / name, 3))
        with sqlite3.connect(tmp_path / "memory" / DATABASE) as database:
            database.execute("UPDATE folders SET used = used - 10")
    held = [len(Memory.usual().of(str(tmp_path / name))) for name in ("a", "b", "c")]
    assert held == [0, 0, 3]


READER = """
import sys
from pathlib import Path
from meddel_hf.runtime import digests
digests._RACY, real, count = -3600.0, digests.open_regular, []
digests.open_regular = lambda path: count.append(path) or real(path)
found = digests.file_digests(sorted(Path(sys.argv[1]).iterdir()))
print(len(count), *found)
"""


def test_processes_that_ask_at_once_read_once(tmp_path):
    paths = sorted(files(tmp_path / "x", 200))
    started = [
        subprocess.Popen([sys.executable, "-c", READER, str(tmp_path / "x")], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    answers = [process.communicate()[0].split() for process in started]
    assert [answer[1:] for answer in answers] == [own(paths)] * 3
    assert sum(int(answer[0]) for answer in answers) == len(paths)

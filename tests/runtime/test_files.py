"""Outputs appear whole or not at all, wherever they are to stand; what dead processes left is swept."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.files import (
    MANIFEST,
    check_can_write,
    checksum,
    interrupted,
    is_vacant,
    leftovers,
    sweep,
    whole_file,
    whole_folder,
)

KILLED = """
import os, signal, sys
from pathlib import Path
from meddel_hf.runtime import files

replace, renames = os.replace, []
def counted(source, target):
    if len(renames) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    renames.append(target)
    replace(source, target)
files.os.replace = counted
with files.whole_folder(Path(sys.argv[1])) as aside:
    for name in ("a", "b", "manifest.json"):
        (aside / name).write_text("new")
"""


def content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def fill(folder: Path, text: str, names: tuple[str, ...] = ("rows", "data/one", MANIFEST), **options) -> None:
    with whole_folder(folder, **options) as aside:
        for name in names:
            (aside / name).parent.mkdir(exist_ok=True)
            (aside / name).write_text(text)


def dead_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.fixture
def alive():
    """A process that lives until the test ends."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(FileNotFoundError):
        fill(tmp_path / "out", "1", ("rows", "no/such/folder"))
    assert list(tmp_path.iterdir()) == []
    fill(tmp_path / "deep" / "out", "1")
    assert content(tmp_path) == {"deep/out/rows": "1", "deep/out/data/one": "1", "deep/out/manifest.json": "1"}


def test_the_folder_in_which_one_stands_is_filled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    number = tmp_path.stat().st_ino
    fill(Path(), "1")
    fill(Path("."), "2", ("rows", MANIFEST))
    assert content(tmp_path) == {"rows": "2", MANIFEST: "2"}
    assert tmp_path.stat().st_ino == number


def test_what_a_link_leads_to_is_written_and_the_link_stays(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    for name in ("folder", "later"):
        (tmp_path / name).symlink_to(disk / name)
    (disk / "folder").mkdir()
    fill(tmp_path / "folder", "1")
    fill(tmp_path / "later", "2")
    (disk / "table.csv").write_text("old")
    (tmp_path / "table.csv").symlink_to(disk / "table.csv")
    with whole_file(tmp_path / "table.csv") as aside:
        aside.write_text("new")
    assert all((tmp_path / name).is_symlink() for name in ("folder", "later", "table.csv"))
    assert content(disk)["folder/rows"] == "1"
    assert content(disk)["later/rows"] == "2"
    assert (disk / "table.csv").read_text() == "new"


@pytest.mark.skipif(os.geteuid() != 0 or platform.system() != "Linux", reason="mounting needs root")
def test_a_mount_point_is_filled(tmp_path):
    code = (
        "import sys; from pathlib import Path; from meddel_hf.runtime.files import whole_folder\n"
        "for text in '12':\n"
        "    with whole_folder(Path(sys.argv[1])) as aside: (aside / 'manifest.json').write_text(text)\n"
        "print((Path(sys.argv[1]) / 'manifest.json').read_text())"
    )
    script = 'mount -t tmpfs none "$1" && mkdir "$1/lost+found" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, code]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare" in ran.stderr or "mount" in ran.stderr.partition("\n")[0]:
        pytest.skip(f"no mount here: {ran.stderr.strip()}")
    assert (ran.returncode, ran.stdout) == (0, "2\n"), ran.stderr


def test_only_the_files_of_the_older_output_go(tmp_path):
    fill(tmp_path / "out", "1", ("rows", "pairs", "data/one", MANIFEST))
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "precious").write_text("mine")
    fill(tmp_path / "out", "2", ("rows", MANIFEST), replaced=["rows", "pairs", "data/one", "../precious"])
    assert content(tmp_path / "out") == {"rows": "2", MANIFEST: "2", "notes.txt": "mine"}
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "out" / "data").exists()


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_killed_while_the_files_are_renamed_the_folder_is_not_taken_for_whole_and_can_be_written(renames, tmp_path):
    out = tmp_path / "out"
    fill(out, "old", ("a", "b", "c", MANIFEST))
    died = subprocess.run([sys.executable, "-c", KILLED, str(out), str(renames)], check=False)
    assert died.returncode == -signal.SIGKILL
    assert not (out / MANIFEST).exists()
    assert leftovers(out)
    assert is_vacant(out)
    assert set(content(out)) - {f"{leftovers(out)[0].name}/{name}" for name in ("a", "b", MANIFEST)} == {
        *interrupted(out),
        f"{leftovers(out)[0].name}/.filling.json",
    }
    (out / "notes").mkdir()
    (out / "notes" / "mine").write_text("mine")
    assert not is_vacant(out)
    (out / "notes" / "mine").unlink()
    fill(out, "newer", ("a", MANIFEST))
    assert content(out) == {"a": "newer", MANIFEST: "newer"}
    assert not leftovers(out)


def test_what_a_dead_process_left_before_it_renamed_anything_makes_nothing_of_others_vacant(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    half = tmp_path / f".{platform.node()}-{dead_process()}.part"
    half.mkdir()
    (half / "notes.txt").write_text("new")
    assert not is_vacant(tmp_path)
    assert interrupted(tmp_path) == []
    (half / ".filling.json").write_text("[")
    assert not is_vacant(tmp_path)
    (tmp_path / "notes.txt").unlink()
    assert is_vacant(tmp_path)


def test_a_process_that_was_slower_replaces_the_other_ones_files_alone(tmp_path):
    out = tmp_path / "out"
    with whole_folder(out, replaced=[]) as aside:
        (aside / MANIFEST).write_text("slower")
        out.mkdir()
        for name, text in (("rows", "faster"), (MANIFEST, '{"files": {"rows": {}}}'), ("notes.txt", "mine")):
            (out / name).write_text(text)
    assert content(out) == {MANIFEST: "slower", "notes.txt": "mine"}


def test_leftovers_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path, alive):
    host = platform.node()
    names = {
        f".out.{host}-{dead_process()}.part": False,
        f".other.{host}-{dead_process()}.part": True,
        f".out.{host}-{alive.pid}.part": True,
        f".out.another-{dead_process()}.part": True,
        f".out.{dead_process()}.part": False,  # as older versions called them
    }
    for name in names:
        (tmp_path / name).mkdir()
    fill(tmp_path / "out", "1")
    assert {name: (tmp_path / name).exists() for name in names} == names
    sweep(tmp_path)
    assert len(leftovers(tmp_path)) == 2
    os.utime(tmp_path / next(name for name in names if "another" in name), (0, 0))
    sweep(tmp_path)
    assert [str(alive.pid) in path.name for path in leftovers(tmp_path)] == [True]


def test_what_is_no_regular_file_is_written_straight(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with whole_file(pipe) as aside:
        aside.write_text("through")
    reader.join(timeout=5)
    assert read == ["through"]
    assert pipe.is_fifo()
    code = "from meddel_hf.runtime.files import whole_file; from pathlib import Path\nprint('one')\n"
    code += "with whole_file(Path('/dev/stdout')) as aside: aside.write_text('two')"
    with (tmp_path / "log").open("w") as log:
        subprocess.run([sys.executable, "-c", code], stdout=log, check=True)
    assert (tmp_path / "log").read_text() == "one\ntwo"
    assert Path("/dev/stdout").is_symlink()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_file_system_that_takes_no_folders_is_named_and_not_what_is_written_aside():
    with (
        pytest.raises(InvalidArgument, match=r"^/proc/nope cannot be written: /proc takes"),
        whole_folder(Path("/proc/nope")),
    ):
        pass


def test_what_cannot_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgument, match="is a file: name a folder"), whole_folder(tmp_path / "file"):
        raise AssertionError
    with pytest.raises(InvalidArgument, match="is a folder: name a file"), whole_file(tmp_path):
        raise AssertionError
    with pytest.raises(InvalidArgument, match="is a file; name another place"):
        check_can_write(tmp_path / "file" / "out")
    check_can_write(tmp_path / "new" / "out")
    if os.geteuid() != 0:  # root may write everywhere
        tmp_path.chmod(0o500)
        with pytest.raises(InvalidArgument, match="is read-only for this user"):
            check_can_write(tmp_path / "new" / "out")


@pytest.mark.parametrize("size", [0, 1, (1 << 20) + 1])
def test_the_checksum_is_that_of_the_whole_file(size, tmp_path):
    import xxhash

    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    assert checksum(tmp_path / "file") == xxhash.xxh3_128_hexdigest(data)
    changed = bytearray(data or b"x")
    changed[-1] ^= 1
    (tmp_path / "file").write_bytes(changed)
    assert checksum(tmp_path / "file") != xxhash.xxh3_128_hexdigest(data)

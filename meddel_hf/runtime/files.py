"""Outputs appear whole or not at all: written aside, then renamed; what a killed process left aside is swept.

A folder that is there already (`.`, a mount point, what a link leads to, an older output) is not replaced but filled:
the old files go, the new ones are renamed into it one by one, and the file that makes the folder count comes last.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import xxhash

from meddel_hf.errors import InvalidArgument

MANIFEST = "manifest.json"

_PART = ".part"
_FILLING = ".filling.json"  # in what is written aside: the files that come into a folder, and those that go
_HOST = platform.node().replace("/", "-")
_DAY = 86_400  # seconds after which the leftovers of another machine's process are nobody's
_NOT_OURS = ("lost+found",)  # what an empty mount point may hold
_BLOCK = 1 << 20


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the name `path` once the block ends without an error.

    A link stays, and what it leads to is written. What is no regular file, such as /dev/stdout, stays too, and is
    written to at the end.
    """
    target = Path(os.path.realpath(path))
    if _is_written_straight(path, target):
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch, target.name)
            sys.stdout.flush()  # what was printed before stands before it
            with Path(scratch, target.name).open("rb") as file, path.open("ab") as straight:
                shutil.copyfileobj(file, straight)
        return
    sweep(target.parent, target.name)
    aside = aside_of(target)
    try:
        yield aside
        _sync(aside)
        os.replace(aside, target)
        _sync(target.parent)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, replaced: Collection[str] | None = None) -> Iterator[Path]:
    """Yield an empty folder to write to; its files stand in `path` once the block ends without an error.

    replaced: files of an older output in `path` that go, by their names relative to it; None: all that is there.
    Its manifest goes first and the new one comes last, so that a folder with a manifest is always whole.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_dir():
        raise InvalidArgument(f"{path} is a file: name a folder to write to")
    in_place = target.is_dir()
    beside = target if in_place else target.parent
    beside.mkdir(parents=True, exist_ok=True)
    name = "" if in_place else target.name
    sweep(beside, name)
    aside = beside / _aside(name)
    try:
        aside.mkdir()
    except FileNotFoundError:  # such as /proc, whose rights say otherwise
        raise InvalidArgument(f"{path} cannot be written: {beside} takes no new folders; name another place") from None
    try:
        yield aside
        for file in aside.rglob("*"):
            _sync(file)
        if target.is_dir():  # since the beginning, or since another process was faster
            _fill(target, aside, replaced if in_place or replaced is None else _recorded(target))
        else:
            os.rename(aside, target)
        _sync(beside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what dead processes left half-written in a folder: of the output `name` ("": the folder itself), or all.

    Of another machine's processes it is not known whether they live: theirs goes after a day.
    """
    for path in leftovers(folder):
        if (name is None or path.name.startswith(f".{name}." if name else f".{_HOST}-")) and _is_dead(path):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def leftovers(folder: Path) -> list[Path]:
    """What processes, dead or alive, have written aside in a folder."""
    try:
        with os.scandir(folder) as entries:
            return [Path(e.path) for e in entries if is_aside(e.name)]
    except FileNotFoundError:
        return []


def is_aside(name: str) -> bool:
    """Whether a file or folder of that name is being written aside."""
    return name.startswith(".") and name.endswith(_PART)


def is_vacant(folder: Path) -> bool:
    """True where a folder may be written to whatever is to stand in it: not there, empty, or left by a killed run."""
    if not folder.is_dir():
        return not os.path.lexists(folder) or (folder.is_symlink() and not folder.exists())
    others = [name for name in os.listdir(folder) if name not in _NOT_OURS and not is_aside(name)]
    if not others or (folder / MANIFEST).is_file():
        return not others
    known = set(interrupted(folder))
    return bool(known) and known.issuperset(files_below(folder, others))


def interrupted(folder: Path) -> list[str]:
    """Files of a run that was killed while it renamed them into the folder, and of the output that it was replacing."""
    names: set[str] = set()
    for path in leftovers(folder):
        try:
            names.update(json.loads((path / _FILLING).read_text(encoding="utf-8")))
        except (OSError, ValueError):  # killed before that
            continue
    return sorted(name for name in names if os.path.lexists(folder / name))


def files_below(folder: Path, names: Collection[str] | None = None) -> Iterator[str]:
    """Files and links among some names in a folder (None: all), and below those of them that are folders."""
    for name in os.listdir(folder) if names is None else names:
        path = folder / name
        if path.is_symlink() or not path.is_dir():
            yield name
            continue
        for place, folders, files in os.walk(path):
            linked = [inner for inner in folders if (Path(place) / inner).is_symlink()]
            for inner in (*files, *linked):
                yield (Path(place) / inner).relative_to(folder).as_posix()


def check_can_write(path: Path) -> None:
    """Raises InvalidArgument where nothing could be written at `path`; to be asked before the work, not after."""
    there = existing(path)
    if not os.access(there, os.W_OK | (os.X_OK if there.is_dir() else 0)):
        raise InvalidArgument(f"{path} cannot be written: {there} is read-only for this user; name another place")
    if not there.is_dir() and there != Path(os.path.realpath(path)):
        raise InvalidArgument(f"{path} cannot be written: {there} is a file; name another place")


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there, as it is called without links."""
    there = Path(os.path.realpath(path))
    while not there.exists():
        there = there.parent
    return there


def checksum(path: Path) -> str:
    """XXH3-128 of a file's bytes, in hex: 32 digits, at the speed of memory; it tells damage, not forgery."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def aside_of(path: Path) -> Path:
    """Where this process writes what will take the name `path`."""
    return path.with_name(_aside(path.name))


def _aside(name: str) -> str:
    stem = f".{name}." if name else "."
    return f"{stem}{_HOST}-{os.getpid()}{_PART}"


def _is_dead(path: Path) -> bool:
    """Whether the process that wrote `path` is gone."""
    stem = path.name.removesuffix(_PART)
    pid = stem.rpartition("-")[2] if stem.endswith(f"{_HOST}-{stem.rpartition('-')[2]}") else stem.rpartition(".")[2]
    try:
        if not pid.isdecimal():
            return time.time() - path.stat().st_mtime > _DAY
        os.kill(int(pid), 0)
    except (ProcessLookupError, FileNotFoundError, OverflowError):
        return True
    except PermissionError:  # somebody else's process
        return False
    return int(pid) == os.getpid()  # a process has finished with one output before it begins another of that name


def _is_written_straight(path: Path, target: Path) -> bool:
    if target.is_dir():
        raise InvalidArgument(f"{path} is a folder: name a file to write to")
    if target.exists() and not target.is_file():
        return True
    return str(path).startswith(("/dev/", "/proc/"))  # such as /dev/stdout, which may lead to a file that is open


def _fill(target: Path, aside: Path, replaced: Collection[str] | None) -> None:
    """Rename what stands in `aside` into `target`, in place of the older output there."""
    if replaced is None:
        replaced = [name for name in os.listdir(target) if name not in _NOT_OURS and not name.endswith(_PART)]
    files = sorted(file.relative_to(aside) for file in aside.rglob("*") if not file.is_dir())
    noted = sorted({*files_below(target, replaced), *(file.as_posix() for file in files)})
    (aside / _FILLING).write_text(json.dumps(noted), encoding="utf-8")  # for who comes next, should this be killed
    _sync(aside / _FILLING)
    (target / MANIFEST).unlink(missing_ok=True)
    for name in replaced:
        _remove(target, name)
    for file in sorted(files, key=lambda file: file == Path(MANIFEST)):
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        os.replace(aside / file, target / file)


def _recorded(folder: Path) -> list[str]:
    """Files that the manifest of a folder records, if there is one."""
    try:
        return list(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _remove(target: Path, name: str) -> None:
    """Remove a file or folder of an older output, and the folders that it leaves empty."""
    path = target / name
    if not path.resolve().is_relative_to(target) and not path.is_symlink():
        return  # a manifest that was tampered with names no file outside its folder
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    for parent in path.parents:
        if parent == target or not parent.is_dir() or any(parent.iterdir()):
            break
        parent.rmdir()


def _sync(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder, before anything relies on it."""
    if path.is_file() or path.is_dir():
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError:
            if path.is_file():  # some file systems cannot do it for a folder
                raise
        finally:
            os.close(handle)

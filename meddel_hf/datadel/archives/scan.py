"""What lies in the folders that the user names: every file, also inside archives, without unpacking anything."""

from __future__ import annotations

import os
import re
import stat
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from meddel_hf.datadel.archives.entries import Compression, Container, Entry, Tree, stamp_of
from meddel_hf.datadel.archives.folders import HIDDEN, Odd, is_hidden, walk
from meddel_hf.datadel.archives.members import DAMAGE, open_stream, open_zip, said
from meddel_hf.errors import InvalidDataset, UnreadableArchive

_ARCHIVES = re.compile(r"\.(zip|tar|tar\.gz|tgz|tar\.bz2|tbz2|tar\.xz|txz)$", re.IGNORECASE)
_UNSUPPORTED = re.compile(r"\.(rar|7z)$", re.IGNORECASE)
_COMPRESSIONS: dict[str, Compression] = {
    "tar": "", "tar.gz": "gz", "tgz": "gz", "tar.bz2": "bz2", "tbz2": "bz2", "tar.xz": "xz", "txz": "xz",
}  # fmt: skip
_MAX_DEPTH = 3  # an archive in an archive in an archive
_MAX_MEMBERS = 5_000_000  # of one archive: a few megabytes can claim more than fits into memory
_BOMB_RATIO, _BOMB_SIZE = 1000, 1_000_000_000  # a tar member larger than both allow cannot be honest


def scan(roots: Sequence[Path], *, leave_out: Path | None = None, inside: bool = False) -> Tree:
    """List every file below the roots (folders or archives), archives included, `leave_out` not.

    inside: links that lead out of a root are not followed.

    Only plain files are listed. What is no such file, or cannot be reached, a damaged or unsafe archive, and hidden
    files become problems of the tree. Raises InvalidDataset where a root is not there, or is no folder and no archive.
    """
    tree = Tree()
    for root in dict.fromkeys(root.resolve() for root in roots):
        try:
            facts = root.stat()
            if stat.S_ISDIR(facts.st_mode):
                _scan_folder(tree, root, leave_out, inside)
            elif stat.S_ISREG(facts.st_mode):
                _scan_file(tree, root, root.name, 0)
            else:
                raise InvalidDataset(f"{root} is neither a folder nor an archive (.zip, .tar, .tar.gz)")
        except FileNotFoundError:
            raise InvalidDataset(f"{root} does not exist: name the folder that holds the owners' archives") from None
    tree.folders = {
        name: sorted(tree.folders[name], key=lambda e: (e.name, e.container)) for name in sorted(tree.folders)
    }
    return tree


def _scan_folder(tree: Tree, root: Path, leave_out: Path | None, inside: bool) -> None:
    tree.containers.append(Container("folder", root.name, root))
    number = len(tree.containers) - 1
    for entry in walk(root, leave_out, inside=inside):
        virtual = f"{root.name}/{entry.name}"
        if isinstance(entry, Odd):
            tree.note(virtual, entry.reason, entry.kind)
        elif _is_archive(entry.name):
            _scan_file(tree, entry.path, virtual, 0)
        else:
            folder, _, name = virtual.rpartition("/")
            facts = entry.facts
            inode = facts.st_dev, facts.st_ino
            _add(tree, Entry(folder, name, facts.st_size, stamp_of(facts), number, inode=inode))


def _scan_file(tree: Tree, place: Path | Entry, virtual: str, depth: int) -> None:
    """List an archive; what is wrong with it as a whole becomes one problem, and none of it is used."""
    unsupported = _UNSUPPORTED.search(virtual)
    if unsupported:
        name = virtual.rpartition("/")[2]
        cure = f"unpack it first (unrar x '{name}', or 7z x '{name}') and build again"
        tree.note(virtual, f"a {unsupported[1].upper()} archive, which cannot be read here: {cure}")
        return
    suffix = _ARCHIVES.search(virtual)
    if suffix is None:
        raise InvalidDataset(f"{place} is neither a folder nor an archive (.zip, .tar, .tar.gz)")
    if depth >= _MAX_DEPTH:
        tree.note(virtual, f"an archive {_MAX_DEPTH} archives deep: unpack it first")
        return
    kind: Literal["zip", "tar"] = "zip" if suffix[1].lower() == "zip" else "tar"
    compression = _COMPRESSIONS.get(suffix[1].lower(), "")
    facts = place.stat() if isinstance(place, Path) else None
    inode, stamp = ((facts.st_dev, facts.st_ino), stamp_of(facts)) if facts else (None, None)
    container = Container(kind, virtual[: suffix.start()], place, compression, inode, stamp)
    before = len(tree.problems)
    tree.containers.append(container)
    number = len(tree.containers) - 1
    try:
        listed = list(_members(tree, container, number))
    except (*DAMAGE, UnreadableArchive) as error:
        del tree.problems[before:]
        if isinstance(error, PermissionError):
            tree.note(virtual, f"cannot be read: {said(error)}")
            return
        tree.note(virtual, f"damaged or unfinished archive ({said(error)}): download it again")
        return
    for entry in listed:
        if _is_archive(entry.name):
            _scan_file(tree, entry, entry.path, depth + 1)
        else:
            _add(tree, entry)


def _members(tree: Tree, container: Container, number: int) -> Iterator[Entry]:
    """Entries of an archive; links, and names that lead out of it, become problems."""
    members = _zip_members(tree, container) if container.kind == "zip" else _tar_members(tree, container)
    whole = container.place.stamp if isinstance(container.place, Entry) else container.stamp
    anew = 0 if container.kind == "zip" else whole or 0  # a tar has no checksums of its members
    for count, (name, size, stamp, position, odd) in enumerate(members):
        if count == _MAX_MEMBERS:
            raise UnreadableArchive(f"more than {_MAX_MEMBERS:,} files")
        path = f"{container.prefix}/{name}"
        reason = odd or _unsafe(name)
        if reason:
            tree.note(path, reason)
        elif any(map(is_hidden, name.split("/"))):
            tree.note(path, HIDDEN, "not read")
        else:
            folder, _, last = path.rpartition("/")
            yield Entry(folder, last, size, stamp + anew, number, position)


_Member = tuple[str, int, int, int, str | None]  # name, size, stamp, position, why it must not be read


def _zip_members(tree: Tree, container: Container) -> Iterator[_Member]:
    with open_zip(tree.containers, container) as archive:
        for position, info in enumerate(archive.infolist()):
            if info.is_dir():
                continue
            kind = stat.S_IFMT(info.external_attr >> 16)
            link = "a link: only plain files are read" if kind not in (0, stat.S_IFREG) else None
            locked = "encrypted: unpack it with its password first" if info.flag_bits & 1 else None
            yield info.filename.replace("\\", "/"), info.file_size, info.CRC, position, link or locked


def _tar_members(tree: Tree, container: Container) -> Iterator[_Member]:
    with open_stream(tree.containers, container) as stream:
        plain = not container.in_order
        size = os.path.getsize(container.place) if isinstance(container.place, Path) else container.place.size
        with tarfile.open(fileobj=stream, mode="r:" if plain else "r|") as archive:
            for info in archive:
                archive.members = []  # type: ignore[attr-defined]  # it would keep all of them
                if info.isdir():
                    continue
                if info.size > _BOMB_SIZE and info.size > size * _BOMB_RATIO:
                    raise UnreadableArchive(f"{info.name} claims {info.size:,} bytes in an archive of {size:,}")
                odd = None if info.isreg() and not info.issparse() else "a link: only plain files are read"
                name = info.name.removeprefix("./")
                yield name, info.size, int(info.mtime), info.offset_data, odd


def _unsafe(name: str) -> str | None:
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "its name is an absolute path"
    if ".." in name.split("/"):
        return "its name leads out of the archive"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return None


def _add(tree: Tree, entry: Entry) -> None:
    try:
        entry.path.encode("utf-8")
    except UnicodeEncodeError:
        tree.note(entry.path, "its name is not UTF-8")
        return
    tree.folders.setdefault(entry.folder, []).append(entry)


def _is_archive(name: str) -> bool:
    return bool(_ARCHIVES.search(name) or _UNSUPPORTED.search(name))

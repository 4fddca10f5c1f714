"""What the loopback Hub holds: repositories with commits and branches, and file contents by their SHA-256."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class HubError(Exception):
    """An answer other than success: status, and the code by which the clients choose their exception."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True)
class Blob:
    """A file's content by its two names: git's object id and the SHA-256 under which it is stored."""

    sha256: str
    oid: str
    size: int
    lfs: bool

    @classmethod
    def of(cls, data: bytes, lfs: bool) -> Blob:
        sha256 = hashlib.sha256(data).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(data)}\n".encode()
        in_git = pointer if lfs else data
        return cls(sha256, hashlib.sha1(b"blob %d\0" % len(in_git) + in_git).hexdigest(), len(data), lfs)

    @property
    def etag(self) -> str:
        """What the Hub calls the content: the SHA-256 of an LFS file, git's id of any other."""
        return self.sha256 if self.lfs else self.oid

    def facts(self, path: str) -> dict[str, Any]:
        """The file's entry in a tree listing."""
        facts: dict[str, Any] = {"type": "file", "path": path, "size": self.size, "oid": self.oid}
        if self.lfs:
            facts["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": 134}
        return facts


@dataclass
class Repo:
    """One repository: what was asked at its creation, commits (id -> path -> blob) and branches (name -> commit)."""

    request: dict[str, Any]
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, Blob]) -> str:
        names = [(path, blob.oid) for path, blob in sorted(files.items())]
        commit = hashlib.sha1(f"{self.request} {len(self.commits)} {names}".encode()).hexdigest()
        self.commits[commit] = files
        self.branches[branch] = commit
        return commit


class Storage:
    """Repositories by (type, id), such as ("dataset", "user/name"); contents in `root/blobs/<sha256>`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.repos: dict[tuple[str, str], Repo] = {}
        (root / "blobs").mkdir(parents=True)

    def repo(self, repo_type: str, repo_id: str) -> Repo:
        found = self.repos.get((repo_type, repo_id))
        if found is None:
            raise HubError(404, "RepoNotFound", f"no {repo_type} {repo_id}")
        return found

    def tree(self, repo_type: str, repo_id: str, revision: str) -> tuple[str, dict[str, Blob]]:
        """Commit id and files (path -> blob) at a branch or commit."""
        repo = self.repo(repo_type, repo_id)
        commit = repo.branches.get(revision, revision)
        if commit not in repo.commits:
            raise HubError(404, "RevisionNotFound", f"no revision {revision}")
        return commit, repo.commits[commit]

    def has(self, sha256: str) -> bool:
        return (self.root / "blobs" / sha256).is_file()

    def put(self, data: bytes, lfs: bool) -> Blob:
        blob = Blob.of(data, lfs)
        (self.root / "blobs" / blob.sha256).write_bytes(data)
        return blob

    def content(self, sha256: str) -> bytes:
        if not self.has(sha256):
            raise HubError(400, "MissingObject", f"object {sha256} was never uploaded")
        return (self.root / "blobs" / sha256).read_bytes()

    def apply(self, key: str, value: dict[str, Any], files: dict[str, Blob]) -> None:
        """Carry out one line of a commit on `files`."""
        path = value["path"]
        if key == "file":
            files[path] = self.put(base64.b64decode(value["content"]), lfs=False)
        elif key == "lfsFile":
            files[path] = Blob.of(self.content(value["oid"]), lfs=True)
        elif key == "deletedFile":
            if files.pop(path, None) is None:
                raise HubError(404, "EntryNotFound", f"A file with this name doesn't exist: {path}")
        elif key == "deletedFolder":
            for gone in [name for name in files if name.startswith(path.rstrip("/") + "/")]:
                del files[gone]
        else:
            raise HubError(400, "BadRequest", f"the loopback Hub does not know the commit operation {key}")


def entries(files: dict[str, Blob]) -> dict[str, dict[str, Any]]:
    """What a tree lists, path -> facts: the files and the folders that their paths imply."""
    listed = {path: blob.facts(path) for path, blob in files.items()}
    for path in files:
        for folder in map(str, Path(path).parents):
            if folder != ".":
                listed[folder] = {"type": "directory", "path": folder, "size": 0, "oid": "0" * 40}
    return listed

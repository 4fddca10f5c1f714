"""A small Hub on 127.0.0.1, for the real clients: huggingface_hub, datasets and evaluate talk HTTP to it.

It holds models, datasets and Spaces with commits, branches and LFS files, and answers the calls that `create_repo`,
`upload_folder`, `push_to_hub`, `load_dataset`, `hf_hub_download`, `snapshot_download` and `evaluate.load` make.
Writing needs the token `TOKEN`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub_storage import HubError, Repo, Storage, entries

TOKEN = "hf_loopback"
USER = "user"
PAGE = 50  # entries of one tree answer; small, so that tests meet a second page
# What the real Hub tracks with LFS by its default .gitattributes, as far as tests need it.
LFS_SUFFIXES = (".parquet", ".safetensors", ".arrow", ".bin", ".npy", ".png", ".jpg", ".zip")
LFS_SIZE = 10_000_000
DATE = "2024-01-01T00:00:00.000Z"


class LoopbackHub:
    """The server. `with LoopbackHub(folder) as hub:` serves on `hub.endpoint` until the block ends."""

    def __init__(self, root: Path) -> None:
        self.empty(root)
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def empty(self, root: Path) -> None:
        """Nothing in it, under the address that it has; what a killed client still sends is not for this one."""
        self.root = root
        self.storage = Storage(root)
        self.requests: list[str] = []  # "GET /path", with " [bytes=0-7]" where a range was asked for
        self.refusals: dict[str, int] = {}  # "POST /path" as a pattern -> status to answer; 0 ends the connection
        self.delays: dict[str, float] = {}  # "PUT /path" as a pattern -> seconds until it is answered, one at a time

    def __enter__(self) -> LoopbackHub:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def files(self, repo_id: str, repo_type: str = "model", revision: str = "main") -> list[str]:
        """Paths that the repository holds at a branch or commit."""
        return sorted(self.storage.tree(repo_type, repo_id, revision)[1])

    def read(self, repo_id: str, path: str, repo_type: str = "model", revision: str = "main") -> bytes:
        """Content of one stored file."""
        return self.storage.content(self.storage.tree(repo_type, repo_id, revision)[1][path].sha256)


class _Handler(BaseHTTPRequestHandler):
    """One request: the route table at the end of this file names the method that answers it."""

    protocol_version = "HTTP/1.1"
    hub: LoopbackHub

    def setup(self) -> None:
        self.storage = self.hub.storage
        super().setup()

    def log_message(self, format: str, *args: object) -> None:
        """Silent: `hub.requests` is the log."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        self.body = self._read_body()
        asked = self.headers.get("Range")
        self.hub.requests.append(f"{self.command} {unquote(self.path)}" + (f" [{asked}]" if asked else ""))
        try:
            for pattern, status in self.hub.refusals.items():
                if re.match(pattern, f"{self.command} {url.path}"):
                    if status == 0:
                        self.close_connection = True
                        return
                    raise HubError(status, "", f"refused with {status}")
            answer, names = self._route(url.path)
            if self.command in ("POST", "PUT") and answer not in _OPEN:
                self._require_token()
            with self.hub.lock:
                asked = f"{self.command} {url.path}"
                time.sleep(sum(each for pattern, each in self.hub.delays.items() if re.match(pattern, asked)))
                answer(self, **names)
        except HubError as error:
            headers = {"X-Error-Code": error.code, "X-Error-Message": str(error)}
            self._json({"error": str(error)}, error.status, headers)
        except ConnectionError:
            self.close_connection = True  # a client that was killed

    do_HEAD = do_POST = do_PUT = do_GET

    def _route(self, path: str) -> tuple[Callable[..., None], dict[str, str]]:
        for method, pattern, answer in _ROUTES:
            match = re.fullmatch(pattern, path)
            if method == self.command and match:
                names = {key: unquote(value) for key, value in match.groupdict(default="").items()}
                return answer, {**names, "type": names["type"] or "model"} if "type" in names else names
        raise HubError(404, "NotFound", f"the loopback Hub does not know {self.command} {path}")

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _require_token(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise HubError(401, "Unauthorized", "Invalid credentials in Authorization header")

    def _json(self, answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._bytes(json.dumps(answer).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _bytes(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def whoami(self) -> None:
        self._require_token()
        self._json({"type": "user", "id": "1", "name": USER, "auth": {"type": "access_token"}, "orgs": []})

    def validate_yaml(self) -> None:
        self._json({"errors": [], "warnings": []})

    def create_repo(self) -> None:
        asked = json.loads(self.body)
        repo_type, repo_id = asked.get("type") or "model", f"{asked.get('organization') or USER}/{asked['name']}"
        prefix = "" if repo_type == "model" else f"{repo_type}s/"
        answer = {"url": f"{self.hub.endpoint}/{prefix}{repo_id}", "name": repo_id}
        if (repo_type, repo_id) in self.storage.repos:
            self._json({**answer, "error": "You already created this repo"}, 409)
            return
        repo = self.storage.repos[repo_type, repo_id] = Repo(asked)
        repo.commit("main", {".gitattributes": self.storage.put(b"*.parquet filter=lfs\n", lfs=False)})
        self._json(answer)

    def create_branch(self, type: str, id: str, revision: str) -> None:
        repo = self.storage.repo(type, id)
        if revision in repo.branches:
            raise HubError(409, "BranchExists", f"branch {revision} exists")
        start = json.loads(self.body or b"{}").get("startingPoint", "main")
        repo.branches[revision] = self.storage.tree(type, id, start)[0]
        self._json({})

    def preupload(self, type: str, id: str, revision: str) -> None:
        present = self.storage.tree(type, id, revision)[1]
        answers = []
        for file in json.loads(self.body)["files"]:
            lfs = file["path"].endswith(LFS_SUFFIXES) or file["size"] > LFS_SIZE
            answer = {"path": file["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
            if file["path"] in present:
                answer["oid"] = present[file["path"]].etag
            answers.append(answer)
        self._json({"files": answers})

    def lfs_batch(self, type: str, id: str) -> None:
        self.storage.repo(type, id)
        objects = []
        for asked in json.loads(self.body)["objects"]:
            actions = {
                "upload": {"href": f"{self.hub.endpoint}/lfs/{asked['oid']}"},
                "verify": {"href": f"{self.hub.endpoint}/lfs-verify"},
            }
            objects.append({**asked, **({} if self.storage.has(asked["oid"]) else {"actions": actions})})
        self._json({"transfer": "basic", "objects": objects})

    def lfs_upload(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise HubError(400, "BadDigest", f"the uploaded bytes do not have the SHA-256 {oid}")
        self.storage.put(self.body, lfs=True)
        self._bytes(b"", 200, {})

    def lfs_verify(self) -> None:
        asked = json.loads(self.body)
        if len(self.storage.content(asked["oid"])) != asked["size"]:
            raise HubError(400, "BadSize", "the uploaded object has another size")
        self._json({"message": "ok"})

    def commit(self, type: str, id: str, revision: str) -> None:
        parent, files = self.storage.tree(type, id, revision)
        files = dict(files)
        header, *operations = [json.loads(line) for line in self.body.splitlines()]
        if header["value"].get("parentCommit", parent) != parent:
            raise HubError(412, "PreconditionFailed", "A commit has happened since. Please refresh and try again.")
        for operation in operations:
            self.storage.apply(operation["key"], operation["value"], files)
        commit = self.storage.repo(type, id).commit(revision, files)
        self._json({"commitOid": commit, "commitUrl": f"{self.hub.endpoint}/{type}s/{id}/commit/{commit}"})

    def info(self, type: str, id: str, revision: str = "main") -> None:
        commit, files = self.storage.tree(type, id, revision)
        siblings = [{"rfilename": path, "size": blob.size, "blobId": blob.oid} for path, blob in sorted(files.items())]
        private = self.storage.repo(type, id).request.get("visibility") == "private"
        facts = {"id": id, "modelId": id, "author": id.split("/")[0], "sha": commit, "siblings": siblings}
        self._json({**facts, "private": private, "tags": [], "createdAt": DATE, "lastModified": DATE})

    def refs(self, type: str, id: str) -> None:
        branches = self.storage.repo(type, id).branches.items()
        named = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit} for name, commit in branches]
        self._json({"branches": named, "converts": [], "tags": [], "pullRequests": []})

    def tree(self, type: str, id: str, revision: str, folder: str) -> None:
        listed = entries(self.storage.tree(type, id, revision)[1])
        if folder and listed.get(folder, {}).get("type") != "directory":
            raise HubError(404, "EntryNotFound", f"{folder} does not exist on {revision}")
        prefix = f"{folder}/" if folder else ""
        deep = self.query.get("recursive", "").lower() in ("true", "1")
        inside = [
            facts
            for path, facts in sorted(listed.items())
            if path.startswith(prefix) and (deep or "/" not in path.removeprefix(prefix))
        ]
        start = int(self.query.get("cursor", 0))
        headers = {}
        if len(inside) > start + PAGE:
            address = f"{self.hub.endpoint}{urlsplit(self.path).path}?recursive={deep}&cursor={start + PAGE}"
            headers["Link"] = f'<{address}>; rel="next"'
        self._json(inside[start : start + PAGE], headers=headers)

    def paths_info(self, type: str, id: str, revision: str) -> None:
        listed = entries(self.storage.tree(type, id, revision)[1])
        self._json([listed[path] for path in parse_qs(self.body.decode()).get("paths", []) if path in listed])

    def resolve(self, type: str, id: str, revision: str, path: str) -> None:
        commit, files = self.storage.tree(type, id, revision)
        if path not in files:
            raise HubError(404, "EntryNotFound", f"no file {path} at {revision}")
        blob = files[path]
        data = self.storage.content(blob.sha256)
        headers = {"ETag": f'"{blob.etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if blob.lfs:
            headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self._bytes(data, 200, headers)
            return
        start = int(asked[1])
        part = data[start : int(asked[2]) + 1 if asked[2] else None]
        if not part:
            self._bytes(b"", 416, {"Content-Range": f"bytes */{len(data)}"})
            return
        self._bytes(part, 206, {**headers, "Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(data)}"})


_API = r"/api/(?P<type>model|dataset|space)s/(?P<id>[^/]+/[^/]+)"
_WEB = r"/(?:(?P<type>dataset|space)s/)?(?P<id>[^/]+/[^/]+)"
_AT = r"(?P<revision>[^/]+)"
_ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", "/api/whoami-v2", _Handler.whoami),
    ("POST", "/api/validate-yaml", _Handler.validate_yaml),
    ("POST", "/api/repos/create", _Handler.create_repo),
    ("GET", _API, _Handler.info),
    ("GET", f"{_API}/revision/{_AT}", _Handler.info),
    ("GET", f"{_API}/refs", _Handler.refs),
    ("GET", f"{_API}/tree/{_AT}(?:/(?P<folder>.+))?", _Handler.tree),
    ("POST", f"{_API}/branch/{_AT}", _Handler.create_branch),
    ("POST", f"{_API}/preupload/{_AT}", _Handler.preupload),
    ("POST", f"{_API}/paths-info/{_AT}", _Handler.paths_info),
    ("POST", f"{_API}/commit/{_AT}", _Handler.commit),
    ("POST", rf"{_WEB}\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    ("PUT", "/lfs/(?P<oid>[0-9a-f]{64})", _Handler.lfs_upload),
    ("POST", "/lfs-verify", _Handler.lfs_verify),
    ("GET", f"{_WEB}/resolve/{_AT}/(?P<path>.+)", _Handler.resolve),
    ("HEAD", f"{_WEB}/resolve/{_AT}/(?P<path>.+)", _Handler.resolve),
]
# Calls that the clients make without a token: reading, and the upload to an address that was signed for them.
_OPEN = (_Handler.paths_info, _Handler.validate_yaml, _Handler.lfs_upload)

"""The loopback Hub serves the real clients, and its guard sees every attempt to leave the loopback."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import pytest

PUSH = """
import datasets
frames = datasets.Dataset.from_dict({"id": [f"a/{i}" for i in range(7)], "size": list(range(7))})
frames.push_to_hub("user/frames")
frames.select([5, 2]).push_to_hub("user/frames", config_name="small")
"""
LOAD = """
import datasets
print(datasets.load_dataset("user/frames", split="train")["id"][:])
print(datasets.load_dataset("user/frames", "small", split="train")["size"][:])
print([row["id"] for row in datasets.load_dataset("user/frames", "small", split="train", streaming=True)])
"""


def test_a_pushed_dataset_comes_back_whole_and_as_a_stream(hub):
    hub.run(PUSH)
    assert hub.read("user/frames", "data/train-00000-of-00001.parquet", "dataset")[:4] == b"PAR1"
    hub.requests.clear()
    ids, small, stream = hub.run(LOAD).splitlines()[-3:]
    assert ids == str([f"a/{i}" for i in range(7)])
    assert small == "[5, 2]"
    assert stream == "['a/5', 'a/2']"
    assert any(line.startswith("GET") and "small/train" in line and "[bytes=" in line for line in hub.requests)


def test_a_folder_goes_up_and_comes_down_the_same(hub, tmp_path):
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    for i in range(60):  # more than one page of the tree
        (folder / "deep" / f"{i}.txt").write_text(f"file {i}\n")
    (folder / "weights.safetensors").write_bytes(bytes(range(256)) * 5000)  # LFS
    (folder / "empty.txt").write_bytes(b"")
    code = f"""
from pathlib import Path
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
api = HfApi()
print(api.create_repo("user/net"), api.whoami()["name"])
first = api.upload_folder(repo_id="user/net", folder_path={str(folder)!r}).oid
assert api.upload_folder(repo_id="user/net", folder_path={str(folder)!r}).oid == first, "nothing changed: no commit"
print(len(list(api.list_repo_tree("user/net", recursive=True))))
assert Path(hf_hub_download("user/net", "weights.safetensors")).stat().st_size == 1_280_000
down = Path(snapshot_download("user/net"))
for file in Path({str(folder)!r}).rglob("*.*"):
    assert (down / file.relative_to({str(folder)!r})).read_bytes() == file.read_bytes(), file
api.delete_file("empty.txt", "user/net")
assert api.file_exists("user/net", "empty.txt", revision=first) and not api.file_exists("user/net", "empty.txt")
api.create_branch("user/net", branch="draft/one")
print(sorted(ref.name for ref in api.list_repo_refs("user/net").branches))
"""
    created, entries, branches = hub.run(code).splitlines()
    assert created == f"{hub.endpoint}/user/net user"
    assert entries == "64"  # 62 files, .gitattributes and the folder
    assert branches == "['draft/one', 'main']"
    assert "empty.txt" not in hub.files("user/net")
    assert any("cursor=" in line for line in hub.requests)


def test_what_is_not_there_or_not_allowed_is_the_clients_own_error(hub):
    code = """
from huggingface_hub import HfApi, errors
api = HfApi()
def name(call, *args, **options):
    try:
        call(*args, **options)
    except errors.HfHubHTTPError as error:
        return type(error).__name__, error.response.status_code
print(name(api.repo_info, "user/net"))
api.create_repo("user/net")
print(name(api.create_repo, "user/net"))
print(name(api.hf_hub_download, "user/net", "none.txt"))
print(name(api.hf_hub_download, "user/net", ".gitattributes", revision="none"))
print(name(api.create_repo, "user/other", token="hf_wrong"))
print(name(api.upload_file, repo_id="user/net", path_in_repo="a", path_or_fileobj=b"a", token="hf_wrong"))
"""
    assert hub.run(code).splitlines() == [
        "('RepositoryNotFoundError', 404)",
        "('HfHubHTTPError', 409)",
        "('RemoteEntryNotFoundError', 404)",
        "('RevisionNotFoundError', 404)",
        "('HfHubHTTPError', 401)",
        "('HfHubHTTPError', 401)",
    ]
    assert hub.files("user/net") == [".gitattributes"]


def test_damaged_and_missing_uploads_are_refused(hub):
    connection = http.client.HTTPConnection(urlsplit(hub.endpoint).netloc)
    connection.request("PUT", f"/lfs/{'0' * 64}", b"other bytes")
    answer = connection.getresponse()
    assert (answer.status, "SHA-256" in answer.read().decode()) == (400, True)
    hub.run("import huggingface_hub; huggingface_hub.create_repo('user/net')")
    value = {"path": "a.bin", "algo": "sha256", "oid": "0" * 64, "size": 3}
    lines = [{"key": "header", "value": {"summary": "a"}}, {"key": "lfsFile", "value": value}]
    body = "\n".join(json.dumps(line) for line in lines)
    token = {"Authorization": f"Bearer {hub.env['HF_TOKEN']}"}
    connection.request("POST", "/api/models/user/net/commit/main", body, token)
    answer = connection.getresponse()
    assert (answer.status, "never uploaded" in answer.read().decode()) == (400, True)
    connection.close()


@pytest.mark.parametrize(
    "call", ["socket.create_connection(('192.0.2.1', 80), 1)", "socket.getaddrinfo('huggingface.co', 443)"]
)
def test_a_client_that_leaves_the_loopback_is_caught_even_if_it_hides_its_error(hub, call):
    hub.run("import socket, urllib.parse; socket.getaddrinfo('127.0.0.1', 80)")
    with pytest.raises(AssertionError, match="left the loopback"):
        hub.run(f"import socket, contextlib\nwith contextlib.suppress(OSError): {call}")

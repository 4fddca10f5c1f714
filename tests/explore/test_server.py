"""The page's server, over real connections: what it hands out, to whom, and what it takes."""

from __future__ import annotations

import http.client
import io
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np
import pytest
from datasets import Dataset, Image
from PIL import Image as Pictures
from stores import IDS, stored

from meddel_hf.errors import InvalidArgument, InvalidDataset
from meddel_hf.explore.explorer import Explorer
from meddel_hf.explore.plane import Plane
from meddel_hf.explore.server import ExplorerServer
from meddel_hf.selectors import Random

MARKS = b"a table"


@pytest.fixture
def server(tmp_path):
    paths = []
    for row in range(30):
        paths.append(str(tmp_path / f"{row}.png"))
        Pictures.new("RGB", (500, 100), (8 * row, 0, 0)).save(paths[-1])
    pool = Dataset.from_dict({"id": IDS, "image": paths}).cast_column("image", Image(decode=False))
    store = stored(tmp_path / "store", pool)
    taken: list[bytes] = []

    def save(content: bytes) -> str:
        if content != MARKS:
            raise InvalidDataset("no marks")
        taken.append(content)
        return "taken"

    explorer = Explorer(Random(0.5).select(store), "t", pool, Plane.of(store))
    with served(explorer, save) as server:
        yield server, taken


@contextmanager
def served(explorer: Explorer, save=lambda content: "taken"):
    with ExplorerServer(explorer, save) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, path: str, method: str = "GET", body: bytes | None = None, token: bool = True, **headers: str):
    host, port = server.server_address[:2]
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        mark = f"{'&' if '?' in path else '?'}token={server.token}" if token else ""
        connection.request(method, path + mark, body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_it_listens_on_this_machine_alone_and_knows_its_address_by_a_token(server):
    server, _ = server
    address = urlsplit(server.address)
    assert address.hostname == "127.0.0.1" == server.server_address[0]
    assert len(server.token) >= 32
    for path in ("/", "/data", "/frame/3", "/nothing"):
        assert ask(server, path, token=False)[0] == 403
        assert ask(server, f"{path}?token={'x' * len(server.token)}", token=False)[0] == 403
    status, _, page = ask(server, "/")
    assert status == 200
    assert b"connect-src 'self'" in page
    assert server.token.encode() not in page


def test_a_name_that_was_pointed_here_learns_nothing(server):
    server, _ = server
    assert ask(server, "/data", Host=f"evil.example:{server.server_address[1]}")[0] == 403
    assert ask(server, "/data", Host=f"localhost:{server.server_address[1]}")[0] == 200


def test_frames_are_small_pictures_of_their_rows(server):
    server, _ = server
    for row in (0, 3, 29):
        status, headers, content = ask(server, f"/frame/{row}")
        picture = Pictures.open(io.BytesIO(content))
        assert status == 200
        assert headers["Content-Type"] == "image/webp"
        assert picture.size == (256, 51)
        assert abs(int(np.asarray(picture.convert("RGB"))[25, 128, 0]) - 8 * row) < 6
    for path in (
        "/frame/30",
        "/frame/-1",
        "/frame/../manifest.json",
        "/frame/",
        f"/frame/{'9' * 5000}",
        "/../../etc/passwd",
    ):
        assert ask(server, path)[0] == 404


def test_marks_are_taken_and_what_is_none_is_told(server):
    server, taken = server
    assert ask(server, "/overrides", "POST", MARKS)[::2] == (200, b"taken")
    assert taken == [MARKS]
    assert ask(server, "/overrides", "POST", b"rubbish")[::2] == (400, b"no marks")
    assert ask(server, "/overrides", "POST", MARKS, token=False)[0] == 403
    assert ask(server, "/data", "POST", MARKS)[0] == 400
    status, *_ = ask(server, "/overrides", "POST", **{"Content-Length": str(2**40)})
    assert status == 400
    assert taken == [MARKS]
    status, *_ = ask(server, "/overrides", "POST", **{"Content-Length": "9" * 5000})
    assert status == 400


def test_marks_that_end_half_way_hold_up_nobody_and_are_not_taken(server, capfd):
    server, taken = server
    half = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
    half.putrequest("POST", f"/overrides?token={server.token}")
    half.putheader("Content-Length", str(len(MARKS)))
    half.endheaders()
    half.send(MARKS[:3])
    time.sleep(0.3)
    assert ask(server, "/data")[0] == 200
    half.close()
    time.sleep(0.3)
    assert taken == []
    assert capfd.readouterr().err == ""


def test_a_browser_that_is_closed_while_it_is_answered_is_no_error(server, capfd):
    server, _ = server
    for _ in range(3):
        gone = socket.create_connection(server.server_address[:2])
        host = f"127.0.0.1:{server.server_address[1]}"
        gone.sendall(f"GET /?token={server.token} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
        gone.close()
    time.sleep(0.5)
    assert ask(server, "/")[0] == 200
    assert capfd.readouterr().err == ""


def test_many_frames_are_asked_for_at_once(server):
    server, _ = server
    with ThreadPoolExecutor(400) as threads:
        answers = list(threads.map(lambda row: ask(server, f"/frame/{row % 30}")[0], range(400)))
    assert answers == [200] * 400


def test_a_port_that_is_taken_is_told(server):
    server, _ = server
    port = server.server_address[1]
    with pytest.raises(InvalidArgument, match=rf"port {port} cannot be served on .*: choose another"):
        ExplorerServer(server.explorer, server.save, port)


def test_a_browser_shows_what_it_serves(server, browser):
    server, _taken = server
    browser.messages()
    browser.open(server.address)
    assert browser.js("return document.getElementById('lead').textContent").startswith("15 of 30 frames stay")
    browser.until(lambda: browser.js("return document.querySelector('#cards .frame img')?.naturalWidth === 256"))
    assert browser.messages() == []


def test_where_there_are_no_frames_none_is_asked_for(server, browser):
    """A pool that is not at hand: a page of a million rows would ask for a picture of each that it shows."""
    choice = server[0].explorer.choice
    with served(Explorer(choice, "t", None, None, "the pool is elsewhere")) as bare:
        browser.open(bare.address)
        asked = browser.js("return performance.getEntriesByType('resource').map((one) => one.name)")
        assert any("/data?" in name for name in asked)
        assert not any("/frame/" in name for name in asked)
        assert browser.js("return document.querySelectorAll('#cards .frame .none').length") > 10
        assert not [line for line in browser.messages() if "404" in line]

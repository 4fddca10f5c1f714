"""A server for the page of a large pool: on this machine alone, for whoever knows the address that it printed.

It listens on 127.0.0.1, answers no request without the token of its address, and none that came under another name:
a page elsewhere, whose name was pointed at this machine, learns nothing.
"""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Callable
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from meddel_hf.errors import InvalidArgument, MedDELError
from meddel_hf.explore.explorer import Explorer

_HERE = "127.0.0.1"
_MOST_POSTED = 2**26  # bytes: marks of a million frames
_WEBP, _HTML, _BYTES, _TEXT = (
    "image/webp",
    "text/html; charset=utf-8",
    "application/octet-stream",
    "text/plain; charset=utf-8",
)


class ExplorerServer(ThreadingHTTPServer):
    """Hands out one selection. save: writes marked frames, as Parquet, and returns a sentence for the page."""

    daemon_threads = True
    request_queue_size = 1024  # a screen of frames is asked for at once; with five waiting, others are lost

    def __init__(self, explorer: Explorer, save: Callable[[bytes], str], port: int = 0):
        try:
            super().__init__((_HERE, port), _Handler)
        except OSError as error:
            raise InvalidArgument(f"port {port} cannot be served on ({error.strerror}): choose another") from error
        self.explorer, self.save, self.token = explorer, save, secrets.token_urlsafe(24)
        self.lock = Lock()

    @property
    def address(self) -> str:
        return f"http://{_HERE}:{self.server_address[1]}/?token={self.token}"

    @cached_property
    def contents(self) -> bytes:
        return self.explorer.contents()

    def prepared(self) -> bytes:
        """The contents, made once, whoever asks first."""
        with self.lock:
            return self.contents

    @cached_property
    def page(self) -> bytes:
        return self.explorer.page(served=True).html.encode()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that was closed while it was answered is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: ExplorerServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self._allowed()
        if path is None:
            return
        if path == "/":
            self._send(self.server.page, _HTML)
        elif path == "/data":
            self._send(self.server.prepared(), _BYTES)
        elif row := re.fullmatch(r"/frame/([0-9]{1,10})", path):
            picture = self.server.explorer.frame(int(row[1]))
            if picture:
                self._send(picture, _WEBP, ("Cache-Control", "private, max-age=3600"))
            else:
                self._refuse(HTTPStatus.NOT_FOUND)
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        path, length = self._allowed(), self.headers.get("Content-Length", "")
        if path is None:
            return
        if path != "/overrides" or not re.fullmatch("[0-9]{1,10}", length) or int(length) > _MOST_POSTED:
            self.close_connection = True
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        content = self.rfile.read(int(length))  # before the lock: a browser may stop half way
        if len(content) < int(length):
            self.close_connection = True
            return
        try:
            with self.server.lock:
                said = self.server.save(content)
        except (MedDELError, OSError) as error:
            self._send(str(error).encode(), _TEXT, status=HTTPStatus.BAD_REQUEST)
        else:
            self._send(said.encode(), _TEXT)

    def _allowed(self) -> str | None:
        """The path that is asked for, of a request that may ask."""
        asked, port = urlsplit(self.path), self.server.server_address[1]
        token = parse_qs(asked.query).get("token", [""])[0]
        known = secrets.compare_digest(token.encode(), self.server.token.encode())
        if known and self.headers.get("Host") in (f"{_HERE}:{port}", f"localhost:{port}"):
            return asked.path
        self.close_connection = True
        self._refuse(HTTPStatus.FORBIDDEN)
        return None

    def _send(self, content: bytes, kind: str, *headers: tuple[str, str], status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        usual = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
        for name, value in {
            **usual,
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            **dict(headers),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: HTTPStatus) -> None:
        self._send(status.phrase.encode(), _TEXT, status=status)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: addresses hold the token."""

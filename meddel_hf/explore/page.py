"""The page itself: one file, which asks nobody for anything, and says so to the browser."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
from collections.abc import Sequence
from importlib import resources

import numpy as np

_SCRIPTS = ("data.js", "graph.js", "map.js", "gallery.js", "main.js")
_WORKER = ("graph.js", "worker.js")
_LIBRARY = "vendor/hyparquet-writer.js"  # made as vendor/README.md says


def page(title: str, content: bytes = b"", pictures: Sequence[bytes] = (), *, served: bool = False) -> str:
    """HTML of a page. content: of contents.contents. pictures: small ones of each row, or none.

    served: the page asks the server that it came from for its contents and pictures; else all of them are in it.
    Its policy lets it run the scripts that stand in it, known by their digests, and reach nothing else.
    """
    script = f'"use strict";(() => {{\n{_asset(_LIBRARY)}\n{_joined(_SCRIPTS)}}})();'
    style = _asset("style.css")
    policy = (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; worker-src blob:; "
        + ("img-src 'self' blob: data:; connect-src 'self'; " if served else "img-src blob: data:; ")
        + "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": html.escape(title),
        "style": style,
        "data": base64.b64encode(gzip.compress(content, 6, mtime=0)).decode() if content else "",
        "pictures": base64.b64encode(_joined_pictures(pictures)).decode() if any(pictures) else "",
        "worker": f'"use strict";\n{_joined(_WORKER)}',
        "script": script,
    }
    before, *rest = _asset("page.html").split("{{")
    answer = [before]
    for part in rest:
        name, after = part.split("}}", 1)
        answer += [parts[name], after]
    return "".join(answer)


def _joined_pictures(pictures: Sequence[bytes]) -> bytes:
    """How many, where each ends (uint32), then the pictures."""
    ends = np.cumsum([len(each) for each in pictures], dtype=np.int64)
    return b"".join([len(pictures).to_bytes(4, "little"), ends.astype("<u4").tobytes(), *pictures])


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _joined(names: Sequence[str]) -> str:
    return "".join(f"{_asset(name)}\n" for name in names)


def _asset(name: str) -> str:
    return resources.files("meddel_hf.explore").joinpath("assets", name).read_text(encoding="utf-8")

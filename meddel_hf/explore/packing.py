"""Arrays and facts in one run of bytes, which the page reads without parsing them number by number."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ALIGNED = 8  # bytes: a typed array of a browser must begin at a multiple of its numbers' size
_KINDS = {"u1": "Uint8Array", "u2": "Uint16Array", "u4": "Uint32Array", "i4": "Int32Array", "f4": "Float32Array",
          "f8": "Float64Array"}  # fmt: skip


def packed(facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The length of what follows as 8 bytes, `{"facts": ..., "arrays": {name: [kind, begin, length]}}` as JSON, then
    the arrays, little-endian, each at a multiple of 8 bytes; `begin` counts from the end of the JSON."""
    places: dict[str, tuple[str, int, int]] = {}
    parts: list[bytes] = []
    at = 0
    for name, array in arrays.items():
        content = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        places[name] = (_KINDS[array.dtype.str[1:]], at, array.size)
        parts += [content, bytes(-len(content) % _ALIGNED)]
        at += len(content) + -len(content) % _ALIGNED
    head = json.dumps({"facts": facts, "arrays": places}, allow_nan=False).encode()
    head += b" " * (-len(head) % _ALIGNED)
    return b"".join([len(head).to_bytes(8, "little"), head, *parts])

"""A door: `python -m meddel_hf.embed`, and `accelerate launch -m meddel_hf.embed`, are `meddel embed`."""

from __future__ import annotations

import sys

from meddel_hf.__main__ import alone
from meddel_hf.embedding.embed import embed as embed

if __name__ == "__main__":
    sys.exit(alone("embed"))

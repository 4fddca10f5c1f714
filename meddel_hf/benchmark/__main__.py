"""A door: `python -m meddel_hf.benchmark`, and `accelerate launch -m meddel_hf.benchmark`, are `meddel benchmark`."""

from __future__ import annotations

import sys

from meddel_hf.__main__ import alone

if __name__ == "__main__":
    sys.exit(alone("benchmark"))

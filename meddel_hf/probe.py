"""A door: `python -m meddel_hf.probe`, and `accelerate launch -m meddel_hf.probe`, are `meddel probe`."""

from __future__ import annotations

import sys

from meddel_hf.__main__ import alone
from meddel_hf.downstream.probing.probe import probe as probe

if __name__ == "__main__":
    sys.exit(alone("probe"))

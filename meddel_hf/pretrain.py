"""A door: `python -m meddel_hf.pretrain`, and `accelerate launch -m meddel_hf.pretrain`, are `meddel pretrain`."""

from __future__ import annotations

import sys

from meddel_hf.__main__ import alone
from meddel_hf.pretraining.pretrain import pretrain as pretrain

if __name__ == "__main__":
    sys.exit(alone("pretrain"))

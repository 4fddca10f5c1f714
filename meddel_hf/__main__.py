"""`python -m meddel_hf` is `meddel`."""

import sys

from meddel_hf.cli import main

sys.exit(main())

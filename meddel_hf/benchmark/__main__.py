"""Entry of `python -m meddel_hf.benchmark`, for `accelerate launch`; the same as `meddel benchmark`."""

import sys

from meddel_hf.benchmark.command import add_arguments, run
from meddel_hf.runtime.exits import command

if __name__ == "__main__":
    sys.exit(command("meddel_hf.benchmark", "Run a benchmark of selectors.", add_arguments, run))

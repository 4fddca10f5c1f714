"""Entry of `python -m meddel_hf.benchmark`, for `accelerate launch`; the same as `meddel benchmark`."""

import argparse
import sys

from meddel_hf.benchmark.command import add_arguments, run

if __name__ == "__main__":
    parser = argparse.ArgumentParser("meddel_hf.benchmark", description="Run a benchmark of selectors.")
    add_arguments(parser)
    sys.exit(run(parser.parse_args()))

"""Build DataDEL from the owners' archives, as `meddel build` does.

python dataset_scripts/build_datadel.py RAW --out datadel [--preview] [--fps 1]
"""

from __future__ import annotations

import argparse

from meddel_hf.commands import build as command

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_arguments(parser)
    command.run(parser.parse_args())

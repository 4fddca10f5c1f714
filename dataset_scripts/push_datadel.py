"""Publish a built DataDEL, as `meddel push` does: sources whose licence forbids it go to a private repository only.

python dataset_scripts/push_datadel.py datadel USER/datadel [--private]
"""

from __future__ import annotations

import argparse

from meddel_hf.hub.push import push

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DATADEL", help="folder that build_datadel.py wrote")
    parser.add_argument("repo", metavar="USER/NAME", help="repository to create or update")
    parser.add_argument("--private", action="store_true", default=None, help="create it private")
    args = parser.parse_args()
    print(push(args.folder, args.repo, private=args.private))

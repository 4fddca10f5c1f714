"""Before a release: the tag, the version in setup.cfg and the changelog's newest entry must be one."""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def version() -> str:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config["metadata"]["version"]


def newest_entry() -> str:
    """Title of the changelog's first entry: a version, or "Unreleased"."""
    match = re.search(r"^## \[?([^\s\]]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else "none"


def main(tag: str) -> int:
    names = {"tag": tag.removeprefix("v"), "setup.cfg": version(), "CHANGELOG.md": newest_entry()}
    if len(set(names.values())) == 1:
        return 0
    print(f"one release, several names: {names}; make them one", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

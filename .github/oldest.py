"""Print constraints with the oldest versions that setup.cfg allows, of the packages that users need."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

_BOUND = re.compile(r"([A-Za-z0-9_-]+)>=([0-9.]+)")


def oldest(setup: Path) -> dict[str, str]:
    """package -> its lower bound in install_requires."""
    config = configparser.ConfigParser()
    config.read(setup, encoding="utf-8")
    lines = config["options"]["install_requires"].splitlines()
    bounds = [match.groups() for line in lines if (match := _BOUND.match(line.strip()))]
    return dict(bounds)


if __name__ == "__main__":
    for name, version in oldest(Path(__file__).parents[1] / "setup.cfg").items():
        print(f"{name}=={version}")

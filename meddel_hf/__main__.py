"""`meddel`, and `python -m meddel_hf`: begins to hear Ctrl-C before anything that takes time is imported."""

from __future__ import annotations

import sys

from meddel_hf.runtime.exits import exit_status


def main() -> int:
    """Run `meddel`. Returns the exit status: 0, 2 after an error that one sentence explains, 130 after Ctrl-C."""
    return exit_status(_main)


def alone(name: str) -> int:
    """Run one command as a module, such as `python -m meddel_hf.embed`. Returns the exit status."""
    return exit_status(lambda: _alone(name))


def _main() -> int:
    from meddel_hf import cli

    return cli.main()


def _alone(name: str) -> int:
    from meddel_hf import cli

    return cli.alone(name)


if __name__ == "__main__":
    sys.exit(main())

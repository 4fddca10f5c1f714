"""`meddel`, and `python -m meddel_hf`: begins to hear Ctrl-C before anything that takes time is imported."""

from __future__ import annotations

import sys

from meddel_hf.runtime.exits import exit_status


def main() -> int:
    """Run `meddel`. Returns the exit status: 0, 2 after an error that one sentence explains, 130 after Ctrl-C."""
    return exit_status(_run)


def _run() -> int:
    from meddel_hf.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(main())

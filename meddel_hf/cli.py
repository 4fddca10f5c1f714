"""`meddel`: what was typed is read here, and handed to the command of that name (`commands/`)."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import Any

from meddel_hf.runtime.exits import exit_status
from meddel_hf.runtime.messages import show_messages

COMMANDS = (
    "demo", "build", "pool", "embed", "advise", "select", "forget", "sweep", "why", "filter", "audit",
    "pretrain", "segment", "probe", "benchmark", "report", "push", "normdel", "install-metric",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run `meddel`. Returns the exit status: 0, 2 after an error that one sentence explains, 130 after Ctrl-C."""
    return _run(parser(), arguments)


def alone(name: str, arguments: list[str] | None = None) -> int:
    """Run one command as a module, such as `python -m meddel_hf.embed`. Returns its exit status, as `main` does."""
    command = _command(name)
    whole = argparse.ArgumentParser(f"meddel_hf.{name}", description=_sentence(command.HELP))
    _declare(command, whole)
    return _run(whole, arguments)


def parser() -> argparse.ArgumentParser:
    """That of `meddel`, with every command in it."""
    whole = argparse.ArgumentParser(
        "meddel",
        description="Data-effective pre-training: pick the frames worth training on, and be told why the others went.",
    )
    whole.add_argument("--version", action=_Version, nargs=0, help="show the version and leave")
    verbs = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        command = _command(name)
        _declare(command, verbs.add_parser(name, help=command.HELP, description=_sentence(command.HELP)))
    return whole


class _Version(argparse.Action):
    """`--version`, which is looked up when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> None:
        from importlib.metadata import version

        print(f"meddel {version('meddel-hf')}")
        parser.exit()


def _declare(command: Any, parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=command)
    command.add_arguments(parser)


def _command(name: str) -> Any:
    return import_module(f"meddel_hf.commands.{name.replace('-', '_')}")


def _sentence(help: str) -> str:
    return help[0].upper() + help[1:] + "."


def _run(parser: argparse.ArgumentParser, arguments: list[str] | None) -> int:
    """The one place where a command's errors become a sentence and an exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name may hold what no terminal can show
    args = parser.parse_args(arguments)
    show_messages()
    words = getattr(args.command, "INTERRUPTED", "nothing half-written was left behind")
    return exit_status(lambda: args.command.run(args), interrupted=words)

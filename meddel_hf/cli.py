"""`meddel`: what was typed is read here, and handed to the command of that name (`commands/`)."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from meddel_hf.errors import InvalidArgument, Occupied
from meddel_hf.runtime.exits import exit_status
from meddel_hf.runtime.messages import show_messages
from meddel_hf.runtime.readers import outlast_readers
from meddel_hf.runtime.similar import did_you_mean

COMMANDS = (
    "demo", "build", "pool", "embed", "advise", "select", "explore", "forget", "sweep", "why", "filter", "audit",
    "pretrain", "segment", "probe", "benchmark", "report", "push", "normdel", "install-metric", "completion",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run `meddel`. Returns the exit status: 0, 2 after an error that one sentence explains, 130 after Ctrl-C."""
    return _run(parser(), arguments)


def alone(name: str, arguments: list[str] | None = None) -> int:
    """Run one command as a module, such as `python -m meddel_hf.embed`. Returns its exit status, as `main` does."""
    command = _command(name)
    whole = Parser(f"meddel_hf.{name}", description=_sentence(command.HELP))
    _declare(command, whole)
    return _run(whole, arguments)


def parser() -> Parser:
    """That of `meddel`, with every command in it."""
    whole = Parser(
        "meddel",
        description="Data-effective pre-training: pick the frames worth training on, and be told why the others went.",
    )
    whole.add_argument("--version", action=_Version, nargs=0, help="show the version and leave")
    whole.set_defaults(whole=whole)
    verbs = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        command = _command(name)
        _declare(command, verbs.add_parser(name, help=command.HELP, description=_sentence(command.HELP)))
    return whole


class Parser(argparse.ArgumentParser):
    """One that says what a mistyped command, choice or option may have meant."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.set_defaults(parser=self)  # so that the innermost is known once a line was read

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        known, rest = self.parse_known_args(args, namespace)
        if rest:
            options = known.parser._option_string_actions
            meant = did_you_mean(rest[0].partition("=")[0], options) if rest[0].startswith("-") else ""
            known.parser.error(f"unrecognized arguments: {' '.join(rest)}{meant}")
        return known

    def error(self, message: str) -> NoReturn:
        """One sentence, and where to read on; argparse has the whole usage stand before it, of up to twenty lines."""
        self.exit(2, f"error: {message} ({self.prog} --help has all that it takes)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            raise argparse.ArgumentError(
                action, f"{error.message}{did_you_mean(value, action.choices or ())}"
            ) from None


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
    outlast_readers()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name may hold what no terminal can show
    args = parser.parse_args(arguments)
    show_messages()
    words = getattr(args.command, "INTERRUPTED", "nothing half-written was left behind")
    return exit_status(lambda: _obeyed(args), interrupted=words)


def _obeyed(args: argparse.Namespace) -> int | None:
    """Run the command; with --quiet, without a bar of any library."""
    if not getattr(args, "quiet", False):
        return _work(args)
    from meddel_hf.runtime.progress import no_bars

    with no_bars():
        return _work(args)


def _work(args: argparse.Namespace) -> int | None:
    """Run the command; where --force is typed and --out holds something else of ours, again in its place."""
    try:
        status: int | None = args.command.run(args)
    except Occupied as refusal:
        if not hasattr(args, "force") or os.path.realpath(refusal.folder) != os.path.realpath(args.out):
            raise
        if _is_read(args):
            raise InvalidArgument(f"{args.out} is what {args.parser.prog} is to read: name another --out") from refusal
        if not args.force:
            raise Occupied(f"{refusal}; --force replaces it", refusal.folder) from refusal
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise InvalidArgument("--force is for one process: delete the folder, then launch several") from refusal
        from meddel_hf.runtime.making_room import room_at

        with room_at(refusal.folder):
            status = args.command.run(args)
    return status


def _is_read(args: argparse.Namespace) -> bool:
    """Whether the folder that is to be written is named a second time in the line, as what is read."""
    given = [value for name, value in vars(args).items() if name != "out"]
    each = [one for value in given for one in (value if isinstance(value, list) else [value])]
    return os.path.realpath(args.out) in {os.path.realpath(one) for one in each if isinstance(one, (str, Path))}

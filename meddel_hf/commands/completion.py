"""`meddel completion`: a script by which a shell completes commands, options and their values."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

HELP = "print a script that completes commands and options in bash, zsh or fish"
SHELLS = ("bash", "zsh", "fish")
_EPILOG = (
    'bash: eval "$(meddel completion bash)" in ~/.bashrc; zsh: the same with zsh in ~/.zshrc; fish: meddel completion '
    "fish > ~/.config/fish/completions/meddel.fish. The script knows the commands of the version that printed it."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument("shell", choices=SHELLS)


def run(args: argparse.Namespace) -> None:
    script = _fish if args.shell == "fish" else _bash
    lines = script(list(verbs(args.whole)))
    if args.shell == "zsh":
        lines = ["autoload -U +X compinit && compinit", "autoload -U +X bashcompinit && bashcompinit", *lines]
    print("\n".join(lines))


@dataclass(frozen=True)
class Verb:
    """A command in the words that are typed, () for meddel itself: what may follow, and the values of its options.

    options: name -> help. values: of those that have choices; None of a flag, to which no value belongs.
    """

    words: tuple[str, ...]
    commands: dict[str, str]
    options: dict[str, str]
    values: dict[str, tuple[str, ...] | None]
    places: tuple[str, ...]


def verbs(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[Verb]:
    """Of a parser and all below it."""
    commands: dict[str, str] = {}
    options: dict[str, str] = {}
    values: dict[str, tuple[str, ...] | None] = {}
    places: tuple[str, ...] = ()
    below: list[tuple[str, argparse.ArgumentParser]] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below = list(action.choices.items())
            commands = {choice.dest: choice.help or "" for choice in action._choices_actions}
        elif not action.option_strings:
            places += tuple(map(str, action.choices or ()))
        for name in action.option_strings:
            if action.help != argparse.SUPPRESS:
                options[name] = _sentence(action)
                values[name] = None if action.nargs == 0 else _values(name, action)
    yield Verb(words, commands, options, values, places)
    for name, each in below:
        yield from verbs(each, (*words, name))


def _sentence(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%")


def _values(name: str, action: argparse.Action) -> tuple[str, ...]:
    if name in ("--selector", "--then"):
        from meddel_hf.selectors.registry import names

        return tuple(names())
    return ("carried",) if name == "--encoder" else tuple(map(str, action.choices or ()))


def _bash(every: list[Verb]) -> list[str]:
    """A function that asks which command was typed, then which option stands before the cursor."""
    lines = [
        "_meddel() {",
        '  local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" typed="" answer="" i',
        "  for ((i = 1; i < COMP_CWORD; i++)); do",
        '    case "$typed ${COMP_WORDS[i]}" in',
        *(f"      {shlex.quote(' ' + ' '.join(verb.words))}) typed={shlex.quote(' ' + ' '.join(verb.words))};;"
          for verb in every if verb.words),
        "    esac",
        "  done",
        '  case "$typed $before" in',
    ]  # fmt: skip
    for verb in every:
        typed = "".join(f" {word}" for word in verb.words)
        for name, values in verb.values.items():
            if values is not None:
                answer = f"answer={shlex.quote(' '.join(values))}" if values else "return"  # the shell completes files
                lines.append(f"    {shlex.quote(f'{typed} {name}')}) {answer};;")
    lines += ["    *)", '      case "$typed" in']
    for verb in every:
        typed = "".join(f" {word}" for word in verb.words)
        names = [*verb.commands, *verb.places, *verb.options]
        lines.append(f"        {shlex.quote(typed)}) answer={shlex.quote(' '.join(names))};;")
    return [
        *lines,
        "      esac",
        # a place for a path is the shell's, until an option is begun
        '      if [[ "$current" != -* && "$answer" == -* ]]; then return; fi;;',
        "  esac",
        '  COMPREPLY=($(compgen -W "$answer" -- "$current"))',
        "}",
        "complete -o default -F _meddel meddel",
    ]


def _fish(every: list[Verb]) -> list[str]:
    lines = []
    for verb in every:
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in verb.words)
        when = seen or "__fish_use_subcommand"
        if len(verb.words) == 1 and verb.commands:
            when = f"{seen}; and not __fish_seen_subcommand_from {' '.join(verb.commands)}"
        begin = f"complete -c meddel -n {shlex.quote(when)}"
        lines += [f"{begin} -f -a {name} -d {shlex.quote(text)}" for name, text in verb.commands.items()]
        if verb.places:
            lines.append(f"{begin} -f -a {shlex.quote(' '.join(verb.places))}")
        for name, text in verb.options.items():
            flag = f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
            values = verb.values[name]
            more = "" if values is None else f" -r -f -a {shlex.quote(' '.join(values))}" if values else " -r"
            lines.append(f"{begin} {flag}{more} -d {shlex.quote(text)}")
    return lines

"""Shell completion: the printed script, asked by the shell itself."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest

from meddel_hf import cli
from meddel_hf.commands.completion import verbs

ASKED = [
    (["s"], "select segment sweep"),
    (["select", "emb", "--ret"], "--retention"),
    (["select", "emb", "--scope", ""], "cluster pool"),
    (["select", "emb", "--selector", "k"], "k-centre"),
    (["select", ""], ""),  # a path: the shell's own
    (["select", "emb", "--out", ""], ""),
    (["benchmark", "l"], "ladder"),
    (["benchmark", "run", "--g"], "--gate-only"),
    (["completion", ""], "bash zsh fish -h --help"),
    (["embed", "pool", "--encoder", "ca"], "carried"),
    (["--ver"], "--version"),
]


def script(shell: str, capsys) -> str:
    assert cli.main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_is_told_what_may_follow(capsys):
    lines = [script("bash", capsys)]
    for words, _ in ASKED:
        typed = shlex.join(["meddel", *words])
        lines += [f"COMP_WORDS=({typed}); COMP_CWORD={len(words)}; COMPREPLY=()", "_meddel", 'echo "${COMPREPLY[*]}"']
    done = subprocess.run(["bash", "-eu"], input="\n".join(lines), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    for (words, meant), answer in zip(ASKED, done.stdout.split("\n"), strict=False):
        assert sorted(answer.split()) == sorted(meant.split()), words


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
def test_fish_is_told_what_may_follow(tmp_path, capsys):
    (tmp_path / "meddel.fish").write_text(script("fish", capsys))
    for words, meant in ASKED[:4]:
        code = f"source {tmp_path}/meddel.fish; complete -C {shlex.quote(' '.join(['meddel', *words]))}"
        done = subprocess.run(["fish", "--no-config", "-c", code], capture_output=True, text=True, check=True)
        assert sorted(line.split("\t")[0] for line in done.stdout.splitlines()) == sorted(meant.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_and_option_is_in_every_script(shell, capsys):
    text = script(shell, capsys)
    for verb in verbs(cli.parser()):
        for name in (*verb.commands, *verb.options, *verb.places):
            assert (f"-l {name[2:]} " if shell == "fish" and name.startswith("--") else name) in text
    assert ("bashcompinit" in text) == (shell == "zsh")

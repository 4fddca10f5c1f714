"""The tutorial does what it says: its commands and its Python run in order, in an empty folder, without a network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

from pages import blocks

# One process for the whole page: each block by itself would wait for torch again.
WALK = """
import contextlib, io, json, shlex, sys
from meddel_hf import cli

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise OSError(f"the tutorial tried to reach {arguments}")

sys.addaudithook(refuse)
names, printed = {}, []
for language, text in json.loads(sys.stdin.read()):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if language == "python":
            exec(compile(text, "tutorial.md", "exec"), names)
        for line in text.splitlines() if language == "console" else ():
            program, *arguments = shlex.split(line.removeprefix("$ "))
            assert program == "meddel", line
            assert cli.main(arguments) == 0, line
    printed.append(out.getvalue())
print(json.dumps(printed))
"""


def test_the_tutorial_runs_and_prints_what_it_shows(tmp_path):
    page = blocks("tutorial.md")
    assert {block.language for block in page} == {"console", "python"}
    env = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_DATASETS_CACHE": str(tmp_path / "cache"),
           "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}  # fmt: skip
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", WALK], input=json.dumps([[block.language, block.text] for block in page]),
        cwd=work, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout.splitlines()[-1])
    for block, found in zip(page, printed, strict=True):
        if block.output is not None:
            assert without_numbers(found) == without_numbers(block.output), block.text
    made = ["at-random", "embeddings", "encoder", "pool", "selection", "subset"]
    assert sorted(path.name for path in work.iterdir()) == made


def without_numbers(text: str) -> str:
    """Numbers depend on the processor: bfloat16 products, where it has them, move a cosine in its third digit."""
    return re.sub(r" *-?\d[\d.,]*", " N", text).strip()

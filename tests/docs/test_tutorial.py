"""The tutorial does what it says: its commands and its Python run in order, in an empty folder, without a network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from pages import Block, blocks, section

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
    out, words = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(words):
        if language == "python":
            exec(compile(text, "tutorial.md", "exec"), names)
        for line in text.splitlines() if language == "console" else ():
            program, *arguments = shlex.split(line.removeprefix("$ "))
            assert program == "meddel", line
            assert cli.main(arguments) == 0, line
    wrote = [line for line in words.getvalue().splitlines() if line.startswith("wrote ")]
    printed.append(chr(10).join([out.getvalue(), *wrote]))
print(json.dumps(printed))
"""


AFTERWARDS = [block for block in blocks("how-to/my-own-frames.md") if block.language == "python"]


@dataclass(frozen=True)
class Walk:
    """The folder in which the page was run, its blocks, and what each of them printed."""

    folder: Path
    blocks: list[Block]
    printed: list[str]


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> Walk:
    home, work = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("work")
    page = [*blocks("tutorial.md"), *AFTERWARDS]
    env = {**os.environ, "HF_HOME": str(home), "HF_DATASETS_CACHE": str(home / "datasets"), "HF_HUB_OFFLINE": "1",
           "OMP_NUM_THREADS": "1"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", WALK], input=json.dumps([[block.language, block.text] for block in page]),
        cwd=work, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Walk(work, page, json.loads(done.stdout.splitlines()[-1]))


def test_the_tutorial_runs_and_prints_what_it_shows(walk):
    assert {block.language for block in walk.blocks} == {"console", "python"}
    for block, found in zip(walk.blocks, walk.printed, strict=True):
        if block.output is not None:
            assert without_numbers(found) == without_numbers(block.output), block.text
    made = ["at-random", "embeddings", "encoder", "paper", "pool", "selection", "subset"]
    assert sorted(path.name for path in walk.folder.iterdir()) == made
    assert re.search(r"^polypgen2021 +45 +0\.1$", walk.printed[-1], re.MULTILINE), "kept of each folder"


@pytest.mark.parametrize(
    ("folder", "heading"), [("embeddings", "Embedding store"), ("selection", "Selection"), ("subset", "Subset")]
)
def test_files_and_facts_of_a_folder_are_in_the_reference(walk, folder, heading):
    said = section("reference/file-formats.md", heading)
    for path in (walk.folder / folder).iterdir():
        assert path.name == "manifest.json" or path.name in said, path.name
    for kind in ("details", "parents"):
        for key in json.loads((walk.folder / folder / "manifest.json").read_text())[kind]:
            assert f"`{key}`" in said, f"{kind}: {key}"


def without_numbers(text: str) -> str:
    """Numbers depend on the processor: bfloat16 products, where it has them, move a cosine in its third digit."""
    return re.sub(r" *-?\d[\d.,]*", " N", text).strip()

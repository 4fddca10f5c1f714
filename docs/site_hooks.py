"""What the build of the site adds to the pages: each command's own help, and the repository's files that pages link to.

<!-- help: meddel benchmark run -->     becomes what `meddel benchmark run --help` prints
[plan](../../examples/plans/small.yaml) leads to a copy of that file in the site, below repository/
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

from meddel_hf import cli

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COPIES = "repository"
_HELP = re.compile(r"^<!-- help: meddel *([\w -]*?) *-->$", re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()(\.\./[^)#\s]+)")


def on_files(files: Any, config: Any) -> Any:
    """Files outside docs/ that a page or the navigation names."""
    from mkdocs.structure.files import File  # the tests read this module without it

    named = {"metrics/normdel/README.md"}
    for page in DOCS.rglob("*.md"):
        named |= {_outside(page, link) for link in _LINK.findall(page.read_text(encoding="utf-8"))} - {""}
    for path in sorted(named):
        files.append(File.generated(config, f"{COPIES}/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    here = DOCS / page.file.src_uri

    def link(found: re.Match[str]) -> str:
        path = _outside(here, found[1])
        return os.path.relpath(DOCS / COPIES / path, here.parent) if path else found[1]

    if not page.file.src_uri.startswith(f"{COPIES}/"):
        markdown = _LINK.sub(link, markdown)
    return _HELP.sub(lambda found: f"```text\n{help_of(found[1].split())}```", markdown)


def help_of(verbs: list[str]) -> str:
    """What `meddel VERBS --help` prints in a terminal of 100 columns."""
    parser = cli.parser()
    for verb in verbs:
        (choices,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        parser = choices.choices[verb]
    os.environ["COLUMNS"] = "100"
    return parser.format_help()


def _outside(page: Path, link: str) -> str:
    """Path from the repository's root of a file outside docs/ that a page links to; "" of a link to another page."""
    target = Path(os.path.normpath(page.parent / link))
    return "" if target.is_relative_to(DOCS) else target.relative_to(ROOT).as_posix()

"""What a release says of itself: one version everywhere, bounds with reasons, workflows that parse."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import meddel_hf
from meddel_hf.cli import main

ROOT = Path(__file__).parents[1]
SETUP = (ROOT / "setup.cfg").read_text(encoding="utf-8")
VERSION = re.search(r"^version = (\S+)$", SETUP, re.MULTILINE)[1]


def test_the_version_is_one_everywhere(capsys):
    assert meddel_hf.__version__ == VERSION
    with pytest.raises(SystemExit) as leaving:
        main(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out == f"meddel {VERSION}\n"
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == VERSION


def test_the_changelog_begins_with_what_is_to_come_or_with_this_version():
    entries = re.findall(r"^## \[?([^\s\]]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert entries[0] in ("Unreleased", VERSION)
    assert len(set(entries)) == len(entries)


@pytest.mark.parametrize(
    ("tag", "title", "status"),
    [("v9.9", "9.9", 0), ("v9.8", "9.9", 1), ("v9.9", "Unreleased", 1), ("v9.9", "[9.9]", 0)],
)
def test_a_tag_that_is_not_the_version_and_the_newest_entry_is_no_release(tag, title, status, tmp_path):
    (tmp_path / ".github").mkdir()
    script = tmp_path / ".github" / "release.py"
    script.write_text((ROOT / ".github" / "release.py").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "setup.cfg").write_text("[metadata]\nversion = 9.9\n", encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {title}\n\n## 9.0\n", encoding="utf-8")
    assert subprocess.run([sys.executable, script, tag], capture_output=True).returncode == status


def test_every_bound_has_its_reason_and_the_oldest_versions_are_those_of_setup_cfg():
    wanted = SETUP.split("install_requires =")[1].split("[options.package_data]")[0].splitlines()
    bounds, reason = {}, False
    for line in (line.strip() for line in wanted if line.strip()):
        if line.startswith("#"):
            reason = True
            continue
        assert reason, f"{line} says not why"
        name, _, rest = line.partition(">=")
        bounds[name], reason = rest.partition(",")[0], False
    oldest = runpy.run_path(str(ROOT / ".github" / "oldest.py"))["oldest"]
    assert oldest(ROOT / "setup.cfg") == bounds
    assert "torch" in bounds


def test_workflows_and_templates_parse_and_call_targets_that_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    files = [*ROOT.glob(".github/**/*.yml"), ROOT / ".pre-commit-config.yaml"]
    assert len(files) >= 5
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert isinstance(yaml.safe_load(text), dict), file
        assert set(re.findall(r"make ([a-z]+)", text)) <= targets, file


def test_every_folder_of_the_package_is_packed():
    script = """
import setuptools
setuptools.setup = lambda **words: print(*words["packages"])
exec(open("setup.py").read())"""
    out = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    there = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in (ROOT / "meddel_hf").rglob("*.py")}
    assert set(out.split()) == {*there, "normdel"}

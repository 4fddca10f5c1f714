"""What is published: the source distribution is the repository, and its wheel holds every file of the packages."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import meddel_hf

ROOT = Path(__file__).parents[1]
# Of the repository's files these alone stay at home.
UNPUBLISHED = {".gitignore", ".ci/run"}


def tracked() -> list[str]:
    """Files of the repository, those not yet committed too; skips where this is no clone, such as an unpacked sdist."""
    if not (ROOT / ".git").exists():
        pytest.skip("only a clone tells which files are the repository's")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in lines if (ROOT / name).is_file() and not name.startswith(".venv")]


def make(kind: str, folder: Path, out: Path) -> Path:
    """Build "sdist" or "wheel" of a folder, with the setuptools that is installed: nothing is downloaded."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing left by an earlier build takes part."""
    folder = tmp_path_factory.mktemp("repository")
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return make("sdist", folder, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from the source distribution, as an installer without a wheel does."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    return zipfile.ZipFile(make("wheel", top, tmp_path_factory.mktemp("wheel")))


def test_the_source_distribution_is_the_repository(sdist):
    with tarfile.open(sdist) as archive:
        inside = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert set(tracked()) - inside == UNPUBLISHED
    made = {name for name in inside - set(tracked()) if not name.startswith("meddel_hf.egg-info/")}
    assert made == {"PKG-INFO", "setup.cfg"} - set(tracked())


def test_the_wheel_holds_every_file_of_the_packages(wheel):
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {name for name in tracked() if name.startswith("meddel_hf/")}
    expected |= {name.removeprefix("metrics/") for name in tracked() if name.startswith("metrics/normdel/")}
    assert inside == expected


def test_the_wheel_says_what_it_is(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    said = message_from_string(wheel.read(name).decode())
    assert said["Version"] == meddel_hf.__version__, "run `make test` again: setup.cfg's version is not installed"
    assert said["Requires-Python"] == ">=3.11"
    assert all(address.split(", ")[1].startswith("https://") for address in said.get_all("Project-URL"))
    assert "LICENSE" in said.get_all("License-File")

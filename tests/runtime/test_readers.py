"""Readers that leave, with real pipes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from meddel_hf.runtime.readers import outlast_readers

CODE = """
import os, subprocess, sys
from meddel_hf.runtime.readers import outlast_readers
outlast_readers()
for number in range(100_000):
    print(number, file={stream})
subprocess.run(["echo", "of another process"], check=True)
{stream}.flush()
open(sys.argv[1], "w").write("done")
"""


@pytest.mark.parametrize("stream", ["sys.stdout", "sys.stderr"])
def test_the_work_outlasts_who_reads(stream, tmp_path):
    command = [sys.executable, "-c", CODE.format(stream=stream), str(tmp_path / "file")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        read = process.stdout if stream == "sys.stdout" else process.stderr
        assert read.readline() == b"0\n"
        read.close()
        (process.stderr if stream == "sys.stdout" else process.stdout).read()
    assert process.returncode == 0
    assert (tmp_path / "file").read_text() == "done"


def test_whoever_reads_gets_all_of_it(tmp_path):
    command = [sys.executable, "-c", CODE.format(stream="sys.stdout"), str(tmp_path / "file")]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert sorted(lines) == sorted([*map(str, range(100_000)), "of another process"])


def test_a_stream_of_the_callers_own_stays(capsys):
    before = sys.stdout
    outlast_readers()
    assert sys.stdout is before

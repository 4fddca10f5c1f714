"""How commands end: one sentence, and a status."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest
from family import heed_interrupts
from torch.utils.data import DataLoader

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.exits import exit_status, sentence


def test_a_result_is_the_status():
    assert exit_status(lambda: None) == 0
    assert exit_status(lambda: 3) == 3


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InvalidArgument("eta is 2:\nexpected less"), "error: eta is 2: expected less\n"),
        (InvalidArgument("no column \x1b[31mred"), "error: no column \\x1b[31mred\n"),
        (OSError(errno.ENOSPC, "No space left on device", "/out/x"), "error: /out/x: No space left on device: make "
         "room there, and run the same command again\n"),
        (OSError("cannot be read"), "error: cannot be read\n"),
        (MemoryError(), "error: there is not enough memory: use a machine with more, or smaller batches\n"),
    ],
)  # fmt: skip
def test_an_expected_error_is_one_sentence_and_status_2(error, line, capsys, monkeypatch):
    def work():
        raise error

    assert exit_status(work) == 2
    assert capsys.readouterr().err == line
    monkeypatch.setenv("MEDDEL_DEBUG", "1")
    with pytest.raises(type(error)):
        exit_status(work)


class Killed:
    """A data set whose reader is killed, as the system does where memory runs out."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, row: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return row


def test_a_reader_that_was_killed_is_one_sentence(capsys, monkeypatch):
    def work():
        list(DataLoader(Killed(), batch_size=None, num_workers=1))

    assert exit_status(work) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: a process that reads frames ahead was killed, most often for want of memory: run")
    monkeypatch.setenv("MEDDEL_DEBUG", "1")
    with pytest.raises(RuntimeError):
        exit_status(work)


def test_errors_that_nobody_expects_stay_what_they_are():
    with pytest.raises(ZeroDivisionError):
        exit_status(lambda: 1 // 0)


def test_one_process_of_several_tells(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")

    def work():
        raise InvalidArgument("all of them meet this")

    assert exit_status(work) == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("sign", "status", "word"), [
    (signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")])  # fmt: skip
def test_signals_end_the_work_and_are_told(sign, status, word, tmp_path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from meddel_hf.runtime.files import whole_folder; from meddel_hf.runtime.exits import exit_status\n"
        "def work():\n"
        "    with whole_folder(Path(sys.argv[1])):\n"
        "        print('begun', flush=True); time.sleep(60)\n"
        "sys.exit(exit_status(work, interrupted='finished shards are kept'))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    ) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(sign)
        _, told = process.communicate(timeout=10)
    assert (process.returncode, told) == (status, f"\n{word}: finished shards are kept\n")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_seen_enough_is_no_error():
    code = "from meddel_hf.runtime.exits import exit_status; import sys\n"
    code += "def work():\n    for n in range(10**6): print(n)\nsys.exit(exit_status(work))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
    assert (process.returncode, told) == (141, b"")


def test_the_sentence_of_a_system_error_names_the_place_and_the_cure(tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        os.stat(tmp_path / "nowhere")
    assert sentence(raised.value) == f"{tmp_path}/nowhere: No such file or directory: check the path"


def test_two_spaces_in_a_name_stay_two_and_lines_become_one():
    assert sentence(InvalidArgument("id 'kopie  14' is not here;\n  did you mean 'kopie  15'?\n")) == (
        "id 'kopie  14' is not here; did you mean 'kopie  15'?"
    )

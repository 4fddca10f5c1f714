"""A command that is asked to stop does, wherever it is: in code that swallows exceptions, in C, among its imports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from family import children, heed_interrupts, left, soon
from PIL import Image

from meddel_hf import assets
from meddel_hf.runtime.exits import exit_status

ENCODER = Path(assets.__file__).parent / "encoder"
BEGIN = """
import ctypes, sys, time
from threading import Timer
from pathlib import Path
from meddel_hf.runtime.files import whole_folder
from meddel_hf.runtime.exits import exit_status

class Swallows:
    def __del__(self):  # Python prints what is raised here, and goes on
        print("begun", flush=True)
        time.sleep(1)
"""
# What a command does when the signal comes; `work` goes on for a minute where that is lost.
PLACES = {
    "a destructor": "Swallows(); time.sleep(60)",
    "a bare except": "try: begun(); time.sleep(60)\n    except: pass\n    time.sleep(60)",
    "an error made of it": "try: begun(); time.sleep(60)\n    except BaseException: raise ImportError('cut short')",
    "the cleaning up": "try: begun(); time.sleep(60)\n    finally: time.sleep(1.2); print('cleaned', flush=True)",
    "C code": "Timer(1, begun).start(); lock, c = bytes(64), ctypes.CDLL(None)\n    "
    "while True: c.pthread_mutex_lock(lock)",
}


def stopped(code: str, sign: signal.Signals, *arguments: str) -> tuple[int, str, str, float]:
    """Exit status, output, stderr, and seconds from the signal to the end, of code that prints "begun" first."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=heed_interrupts,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "begun\n"
        began = time.monotonic()
        process.send_signal(sign)
        out, told = process.communicate(timeout=40)
    return process.returncode, out, told, time.monotonic() - began


@pytest.mark.parametrize(("place", "sign"), [(place, signal.SIGINT) for place in PLACES if place != "C code"]
                         + [(place, signal.SIGTERM) for place in ("a bare except", "C code")])  # fmt: skip
def test_a_request_to_stop_is_never_lost(place, sign, tmp_path):
    code = f"{BEGIN}\ndef begun(): print('begun', flush=True)\ndef work():\n  with whole_folder(Path(sys.argv[1])):\n"
    code += f"    {PLACES[place]}\nsys.exit(exit_status(work))"
    status, out, told, seconds = stopped(code, sign, str(tmp_path / "out"))
    assert status == 128 + sign
    assert seconds < 25
    word = "interrupted" if sign == signal.SIGINT else "terminated"
    if place == "C code":  # which takes too long to come back: a folder aside is left to the next run
        assert told == "\nstopped at once: the next run takes away what is half-written\n"
    else:
        assert told == f"\n{word}: nothing half-written was left behind\n"
        assert list(tmp_path.iterdir()) == []
    assert out == ("cleaned\n" if place == "the cleaning up" else "")


def test_a_signal_that_is_ignored_stays_ignored():
    code = "import signal, time, sys; from meddel_hf.runtime.exits import exit_status\n"
    code += "signal.signal(signal.SIGINT, signal.SIG_IGN)\ndef work(): print('begun', flush=True); time.sleep(1)\n"
    code += "sys.exit(exit_status(work))"
    assert stopped(code, signal.SIGINT)[0] == 0


def test_signals_are_as_before_when_a_command_is_through():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    assert exit_status(lambda: exit_status(lambda: None)) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert files in (0, len(os.listdir("/proc/self/fd")))


def test_while_the_command_imports():
    """The signal is heard before anything is imported that takes time: what is on the way is a meddel_hf.cli."""
    code = "import sys, time\nclass Slow:\n    def find_spec(self, name, *rest):\n"
    code += "        if name == 'meddel_hf.cli': print('begun', flush=True); time.sleep(60)\n"
    code += "sys.meta_path.insert(0, Slow())\nfrom meddel_hf.__main__ import main\nsys.exit(main())"
    status, _, told, _ = stopped(code, signal.SIGINT)
    assert (status, told) == (130, "\ninterrupted: nothing half-written was left behind\n")


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["a process", "the launcher"])
def test_where_one_of_two_processes_is_killed_nobody_is_left(victim, tmp_path):
    pool = tmp_path / "pool"
    pool.mkdir()
    for row in range(300):
        Image.new("RGB", (200, 150), (row % 256, 90, row // 2)).save(pool / f"{row:03}.png")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command = [*launch, "--main_process_port", "0", "-m", "meddel_hf.embed", str(pool), "--encoder", str(ENCODER),
               "--out", str(tmp_path / "out"), "--batch-size", "1", "--shard-rows", "8",
               "--num-workers", "1"]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as launcher:
        soon(lambda: len(list(tmp_path.glob("out/shard-*.json"))) >= 2)
        family = children(launcher.pid)
        ranks = [one for one in family if one.ppid() == launcher.pid and "RANK" in one.environ()]
        (ranks[1] if victim == "a process" else launcher).kill()
        launcher.wait(60)
        assert left(family) == []
    assert len(ranks) == 2
    assert len(family) >= 4
    assert not (tmp_path / "out" / "manifest.json").exists()

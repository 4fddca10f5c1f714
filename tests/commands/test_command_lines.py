"""Junk on the command line, and bad values in Python: one sentence, before any work."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from family import heed_interrupts

from meddel_hf import MedDEL, cli, embed
from meddel_hf.cli import main
from meddel_hf.downstream.probing.probe import probe
from meddel_hf.downstream.segmentation.recipe import SegmentationRecipe
from meddel_hf.downstream.segmentation.segment import segment
from meddel_hf.errors import InvalidArgument
from meddel_hf.pretraining.recipe import Recipe

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import fuzz_commands


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fuzz_commands.prepare(folder)
    return folder


def test_a_seeded_handful_of_junk_command_lines(work, monkeypatch):
    monkeypatch.chdir(work)
    monkeypatch.setenv("HF_MODULES_CACHE", str(work / "modules"))
    monkeypatch.setattr(
        "huggingface_hub.constants.HF_HUB_OFFLINE", True
    )  # read from the environment by the first import
    monkeypatch.setattr(sys, "path", list(sys.path))
    light = ("build", "embed", "filter", "normdel", "pack", "probe", "report", "select", "sweep", "why")
    count, found = fuzz_commands.fuzz(50, seed=3, commands=light, seconds=60)
    assert count == 50
    assert [str(one) for one in found] == []


@pytest.mark.parametrize("seed", ["-1", str(2**32), "9" * 5000, "nan", "1.5", ""])
@pytest.mark.parametrize("command", ["select", "sweep", "pretrain", "segment", "probe", "report"])
def test_seeds_that_no_generator_takes(command, seed, capsys):
    line = [word.replace("OUT", "out") for word in fuzz_commands.COMMANDS[command]]
    with pytest.raises(SystemExit) as stopped:
        main([*line, f"--seed={seed}"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "error: argument --seed: must be a whole number" in said
    assert len(said.splitlines()[-1]) < 250


@pytest.mark.parametrize(("option", "value"), [
    ("--retention", "nan"), ("--retention", "1e400"), ("--retention", "0"), ("--eta", "2"), ("--out", ""),
    ("--out", "a\0b"), ("--n-clusters", "-3"), ("--epsilon", "inf"), ("--pool", " "),
    ("--max-iterations", str(10**30)),
])  # fmt: skip
def test_values_out_of_range_are_refused_before_the_work(option, value, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["select", "nowhere", "--retention", "0.5", "--out", "out", f"{option}={value}"])
    assert stopped.value.code == 2
    assert f"error: argument {option}" in capsys.readouterr().err


@pytest.mark.parametrize(("typed", "meant"), [("5", "5%"), ("0,05", "0.05"), ("2,5%", "2.5%"), ("-1", ""), ("x", "")])
def test_a_share_that_is_none_says_what_it_may_have_meant_on_one_line(typed, meant, capsys):
    with pytest.raises(SystemExit):
        main(["select", "store", f"--retention={typed}", "--out", "out"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "error: argument --retention: must be a fraction in (0, 1], or a percentage such as 5%, got "
    )
    assert line.endswith(f"{f'; did you mean {meant}?' if meant else ''} (meddel select --help has all that it takes)")


@pytest.mark.parametrize(
    ("typed", "share"), [("5%", 0.05), ("5 %", 0.05), ("0.5%", 0.005), ("100%", 1.0), ("0.05", 0.05)]
)
def test_a_share_may_be_typed_as_a_percentage(typed, share):
    for line in (["select", "s", "--out", "o"], ["advise", "s"]):
        assert cli.parser().parse_args([*line, f"--retention={typed}"]).retention == pytest.approx(share, abs=1e-15)
    assert cli.parser().parse_args(["normdel", "0.7", "--retention", typed, "1"]).retention[0] == pytest.approx(share)


@pytest.mark.parametrize("typed", ["5", "0%", "101%", "%", "5%%", "nan%", "five%", "-5%"])
def test_what_is_no_share_is_told_how_to_write_one(typed, capsys):
    with pytest.raises(SystemExit):
        main(["advise", "nowhere", f"--retention={typed}"])
    assert "5%" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("value", "cure"), [("5%", "write 0.05"), (5, "write 0.05"), ("50 %", "write 0.5"), (-1, "got -1$")]
)
def test_python_says_how_a_percentage_is_written(value, cure):
    with pytest.raises(InvalidArgument, match=cure):
        MedDEL(retention=value)


def test_every_number_and_path_of_every_command_has_a_type_that_refuses():
    free = {"shard", "device", "include", "image_column", "id_column", "revision", "license", "option", "selector"}
    for name, parser in fuzz_commands.subparsers(cli.parser()).items():
        for action in parser._actions:
            if action.nargs == 0 or action.choices or action.dest in free or action.dest == "help":
                continue
            if action.type is None:
                assert action.dest in ("repo", "path", "ids", "target", "train_match", "test_match", "sources"), name
            else:
                assert action.type not in (int, float, Path), f"{name} {action.dest}"


@pytest.mark.parametrize("build", [
    lambda: MedDEL(retention=0.5, seed=-1), lambda: MedDEL(retention=0.5, seed=2**32), lambda: MedDEL(eta=float("nan")),
    lambda: MedDEL(eta="0.5"), lambda: MedDEL(retention=True), lambda: MedDEL(eta=0.5, n_clusters=True),
    lambda: MedDEL(eta=0.5, scope=["pool"]), lambda: MedDEL(eta=0.5, max_iterations=1.5), lambda: MedDEL(seed=0.5),
    lambda: MedDEL().sweep("nowhere", 0.5), lambda: MedDEL().sweep("nowhere", [0.5, float("nan")]),
    lambda: embed(None, "e", "o", batch_size=10**9), lambda: embed(None, "e", "o", shard_rows=1.5),
    lambda: segment(None, {"x": None}, "e", "o", seed=-1), lambda: Recipe(image_size=10**30),
    lambda: probe("nowhere", {}, "o", train=[], test={}, neighbours=0),
    lambda: probe("nowhere", {}, "o", train=[], test={}, seed=2**40), lambda: Recipe(samples=10**30),
    lambda: Recipe(learning_rate=float("nan")), lambda: Recipe(layers=True),
    lambda: SegmentationRecipe(epochs="3"), lambda: SegmentationRecipe(frozen=1),
    lambda: SegmentationRecipe(warmup="x"),
    lambda: SegmentationRecipe(hidden_size=10**30), lambda: SegmentationRecipe(flips="yes"),
])  # fmt: skip
def test_python_refuses_the_same_values(build):
    with pytest.raises(InvalidArgument):
        build()


@pytest.mark.parametrize("delay", [0.02, 0.05, 0.1, 0.4, 1.0])
def test_ctrl_c_at_any_moment_is_one_line(delay, work):
    """From the moment at which our code is reached; what Python does before it knows of us is Python's."""
    code = (
        "import sys; from meddel_hf.runtime.exits import exit_status\n"
        "def work():\n"
        "    from meddel_hf.cli import main\n"
        "    print('begun', flush=True)\n"
        "    return main(sys.argv[1:])\n"
        "sys.exit(exit_status(work))"
    )
    line = [word.replace("OUT", f"interrupted-{delay}") for word in fuzz_commands.COMMANDS["embed"]]
    with subprocess.Popen(
        [sys.executable, "-c", code, *line],
        cwd=work,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    ) as process:
        assert process.stdout.readline() == "begun\n"
        time.sleep(delay * random.Random(delay).random())
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert told.strip().startswith("interrupted: ")
    assert len(told.strip().splitlines()) == 1

"""Runs that bring views together: killed, in two processes, continued, switched; and answered from once finished."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, Value
from family import counted
from PIL import Image as Picture
from pretraining.test_pretrain import curve, frames, weights
from safetensors.torch import load_file
from transformers import AutoImageProcessor

from meddel_hf.embedding.embed import embed
from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.pretraining.pretrain import pretrain
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.pretraining.result import PreTraining
from meddel_hf.runtime.manifest import Manifest

SIMCLR = Recipe(
    objective="simclr", preset="resnet-nano", image_size=32, samples=48, batch_size=8, precision="float32",
    learning_rate=1e-3, checkpoint_samples=16, projection=16, snapshots=3,
)  # fmt: skip
DINO = SIMCLR.but(
    objective="dino", projection=128, prototypes=16, local_crops=2, local_size=32, momentum=0.9, clip=1.0, snapshots=0
)
IBOT = DINO.but(preset="tiny", layers=1, patch_size=8, local_size=16, masked_loss=1.0, mask_ratio=0.4)
RECIPES = {"simclr": SIMCLR, "dino": DINO, "ibot": IBOT}
_ALL_IN_TURN = """
import os, signal, sys
from pathlib import Path
from pretraining.test_pretrain import frames
from pretraining.test_run import RECIPES
from meddel_hf.pretraining import trainer
from meddel_hf.pretraining.pretrain import pretrain
folder = Path(sys.argv[1])
"""
KILLED = f"""{_ALL_IN_TURN}
end = trainer._Rhythm.on_step_end
def die(self, args, state, control, **more):
    if state.global_step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    end(self, args, state, control, **more)
trainer._Rhythm.on_step_end = die
for name, recipe in RECIPES.items():
    if not os.fork():
        cached = dict(frames=folder / "frames") if name != "dino" else {{}}
        pretrain(frames(), folder / name, recipe=recipe, num_workers=0, progress=False, **cached)
        os._exit(7)
    assert os.wait()[1] == signal.SIGKILL
"""
TOGETHER = f"""{_ALL_IN_TURN}
for name, recipe in RECIPES.items():
    pretrain(frames(), folder / name, recipe=recipe.but(snapshots=0), num_workers=0, progress=False)
"""


def env() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": str(Path(__file__).parents[1])}


def files(folder: Path) -> dict[str, bytes]:
    """Weights and configurations of encoder, whole model and snapshots."""
    found = [path for path in folder.rglob("*") if path.name in ("model.safetensors", "config.json")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Each recipe in one go."""
    folder = tmp_path_factory.mktemp("whole")
    for name, recipe in RECIPES.items():
        pretrain(frames(), folder / name, recipe=recipe, num_workers=0, progress=False)
    return folder


@pytest.mark.slow  # one that was killed by a command is in test_pretrain
def test_killed_runs_end_with_the_same_bytes_cached_and_live(whole, tmp_path):
    died = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=env(), capture_output=True, text=True)
    assert died.returncode == 0, died.stderr
    for name, recipe in RECIPES.items():
        assert [path.name for path in (tmp_path / name / "checkpoints").iterdir()] == ["checkpoint-4"]
        again = {"frames": tmp_path / "frames"} if name == "ibot" else {}  # simclr: from cached frames to live ones
        pretrain(frames(), tmp_path / name, recipe=recipe, num_workers=0, progress=False, **again)
        assert files(tmp_path / name) == files(whole / name)
        assert curve(tmp_path / name) == curve(whole / name)
    assert len(files(tmp_path / "simclr")) == 4 + 6


@pytest.mark.slow  # their gradients are compared in training/test_across.py
def test_two_processes_reach_the_weights_of_one(whole, tmp_path):
    (tmp_path / "together.py").write_text(TOGETHER)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
              "--main_process_port", "0", str(tmp_path / "together.py"), str(tmp_path)]  # fmt: skip
    with counted() as seen:
        done = subprocess.run(launch, env={**env(), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(seen) == 3  # the launcher and its two
    for name in RECIPES:
        one, two = PreTraining.load(whole / name), PreTraining.load(tmp_path / name)
        assert (one.summary.processes, two.summary.processes) == (1, 2)
        there, here = (load_file(done.objective / "model.safetensors") for done in (one, two))
        for weight, value in there.items() if name != "dino" else ():  # see below
            torch.testing.assert_close(here[weight], value, rtol=1e-3, atol=1e-4, msg=f"{name}: {weight}")
        first, second = (done.log["loss"].to_pylist() for done in (one, two))
        # AdamW goes by a gradient's sign, were it ever so small, and DINO's ResNet has many that are all but zero: its
        # gradients are compared in tests/training/test_across.py
        np.testing.assert_allclose(second, first, rtol=0.02 if name == "dino" else 1e-5)
        np.testing.assert_allclose(second[:2], first[:2], rtol=1e-3)
        assert there["centre"].abs().sum() > 0 if name != "simclr" else True


@pytest.mark.parametrize("name", RECIPES)
def test_a_finished_run_is_answered_and_another_recipe_refused(name, whole):
    recipe = RECIPES[name]
    before = (whole / name / "manifest.json").stat().st_mtime_ns
    assert pretrain(frames(), whole / name, recipe=recipe, progress=False).summary.samples == 48
    assert (whole / name / "manifest.json").stat().st_mtime_ns == before
    changes = [("jitter", 0.1), ("temperature", 0.3), ("clip", 0.5)]
    changes.append(("projection", 8) if name == "simclr" else ("momentum", 0.5))
    for field, value in changes:
        with pytest.raises(Mismatch, match=rf"another {field} \({getattr(recipe, field)}, now {value}\)"):
            pretrain(frames(), whole / name, recipe=recipe.but(**{field: value}), progress=False)


@pytest.mark.parametrize("name", RECIPES)
def test_a_written_encoder_is_embedded_with(name, whole, tmp_path):
    done = PreTraining.load(whole / name)
    store = embed(frames(), done.encoder, tmp_path / "store", pooling="mean", precision="float32", progress=False)
    assert store.embeddings.shape == (18, 192 if name == "ibot" else 128)
    assert np.ptp(store.embeddings, axis=0).max() > 1e-4


def test_views_teach_something(tmp_path):
    """Told apart from seven others by chance, a view costs log(15)."""
    recipe = SIMCLR.but(samples=480, snapshots=0, crop=0.5, jitter=0.1, grey=0.0, blur=0.0)
    loss = pretrain(frames(8, {}), tmp_path / "out", recipe=recipe, progress=False).log["loss"].to_pylist()
    assert np.mean(loss[-10:]) < 0.6 * np.log(15)


def test_continuing(whole, tmp_path):
    same = pretrain(frames(), tmp_path / "same", recipe=SIMCLR.but(samples=0, snapshots=0, start=str(whole / "simclr")))
    assert weights(same.folder) == weights(whole / "simclr")
    assert weights(same.objective) == weights(whole / "simclr" / "objective")
    larger = SIMCLR.but(samples=8, snapshots=0, image_size=64, start=str(whole / "simclr"))
    done = pretrain(frames(), tmp_path / "larger", recipe=larger, progress=False)
    assert AutoImageProcessor.from_pretrained(done.encoder, backend="pil").size == {"height": 64, "width": 64}
    snapshot = PreTraining.load(whole / "simclr").snapshots[16]  # an encoder alone
    for number, start in enumerate((whole / "simclr", snapshot)):
        of_dino = DINO.but(samples=0, start=str(start))
        begun = pretrain(frames(), tmp_path / f"dino{number}", recipe=of_dino, progress=False)
        assert weights(begun.folder) == weights(start)


@pytest.mark.parametrize(
    ("recipe", "start", "message"),
    [
        (SIMCLR.but(projection=8), "simclr", r"start '.*simclr' has projection 16, the recipe 8: make them equal"),
        (DINO.but(prototypes=8), "dino", r"start '.*dino' has prototypes 16, the recipe 8: make them equal"),
        (IBOT, "simclr", r"start '.*simclr' is a resnet, and preset tiny is none: name a preset of that family"),
        (SIMCLR, "ibot", r"start '.*ibot' is a vit, and preset resnet-nano is none: name a preset of that family"),
        (IBOT.but(image_size=40), "ibot", r"start '.*ibot' has image_size 32, the recipe 40: make them equal"),
        (Recipe(preset="tiny", image_size=32, patch_size=8, samples=16), "ibot", "mae trains 'vit_mae': choose"),
        (SIMCLR, "nowhere", r"start '.*nowhere' is "),
    ],
)  # fmt: skip
def test_a_start_that_does_not_fit_is_refused_before_any_work(recipe, start, message, whole, tmp_path):
    with pytest.raises(InvalidArgument, match=message):
        pretrain(frames(), tmp_path / "out", recipe=recipe.but(start=str(whole / start)), progress=False)
    assert not (tmp_path / "out").exists()


def test_a_run_without_masks_can_go_on_with_them(whole, tmp_path):
    plain = IBOT.but(masked_loss=0.0, mask_ratio=0.75)
    first = pretrain(frames(), tmp_path / "plain", recipe=plain, progress=False)
    more = pretrain(frames(), tmp_path / "more", recipe=IBOT.but(start=str(first.folder)), progress=False)
    there = load_file(more.objective / "model.safetensors")
    assert there["student.encoder.embeddings.mask_token"].abs().sum() > 0


def test_accumulated_parts_make_the_same_step(whole, tmp_path):
    done = pretrain(frames(), tmp_path / "out", recipe=IBOT.but(accumulation=4), progress=False)
    there, here = (load_file(folder / "objective/model.safetensors") for folder in (whole / "ibot", done.folder))
    for name, value in there.items():
        torch.testing.assert_close(here[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_switches(whole, tmp_path):
    less = pretrain(frames(), tmp_path / "less", recipe=IBOT.but(gradient_checkpointing=True), progress=False)
    np.testing.assert_allclose(less.log["loss"].to_pylist(), losses(whole / "ibot"), rtol=1e-4)
    for name in ("simclr", "ibot"):
        half = pretrain(frames(), tmp_path / name, recipe=RECIPES[name].but(precision="bf16"), progress=False)
        there, here = losses(whole / name), half.log["loss"].to_pylist()
        np.testing.assert_allclose(here[:1], there[:1], rtol=0.02)
        np.testing.assert_allclose(here, there, rtol=0.2)


def losses(folder: Path) -> list[float]:
    return PreTraining.load(folder).log["loss"].to_pylist()


def test_the_user_is_told_where_maes_target_is_mostly_colour(tmp_path, caplog):
    rng = np.random.default_rng(0)
    red = [(rng.integers(0, 30, (32, 32, 3)) + np.array([190, 90, 20])).astype(np.uint8) for _ in range(6)]
    grey = [np.repeat(rng.integers(0, 255, (32, 32, 1)), 3, axis=2).astype(np.uint8) for _ in range(6)]
    mae = Recipe(preset="tiny", layers=1, image_size=24, patch_size=8, samples=8, batch_size=8)
    for name, pictures, recipe, notes in (
        ("red", red, mae, 1), ("grey", grey, mae, 0), ("by colour", red, mae.but(target="channel"), 0),
        ("raw", red, mae.but(norm_pix_loss=False), 0),
    ):  # fmt: skip
        caplog.clear()
        pool = Dataset.from_dict(
            {"id": [f"{row}" for row in range(6)], "image": [Picture.fromarray(p) for p in pictures]},
            features=Features({"id": Value("string"), "image": Image()}),
        )
        pretrain(pool, tmp_path / name, recipe=recipe)
        told = [message for message in caplog.messages if "target channel (--target channel)" in message]
        assert len(told) == notes, name


def test_a_run_that_an_earlier_version_finished_is_answered(tmp_path):
    """Its record has no field of simclr or dino; what is asked for today has them at their defaults."""
    recipe = Recipe(preset="tiny", layers=1, image_size=24, patch_size=8, samples=8, batch_size=8)
    done = pretrain(frames(), tmp_path / "out", recipe=recipe, progress=False)
    made = Manifest.read(done.folder, "pretraining").arguments
    assert not set(made) & {"target", "clip", "jitter", "momentum", "masked_loss", "local_crops"}
    assert pretrain(frames(), done.folder, recipe=recipe, progress=False).summary == done.summary
    with pytest.raises(Mismatch, match=r"another target \('patch', now 'channel'\)"):
        pretrain(frames(), done.folder, recipe=recipe.but(target="channel"), progress=False)
    with pytest.raises(Mismatch, match=r"another clip \(0.0, now 1.0\)"):
        pretrain(frames(), done.folder, recipe=recipe.but(clip=1.0), progress=False)
    assert json.loads((done.folder / "manifest.json").read_text())["arguments"] == made


def test_a_run_shows_its_numbers():
    numbers = {"pool": 20, "selected": 18, "excluded": 0, "unreadable": 2, "frames": 16, "samples": 48, "epochs": 3.0,
               "loss": 0.5, "seconds": 4.0, "processes": 1, "device": "cpu", "precision": "bf16"}  # fmt: skip
    run = PreTraining(Path("runs/mae"), Manifest("pretraining", "f00", details={"summary": numbers}))
    assert repr(run) == (
        "PreTraining('runs/mae': 16 of 20 frames (2 unreadable), 48 samples, 3.0 epochs, loss 0.5000, "
        "12.0 samples/s, bf16 on cpu)"
    )

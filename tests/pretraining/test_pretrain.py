"""Pre-training as a user runs it: in Python, on the command line, in two processes, killed and resumed."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, Features, Image, Value
from family import counted
from fork_server import alone
from PIL import Image as Picture
from transformers import AutoImageProcessor, AutoModel, ViTForMaskedImageModeling, ViTMAEForPreTraining

import meddel_hf.pretraining.objectives
import meddel_hf.pretraining.pretrain
import meddel_hf.pretraining.run
from meddel_hf.cli import main
from meddel_hf.embedding.embed import embed
from meddel_hf.errors import Diverged, IncompleteStore, InvalidArgument, InvalidDataset, Mismatch
from meddel_hf.pretraining.pretrain import pretrain
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.pretraining.result import PreTraining
from meddel_hf.selection.answer import Origin
from meddel_hf.selection.selection import Selection

ROWS = 20
BROKEN = {3: b"", 11: b"not an image"}
TINY = Recipe(
    preset="tiny", layers=1, image_size=24, patch_size=8, samples=64, batch_size=8, precision="float32",
    learning_rate=1e-3, checkpoint_samples=16,
)  # fmt: skip
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
          "--main_process_port", "0", "-m"]  # fmt: skip


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    file = io.BytesIO()
    Picture.fromarray(pixels).resize((50, 40), 3).save(file, "JPEG")
    return file.getvalue()


def frames(rows: int = ROWS, broken: dict[int, bytes] | None = None) -> Dataset:
    broken = BROKEN if broken is None else broken
    images = [broken.get(row, jpeg(row)) for row in range(rows)]
    features = Features({"id": Value("string"), "image": Image(decode=False)})
    return Dataset.from_dict({"id": [f"f/{row:03d}" for row in range(rows)], "image": images}, features=features)


def folder_of_images(folder: Path, rows: int = ROWS) -> Path:
    folder.mkdir()
    for row in range(rows):
        (folder / f"{row:03d}.jpg").write_bytes(BROKEN.get(row, jpeg(row)))
    return folder


def selection_of(dataset: Dataset, kept: set[str], row_ids: bool = False) -> Selection:
    ids = dataset["id"][:]
    table = pa.table({
        "id": ids, "kept": [id in kept for id in ids],
        "reason": [None if id in kept else "not-selected" for id in ids],
        "duplicate_of": pa.nulls(len(ids), pa.string()),
        "similarity": pa.nulls(len(ids), pa.float32()), "cluster": pa.nulls(len(ids), pa.int64()),
        "distance": pa.nulls(len(ids), pa.float32()),
    })  # fmt: skip
    return Selection(table, {"selector": "by hand"}, Origin(dataset._fingerprint, row_ids))


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def curve(folder: Path) -> list[dict]:
    """The log without what time it took."""
    return PreTraining.load(folder).log.drop(["seconds"]).to_pylist()


def run(parts: list[str], **env: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    return subprocess.run(parts, env=env, capture_output=True, text=True, timeout=300)


def command(pool: Path, out: Path, *more: str) -> list[str]:
    return ["meddel_hf.pretrain", str(pool), "--out", str(out), "--preset", "tiny", "--layers", "1", "--image-size",
            "24", "--patch-size", "8", "--samples", "64", "--batch-size", "8", "--precision", "float32",
            "--learning-rate", "1e-3", "--checkpoint-samples", "16", *more]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run in one go."""
    return pretrain(
        frames(), tmp_path_factory.mktemp("whole") / "out", recipe=TINY, num_workers=0, progress=False
    ).folder


def test_a_run_leaves_an_encoder_that_the_next_steps_take(whole, tmp_path):
    done = PreTraining.load(whole)
    s = done.summary
    assert (s.pool, s.selected, s.excluded, s.unreadable, s.frames, s.samples) == (20, 20, 0, 2, 18, 64)
    assert s.epochs == pytest.approx(64 / 18)
    assert {row["id"]: row["reason"] for row in done.unreadable.to_pylist()} == {
        "f/003": "empty file", "f/011": "not an image",
    }  # fmt: skip
    assert sorted(path.name for path in whole.iterdir()) == [
        "config.json", "log.parquet", "manifest.json", "model.safetensors", "objective", "preprocessor_config.json",
        "unreadable.parquet",
    ]  # fmt: skip
    model = AutoModel.from_pretrained(whole)
    assert type(model).__name__ == "ViTModel"
    assert AutoImageProcessor.from_pretrained(whole, backend="pil").size == {"height": 24, "width": 24}
    store = embed(frames(), whole, tmp_path / "embeddings", precision="float32", progress=False)
    assert (len(store), store.embeddings.shape[1]) == (18, 192)


def test_the_encoder_is_that_of_the_objective(whole):
    mae = ViTMAEForPreTraining.from_pretrained(whole / "objective").eval()
    mae.vit.embeddings.config.mask_ratio = 0.0
    vit = AutoModel.from_pretrained(whole).eval()
    pixels, in_order = torch.randn(2, 3, 24, 24), torch.arange(9).float().expand(2, -1)
    with torch.no_grad():
        expected = mae.vit(pixels, noise=in_order).last_hidden_state
        torch.testing.assert_close(vit(pixels).last_hidden_state, expected)


def test_the_log_says_what_was_seen_and_learned(whole):
    log = PreTraining.load(whole).log.to_pylist()
    assert [row["step"] for row in log] == list(range(1, 9))
    assert [row["samples"] for row in log] == list(range(8, 72, 8))
    assert [row["epoch"] for row in log] == pytest.approx([samples / 18 for samples in range(8, 72, 8)])
    assert log[-1]["loss"] < log[0]["loss"]
    seconds = [row["seconds"] for row in log]
    assert seconds == sorted(seconds)


@pytest.mark.slow
def test_a_longer_run_learns(tmp_path):
    recipe = TINY.but(samples=1600, norm_pix_loss=False, crop=1.0, flips="none")
    done = pretrain(frames(2, {}), tmp_path / "out", recipe=recipe, progress=False)
    loss = done.log["loss"].to_pylist()
    assert np.mean(loss[-5:]) < 0.8 * loss[0]


def test_the_same_arguments_give_the_same_bytes_with_and_without_the_cache(whole, tmp_path):
    cached = {"frames": tmp_path / "frames", "num_workers": 0}
    for number, (options, workers) in enumerate([({"num_workers": 2}, 2), (cached, 0), (cached, 0)]):
        out = tmp_path / f"{number}"
        with counted() as seen:
            pretrain(frames(), out, recipe=TINY, progress=False, **options)
        assert len(seen) >= workers
        assert bool(seen) == bool(workers)
        assert weights(out) == weights(whole)
        assert curve(out) == curve(whole)
    (folder,) = (tmp_path / "frames").glob("[!.]*")
    assert np.load(folder / "frames.npy", mmap_mode="r").shape == (20, 32, 32, 3)


def test_a_finished_run_is_answered_from_at_once_and_another_is_refused(whole, tmp_path, caplog):
    caplog.set_level("INFO", "meddel_hf")
    before = (whole / "manifest.json").stat().st_mtime_ns
    began = time.monotonic()
    assert pretrain(frames(), whole, recipe=TINY).summary == PreTraining.load(whole).summary
    assert time.monotonic() - began < 2
    assert "nothing was left to do" in caplog.messages[-1]
    assert (whole / "manifest.json").stat().st_mtime_ns == before
    for options, message in (
        ({"recipe": TINY.but(mask_ratio=0.5)}, r"another mask_ratio \(0.75, now 0.5\)"),
        ({"seed": 1}, r"another seed \(0, now 1\)"),
        ({"exclude": ["f/001"]}, "another excluded"),
        ({"selection": selection_of(frames(), {"f/001"})}, "another frames"),
    ):
        with pytest.raises(Mismatch, match=message):
            pretrain(frames(), whole, **{"recipe": TINY, **options})
    with pytest.raises(Mismatch, match="another pool"):
        pretrain(frames(ROWS, {**BROKEN, 0: jpeg(99)}), whole, recipe=TINY)
    (tmp_path / "x.txt").write_text("here")
    with pytest.raises(InvalidArgument, match="not empty and holds no pretraining"):
        pretrain(frames(), tmp_path, recipe=TINY)


KILLED = """
import os, signal, sys
from meddel_hf.pretraining import trainer
from meddel_hf.cli import alone

step = int(os.environ["KILL_AT"])
if os.environ["KILL_IN"] == "checkpoint":  # half-written: the weights are there, the optimiser's state is not
    save = trainer.PretrainingTrainer._save_optimizer_and_scheduler
    def die(self, folder):
        if self.state.global_step >= step:
            os.kill(os.getpid(), signal.SIGKILL)
        save(self, folder)
    trainer.PretrainingTrainer._save_optimizer_and_scheduler = die
else:
    end = trainer._Rhythm.on_step_end
    def die(self, args, state, control, **more):
        if state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        end(self, args, state, control, **more)
    trainer._Rhythm.on_step_end = die
sys.exit(alone('pretrain'))
"""


@pytest.fixture(scope="module")
def by_command(tmp_path_factory) -> tuple[Path, Path]:
    """(pool, what the command made of it in one go)."""
    folder = tmp_path_factory.mktemp("command")
    pool = folder_of_images(folder / "pool")
    done = alone("-m", *command(pool, folder / "out", "--snapshots", "2"))
    assert done.returncode == 0, done.stderr
    return pool, folder / "out"


@pytest.mark.parametrize(
    ("where", "step", "left"), [("step", 5, 4), pytest.param("checkpoint", 4, 2, marks=pytest.mark.slow)]
)
def test_a_killed_run_ends_with_the_same_bytes(where, step, left, by_command, tmp_path):
    pool, expected = by_command
    options = command(pool, tmp_path / "out", "--snapshots", "2")[1:]
    died = alone("-c", KILLED, *options, KILL_AT=str(step), KILL_IN=where)
    assert died.returncode == -signal.SIGKILL
    checkpoints = tmp_path / "out" / "checkpoints"
    assert [path.name for path in checkpoints.glob("checkpoint-*")] == [f"checkpoint-{left}"]
    done = alone("-m", "meddel_hf.pretrain", *options)
    assert done.returncode == 0, done.stderr
    assert f"{left * 8} samples are done already: going on with the rest" in done.stderr
    assert weights(tmp_path / "out") == weights(expected)
    assert weights(tmp_path / "out" / "objective") == weights(expected / "objective")
    assert curve(tmp_path / "out") == curve(expected)
    for samples in (32, 64):
        name = f"snapshots/samples-{samples:09d}"
        assert weights(tmp_path / "out" / name) == weights(expected / name)
    assert not list((tmp_path / "out").rglob(".*"))


def test_snapshots_are_encoders_on_the_way(by_command):
    done = PreTraining.load(by_command[1])
    assert list(done.snapshots) == [32, 64]
    assert weights(done.snapshots[64]) == weights(done.encoder)
    assert weights(done.snapshots[32]) != weights(done.encoder)
    AutoModel.from_pretrained(done.snapshots[32])


@pytest.mark.slow
def test_an_interrupted_command_says_how_to_go_on(by_command, tmp_path):
    pool, _ = by_command
    late = "import os, signal, threading, sys\nfrom meddel_hf.cli import alone\n"
    late += "from meddel_hf.pretraining import trainer\n"
    late += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    late += "end = trainer._Rhythm.on_step_end\n"
    late += "def stop(self, args, state, control, **more):\n"
    late += "    end(self, args, state, control, **more)\n"
    late += "    if state.global_step == 3: os.kill(os.getpid(), signal.SIGINT)\n"
    late += "trainer._Rhythm.on_step_end = stop\nsys.exit(alone('pretrain'))\n"
    done = alone("-c", late, *command(pool, tmp_path / "out")[1:])
    assert done.returncode == 130
    assert done.stderr.strip().splitlines()[-1] == "interrupted: the same command goes on from the last checkpoint"
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_two_processes_reach_the_same_loss_as_one(by_command, tmp_path):
    pool, expected = by_command
    done = run([*LAUNCH, *command(pool, tmp_path / "out", "--snapshots", "2")])
    assert done.returncode == 0, done.stderr
    one, two = curve(expected), curve(tmp_path / "out")
    assert [row["samples"] for row in one] == [row["samples"] for row in two]
    np.testing.assert_allclose([row["loss"] for row in two], [row["loss"] for row in one], rtol=1e-5)
    ours, theirs = AutoModel.from_pretrained(tmp_path / "out"), AutoModel.from_pretrained(expected)
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, theirs.state_dict()[name], rtol=0, atol=1e-5)
    assert PreTraining.load(tmp_path / "out").summary.processes == 2
    assert done.stderr.count("18 of 20 frames") == 1
    refused = run([*LAUNCH, *command(pool, tmp_path / "odd", "--batch-size", "9")])
    assert refused.returncode != 0
    assert refused.stderr.count("error: batch_size 9 does not divide into 2 equal parts") == 1
    assert not (tmp_path / "odd").exists()


def test_accumulated_parts_make_the_same_step(whole, tmp_path):
    pretrain(frames(), tmp_path / "out", recipe=TINY.but(accumulation=4), progress=False)
    np.testing.assert_allclose([row["loss"] for row in curve(tmp_path / "out")], [row["loss"] for row in curve(whole)],
                               rtol=1e-5)  # fmt: skip


def test_a_selection_trains_on_what_it_keeps_for_as_long(tmp_path):
    dataset = frames()
    kept = {f"f/{row:03d}" for row in (1, 3, 5, 7, 9)}
    selection_of(dataset, kept).save(tmp_path / "selection")
    done = pretrain(dataset, tmp_path / "out", recipe=TINY, selection=tmp_path / "selection",
                    exclude=["f/007", "f/008"], progress=False)  # fmt: skip
    s = done.summary
    assert (s.pool, s.selected, s.excluded, s.unreadable, s.frames, s.samples) == (20, 5, 1, 1, 3, 64)
    assert done.manifest.parents["selection"] == Selection.load(tmp_path / "selection").fingerprint
    subset = dataset.select([1, 5, 9])
    alone = pretrain(subset, tmp_path / "alone", recipe=TINY, progress=False)
    assert weights(alone.folder) == weights(done.folder)  # what was left out had no influence


def test_initial_weights_are_the_same_for_all(tmp_path):
    none = TINY.but(samples=0, precision="auto", batch_size=16)
    first = pretrain(frames(), tmp_path / "1", recipe=none, progress=False)
    second = pretrain(frames(3, {}), tmp_path / "2", recipe=none.but(learning_rate=1.0), progress=False)
    third = pretrain(frames(), tmp_path / "3", recipe=none, seed=1, progress=False)
    assert weights(first.folder) == weights(second.folder) != weights(third.folder)
    assert (len(first.log), first.summary.loss, first.summary.samples) == (0, None, 0)
    frozen = pretrain(frames(), tmp_path / "4", recipe=TINY.but(learning_rate=0.0, precision="auto"), progress=False)
    assert weights(frozen.folder) == weights(first.folder)  # what a run begins with is what samples=0 writes


def test_simmim(tmp_path):
    done = pretrain(frames(), tmp_path / "out", recipe=TINY.but(objective="simmim", samples=400), progress=False)
    loss = done.log["loss"].to_pylist()
    assert np.mean(loss[-5:]) < loss[0]
    whole = ViTForMaskedImageModeling.from_pretrained(done.objective).eval()
    pixels = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(AutoModel.from_pretrained(done.encoder).eval()(pixels).last_hidden_state,
                                   whole.vit(pixels).last_hidden_state)  # fmt: skip


@pytest.mark.parametrize("objective", ["mae", "simmim"])
def test_continuing_from_a_finished_run(objective, tmp_path):
    recipe = TINY.but(objective=objective)
    first = pretrain(frames(), tmp_path / "first", recipe=recipe, progress=False)
    none = recipe.but(samples=0, start=str(first.folder))
    assert weights(pretrain(frames(), tmp_path / "same", recipe=none, progress=False).folder) == weights(first.folder)
    more = pretrain(frames(), tmp_path / "more", recipe=none.but(samples=64), progress=False)
    assert more.log["loss"][0].as_py() < first.log["loss"][0].as_py()
    assert "start" in more.manifest.parents
    with pytest.raises(InvalidArgument, match="has image_size 24, the recipe 32"):
        pretrain(frames(), tmp_path / "x", recipe=none.but(image_size=32))
    other = "simmim" if objective == "mae" else "mae"
    with pytest.raises(InvalidArgument, match="choose the objective that it was trained with"):
        pretrain(frames(), tmp_path / "x", recipe=none.but(objective=other))
    with pytest.raises(InvalidArgument, match=r"start '.*nowhere' is not a folder: expected one with config"):
        pretrain(frames(), tmp_path / "x", recipe=none.but(start=str(tmp_path / "nowhere")))
    if objective == "mae":
        positions = ViTMAEForPreTraining.from_pretrained(more.objective).vit.embeddings.position_embeddings
        before = ViTMAEForPreTraining.from_pretrained(first.objective).vit.embeddings.position_embeddings
        assert torch.equal(positions, before)
    assert not (tmp_path / "x").exists()


def test_a_run_that_diverges_names_its_step_and_keeps_its_checkpoint(tmp_path, monkeypatch):
    steps = count(1)

    def spoiled_in_step_6(self, batch, recipe):
        spoiled = batch["pixels"] * (float("nan") if next(steps) == 6 else 1)
        return {"pixel_values": spoiled, "noise": batch["ranks"].float()}

    monkeypatch.setattr(meddel_hf.pretraining.objectives.MaskedAutoencoder, "inputs", spoiled_in_step_6)
    with pytest.raises(Diverged, match=r"at step 6 of 8 steps; the checkpoint of step 4 stays: begin another run with"):
        pretrain(frames(), tmp_path / "out", recipe=TINY, progress=False)
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["checkpoint-4"]


def test_weights_that_are_not_finite_are_never_written(tmp_path):
    """A learning rate beyond all bounds spoils the weights in the very step after which a checkpoint is due."""
    recipe = TINY.but(samples=16, learning_rate=10.0, warmup=0.0, checkpoint_samples=8, beta1=0.0)
    start = pretrain(frames(), tmp_path / "start", recipe=TINY.but(samples=0), progress=False)
    model = ViTMAEForPreTraining.from_pretrained(start.objective)
    with torch.no_grad():
        model.decoder.decoder_pred.bias.fill_(1e38)
    model.save_pretrained(tmp_path / "huge")
    with pytest.raises(Diverged, match="there is no checkpoint yet"):
        pretrain(frames(), tmp_path / "out", recipe=recipe.but(start=str(tmp_path / "huge")), progress=False)
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_switches(tmp_path):
    plain = pretrain(frames(), tmp_path / "plain", recipe=TINY, progress=False)
    less = pretrain(frames(), tmp_path / "less", recipe=TINY.but(gradient_checkpointing=True), progress=False)
    np.testing.assert_allclose(less.log["loss"].to_pylist(), plain.log["loss"].to_pylist(), rtol=1e-5)
    half = pretrain(frames(), tmp_path / "half", recipe=TINY.but(precision="bf16"), progress=False)
    np.testing.assert_allclose(half.log["loss"].to_pylist(), plain.log["loss"].to_pylist(), rtol=0.02)
    assert AutoModel.from_pretrained(half.encoder).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"seed": -1}, InvalidArgument, "seed must be a whole number from 0"),
        ({"exclude": [f"f/{row:03d}" for row in range(ROWS)]}, InvalidArgument, "no frame is left to train on"),
        ({"exclude": "f/001"}, InvalidArgument, "got one string"),
        ({"recipe": TINY.but(accumulation=2, batch_size=6), "num_workers": -1}, InvalidArgument, "num_workers"),
        ({"device": "abacus"}, InvalidArgument, "not known to torch"),
        ({"image_column": "frame"}, InvalidDataset, "no image column"),
        ({"selection": selection_of(frames(5, {}), {"f/001"})}, Mismatch, "not the pool that this selection"),
        ({"selection": "nowhere"}, IncompleteStore, "nowhere does not exist: expected a finished selection folder"),
    ],
)
def test_errors_come_before_any_work(options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        pretrain(frames(), tmp_path / "out", **{"recipe": TINY, **options})
    assert not (tmp_path / "out").exists()


def test_streams_and_pools_of_damaged_files_are_refused(tmp_path):
    with pytest.raises(InvalidDataset, match="a stream cannot be read in random order"):
        pretrain(frames().to_iterable_dataset(), tmp_path / "out", recipe=TINY)
    with pytest.raises(InvalidDataset, match=r"none of the 2 chosen frames can be read, such as f/000: empty file"):
        pretrain(frames(2, {0: b"", 1: b""}), tmp_path / "out", recipe=TINY, progress=False)


def test_a_frame_that_disappears_is_an_error_and_no_page(tmp_path):
    pool = folder_of_images(tmp_path / "pool", 3)
    from meddel_hf.data.pool import load_pool

    dataset = load_pool(str(pool))
    recipe = TINY.but(samples=8)
    (tmp_path / "out").mkdir()
    from meddel_hf.data.pool import Pool
    from meddel_hf.pretraining.frame_cache import LiveFrames
    from meddel_hf.pretraining.views import Views

    views = Views(LiveFrames(Pool.of(dataset), 32), range(3), recipe, 0)
    (pool / "001.jpg").unlink()
    batch = views.__getitems__(range(8))
    assert str(batch["error"]) == "frame 001 could be decoded before the training, and no longer: file not found"


FULL = """
import resource, signal, sys
from meddel_hf.pretraining import trainer
from meddel_hf.cli import alone

save, many = trainer.PretrainingTrainer._save_checkpoint, []
def fill(self, *args):
    many.append(0)
    if len(many) == 3:  # files of more than a few bytes cannot be written any more, as on a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    save(self, *args)
trainer.PretrainingTrainer._save_checkpoint = fill
sys.exit(alone('pretrain'))
"""


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_earlier_checkpoints_stay(by_command, tmp_path):
    pool, expected = by_command
    options = command(pool, tmp_path / "out", "--snapshots", "2")[1:]
    died = alone("-c", FULL, *options, "--quiet")
    assert died.returncode == 2
    assert died.stderr.startswith("error: the checkpoint of step 6 could not be written to")
    assert "the checkpoint of step 4 is whole: make room, and run again" in died.stderr
    assert died.stderr.count("\n") == 1
    assert "File too large" in died.stderr
    assert alone("-m", "meddel_hf.pretrain", *options).returncode == 0
    assert weights(tmp_path / "out") == weights(expected)


def test_what_the_user_sees(tmp_path, capsys, caplog):
    caplog.set_level("INFO", "meddel_hf")
    pretrain(frames(), tmp_path / "out", recipe=TINY, frames=tmp_path / "frames")
    said = capsys.readouterr()
    assert said.out == ""
    last = caplog.messages[-1]
    assert last.startswith(f"{tmp_path / 'out'}: 18 of 20 frames (2 unreadable), 64 samples, 3.6 epochs, loss ")
    assert last.endswith("samples/s, float32 on cpu")
    assert "20/20" in said.err
    assert "64/64" in said.err
    caplog.clear()
    pretrain(frames(), tmp_path / "quiet", recipe=TINY, progress=False)
    assert capsys.readouterr().err == ""
    assert not caplog.messages


@pytest.mark.slow
def test_errors_of_the_command_are_one_sentence(tmp_path):
    pool = folder_of_images(tmp_path / "pool", 4)
    for more, message in (
        (["--image-size", "30"], "error: image_size 30 is not a multiple of patch_size 8: use 32, say\n"),
        (["--selection", "nowhere"], "error: nowhere does not exist: expected a finished selection folder\n"),
    ):  # fmt: skip
        done = alone("-m", *command(pool, tmp_path / "out", *more))
        assert (done.returncode, done.stdout, done.stderr) == (2, "", message)


def test_the_module_is_callable_and_the_callers_random_states_are_left_alone(tmp_path):
    import random

    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    meddel_hf.pretrain(frames(3, {}), tmp_path / "out", recipe=TINY, progress=False)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert random.getstate() == python_state


def test_a_run_begun_by_hand_is_checked_too(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_text(json.dumps({
        "step": "embeddings", "fingerprint": "", "arguments": {}, "parents": {}, "details": {}, "versions": {},
    }))  # fmt: skip
    with pytest.raises(Mismatch, match="is a folder of step 'embeddings'"):
        pretrain(frames(), tmp_path / "out", recipe=TINY)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(tmp_path):
    gpu = pretrain(frames(), tmp_path / "gpu", recipe=TINY, progress=False)
    cpu = pretrain(frames(), tmp_path / "cpu", recipe=TINY, device="cpu", progress=False)
    assert gpu.summary.device == "cuda"
    np.testing.assert_allclose(gpu.log["loss"].to_pylist(), cpu.log["loss"].to_pylist(), rtol=1e-3)


def test_frames_that_leaked_are_left_out_unless_told_otherwise(tmp_path):
    pool = folder_of_images(tmp_path / "pool")
    leaks = {"id": ["000", "001", "elsewhere"], "in_id": ["test/a", None, "test/b"]}
    pq.write_table(pa.table(leaks, pa.schema({"id": pa.string(), "in_id": pa.string()})), pool / "leaks.parquet")
    for more, excluded in (((), 1), (("--keep-leaks",), 0)):
        out = tmp_path / f"out{excluded}"
        assert main(["pretrain", *command(pool, out, "--samples", "8", *more)[1:]]) == 0
        assert PreTraining.load(out).summary.excluded == excluded


def test_a_patient_of_whom_some_frames_are_left_out_is_told(tmp_path, capsys):
    pool = folder_of_images(tmp_path / "pool")
    rows = ["000.jpg,p1", "001.jpg,p1", "002.jpg,p2", "003.jpg,p3", "004.jpg,p3"]
    (pool / "metadata.csv").write_text("\n".join(["file_name,patient", *rows]))
    for ids, note in (
        (
            "000\n002\n",
            "warning: 1 frame of 1 video, sequence or patient (p1) of which --exclude leaves out others can",
        ),
        ("000\n001\n002\n", ""),
        (" 000 \n001\n002 \n", ""),
        ("other\n", "warning: --exclude leaves nothing out: none of its 1 id, such as 'other', is in the pool"),
    ):
        (tmp_path / "gone.txt").write_text(ids)
        line = command(pool, tmp_path / f"out{len(ids)}", "--samples", "0", "--exclude", str(tmp_path / "gone.txt"))
        assert main(["pretrain", *line[1:]]) == 0
        warnings = [line for line in capsys.readouterr().err.splitlines() if "warning:" in line]
        assert [line.startswith(note) for line in warnings] == ([True] if note else [])
    assert PreTraining.load(tmp_path / "out15").summary.excluded == 3
    (tmp_path / "gone.txt").write_text("000.jpg\nother\n")
    line = command(pool, tmp_path / "refused", "--samples", "0", "--exclude", str(tmp_path / "gone.txt"))
    assert main(["pretrain", *line[1:]]) == 2
    assert "1 listed id is the name of a file, such as 000.jpg, whose id is 000: write ids" in capsys.readouterr().err
    (pool / "ward").mkdir()
    (pool / "000.jpg").rename(pool / "ward" / "000.jpg")
    (pool / "metadata.csv").unlink()
    (tmp_path / "gone.txt").write_text("ward\n")
    inside = command(pool, tmp_path / "ward", "--samples", "0", "--exclude", str(tmp_path / "gone.txt"))
    assert main(["pretrain", *inside[1:]]) == 0
    told = "note: --exclude: ward is no frame; 1 frame lies below it: ward/000, which stay: list their ids"
    assert told in capsys.readouterr().err
    (pool / "ward" / "000.jpg").rename(pool / "000.jpg")
    (tmp_path / "gone.txt").write_text("000\n001\nother\n")
    assert main(["pretrain", *line[1:]]) == 0
    assert "note: --exclude lists 1 id that is not in the pool: other" in capsys.readouterr().err


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """A run that was interrupted after the checkpoint of step 6 of 8."""
    folder = tmp_path_factory.mktemp("stopped") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meddel_hf.pretraining.run.Run, "_finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pretrain(frames(), folder, recipe=TINY, progress=False)
    return folder


def interrupt(*args: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["optimizer.pt", "model.safetensors", "trainer_state.json", "record.json"])
def test_a_damaged_checkpoint_is_not_gone_on_from(name, stopped, whole, tmp_path):
    out = Path(shutil.copytree(stopped, tmp_path / "out"))
    path = out / "checkpoints" / "checkpoint-6" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IncompleteStore, match=rf"{name} .*: delete .*checkpoint-6, and the same command goes on"):
        pretrain(frames(), out, recipe=TINY, progress=False)
    if name == "optimizer.pt":  # the cure is one
        shutil.rmtree(path.parent)
        pretrain(frames(), out, recipe=TINY, progress=False)
        assert weights(out) == weights(whole)


def test_a_checkpoint_of_another_run_is_not_gone_on_from(stopped, tmp_path, monkeypatch):
    monkeypatch.setattr(meddel_hf.pretraining.run.Run, "_finish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pretrain(frames(), tmp_path / "other", recipe=TINY, seed=1, progress=False)
    shutil.rmtree(tmp_path / "other" / "checkpoints")
    shutil.copytree(stopped / "checkpoints", tmp_path / "other" / "checkpoints")
    with pytest.raises(Mismatch, match="checkpoint-6 is of another run"):
        pretrain(frames(), tmp_path / "other", recipe=TINY, seed=1, progress=False)


def test_the_list_of_unreadable_frames_is_checked_before_a_run_goes_on(stopped, tmp_path):
    out = Path(shutil.copytree(stopped, tmp_path / "out"))
    data = bytearray((out / "unreadable.parquet").read_bytes())
    data[12] ^= 1
    (out / "unreadable.parquet").write_bytes(data)
    with pytest.raises(IncompleteStore, match=r"unreadable\.parquet changed .*: delete it and run the same command"):
        pretrain(frames(), out, recipe=TINY, progress=False)


def test_what_a_run_left_that_was_killed_at_its_end_is_removed(whole, stopped, tmp_path):
    """Killed between its manifest and the removal of what it went on from."""
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    shutil.copy(stopped / "begun.json", out)
    shutil.copytree(stopped / "checkpoints", out / "checkpoints")
    pretrain(frames(), out, recipe=TINY, progress=False)
    names = {path.name for path in out.iterdir()}
    assert names == {path.name for path in whole.iterdir()}
    assert not names & {"begun.json", "checkpoints"}


def test_a_finished_run_that_was_damaged_is_not_answered_from(whole, tmp_path):
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    data = bytearray((out / "model.safetensors").read_bytes())
    data[-5] ^= 1
    (out / "model.safetensors").write_bytes(data)
    for work in (
        lambda: pretrain(frames(), out, recipe=TINY, progress=False),
        lambda: embed(frames(), out, tmp_path / "store", progress=False),
    ):
        with pytest.raises(IncompleteStore, match=r"model\.safetensors changed since it was written"):
            work()
    assert not (tmp_path / "store").exists()

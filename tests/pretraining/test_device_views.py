"""Views that a device cuts are, byte by byte, those that torch cuts on the processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretraining.test_pretrain import TINY, curve, frames, weights
from pretraining.test_run import DINO, IBOT, SIMCLR
from torch.nn import functional

from meddel_hf.pretraining.device_views import cut, scaling, viewed
from meddel_hf.pretraining.frame_cache import CachedFrames
from meddel_hf.pretraining.objectives import build, model_inputs
from meddel_hf.pretraining.pretrain import pretrain
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.pretraining.run import Run
from meddel_hf.pretraining.trainer import Following
from meddel_hf.pretraining.views import Views

CPU = torch.device("cpu")
RECIPES = {
    "mae": Recipe(preset="tiny", image_size=48, patch_size=8, samples=96, batch_size=8, flips="both"),
    "simmim": Recipe(objective="simmim", preset="tiny", image_size=48, patch_size=8, samples=96, batch_size=8),
    "simclr": SIMCLR.but(crop=0.1, flips="both"),
    "dino": DINO.but(local_crops=3, image_size=64, local_crop=0.01),
    "ibot": IBOT.but(image_size=48, local_size=24, flips="none"),
}  # fmt: skip
NEEDS_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def by_torch(frame: np.ndarray, box: list[int], mirrored: list[bool], size: int) -> torch.Tensor:
    """One view as torch's own code for processors scales it."""
    left, top, width, height = box
    part = torch.from_numpy(frame[top : top + height, left : left + width].copy()).permute(2, 0, 1)
    view = functional.interpolate(part.unsqueeze(0), (size, size), mode="bilinear", antialias=True)[0]
    return view.flip([axis for axis, chosen in ((2, mirrored[0]), (1, mirrored[1])) if chosen])


def boxes_in(side: int, size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Boxes of any width and height, among them the whole frame, one pixel, one row, and an axis that stays."""
    lengths = rng.integers(1, side + 1, (count, 2))
    lengths[:5] = [[side, side], [1, 1], [side, 1], [min(size, side), side], [side, min(size, side)]]
    starts = (rng.random((count, 2)) * (side - lengths + 1)).astype(np.int64)
    return np.concatenate([starts, lengths], 1)


def content(name: str, count: int, side: int, rng: np.random.Generator) -> np.ndarray:
    shape = (count, side, side, 3)
    match name:
        case "noise":
            return rng.integers(0, 256, shape, dtype=np.uint8)
        case "extremes":
            return (255 * rng.integers(0, 2, shape)).astype(np.uint8)
        case _:
            return np.full(shape, 255, np.uint8)


def check(side: int, size: int, name: str, device: torch.device) -> None:
    rng = np.random.default_rng(side * 1000 + size)
    pixels = content(name, 12, side, rng)
    boxes = boxes_in(side, size, 36, rng).reshape(12, 3, 4)
    mirrored = rng.random((12, 3, 2)) < 0.5
    views = cut(*(torch.from_numpy(part).to(device) for part in (pixels, boxes, mirrored)), size).cpu()
    assert views.shape == (12, 3, 3, size, size)
    assert views.is_contiguous()
    for row, frame in enumerate(pixels):
        for view in range(3):
            expected = by_torch(frame, boxes[row, view].tolist(), mirrored[row, view].tolist(), size)
            assert torch.equal(views[row, view], expected), (side, size, boxes[row, view])


SIDES = [(48, 32), (88, 64), (128, 96), (304, 224), (304, 96), (40, 32), (24, 24), (16, 56), (5, 3), (1, 4), (7, 1)]


@pytest.mark.parametrize("name", ["noise", "extremes", "white"])
@pytest.mark.parametrize(("side", "size"), SIDES)
def test_every_byte_is_torchs(side, size, name):
    check(side, size, name, CPU)


@pytest.mark.parametrize(("side", "size"), [(304, 32), (200, 40), (700, 16), (900, 3)])
def test_sums_that_float32_cannot_hold(side, size):
    assert scaling(side, size).bits.max() > 16
    for name in ("noise", "extremes", "white"):
        check(side, size, name, CPU)


@pytest.mark.parametrize(("side", "size"), [(48, 32), (88, 64), (172, 128), (304, 96), (200, 40)])
def test_every_length_of_an_axis(side, size):
    """From 1 to `side` pixels, across and down by turns."""
    rng = np.random.default_rng(0)
    lengths = np.arange(1, side + 1)
    pixels = content("noise", side, side, rng)
    boxes = np.stack([np.zeros_like(lengths), side - lengths[::-1], lengths, lengths[::-1]], 1)[:, None]
    views = cut(torch.from_numpy(pixels), torch.from_numpy(boxes), torch.zeros(side, 1, 2, dtype=torch.bool), size)
    for frame, box, view in zip(pixels, boxes, views, strict=True):
        assert torch.equal(view[0], by_torch(frame, box[0].tolist(), [False, False], size)), box


@pytest.mark.parametrize("side", [48, 304, 900])
def test_weights_keep_sums_exact(side):
    """What makes the products exact: whole numbers of 16 bits, whose sum is a power of 2 to within their rounding."""
    for size in (3, 16, 32, 96, 224):
        table = scaling(side, size)
        sums = table.weights.sum(axis=2, dtype=np.int64)
        assert table.weights.min() >= 0
        assert (np.abs(sums - (1 << table.bits)[:, None]) <= table.weights.shape[2] / 2).all()
        small = table.bits <= 16
        assert 255 * sums[small].max() + (1 << 15) < 2**24
        assert (255 * sums / (1 << table.bits)[:, None] + 0.5 < 256).all()  # nothing to clamp
        assert (table.first < np.arange(1, side + 1)[:, None]).all()


def test_frames_in_parts_are_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    parts = content("noise", 9, 48, rng), boxes_in(48, 32, 18, rng).reshape(9, 2, 4), rng.random((9, 2, 2)) < 0.5
    inputs = [torch.from_numpy(part) for part in parts]
    whole = cut(*inputs, 32)
    monkeypatch.setattr("meddel_hf.pretraining.device_views._NUMBERS", 2 * 3 * 48 * 64)
    assert torch.equal(cut(*inputs, 32), whole)


def test_products_are_those_of_float32_whatever_the_caller_has_set():
    rng = np.random.default_rng(0)
    parts = content("noise", 4, 48, rng), boxes_in(48, 32, 8, rng).reshape(4, 2, 4), rng.random((4, 2, 2)) < 0.5
    inputs = [torch.from_numpy(part) for part in parts]
    expected = cut(*inputs, 32)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(cut(*inputs, 32), expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


class Noise:
    """A frame of noise for each row."""

    def __init__(self, side: int) -> None:
        self.side = side

    def read(self, rows):
        return [np.random.default_rng(row).integers(0, 256, (self.side,) * 2 + (3,), dtype=np.uint8) for row in rows]


def batches(recipe: Recipe, samples: range) -> tuple[dict, dict]:
    """Cut, and uncut."""
    side = -(-recipe.image_size // 6) * 8
    ways = (Views(Noise(side), range(100, 117), recipe, 3, uncut=uncut) for uncut in (False, True))
    cut_here, uncut = (way.__getitems__(samples) for way in ways)
    return cut_here, uncut


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_is_fed_the_same_either_way(name):
    cut_here, uncut = batches(RECIPES[name], range(40, 64))
    assert uncut["frames"].shape == (24, *(-(-RECIPES[name].image_size // 6) * 8,) * 2, 3)
    assert not {"pixels", "global", "local"} & set(uncut)
    here, there = (model_inputs(batch, RECIPES[name], CPU) for batch in (cut_here, uncut))
    assert set(here) == set(there)
    for key, values in here.items():
        assert torch.equal(values, there[key]), key


@pytest.mark.parametrize("name", RECIPES)
def test_uncut_samples_are_the_same_in_whatever_batch(name):
    _, whole = batches(RECIPES[name], range(64))
    for samples in ([0], [63, 5], list(range(10, 40))):
        _, part = batches(RECIPES[name], samples)
        for key in whole:
            np.testing.assert_array_equal(part[key], whole[key][samples])


def trained(out: Path, patch: pytest.MonkeyPatch, recipe: Recipe, *, device: str, cuts: bool, workers: int) -> Path:
    """A run. cuts: have the device cut the views, a processor too."""
    with patch.context() as here:
        here.setattr(Run, "_cuts_on_device", cuts)
        return pretrain(frames(), out, recipe=recipe, num_workers=workers, device=device, progress=False).folder


@pytest.mark.parametrize(
    ("recipe", "workers"), [(TINY, 0), (TINY, 2), (SIMCLR, 2), (DINO, 0)], ids=["mae", "mae-2", "simclr-2", "dino"]
)
def test_a_run_ends_with_the_same_weights_either_way(recipe, workers, tmp_path, monkeypatch):
    batches_cut: list[int] = []

    def noted(batch, recipe):
        batches_cut.append(len(batch["frames"]))
        return viewed(batch, recipe)

    monkeypatch.setattr("meddel_hf.pretraining.objectives.viewed", noted)
    here = trained(tmp_path / "here", monkeypatch, recipe, device="cpu", cuts=False, workers=workers)
    assert batches_cut == []
    there = trained(tmp_path / "there", monkeypatch, recipe, device="cpu", cuts=True, workers=workers)
    assert batches_cut == [recipe.batch_size] * recipe.steps
    assert weights(there) == weights(here)
    assert curve(there) == curve(here)


@pytest.mark.parametrize("room", [True, False])
def test_batches_arrive_in_shared_memory_and_through_a_pipe(room, tmp_path, monkeypatch):
    alone = trained(tmp_path / "alone", monkeypatch, SIMCLR, device="cpu", cuts=True, workers=0)
    monkeypatch.setattr("meddel_hf.training.transfer._LARGE", 1)
    monkeypatch.setattr("meddel_hf.pretraining.trainer.has_shared_room", lambda size: room)
    ways: list[bool] = []

    def noted(batch, recipe, device):
        ways.append(all(isinstance(values, torch.Tensor) and values.is_shared() for values in batch.values()))
        return model_inputs(batch, recipe, device)

    monkeypatch.setattr("meddel_hf.pretraining.trainer.model_inputs", noted)
    fed = trained(tmp_path / "fed", monkeypatch, SIMCLR, device="cpu", cuts=True, workers=2)
    assert ways == [room] * SIMCLR.steps
    assert weights(fed) == weights(alone)


@pytest.mark.parametrize(
    ("device", "free", "cached", "workers"),
    [("cpu", True, True, 0), ("cpu", True, False, 15), ("cuda", True, True, 8), ("cuda", True, False, 15),
     ("cuda", False, True, 15), ("cpu", False, True, 15)],
)  # fmt: skip
def test_who_cuts_and_how_many_hand_out(device, free, cached, workers):
    run: Any = Run(Path("out"), None, SIMCLR, 0, torch.device(device), None, 15, free, progress=False)
    decoded = CachedFrames(Path("frames"), np.zeros((1, 48, 48, 3), np.uint8), {}, "", "")
    assert run._cuts_on_device == (device == "cuda")
    assert run._view_workers(decoded if cached else Noise(48)) == workers


@pytest.mark.gpu
@NEEDS_A_GPU
@pytest.mark.parametrize(("side", "size"), [*SIDES, (304, 32), (200, 40)])
def test_every_byte_is_the_same_on_a_gpu(side, size):
    for name in ("noise", "extremes", "white"):
        check(side, size, name, torch.device("cuda"))


@pytest.mark.gpu
@NEEDS_A_GPU
@pytest.mark.parametrize("name", RECIPES)
def test_a_model_on_a_gpu_is_fed_the_same_either_way(name):
    cut_here, uncut = batches(RECIPES[name], range(40, 64))
    here, there = (model_inputs(batch, RECIPES[name], torch.device("cuda")) for batch in (cut_here, uncut))
    for key, values in here.items():
        assert torch.equal(values, there[key]), key


@pytest.mark.gpu
@NEEDS_A_GPU
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("name", ["mae", "simmim", "simclr", "dino"])
def test_no_step_waits_for_the_gpu(name):
    """iBOT's does: how many patches of a batch are hidden is not known beforehand."""
    recipe, device = RECIPES[name], torch.device("cuda")
    model = build(recipe, 0).to(device).train()
    _, uncut = batches(recipe, range(8))

    def step() -> None:
        model(**model_inputs(uncut, recipe, device)).loss.backward()
        if isinstance(model, Following):
            model.after_step(0.5)

    step()  # weights of the scaling are copied once
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@NEEDS_A_GPU
@pytest.mark.parametrize("name", ["mae", "simclr"])
def test_a_run_on_a_gpu_learns_the_same_either_way(name, tmp_path, monkeypatch):
    recipe = {"mae": TINY, "simclr": SIMCLR}[name]
    losses = []
    for cuts in (False, True):
        run = trained(tmp_path / str(cuts), monkeypatch, recipe, device="cuda", cuts=cuts, workers=2)
        losses.append([line["loss"] for line in curve(run)])
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-5)
    np.testing.assert_allclose(*losses, rtol=1e-2)  # its kernels sum in another order each time: 1e-3 after six steps

"""Two real processes compute what one does with all frames: sums, rows, gradients, batch statistics."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from family import counted
from torch import nn

from meddel_hf.pretraining.objectives import build, model_inputs
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.pretraining.views import views_of
from meddel_hf.training.across import SharedBatchNorm2d, gathered, place, processes, summed

BOTH = """
import sys
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from meddel_hf.pretraining.contrastive import contrast
from meddel_hf.training.across import SharedBatchNorm2d, gathered, place, processes, summed
from training.test_across import dino_gradients

folder, rank = sys.argv[1], int(sys.argv[2])
distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
given = torch.load(f"{folder}/given.pt")
x = given["frames"].chunk(2)[rank]
out = {"processes": processes(), "place": place(), "sum": summed(torch.tensor([1.0 + rank])),
       "rows": gathered(torch.full((2, 3), float(rank)))}

torch.manual_seed(0)
layers = [nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)]
net = SharedBatchNorm2d.instead(nn.Sequential(*layers))
net.load_state_dict(given["weights"])
both = DistributedDataParallel(net)
features = both(x.transpose(0, 1).flatten(0, 1))
loss = contrast(features, 0.5)
loss.backward()
out["loss"] = loss.detach()
out["gradients"] = {name: parameter.grad for name, parameter in net.named_parameters()}
out["statistics"] = {name: value for name, value in net.named_buffers()}
net.eval()
out["after"] = net(x.flatten(0, 1)).detach()
out["dino"] = dino_gradients(rank, 2)
torch.save(out, f"{folder}/out{rank}.pt")
distributed.destroy_process_group()
"""
FRAMES = 6


def dino_gradients(rank: int, world: int) -> dict[str, torch.Tensor]:
    """Of DINO with a ResNet, whose views of two sizes are normalised one after the other."""
    recipe = Recipe(
        objective="dino", preset="resnet-nano", image_size=32, prototypes=16, local_crops=2, local_size=32,
        batch_size=8, samples=8,
    )  # fmt: skip
    model = build(recipe, 0).train()
    both = nn.parallel.DistributedDataParallel(model) if world > 1 else model
    samples = np.arange(8)[rank * 8 // world : (rank + 1) * 8 // world]
    frames = [np.random.default_rng(row).integers(0, 256, (48, 48, 3), dtype=np.uint8) for row in samples]
    both(**model_inputs(views_of(frames, samples, recipe, 0), recipe, torch.device("cpu"))).loss.backward()
    return {name: parameter.grad for name, parameter in model.student.named_parameters()}


def network(*norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), *norm, nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))


def contrasted(features: torch.Tensor, temperature: float) -> torch.Tensor:
    """NT-Xent of one process by a loop; rows are B first views, then B second ones."""
    unit = features / features.norm(dim=1, keepdim=True)
    n, total = len(unit), torch.zeros(())
    for i in range(n):
        likeness = torch.stack([unit[i] @ unit[k] for k in range(n) if k != i]) / temperature
        total = total + torch.logsumexp(likeness, 0) - unit[i] @ unit[(i + n // 2) % n] / temperature
    return total / n


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory) -> tuple[dict, list[dict]]:
    """(what torch's own modules give for all frames at once, what each of two processes gives for half of them)."""
    folder = tmp_path_factory.mktemp("across")
    torch.manual_seed(1)
    net, frames = network(nn.BatchNorm2d(4)), 3 + 2 * torch.randn(FRAMES, 2, 3, 8, 8)
    given = {"frames": frames, "weights": {name: value.clone() for name, value in net.state_dict().items()}}
    torch.save(given, folder / "given.pt")
    loss = contrasted(net(frames.transpose(0, 1).flatten(0, 1)), 0.5)
    loss.backward()
    one = {"loss": loss.detach(), "gradients": {name: p.grad for name, p in net.named_parameters()},
           "statistics": dict(net.named_buffers())}  # fmt: skip
    one["dino"] = dino_gradients(0, 1)
    one["after"] = net.eval()(frames.flatten(0, 1)).detach()
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    with counted() as seen:
        running = [
            subprocess.Popen([sys.executable, "-W", "error", "-c", BOTH, str(folder), str(rank)], env=env)
            for rank in (0, 1)
        ]
        assert [process.wait(timeout=120) for process in running] == [0, 0]
    assert len(seen) == 2
    return one, [torch.load(folder / f"out{rank}.pt") for rank in (0, 1)]


@pytest.mark.slow
def test_sums_and_rows_are_those_of_all_processes(one_and_two):
    for rank, out in enumerate(one_and_two[1]):
        assert (out["processes"], out["place"], out["sum"].item()) == (2, rank, 3.0)
        assert out["rows"].tolist() == [[0.0] * 3] * 2 + [[1.0] * 3] * 2


def test_gradients_are_those_of_one_process_with_all_frames(one_and_two):
    one, two = one_and_two
    assert float(one["loss"]) == pytest.approx((float(two[0]["loss"]) + float(two[1]["loss"])) / 2, rel=1e-5)
    assert float(two[0]["loss"]) != pytest.approx(float(two[1]["loss"]), rel=1e-3)
    for which in ("gradients", "dino"):
        for name, expected in one[which].items():
            for out in two:
                apart = (out[which][name] - expected).norm() / expected.norm().clamp(min=1e-6)
                assert apart < 1e-3, name


def test_batch_statistics_are_torchs_over_all_frames(one_and_two):
    one, two = one_and_two
    for name, expected in one["statistics"].items():
        for out in two:
            torch.testing.assert_close(out["statistics"][name], expected, rtol=1e-5, atol=1e-6, msg=name)
    torch.testing.assert_close(torch.cat([out["after"] for out in two]), one["after"], rtol=1e-4, atol=1e-5)


def test_alone_nothing_is_changed():
    rows = torch.randn(3, 2)
    assert (processes(), place()) == (1, 0)
    assert summed(rows) is rows
    assert gathered(rows) is rows


def test_every_batch_normalisation_is_replaced_with_its_weights():
    net = network(nn.Sequential(nn.BatchNorm2d(4, eps=1e-3, momentum=0.3)))
    norm = net[1][0]
    with torch.no_grad():
        norm.weight.normal_()
        norm.running_mean.normal_()
    shared = SharedBatchNorm2d.instead(net)[1][0]
    assert type(shared) is SharedBatchNorm2d
    assert (shared.eps, shared.momentum) == (1e-3, 0.3)
    assert all(torch.equal(value, shared.state_dict()[name]) for name, value in norm.state_dict().items())
    x = torch.randn(5, 4, 3, 3)
    torch.testing.assert_close(shared(x), norm(x))

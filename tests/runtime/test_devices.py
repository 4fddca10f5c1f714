"""Where a search runs: what is asked for, what there is, and what a device that is not there says."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import torch

from meddel_hf import MedDEL
from meddel_hf.errors import InvalidArgument
from meddel_hf.neighbors.cosines import Vectors
from meddel_hf.runtime.devices import search_device, searching_on

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def two_gpus(monkeypatch):
    """As if torch had found two."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("ACCELERATE_USE_CPU", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def test_a_gpu_is_taken_where_there_is_one_and_many_rows(two_gpus, monkeypatch):
    assert search_device(1000) is None
    assert search_device(100_000) == torch.device("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "3")  # two processes for each GPU
    assert search_device(100_000) == torch.device("cuda:1")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert search_device(100_000) is None


def test_without_a_gpu_the_processor_searches(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert search_device(10**9) is None


def test_what_is_asked_for_counts_and_auto_is_what_the_block_around_says(two_gpus):
    with searching_on("cpu"):
        assert search_device(100_000) is None
        with searching_on("auto"):
            assert search_device(100_000) is None
        with searching_on("cuda:1"):
            assert search_device(1) == torch.device("cuda:1")
        with searching_on("cuda"):
            assert search_device(1) == torch.device("cuda:0")
        assert search_device(100_000) is None
    assert search_device(100_000) == torch.device("cuda:0")


@pytest.mark.parametrize("name", ["tpu9", "", "cuda:x", "meta"])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(InvalidArgument, match="auto, cpu or cuda"), searching_on(name):
        pass


def test_a_gpu_that_is_not_there(two_gpus, monkeypatch):
    with pytest.raises(InvalidArgument, match="'cuda:2' was asked for, and torch finds 2 GPUs"), searching_on("cuda:2"):
        pass
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidArgument, match="torch finds no GPU: leave device at auto"):
        MedDEL(eta=0.8).select(oracle.clumps(40, 8), device="cuda")


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("scope", ["pool", "cluster"])
def test_a_selection_is_the_same_on_a_gpu(scope):
    x = oracle.clumps(5000, 64)
    with searching_on("cuda"):
        assert Vectors.prepare(x).device.place.type == "cuda"
    for options in ({"eta": 0.8}, {"retention": 0.3}, {"eta": 0.7, "rule": "semdedup"}):
        one, other = (
            MedDEL(epsilon=None, scope=scope, **options).select(x, device=device) for device in ("cuda", "cpu")
        )
        assert one.table.equals(other.table)
        assert one.eta == other.eta


@pytest.mark.gpu
@GPU
def test_auto_is_the_gpu_for_a_large_pool():
    x = np.random.default_rng(0).standard_normal((40_000, 32), np.float32)
    assert Vectors.prepare(x).device.place.type == "cuda"
    assert Vectors.prepare(x[:1000]).device is None

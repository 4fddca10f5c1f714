"""Batches reach the training as they were made, in shared memory where there is room and through a pipe where not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from meddel_hf.training import transfer
from meddel_hf.training.transfer import has_shared_room, large_as_tensors, sent


class Numbered(Dataset):
    def __len__(self) -> int:
        return 8

    def __getitems__(self, samples):
        numbers = np.array(samples, np.uint8)
        return {"pixels": np.tile(numbers, 2**19), "numbers": numbers, "error": ValueError(str(samples))}


@pytest.mark.parametrize("workers", [0, 1])
def test_large_arrays_become_tensors_and_the_rest_stays(workers):
    batches = list(DataLoader(Numbered(), batch_size=4, num_workers=workers, collate_fn=large_as_tensors))
    for batch, numbers in zip(batches, ([0, 1, 2, 3], [4, 5, 6, 7]), strict=True):
        assert torch.equal(batch["pixels"], torch.tensor(numbers, dtype=torch.uint8).repeat(2**19))
        assert isinstance(batch["numbers"], np.ndarray)
        assert batch["numbers"].tolist() == numbers
    assert str(batches[1]["error"]) == "[4, 5, 6, 7]"
    assert batches[0]["pixels"].is_shared() == bool(workers)


def test_room_is_what_the_system_has(tmp_path, monkeypatch):
    assert has_shared_room(0) == transfer._SHARED.is_dir()
    assert not has_shared_room(10**15)
    monkeypatch.setattr(transfer, "_SHARED", tmp_path / "none")
    assert not has_shared_room(0)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_what_is_sent_arrives(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    values = np.random.default_rng(0).integers(0, 256, (300, 1000), dtype=np.uint8)
    for way in (values, torch.from_numpy(values)):
        there = sent(way, torch.device(device))
        assert there.device.type == device
        np.testing.assert_array_equal(there.cpu().numpy(), values)

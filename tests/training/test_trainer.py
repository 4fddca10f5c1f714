"""The trainer that both trainings share: what it learns is what transformers' own learns from the same samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, ViTConfig, ViTForImageClassification

from meddel_hf.downstream.segmentation.training import _Trainer
from meddel_hf.pretraining.trainer import PretrainingTrainer
from meddel_hf.training.trainer import SampleTrainer, arguments

STEPS, BATCH = 6, 4
CPU = torch.device("cpu")
OURS = {"_check_weights", "_diverged"}  # methods that transformers does not have; all others must be its own


class InOrder(Trainer):
    """transformers' own loader, told only not to shuffle."""

    def _get_train_sampler(self, *args, **kwargs):
        return SequentialSampler(self.train_dataset)


def batch(samples) -> dict[str, torch.Tensor]:
    pixels = [np.random.default_rng(sample).standard_normal((3, 8, 8), np.float32) for sample in samples]
    return {"pixel_values": torch.from_numpy(np.stack(pixels)), "labels": torch.tensor([s % 2 for s in samples])}


def model(dropout: float) -> ViTForImageClassification:
    torch.manual_seed(1)
    return ViTForImageClassification(ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    ))  # fmt: skip


def settings(folder: Path):
    return arguments(
        folder, CPU, steps=STEPS, warmup=0.5, learning_rate=1e-2, per_device_train_batch_size=BATCH,
        save_strategy="no", dataloader_pin_memory=False,
    )  # fmt: skip


def learned(trainer: Trainer) -> dict[str, torch.Tensor]:
    trainer.train()
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_it_learns_what_transformers_own_trainer_learns_bit_for_bit(dropout, tmp_path):
    """With dropout too, whose masks come from torch's state: the loader takes as much of it as transformers' does."""
    samples = range(STEPS * BATCH)
    ours = learned(SampleTrainer(model(dropout), settings(tmp_path), samples, batch, TrainerCallback(), 0))
    theirs = learned(InOrder(model(dropout), settings(tmp_path), train_dataset=samples, data_collator=batch))
    start = model(dropout).state_dict()
    assert any(not torch.equal(ours[name], start[name]) for name in ours)
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_come_in_the_order_of_their_numbers_and_none_is_left_out(workers, tmp_path):
    samples = range(STEPS * BATCH)
    trainer = SampleTrainer(model(0.0), settings(tmp_path), samples, torch.tensor, TrainerCallback(), workers)
    assert torch.cat(list(trainer.get_train_dataloader())).tolist() == list(samples)


@pytest.mark.parametrize("trainer", [SampleTrainer, PretrainingTrainer, _Trainer])
def test_private_methods_that_are_overridden_are_still_there(trainer):
    """One that transformers renames would never be called, without any error: see its upper bound in setup.cfg."""
    names = [name for name in vars(trainer) if name.startswith("_") and not name.startswith("__")]
    assert [name for name in names if name not in OURS and not hasattr(Trainer, name)] == []


def test_private_parts_that_are_used_are_still_there(tmp_path):
    assert callable(Trainer._save_optimizer_and_scheduler)
    assert settings(tmp_path)._n_gpu == 0  # on the CPU

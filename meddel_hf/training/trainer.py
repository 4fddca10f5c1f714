"""`Trainer` of transformers as both trainings use it: samples in the order of their numbers, in whole batches.

What it does at every step for purposes that are not ours (counting operations) is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, SequentialSampler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from meddel_hf.runtime.parents import become_worker

BATCHES_AHEAD = 4  # per worker


class SampleTrainer(Trainer):
    """Trains a model on the samples 0, 1, 2, ... of a run.

    samples:  of as many as the run takes; nothing is shuffled here, since a sample's number says what it shows.
    collate:  makes a batch of samples. workers: processes that do so ahead of the model; 0: this one does.
    callback: says when to log and to save, and shows how far the run is.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        arguments: TrainingArguments,
        samples: Any,
        collate: Callable[[Any], Any],
        callback: TrainerCallback,
        workers: int,
    ) -> None:
        self.workers = workers
        super().__init__(model, arguments, train_dataset=samples, data_collator=collate, callbacks=[callback])
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches in the order of the samples; accelerate gives the i-th of each N to process i.

        It takes a seed for its workers from torch's own random state, as the loader of `Trainer` does: given another
        generator, a model with dropout would learn other weights.
        """
        samples: Any = self.train_dataset
        loader = DataLoader(
            samples,
            batch_size=self.args.per_device_train_batch_size,
            sampler=SequentialSampler(samples),
            collate_fn=self.data_collator,
            num_workers=self.workers,
            prefetch_factor=BATCHES_AHEAD if self.workers else None,
            worker_init_fn=become_worker,  # samples need no seed of the worker's own
            pin_memory=self.args.dataloader_pin_memory,
            drop_last=True,
        )
        # Both trainings bring their batches to the device themselves; accelerate would wait for it at every step.
        answer: DataLoader[Any] = self.accelerator.prepare_data_loader(loader, device_placement=False)
        return answer

    def floating_point_ops(self, inputs: Any) -> int:
        return 0  # counting them walks through all weights at every step


def arguments(folder: Path, device: torch.device, *, steps: int, warmup: float, **more: Any) -> TrainingArguments:
    """What both trainings tell `Trainer`: half a cosine after a linear warm-up over a share of the steps, no reports.

    folder: of the checkpoints.
    """
    settings = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        warmup_steps=round(warmup * steps),
        lr_scheduler_type="cosine",
        ddp_find_unused_parameters=False,  # all are used
        use_cpu=device.type == "cpu",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        **more,
    )
    settings._n_gpu = min(settings.n_gpu, 1)  # one process drives one GPU: nn.DataParallel would take all of them
    return settings

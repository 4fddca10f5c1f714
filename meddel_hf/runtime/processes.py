"""The processes that Accelerate launched: what each computes on, and how many more may decode for it."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
from accelerate import PartialState

from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.checks import MOST_PROCESSES, is_whole
from meddel_hf.runtime.devices import told_to_use_cpu
from meddel_hf.runtime.parents import leave_with_launcher
from meddel_hf.runtime.reading import shown

_LONGEST_WAIT = timedelta(days=30)  # one process may have hours more to do than another
_MOST_FOR_A_PROCESSOR, _MOST_FOR_A_GPU = 4, 16  # decoding processes beyond which nothing was gained


def launched_processes(device: str) -> PartialState:
    """The processes that a launcher started, or this one alone; on processors they talk through gloo.

    `accelerate launch --cpu --num_processes 2` starts one process; `--multi_gpu` starts two, without a GPU as well.
    """
    leave_with_launcher()
    launched = "LOCAL_RANK" in os.environ or int(os.environ.get("WORLD_SIZE", "1")) > 1
    on_cpu = launched and (device == "cpu" or told_to_use_cpu() or not torch.accelerator.is_available())
    return PartialState(cpu=on_cpu, timeout=_LONGEST_WAIT)


def agreed(number: int, processes: PartialState) -> int:
    """The main process's number, for all processes: what it saw or decided, where others might see a later state."""
    if processes.num_processes == 1:
        return number
    said = torch.tensor([number], dtype=torch.int64, device=processes.device)
    torch.distributed.broadcast(said, 0)
    return int(said.item())


def leave() -> None:
    """Part from the other processes at the end of a command; torch warns about those that just stop."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def computing_device(device: str, processes: PartialState) -> torch.device:
    """What "auto", "cpu", "cuda" or "cuda:1" means for this process. Raises InvalidArgument where it is not there."""
    if device == "auto":
        return torch.device("cpu") if told_to_use_cpu() else processes.device
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise InvalidArgument(f"device {device!r} is not known to torch: expected auto, cpu or cuda") from error
    if wanted.type != "cpu" and not torch.accelerator.is_available():
        raise InvalidArgument(f"device {device!r} was asked for, and torch finds no GPU: leave device at auto")
    return processes.device if wanted.index is None and wanted.type == processes.device.type else wanted


def cores() -> int:
    """That this process may compute on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decoding_workers(wanted: int | str, processes: PartialState) -> int:
    """Decoding processes for each computing one; a GPU needs many to stay busy, a processor its cores for the model."""
    if wanted != "auto":
        if not is_whole(wanted) or not 0 <= int(wanted) <= MOST_PROCESSES:
            raise InvalidArgument(f"num_workers must be from 0 to {MOST_PROCESSES:,}, or 'auto', got {shown(wanted)}")
        return int(wanted)
    share = cores() // int(os.environ.get("LOCAL_WORLD_SIZE", processes.num_processes)) or 1
    most = min(_MOST_FOR_A_PROCESSOR, share // 4) if processes.device.type == "cpu" else min(_MOST_FOR_A_GPU, share - 1)
    return max(1, most)

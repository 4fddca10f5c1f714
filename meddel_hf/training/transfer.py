"""Batches on their way from the processes that make them to the device that trains.

Arrays go from process to process through a pipe, which copies them several times while the training waits; tensors lie
in shared memory, where there is room for them. From pinned memory a device takes them while the processor goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

_SHARED = Path("/dev/shm")  # where torch shares tensors; in a container often 64 MiB
_SPARE = 2  # times what is needed
_LARGE = 2**21  # bytes from which sharing costs the training less than a pipe


def has_shared_room(size: int) -> bool:
    """Whether so many bytes of tensors can be shared by processes here."""
    try:
        return shutil.disk_usage(_SHARED).free >= _SPARE * size
    except OSError:
        return False


def large_as_tensors(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of a batch of 2 MiB and more as tensors; whatever else it holds, as it is."""
    large = {name for name, values in batch.items() if getattr(values, "nbytes", 0) >= _LARGE}
    return {name: torch.from_numpy(values) if name in large else values for name, values in batch.items()}


def sent(values: NDArray[Any] | Tensor, device: torch.device) -> Tensor:
    """An array or tensor on a device. A GPU takes it when it comes to it, and nobody waits for that."""
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(values)
    if device.type == "cuda" and not tensor.is_cuda and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)

"""What computes: where the search for near rows runs, and bfloat16 where a device's products of it are native."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, get_args

from meddel_hf.errors import InvalidArgument

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "bf16", "float32"]
_GPU_FROM = 2**15  # rows from which a GPU's start is worth waiting for

_wanted: ContextVar[str] = ContextVar("the device that searches run on", default="auto")


def resolve_precision(precision: Precision, device: torch.device) -> Literal["bf16", "float32"]:
    """What "auto" means on a device: bf16 only where its products run natively, since emulated ones are slower."""
    if precision not in get_args(Precision):
        raise InvalidArgument(f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}")
    if precision != "auto":
        return precision
    return "bf16" if has_bfloat16_products(device.type) else "float32"


def has_bfloat16_products(kind: str = "cpu") -> bool:
    """Whether a kind of device, "cpu" or "cuda", multiplies bfloat16 natively."""
    import torch

    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind != "cpu":
        return False
    # No public name in torch 2.6 tells this; torch.cpu.get_capabilities is newer.
    cpu: Any = torch.cpu
    return bool(cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())


def told_to_use_cpu() -> bool:
    """True under `accelerate launch --cpu`."""
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")


@contextmanager
def searching_on(device: str) -> Iterator[None]:
    """Have every search in the block run on a device: "auto", "cpu", "cuda" or "cuda:1"; answers are the same on each.

    "auto" is a GPU where there is one and the pool has 32,768 rows or more. Inside another block, "auto" is what that
    one says. Raises InvalidArgument for a device that torch does not know or does not find.
    """
    _check(device)
    token = _wanted.set(_wanted.get() if device == "auto" else device)
    try:
        yield
    finally:
        _wanted.reset(token)


def search_device(rows: int) -> torch.device | None:
    """The GPU on which so many rows are searched here; None for the processor."""
    import torch

    wanted = _wanted.get()
    if wanted == "cpu":
        return None
    if wanted == "auto" and (told_to_use_cpu() or rows < _GPU_FROM or not torch.cuda.is_available()):
        return None
    place = torch.device("cuda" if wanted == "auto" else wanted)
    if place.index is None:  # each process that a launcher started has one of its own
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return place


def _check(device: str) -> None:
    if device in ("auto", "cpu"):
        return
    import torch

    try:
        place = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InvalidArgument(f"device {device!r} is not known to torch: expected auto, cpu or cuda") from error
    if place.type != "cuda":
        raise InvalidArgument(f"a search runs on auto, cpu or cuda, got device {device!r}")
    if not torch.cuda.is_available():
        raise InvalidArgument(f"device {device!r} was asked for, and torch finds no GPU: leave device at auto")
    if place.index is not None and place.index >= torch.cuda.device_count():
        raise InvalidArgument(
            f"device {device!r} was asked for, and torch finds {torch.cuda.device_count()} GPUs, counted from 0"
        )

"""What a device computes in: bfloat16 where its products run natively."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from meddel_hf.errors import InvalidArgument

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "bf16", "float32"]


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

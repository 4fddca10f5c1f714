"""What a step computes over the frames of all processes, so that it is the same for one process and for many.

Gradients go through: what a process adds to another's rows comes back to it.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


def processes() -> int:
    """That train together."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if there else 1


def place() -> int:
    """Of this process among them, from 0."""
    return torch.distributed.get_rank() if processes() > 1 else 0


def summed(values: Tensor) -> Tensor:
    """The same shape, summed over all processes."""
    return values if processes() == 1 else cast(Tensor, _Sum.apply(values))  # type: ignore[no-untyped-call]


def gathered(rows: Tensor) -> Tensor:
    """(m, d) -> (N * m, d) of N processes, in their order; each has as many."""
    return rows if processes() == 1 else cast(Tensor, _Rows.apply(rows))  # type: ignore[no-untyped-call]


class _Sum(torch.autograd.Function):
    """`summed`; torch's own that gradients go through is deprecated, and what takes its place is private."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        """What each process' loss asks of the sum is asked of every part of it."""
        return _Sum.forward(None, gradients[0])


class _Rows(torch.autograd.Function):
    """`gathered`."""

    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(processes())]
        torch.distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        """What all processes' losses ask of this one's rows."""
        return _Sum.forward(None, gradients[0]).chunk(processes())[place()]


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation by the mean and the variance over all processes; torch's own does so on GPUs alone."""

    @classmethod
    def instead(cls, model: Model) -> Model:
        """The model, every `BatchNorm2d` of it replaced by one of these with the same weights."""
        for name, module in list(model.named_modules()):
            if type(module) is nn.BatchNorm2d:
                shared = cls(module.num_features, module.eps, cast(float, module.momentum))
                shared.load_state_dict(module.state_dict())
                model.set_submodule(name, shared)
        return model

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W)"""
        if not self.training or processes() == 1:
            return super().forward(input)
        values = input.float()
        axes = (0, 2, 3)
        n = values.numel() / values.shape[1] * processes()  # each process has as many
        mean = summed(values.sum(axes)) / n
        centred = values - mean.view(-1, 1, 1)
        variance = summed(centred.square().sum(axes)) / n
        self._note(mean.detach(), variance.detach() * (n / max(n - 1, 1)))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(-1, 1, 1) + self.bias.view(-1, 1, 1)).to(input.dtype)

    def _note(self, mean: Tensor, variance: Tensor) -> None:
        """Running statistics, for use after the training."""
        share = cast(float, self.momentum)
        buffers: Any = self
        buffers.running_mean.lerp_(mean, share)
        buffers.running_var.lerp_(variance, share)
        buffers.num_batches_tracked.add_(1)

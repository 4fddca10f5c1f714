"""Embeddings on a GPU: screened products with a proven margin, and exact cosines that equal the processor's bit by bit.

Nothing here asks for CUDA: the same code computes on whatever torch calls a device, and the tests run it on the
processor too. The exact cosine is the one of `float64.py`. A device sums in another order, so it rounds its float64 sum
up and down by more than two orders can differ: where both give the same multiple of 2^-24 that is the exact cosine, and
where they do not (one pair in 160,000 at 768-d) the processor is asked.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from meddel_hf.neighbors.float64 import Rows, exact_cosines, single_error, slack
from meddel_hf.runtime.devices import has_bfloat16_products
from meddel_hf.runtime.threads import own_threads

Tier = Literal["bfloat16", "float32", "float64"]
HIGHER: dict[Tier, Tier] = {"bfloat16": "float32", "float32": "float64"}

_COPIED = 4096  # rows that one thread copies at once
_NUMBERS = 2**25  # float64 numbers of gathered rows that are held at once
_ALIGNED = 8  # bfloat16 numbers in 16 bytes: rows of whole multiples are multiplied fastest
_LARGE, _SMALL = 2**28, 2**24  # numbers of a screened product: on a GPU, elsewhere
_ROOM_PER_NUMBER = 24  # bytes beside the rows, for each number of a product: three streams, their lists, the rest
_GPU_OF = 32 * 2**30  # bytes from which a GPU holds the large products

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DeviceRows:
    """Embeddings on a device.

    host, host_norms: (n, d) and (n,) float64, as the processor has them.
    base, norms:      the same on the device.
    low:              (n, d') bfloat16 copy of the unit rows, d' the next multiple of 8 (zeros fill it); None where the
                      device has no bfloat16 products.
    low_error:        greatest Euclidean distance between a unit row and its copy.
    """

    host: NDArray[np.floating]
    host_norms: NDArray[np.float64]
    base: torch.Tensor
    norms: torch.Tensor
    low: torch.Tensor | None
    low_error: float

    @classmethod
    def copy(
        cls, base: NDArray[np.floating], norms: NDArray[np.float64], place: torch.device, low: bool | None = None
    ) -> DeviceRows:
        """low: whether to have a bfloat16 copy; None: where the device multiplies bfloat16 natively."""
        kind = torch.float64 if base.dtype.itemsize == 8 else torch.float32
        there = torch.empty(base.shape, dtype=kind, device=place)

        def copy(start: int) -> None:
            # A fresh array in the machine's own byte order: torch takes no other, and none that may not be written to.
            part = np.array(base[start : start + _COPIED], dtype=base.dtype.newbyteorder("="))
            there[start : start + _COPIED].copy_(torch.from_numpy(part))

        with own_threads() as threads:
            for _ in threads.map(copy, range(0, len(base), _COPIED)):
                pass
        rows = cls(base, norms, there, torch.from_numpy(np.array(norms)).to(place), None, 0.0)
        if has_bfloat16_products(place.type) if low is None else low:
            rows = cls(base, norms, there, rows.norms, *rows._low_copy())
        if place.type == "cuda":
            torch.cuda.synchronize(place)
        return rows

    @property
    def place(self) -> torch.device:
        return self.base.device

    @property
    def dim(self) -> int:
        return int(self.base.shape[1])

    @property
    def cheapest(self) -> Tier:
        return "float32" if self.low is None else "bfloat16"

    @property
    def numbers(self) -> int:
        """Numbers of a screened product that is held at once."""
        return _product_numbers(self.place)

    def index(self, rows: Rows) -> torch.Tensor:
        return torch.from_numpy(np.array(rows, np.int64)).to(self.place)

    def panel(self, rows: torch.Tensor, tier: Tier) -> torch.Tensor:
        """Unit rows in the tier's precision, (len(rows), d or d'), to multiply with."""
        if tier == "bfloat16" and self.low is not None:
            return self.low[rows]
        unit = torch.empty(len(rows), self.dim, device=self.place)
        for part in _parts(len(rows), self.dim):
            unit[part] = self.base[rows[part]].double() / self.norms[rows[part], None]
        return unit

    def margin(self, other: DeviceRows, tier: Tier) -> float:
        """Bound on |screened - exact| cosine of any row of self with any row of other, under `full_products`."""
        single = single_error(self.dim)
        if tier == "float32":
            return single
        # bfloat16: Cauchy-Schwarz on what rounding took from each side. Products of two are exact in float32. The
        # tensor cores shift the numbers of a sum to the largest one's exponent and cut off, instead of rounding, what
        # lies below float32's last bit: at most 2^-22 of at most 1.01 for each of d products and of the partial sums,
        # at most d as well, so 8 (d + 16) 2^-23 is over that. A result rounded or cut to bfloat16 (8 significant bits).
        copies = self.low_error + other.low_error + self.low_error * other.low_error
        return 1.02 * (copies + 8 * single) + 2.0**-8

    def cosines(self, rows: torch.Tensor, other: DeviceRows, cols: torch.Tensor) -> torch.Tensor:
        """The exact cosine of each pair (rows[p], cols[p]), (len(rows),) float32 on the device."""
        result = torch.empty(len(rows), device=self.place)
        doubtful = torch.empty(len(rows), dtype=torch.bool, device=self.place)
        for part in _parts(len(rows), self.dim):
            i, j = rows[part], cols[part]
            cosine = self.base[i].double().mul_(other.base[j]).sum(dim=1).div_(self.norms[i] * other.norms[j])
            result[part], doubtful[part] = _rounded(cosine, self.dim)
        ask = doubtful.nonzero()[:, 0]
        if len(ask):
            result[ask] = self._ask(rows[ask], other, cols[ask])
        return result

    def cosine_tile(self, rows: torch.Tensor, other: DeviceRows, cols: torch.Tensor) -> torch.Tensor:
        """The exact cosine of every row with every column, (len(rows), len(cols)) float32 on the device."""
        cosine = self.base[rows].double() @ other.base[cols].double().T
        result, doubtful = _rounded(cosine.div_(self.norms[rows, None]).div_(other.norms[cols]), self.dim)
        r, c = doubtful.nonzero(as_tuple=True)
        if len(r):
            result[r, c] = self._ask(rows[r], other, cols[c])
        return result

    def _ask(self, rows: torch.Tensor, other: DeviceRows, cols: torch.Tensor) -> torch.Tensor:
        pairs = rows.cpu().numpy(), cols.cpu().numpy()
        answer = exact_cosines(self.host, self.host_norms, pairs[0], other.host, other.host_norms, pairs[1])
        return torch.from_numpy(answer).to(self.place)

    def _low_copy(self) -> tuple[torch.Tensor, float]:
        wide = -(-self.dim // _ALIGNED) * _ALIGNED
        low = torch.zeros(len(self.base), wide, dtype=torch.bfloat16, device=self.place)
        worst = torch.zeros((), dtype=torch.float64, device=self.place)
        for part in _parts(len(low), self.dim):
            unit = self.base[part].double() / self.norms[part, None]
            low[part, : self.dim] = unit.float()
            worst = torch.maximum(worst, (low[part, : self.dim].double() - unit).norm(dim=1).max())
        return low, float(worst) * (1 + 1e-9)  # this norm is rounded, too


def fits(shape: tuple[int, int], itemsize: int, place: torch.device) -> bool:
    """Whether (n, d) numbers, their copy and the products with them fit into a GPU's free memory; logs where not."""
    if place.type != "cuda":
        return True
    free = torch.cuda.mem_get_info(place)[0] + torch.cuda.memory_reserved(place) - torch.cuda.memory_allocated(place)
    need = shape[0] * (shape[1] * (itemsize + 2) + 16) + _ROOM_PER_NUMBER * _product_numbers(place)
    if need > free:
        log.warning(
            "%s has %.1f GB free, and a search of %s embeddings needs %.1f GB there: it runs on the processor",
            place, free / 1e9, f"{shape[0]:,}", need / 1e9,
        )  # fmt: skip
    return need <= free


def _product_numbers(place: torch.device) -> int:
    if place.type != "cuda":
        return _SMALL
    return _LARGE if torch.cuda.get_device_properties(place).total_memory >= _GPU_OF else _LARGE // 4


def _parts(rows: int, dim: int) -> Iterator[slice]:
    step = max(1, _NUMBERS // dim)
    for start in range(0, rows, step):
        yield slice(start, start + step)


def _rounded(cosine: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Float64 cosines rounded as `float64.rounded` does, float32, and where another order of sums might round apart."""
    off = slack(dim)
    low, high = ((cosine + shift).mul_(2.0**24).round_() for shift in (-off, off))
    return low.mul(2.0**-24).add_(0.0).float(), low != high


@contextmanager
def full_products() -> Iterator[None]:
    """Have torch multiply float32 in float32, not in tf32, and sum bfloat16 products in float32 all through.

    These are settings of the process; they are set back when the last block that needs them ends.
    """
    with _setting:
        if not _inside:
            _before.update(_as_set())
            _set(allow_bf16=False, single="ieee", older=_before["older"] and "highest")
        _inside.append(None)
    try:
        yield
    finally:
        with _setting:
            _inside.pop()
            if not _inside:
                _set(**_before)


_setting = threading.Lock()
_before: dict[str, Any] = {}
_inside: list[None] = []


def _as_set() -> dict[str, Any]:
    """What the process has set; tf32 has two names, and `older` is None where the older one need not be touched."""
    matmul: Any = torch.backends.cuda.matmul
    single, older = getattr(matmul, "fp32_precision", None), None
    if single in (None, "tf32"):  # torch before 2.9 has the older name alone
        try:
            older = torch.get_float32_matmul_precision()
        except RuntimeError:  # the two were set apart: then the newer one counts
            older = None
    return {
        "allow_bf16": matmul.allow_bf16_reduced_precision_reduction,
        "single": single,
        "older": None if older == "highest" else older,
    }


def _set(allow_bf16: bool, single: str | None, older: str | None) -> None:
    matmul: Any = torch.backends.cuda.matmul
    matmul.allow_bf16_reduced_precision_reduction = allow_bf16
    if older is not None:
        torch.set_float32_matmul_precision(older)
    if hasattr(matmul, "fp32_precision") and matmul.fp32_precision != single:
        matmul.fp32_precision = single

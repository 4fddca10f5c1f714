"""Exact cosines between embeddings, found through cheap screens with proven margins.

The cosine of two rows is one number wherever it is asked for: their dot product in float64 over the product of their
float64 norms, summed in one fixed order, then rounded once to a multiple of 2^-24, the spacing of float32 below 1.
Thresholds are rounded alike, so that a pair whose cosine equals eta is never above it. Products in bfloat16 or float32
only rule pairs in or out: each comes with a bound on its error, and what lies within that bound of the threshold is
computed again in float64. Results therefore do not depend on block size or thread count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from meddel_hf.errors import InvalidEmbeddings
from meddel_hf.neighbors.device.above import any_above
from meddel_hf.neighbors.device.nearest import nearest as nearest_there
from meddel_hf.neighbors.device.rows import HIGHER, DeviceRows, fits
from meddel_hf.neighbors.device.rows import Tier as Tier
from meddel_hf.neighbors.device.tiles import cosine_tile
from meddel_hf.neighbors.float64 import Rows as Rows
from meddel_hf.neighbors.float64 import exact_cosines, single_error, slack
from meddel_hf.neighbors.float64 import rounded as rounded
from meddel_hf.neighbors.row_source import BLOCK as BLOCK
from meddel_hf.neighbors.unit_rows import are_unit, mean_direction_sum, norms_of, refuse, scaled
from meddel_hf.runtime.devices import has_bfloat16_products, search_device, searching_on
from meddel_hf.runtime.shared_work import digest_of
from meddel_hf.runtime.threads import own_threads

Screen = Literal["auto", "bfloat16", "float32"]

TILE = 4096  # columns of a product
SIDE_BY_SIDE = 4096  # rows of a group up to which a copy of it, close together, is soon made and sooner read
_PART = 128  # rows of a product at least that a thread of its own pays for
_CHUNK = 64  # columns whose maximum is looked at before any of them is
_LOW_FROM = 2048  # rows from which a bfloat16 copy pays
_PAIRS_FOR_A_DEVICE = 2**12  # pairs from which a device answers sooner than the processor
_LOW_PRODUCT = 2**17  # pairs from which a bfloat16 product pays: torch compiles one for each shape
# Share of a tile that may be checked pair by pair before a product of higher precision is cheaper (measured at 768-d).
_GATHER_UP_TO = 1 / 256


@dataclass(frozen=True, eq=False)
class Vectors:
    """Embeddings made ready for cosines.

    base:      (n, d) float32 or float64, as given; exact cosines are taken from it.
    norms:     (n,) float64, Euclidean.
    cheapest:  the products that screen first: bfloat16 where the processor has them and there are enough rows.
    low:       (n, d) bfloat16 copy of `unit`; without one, rows are rounded each time that a screen asks for them.
    low_error: greatest Euclidean distance between a row of `unit` and itself in bfloat16.
    device:    the rows on a GPU, which then answers what it can; None where the processor does.
    """

    base: NDArray[np.floating]
    norms: NDArray[np.float64]
    cheapest: Literal["bfloat16", "float32"] = "float32"
    low: torch.Tensor | None = None
    low_error: float = 0.0
    device: DeviceRows | None = None

    @classmethod
    def prepare(
        cls,
        base: NDArray[np.floating],
        *,
        names: Sequence[str] | None = None,
        screen: Screen = "auto",
        copy: bool = True,
        device: torch.device | Literal["auto"] = "auto",
    ) -> Vectors:
        """Check (n, d) embeddings and compute what screens need.

        names:  ids of the rows, for error messages.
        copy:   whether to have `low`, which pays where rows are asked for more than a few times.
        device: where the rows are searched; "auto" is what `searching_on` says, or the processor where a GPU's memory
                is too small.
        Raises InvalidEmbeddings for an empty or misshapen array, and names the rows that are zero or not finite.
        """
        base = np.asarray(base)
        if base.ndim != 2 or 0 in base.shape:
            raise InvalidEmbeddings(f"embeddings must be a non-empty (n, d) array, got shape {base.shape}")
        if base.dtype not in (np.float32, np.float64):
            if not np.issubdtype(base.dtype, np.number) or np.iscomplexobj(base):
                raise InvalidEmbeddings(f"embeddings must be real numbers, got dtype {base.dtype}")
            base = base.astype(np.float32 if base.dtype == np.float16 else np.float64)
        norms = norms_of(base)
        refuse(~np.isfinite(norms), "not finite (NaN or infinite)", names)
        refuse(norms < np.finfo(np.float32).tiny, "zero vectors, which have no direction", names)
        place = search_device(len(base)) if device == "auto" else device
        if place is not None and not (device == "auto" and not fits(base.shape, base.dtype.itemsize, place)):
            low = None if screen == "auto" else screen == "bfloat16"
            return cls(base, norms, device=DeviceRows.copy(base, norms, place, low))
        if screen == "float32" or (screen == "auto" and (len(base) < _LOW_FROM or not has_bfloat16_products())):
            return cls(base, norms)
        vectors = cls(base, norms, "bfloat16")
        in_bfloat16 = torch.empty(base.shape, dtype=torch.bfloat16) if copy else None
        return replace(vectors, low=in_bfloat16, low_error=_round_to_bfloat16(vectors.unit, in_bfloat16))

    def like(self, base: NDArray[np.floating]) -> Vectors:
        """Other (m, d) embeddings, made ready to be compared with these, where and as these are."""
        if self.device is None:
            with searching_on("cpu"):
                return Vectors.prepare(base, screen=self.cheapest)
        screen: Screen = "float32" if self.device.low is None else "bfloat16"
        return Vectors.prepare(base, screen=screen, device=self.device.place)

    def among(self, rows: Rows) -> Vectors:
        """Some of the rows, side by side in memory of their own. Not of rows on a device."""
        return Vectors(self.base[rows], self.norms[rows], self.cheapest, low_error=self.low_error)

    @cached_property
    def unit(self) -> torch.Tensor:
        """(n, d) float32, rows of norm 1 up to 1e-6, in the processor's memory."""
        return _unit(self.base, self.norms)

    @cached_property
    def digest(self) -> str:
        """32 hex digits of the rows as given."""
        return digest_of(self.base)

    def unit_rows(self, rows: Rows) -> NDArray[np.float32]:
        """Some of `unit`, (len(rows), d) float32."""
        if self.device is None:
            some: NDArray[np.float32] = self.unit.numpy()[rows]
            return some
        if are_unit(self.base, self.norms):
            return self.base[rows]
        some = (self.base[rows] / self.norms[rows, None]).astype(np.float32)
        return some

    def _together(self, other: Vectors) -> tuple[DeviceRows, DeviceRows] | None:
        """Both, where they lie on one device."""
        if self.device is None or other.device is None or self.device.place != other.device.place:
            return None
        return self.device, other.device

    def __len__(self) -> int:
        return len(self.base)

    @property
    def dim(self) -> int:
        return int(self.base.shape[1])

    def margin(self, other: Vectors, tier: Tier) -> float:
        """Bound on |screened - exact| cosine of any row of self with any row of other."""
        single = single_error(self.dim)
        if torch.get_float32_matmul_precision() != "highest":  # then torch may round both sides to bfloat16 first
            single += 2.0**-7 + 2.0**-16
        if tier == "float32":
            return single
        # Cauchy-Schwarz on what rounding took from each side, and a result rounded to bfloat16 (8 significant bits).
        return 1.02 * (self.low_error + other.low_error + self.low_error * other.low_error + single) + 2.0**-8

    def panel(self, rows: Rows, tier: Tier) -> torch.Tensor:
        """Unit rows in the tier's precision, (len(rows), d), to multiply with."""
        places = torch.from_numpy(rows)
        if tier == "float32":
            return self.unit[places]
        return self.unit[places].to(torch.bfloat16) if self.low is None else self.low[places]

    def exact(self, rows: Rows, other: Vectors, cols: Rows) -> NDArray[np.float32]:
        """The cosine of each pair (rows[p], cols[p]), (len(rows),) float32 in [-1, 1]."""
        if (here := self._together(other)) is not None and len(rows) >= _PAIRS_FOR_A_DEVICE:
            mine, theirs = here
            return mine.cosines(mine.index(rows), theirs, theirs.index(cols)).cpu().numpy()
        return exact_cosines(self.base, self.norms, rows, other.base, other.norms, cols)

    def exact_tile(self, rows: Rows, other: Vectors, cols: Rows) -> NDArray[np.float32]:
        """The cosine of every row with every column, (len(rows), len(cols)) float32: the same numbers as `exact`."""
        if (here := self._together(other)) is not None:
            return cosine_tile(here[0], rows, here[1], cols)
        right = torch.from_numpy(other.base[cols].astype(np.float64))

        def exact(part: slice) -> NDArray[np.float32]:
            here = rows[part]
            cosine = (torch.from_numpy(self.base[here].astype(np.float64)) @ right.T).numpy()
            cosine /= self.norms[here, None]
            cosine /= other.norms[cols]
            # Where the error of this product could decide how the cosine is rounded, ask `exact`.
            off = slack(self.dim)
            result = rounded(cosine - off)
            r, c = np.nonzero(result != rounded(cosine + off))
            result[r, c] = self.exact(here[r], other, cols[c])
            return result

        with own_threads() as threads:
            return np.concatenate(list(threads.map(exact, threads.parts(len(rows), _PART))) or [exact(slice(0, 0))])

    def any_above(
        self, rows: Rows, cols: Rows, eta: float, tier: Tier, panel: torch.Tensor | None = None
    ) -> NDArray[np.bool_]:
        """For each row: is its cosine with any of `cols` above eta? (len(rows),) bool. `panel`: that of `cols`."""
        if self.device is not None:
            return any_above(self.device, rows, cols, eta)
        threshold = rounded(eta)
        if tier == "float64":
            return np.asarray((self.exact_tile(rows, self, cols) > threshold).any(axis=1))
        tile = product(self.panel(rows, tier), self.panel(cols, tier) if panel is None else panel)
        margin = self.margin(self, tier)
        top = tile.amax(dim=1).float().numpy()
        above = top > float(threshold) + margin
        unsure = np.flatnonzero(~above & (top >= float(threshold) - margin))
        if len(unsure):
            part = tile[torch.from_numpy(unsure)]
            limit = torch.full((len(unsure),), float(threshold) - margin)
            few = few_candidates(part, limit, int(_GATHER_UP_TO * part.numel()))
            if few is None:
                above[unsure] = self.any_above(rows[unsure], cols, eta, HIGHER[tier])
            else:
                r, c = few
                hit = self.exact(rows[unsure][r], self, cols[c]) > threshold
                above[unsure[r[hit]]] = True
        return above


def cosine_to_mean(vectors: Vectors, rows: Rows) -> NDArray[np.float32]:
    """(len(rows),): cosine of each row to the mean direction of all; 0 where the rows cancel out and have none."""
    middle = mean_direction_sum(vectors.base, vectors.norms)
    if np.linalg.norm(middle) < 1e-6:
        return np.zeros(len(rows), np.float32)
    return nearest(vectors, rows, vectors.like(middle[None]), np.zeros(1, np.int64))[1]


def nearest(
    queries: Vectors, rows: Rows, reference: Vectors, cols: Rows, floor: NDArray[np.float32] | None = None
) -> tuple[Rows, NDArray[np.float32]]:
    """Of each row of `queries`: the position in `cols` of the reference row of greatest cosine, and that cosine.

    Equal cosines go to the earlier position. Both arrays are (len(rows),). A row whose greatest cosine does not exceed
    its `floor` answers position 0 and the floor; no floor means -2, which every cosine exceeds.
    """
    if (here := queries._together(reference)) is not None and len(cols):
        return nearest_there(here[0], rows, here[1], cols, floor)
    where = np.zeros(len(rows), np.int64)
    best = np.full(len(rows), -2, np.float32) if floor is None else floor.copy()
    tier = _tier_of(queries, reference, len(rows) * len(cols))

    def improve(start: int, size: int, c: int, panel: torch.Tensor) -> None:
        # No cosine exceeds 1: a row that has found an exact copy is done.
        here = start + np.flatnonzero(best[start : start + size] < 1)
        if len(here):
            at, value = nearest_in_tile(queries, rows[here], reference, cols[c : c + TILE], panel, best[here], tier)
            better = value > best[here]
            best[here[better]], where[here[better]] = value[better], at[better] + c

    with own_threads() as threads:
        size = _rows_at_once(len(rows), threads.count)
        for c in range(0, len(cols), TILE):
            panel = reference.panel(cols[c : c + TILE], tier)
            for _ in threads.map(partial(improve, size=size, c=c, panel=panel), range(0, len(rows), size)):
                pass
    return where, best


def nearest_in_tile(
    queries: Vectors,
    rows: Rows,
    reference: Vectors,
    cols: Rows,
    panel: torch.Tensor,
    floor: NDArray[np.float32],
    tier: Tier,
) -> tuple[Rows, NDArray[np.float32]]:
    """As `nearest`, in one tile; a row that cannot exceed its `floor` there gets -2."""
    if tier == "float64":
        tile64 = queries.exact_tile(rows, reference, cols)
        first = tile64.argmax(axis=1)
        return first, tile64[np.arange(len(rows)), first]
    tile, margin = product(queries.panel(rows, tier), panel), queries.margin(reference, tier)
    return nearest_by(tile, margin, queries, rows, reference, cols, floor, tier)


def nearest_by(
    tile: torch.Tensor,
    margin: float,
    queries: Vectors,
    rows: Rows,
    reference: Vectors,
    cols: Rows,
    floor: NDArray[np.float32],
    tier: Tier,
) -> tuple[Rows, NDArray[np.float32]]:
    """As `nearest`, by a tile whose numbers are no farther than `margin` from the cosines of rows with columns."""
    at, value = np.zeros(len(rows), np.int64), np.full(len(rows), -2, np.float32)
    top = tile.amax(dim=1).float()
    limit = torch.maximum(torch.from_numpy(floor) - margin, top - 2 * margin)
    live = np.flatnonzero((top >= limit).numpy())
    if not len(live):
        return at, value
    part, limit = tile[torch.from_numpy(live)], limit[torch.from_numpy(live)]
    few = few_candidates(part, limit, max(int(_GATHER_UP_TO * part.numel()), 2 * len(live)))
    if few is None:
        # In a crowd of copies the first candidate may already have cosine 1, which none exceeds.
        at[live] = (part.float() >= limit[:, None]).numpy().argmax(axis=1)
        value[live] = queries.exact(rows[live], reference, cols[at[live]])
        live = live[value[live] < 1]
        if len(live):
            higher = HIGHER[tier]
            panel = reference.panel(cols, higher)
            at[live], value[live] = nearest_in_tile(queries, rows[live], reference, cols, panel, floor[live], higher)
        return at, value
    r, c = few
    first, cosine = _best(queries, rows[live], reference, cols, r, c)
    at[live[r[first]]], value[live[r[first]]] = c[first], cosine
    return at, value


def _best(
    queries: Vectors, rows: Rows, reference: Vectors, cols: Rows, r: Rows, c: Rows
) -> tuple[Rows, NDArray[np.float32]]:
    """Of candidates, pairs (rows[r], cols[c]): the place of the best of each row, and its cosine."""
    cosine = queries.exact(rows[r], reference, cols[c])
    # Best first within each row, the earlier column of equals: then the first entry of each row is the answer.
    order = np.lexsort((c, -cosine, r))
    first = order[np.unique(r[order], return_index=True)[1]]
    return first, cosine[first]


def nearest_place(queries: Vectors, rows: Rows, reference: Vectors, cols: Rows) -> Rows:
    """As `nearest`, without the cosines: where one column stands out, as it does of most rows, none is computed."""
    if len(cols) > TILE or queries._together(reference) is not None:
        return nearest(queries, rows, reference, cols)[0]
    tier = _tier_of(queries, reference, len(rows) * len(cols))
    panel, margin = reference.panel(cols, tier), queries.margin(reference, tier)

    def places(start: int) -> Rows:
        here = rows[start : start + size]
        tile = product(queries.panel(here, tier), panel)
        few = few_candidates(tile, tile.amax(dim=1).float() - 2 * margin, 4 * len(here))
        if few is None:
            return nearest(queries, here, reference, cols)[0]
        r, c = few
        answer = np.zeros(len(here), np.int64)
        answer[r] = c
        doubtful = np.bincount(r, minlength=len(here))[r] > 1
        if doubtful.any():
            r, c = r[doubtful], c[doubtful]
            first, _ = _best(queries, here, reference, cols, r, c)
            answer[r[first]] = c[first]
        return answer

    with own_threads() as threads:
        size = _rows_at_once(len(rows), threads.count)
        return np.concatenate(list(threads.map(places, range(0, len(rows), size))) or [np.zeros(0, np.int64)])


def _tier_of(queries: Vectors, reference: Vectors, pairs: int) -> Tier:
    """Of the products that so many pairs are screened by."""
    low = queries.cheapest == reference.cheapest == "bfloat16" and pairs >= _LOW_PRODUCT
    return "bfloat16" if low else "float32"


def _rows_at_once(rows: int, threads: int) -> int:
    """Rows of a product, where each thread is to have some."""
    return min(BLOCK, max(_PART, -(-rows // threads)))


def candidates(tile: torch.Tensor, limit: torch.Tensor) -> tuple[Rows, Rows]:
    """Positions (row, column) in row-major order where tile[row, column] >= limit[row] (a float32 comparison)."""
    return _listed(tile, limit, *_chunks_with_any(tile, limit))


def few_candidates(tile: torch.Tensor, limit: torch.Tensor, most: int) -> tuple[Rows, Rows] | None:
    """As `candidates`, or None where there are more than `most`; a crowd is noticed before it is listed."""
    r, k = _chunks_with_any(tile, limit)
    if len(r) > most:
        return None
    rows, cols = _listed(tile, limit, r, k)
    return None if len(rows) > most else (rows, cols)


def _chunks_with_any(tile: torch.Tensor, limit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(row, chunk) of each whole chunk of 64 columns that holds a candidate."""
    # Most chunks hold nothing: one pass over their maxima is ten times cheaper than a search of every element.
    whole = tile.shape[1] - tile.shape[1] % _CHUNK
    chunks = tile[:, :whole].reshape(len(tile), whole // _CHUNK, _CHUNK)
    r, k = (chunks.amax(dim=2).float() >= limit[:, None]).nonzero(as_tuple=True)
    return r, k


def _listed(tile: torch.Tensor, limit: torch.Tensor, r: torch.Tensor, k: torch.Tensor) -> tuple[Rows, Rows]:
    width = tile.shape[1]
    whole = width - width % _CHUNK
    chunks = tile[:, :whole].reshape(len(tile), whole // _CHUNK, _CHUNK)
    hit, offset = (chunks[r, k].float() >= limit[r, None]).nonzero(as_tuple=True)
    rows, cols = r[hit], k[hit] * _CHUNK + offset
    if whole < width:
        tail_r, tail_c = (tile[:, whole:].float() >= limit[:, None]).nonzero(as_tuple=True)
        rows, cols = torch.cat([rows, tail_r]), torch.cat([cols, tail_c + whole])
        order = torch.argsort(rows, stable=True)
        rows, cols = rows[order], cols[order]
    return rows.numpy(), cols.numpy()


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """left @ right.T; bfloat16 goes through few shapes, since torch compiles a kernel for each one that it meets."""
    m, n = len(left), len(right)
    if left.dtype != torch.bfloat16:
        return left @ right.T
    return (_padded(left) @ _padded(right).T)[:m, :n]


def _padded(matrix: torch.Tensor) -> torch.Tensor:
    octave = 1 << max(len(matrix) - 1, 1).bit_length() - 1  # eight sizes from one power of two to the next
    step = max(octave // 8, 32)
    size = max(64, -(-len(matrix) // step) * step)
    if size == len(matrix):
        return matrix
    return torch.nn.functional.pad(matrix, (0, 0, 0, size - len(matrix)))


def _unit(base: NDArray[np.floating], norms: NDArray[np.float64]) -> torch.Tensor:
    already = are_unit(base, norms)
    if already and base.flags.c_contiguous and base.flags.writeable:
        return torch.from_numpy(base)
    return torch.from_numpy(base.copy() if already else scaled(base, norms))


def _round_to_bfloat16(unit: torch.Tensor, low: torch.Tensor | None) -> float:
    """`low_error` of unit rows, which are copied into `low`, where there is one."""

    def error(start: int) -> float:
        part = slice(start, start + BLOCK)
        rounded_rows = unit[part].to(torch.bfloat16)
        if low is not None:
            low[part] = rounded_rows
        return float((rounded_rows.float() - unit[part]).norm(dim=1).max())  # these differences are exact in float32

    with own_threads() as threads:
        worst = max(threads.map(error, range(0, len(unit), BLOCK)))
    return worst * (1 + unit.shape[1] * 2.0**-23)  # what rounding took from the norm

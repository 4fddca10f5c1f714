"""MedDEL, the selector of arXiv 2401.17542: outliers go first, then near-duplicates."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from meddel_hf.data.given import Frames, as_data_set
from meddel_hf.dedup.search import Settings
from meddel_hf.embedding.calibration import threshold_of
from meddel_hf.embedding.embed import embed
from meddel_hf.embedding.space import Pooling, Space
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidArgument
from meddel_hf.runtime.devices import searching_on
from meddel_hf.runtime.free_memory import AUTO
from meddel_hf.runtime.reading import shown
from meddel_hf.runtime.threads import own_threads
from meddel_hf.selection.curve import Curve
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors import checks
from meddel_hf.selectors.pool_selector import PoolSelector
from meddel_hf.selectors.protocol import Embeddings, InParts, Readable, opened
from meddel_hf.selectors.thinning import Thinning, thinned_in_parts

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    from meddel_hf.selection.subset import Subset


@dataclass(frozen=True)
class MedDEL(PoolSelector, Settings):
    """Data-effective selection: drop outliers, then all but one of each group of near-duplicates.

    retention:      share of the pool to keep, met exactly: round(retention * n) rows. In (0, 1].
    eta:            or, instead, the cosine above which two rows are near-duplicates (Algorithm 1). In [-1, 1]; or
                    "auto", the threshold that mild copies calibrated in the store.
    epsilon:        rows farther than this from their centroid are outliers (Euclidean between unit vectors, in [0, 2]);
                    None turns the step off.
    scope:          "cluster": rows are compared inside their cluster only, as in the paper; "pool": all with all.
    keep:           which of a group stays: the one "closest" to the centroid (for scope="pool", to the pool's mean
                    direction), the "farthest", or a "random" one.
    rule:           "greedy": a row goes if a row that stays is above eta, so every dropped row has a kept neighbour;
                    "semdedup": a row goes if any row before it is above eta.
    subtract_mean:  subtract the pool's mean from the unit embeddings first; spreads out features of one narrow domain.
    n_clusters:     "auto" for round(sqrt(n)), or the number of rows to keep where that is less: a cluster keeps one at
                    least.
    max_iterations: above 1, survivors are clustered and thinned again until nothing more goes; with eta only.
    seed:           of the clustering and of keep="random".
    engine:         "pairs" stores the graph of near-duplicates, "blocks" none; "auto" takes the cheaper. Same result.
    memory:         such as "4GB": a pool that does not fit is read from its store in parts, and regrouped in a scratch
                    file as large as the store. Same rows; no graph is stored with them. "auto": most of what is free
                    when it is needed, but with engine "pairs", which stores the graph, and several iterations, which
                    need all in memory. None: all in memory.
    scratch:        folder of that file, gone at the end; None for the system's (TMPDIR).
    encoder:        name or path of the model that `filter` embeds with.

    Source: arXiv 2401.17542, Section 3.2 and Algorithm 1.
    """

    eta: float | Literal["auto"] | None = None  # type: ignore[assignment]  # a search has a number
    memory: str | int | None = AUTO
    scratch: str | Path | None = None
    encoder: str | None = None

    def __post_init__(self) -> None:
        checks.plain(self)
        if self.eta is not None and self.retention is not None:
            raise InvalidArgument(f"give eta or retention, not both (got eta={self.eta}, retention={self.retention})")
        if self.retention is not None:
            checks.fraction("retention", self.retention)
        if self.eta is not None:
            checks.eta(self.eta)
        if self.epsilon is not None and not (checks.is_number(self.epsilon) and 0 <= self.epsilon <= 2):
            raise InvalidArgument(
                f"epsilon must be a distance in [0, 2], or None for no outlier step; got {shown(self.epsilon)}"
            )
        for name, choices in _CHOICES.items():
            checks.choice(name, getattr(self, name), choices)
        checks.flag("subtract_mean", self.subtract_mean)
        checks.clusters(self.n_clusters)
        checks.memory(self.memory)
        checks.count("max_iterations", self.max_iterations, 1)
        checks.seed(self.seed)
        if self.max_iterations > 1 and self.retention is not None:
            raise InvalidArgument("max_iterations above 1 goes with eta: a retention is met exactly in one")

    @property
    def settings(self) -> Settings:
        """All that decides, and the engine."""
        return Settings(**{field.name: getattr(self, field.name) for field in fields(Settings)})

    @own_threads()
    def _choose(self, embeddings: Embeddings, pool: Dataset | None) -> Selection:
        """Choose rows by their embeddings: an `EmbeddingStore`, the path of one, or a plain (n, d) array.

        `pool` is not needed: MedDEL reads no columns.
        Raises InvalidEmbeddings for rows that are zero or not finite, InvalidArgument where eta and retention are both
        missing or where more rows are asked for than survive the outlier step.
        """
        if self.eta is None and self.retention is None:
            raise InvalidArgument("nothing says how much to keep: give MedDEL a retention or an eta")
        if self.eta == "auto":
            store = opened(embeddings)
            first = store.poolings[0] if isinstance(store, EmbeddingStore) else "auto"
            return replace(self, eta=threshold_of(store, first, self.subtract_mean).eta)._choose(store, pool)
        embeddings = opened(embeddings)
        if (parts := self._in_parts(embeddings)) is not None:
            return thinned_in_parts(self.settings, parts)[0]
        return Thinning.begin(self.settings, Readable.of(embeddings)).selection()

    def _in_parts(self, embeddings: Any) -> InParts | None:
        at_once = self.engine == "pairs" or self.max_iterations > 1
        memory = None if self.memory == AUTO and at_once else self.memory
        return InParts.beyond(embeddings, memory, self.scratch)

    def near_duplicates(self, embeddings: Embeddings) -> tuple[float, Space] | None:
        if self.eta is None:
            return None
        store = opened(embeddings)
        first: Pooling = store.poolings[0] if isinstance(store, EmbeddingStore) else "cls"
        if self.eta == "auto":
            threshold = threshold_of(store, first, self.subtract_mean)
            return threshold.eta, threshold.space
        return self.eta, Space(first, self.subtract_mean)

    @own_threads()
    def sweep(
        self,
        embeddings: Embeddings,
        eta: Sequence[float] | None = None,
        *,
        retention: Sequence[float] | None = None,
        device: str = "auto",
    ) -> Curve:
        """Several selections, each as if it were selected alone, ascending by eta or by retention.

        eta:       cosines, from one search where the near-duplicates are sparse enough to be stored; None, where no
                   retention is given either: those of the paper's Table 2, 0.7 to 0.9.
        retention: or, instead, shares to keep, each met exactly.
        """
        if self.max_iterations > 1:
            raise InvalidArgument("a sweep clusters once: leave max_iterations at 1")
        if retention is not None:
            if eta is not None:
                raise InvalidArgument("a sweep is over eta or over retention: give one of them")
            return self._over_retention(embeddings, retention, device)
        eta = TABLE_2 if eta is None else eta
        if isinstance(eta, str | bytes) or not hasattr(eta, "__len__") or not len(eta):
            raise InvalidArgument("a sweep needs at least one eta, such as eta=[0.7, 0.8, 0.9]")
        for value in eta:
            if isinstance(value, str):
                raise InvalidArgument(f"an eta of a sweep must be a cosine in [-1, 1], got {shown(value)}")
            replace(self, eta=value, retention=None)  # raises where it is no cosine
        lowest = replace(self, eta=min(eta), retention=None).settings
        embeddings = opened(embeddings)
        with searching_on(device):
            if (parts := self._in_parts(embeddings)) is not None:
                return Curve(tuple(thinned_in_parts(lowest, parts, sorted(eta))))
            thinning = Thinning.begin(lowest, Readable.of(embeddings), eta)
            return Curve(tuple(thinning.at(value) for value in sorted(eta)))

    def _over_retention(self, embeddings: Embeddings, retentions: Sequence[float], device: str) -> Curve:
        if isinstance(retentions, str | bytes) or not hasattr(retentions, "__len__") or not len(retentions):
            raise InvalidArgument("a sweep needs at least one retention, such as retention=[0.05, 0.1]")
        each = [replace(self, eta=None, retention=share) for share in retentions]  # raises where it is no fraction
        embeddings = opened(embeddings)
        with searching_on(device):
            return Curve(tuple(one.select(embeddings) for one in sorted(each, key=lambda one: one.retention or 0)))

    def filter(self, dataset: Frames, *, embeddings: str | Path | None = None) -> Subset | IterableDataset:
        """Embed, select and filter in one call, like `Dataset.filter`.

        dataset:    in any form that `embed` takes.
        embeddings: folder in which to leave the embedding store; by default it is not kept.
        """
        if self.encoder is None:
            raise InvalidArgument("filter embeds the data set: say with which model, MedDEL(..., encoder=ID_OR_PATH)")
        if self.eta is None and self.retention is None:
            raise InvalidArgument("nothing says how much to keep: give MedDEL a retention or an eta")
        with tempfile.TemporaryDirectory() as scratch:
            frames = as_data_set(dataset)
            store = embed(frames, self.encoder, embeddings or Path(scratch) / "embeddings")
            return self.select(store).filter(frames)


# The paper's etas, which kept 5, 10, 20, 33 and 50 % of its pool.
TABLE_2 = (0.7, 0.75, 0.8, 0.85, 0.9)
_CHOICES: dict[str, tuple[str, ...]] = {
    "scope": ("cluster", "pool"),
    "keep": ("closest", "farthest", "random"),
    "rule": ("greedy", "semdedup"),
    "engine": ("auto", "pairs", "blocks"),
}

"""SemDeDup: inside each cluster, rows go that are too close to any row before them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

from meddel_hf.dedup.search import Settings
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors import checks
from meddel_hf.selectors.pool_selector import PoolSelector
from meddel_hf.selectors.protocol import Embeddings, Readable
from meddel_hf.selectors.thinning import Thinning

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class SemDeDup(PoolSelector):
    """Semantic deduplication (Abbas, Tirumala, Simig, Ganguli, Morcos 2023).

    k-means; rows of a cluster in order of their distance to its centroid; a row goes if its cosine to an earlier row,
    kept or not, exceeds 1 - epsilon. No outlier step. epsilon is found from the retention: it is 1 - `Selection.eta`.

    retention:     share of the pool to keep, met exactly: round(retention * n) rows. In (0, 1]. Where no epsilon found
                   keeps just that many, one that keeps fewer decides, and the free places go to the dropped rows least
                   similar to what it keeps.
    seed:          of the clustering, and of keep="random".
    keep:          which row of a group stays: the "farthest" from the centroid (the paper's hard examples), "closest",
                   or a "random" one.
    n_clusters:    "auto" for round(sqrt(n)), or the number of rows to keep where that is less.
    subtract_mean: as in MedDEL.

    Source: arXiv 2303.09540, Section 3 and Appendix A.
    """

    retention: float
    seed: int = 0
    keep: Literal["farthest", "closest", "random"] = "farthest"
    n_clusters: int | Literal["auto"] = "auto"
    subtract_mean: bool = False

    def __post_init__(self) -> None:
        checks.common(self)
        checks.clusters(self.n_clusters)
        checks.choice("keep", self.keep, ("farthest", "closest", "random"))

    def _choose(self, embeddings: Embeddings, pool: Dataset | None) -> Selection:
        readable = Readable.of(embeddings)
        readable.rows_to_keep(self.retention)  # for its sentence, which speaks of no outliers
        settings = Settings(rule="semdedup", scope="cluster", epsilon=None, **asdict(self))
        return replace(
            Thinning.begin(settings, readable).selection(), settings={"selector": "semdedup", **asdict(self)}
        )

"""Prototypicality: the rows closest to their cluster's centroid, or those farthest from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from meddel_hf.neighbors.clustering import cluster, distance
from meddel_hf.runtime.threads import own_threads
from meddel_hf.selection.selection import Selection
from meddel_hf.selectors import checks
from meddel_hf.selectors.pool_selector import PoolSelector
from meddel_hf.selectors.protocol import Embeddings, Readable, marked

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Prototypicality(PoolSelector):
    """The self-supervised prototype metric (Sorscher, Geirhos, Shekhar, Ganguli, Morcos, NeurIPS 2022).

    k-means; a row is the harder, the lower its cosine to the nearest centroid. One ranking of the whole pool, without
    balance between clusters, as in the paper; equals stay in the pool's order.

    retention:     share of the pool to keep, met exactly: round(retention * n) rows. In (0, 1].
    seed:          of the clustering.
    keep:          "easy" keeps the closest to their centroids, "hard" the farthest.
    n_clusters:    "auto" for round(sqrt(n)).
    subtract_mean: as in MedDEL.

    Source: arXiv 2206.14486, Section 5.
    """

    retention: float
    seed: int = 0
    keep: Literal["easy", "hard"] = "hard"
    n_clusters: int | Literal["auto"] = "auto"
    subtract_mean: bool = False

    def __post_init__(self) -> None:
        checks.common(self)
        checks.clusters(self.n_clusters)
        checks.choice("keep", self.keep, ("easy", "hard"))

    @own_threads()
    def _choose(self, embeddings: Embeddings, pool: Dataset | None) -> Selection:
        readable = Readable.of(embeddings)
        target = readable.rows_to_keep(self.retention)
        vectors = readable.vectors(self.subtract_mean)
        n = len(vectors)
        clusters = cluster(vectors, np.arange(n), None if self.n_clusters == "auto" else self.n_clusters, self.seed)
        order = np.argsort(clusters.cosine if self.keep == "hard" else -clusters.cosine, kind="stable")
        settings = {"selector": f"prototypes-{self.keep}", **asdict(self)}
        return readable.selection(marked(n, order[:target]), settings, clusters.label, distance(clusters.cosine))

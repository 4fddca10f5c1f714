"""From a labelled data set and its embeddings to what may be chosen, and what is learned from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset

from meddel_hf import schema
from meddel_hf.data.columns import texts_of
from meddel_hf.data.groups import groups_of
from meddel_hf.data.ids import checked_ids_of
from meddel_hf.downstream.labels.classes import ClassTask
from meddel_hf.downstream.labels.masks import MaskTask
from meddel_hf.downstream.labels.task import Frames
from meddel_hf.downstream.labels.tokens import patch_features
from meddel_hf.downstream.probing.labels import Labelled
from meddel_hf.embedding.store import EmbeddingStore
from meddel_hf.errors import InvalidDataset
from meddel_hf.runtime.words import is_or_are, plural


def class_task(
    store: EmbeddingStore,
    dataset: Dataset,
    target: str = schema.LABEL,
    *,
    features: EmbeddingStore | None = None,
    rarest: int = 1,
) -> tuple[Frames, ClassTask]:
    """target: as in `Labelled.of`. features: what the classifier sees; None: what the selectors see.

    rarest: classes of fewer frames are left out: of a class of fifteen, three are tested, and each is a third of it.
    Raises Mismatch where a store lacks a labelled frame, InvalidDataset where there is no such column or one class.
    """
    labelled = common(Labelled.of(dataset, target), rarest)
    frames = Frames.of(store, dataset, labelled)
    _check_classes(frames.strata, rarest)
    vectors = frames.vectors
    if features is not None:
        seen = Frames.of(features, dataset, labelled)
        place = {id: row for row, id in enumerate(seen.ids)}
        missing = [id for id in frames.ids if id not in place]
        if missing:
            raise InvalidDataset(
                f"{plural(len(missing), 'frame')}, such as {missing[0]!r}, {is_or_are(len(missing))} embedded "
                f"in {store.folder} and unreadable in {features.folder}: embed both anew from the same files"
            )
        vectors = seen.vectors[[place[id] for id in frames.ids]]
    return frames, ClassTask(vectors, frames.strata, frames.groups)


def common(labelled: Labelled, rarest: int) -> Labelled:
    """Those of classes of at least `rarest` frames. Raises InvalidDataset where that leaves one class, or none."""
    sizes = Counter(labelled.labels.values())
    labels = {id: name for id, name in labelled.labels.items() if sizes[name] >= rarest}
    _check_classes(list(labels.values()), rarest)
    return Labelled(labels, {id: labelled.groups[id] for id in labels if id in labelled.groups}, {}, 0)


def _check_classes(labels: Sequence[str], rarest: int) -> None:
    classes = len(set(labels))
    if classes < 2:
        found = f"{plural(len(labels), 'frame')} of {plural(classes, 'class', 'classes')} with at least {rarest:,}"
        raise InvalidDataset(f"{found}: expected two classes at least, else nothing is there to tell apart")


def mask_task(
    store: EmbeddingStore, dataset: Dataset, encoder: str, tokens: str | Path, *, name: str, device: str = "cpu"
) -> tuple[Frames, MaskTask]:
    """encoder: whose patch tokens the head sees. tokens: folder in which they are kept. name: of the data set.

    Splits share out every centre, where the data set names them. Raises what `patch_features` raises, and Mismatch
    where the store lacks a frame.
    """
    ids = checked_ids_of(dataset)
    centres = {id: str(centre) for id, centre in zip(ids, texts_of(dataset, schema.CENTER), strict=True)}
    groups = {id: group for id, group in zip(ids, groups_of(dataset), strict=True) if group is not None}
    frames = Frames.of(store, dataset, Labelled(centres, groups, {}, 0))
    features, shares = patch_features(dataset, encoder, tokens, name=name, device=device).rows(frames.ids)
    return frames, MaskTask(features, shares, frames.groups)

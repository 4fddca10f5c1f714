"""Tasks of kind instance and scene: what a trained encoder finds among frames that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from meddel_hf.benchmark.plan import SceneTask
from meddel_hf.benchmark.task_data import RetrievalData
from meddel_hf.data.pool import Pool
from meddel_hf.downstream.retrieval import instance_scores, scene_scores
from meddel_hf.downstream.scores import FILE, Scores
from meddel_hf.embedding.encoder import load_encoder
from meddel_hf.errors import InvalidDataset, Mismatch
from meddel_hf.pretraining.frame_cache import CachedFrames, decode_once
from meddel_hf.pretraining.held_out import held_out_loss, recipe_of, scene_features, view_features
from meddel_hf.pretraining.result import PreTraining
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest, fingerprint, step_folder
from meddel_hf.runtime.processes import computing_device, launched_processes

LOSS = "held_out_loss"


@dataclass(frozen=True, eq=False)
class Trained:
    """An encoder of a finished run. whole: it is the last one, which the run's whole model is of."""

    run: PreTraining
    encoder: Path
    whole: bool


def retrieve(data: RetrievalData, trained: Trained, out: Path, *, frames: Path, device: str) -> Scores:
    """Score an encoder on a task, in the folder `out`; finished, it is read.

    frames: folder of decoded frames that all cells share. Frames that cannot be decoded are left out.
    Raises Mismatch where `out` was scored with another encoder.
    """
    encoder = load_encoder(str(trained.encoder), pooling="auto", precision="float32").fingerprint
    if (out / MANIFEST).is_file():
        if Manifest.read(out, "retrieval").parents["encoder"] != encoder:
            raise Mismatch(f"{out} was scored with another encoder than {trained.encoder}: delete it, and run again")
        return Scores.load(out)
    pool = Pool.of(data.frames)
    cached = decode_once(pool, frames, recipe_of(trained.run.folder).image_size)
    place = computing_device(device, launched_processes(device))
    scores, details = _scores(data, trained, cached, pool.ids or [], place)
    with step_folder(out, "retrieval") as aside:
        scores.write(aside)
        made = fingerprint(data.identity, encoder)
        Manifest("retrieval", made, {"kind": data.task.kind}, {"encoder": encoder}, details).write(aside, [FILE])
    return scores


def _scores(
    data: RetrievalData, trained: Trained, cached: CachedFrames, ids: list[str], device: torch.device
) -> tuple[Scores, dict[str, Any]]:
    """(scores, facts for the manifest)"""
    rows = [row for row in range(len(ids)) if row not in cached.reasons]
    if not rows:
        raise InvalidDataset(f"{data.task.name}: none of {len(ids):,} frames can be decoded")
    pixels, names = cached.read(rows), [ids[row] for row in rows]
    details: dict[str, Any] = {"frames": len(rows), "unreadable": len(ids) - len(rows)}
    task = data.task
    if isinstance(task, SceneTask):
        grouped = [at for at, name in enumerate(names) if name in data.groups]
        features = scene_features(trained.encoder, trained.run.folder, [pixels[at] for at in grouped],
                                  pooling=task.pooling, device=device)  # fmt: skip
        chosen = [names[at] for at in grouped]
        return scene_scores(task.name, features, chosen, [data.groups[name] for name in chosen]), details
    views = view_features(
        trained.encoder, trained.run.folder, pixels, whole=trained.whole, pooling=task.pooling, device=device
    )
    if trained.whole:
        details[LOSS] = held_out_loss(trained.run, pixels, device=device)
    return instance_scores(views, names, [data.groups.get(name, name) for name in names]), details

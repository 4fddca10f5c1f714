"""Small outputs of every step, and what those who read them make of damaged ones.

`outputs` runs the steps; each `Kind` names the files that a reader relies on, and reads them into an answer that can be
compared. A damaged file is told in one sentence that names it, or changes nothing; all else is a fault.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import oracle
from downstream.segmentation.test_segment import FROZEN
from make_discs import frames as discs
from make_runs import PROBE, SEG, Task, Truth, make_runs
from pretraining.test_pretrain import TINY, frames

from meddel_hf import Dedup, MedDEL
from meddel_hf.benchmark.results import read
from meddel_hf.data.pool import Pool
from meddel_hf.downstream.probing.probe import probe
from meddel_hf.downstream.scores import Scores
from meddel_hf.downstream.segmentation.segment import segment
from meddel_hf.embedding.encoder import load_encoder
from meddel_hf.embedding.store import EmbeddingStore, Shard, StoreWriter
from meddel_hf.errors import MedDELError
from meddel_hf.pretraining.frame_cache import CachedFrames, decode_once
from meddel_hf.pretraining.objectives import build, fingerprint_of
from meddel_hf.pretraining.pretrain import pretrain
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.pretraining.result import PreTraining
from meddel_hf.selection.selection import Selection
from meddel_hf.training.checkpoints import check, record

WAYS = ("flipped", "cut", "emptied", "removed")
SMALL = Truth(
    arms={"random": "random", "better": "meddel"}, effects={"better": {0.2: 0.05}}, retentions=(0.2,), seeds=1,
    tasks={"polyps": Task(SEG, {"polyps": 20}), "classes": Task(PROBE, {"classes": 20}, 0.7)}, snapshots=1,
)  # fmt: skip
# A cell without its record is an unfinished one, a gate without its own is decided by the report, which says so, and a
# folder of shards without `begun.json` is a stranger's.
_MEANS_SOMETHING = {("removed", name) for name in ("cell.json", "gate.json", "begun.json")}
ARGUMENTS = {"encoder": "a-vit", "pool": None, "revision": None, "pooling": "cls", "precision": "float32",
             "shard_rows": 40}  # fmt: skip
PARENTS = {"pool": "p" * 32, "encoder": "e" * 32}
ROWS, DIM = 100, 8


@dataclass(frozen=True)
class Kind:
    """files: damaged one at a time. read: an answer; raises what its reader raises."""

    name: str
    files: list[Path]
    read: Callable[[], Any]


@dataclass
class Found:
    """Of each kind, how often damage was told, was harmless, changed an answer without a word, or ended otherwise."""

    counts: dict[str, Counter] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def note(self, kind: str, outcome: str, what: str) -> None:
        self.counts.setdefault(kind, Counter())[outcome] += 1
        if outcome in ("silent", "foreign", "names no file"):
            self.faults.append(f"{kind}: {outcome}: {what}")


def outputs(folder: Path) -> list[Kind]:
    """Run every step once on a few frames."""
    return [*_stores(folder), *_selections(folder), *_trained(folder), *_scored(folder), *_benchmarks(folder)]


def fuzz(kinds: Iterable[Kind], flips: int, seed: int) -> Found:
    """Flip so many single bits in the files of each kind, and cut, empty and remove each file once."""
    found, draw = Found(), random.Random(seed)
    for kind in kinds:
        sound = kind.read()
        chosen = [draw.choice(kind.files) for _ in range(flips)]
        cases = [(path, "flipped") for path in chosen]
        cases += [(path, way) for path in kind.files for way in WAYS if (way, path.name) not in _MEANS_SOMETHING]
        for path, way in cases:
            with damaged(path, way, draw) as what:
                found.note(kind.name, *_outcome(kind, sound, path, what))
        assert kind.read() == sound, f"{kind.name}: reading damaged files changed something"
    return found


@contextmanager
def damaged(path: Path, way: str, draw: random.Random) -> Iterator[str]:
    """Damage a file, and mend it again. Yields what was done."""
    sound = path.read_bytes()
    at = draw.randrange(max(1, len(sound)))
    data = bytearray(sound)
    if way == "flipped" and data:
        data[at] ^= 1 << draw.randrange(8)
    path.unlink()
    if way != "removed":
        path.write_bytes(data if way == "flipped" else data[:at] if way == "cut" else b"")
    try:
        yield f"{path} {way} at byte {at}"
    finally:
        path.write_bytes(sound)


def _outcome(kind: Kind, sound: Any, path: Path, what: str) -> tuple[str, str]:
    try:
        answer = kind.read()
    except MedDELError as error:
        told = str(error)
        good = "\n" not in told and (path.name in told or path.parent.name in told)
        return ("told" if good else "names no file"), f"{what}: {told}"
    except Exception as error:  # what is looked for
        return "foreign", f"{what}: {type(error).__name__}: {error}"
    return ("harmless" if answer == sound else "silent"), what


def _files(folder: Path, *suffixes: str) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in (suffixes or (path.suffix,)))


def store(folder: Path, parts: Iterable[int] = range(3)) -> StoreWriter:
    """An unfinished store of 100 rows, five of them unreadable, with the shards that are named."""
    vectors = oracle.clumps(ROWS, DIM, spread=0.3)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    writer = StoreWriter.begin(folder, ARGUMENTS, PARENTS)
    for index in parts:
        rows = range(40 * index, min(40 * index + 40, ROWS))
        reasons = ["truncated" if row % 20 == 7 else None for row in rows]
        readable = [row for row in rows if row % 20 != 7]
        writer.write(Shard(index, rows.start, [f"f/{row:03}" for row in rows], reasons, vectors[readable]))
    return writer


def _stores(folder: Path) -> list[Kind]:
    store(folder / "store").finish(dim=DIM, row_ids=False)
    store(folder / "begun", [0, 2])

    def selected() -> Any:
        found = EmbeddingStore.load(folder / "store")
        chosen = MedDEL(retention=0.3, epsilon=None, scope="pool", seed=1).select(found)
        return chosen.table.to_pylist(), chosen.eta, chosen.fingerprint, found.unreadable.to_pylist()

    def resumed() -> Any:
        again = folder / "again"
        shutil.rmtree(again, ignore_errors=True)
        shutil.copytree(folder / "begun", again)
        there = StoreWriter.begin(again, ARGUMENTS, PARENTS).shards()
        store(again, sorted({0, 1, 2} - set(there))).finish(dim=DIM, row_ids=False)
        return {path.name: path.read_bytes() for path in again.iterdir()}

    return [
        Kind("store", _files(folder / "store"), selected),
        Kind("unfinished store", _files(folder / "begun"), resumed),
    ]


def _selections(folder: Path) -> list[Kind]:
    chosen = MedDEL(eta=0.6, epsilon=None, scope="pool").select(EmbeddingStore.load(folder / "store"))
    chosen.save(folder / "selection")
    in_two_steps = Dedup(0.5, eta=0.99).select(EmbeddingStore.load(folder / "store"))
    assert in_two_steps.second is not None
    in_two_steps.save(folder / "two-steps")

    def looked_up(name: str) -> Any:
        found = Selection.load(folder / name)
        others = found.at(retention=0.3), found.at(eta=0.99)
        parts = found.table.to_pylist(), found.summary, found.origin, found.notes, found.settings
        return *parts, *((other.table.to_pylist(), other.eta) for other in others)

    return [Kind(name, _files(folder / name), partial(looked_up, name)) for name in ("selection", "two-steps")]


def _trained(folder: Path) -> list[Kind]:
    pool, out = frames(), folder / "pretraining"
    recipe = Recipe(**{**vars(TINY), "samples": 16, "snapshots": 1})
    pretrain(pool, out, recipe=recipe, frames=folder / "frames", progress=False)
    cache = decode_once(Pool.of(pool), folder / "frames", recipe.image_size).folder
    checkpoint = folder / "checkpoint-2"
    shutil.copytree(out / "objective", checkpoint)
    record(checkpoint, "a run")

    def decoded() -> Any:
        found = CachedFrames.load(cache)
        return found.pixels.tobytes(), dict(found.reasons), found.pool

    def encoded() -> Any:
        done = PreTraining.load(out)
        return load_encoder(str(out)).fingerprint, done.log.to_pylist(), done.unreadable.to_pylist(), done.summary

    def exported() -> Any:
        return load_encoder(str(next(iter(PreTraining.load(out).snapshots.values())))).fingerprint

    def continued() -> Any:
        return fingerprint_of(build(Recipe(**{**vars(recipe), "start": str(out)}), 0))

    def gone_on() -> Any:
        check(checkpoint, "a run")
        return {path.name: path.read_bytes() for path in checkpoint.iterdir() if path.name != "record.json"}

    top = [path for path in _files(out) if path.parent == out]
    return [
        Kind("decoded frames", _files(cache), decoded),
        Kind("encoder", top, encoded),
        Kind("exported encoder", [*_files(out / "snapshots"), out / "manifest.json"], exported),
        Kind("whole model", [*_files(out / "objective"), out / "manifest.json"], continued),
        Kind("checkpoint", _files(checkpoint), gone_on),
    ]


def _scored(folder: Path) -> list[Kind]:
    recipe = Recipe(**{**vars(TINY), "samples": 0})
    encoder = pretrain(frames(), folder / "initial", recipe=recipe, progress=False).encoder
    head = type(FROZEN)(**{**vars(FROZEN), "epochs": 1, "flips": False}) if "flips" in vars(FROZEN) else FROZEN
    train, test, out = discs(0, 4), {"far": discs(100, 3)}, folder / "segmentation"
    segment(train, test, encoder, out, recipe=head, progress=False)
    embedded = EmbeddingStore.load(folder / "store")
    labels = {id: "ab"[row % 2] for row, id in enumerate(embedded.pool_ids)}
    parts = {"train": embedded.pool_ids[:60], "test": {"rest": embedded.pool_ids[60:]}}
    probe(embedded, labels, folder / "probe", **parts)

    def segmented() -> Any:
        return segment(train, test, encoder, out, recipe=head, progress=False).table.to_pylist()

    def fine_tuned() -> Any:
        return load_encoder(str(encoder)).fingerprint, Scores.load(out).value()

    def probed() -> Any:
        return probe(embedded, labels, folder / "probe", **parts).table.to_pylist()

    return [
        Kind("segmentation", [out / "scores.parquet", out / "manifest.json"], segmented),
        Kind("encoder of a segmentation", [encoder / "model.safetensors", out / "scores.parquet"], fine_tuned),
        Kind("probe", _files(folder / "probe"), probed),
    ]


def _benchmarks(folder: Path) -> list[Kind]:
    runs = make_runs(folder / "runs", SMALL)

    def reported() -> Any:
        found = read(runs)
        cells = [
            (cell.place, dict(cell.facts), cell.selector, cell.rows and cell.rows.to_pylist(), _tables(cell.scores),
             _tables(cell.snapshots)) for cell in found.cells
        ]  # fmt: skip
        return cells, found.verdicts, found.plan, found.planned, found.unfinished

    files = [path for path in _files(runs, ".json", ".parquet", ".yaml") if path.name not in ("density.parquet",)]
    return [Kind("benchmark", files, reported)]


def _tables(scores: dict[Any, Scores]) -> dict[Any, Any]:
    return {key: (found.measure, found.table.to_pylist()) for key, found in scores.items()}

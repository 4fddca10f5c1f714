"""From an encoder and frames with masks to per-frame scores: a head on an encoder, trained through `Trainer`.

    meddel segment datadel:kvasir_seg --encoder runs/mae --out runs/kvasir --test datadel:cvc_clinicdb
    accelerate launch --multi_gpu --num_processes 2 -m meddel_hf.segment datadel:kvasir_seg --encoder ... --out ...

Trained is the encoder with its head (the paper's downstream), or the head alone (`frozen`): the encoder then sees every
frame once, and the head is trained in seconds.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddel_hf.downstream.segmentation.recipe import SegmentationRecipe
from meddel_hf.errors import InvalidArgument, Occupied
from meddel_hf.runtime import checks
from meddel_hf.runtime.manifest import Manifest, check_target, fingerprint
from meddel_hf.runtime.resume import ANOTHER_FOLDER, check_same, state
from meddel_hf.schema import MODEL

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState
    from datasets import Dataset

    from meddel_hf.data.images import Preprocessing
    from meddel_hf.downstream.scores import Scores
    from meddel_hf.downstream.segmentation.architecture import SegmentationModel
    from meddel_hf.downstream.segmentation.masked_frames import LabelledFrames, Shown

OVERLAYS = "overlays.png"
CHECKPOINTS = "checkpoints"
_LABELS_A_PATCH = 4  # a side, where the head alone is trained: finer ones change no score and take twice as long


def segment(
    train: Dataset,
    test: Mapping[str, Dataset],
    encoder: str | Path,
    out: str | Path,
    *,
    recipe: SegmentationRecipe = SegmentationRecipe(),  # noqa: B008  # frozen
    seed: int = 0,
    device: str = "auto",
    revision: str | None = None,
    progress: bool = True,
    frames: str | Path | None = None,
    overlays: bool = True,
    copies: bool = True,
) -> Scores:
    """Train on one data set, test on others; writes the scores of every test frame, overlays and the model.

    train, test: data sets with DataDEL's columns id, image, mask and, where frames belong together, group. `test` names
                 each test set; a frame or a group of the training set in one of them is an error (see `splits.split`).
    encoder:     Hub id or folder of a ViT, MAE, ResNet or ConvNeXt with safetensors weights.
    out:         folder to write: manifest.json, scores.parquet, overlays.png, model/. A finished one with the same
                 data, encoder, recipe and seed is answered from; an interrupted one goes on at its last checkpoint.
    seed:        draws the head's first weights, the order of the frames and their augmentation.
    device:      "auto", "cpu" or "cuda".
    frames:      folder to decode frames and masks into, once for all runs that name it; None: decode for this run.
    overlays:    draw overlays.png, 1 to 2 MB.
    copies:      warn of test frames that are, byte for byte, in the training set under another id.

    Masks are scored at their own size; `Scores.value()` is mIoU over images, `value("miou-set")` over the set.
    Raises InvalidDataset, InvalidArgument or Mismatch before anything is trained, Diverged where the loss is no number.
    """
    from meddel_hf.downstream.scores import Scores
    from meddel_hf.downstream.segmentation.apart import check_apart, tell_copies
    from meddel_hf.downstream.segmentation.architecture import Head
    from meddel_hf.downstream.segmentation.decoded_frames import shown as shown_once
    from meddel_hf.downstream.segmentation.masked_frames import LabelledFrames
    from meddel_hf.downstream.segmentation.model import from_encoder
    from meddel_hf.embedding.loading import name_of_encoder, quiet
    from meddel_hf.runtime.processes import computing_device, launched_processes

    if not test:
        raise InvalidArgument("test names no data set: give at least one, such as {'kvasir_seg': dataset}")
    checks.seed(seed)
    encoder = name_of_encoder(encoder)
    out, began = Path(out), time.monotonic()
    processes = launched_processes(device)
    place = computing_device(device, processes)
    with quiet():
        model, preprocessing, digest = from_encoder(
            encoder, seed=seed, head=Head(recipe.hidden_size, recipe.dice_weight, recipe.num_labels),
            image_size=recipe.image_size, revision=revision,
        )  # fmt: skip
    if not recipe.frozen:
        model.check_step(recipe.batch_size)
    manifest = _manifest(train, test, digest, recipe, seed)
    if _is_finished(out, manifest):
        return Scores.load(out)
    _check_checkpoints(out, manifest)
    if not (out / CHECKPOINTS).is_dir():  # of an interrupted run
        check_target(out, "segmentation")
    learned = LabelledFrames.of(train, "the training set", recipe.num_labels)
    tested = {name: LabelledFrames.of(dataset, name, recipe.num_labels) for name, dataset in test.items()}
    check_apart(learned, list(tested.values()))
    folder = Path(frames) if frames is not None else None
    if copies and processes.is_main_process:
        tell_copies(learned, list(tested.values()))
    run = _Run(out, manifest, recipe, seed, model, preprocessing, place, processes, progress, folder, overlays)
    with quiet():
        shown = {name: shown_once(each, preprocessing, folder) for name, each in tested.items()} if run.is_main else {}
        run.train(learned)
        if run.is_main:
            run.test(tested, shown, {"encoder": encoder, "seconds": round(time.monotonic() - began, 1)})
    processes.wait_for_everyone()
    return Scores.load(out)


def _manifest(
    train: Dataset, test: Mapping[str, Dataset], encoder: str, recipe: SegmentationRecipe, seed: int
) -> Manifest:
    """What the folder is made from; two runs are the same where its arguments and parents are."""
    from meddel_hf.downstream.segmentation.masked_frames import identity

    arguments = {
        "recipe": {**asdict(recipe), "learning_rate": recipe.rate, "flips": recipe.mirrored},
        "seed": seed,
        "test": list(test),
    }
    parents = {"encoder": encoder, "train": identity(train)}
    parents |= {f"test {name}": identity(dataset) for name, dataset in test.items()}
    return Manifest("segmentation", fingerprint(json.dumps([arguments, parents], sort_keys=True)), arguments, parents)


def _is_finished(out: Path, wanted: Manifest) -> bool:
    """Raises Mismatch where the folder holds another run, or another step."""
    if state(out) != "finished":
        return False
    there = Manifest.read(out, "segmentation")
    before, now = ({**each.arguments, **each.parents} for each in (there, wanted))
    check_same(out, before, now, "holds a finished run with")
    return True


def _check_checkpoints(out: Path, wanted: Manifest) -> None:
    """Raises Occupied where another run was interrupted that has written a checkpoint."""
    for folder in (out / CHECKPOINTS).glob("*"):
        if folder.name != wanted.fingerprint and any(folder.glob("checkpoint-*")):
            raise Occupied(
                f"{out} holds checkpoints of a run that was begun with other data, or another encoder, recipe or seed: "
                f"{ANOTHER_FOLDER}",
                out,
            )


@dataclass(frozen=True, eq=False)
class _Run:
    """One training with its tests, in the folder `out`."""

    out: Path
    manifest: Manifest
    recipe: SegmentationRecipe
    seed: int
    model: SegmentationModel
    preprocessing: Preprocessing
    device: torch.device
    processes: PartialState
    progress: bool
    frames: Path | None
    overlays: bool

    def train(self, frames: LabelledFrames) -> None:
        """Train the model in place."""
        from meddel_hf.downstream.segmentation.decoded_frames import decoded as decoded_once
        from meddel_hf.downstream.segmentation.training import FeatureSamples, FrameSamples, Samples, encoded_views, fit
        from meddel_hf.runtime.devices import resolve_precision
        from meddel_hf.runtime.processes import decoding_workers
        from meddel_hf.training.checkpoints import written

        precision = resolve_precision(self.recipe.precision, self.device)
        checkpoints = self.out / CHECKPOINTS / self.manifest.fingerprint
        if self.processes.is_main_process:
            self.out.mkdir(parents=True, exist_ok=True)
            for other in (self.out / CHECKPOINTS).glob("*"):
                if other != checkpoints:  # without a checkpoint
                    shutil.rmtree(other)
        self.processes.wait_for_everyone()
        with self._timed("decoding"):
            height, width = self.model.grid
            coarse = (height * _LABELS_A_PATCH, width * _LABELS_A_PATCH) if self.recipe.frozen else None
            decoded = decoded_once(frames, self.preprocessing, coarse, self.frames)
        samples: Samples
        if self.recipe.frozen:
            self.model.encoder.requires_grad_(False)
            with self._timed("features"):
                views = 4 if self.recipe.mirrored else 1
                features = encoded_views(self.model, decoded.pixels, self.preprocessing, self.device, precision, views)
            samples = FeatureSamples(features, decoded.masks, self.seed)
        else:
            samples = FrameSamples(decoded, self.preprocessing, self.recipe, self.seed)
        with self._timed("training"), written("a checkpoint", checkpoints, checkpoints):
            fitted = fit(
                self.model, samples, self.recipe, checkpoints, self.processes, seed=self.seed, device=self.device,
                precision=precision, workers=decoding_workers("auto", self.processes), shown=self._shown,
            )  # fmt: skip
        self.manifest.details.update(
            frames=len(frames), empty_masks={"the training set": decoded.empty_masks},
            steps_done_here=fitted.steps, loss=fitted.loss,
            precision=precision, device=self.device.type, processes=self.processes.num_processes,
        )  # fmt: skip

    def test(self, tests: Mapping[str, LabelledFrames], shown: Mapping[str, Shown], details: Mapping[str, Any]) -> None:
        """Score the model, and write everything at once; the manifest comes last."""
        from meddel_hf.downstream.scores import FILE, OF_MASKS
        from meddel_hf.downstream.segmentation.model import save
        from meddel_hf.downstream.segmentation.overlays import draw_overlays
        from meddel_hf.downstream.segmentation.scoring import score
        from meddel_hf.downstream.segmentation.training import logits_of
        from meddel_hf.runtime.files import files_below, whole_folder
        from meddel_hf.training.checkpoints import written

        precision = self.manifest.details["precision"]
        with self._timed("scoring"):
            logits = {
                name: logits_of(self.model, frames.pixels, self.preprocessing, self.device, precision)
                for name, frames in shown.items()
            }
            scores = score(logits, tests)
        self.manifest.details.update(details)
        self.manifest.details["empty_masks"].update({name: frames.empty_masks for name, frames in shown.items()})
        self.manifest.details["tested"] = {
            name: {measure: scores.of(name).value(measure) for measure in OF_MASKS} for name in tests
        }
        with written("the result", self.out), whole_folder(self.out, replaced=(MODEL, OVERLAYS, FILE)) as aside:
            save(self.model, self.preprocessing, aside / MODEL)
            scores.write(aside)
            if self.overlays:
                draw_overlays(scores, logits, tests, aside / OVERLAYS)
            self.manifest.write(aside, files_below(aside))
        shutil.rmtree(self.out / CHECKPOINTS, ignore_errors=True)

    @property
    def is_main(self) -> bool:
        return bool(self.processes.is_main_process)

    @property
    def _shown(self) -> bool:
        return self.progress and self.is_main

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.manifest.details[f"seconds_{part}"] = round(time.monotonic() - began, 2)

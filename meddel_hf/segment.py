"""From an encoder and frames with masks to per-frame scores: MLP head on a ViT, trained through `Trainer`.

    meddel segment datadel:kvasir_seg --encoder runs/mae --out runs/kvasir --test datadel:cvc_clinicdb
    accelerate launch --multi_gpu --num_processes 2 -m meddel_hf.segment datadel:kvasir_seg --encoder ... --out ...

Trained is the encoder with its head (the paper's downstream), or the head alone (`frozen`): the encoder then sees every
frame once, and the head is trained in seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddel_hf.errors import InvalidArgument, Mismatch
from meddel_hf.recipe import LARGEST_BATCH, LARGEST_SIDE
from meddel_hf.runtime import checks, options
from meddel_hf.runtime.exits import command, exit_status
from meddel_hf.schema import MANIFEST, MODEL, Manifest, check_target, fingerprint
from meddel_hf.segmentation_recipe import SegmentationRecipe

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState
    from datasets import Dataset

    from meddel_hf.images import Preprocessing
    from meddel_hf.labelled import LabelledFrames, Shown
    from meddel_hf.scores import Measure, Scores
    from meddel_hf.segmentation_model import ViTForSegmentation

OVERLAYS = "overlays.png"
_CHECKPOINTS = "checkpoints"
_LABELS_A_PATCH = 4  # a side, where the head alone is trained: finer ones change no score and take twice as long
_MEASURES: tuple[Measure, ...] = ("miou", "miou-set", "dice")


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
) -> Scores:
    """Train on one data set, test on others; writes the scores of every test frame, overlays and the model.

    train, test: data sets with DataDEL's columns id, image, mask and, where frames belong together, group. `test` names
                 each test set; a frame or a group of the training set in one of them is an error (see `splits.split`).
    encoder:     Hub id or folder of a ViT or an MAE with safetensors weights.
    out:         folder to write: manifest.json, scores.parquet, overlays.png, model/. A finished one with the same
                 data, encoder, recipe and seed is answered from; an interrupted one goes on at its last checkpoint.
    seed:        draws the head's first weights, the order of the frames and their augmentation.
    device:      "auto", "cpu" or "cuda".

    Masks are scored at their own size; `Scores.value()` is mIoU over images, `value("miou-set")` over the set.
    Raises InvalidDataset, InvalidArgument or Mismatch before anything is trained, Diverged where the loss is no number.
    """
    from meddel_hf.labelled import LabelledFrames, check_apart
    from meddel_hf.processes import computing_device, launched_processes
    from meddel_hf.scores import Scores
    from meddel_hf.segmentation_model import from_encoder, quiet

    if not test:
        raise InvalidArgument("test names no data set: give at least one, such as {'kvasir_seg': dataset}")
    checks.seed(seed)
    out, began = Path(out), time.monotonic()
    processes = launched_processes(device)
    place = computing_device(device, processes)
    with quiet():
        model, preprocessing, digest = from_encoder(
            str(encoder), seed=seed, num_labels=recipe.num_labels, hidden_size=recipe.hidden_size,
            dice_weight=recipe.dice_weight, image_size=recipe.image_size, revision=revision,
        )  # fmt: skip
    manifest = _manifest(train, test, digest, recipe, seed)
    if _is_finished(out, manifest):
        return Scores.load(out)
    if not (out / _CHECKPOINTS).is_dir():  # of an interrupted run
        check_target(out, "segmentation")
    learned = LabelledFrames.of(train, "the training set", recipe.num_labels)
    tested = {name: LabelledFrames.of(dataset, name, recipe.num_labels) for name, dataset in test.items()}
    check_apart(learned, list(tested.values()))
    run = _Run(out, manifest, recipe, seed, model, preprocessing, place, processes, progress)
    with quiet():
        shown = {name: frames.shown(preprocessing) for name, frames in tested.items()} if run.is_main else {}
        run.train(learned)
        if run.is_main:
            run.test(tested, shown, {"encoder": str(encoder), "seconds": round(time.monotonic() - began, 1)})
    processes.wait_for_everyone()
    return Scores.load(out)


def _manifest(
    train: Dataset, test: Mapping[str, Dataset], encoder: str, recipe: SegmentationRecipe, seed: int
) -> Manifest:
    """What the folder is made from; two runs are the same where its arguments and parents are."""
    arguments = {
        "recipe": {**asdict(recipe), "learning_rate": recipe.rate, "flips": recipe.mirrored},
        "seed": seed,
        "test": list(test),
    }
    parents = {"encoder": encoder, "train": train._fingerprint}
    parents |= {f"test {name}": dataset._fingerprint for name, dataset in test.items()}
    return Manifest("segmentation", fingerprint(json.dumps([arguments, parents], sort_keys=True)), arguments, parents)


def _is_finished(out: Path, wanted: Manifest) -> bool:
    """Raises Mismatch where the folder holds another run, or another step."""
    if not (out / MANIFEST).exists():
        return False
    found = Manifest.read(out, "segmentation")
    for kind in ("arguments", "parents"):
        before, now = getattr(found, kind), getattr(wanted, kind)
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name):
                raise Mismatch(
                    f"{out} holds a finished run with another {name} ({_told(before.get(name), now.get(name))}): "
                    "choose another folder, or delete this one"
                )
    return True


def _told(before: Any, now: Any) -> str:
    """Of two dictionaries only what differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        return ", ".join(f"{name} {before.get(name)}, now {now.get(name)}" for name in names)
    return f"{before}, now {now}"


@dataclass(frozen=True, eq=False)
class _Run:
    """One training with its tests, in the folder `out`."""

    out: Path
    manifest: Manifest
    recipe: SegmentationRecipe
    seed: int
    model: ViTForSegmentation
    preprocessing: Preprocessing
    device: torch.device
    processes: PartialState
    progress: bool

    def train(self, frames: LabelledFrames) -> None:
        """Train the model in place."""
        from meddel_hf.checkpoints import written
        from meddel_hf.modeling import resolve_precision
        from meddel_hf.processes import decoding_workers
        from meddel_hf.segmentation_training import FrameSamples, Samples, TokenSamples, encoded_views, fit

        precision = resolve_precision(self.recipe.precision, self.device)
        checkpoints = self.out / _CHECKPOINTS / self.manifest.fingerprint
        if self.processes.is_main_process:
            self.out.mkdir(parents=True, exist_ok=True)
            for other in (self.out / _CHECKPOINTS).glob("*"):
                if other != checkpoints:
                    shutil.rmtree(other)
        self.processes.wait_for_everyone()
        with self._timed("decoding"):
            height, width = self.model.grid
            coarse = (height * _LABELS_A_PATCH, width * _LABELS_A_PATCH) if self.recipe.frozen else None
            decoded = frames.decoded(self.preprocessing, coarse)
        samples: Samples
        if self.recipe.frozen:
            self.model.encoder.requires_grad_(False)
            with self._timed("features"):
                views = 4 if self.recipe.mirrored else 1
                tokens = encoded_views(self.model, decoded.pixels, self.preprocessing, self.device, precision, views)
            samples = TokenSamples(tokens, decoded.masks, self.seed)
        else:
            samples = FrameSamples(decoded, self.preprocessing, self.recipe, self.seed)
        with self._timed("training"), written("a checkpoint", checkpoints, checkpoints):
            losses = fit(
                self.model, samples, self.recipe, checkpoints, self.processes, seed=self.seed, device=self.device,
                precision=precision, workers=decoding_workers("auto", self.processes), shown=self._shown,
            )  # fmt: skip
        last = losses[-max(1, len(losses) // 10) :]
        self.manifest.details.update(
            frames=len(frames), empty_masks={"the training set": decoded.empty_masks},
            steps_done_here=len(losses), loss=sum(last) / len(last) if last else None,
            precision=precision, device=self.device.type, processes=self.processes.num_processes,
        )  # fmt: skip

    def test(self, tests: Mapping[str, LabelledFrames], shown: Mapping[str, Shown], details: Mapping[str, Any]) -> None:
        """Score the model, and write everything at once; the manifest comes last."""
        from meddel_hf.checkpoints import written
        from meddel_hf.files import whole_folder
        from meddel_hf.overlays import draw_overlays
        from meddel_hf.scores import FILE
        from meddel_hf.segmentation_model import save
        from meddel_hf.segmentation_scoring import score
        from meddel_hf.segmentation_training import logits_of

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
            name: {measure: scores.of(name).value(measure) for measure in _MEASURES} for name in tests
        }
        with written("the result", self.out), whole_folder(self.out, replaced=(MODEL, OVERLAYS, FILE)) as aside:
            save(self.model, self.preprocessing, aside / MODEL)
            scores.write(aside)
            draw_overlays(scores, logits, tests, aside / OVERLAYS)
            files = [path.relative_to(aside).as_posix() for path in aside.rglob("*") if path.is_file()]
            self.manifest.write(aside, files)
        shutil.rmtree(self.out / _CHECKPOINTS, ignore_errors=True)

    @property
    def is_main(self) -> bool:
        return self.processes.is_main_process

    @property
    def _shown(self) -> bool:
        return self.progress and self.is_main

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.manifest.details[f"seconds_{part}"] = round(time.monotonic() - began, 2)


def table(scores: Scores) -> str:
    """Markdown: a row for each test set with its frames, mIoU over images and over the set, and Dice, in per cent."""
    rows = ["| set | frames | mIoU over images | mIoU over the set | Dice |", "|---|---:|---:|---:|---:|"]
    for name in scores.sets:
        part = scores.of(name)
        values = " | ".join(f"{part.value(measure):.4f}" for measure in _MEASURES)
        rows.append(f"| {name} | {len(part):,} | {values} |")
    return "\n".join(rows)


def _empty_masks(manifest: Manifest) -> str:
    """A line where masks hold no object, so that nobody takes them for masks that were read wrong; else nothing."""
    found = manifest.details.get("empty_masks", {})  # absent from runs of earlier versions
    counts = ", ".join(f"{count:,} of {name}" for name, count in found.items() if count)
    return f"masks without any object: {counts}\n" if counts else ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `meddel segment` and `python -m meddel_hf.segment`."""
    from meddel_hf.splits import TEST_SHARE

    standard = SegmentationRecipe()
    add = parser.add_argument
    add(
        "data",
        metavar="DATA",
        type=options.text,
        help="frames with masks: data set folder or Hub id, with :config and @split if needed",
    )
    add("--encoder", required=True, type=options.text, help="ViT or MAE of transformers: Hub id or folder")
    add("--out", required=True, type=options.path, help="folder to write; an interrupted one goes on")
    add("--test", nargs="+", default=[], metavar="DATA", type=options.text, help="further test sets")
    add("--frozen", action="store_true", help="train the head alone: seconds instead of minutes")
    add("--split", choices=("auto", "official", "seeded"), default="auto", help="auto: official where there is one")
    add("--test-share", type=options.number(0, 1), default=TEST_SHARE, metavar="X",
        help=f"share of DATA to test on where no official split says (default: {TEST_SHARE}); 0: none")  # fmt: skip
    add("--masked-only", action="store_true", help="leave out rows that have no mask")
    add("--seed", type=options.seed, default=0, help="of split, head, order and augmentation (default: 0)")
    add("--num-labels", type=options.count(2, 255), default=standard.num_labels, metavar="N",
        help="classes with background (default: 2)")  # fmt: skip
    add(
        "--image-size",
        type=options.count(1, LARGEST_SIDE),
        metavar="PIXELS",
        help="default: what the encoder's image processor says",
    )
    add("--epochs", type=options.count(1), default=standard.epochs, metavar="N", help=f"default: {standard.epochs}")
    add("--batch-size", type=options.count(1, LARGEST_BATCH), default=standard.batch_size, metavar="N",
        help=f"frames in a step, over all processes (default: {standard.batch_size})")  # fmt: skip
    add("--learning-rate", type=options.number(0, 10), metavar="X", help="default: 1e-3 with --frozen, else 3e-4")
    add(
        "--weight-decay",
        type=options.number(0, 10),
        default=standard.weight_decay,
        metavar="X",
        help=f"default: {standard.weight_decay}",
    )
    add("--dice-weight", type=options.number(0, 1e6), default=standard.dice_weight, metavar="X",
        help=f"weight of the Dice loss beside the cross entropy (default: {standard.dice_weight:g})")  # fmt: skip
    add("--precision", choices=("auto", "bf16", "float32"), default="auto", help="auto: bf16 where it runs natively")
    add("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    add("--revision", help="branch, tag or commit of the encoder on the Hub")
    add("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Do what `add_arguments` asked for. Returns the exit status: 0, 2 after an error, 130 after Ctrl-C."""
    return exit_status(lambda: _run(args), interrupted="the same command goes on at the last checkpoint")


def _run(args: argparse.Namespace) -> None:
    from meddel_hf.processes import leave

    names = {field.name for field in fields(SegmentationRecipe)}
    recipe = SegmentationRecipe(**{name: value for name, value in vars(args).items() if name in names})
    check_target(args.out, "segmentation", begun=(_CHECKPOINTS,))  # before the work
    try:
        train, test = _data(args)
        scores = segment(
            train, test, args.encoder, args.out, recipe=recipe, seed=args.seed, device=args.device,
            revision=args.revision, progress=not args.quiet,
        )  # fmt: skip
        if os.environ.get("RANK", "0") == "0":
            print(table(scores))
            print(_empty_masks(Manifest.read(args.out, "segmentation")), end="", file=sys.stderr)
    finally:
        leave()


def _data(args: argparse.Namespace) -> tuple[Dataset, dict[str, Dataset]]:
    """The training set, and the test sets by name: what is held out of it, and further ones."""
    from meddel_hf.labelled import with_masks
    from meddel_hf.pool import load_pool, name_of
    from meddel_hf.splits import OFFICIAL, split

    def load(spec: str) -> Any:
        dataset: Any = load_pool(spec)
        return with_masks(dataset) if args.masked_only else dataset

    train, test = load(args.data), {}
    if args.test_share or args.split == "official":
        found = split(train, test_share=args.test_share, official=OFFICIAL[args.split], seed=args.seed)
        train, test[name_of(args.data)] = found.of(train)
    for spec in args.test:
        name = name_of(spec) if name_of(spec) not in test else spec
        if name in test:
            raise InvalidArgument(f"--test names {spec} twice")
        test[name] = load(spec)
    return train, test


def main() -> int:
    """Entry of `python -m meddel_hf.segment`."""
    return command("meddel_hf.segment", "Train a segmentation model and score it.", add_arguments, run)


if __name__ == "__main__":
    sys.exit(main())

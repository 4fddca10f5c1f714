"""How much of the model's own speed `pretrain` keeps, and how it compares with the loop that a user would write.

    python benchmarks/bench_pretrain.py FRAMES --frames 2000 --repeats 5
    python benchmarks/bench_pretrain.py FRAMES --objective simclr --budget minutes
    python benchmarks/bench_pretrain.py FRAMES --objective simclr --budget minutes --steps 400 --ways cached by-procs

One machine, one run, up to six ways through the same samples with the same model, optimiser and precision, in turns
whose order is reversed each time, since many processors are faster after a rest:
  bare      forward, backward and step on one batch that lies ready: the ceiling
  cached    `Trainer` as `pretrain` runs it, views cut from frames that were decoded once
  live      the same, frames decoded by worker processes
  by-procs  on a GPU, which cuts the views of `cached` and `live` itself: as `cached`, but worker processes cut them
  plain     the bare loop fed by `datasets.set_transform`: Pillow decodes, crops at random and resizes, in one process
  plain+w   the same, by as many worker processes as `live` has; both of MAE alone

Before them, what a device makes of uncut frames when it does nothing else: `views`, cut, coloured, normalised.
samples/s count steps only: the first steps of a turn, which start workers and fill queues, are left out everywhere.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset, Image
from torch.utils.data import DataLoader

from meddel_hf.data.images import decode
from meddel_hf.data.pool import Pool, load_pool
from meddel_hf.pretraining.budgets import recipe_for
from meddel_hf.pretraining.frame_cache import Frames, LiveFrames, decode_once, stored_side
from meddel_hf.pretraining.objectives import build, model_inputs, suit
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.pretraining.trainer import Following, PretrainingTrainer
from meddel_hf.pretraining.views import Views, views_of
from meddel_hf.runtime.devices import resolve_precision
from meddel_hf.runtime.processes import computing_device, decoding_workers, launched_processes
from meddel_hf.training.samples import crops

WARM = 3  # steps at the start of a turn that do not count


class Clock:
    """Notes when each step was done."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.times = device, [time.perf_counter()]

    def update(self, samples: int) -> None:
        if self.device.type == "cuda" and len(self.times) in (WARM, WARM + 1):
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())

    def note(self, loss: float) -> None:
        """The loss is no matter here."""

    def speed(self, batch_size: int) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return batch_size * (len(self.times) - 1 - WARM) / (time.perf_counter() - self.times[WARM])


def loop(batches: Iterator[dict[str, Any]], recipe: Recipe, precision: str, device: torch.device) -> float:
    """The bare training loop. Returns samples/s."""
    model = build(recipe, 0).to(device).train()
    suit(model, device, precision, recipe)
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=recipe.learning_rate, fused=True
    )
    clock = Clock(device)
    for batch in batches:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = model(**batch).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if isinstance(model, Following):
            model.after_step(0.5)
        clock.update(recipe.batch_size)
    return clock.speed(recipe.batch_size)


def bare(recipe: Recipe, precision: str, device: torch.device) -> float:
    side = stored_side(recipe.image_size)
    pixels = np.random.default_rng(0).integers(0, 256, (recipe.batch_size, side, side, 3), dtype=np.uint8)
    inputs = model_inputs(views_of(list(pixels), np.arange(recipe.batch_size), recipe, 0), recipe, device)
    return loop((inputs for _ in range(recipe.steps)), recipe, precision, device)


def views_alone(recipe: Recipe, device: torch.device) -> float:
    """Samples/s whose views the device makes ready, and nothing else."""
    side, samples = stored_side(recipe.image_size), np.arange(recipe.batch_size)
    frames = np.random.default_rng(0).integers(0, 256, (recipe.batch_size, side, side, 3), dtype=np.uint8)
    batch = views_of(list(frames), samples, recipe, 0, uncut=True)
    clock = Clock(device)
    for _ in range(recipe.steps):
        model_inputs(batch, recipe, device)
        clock.update(recipe.batch_size)
    return clock.speed(recipe.batch_size)


def ours(
    frames: Frames,
    rows: int,
    recipe: Recipe,
    precision: str,
    device: torch.device,
    workers: int,
    uncut: bool | None = None,
) -> float:
    """uncut: the device cuts the views; None: as `pretrain` does."""
    clock = Clock(device)
    views = Views(frames, range(rows), recipe, 0, uncut=device.type != "cpu" if uncut is None else uncut)
    with tempfile.TemporaryDirectory() as folder:
        trainer = PretrainingTrainer(
            build(recipe, 0), views, Path(folder), recipe=recipe, precision=precision, device=device, processes=1,
            workers=workers, seed=0, snapshot=lambda model, samples: None, progress=clock,
        )  # fmt: skip
        trainer.go_on()
    return clock.speed(recipe.batch_size)


def plain(dataset: Dataset, recipe: Recipe, precision: str, device: torch.device, workers: int) -> float:
    """What a tutorial would write: random crops straight from the full image, tensors normalised one by one."""
    size, mean, std = recipe.image_size, np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

    def transform(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        pixels = []
        for image in rows["image"]:
            image = decode(image)
            (box,), ((mirrored, _),) = crops(
                np.random.randint(0, 2**31, 1), 0, 1000, recipe.crop, (recipe.flips != "none", recipe.flips == "both")
            )
            left, top, width, height = box / 1000 * [image.width, image.height, image.width, image.height]
            view = np.asarray(image.resize((size, size), 2, (left, top, left + width, top + height)), np.float32) / 255
            pixels.append(torch.from_numpy(((view[:, :: -1 if mirrored else 1] - mean) / std).astype(np.float32)))
        return {"pixels": pixels}

    def batches() -> Iterator[dict[str, Any]]:
        loader = DataLoader(dataset.with_transform(transform), recipe.batch_size, shuffle=True, drop_last=True,
                            num_workers=workers)  # fmt: skip
        done = 0
        while done < recipe.steps:
            for batch in loader:
                pixels = batch["pixels"].permute(0, 3, 1, 2).contiguous().to(device)
                yield {"pixel_values": pixels, "noise": torch.rand(len(pixels), recipe.patches, device=device)}
                done += 1
                if done == recipe.steps:
                    return

    return loop(batches(), recipe, precision, device)


def machine(device: torch.device) -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), name)
    return f"{name}, {cores} cores" + (f", {torch.cuda.get_device_name()}" if device.type == "cuda" else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", metavar="FRAMES", help="folder of images")
    parser.add_argument("--include", metavar="PATTERN")
    parser.add_argument("--frames", type=int, default=2000, help="at most this many (default: 2000)")
    parser.add_argument("--repeats", type=int, default=5, help="turns, of which the median counts (default: 5)")
    parser.add_argument("--steps", type=int, default=15, help="in each turn (default: 15)")
    parser.add_argument("--ways", nargs="+", metavar="WAY", help="besides bare, only these")
    parser.add_argument("--objective", default="mae")
    parser.add_argument("--budget", help="whose recipe is run; options below change it")
    parser.add_argument("--preset", help="default: tiny, or the budget's; so are the next three")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--image-size", type=int, help="default: 112")
    parser.add_argument("--batch-size", type=int, help="default: 64")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--num-workers", type=int, help="default: as `pretrain` chooses")
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        compare(args, Path(scratch))


def compare(args: argparse.Namespace, scratch: Path) -> None:
    processes = launched_processes(args.device)
    device = computing_device(args.device, processes)
    workers = decoding_workers("auto" if args.num_workers is None else args.num_workers, processes)
    given = {name: getattr(args, name) for name in ("preset", "layers", "image_size", "batch_size")}
    given = {name: value for name, value in given.items() if value is not None}
    if args.budget is None:
        given = {"preset": "tiny", "image_size": 112, "batch_size": 64, **given}
    recipe = recipe_for(args.objective, args.budget, precision=args.precision, **given)
    recipe = recipe.but(samples=recipe.batch_size * (args.steps + WARM))
    precision = resolve_precision(recipe.precision, device)
    dataset = load_pool(args.pool, include=args.include)
    chosen = np.random.default_rng(0).permutation(len(dataset))[: args.frames]
    dataset = dataset.select(np.sort(chosen)).cast_column("image", Image(decode=False))
    pool, rows = Pool.of(dataset), len(dataset)
    print(f"machine   {machine(device)}, load {os.getloadavg()[0]:.1f} at the start")
    threads = torch.get_num_threads()
    print(f"software  torch {torch.__version__}, transformers {transformers.__version__}, {threads} threads")
    layers = "" if recipe.is_convolutional else f", {recipe.layers or 12} layers, patches of {recipe.patch_size}"
    model = f"{recipe.objective}, {recipe.preset}{layers}, {recipe.image_size} px"
    print(f"model     {model}, batch {recipe.batch_size}, {precision} on {device.type}")
    began = time.perf_counter()
    cache = decode_once(pool, scratch, recipe.image_size, workers=max(2, workers))
    print(f"decoding  {rows / (time.perf_counter() - began):.0f} frames/s, once, for {rows:,} frames")
    live = LiveFrames(pool, stored_side(recipe.image_size))
    readable = [row for row in range(rows) if row not in cache.reasons]
    sound = dataset.select(readable)
    few = 0 if device.type == "cpu" else workers if args.num_workers is not None else min(workers, 8)  # as `pretrain`
    turns: dict[str, Callable[[], float]] = {
        "bare": lambda: bare(recipe, precision, device),
        "cached": lambda: ours(cache, rows, recipe, precision, device, few),
        "live": lambda: ours(live, rows, recipe, precision, device, workers),
        "plain": lambda: plain(sound, recipe, precision, device, 0),
        "plain+w": lambda: plain(sound, recipe, precision, device, workers),
    }
    if recipe.objective != "mae":
        del turns["plain"], turns["plain+w"]
    if device.type != "cpu":
        turns["by-procs"] = lambda: ours(cache, rows, recipe, precision, device, workers, uncut=False)
        print(f"views     {views_alone(recipe, device):.0f} samples/s on the device, which does nothing else")
    turns = {way: turn for way, turn in turns.items() if way in ("bare", *(args.ways or turns))}
    turns["bare"]()  # the first pass compiles kernels
    speeds: dict[str, list[float]] = {way: [] for way in turns}
    ratios: dict[str, list[float]] = {way: [] for way in turns}
    for repeat in range(args.repeats):
        for way in list(turns)[:: -1 if repeat % 2 else 1]:
            speeds[way].append(turns[way]())
        for way in turns:
            ratios[way].append(speeds[way][-1] / speeds["bare"][-1])
    for way, values in speeds.items():
        print(f"{way:9} {statistics.median(values):.1f} samples/s (median of {', '.join(f'{v:.1f}' for v in values)})")
    ratio = {way: statistics.median(values) for way, values in ratios.items()}
    target = "0.9" if device.type == "cpu" else "0.85"
    notes = {
        "cached": f"(median of the turns' ratios; target: {target} or more; {few} workers)",
        "live": f"({workers} workers)",
        "by-procs": f"({workers} workers)",
    }
    for way in [way for way in notes if way in turns]:
        print(f"{way + ' / bare':15} {ratio[way]:.3f}  {notes[way]}")
    others = [way for way in ("plain", "plain+w", "by-procs") if way in turns and "cached" in turns]
    for way in others:
        gain = statistics.median(ours / other for ours, other in zip(speeds["cached"], speeds[way], strict=True))
        print(f"cached / {way:8} {gain:.2f}")
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()

"""A folder with the output of every step, made in seconds: `python tests/make_work.py FOLDER`.

frames/     24 images, one of them damaged       masked/       8 frames with masks, as a data set
encoder/    a ViT of one layer                    embeddings/   selection/  subset/  encoded/  segmented/  probed/
plan.yaml   of a benchmark that nobody waits for   runs/         a made folder of benchmark runs
"""

from __future__ import annotations

import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, Features, Image, Value
from make_runs import SEG, Task, Truth, make_runs
from PIL import Image as Picture
from transformers import ViTConfig, ViTModel
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from meddel_hf.cli import main

SIDE = 32
COMMANDS: dict[str, list[str]] = {
    "embed": ["embed", "frames", "--encoder", "encoder", "--out", "OUT", "--shard-rows", "10", "--quiet",
              "--num-workers", "0"],
    "select": ["select", "embeddings", "--retention", "0.5", "--epsilon", "none", "--out", "OUT", "--no-pictures"],
    "sweep": ["sweep", "embeddings", "--eta", "0.5", "0.9", "--epsilon", "none"],
    "why": ["why", "selection", "video0/00"],
    "filter": ["filter", "selection", "frames", "--out", "OUT"],
    "pretrain": ["pretrain", "frames", "--out", "OUT", "--preset", "tiny", "--layers", "1", "--image-size", "32",
                 "--patch-size", "16", "--samples", "32", "--selection", "selection", "--quiet", "--num-workers", "0"],
    "segment": ["segment", "masked", "--encoder", "encoder", "--out", "OUT", "--frozen", "--epochs", "1", "--quiet"],
    "probe": ["probe", "embeddings", "--labels", "frames", "--target", "folder", "--method", "knn", "--out", "OUT",
              "--test-match", "*[01]"],
    "benchmark": ["benchmark", "run", "plan.yaml", "--out", "OUT", "--gate-only", "--quiet"],
    "pack": ["benchmark", "pack", "runs", "--out", "OUT.tar.xz"],
    "report": ["report", "runs", "--out", "OUT", "--draws", "50"],
    "build": ["build", "frames", "--out", "OUT", "--quiet", "--workers", "1"],
    "demo": ["demo", "--out", "OUT"],
    "push": ["push", "selection", "someone/something"],
    "normdel": ["normdel", "0.7095", "--retention", "0.05"],
    "install-metric": ["install-metric"],
}  # fmt: skip
RUNS = Truth(
    arms={"random": "random", "MedDEL": "meddel"},
    effects={"MedDEL": {0.2: 0.03}},
    tasks={"kvasir_seg": Task(SEG, {"kvasir_seg": 30})},
    retentions=(0.2,),
    seeds=2,
)
PLAN = """
name: small
pool: [{pool: frames}]
pretraining: {preset: tiny, layers: 1, image_size: 32, patch_size: 16, samples: 32, batch_size: 16}
seeds: [0]
retentions: [0.5, 1.0]
tasks:
  - {name: videos, kind: probe, labels: frames, target: folder, method: knn, test_match: "*[01]"}
"""


def make(folder: Path) -> Path:
    """Write everything; the working folder must be `folder`, since commands get relative paths."""
    draw = np.random.default_rng(0)
    for i in range(24):
        (folder / "frames" / f"video{i // 6}").mkdir(parents=True, exist_ok=True)
        base = draw.integers(0, 255, 3) if i % 6 == 0 else base  # noqa: F821  # of the video
        pixels = np.clip(base + draw.normal(0, 6 * (i % 6), (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        Picture.fromarray(pixels).save(folder / "frames" / f"video{i // 6}" / f"{i:02}.png")
    (folder / "frames" / "video0" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0no picture")
    masked(folder / "masked", draw)
    encoder(folder / "encoder")
    (folder / "plan.yaml").write_text(PLAN, encoding="utf-8")
    (folder / "ids.txt").write_text("video0/00\n", encoding="utf-8")
    make_runs(folder / "runs", RUNS)
    for command, out in {"embed": "embeddings", "select": "selection", "filter": "subset", "pretrain": "encoded",
                         "segment": "segmented", "probe": "probed"}.items():  # fmt: skip
        quietly(command, out)
    return folder


def quietly(command: str, out: str) -> None:
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        status = main([word.replace("OUT", out) for word in COMMANDS[command]])
    assert status == 0, said.getvalue()


def masked(folder: Path, draw: np.random.Generator) -> None:
    rows: dict[str, list[object]] = {"id": [], "image": [], "mask": [], "group": []}
    for i in range(8):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[i : i + 16, 4:24] = 255
        rows["id"].append(f"m{i}")
        rows["image"].append(Picture.fromarray(draw.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)))
        rows["mask"].append(Picture.fromarray(mask))
        rows["group"].append(f"g{i}")
    features = Features({"id": Value("string"), "image": Image(), "mask": Image(), "group": Value("string")})
    folder.mkdir()
    Dataset.from_dict(rows, features=features).to_parquet(folder / "train-00000.parquet")


def encoder(folder: Path) -> None:
    torch.manual_seed(0)
    config = ViTConfig(image_size=SIDE, patch_size=16, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
                       intermediate_size=32)  # fmt: skip
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)


if __name__ == "__main__":
    import os

    target = Path(sys.argv[1]).resolve()
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    os.chdir(target)
    make(target)

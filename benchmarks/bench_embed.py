"""How much of the encoder's own speed `embed` keeps, and how it compares with the pipeline that a user would write.

    python benchmarks/bench_embed.py --frames 256 --repeats 4

One machine, one run, three ways through the same frames with the same random ViT-Base at 224 px, in turns whose order
is reversed each time, since many processors are faster after a rest, and the pipeline is a rest for some cores:
  forward   the bare model on pixels that lie ready, in the dtype that `embed` chooses: the ceiling
  embed     files to a finished store: decoding, resizing, forward pass, shards, checksums
  pipeline  transformers.pipeline("image-feature-extraction") with its defaults, one file after another

images/s of `embed` counts from its call to its return, once the encoder is loaded; the load is shown on its own.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image

from meddel_hf.data.images import prepare
from meddel_hf.data.pool import load_pool
from meddel_hf.data.scan import IMAGE_SUFFIXES
from meddel_hf.embedding.embed import embed
from meddel_hf.embedding.encoder import Encoder, load_encoder

SIZE = (720, 576)


def make_frames(folder: Path, count: int) -> None:
    """JPEGs of an endoscope's size that compress like one's frames: smooth shading, some texture, a dark border."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    y, x = np.mgrid[-1 : 1 : SIZE[1] * 1j, -1 : 1 : SIZE[0] * 1j]
    circle = (x**2 + y**2 < 1)[..., None]
    for number in range(count):
        coarse = Image.fromarray(rng.integers(60, 220, (9, 12, 3), dtype=np.uint8)).resize(
            SIZE, Image.Resampling.BICUBIC
        )
        pixels = np.asarray(coarse) + rng.normal(0, 6, (*SIZE[::-1], 3))
        Image.fromarray((pixels.clip(0, 255) * circle).astype(np.uint8)).save(folder / f"{number:05d}.jpg", quality=90)


def make_encoder(folder: Path) -> None:
    from transformers import ViTConfig, ViTModel
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    torch.manual_seed(0)
    ViTModel(ViTConfig()).save_pretrained(folder)
    ViTImageProcessorPil().save_pretrained(folder)


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def forward(encoder: Encoder, files: list[Path], batch_size: int) -> Callable[[], None]:
    """The bare model on ready pixels: its own forward pass and nothing of ours."""
    some = [prepare(file, encoder.preprocessing) for file in files[:batch_size]]
    dtype = next(encoder.model.parameters()).dtype
    pixels = torch.from_numpy(np.stack(some)).permute(0, 3, 1, 2).to(encoder.device, dtype).div(127.5).sub(1)

    def work() -> None:
        with torch.inference_mode():
            for start in range(0, len(files), batch_size):
                encoder.model(pixels[: len(files) - start]).last_hidden_state[0, 0, 0].item()

    return work


def pipeline(model: str, files: list[Path], device: torch.device) -> Callable[[], None]:
    extract = transformers.pipeline("image-feature-extraction", model=model, device=device)

    def work() -> None:
        for file in files:
            np.asarray(extract(str(file)))[0, 0]

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=256, help="frames in each turn (default: 256)")
    parser.add_argument("--repeats", type=int, default=4, help="turns, of which the median counts (default: 4)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=Path, help="folder of real frames (default: made here, 720x576 JPEG)")
    parser.add_argument("--encoder", help="Hub id or folder (default: a random ViT-Base, made here)")
    parser.add_argument("--no-pipeline", action="store_true", help="leave out the slowest of the three")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run(args, Path(name))


def run(args: argparse.Namespace, scratch: Path) -> None:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    folder, model = args.images or scratch / "frames", args.encoder or str(scratch / "vit")
    if args.images is None:
        make_frames(folder, args.frames)
    if args.encoder is None:
        make_encoder(Path(model))
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)[: args.frames]
    pool = load_pool(str(folder)).select(range(len(files)))
    wanted = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    encoder = load_encoder(model, device=wanted)
    size = statistics.median(file.stat().st_size for file in files)
    shape = Image.open(io.BytesIO(files[0].read_bytes())).size
    print(f"machine   {machine(encoder.device)}, load {os.getloadavg()[0]:.1f} at the start")
    threads = torch.get_num_threads()
    print(f"software  torch {torch.__version__}, transformers {transformers.__version__}, {threads} threads")
    print(f"frames    {len(files)}, {shape[0]}x{shape[1]}, {size / 1000:.0f} kB each")
    height, width = encoder.preprocessing.size
    kind = encoder.model.config.model_type
    print(f"encoder   {kind}, {encoder.dim} numbers, {width}x{height} pixels, {encoder.precision}")

    load = timed(lambda: load_encoder(model, device=wanted))
    turns: dict[str, tuple[int, Callable[[], object]]] = {
        "forward": (len(files), forward(encoder, files, args.batch_size)),
        "embed": (len(files), lambda: embed(pool, model, scratch / f"out-{time.monotonic_ns()}", device=wanted,
                                            batch_size=args.batch_size, progress=False)),
    }  # fmt: skip
    if not args.no_pipeline:
        some = files[: max(1, len(files) // 4)]  # it takes its time, and a quarter tells its speed
        turns["pipeline"] = (len(some), pipeline(model, some, encoder.device))
    turns["forward"][1]()  # the first pass compiles kernels
    speeds: dict[str, list[float]] = {way: [] for way in turns}
    for repeat in range(args.repeats):
        for way in list(turns)[:: -1 if repeat % 2 else 1]:
            count, work = turns[way]
            speeds[way].append(count / (timed(work) - (load if way == "embed" else 0)))
    speed = {way: statistics.median(values) for way, values in speeds.items()}
    print(f"loading   {load:.1f} s for the encoder and its fingerprint, once a run, not in the figures below")
    for way, values in speeds.items():
        print(f"{way:9} {speed[way]:.2f} images/s (median of {', '.join(f'{value:.2f}' for value in values)})")
    print(f"embed / forward   {speed['embed'] / speed['forward']:.3f}  (target: 0.9 or more)")
    if "pipeline" in speed:
        print(f"embed / pipeline  {speed['embed'] / speed['pipeline']:.2f}  (target: 3 or more where bf16 is native)")
    print(f"load {os.getloadavg()[0]:.1f} at the end")


def machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return (
        f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"
        if info.is_file()
        else platform.platform()
    )


if __name__ == "__main__":
    main()

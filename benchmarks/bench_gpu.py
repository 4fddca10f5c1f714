"""The exact search and the embedding on a GPU: seconds, TFLOP/s, the share of what the card can do.

    python benchmarks/bench_gpu.py                               # about 100 s on an H100 with 16 cores
    python benchmarks/bench_gpu.py --only peak check             # is the answer the processor's?
    python benchmarks/bench_gpu.py --only peak pool --rows 2000000
    python benchmarks/bench_gpu.py --small --device cpu          # the same code on a processor, in seconds

peak     what the card multiplies, in one product of 8192 x 8192 bfloat16 matrices; shares below are of this
screen   products of a million rows with one another and the maxima over them, with nothing found: the ceiling
check    decisions of 20,000 rows by both scopes, at etas and at a retention: device and processor, by their digests
pool     --rows embeddings of bench_select's `spread` pool, all with all, at eta 0.8 and 0.95
cluster  the same inside k-means clusters, at eta 0.8
select   `MedDEL(...).select(array)` from the array to the table, pool scope at eta 0.8: what a user waits for
embed    a random ViT-Base at 224 px from JPEG files: `embed`, the bare forward pass, decoding alone, the rest alone

Useful operations are those that the rule needs: 2 d for each of n²/2 pairs, for each of K²/2 + (n - K) K comparisons
with K kept rows of a greedy pass, and for each of (n - K) K of the search for the nearest kept row.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

DIM = 768
SIDE = 512
PARTS = ("peak", "screen", "check", "pool", "cluster", "select", "embed")


def say(text: str) -> None:
    print(text, flush=True)


def spread_on(n: int, place: Any, seed: int = 0) -> np.ndarray:
    """The `spread` pool of bench_select, drawn on the device: groups of 1 to 200 frames, tight or loose."""
    import torch

    rng = np.random.default_rng(seed)
    sizes = np.minimum(200, 1 + rng.geometric(1 / 21, n))
    group = np.repeat(np.arange(n), sizes)[:n]
    within = np.interp(rng.random(n), [0, 0.05, 0.155, 0.29, 0.475, 1], [0.70, 0.75, 0.80, 0.85, 0.90, 0.99])[group]
    order = rng.permutation(n)
    group, within = group[order], within[order].astype(np.float32)
    source = torch.Generator(place).manual_seed(seed)
    centre = torch.nn.functional.normalize(torch.randn(group.max() + 1, DIM, generator=source, device=place))
    rows = np.empty((n, DIM), np.float32)
    for start in range(0, n, step := 2**16):
        part = slice(start, min(start + step, n))
        cosine = torch.from_numpy(within[part, None]).to(place)
        noise = torch.nn.functional.normalize(torch.randn(part.stop - start, DIM, generator=source, device=place))
        mixed = cosine.sqrt() * centre[torch.from_numpy(group[part]).to(place)] + (1 - cosine).sqrt() * noise
        torch.from_numpy(rows[part]).copy_(torch.nn.functional.normalize(mixed))
    return rows


class Bench:
    """One run: where, how large, and what the card can do, once that is known."""

    def __init__(self, args: argparse.Namespace) -> None:
        import torch

        wanted = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        self.args, self.place, self.peak = args, torch.device(wanted), float("nan")
        self.rows = args.rows or (6000 if args.small else 1_000_000)
        self._pool: tuple[np.ndarray, Any] | None = None

    def wait(self) -> None:
        import torch

        if self.place.type == "cuda":
            torch.cuda.synchronize(self.place)

    def timed(self, work: Callable[[], Any]) -> tuple[float, Any]:
        self.wait()
        began = time.perf_counter()
        answer = work()
        self.wait()
        return time.perf_counter() - began, answer

    def repeated(self, work: Callable[[], Any], times: int) -> float:
        """Seconds of so many; no answer is kept, since each may take a gigabyte."""

        def often() -> None:
            for _ in range(times):
                work()

        return self.timed(often)[0]

    def rate(self, pairs: float, seconds: float) -> str:
        flops = 2 * DIM * pairs / seconds
        return f"{flops / 1e12:.1f} TFLOP/s, {flops / self.peak:.0%} of the peak"

    def pool(self) -> tuple[np.ndarray, Any]:
        """The embeddings, and made ready; drawn and timed once."""
        from meddel_hf.neighbors.cosines import Vectors
        from meddel_hf.neighbors.device.rows import DeviceRows

        if self._pool is None:
            seconds, x = self.timed(lambda: spread_on(self.rows, self.place))
            say(f"draw      {self.rows:,} x {DIM} in {seconds:.1f} s")
            both, vectors = self.timed(lambda: Vectors.prepare(x, device=self.place))
            alone, _ = self.timed(lambda: DeviceRows.copy(vectors.base, vectors.norms, self.place))
            say(f"prepare   {both:.2f} s, of which {alone:.2f} s the copy to the device and its bfloat16 copy there")
            self._pool = x, vectors
        return self._pool


def peak(bench: Bench) -> None:
    import torch

    size = 1024 if bench.args.small else 8192
    one = torch.randn(size, size, device=bench.place).bfloat16()
    for _ in range(3):
        one @ one.T
    times = 3 if bench.args.small else 50
    seconds = bench.repeated(lambda: one @ one.T, times)
    bench.peak = 2 * size**3 * times / seconds
    say(f"peak      {bench.peak / 1e12:.1f} TFLOP/s, bfloat16 {size}³")


def screen(bench: Bench) -> None:
    """As many products as all pairs take, and the maxima; and each of the two alone."""
    import torch

    from meddel_hf.neighbors.device.products import block, product, tops_of
    from meddel_hf.neighbors.device.rows import full_products

    _, vectors = bench.pool()
    rows = vectors.device
    side = block(rows)
    count = -(-len(vectors) // side)
    tiles = min(count * (count + 1) // 2, 3 if bench.args.small else 400)
    index = torch.arange(min(side, len(vectors)), device=bench.place)
    panel = rows.panel(index, rows.cheapest)
    tile = product(panel, panel)
    pairs = float(tile.numel()) * tiles

    with full_products():
        both = bench.repeated(lambda: tops_of(product(panel, panel)), tiles)
        alone = bench.repeated(lambda: product(panel, panel), tiles)
        maxima = bench.repeated(lambda: tops_of(tile), tiles)
        inner = bench.repeated(lambda: tile.flatten(0, 1).unflatten(1, (-1, 64)).amax(dim=2), tiles)
    scale = 1e3 / tiles
    say(
        f"screen    tiles of {tile.numel() // tile.shape[2]:,} x {tile.shape[2]:,}: {both * scale:.3f} ms each "
        f"({bench.rate(pairs, both)}); the product alone {alone * scale:.3f} ms ({bench.rate(pairs, alone)}), the "
        f"maxima alone {maxima * scale:.3f} ms (over the other axis {inner * scale:.3f} ms)"
    )


def digest(decision: Any) -> str:
    arrays = (decision.kept, decision.duplicate_of, decision.similarity, np.float64(decision.eta))
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[:16]


def check(bench: Bench) -> None:
    from meddel_hf.dedup.search import Search, Settings
    from meddel_hf.neighbors.cosines import Vectors
    from meddel_hf.runtime.devices import searching_on

    n = 2000 if bench.args.small else 20_000
    x = spread_on(n, bench.place, seed=1)
    with searching_on("cpu"):
        plain = Vectors.prepare(x)
    there = Vectors.prepare(x, device=bench.place)
    wrong = 0
    for scope in ("pool", "cluster"):
        for engine in ("pairs", "blocks"):
            for eta, retention in ((0.8, None), (0.95, None), (None, 0.3)):
                settings = Settings(retention, eta, epsilon=None, scope=scope, engine=engine)  # type: ignore[arg-type]
                seconds, digests = [], []
                for vectors in (there, plain):
                    took, decision = bench.timed(
                        lambda v=vectors, s=settings: Search.among(s, v, np.arange(n), n).decide(s.eta, s.retention)
                    )
                    seconds.append(took)
                    digests.append(digest(decision))
                same = digests[0] == digests[1]
                wrong += not same
                say(
                    f"check     {scope}, {engine}, eta {eta}, retention {retention}: "
                    f"{'equal' if same else 'DIFFERENT'} ({digests[0]}), device {seconds[0]:.2f} s, processor "
                    f"{seconds[1]:.2f} s"
                )
    say(f"check     {wrong} of 12 decisions differ")
    if wrong:
        raise SystemExit(1)


def search_of(bench: Bench, scope: str, eta: float) -> None:
    from meddel_hf.dedup.block_engine import BlockEngine
    from meddel_hf.dedup.search import Search, Settings
    from meddel_hf.neighbors.clustering import cluster
    from meddel_hf.neighbors.pairs import pairs_within

    _, vectors = bench.pool()
    n = len(vectors)
    if scope == "cluster":
        seconds, _ = bench.timed(lambda: cluster(vectors, np.arange(n), None, 0))
        say(f"{scope:9} k-means alone {seconds:.2f} s")
    settings = Settings(None, eta, epsilon=None, scope=scope, engine="blocks")  # type: ignore[arg-type]
    begun, found = bench.timed(lambda: Search.among(settings, vectors, np.arange(n), n))
    engine = BlockEngine(vectors, found.groups)
    greedy, done = bench.timed(lambda: engine.greedy(eta))
    naming, _ = bench.timed(lambda: engine.nearest_kept(done.kept))
    first = sum(k * k / 2 + (len(g) - k) * k for g in found.groups for k in [float(done.kept[g].sum())])
    second = sum((len(g) - k) * k for g in found.groups for k in [float(done.kept[g].sum())])
    say(
        f"{scope:9} eta {eta}: {begun + greedy + naming:.2f} s, {done.count:,} of {n:,} kept ({done.count / n:.1%}); "
        f"order and sample {begun:.2f} s, greedy pass {greedy:.2f} s ({bench.rate(first, greedy)}), nearest kept "
        f"{naming:.2f} s ({bench.rate(second, naming)})"
    )
    if scope == "pool":
        seconds, pairs = bench.timed(lambda: pairs_within(vectors, found.groups, eta))
        say(f"pairs     above {eta}: {len(pairs):,} in {seconds:.2f} s ({bench.rate(n * n / 2, seconds)})")


def select(bench: Bench) -> None:
    from meddel_hf import MedDEL

    x, _ = bench.pool()
    device = "cpu" if bench.place.type == "cpu" else str(bench.place)
    seconds, chosen = bench.timed(lambda: MedDEL(epsilon=None, eta=0.8, scope="pool").select(x, device=device))
    say(f"select    {seconds:.1f} s from the array to the table, {chosen.summary.kept:,} kept")


def make_frame(job: tuple[str, int]) -> None:
    """A JPEG that compresses like a frame: smooth shading, some texture, a dark border."""
    from PIL import Image

    path, seed = job
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    coarse = Image.fromarray(rng.integers(60, 220, (9, 12, 3), dtype=np.uint8)).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(coarse) + 6 * rng.standard_normal((SIDE, SIDE, 3), np.float32)
    Image.fromarray((pixels.clip(0, 255) * (x**2 + y**2 < 1)[..., None]).astype(np.uint8)).save(path, quality=90)


def make_encoder(folder: Path, small: bool) -> None:
    import torch
    from transformers import ViTConfig, ViTModel
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    torch.manual_seed(0)
    few = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    ViTModel(ViTConfig(**(few if small else {}))).save_pretrained(folder)
    ViTImageProcessorPil().save_pretrained(folder)


def embed(bench: Bench) -> None:
    import torch
    import transformers

    from meddel_hf.data.batches import TableBatches, read_ahead, spans
    from meddel_hf.data.pool import Pool, load_pool
    from meddel_hf.embedding.embed import embed as embed_pool
    from meddel_hf.embedding.encoder import load_encoder
    from meddel_hf.embedding.thumbnails import thumbnails
    from meddel_hf.runtime.processes import decoding_workers, launched_processes

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    args = bench.args
    count, size = args.frames or (64 if args.small else 4000), 16 if args.small else args.batch_size
    with tempfile.TemporaryDirectory() as name:
        folder, model = Path(name) / "frames", str(Path(name) / "vit")
        folder.mkdir()
        jobs = [(str(folder / f"{number:05d}.jpg"), number) for number in range(count)]
        cores = len(os.sched_getaffinity(0))
        with ProcessPoolExecutor(cores, get_context("forkserver")) as processes:
            seconds, _ = bench.timed(lambda: list(processes.map(make_frame, jobs, chunksize=16)))
        make_encoder(Path(model), args.small)
        say(f"embed     {count:,} JPEG of {SIDE} px drawn in {seconds:.1f} s")
        device = bench.place.type
        load, encoder = bench.timed(lambda: load_encoder(model, device=device))
        dtype = next(encoder.model.parameters()).dtype
        pixels = torch.randn(size, 3, 224, 224, device=bench.place).to(dtype)
        passes = max(2, count // size)

        def forward() -> None:
            with torch.inference_mode():
                for _ in range(passes):
                    encoder.model(pixels)

        forward()  # the first pass chooses kernels
        seconds, _ = bench.timed(forward)
        bare = passes * size / seconds
        say(f"embed     bare forward pass {bare:,.0f} images/s, batches of {size}, {encoder.precision}")
        frames = np.random.default_rng(0).integers(0, 255, (size, 224, 224, 3), dtype=np.uint8)
        some = max(2, passes // 4)
        seconds = bench.repeated(lambda: encoder.pooled(frames)[encoder.poolings[0]].cpu(), some)
        say(f"embed     with pixels from the processor and pooling {some * size / seconds:,.0f} images/s")
        seconds = bench.repeated(lambda: thumbnails(frames), some)
        say(f"embed     thumbnails, on one core {some * size / seconds:,.0f} images/s")
        pool = load_pool(str(folder))
        workers = args.workers or decoding_workers("auto", launched_processes(device))
        table = Pool.of(pool)
        batches = TableBatches(table, spans(count, 4096, size, range(-(-count // 4096))), encoder.preprocessing)
        ready: list[float] = []

        def decode() -> None:
            for _ in read_ahead(batches, min(workers, len(batches))):
                ready.append(time.perf_counter())

        began = time.perf_counter()
        seconds, _ = bench.timed(decode)
        steady = (len(ready) - 1) * size / max(1e-9, ready[-1] - ready[0])
        say(
            f"embed     decoding alone, {workers} processes: {count / seconds:,.0f} images/s, "
            f"{steady:,.0f} once the first batch was there after {ready[0] - began:.1f} s"
        )
        seconds, _ = bench.timed(
            lambda: embed_pool(pool, model, Path(name) / "out", device=device, batch_size=size, calibrate=False,
                               num_workers=workers, progress=False)
        )  # fmt: skip
        rate = count / (seconds - load)
        say(
            f"embed     `embed` {rate:,.0f} images/s ({seconds:.1f} s, {load:.1f} s of them for the encoder): "
            f"{rate / bare:.2f} of the bare forward pass"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run (default: all)")
    parser.add_argument("--rows", type=int, help="embeddings of the search (default: 1,000,000)")
    parser.add_argument("--frames", type=int, help="JPEG files to embed (default: 4,000)")
    parser.add_argument("--batch-size", type=int, default=128, help="frames in one forward pass (default: 128)")
    parser.add_argument("--workers", type=int, help="decoding processes (default: as `embed` chooses)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument("--small", action="store_true", help="a few seconds of each part, to see that it runs")
    args = parser.parse_args()
    import torch

    bench = Bench(args)
    card = torch.cuda.get_device_name(bench.place) if bench.place.type == "cuda" else "the processor"
    say(f"machine   {card}, {len(os.sched_getaffinity(0))} cores, torch {torch.__version__}")
    began = time.perf_counter()
    parts: dict[str, Callable[[Bench], None]] = {
        "peak": peak, "screen": screen, "check": check, "select": select, "embed": embed,
        "pool": lambda b: [search_of(b, "pool", eta) for eta in (0.8, 0.95)] and None,
        "cluster": lambda b: search_of(b, "cluster", 0.8),
    }  # fmt: skip
    for part in PARTS:
        if part in args.only:
            parts[part](bench)
            say(f"          {time.perf_counter() - began:.1f} s so far")


if __name__ == "__main__":
    main()

"""Selecting from 88,282 embeddings: seconds, peak memory and rows kept, beside the ways people do it now.

    python benchmarks/bench_select.py                          # everything; about half an hour on two cores
    python benchmarks/bench_select.py --rows 20000 --repeats 1 --only "MedDEL pool"
    python benchmarks/bench_select.py --selectors --repeats 1              # balanced, typiclust, ... at 5 %
    python benchmarks/bench_select.py --only MedDEL --pool spread --neighbours 1     # beside a busy process, too
    PYTHONPATH=OTHER_CHECKOUT python benchmarks/bench_select.py ...                  # another version of meddel_hf

Each method runs in processes of its own, --repeats times (the median counts); the clock starts when imports and data
are in memory, the peak is that of the process, both included. "MedDEL" is `MedDEL(...).select(array)` from the array to
the table of rows with reasons. Rivals stop earlier: at the pairs or the rows that stay. Needs the `bench` extra.
With --neighbours each method is run quiet and beside so many processes that do nothing but count, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

DIM = 768
ETA = 0.8  # keeps about 20 % of the first pool, as in the paper's Table 2
ETAS = (0.7, 0.75, 0.8, 0.85, 0.9)
BLOCK = 4096
DROPPED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # settings of a shell that would hold rivals back
# The BLAS in faiss's wheel takes some new processors for old ones: told better, faiss is three times as fast.
BLAS = {"OPENBLAS_CORETYPE": "SkylakeX"}


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def spread(n: int, seed: int = 0) -> np.ndarray:
    """Groups of 1 to 200 frames around random directions, tight or loose, so that eta 0.7 ... 0.9 keep 5 ... 50 %."""
    rng = np.random.default_rng(seed)
    sizes = np.minimum(200, 1 + rng.geometric(1 / 21, n))
    group = np.repeat(np.arange(n), sizes)[:n]
    within = np.interp(rng.random(n), [0, 0.05, 0.155, 0.29, 0.475, 1], [0.70, 0.75, 0.80, 0.85, 0.90, 0.99])[group]
    centre = unit(rng.standard_normal((group[-1] + 1, DIM), np.float32))
    rows = np.empty((n, DIM), np.float32)
    for start in range(0, n, BLOCK):  # two frames of a group have the cosine `within`, give or take
        part = slice(start, start + BLOCK)
        cosine = within[part, None].astype(np.float32)
        noise = unit(rng.standard_normal((len(cosine), DIM), np.float32))
        rows[part] = unit(np.sqrt(cosine) * centre[group[part]] + np.sqrt(1 - cosine) * noise)
    return rows[rng.permutation(n)]


def concentrated(n: int, seed: int = 0) -> np.ndarray:
    """One direction and 24 lesser ones, as of frames of one narrow domain: about 88 % of the pairs exceed 0.7."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((DIM, 25)))[0].T
    share = 1 / np.arange(1.0, 25)
    share /= np.linalg.norm(share)
    rows = np.empty((n, DIM), np.float32)
    for start in range(0, n, BLOCK):
        m = min(BLOCK, n - start)
        away = 0.305 * np.exp(0.7 * rng.standard_normal((m, 1))) * rng.standard_normal((m, 24)) * share
        rows[start : start + m] = unit(axes[0] + away @ axes[1:] + 0.002 * rng.standard_normal((m, DIM)))
    return rows


def all_equal(n: int) -> np.ndarray:
    return np.repeat(unit(np.random.default_rng(0).standard_normal((1, DIM))), n, axis=0)


POOLS: dict[str, Callable[[int], np.ndarray]] = {
    "spread": spread,
    "concentrated": concentrated,
    "all equal": lambda n: all_equal(min(n, 50_000)),
}


def meddel(x: np.ndarray, eta: float | None, **settings: object) -> str:
    from meddel_hf import MedDEL

    # Without the outlier step, which rivals lack: the directions of these pools are random, so most would go.
    chosen = MedDEL(**{"epsilon": None, "eta": eta, **settings}).select(x)
    return f"{chosen.summary.kept:,} kept" + (f" (eta {chosen.eta:.4f})" if settings.get("retention") else "")


def meddel_sweep(x: np.ndarray, eta: float) -> str:
    from meddel_hf import MedDEL

    return ", ".join(f"{s.summary.kept:,}" for s in MedDEL(epsilon=None, scope="pool").sweep(x, ETAS)) + " kept"


def numpy_square(x: np.ndarray, eta: float) -> str:
    """Blocks of the whole n x n product, and the pairs above eta in them."""
    first, second = [], []
    for start in range(0, len(x), BLOCK):
        for other in range(0, len(x), BLOCK):
            r, c = np.nonzero(x[start : start + BLOCK] @ x[other : other + BLOCK].T > eta)
            first.append(r + start)
            second.append(c + other)
    return f"{(sum(map(len, first)) - len(x)) // 2:,} pairs"


def numpy_triangle(x: np.ndarray, eta: float) -> str:
    """The same without the half that says everything twice."""
    count, seconds = 0, []
    for start in range(0, len(x), BLOCK):
        for other in range(start, len(x), BLOCK):
            r, c = np.nonzero(x[start : start + BLOCK] @ x[other : other + BLOCK].T > eta)
            upper = r + start < c + other
            seconds.append((r[upper], c[upper]))
            count += int(upper.sum())
    return f"{count:,} pairs"


def semhash(x: np.ndarray, eta: float) -> str:
    """Precomputed vectors in semhash's default index (approximate, usearch)."""
    from semhash import SemHash

    names = [str(row) for row in range(len(x))]
    index = SemHash.from_embeddings(x, records=names, model=None)  # type: ignore[arg-type]
    return f"{len(index.self_deduplicate(threshold=eta).selected):,} kept"


def faiss_range(x: np.ndarray, eta: float) -> str:
    """IndexFlatIP.range_search of the pool in itself: exact, both directions."""
    import faiss

    index = faiss.IndexFlatIP(DIM)
    index.add(x)
    starts, _, _ = index.range_search(x, eta)
    return f"{(int(starts[-1]) - len(x)) // 2:,} pairs"


def semdedup(x: np.ndarray, eta: float, *, stop_early: bool = False) -> str:
    """SemDeDup as arXiv 2303.09540 tells it, written anew: k-means, full cluster matrices, the farthest stay."""
    import faiss

    early = {} if stop_early else {"early_stop_threshold": -1.0}
    kmeans = faiss.Kmeans(DIM, round(len(x) ** 0.5), niter=100, spherical=True, seed=0, **early)
    kmeans.train(x)
    cosine, label = (part[:, 0] for part in kmeans.index.search(x, 1))
    kept = 0
    for c in range(kmeans.k):
        rows = np.flatnonzero(label == c)
        rows = rows[np.argsort(cosine[rows])]  # least like the centroid first
        pairwise = np.triu(x[rows] @ x[rows].T, 1)
        kept += int((pairwise.max(axis=0, initial=-1) <= eta).sum())
    return f"{kept:,} kept ({len(kmeans.obj)} iterations)"


@dataclass(frozen=True)
class Method:
    """name; what is run on embeddings at an eta, returning what it found; names of the pools that it is run on."""

    name: str
    run: Callable[[np.ndarray, float], str]
    pools: tuple[str, ...] = ("spread", "concentrated", "all equal")


RETENTION = 0.05


def retained(x: np.ndarray, scope: str) -> str:
    return meddel(x, None, retention=RETENTION, scope=scope)


def selector(x: np.ndarray, name: str, **options: object) -> str:
    """A selector at 5 %, by its name."""
    from meddel_hf.selectors.registry import make

    return f"{make(name, retention=RETENTION, **options).select(x).summary.kept:,} kept"


def towards_a_task(x: np.ndarray) -> str:
    """1,000 reference rows near rows of the pool."""
    rng = np.random.default_rng(1)
    some = x[rng.choice(len(x), 1000, replace=False)]
    return selector(x, "retrieval", reference=unit(some + 0.3 * unit(rng.standard_normal(some.shape))))


def faiss_graph(x: np.ndarray, nlist: int, nprobe: int) -> str:
    """The 80 nearest of each row in an inverted file, as a rival of the graph of max-herding."""
    import faiss

    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(DIM), DIM, nlist, faiss.METRIC_INNER_PRODUCT)
    index.train(x)
    index.add(x)
    index.nprobe = nprobe
    index.search(x, 81)
    return f"a graph alone, {nprobe} of {nlist} lists"


def graph(x: np.ndarray) -> str:
    from meddel_hf.neighbors.cosines import Vectors
    from meddel_hf.neighbors.knn import neighbors

    found = neighbors(Vectors.prepare(x), 80)
    some = np.random.default_rng(0).choice(len(x), 300, replace=False)
    near = np.argsort(-(x[some] @ x.T), axis=1)[:, :81]
    same = [len((set(row) - {at}) & set(found.rows[at])) for at, row in zip(some, near, strict=True)]
    return f"a graph alone, {sum(same) / 80 / len(some):.0%} of the nearest found"


TWO = ("spread", "concentrated")
METHODS = [
    Method("MedDEL cluster", lambda x, eta: meddel(x, eta, scope="cluster")),
    Method("MedDEL pool", lambda x, eta: meddel(x, eta, scope="pool")),
    Method("numpy n²", numpy_square, ("spread",)),
    Method("numpy n²/2", numpy_triangle, ("spread",)),
    Method("faiss range search", faiss_range, ("spread",)),
    Method("semhash", semhash),
    Method("SemDeDup procedure", semdedup, ("spread", "concentrated")),
    Method(
        "SemDeDup, k-means stopped early", lambda x, eta: semdedup(x, eta, stop_early=True), ("spread", "concentrated")
    ),
    *[
        Method(f"MedDEL pool at {eta}", lambda x, _, eta=eta: meddel(x, eta, scope="pool"), ("spread", "concentrated"))
        for eta in ETAS
    ],
    Method("MedDEL sweep of these five", meddel_sweep, ("spread", "concentrated")),
    Method("MedDEL pool, exactly 5 %", lambda x, _: retained(x, "pool")),
    Method("MedDEL cluster, exactly 5 %", lambda x, _: retained(x, "cluster")),
]
RIVALS = ("MedDEL pool", "MedDEL cluster")  # that others are measured against
SELECTORS = [
    Method("k-centre", lambda x, _: selector(x, "k-centre"), TWO),
    Method("MedDEL pool, exactly 5 %", lambda x, _: retained(x, "pool"), TWO),
    Method("balanced", lambda x, _: selector(x, "balanced"), TWO),
    Method("typiclust", lambda x, _: selector(x, "typiclust"), TWO),
    Method("max-herding", lambda x, _: selector(x, "max-herding"), TWO),
    Method("retrieval", lambda x, _: towards_a_task(x), TWO),
    Method("MedDEL's graph of neighbours", lambda x, _: graph(x), TWO),
    Method("faiss graph of neighbours", lambda x, _: faiss_graph(x, round(len(x) ** 0.5), 16), TWO),
]
SELECTORS_RIVALS = ("k-centre", "MedDEL pool, exactly 5 %")
NOT_RUN = (
    "Not run, since they do not fit into memory: the numpy products and the faiss range search on the concentrated "
    "pool and the all-equal one, where their lists of pairs would take some 50 GB and 20 GB; the SemDeDup procedure "
    "on the all-equal one, whose single cluster is a matrix of 10 GB, held more than once."
)


def needed(method: str) -> list[str]:
    """Modules that a method imports, before the clock starts."""
    needs = {
        "MedDEL": "meddel_hf.selectors.meddel", "semhash": "semhash", "faiss": "faiss", "SemDeDup": "faiss",
        "k-centre": "meddel_hf.selectors.kcentre", "balanced": "meddel_hf.selectors.balanced",
        "typiclust": "meddel_hf.selectors.typiclust", "max-herding": "meddel_hf.selectors.max_herding",
        "retrieval": "meddel_hf.selectors.retrieval",
    }  # fmt: skip
    return [module for word, module in needs.items() if method.startswith(word)]


def child(method: str, data: str, eta: float) -> None:
    """One run in this process; prints a line of JSON."""
    run = next(m.run for m in METHODS + SELECTORS if m.name == method)
    for module in needed(method):
        import_module(module)
    x = np.load(data)
    began, worked = time.perf_counter(), time.process_time()
    result = run(x, eta)
    seconds, work = time.perf_counter() - began, time.process_time() - worked
    peak = own_peak() / 1024
    print(json.dumps({"seconds": seconds, "work": work, "peak": peak, "result": result}))


def own_peak() -> int:
    """kB; ru_maxrss would count what the process that began this one held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def cpu() -> dict[str, str]:
    """Facts of /proc/cpuinfo; nothing where there is none."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """So many processes, each of which keeps a processor busy."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for one in busy:
            one.kill()
            one.wait()


def measure(
    args: argparse.Namespace, method: Method, data: Path, eta: float
) -> tuple[float, float, float, float, str] | None:
    """Median seconds, the same beside neighbours, processor seconds of all threads, greatest peak in MB, result.

    None where a run went over the limit. Ends the program where the method's package is not installed.
    """
    for module in needed(method.name):
        if find_spec(module.split(".")[0]) is None:
            raise SystemExit(f"{method.name} needs {module}: pip install '.[bench]', or name others with --only")
    env = {key: value for key, value in os.environ.items() if key not in DROPPED}
    env |= BLAS if "avx512f" in cpu().get("flags", "") else {}
    env |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(args.threads))
    command = [*args.prefix.split(), sys.executable, __file__, "--child", method.name, str(data), str(eta)]
    runs: dict[int, list[dict]] = {0: [], args.neighbours: []}
    for _ in range(args.repeats):
        for count, found in runs.items():
            try:
                with neighbours(count):
                    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=args.limit)
            except subprocess.TimeoutExpired:
                return None
            if done.returncode:
                raise SystemExit(f"{method.name} failed:\n{done.stderr}")
            found.append(json.loads(done.stdout.splitlines()[-1]))
    quiet, beside = (statistics.median(r["seconds"] for r in runs[count]) for count in (0, args.neighbours))
    work = statistics.median(r["work"] for r in runs[0])
    return quiet, beside, work, max(r["peak"] for r in runs[0]), runs[0][0]["result"]


def machine(args: argparse.Namespace) -> str:
    facts = cpu()
    model = f"{facts.get('model name', platform.processor())}, family {facts.get('cpu family')}"
    flags = facts.get("flags", "")
    bf16 = "native" if "avx512_bf16" in flags or "amx_bf16" in flags else "no"
    there = {each for name in packages_distributions().values() for each in name}
    packages = ", ".join(
        f"{p} {version(p)}" for p in ("numpy", "torch", "faiss-cpu", "semhash", "usearch") if p in there
    )
    blas = "".join(f", {key}={value}" for key, value in BLAS.items() if "avx512f" in flags)
    return (
        f"{model} model {facts.get('model')}, {os.cpu_count()} cores, {bf16} bfloat16 products; {args.threads} threads"
        f"{blas}; Python {platform.python_version()}, {packages}; load {os.getloadavg()[0]:.1f} at the start"
    )


def table(args: argparse.Namespace, name: str, data: Path) -> None:
    x = np.load(data, mmap_mode="r")
    some = np.asarray(x[np.random.default_rng(0).choice(len(x), min(len(x), 2000), replace=False)])
    cosine = (some @ some.T)[np.triu_indices(len(some), 1)]
    eta = ETA if name != "concentrated" else 0.95
    print(f"\n### {name}: {len(x):,} x {DIM} float32, eta {eta}\n")
    print(f"{(cosine > 0.7).mean():.2%} of the pairs exceed 0.7, {(cosine > 0.95).mean():.2%} exceed 0.95.\n")
    methods, rivals = (SELECTORS, SELECTORS_RIVALS) if args.selectors else (METHODS, RIVALS)
    columns = ["method", "seconds", f"ratio to {rivals[0]}", f"to {rivals[1]}", "processor s", "peak MB", "result"]
    if args.neighbours:
        columns += [f"seconds beside {args.neighbours} busy", "times the quiet ones"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    ours: dict[str, float] = {}
    for method in methods:
        if name not in method.pools or (args.only and args.only not in method.name):
            continue
        measured = measure(args, method, data, eta)
        if measured is None:
            print(f"| {method.name} | over {args.limit} {'| ' * (len(columns) - 3)}| stopped |", flush=True)
            continue
        seconds, beside, work, peak, result = measured
        ours[method.name] = seconds
        ratios = [f"{seconds / ours[o]:.2f}" if o in ours else "" for o in rivals]
        cells = [method.name, f"{seconds:.2f}", *ratios, f"{work:.1f}", f"{peak:,.0f}", result]
        if args.neighbours:
            cells += [f"{beside:.2f}", f"{beside / seconds:.1f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=88_282)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each method, of which the median counts")
    parser.add_argument("--only", default="", help="methods whose name contains this")
    parser.add_argument("--selectors", action="store_true", help="the other selectors, each at 5 %%, instead of MedDEL")
    parser.add_argument("--pool", choices=POOLS, help="one pool instead of all three")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--neighbours", type=int, default=0, metavar="N", help="run beside N busy processes, too")
    parser.add_argument("--limit", type=int, default=600, help="seconds after which a run is stopped")
    parser.add_argument("--prefix", default="", help="command before each run, such as 'nice -n -5'")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], args.child[1], float(args.child[2]))
        return
    print(machine(args), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, make in POOLS.items():
            if args.pool in (None, name):
                data = Path(scratch) / "pool.npy"
                np.save(data, make(args.rows))
                table(args, name, data)
    print(f"\n{NOT_RUN}")


if __name__ == "__main__":
    main()

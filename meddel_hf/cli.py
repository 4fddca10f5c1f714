"""`meddel`: the terminal. Every command is a thin layer over the Python API; nothing heavy is imported for --help."""

from __future__ import annotations

# Next to nothing is imported before `main` is there to answer Ctrl-C.
import sys
from typing import TYPE_CHECKING

from meddel_hf.errors import InvalidArgument, MedDELError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from meddel_hf.selection import Selection
    from meddel_hf.selectors import MedDEL
    from meddel_hf.store import EmbeddingStore

_TABLE_2 = (0.7, 0.75, 0.8, 0.85, 0.9)


def main(arguments: list[str] | None = None) -> int:
    """Run `meddel`. Returns the exit status: 0, 2 after an error that one sentence explains, 130 after Ctrl-C."""

    try:
        from meddel_hf.runtime.exits import exit_status
    except KeyboardInterrupt:
        print("\ninterrupted: nothing was begun", file=sys.stderr)
        return 130

    def work() -> int | None:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # a file name may hold what no terminal can show
        args = _parser().parse_args(arguments)
        return args.run(args)

    return exit_status(work)


def _parser() -> argparse.ArgumentParser:
    import argparse
    from pathlib import Path

    import meddel_hf.benchmark.command as benchmarking
    import meddel_hf.datadel.command as building
    import meddel_hf.embed as embedding
    import meddel_hf.pretrain as pretraining
    import meddel_hf.probe as probing
    import meddel_hf.report.command as reporting
    import meddel_hf.segment as segmenting
    from meddel_hf.runtime import options
    from meddel_hf.schema import TRUST
    from meddel_hf.selectors.registry import names

    parser = argparse.ArgumentParser(
        "meddel",
        description="Data-effective pre-training: pick the frames worth training on, and be told why the others went.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: object, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        sub.set_defaults(run=run)
        return sub

    add = command("demo", _demo, "run the main job on the 450 frames that the package carries").add_argument
    add("--out", type=options.path, default=Path("meddel-demo"), help="folder to write (default: meddel-demo)")

    building.add_arguments(command("build", building.run, "turn the owners' archives into one data set, DataDEL"))

    embedding.add_arguments(command("embed", embedding.run, "turn every frame of a pool into an embedding"))

    select = command("select", _select, "choose frames, and say why each other one went")
    add = select.add_argument
    add("embeddings", metavar="DIR", type=options.path, help="folder that `meddel embed` wrote")
    add("--selector", metavar="NAME", default="meddel", help=f"one of {', '.join(names())} (default: meddel)")
    add("--option", metavar="KEY=VALUE", action="append", default=[], help="of another selector, such as keep=random")
    much = select.add_mutually_exclusive_group(required=True)
    much.add_argument("--retention", type=options.fraction, help="share of the pool to keep, exactly; in (0, 1]")
    much.add_argument("--eta", type=options.number(-1, 1), help="or: cosine above which two frames are near-duplicates")
    add("--out", type=options.path, required=True, help="folder to write")
    add(
        "--pool",
        metavar="POOL",
        type=options.text,
        help="where the frames are now, for pictures and strata (default: where they were)",
    )
    add("--no-pictures", action="store_true", help="write no pictures")
    add("--trust", action="store_true", help=TRUST)
    _selector_arguments(select)

    sweep = command("sweep", _sweep, "show how much stays at each of several etas (the paper's Table 2)")
    add = sweep.add_argument
    add("embeddings", metavar="DIR", type=options.path, help="folder that `meddel embed` wrote")
    add("--eta", type=options.number(-1, 1), nargs="+", default=list(_TABLE_2), help="default: 0.7 0.75 0.8 0.85 0.9")
    add("--csv", type=options.path, metavar="FILE", help="write the table as CSV too")
    add("--trust", action="store_true", help=TRUST)
    _selector_arguments(sweep)

    add = command("why", _why, "say what became of a frame").add_argument
    add("selection", metavar="SEL", type=options.path, help="folder that `meddel select` wrote")
    add("ids", metavar="ID", nargs="+", help="id of a frame")

    add = command("filter", _filter, "write the kept frames as a data set that load_dataset opens").add_argument
    add("selection", metavar="SEL", type=options.path, help="folder that `meddel select` wrote")
    add(
        "pool",
        metavar="POOL",
        type=options.text,
        help="the pool that was embedded: a folder of images, a data set folder or a Hub id",
    )
    add("--out", type=options.path, required=True, help="folder to write")
    add("--include", metavar="PATTERN", help="as in `meddel embed`")
    add("--license", metavar="ID", help="licence to name in the card, such as cc-by-4.0")
    add("--strip-metadata", action="store_true", help="leave metadata out of the images; no pixel changes")
    text = "hash ids and groups with the key in KEYFILE (default: OUT.key; a new one is made where there is none)"
    add("--hash-ids", metavar="KEYFILE", nargs="?", type=options.path, const=True, default=False, help=text)
    add("--trust", action="store_true", help=TRUST)

    text = "pre-train an encoder on a pool, or on what a selection keeps of it"
    pretraining.add_arguments(command("pretrain", pretraining.run, text))
    segmenting.add_arguments(command("segment", segmenting.run, "train a segmentation model on an encoder, test it"))
    probing.add_arguments(command("probe", probing.run, "tell what frozen features are worth to a simple classifier"))
    text = "compare selectors: pre-train, test and weigh a whole matrix of runs"
    benchmarking.add_arguments(command("benchmark", benchmarking.run, text))
    reporting.add_arguments(command("report", reporting.run, "make a page, figures and tables of benchmark runs"))

    add = command("push", _push, "publish a selection, a subset or the metric on the Hub").add_argument
    add(
        "path",
        metavar="PATH",
        help="folder that select, filter or build wrote, or the word 'normdel' for the metric's Space",
    )
    add("repo", metavar="USER/NAME", help="repository to create or update")
    add("--private", action="store_true", default=None, help="create it private")
    add("--strip-metadata", action="store_true", help="leave metadata out of the images; no pixel changes")
    add("--yes-with-metadata", action="store_true", help="publish names and positions that stand in the images")
    add("--hash-ids", metavar="KEYFILE", type=options.path, help="of a selection: hash its ids with this key")

    add = command("normdel", _normdel, "weigh a downstream score against the share of data kept").add_argument
    add("performance", type=options.number(-1e9, 1e9), nargs="+", help="score as a fraction in [0, 1], such as mIoU")
    add(
        "--retention",
        type=options.fraction,
        nargs="+",
        required=True,
        help="share of the data kept, in (0, 1]; one, or one a score",
    )
    add("--alpha", type=options.number(0, 1e6), default=1.0, help="weight of retention, above 0 (default: 1)")

    command("install-metric", _install_metric, 'make evaluate.load("normdel") answer in any folder')
    return parser


def _selector_arguments(parser: argparse.ArgumentParser) -> None:
    from meddel_hf.runtime import options

    add = parser.add_argument
    add(
        "--epsilon",
        type=options.or_word("none", options.number(0, 2)),
        default=0.9,
        help="distance beyond which a frame is an outlier, or 'none'",
    )
    add("--scope", choices=("cluster", "pool"), default="cluster", help="compare inside clusters (the paper), or all")
    add("--keep", choices=("closest", "farthest", "random"), default="closest", help="which of a group stays")
    add("--rule", choices=("greedy", "semdedup"), default="greedy", help="which frames count as neighbours")
    add("--subtract-mean", action="store_true", help="spread out the features of one narrow domain")
    add(
        "--n-clusters",
        type=options.or_word("auto", options.count(1)),
        default="auto",
        help="default: auto, the square root of the pool's size",
    )
    add(
        "--max-iterations",
        type=options.count(1, 1000),
        default=1,
        help="cluster and thin again until nothing more goes (with --eta)",
    )
    add("--engine", choices=("auto", "pairs", "blocks"), default="auto", help="how to search; the result is the same")
    add("--seed", type=options.seed, default=0)


def _selector(args: argparse.Namespace, retention: float | None = None, eta: float | None = None) -> MedDEL:
    from meddel_hf.selectors import MedDEL

    return MedDEL(
        epsilon=args.epsilon,
        scope=args.scope,
        keep=args.keep,
        rule=args.rule,
        subtract_mean=args.subtract_mean,
        n_clusters=args.n_clusters,
        max_iterations=args.max_iterations,
        seed=args.seed,
        engine=args.engine,
        retention=retention,
        eta=eta,
    )


def _demo(args: argparse.Namespace) -> None:
    from meddel_hf.demo import run_demo

    run_demo(args.out)


def _select(args: argparse.Namespace) -> None:
    from meddel_hf.schema import check_target

    check_target(args.out, "selection")  # before the work
    selection = _selection(args)
    drawn: list[str] = []
    if args.no_pictures:
        selection.save(args.out)
    else:
        selection.save(
            args.out, pictures=lambda folder: drawn.extend(_pictures(selection, folder, args.pool, args.out))
        )
    print(selection.summary)
    for note in selection.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"\nwrote {args.out}/rows.parquet: every frame, its reason, and the frame that stands for it")
    for line in drawn:
        print(line)


def _selection(args: argparse.Namespace) -> Selection:
    import argparse

    from meddel_hf.selectors.registry import make, parse_option

    if args.selector == "meddel" and not args.option:
        return _selector(args, retention=args.retention, eta=args.eta).select(_store(args))
    if args.retention is None:
        raise InvalidArgument(f"--eta goes with MedDEL: give --selector {args.selector} a --retention")
    standard = argparse.ArgumentParser()
    _selector_arguments(standard)
    for name, value in vars(standard.parse_args([])).items():
        if name not in ("seed", "subtract_mean") and getattr(args, name) != value:
            flag = "--" + name.replace("_", "-")
            raise InvalidArgument(f"{flag} is an option of MedDEL alone: use --option {name}={getattr(args, name)}")
    given = dict(parse_option(text) for text in args.option)
    if args.subtract_mean:
        given["subtract_mean"] = True
    selector = make(args.selector, retention=args.retention, seed=args.seed, **given)
    pool = None
    if args.pool:
        from meddel_hf.pool import load_pool

        pool = load_pool(args.pool)
    return selector.select(_store(args), pool=pool)


def _store(args: argparse.Namespace) -> EmbeddingStore:
    from meddel_hf.store import EmbeddingStore

    return EmbeddingStore.load(args.embeddings, trust=args.trust)


def _pictures(selection: Selection, folder: Path, spec: str | None, out: Path) -> list[str]:
    """Draw what there is to see into `folder`, which becomes `out`; returns a line for each picture."""
    from meddel_hf.pictures import draw_duplicates, draw_outliers, draw_retention
    from meddel_hf.pool import load_pool

    drawn = []
    if selection.density is not None:
        draw_retention(selection, folder / "retention.png")
        drawn.append(f"wrote {out}/retention.png: how much stays over eta")
    spec = spec or selection.origin.spec
    if spec is None:
        print("no contact sheets: say where the frames are with --pool", file=sys.stderr)
        return drawn
    try:
        pool = load_pool(spec)
    except MedDELError as error:
        print(f"no contact sheets: {error}", file=sys.stderr)
        return drawn
    if draw_duplicates(selection, pool, folder / "duplicates.png"):
        drawn.append(f"wrote {out}/duplicates.png: the largest groups of near-duplicates, kept frame first")
    if draw_outliers(selection, pool, folder / "outliers.png"):
        drawn.append(f"wrote {out}/outliers.png: the farthest outliers")
    return drawn


def _sweep(args: argparse.Namespace) -> None:
    if args.csv:
        from meddel_hf.files import check_can_write

        check_can_write(args.csv)  # before the work
    curve = _selector(args).sweep(_store(args), args.eta)
    print(curve)
    notes = [note for selection in curve for note in selection.notes]
    if notes:  # the lowest eta's says it best
        print(f"note: {notes[0]}", file=sys.stderr)
    if args.csv:
        from pyarrow import csv

        from meddel_hf.data.spreadsheets import text_columns_safe
        from meddel_hf.files import whole_file

        args.csv.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(args.csv) as aside:
            csv.write_csv(text_columns_safe(curve.table), aside)


def _why(args: argparse.Namespace) -> None:
    from meddel_hf.selection import Selection

    selection = Selection.load(args.selection)
    for id in args.ids:
        print(selection.why(id))


def _filter(args: argparse.Namespace) -> None:
    from meddel_hf.data.scan import tell
    from meddel_hf.hub import write_subset
    from meddel_hf.pool import load_pool
    from meddel_hf.schema import check_target
    from meddel_hf.selection import Selection
    from meddel_hf.subset import Subset

    check_target(args.out, "subset")  # before the work
    selection = Selection.load(args.selection, trust=args.trust)  # first: a pool takes minutes to open, or a Hub to ask
    pool = load_pool(args.pool, include=args.include)
    tell(pool)
    subset = selection.filter(pool)
    assert isinstance(subset, Subset)  # load_pool does not stream unless told to
    facts = {"license": args.license} if args.license else {}
    written = write_subset(subset, args.out, args.strip_metadata, args.hash_ids, facts)
    written.found.tell(stripped=args.strip_metadata)
    print(f'wrote {len(subset):,} frames; open them with load_dataset("{args.out}", split="train")')
    if written.key is not None:
        print(f"ids are hashed with the key {written.key}: keep it, it is not published")
        print(f"columns as they came: {', '.join(written.as_they_came)}")


def _push(args: argparse.Namespace) -> None:
    if args.path == "normdel":
        from meddel_hf.metric import push_metric

        print(push_metric(args.repo))
        return
    from meddel_hf.hub import push

    print(
        push(
            args.path,
            args.repo,
            private=args.private,
            strip_metadata=args.strip_metadata,
            hash_ids=args.hash_ids,
            yes_with_metadata=args.yes_with_metadata,
        )
    )


def _normdel(args: argparse.Namespace) -> None:
    from normdel import del_index, normdel

    scores, shares = args.performance, args.retention
    if len(shares) == 1:
        shares = shares * len(scores)
    if len(shares) != len(scores):
        raise InvalidArgument(f"{len(scores)} scores and {len(shares)} retentions: give one retention, or one a score")
    try:
        rows = [
            (m, r, del_index(m, r, args.alpha), normdel(m, r, args.alpha)) for m, r in zip(scores, shares, strict=True)
        ]
    except ValueError as error:
        raise InvalidArgument(str(error)) from error
    print(f"{'performance':>12}{'retention':>11}{'DEL':>9}{'NormDEL':>9}")
    for row in rows:
        print("{:>12.4f}{:>11.4f}{:>9.4f}{:>9.4f}".format(*row))


def _install_metric(args: argparse.Namespace) -> None:
    from meddel_hf.metric import install_metric

    print(f'wrote {install_metric()}; evaluate.load("normdel") now answers in any folder')

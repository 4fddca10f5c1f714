"""Options that several commands have: each is named, checked and explained here, once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from meddel_hf.commands import kinds
from meddel_hf.errors import InvalidArgument
from meddel_hf.schema import ID, IMAGE, TRUST

_POOL = "folder of images, data set folder or Hub id, with :config and @split if needed"
# Those of MedDEL besides retention and eta; others are taken by Dedup, and --seed and --subtract-mean by all.
OF_MEDDEL = ("epsilon", "rule", "n_clusters", "max_iterations", "engine")
OF_DEDUP = ("then", "by", "per", "shares", "min_per", "pooling")
_OF_BOTH, _OF_MANY = ("scope", "keep"), ("seed", "subtract_mean")


def pool(parser: argparse.ArgumentParser, name: str = "pool", help: str = _POOL) -> None:
    parser.add_argument(name, metavar="POOL", type=kinds.text, help=help)


def embeddings(parser: argparse.ArgumentParser, metavar: str = "DIR") -> None:
    parser.add_argument("embeddings", metavar=metavar, type=kinds.path, help="folder that `meddel embed` wrote")


def selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("selection", metavar="SEL", type=kinds.path, help="folder that `meddel select` wrote")


def out(parser: argparse.ArgumentParser, help: str = "folder to write") -> None:
    parser.add_argument("--out", type=kinds.path, required=True, help=help)


def include(parser: argparse.ArgumentParser) -> None:
    text = "of a folder of images, only paths that match, such as '*/images/*'"
    parser.add_argument("--include", metavar="PATTERN", help=text)


def columns(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image-column", default=IMAGE, metavar="NAME", help="default: image")
    text = "default: id, or row numbers where there is none"
    parser.add_argument("--id-column", default=ID, metavar="NAME", help=text)


def split(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--split", choices=("auto", "official", "seeded"), default="auto", help=help)


def seed(parser: argparse.ArgumentParser, help: str, metavar: str | None = None) -> None:
    parser.add_argument("--seed", type=kinds.seed, default=0, metavar=metavar, help=help)


def num_workers(parser: argparse.ArgumentParser) -> None:
    text = "decoding processes (default: auto)"
    parser.add_argument("--num-workers", type=kinds.workers, default="auto", metavar="N", help=text)


def device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")


def precision(parser: argparse.ArgumentParser) -> None:
    text = "auto: bf16 where it runs natively"
    parser.add_argument("--precision", choices=("auto", "bf16", "float32"), default="auto", help=text)


def revision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--revision", help="branch, tag or commit of the encoder on the Hub")


def strip_metadata(parser: argparse.ArgumentParser) -> None:
    text = "leave metadata out of the images; no pixel changes"
    parser.add_argument("--strip-metadata", action="store_true", help=text)


def trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trust", action="store_true", help=TRUST)


def quiet(parser: argparse.ArgumentParser, help: str = "no progress bar") -> None:
    parser.add_argument("--quiet", action="store_true", help=help)


def meddel(parser: argparse.ArgumentParser) -> None:
    """The arguments of `MedDEL` besides retention and eta; what is not typed is not there: MedDEL has the defaults."""

    def option(name: str, **how: Any) -> None:
        parser.add_argument(name, default=argparse.SUPPRESS, **how)

    text = "distance beyond which a frame is an outlier, or 'none'"
    option("--epsilon", type=kinds.or_word("none", kinds.number(0, 2)), help=text)
    option("--scope", choices=("cluster", "pool"), help="compare inside clusters (the paper), or all")
    option("--keep", choices=("closest", "farthest", "random"), help="which of a group stays")
    option("--rule", choices=("greedy", "semdedup"), help="which frames count as neighbours")
    option("--subtract-mean", action="store_true", help="spread out the features of one narrow domain")
    text = "default: auto, the square root of the pool's size"
    option("--n-clusters", type=kinds.or_word("auto", kinds.count(1)), help=text)
    text = "cluster and thin again until nothing more goes (with --eta)"
    option("--max-iterations", type=kinds.count(1, 1000), help=text)
    option("--engine", choices=("auto", "pairs", "blocks"), help="how to search; the result is the same")
    option("--seed", type=kinds.seed)


def dedup(parser: argparse.ArgumentParser) -> None:
    """The arguments of `Dedup` that are not MedDEL's too; what is not typed is not there: Dedup has the defaults."""

    def option(name: str, **how: Any) -> None:
        parser.add_argument(name, default=argparse.SUPPRESS, **how)

    text = "how to draw among frames that are no near-duplicates: cover (default up to 100,000 of them), stratified"
    text = f"{text} (default beyond), random, balanced, meddel, or another selector"
    option("--then", metavar="RULE", type=kinds.text, help=text)
    text = "columns of the strata, the first that a frame has (default: center source)"
    option("--by", nargs="+", metavar="COLUMN", type=kinds.text, help=text)
    option("--per", metavar="COLUMN", type=kinds.text, help="share the frames out among the values of a column")
    text = "how: equal (default), root (square root of their number) or proportional"
    option("--shares", choices=("equal", "root", "proportional"), help=text)
    text = "of each value of a column keep N frames at least, such as center=50; may be given again"
    option("--min-per", metavar="COLUMN=N", action="append", type=kinds.column_and_count, help=text)
    option("--pooling", choices=("cls", "mean"), help="by which to tell near-duplicates (default: the better one)")


def typed(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the named options that were typed; without names, all that MedDEL takes."""
    wanted = names or (*OF_MEDDEL, *_OF_BOTH, *_OF_MANY)
    return {name: value for name, value in vars(args).items() if name in wanted}


def typed_of_dedup(args: argparse.Namespace) -> dict[str, Any]:
    """Those of Dedup that were typed."""
    options = typed(args, *OF_DEDUP, *_OF_BOTH, *_OF_MANY)
    if "min_per" in options:
        options["min_per"] = dict(options["min_per"])
    return options


def typed_of_others(args: argparse.Namespace) -> dict[str, Any]:
    """Those that other selectors take too. Raises InvalidArgument where one was typed that they do not."""
    for name, value in typed(args, *OF_MEDDEL, *_OF_BOTH, *OF_DEDUP).items():
        whose = "Dedup" if name in OF_DEDUP else "MedDEL"
        refuse(args, (name,), f"{whose} alone: use --option {name}={value}")
    return typed(args, *_OF_MANY)


def refuse(args: argparse.Namespace, names: Sequence[str], whose: str) -> None:
    """Raises InvalidArgument where one of the named options was typed. whose: it is, and what to do."""
    for name in typed(args, *names):
        raise InvalidArgument(f"--{name.replace('_', '-')} is an option of {whose}")

"""Options that several commands have: each is named, checked and explained here, once."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from meddel_hf.commands import kinds
from meddel_hf.errors import InvalidArgument
from meddel_hf.schema import ID, IMAGE, TRUST

MEMORY = "the answer is the same. Default: auto, most of what is free; none: read all at once"
_POOL = "folder of images, data set folder or Hub id, with :config and @split if needed"
# Those of MedDEL besides retention and eta; others are taken by Dedup, and --seed and --subtract-mean by all.
OF_MEDDEL = ("epsilon", "rule", "n_clusters", "max_iterations", "engine")
OF_DEDUP = ("then", "by", "per", "shares", "min_per", "max_per", "pooling")
_OF_BOTH, _OF_MANY = ("scope", "keep", "memory"), ("seed", "subtract_mean")
_OWN = {"dedup": (*OF_DEDUP, *_OF_BOTH, "eta"), "meddel": (*OF_MEDDEL, *_OF_BOTH, "eta")}


def pool(parser: argparse.ArgumentParser, name: str = "pool", help: str = _POOL) -> None:
    parser.add_argument(name, metavar="POOL", type=kinds.text, help=help)


def embeddings(parser: argparse.ArgumentParser, metavar: str = "DIR") -> argparse.Action:
    return parser.add_argument("embeddings", metavar=metavar, type=kinds.path, help="folder that `meddel embed` wrote")


def selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("selection", metavar="SEL", type=kinds.path, help="folder that `meddel select` wrote")


def out(parser: argparse.ArgumentParser, help: str = "folder to write") -> None:
    parser.add_argument("--out", type=kinds.path, required=True, help=help)


def force(parser: argparse.ArgumentParser, *, of_another_step: bool = False) -> None:
    """of_another_step: the command replaces what it wrote itself without being told."""
    what = "another step" if of_another_step else "another step, or a run with other arguments,"
    text = f"replace what {what} wrote to --out"
    parser.add_argument("--force", action="store_true", help=text)


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


def device(parser: argparse.ArgumentParser, help: str = "auto, cpu, cuda (default: auto)") -> None:
    parser.add_argument("--device", default="auto", help=help)


def search_device(parser: argparse.ArgumentParser) -> None:
    device(parser, "where to search: auto (a GPU from 32,768 frames), cpu, cuda; the answer is the same")


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


def as_json(parser: argparse.ArgumentParser) -> None:
    text = "print the data as JSON; docs/reference/commands.md has its keys"
    parser.add_argument("--json", action="store_true", help=text)


def quiet(parser: argparse.ArgumentParser, help: str = "no progress bar") -> None:
    parser.add_argument("--quiet", action="store_true", help=help)


def meddel(parser: argparse.ArgumentParser, keep: Mapping[str, str] | None = None) -> None:
    """The arguments of `MedDEL` besides retention and eta; what is not typed is not there: MedDEL has the defaults.

    keep: choices of --keep that another selector has too, and what each means.
    """
    option = partial(parser.add_argument, default=argparse.SUPPRESS)
    text = "distance beyond which a frame is an outlier, or 'none'"
    option("--epsilon", type=kinds.or_word("none", kinds.number(0, 2)), help=text)
    text = "compare inside clusters (the paper, and dedup beyond a million frames), or all with all (dedup below)"
    option("--scope", choices=("cluster", "pool"), help=text)
    others = dict(keep or {})
    text = "; ".join(["which of a group stays", *(f"{name}: {what}" for name, what in others.items())])
    option("--keep", choices=("closest", "farthest", "random", *others), help=text)
    option("--rule", choices=("greedy", "semdedup"), help="which frames count as neighbours")
    option("--subtract-mean", action="store_true", help="spread out the features of one narrow domain")
    text = "default: auto, the square root of the pool's size"
    option("--n-clusters", type=kinds.or_word("auto", kinds.count(1)), help=text)
    text = "cluster and thin again until nothing more goes (with --eta)"
    option("--max-iterations", type=kinds.count(1, 1000), help=text)
    option("--engine", choices=("auto", "pairs", "blocks"), help="how to search; the result is the same")
    text = "such as 4GB: read a larger pool in parts, with scratch files as large as the store (beside --out; of "
    text += f"sweep, in TMPDIR); {MEMORY}"
    option("--memory", type=kinds.memory, help=text)
    option("--seed", type=kinds.seed)


def dedup(parser: argparse.ArgumentParser) -> None:
    """The arguments of `Dedup` that are not MedDEL's too; what is not typed is not there: Dedup has the defaults."""
    option = partial(parser.add_argument, default=argparse.SUPPRESS)
    text = "how to draw among frames that are no near-duplicates: meddel (default), cover, stratified, random"
    text = f"{text}, balanced, or another selector"
    option("--then", metavar="RULE", type=kinds.text, help=text)
    text = "columns of the strata, the first that a frame has (default: center source)"
    option("--by", nargs="+", metavar="COLUMN", type=kinds.text, help=text)
    option("--per", metavar="COLUMN", type=kinds.text, help="share the frames out among the values of a column")
    text = "how: equal (default), root (square root of their number) or proportional"
    option("--shares", choices=("equal", "root", "proportional"), help=text)
    text = "of each value of a column keep N frames at least, such as center=50; may be given again"
    option("--min-per", metavar="COLUMN=N", action="append", type=kinds.column_and_count, help=text)
    text = "of each value of a column keep N frames at most, such as video=1; may be given again"
    option("--max-per", metavar="COLUMN=N", action="append", type=kinds.column_and_count, help=text)
    option("--pooling", choices=("cls", "mean"), help="by which to tell near-duplicates (default: the better one)")


def typed(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the named options that were typed; without names, all that MedDEL takes."""
    wanted = names or (*OF_MEDDEL, *_OF_BOTH, *_OF_MANY)
    return {name: value for name, value in vars(args).items() if name in wanted}


def of_selector(args: argparse.Namespace, selector: str) -> dict[str, Any]:
    """What was typed of a selector's options, under their own names or as --option KEY=VALUE.

    Raises InvalidArgument where an option is another selector's, or stands twice.
    """
    from meddel_hf.selectors.registry import parse_option

    given = typed(args, *OF_DEDUP, *OF_MEDDEL, *_OF_BOTH, *_OF_MANY)
    given |= {} if args.eta is None else {"eta": args.eta}
    for name, value in given.items():
        if name not in (*_OWN.get(selector, ()), *_OF_MANY):
            raise InvalidArgument(_of_another(selector, name, value))
    for name in {"min_per", "max_per"} & given.keys():
        given[name] = _once(given[name], f"--{name.replace('_', '-')}")
    for name, value in _once(map(parse_option, args.option), "--option").items():
        if name in given or name == "retention":
            raise InvalidArgument(f"--option {name} stands beside --{name.replace('_', '-')}: type one of them")
        if name == "encoder":
            raise InvalidArgument(
                "--option encoder changes nothing, since the frames are embedded already: leave it out"
            )
        given[name] = value
    return given


def _once(pairs: Iterable[tuple[str, Any]], option: str) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for name, value in pairs:
        if name in answer:
            raise InvalidArgument(f"{option} names {name} twice ({answer[name]}, {value}): type it once")
        answer[name] = value
    return answer


def _of_another(selector: str, name: str, value: Any) -> str:
    """Why an option does not go with a selector, and what to do."""
    from meddel_hf.selectors.registry import options_of

    option = f"--{name.replace('_', '-')}"
    owners = {"dedup": "Dedup", "meddel": "MedDEL"}
    whose = [owner for owner in owners if name in _OWN[owner]]
    text = ",".join(value) if isinstance(value, list) and name == "by" else str(value)
    cure = f"use --selector {' or '.join(whose)}"
    if selector not in owners:
        cure = f"use --option {name}={text}" if name in options_of(selector) else f"leave it out, or {cure}"
    return f"{option} is an option of {' and '.join(owners[owner] for owner in whose)} alone: {cure}"

"""`meddel select`: a selector answers, and its answer is written with pictures of what it did."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from meddel_hf.commands import kinds, options
from meddel_hf.commands.apart import tell_if_inside
from meddel_hf.commands.printing import print_json, say
from meddel_hf.errors import IncompleteStore, InvalidArgument, Mismatch
from meddel_hf.runtime.free_memory import AUTO
from meddel_hf.selectors.registry import names

if TYPE_CHECKING:
    from datasets import Dataset

    from meddel_hf.embedding.store import EmbeddingStore
    from meddel_hf.selection.answer import Origin
    from meddel_hf.selection.selection import Selection
    from meddel_hf.selectors.by_hand import Overrides

HELP = "choose frames, and say why each other one went"
_NOT_EXTENDED = ("selector", "retention", "eta", "reference_eta", "overrides")  # goes on as it was


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    options.embeddings(parser)
    text = "default: dedup, or meddel where an option of it alone is typed"
    add("--selector", metavar="NAME", type=kinds.text, help=f"one of {', '.join(names())} ({text})")
    add("--option", metavar="KEY=VALUE", action="append", default=[], help="of another selector, such as keep=random")
    text = "share of the pool to keep, exactly; in (0, 1] (default: all but near-duplicates)"
    add("--retention", type=kinds.fraction, help=text)
    text = "cosine above which two frames are near-duplicates (default: auto, as mild copies of frames are)"
    add("--eta", type=kinds.or_word("auto", kinds.number(-1, 1)), help=text)
    text = "selection of an earlier state of the pool: what it kept stays, what went stays away, new frames are judged"
    add("--extend", metavar="SEL", type=kinds.path, help=f"{text} as it judged")
    text = "embeddings, by the same encoder, of frames that must not be selected, nor what looks like them: a test set"
    text += "; with --extend, where that of SEL is now (default: where it was)"
    add("--reference", metavar="DIR", type=kinds.path, help=text)
    text = "cosine above which a frame looks like one of the reference (default: auto, as mild copies of frames do)"
    add("--reference-eta", type=kinds.or_word("auto", kinds.number(-1, 1)), help=text)
    text = (
        "frames that are always or never kept, as `meddel explore` or you marked them: Parquet or CSV with id and mark"
    )
    add("--overrides", metavar="FILE", type=kinds.path, help=f"{text} (keep, never)")
    options.out(parser)
    options.force(parser, of_another_step=True)
    options.pool(parser, "--pool", "where the frames are now, for pictures and strata (default: where they were)")
    add("--no-pictures", action="store_true", help="write no pictures, and no page")
    add("--no-page", action="store_true", help="write no index.html, the page on which the selection can be looked at")
    options.as_json(parser)
    text = "be the I-th of N jobs that share the work through OUT.parts; whichever finds all done writes OUT"
    add("--shard", metavar="I/N", type=kinds.text, help=text)
    options.trust(parser)
    options.search_device(parser)
    options.dedup(parser)
    options.meddel(parser, keep={"largest": "of most pixels, then of most bytes (of dedup alone)"})


def run(args: argparse.Namespace) -> None:
    from meddel_hf.commands.frames import frames_of
    from meddel_hf.commands.together import Together
    from meddel_hf.embedding.store import EmbeddingStore
    from meddel_hf.runtime.devices import searching_on
    from meddel_hf.runtime.manifest import check_target
    from meddel_hf.runtime.reading import printable
    from meddel_hf.selection.answer import WARNING
    from meddel_hf.selection.measures import covered, facts_of, farthest, sequences, shared_by
    from meddel_hf.selectors.by_hand import Overrides
    from meddel_hf.selectors.measured import effective_kept, measured

    check_target(args.out, "selection")  # before the work
    store = EmbeddingStore.load(args.embeddings, trust=args.trust)
    tell_if_inside(args.out, args.pool or store.pool_spec)
    pool, why_not = frames_of(store, args.pool)
    overrides = None if args.overrides is None else Overrides.read(args.overrides)
    together = Together.of(args, store, pool, overrides)
    memory = getattr(args, "memory", AUTO)
    with searching_on(args.device):
        selection = together.selected(
            lambda: _found_at(args.pool, measured(_selection(args, store, pool, overrides), store, memory))
        )
    drawn: list[str] = []
    if selection is None or not together.written(lambda: _save(args, selection, store, pool, drawn)):
        return
    if why_not:
        sheets = "" if args.no_pictures else "no contact sheets, and "
        say(f"note: {sheets}no counts of centres: {why_not}")
    distinct = effective_kept(selection, store) if selection.summary.kept else None
    far, groups = farthest(selection), sequences(selection, pool)
    columns = covered(selection, pool, shared_by(selection.settings))
    notes = [*selection.notes, *filter(None, (kept.warning(selection) for kept in columns))]
    if together.note is not None:
        notes.append(together.note)
    if option := _implied(args):
        notes.insert(
            0, f"MedDEL, the paper's Algorithm 1, chose (--selector meddel): {option} is an option of it alone"
        )
    if args.json:
        print_json(facts_of(selection, far, groups, columns) | {"effective": distinct, "notes": notes, "out": args.out})
    else:
        print(selection.summary)
        if far is not None:
            print(f"{'farthest':<16}{far[1]:>12.4f}  ({printable(far[0])}, to the kept frame that is nearest to it)")
        if distinct is not None:
            what = "number of distinct frames among those that are kept (Vendi score)"
            print(f"{'effective':<16}{distinct:>12.1f}  {what}")
        if groups is not None:
            of_them = f"of {groups.pool:,} videos, sequences or patients have a kept frame"
            print(f"{'groups':<16}{groups.kept:>12,}  {of_them}")
        for kept in columns:
            print(f"\n{kept}")
    for note in notes:
        say(note if note.startswith(WARNING) else f"note: {note}")
    say(f"\nwrote {args.out}/rows.parquet: every frame, its reason, and the frame that stands for it")
    for line in drawn:
        say(line)


def _selection(
    args: argparse.Namespace, store: EmbeddingStore, pool: Dataset | None, overrides: Overrides | None
) -> Selection:
    if args.extend is not None:
        return _extended(args, store, pool)
    from meddel_hf.embedding.store import EmbeddingStore
    from meddel_hf.selectors.by_hand import decided_by_hand
    from meddel_hf.selectors.filling import check_used
    from meddel_hf.selectors.reference import Eta, selected_beside
    from meddel_hf.selectors.registry import make

    name = args.selector or ("meddel" if _implied(args) else "dedup")
    given = options.of_selector(args, name)
    if name in ("dedup", "meddel"):  # what is read in parts is regrouped on the disk that is written to anyway
        given["scratch"] = next(folder for folder in args.out.resolve().parents if folder.is_dir())
    if name == "dedup":
        check_used(given, args.retention, given.get("then", "auto"))
    elif name != "meddel" and args.retention is None:
        raise InvalidArgument(f"nothing says how much to keep: give --selector {name} a --retention")
    selector = make(name, retention=args.retention, **given)
    if args.reference is None and args.reference_eta is not None:
        raise InvalidArgument("--reference-eta goes with --reference, and there is none: leave it out")
    reference = None if args.reference is None else EmbeddingStore.load(args.reference, trust=args.trust)
    eta: Eta = "auto" if args.reference_eta is None else args.reference_eta

    def select(selector: Any, embeddings: Any) -> Selection:
        if reference is None:
            return cast("Selection", selector.select(embeddings, pool=pool))
        return selected_beside(selector.select, embeddings, pool, reference, eta)

    if overrides is None:
        return select(selector, store)
    return decided_by_hand(selector, select, store, overrides)


def _found_at(spec: str | None, selection: Selection) -> Selection:
    """The selection, which says that its pool is where --pool found it, if that was asked."""
    return selection if spec is None else replace(selection, origin=replace(selection.origin, spec=spec))


def _extended(args: argparse.Namespace, store: EmbeddingStore, pool: Dataset | None) -> Selection:
    from meddel_hf.embedding.store import EmbeddingStore
    from meddel_hf.selection.selection import Selection
    from meddel_hf.selectors.extending import extend

    given = [name for name in _NOT_EXTENDED if getattr(args, name) is not None]
    typed = {**options.typed(args, *options.OF_DEDUP), **options.typed(args)}
    memory = typed.pop("memory", AUTO)
    given += ["option"] * bool(args.option) + list(typed)
    if given:
        raise InvalidArgument(
            f"--extend judges new frames as the old selection did, and --{given[0].replace('_', '-')} says otherwise: "
            "leave it out, or select anew without --extend"
        )
    reference = None if args.reference is None else EmbeddingStore.load(args.reference, trust=args.trust)
    old = Selection.load(args.extend, trust=args.trust)
    return extend(old, store, pool, reference=reference, memory=memory)


def _implied(args: argparse.Namespace) -> str | None:
    """The option that means MedDEL on a line that names no selector, as lines did before there were two."""
    typed = [] if args.selector else list(options.typed(args, *options.OF_MEDDEL))
    return "--" + typed[0].replace("_", "-") if typed else None


def _save(
    args: argparse.Namespace, selection: Selection, store: EmbeddingStore, pool: Dataset | None, drawn: list[str]
) -> None:
    """drawn: gets a line for each picture."""
    if args.no_pictures:
        selection.save(args.out)
        return

    def draw(folder: Path) -> None:
        drawn.extend(_pictures(args, selection, folder, pool))
        if not args.no_page:
            drawn.append(_page(args, selection, store, folder, pool))

    selection.save(args.out, pictures=draw)


def _pictures(args: argparse.Namespace, selection: Selection, folder: Path, pool: Dataset | None) -> list[str]:
    """Draw what there is to see into `folder`, which becomes --out; returns a line for each picture."""
    from meddel_hf.selection.pictures import (
        draw_duplicates,
        draw_in_reference,
        draw_left_out,
        draw_outliers,
        draw_retention,
    )

    drawn, out = [], args.out
    if selection.density is not None:
        draw_retention(selection, folder / "retention.png")
        drawn.append(f"wrote {out}/retention.png: how much stays over eta")
    if pool is None:
        return drawn
    if draw_duplicates(selection, pool, folder / "duplicates.png"):
        drawn.append(f"wrote {out}/duplicates.png: groups of near-duplicates, who stands for them first")
    if draw_left_out(selection, pool, folder / "left-out.png"):
        drawn.append(
            f"wrote {out}/left-out.png: the frames that are least like anything kept; rare looks may be among them"
        )
    reference = _reference(args, selection)
    if reference is not None and draw_in_reference(selection, pool, *reference, folder / "in-reference.png"):
        drawn.append(
            f"wrote {out}/in-reference.png: frames that went for a frame of the reference, which is beside them"
        )
    if draw_outliers(selection, pool, folder / "outliers.png"):
        drawn.append(f"wrote {out}/outliers.png: the farthest outliers")
    return drawn


def _page(
    args: argparse.Namespace, selection: Selection, store: EmbeddingStore, folder: Path, pool: Dataset | None
) -> str:
    """Write the map, and the page where one carries all frames; returns a line on how to look at them."""
    from meddel_hf.explore.explorer import MOST_FRAMES, PAGE, Explorer
    from meddel_hf.explore.plane import Plane

    plane = Plane.of(store)
    plane.save(folder)
    if len(selection) > MOST_FRAMES:
        return f"look at it in a browser: meddel explore {args.out}"
    why_not = "" if pool is not None else "the pool was not at hand"
    Explorer(selection, args.out.name, pool, plane, why_not).page().save(folder / PAGE)
    return f"wrote {args.out}/{PAGE}: all of it, to look at in a browser"


def _reference(args: argparse.Namespace, selection: Selection) -> tuple[Dataset | None, Origin] | None:
    """The frames of the reference, where they are at hand, and where its embeddings came from; None without one."""
    from meddel_hf.commands.frames import frames_of
    from meddel_hf.embedding.store import EmbeddingStore
    from meddel_hf.selectors.protocol import origin_of

    if (place := selection.origin.reference_spec) is None:
        return None
    try:
        store = EmbeddingStore.load(place, trust=args.trust)
    except (IncompleteStore, Mismatch):  # an extended selection of which nothing is new does without
        return None
    return frames_of(store, None)[0], origin_of(store)

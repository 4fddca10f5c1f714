"""`meddel pool`: people's own files become one data set."""

from __future__ import annotations

import argparse

from meddel_hf.commands import kinds, options
from meddel_hf.commands.apart import tell_if_inside
from meddel_hf.commands.printing import print_json, say
from meddel_hf.runtime import checks

HELP = "turn a folder of own pictures, masks, videos, DICOM files, volumes or slides into a pool"
INTERRUPTED = "nothing was written; the same command begins again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", metavar="FOLDER", type=kinds.path, help="what is read, archives in it too")
    options.out(parser, "folder to write; an earlier pool there is replaced, whole or not at all")
    options.as_json(parser)
    which = parser.add_argument_group("which files")
    text = "masks: a folder's name or path, or what their names end in, such as _mask (may be repeated)"
    which.add_argument("--masks", metavar="WHERE", type=kinds.text, action="append", default=[], help=text)
    text = "frames, in the same words (default: all that are no masks)"
    which.add_argument("--images", metavar="WHERE", type=kinds.text, help=text)
    text = "only paths that match, such as '*/images/*'"
    which.add_argument("--include", metavar="PATTERN", type=kinds.text, help=text)
    which.add_argument("--exclude", metavar="PATTERN", type=kinds.text, help="no paths that match")
    said = parser.add_argument_group("what is said of them")
    text = (
        "of paths: '{center}/{patient}/{video}/*'; also label, group, official_split (may be repeated: the first that "
    )
    text += "fits counts)"
    said.add_argument("--parts", metavar="PATTERN", type=kinds.text, action="append", default=[], help=text)
    text = "CSV, JSON lines or Parquet with file_name, and columns of those names"
    said.add_argument("--table", metavar="FILE", type=kinds.path, help=text)
    text = "of the table, another column that comes along (may be repeated)"
    said.add_argument("--keep-column", metavar="NAME", type=kinds.text, action="append", default=[], help=text)
    text = "take files of which --parts or --table say nothing"
    said.add_argument("--allow-missing", action="store_true", help=text)
    said.add_argument("--name", type=kinds.text, help="of the pool, for the column source (default: the folder's)")
    _add_kinds(parser)
    text = "leave metadata out of pictures; no pixel changes"
    add("--strip-metadata", action="store_true", help=text)
    add("--workers", type=kinds.count(1, checks.MOST_PROCESSES), help="processes (default: one for each processor)")
    options.quiet(parser, "show no progress")


def _add_kinds(parser: argparse.ArgumentParser) -> None:
    videos = parser.add_argument_group("videos")
    text = "frames per second (default: leave videos out)"
    videos.add_argument("--fps", type=kinds.number(0, 1000), help=text)
    text = "leave out frames that differ from the one before by fewer grey levels, such as 4 (default: 0, take all)"
    videos.add_argument("--min-change", metavar="LEVELS", type=kinds.number(0, 255), default=0.0, help=text)
    volumes = parser.add_argument_group("DICOM files and NIfTI volumes")
    text = "centre and width of the values from black to white, such as 40 400 or -600 1500 (default: the file's own)"
    wide = kinds.number(-1e9, 1e9)
    volumes.add_argument("--window", metavar=("CENTRE", "WIDTH"), nargs=2, type=wide, help=text)
    text = "how NIfTI volumes are cut (default: auto, across their thickest side)"
    volumes.add_argument("--axis", choices=("auto", "axial", "coronal", "sagittal"), default="auto", help=text)
    volumes.add_argument("--every", metavar="N", type=kinds.count(1), default=1, help="one slice or frame in so many")
    text = "key of the pseudonyms of patient, study and series, made if need be (default: POOL.key beside POOL)"
    volumes.add_argument("--key", metavar="FILE", type=kinds.path, help=text)
    volumes.add_argument(
        "--plain-ids", action="store_true", help="patient, study and series as they stand in DICOM files"
    )
    text = "take DICOM files that say that text is burnt into their pixels"
    volumes.add_argument("--burned-in", action="store_true", help=text)
    slides = parser.add_argument_group("slides")
    text = "side of tiles in pixels (default: leave slides out)"
    slides.add_argument("--tile", metavar="PIXELS", type=kinds.count(16, checks.LARGEST_SIDE), help=text)
    slides.add_argument(
        "--level", type=kinds.count(0, 64), default=0, help="of the slide's pyramid (default: 0, the finest)"
    )
    text = "share of a tile that must be tissue (default: 0.25; 0 takes all)"
    slides.add_argument("--tissue", metavar="SHARE", type=kinds.number(0, 1), default=0.25, help=text)


def run(args: argparse.Namespace) -> None:
    from meddel_hf.ingest.make import make_pool

    tell_if_inside(args.out, args.folder)
    made = make_pool(
        args.folder, args.out,
        images=args.images, masks=args.masks, parts=args.parts, table=args.table, keep_columns=args.keep_column,
        allow_missing=args.allow_missing, include=args.include, exclude=args.exclude, name=args.name, fps=args.fps,
        min_change=args.min_change, window=args.window, axis=args.axis, every=args.every, tile=args.tile,
        level=args.level, tissue=args.tissue, key=args.key, plain_ids=args.plain_ids, burned_in=args.burned_in,
        strip_metadata=args.strip_metadata, workers=args.workers, quiet=args.quiet,
    )  # fmt: skip
    if args.json:
        print_json(made.facts)
    else:
        print(made)
    say(f"next: meddel embed {args.out} --encoder carried --out embeddings")

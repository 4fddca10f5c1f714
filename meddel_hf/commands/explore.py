"""`meddel explore`: a selection to be looked at in a browser."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from meddel_hf.commands import kinds, options
from meddel_hf.commands.printing import say
from meddel_hf.runtime.words import plural

if TYPE_CHECKING:
    from meddel_hf.explore.explorer import Explorer
    from meddel_hf.explore.plane import Plane
    from meddel_hf.selection.selection import Selection

HELP = "look at a selection in a browser: a map, who stands for whom, a threshold to move"
INTERRUPTED = "the page is no longer served"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    options.selection(parser)
    options.pool(parser, "--pool", "where the frames are now (default: where they were)")
    text = "embeddings that were selected from, for the map (default: the map that `meddel select` wrote)"
    add("--embeddings", metavar="DIR", type=kinds.path, help=text)
    add("--out", metavar="FILE", type=kinds.path, help="page to write (default: SEL/index.html)")
    text = "show it through a server on this machine, and write marks where `select` finds them (default: from 20,001"
    add("--serve", action="store_true", help=f"{text} frames)")
    add("--port", type=kinds.count(0, 65535), default=0, metavar="N", help="of the server (default: any that is free)")
    add("--no-browser", action="store_true", help="print where the page is, and open nothing")
    options.trust(parser)


def run(args: argparse.Namespace) -> None:
    import webbrowser

    from meddel_hf.errors import InvalidArgument
    from meddel_hf.explore.explored import frames_of
    from meddel_hf.explore.explorer import MOST_FRAMES, PAGE, Explorer
    from meddel_hf.selection.selection import Selection

    selection = Selection.load(args.selection, trust=args.trust)
    serve = args.serve or len(selection) > MOST_FRAMES
    if serve and args.out is not None:
        why = "--serve" if args.serve else f"a pool of {len(selection):,} frames, more than {MOST_FRAMES:,},"
        raise InvalidArgument(f"{why} is shown through a server, which writes no page: leave --out away")
    if args.port and not serve:
        raise InvalidArgument(
            f"--port {args.port} is that of a server, and there is none: add --serve, or leave it out"
        )
    plane = _plane(args, selection)
    if plane is None:
        say("note: there is no map: name the embeddings with --embeddings")
    pool, why_not = frames_of(selection, args.pool)
    if why_not:
        say(f"note: no frames are shown: {why_not}; name the pool with --pool")
    explorer = Explorer(selection, Path(args.selection).absolute().name, pool, plane, why_not, _marks(args.selection))
    if serve:
        _serve(args, explorer)
        return
    path = args.out or args.selection / PAGE
    if why_not and args.out is None and path.is_file():
        say(f"{path} stays as it is, since it may show them: --out writes another")
    else:
        explorer.page().save(path)
        if args.out is None:
            _record(args.selection)
        say(f"wrote {path}")
    if not args.no_browser:
        webbrowser.open(path.absolute().as_uri())


def _plane(args: argparse.Namespace, selection: Selection) -> Plane | None:
    from meddel_hf.embedding.store import EmbeddingStore
    from meddel_hf.explore.explored import plane_of
    from meddel_hf.explore.plane import MAP, Plane
    from meddel_hf.runtime.manifest import Manifest

    if args.embeddings is not None:
        return plane_of(selection, EmbeddingStore.load(args.embeddings, trust=args.trust))
    manifest = Manifest.read(args.selection, "selection")
    if MAP not in manifest.files:
        return None
    manifest.check(args.selection, [MAP], trust=args.trust)
    return Plane.load(args.selection / MAP)


def _marks(folder: Path) -> dict[str, str] | None:
    """Those that were saved earlier, so that to save again loses none of them; None where none were."""
    from meddel_hf.selectors.by_hand import KEEP, NEVER, OVERRIDES, Overrides

    if not (folder / OVERRIDES).is_file():
        return None
    marks = Overrides.read(folder / OVERRIDES)
    return dict.fromkeys(marks.keep, KEEP) | dict.fromkeys(marks.never, NEVER)


def _record(folder: Path) -> None:
    """The page belongs to the folder: what takes frames from it takes the page too, in which they can be seen."""
    from meddel_hf.explore.explorer import PAGE
    from meddel_hf.runtime.manifest import Manifest
    from meddel_hf.runtime.records import recorded_files

    manifest = Manifest.read(folder, "selection")
    replace(manifest, files=manifest.files | recorded_files(folder, [PAGE])).write(folder)


def _serve(args: argparse.Namespace, explorer: Explorer) -> None:
    import webbrowser
    from threading import Thread

    from meddel_hf.explore.server import ExplorerServer
    from meddel_hf.runtime.files import whole_file
    from meddel_hf.selectors.by_hand import OVERRIDES, Overrides

    path = args.selection / OVERRIDES

    def save(content: bytes) -> str:
        with whole_file(path) as aside:
            aside.write_bytes(content)
            marks = Overrides.read(aside)
        return f"meddel select … --overrides {path} ({plural(len(marks), 'frame')})"

    with ExplorerServer(explorer, save, args.port) as server:
        print(server.address, flush=True)
        Thread(target=server.prepared, daemon=True).start()  # while the browser opens
        say("this machine alone can reach it; Ctrl-C ends it")
        if not args.no_browser:
            webbrowser.open(server.address)
        server.serve_forever()

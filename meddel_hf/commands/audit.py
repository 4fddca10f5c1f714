"""`meddel audit`: are frames of a test set in a pool?"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from meddel_hf.commands import kinds, options
from meddel_hf.commands.apart import tell_if_inside
from meddel_hf.commands.printing import print_json, say

if TYPE_CHECKING:
    from datasets import Dataset

    from meddel_hf.embedding.store import EmbeddingStore
    from meddel_hf.overlap.audit import Audit

HELP = "tell which frames of a test set stand in a pool, as they are or altered"
COPIED = 1  # exit status where some do
_HEAD = 20  # rows of the table that are printed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.embeddings(parser, "POOL")
    text = "embeddings of the test set by the same encoder, or its frames (as any POOL), which are then embedded first"
    parser.add_argument("test", metavar="TEST", type=kinds.text, help=text)
    text = "folder to write: the whole table, and a contact sheet of the closest pairs"
    parser.add_argument("--out", type=kinds.path, help=text)
    options.force(parser, of_another_step=True)
    options.as_json(parser)
    options.pool(parser, "--pool", "where the pool's frames are now, for the contact sheet (default: where they were)")
    options.include(parser)
    options.trust(parser)
    parser.epilog = f"Status: 0 no frame of the test set stands in the pool, {COPIED} some do, 2 error."


def run(args: argparse.Namespace) -> int:
    """Returns 0 where no frame of the test set is in the pool, 1 where some are."""
    from meddel_hf.commands.frames import frames_of
    from meddel_hf.embedding.store import EmbeddingStore
    from meddel_hf.errors import Mismatch
    from meddel_hf.overlap.audit import audit
    from meddel_hf.runtime.files import MANIFEST
    from meddel_hf.runtime.manifest import Manifest, check_target

    if args.out is not None:
        check_target(args.out, "audit")  # before the work
        tell_if_inside(args.out, args.test)
    pool = EmbeddingStore.load(args.embeddings, trust=args.trust)
    with tempfile.TemporaryDirectory() as scratch:
        step = Manifest.read(Path(args.test)).step if (Path(args.test) / MANIFEST).is_file() else None
        if step in ("selection", "audit"):
            raise Mismatch(
                f"{args.test} is a folder of step {step!r}, whose pictures are contact sheets: name the test set's "
                "embeddings or its frames"
            )
        if step == "embeddings":
            test = EmbeddingStore.load(args.test, trust=args.trust)
        else:
            test = _embedded(args, pool, Path(scratch) / "test")
        frames = [frames_of(pool, args.pool), frames_of(test, None)]
        answer = audit(pool, test, pool_frames=frames[0][0], test_frames=frames[1][0])
        if args.out is not None:
            _write(args, answer, (pool, test), frames)
    if args.json:
        print_json({**answer.facts, "copies_in_pool": answer.copied.to_pylist()})
    else:
        _tell(answer)
    if note := _on_groups(frames):
        say(note)
    if args.out is not None:
        say(f"\nwrote {args.out}/audit.parquet: every test frame, and the frame of the pool that is most alike")
        if (args.out / "pairs.png").is_file():
            say(f"wrote {args.out}/pairs.png: copies beside the frames that they are of")
    return COPIED if len(answer.copied) else 0


def _embedded(args: argparse.Namespace, pool: EmbeddingStore, folder: Path) -> EmbeddingStore:
    """The frames of TEST, embedded as those of the pool were."""
    from meddel_hf.data.pool import load_pool
    from meddel_hf.embedding.embed import embed

    how = pool.manifest.arguments
    return embed(
        load_pool(args.test, include=args.include), how["encoder"], folder, pooling=how["pooling"],
        precision=how["precision"], revision=how.get("revision"), view="auto" if pool.view == "auto" else "whole",
        calibrate=False,
        progress=False if args.json else "bar", pool_spec=args.test,
    )  # fmt: skip


def _write(
    args: argparse.Namespace,
    answer: Audit,
    stores: Sequence[EmbeddingStore],
    frames: Sequence[tuple[Dataset | None, str]],
) -> None:
    """stores, frames: of the pool and of the test set; frames and why there are none, as `frames_of` gives them."""
    from meddel_hf.overlap.sheet import draw_pairs
    from meddel_hf.selectors.protocol import Readable

    sides = []
    for name, store, (dataset, why_not) in zip((args.embeddings, args.test), stores, frames, strict=True):
        sides.append(None if dataset is None else (dataset, Readable.of(store).origin))
        if why_not:
            say(f"note: {name} stays dark in pairs.png: {why_not}")
    answer.save(args.out, pictures=lambda folder: draw_pairs(answer, sides[0], sides[1], folder / "pairs.png"))


def _on_groups(frames: Sequence[tuple[Dataset | None, str]]) -> str:
    """A note where patients or videos are named, but not compared."""
    from meddel_hf.data.groups import names_groups

    named = any(dataset is not None and names_groups(dataset) for dataset, _ in frames)
    why = next((why_not for dataset, why_not in frames if dataset is None), "")
    return f"note: whether both have frames of one patient or video is not known: {why}" if named and why else ""


def _tell(answer: Audit) -> None:
    from meddel_hf.runtime.reading import printable
    from meddel_hf.runtime.text_table import aligned

    rows = answer.copied.slice(0, _HEAD).to_pylist()
    lines = [("test frame", "in the pool", "cosine", "likeness", "how")]
    lines += [
        (
            printable(row["test_id"]),
            printable(row["pool_id"]),
            f"{row['cosine']:.4f}",
            f"{row['likeness']:.4f}",
            row["how"],
        )
        for row in rows
    ]
    if rows:
        print(aligned(lines, words=len(lines[0])))
        if len(answer.copied) > _HEAD:
            print(f"and {len(answer.copied) - _HEAD:,} more")
        print()
    print(answer)

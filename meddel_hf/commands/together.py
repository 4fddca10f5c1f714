"""One selection by several processes: what they are all asked, where their parts meet, and which of them writes it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddel_hf.commands import options
from meddel_hf.commands.printing import say
from meddel_hf.errors import IncompleteStore, InvalidArgument, MedDELError, Mismatch
from meddel_hf.runtime.free_memory import AUTO

if TYPE_CHECKING:
    from datasets import Dataset

    from meddel_hf.embedding.store import EmbeddingStore
    from meddel_hf.runtime.shard import Shard
    from meddel_hf.runtime.shared_work import SharedWork
    from meddel_hf.selection.selection import Selection
    from meddel_hf.selectors.by_hand import Overrides

PARTS = ".parts"  # behind the name of --out: the folder through which processes share the work


@dataclass(frozen=True, eq=False)
class Together:
    """This process's place among those that make one selection.

    asked:    digest of the store and of all that was typed and decides the answer; the selection records it.
    shard:    which of the processes it is; None where it is alone. launched: by a launcher, not in a job array.
    work:     the folder of their parts; None where this process is alone and finds no parts of others.
    """

    out: Path
    asked: str
    shard: Shard | None
    launched: bool
    work: SharedWork | None

    @classmethod
    def of(
        cls, args: argparse.Namespace, store: EmbeddingStore, pool: Dataset | None, overrides: Overrides | None
    ) -> Together:
        """pool: the frames and their columns, where they are at hand. overrides: what --overrides holds.

        Raises InvalidArgument for what is no shard, Mismatch where parts of another selection stand in the way.
        """
        from meddel_hf.runtime.manifest import fingerprint
        from meddel_hf.runtime.parents import leave_with_launcher
        from meddel_hf.runtime.resume import state
        from meddel_hf.runtime.shard import Shard
        from meddel_hf.runtime.shared_work import SharedWork

        launched = Shard.launched()
        if launched is not None and args.shard is not None:
            raise InvalidArgument(
                f"--shard is for jobs of their own, and this is one of {launched.of} processes of a launcher: "
                "leave it out"
            )
        shard = launched if args.shard is None else Shard.parse(args.shard)
        facts = _asked(args, store, pool, overrides)
        asked = fingerprint(json.dumps(facts, sort_keys=True))
        parts = args.out.resolve()
        parts = parts.with_name(parts.name + PARTS)
        if launched is not None:
            leave_with_launcher()
        if shard is None and (state(parts) != "begun"):
            return cls(args.out, asked, None, False, None)
        facts["memory"] = getattr(args, "memory", AUTO)  # by which the work is cut
        work = SharedWork(parts, facts, shard or Shard(), lambda: _is_written(args.out, asked))
        if shard is None and work.finished():  # a run was killed after it had written the selection
            work.remove()
            return cls(args.out, asked, None, False, None)
        work.check()
        return cls(args.out, asked, shard, launched is not None, work)

    def selected(self, choose: Callable[[], Selection]) -> Selection | None:
        """What `choose` answers; None where another process has written it already."""
        from meddel_hf.runtime.shared_work import PartsGone, sharing

        if self.work is None:
            return replace(choose(), asked=self.asked)
        if self.work.finished():
            self.work.remove()
            self._say(f"{self.out} holds this selection already: nothing was left to do")
            return None
        try:
            with sharing(self.work):
                return replace(choose(), asked=self.asked)
        except PartsGone:
            if not self.work.finished():
                raise
        except MedDELError:
            self.work.remove_where_empty()
            raise
        self._leave_it_to_another()
        return None

    def written(self, save: Callable[[], object]) -> bool:
        """Save the selection, after which nothing is left of the parts; False where that is another process's to do."""
        from meddel_hf.runtime.shared_work import PartsGone

        if self.work is None:
            save()
            return True
        if self.launched and not self._first:
            if self.work.finished():
                self.work.remove()
            return False
        with suppress(PartsGone), self.work.alone():
            if not self.work.finished():
                save()
                self.work.remove()
                return True
        self._leave_it_to_another()
        return False

    @property
    def note(self) -> str | None:
        """How much of the work was this process's; None where it was alone."""
        if self.work is None:
            return None
        if not self.work.asked:
            return "nothing of this selection takes long enough to be shared: every process did all of it"
        return f"this process did {self._share} of the work"

    @property
    def _first(self) -> bool:
        return self.shard is None or self.shard.index == 1

    @property
    def _share(self) -> str:
        assert self.work is not None
        return f"{self.work.done:,} of {self.work.asked:,} parts"

    def _leave_it_to_another(self) -> None:
        assert self.work is not None
        self.work.remove()  # what this process may have begun anew
        self._say(f"{self.out} was written by another process; this one did {self._share} of the work")

    def _say(self, line: str) -> None:
        if not self.launched or self._first:
            say(line)


def _asked(
    args: argparse.Namespace, store: EmbeddingStore, pool: Dataset | None, overrides: Overrides | None
) -> dict[str, Any]:
    """All that decides the answer, as plain values."""
    from meddel_hf.runtime.manifest import Manifest, installed_versions

    names = "selector", "option", "retention", "eta", "reference_eta"
    typed = {name: getattr(args, name) for name in names} | options.typed(args, *options.OF_DEDUP)
    typed |= {name: value for name, value in options.typed(args).items() if name != "memory"}
    return {
        "embeddings": store.fingerprint,
        "pool": None if pool is None else pool._fingerprint,  # columns may have changed, by which frames are shared out
        **json.loads(json.dumps(typed)),
        "reference": None if args.reference is None else Manifest.read(args.reference, "embeddings").fingerprint,
        "extend": None if args.extend is None else Manifest.read(args.extend, "selection").fingerprint,
        "overrides": None if overrides is None else overrides.fingerprint,
        "version": installed_versions().get("meddel-hf"),
    }


def _is_written(out: Path, asked: str) -> bool:
    from meddel_hf.runtime.manifest import Manifest

    try:
        return Manifest.read(out, "selection").details.get("asked") == asked
    except (IncompleteStore, Mismatch):
        return False

"""`Manifest`: the identity card that every folder of a step carries, and what may be written where one stands."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

from meddel_hf.errors import IncompleteStore, InvalidArgument, Mismatch, Occupied
from meddel_hf.runtime.files import MANIFEST, check_can_write, interrupted, is_vacant, whole_folder
from meddel_hf.runtime.records import check_files, read_facts, recorded_files, write_facts
from meddel_hf.runtime.similar import meant_beside
from meddel_hf.runtime.written import files_in, is_written

Step = Literal[
    "datadel", "embeddings", "selection", "subset", "frames", "pretraining", "segmentation", "probe", "benchmark",
    "report", "tokens", "labels", "retrieval", "near-copies", "audit", "pool",
]  # fmt: skip

COMMAND_OF: dict[Step, str] = {
    "datadel": "build", "embeddings": "embed", "selection": "select", "subset": "filter", "pretraining": "pretrain",
    "segmentation": "segment", "probe": "probe", "benchmark": "benchmark", "report": "report", "audit": "audit",
    "pool": "pool",
}  # fmt: skip

_RECORDED_PACKAGES = ("meddel-hf", "torch", "transformers", "datasets", "numpy", "pillow")


@dataclass(frozen=True)
class Manifest:
    """Identity card of a step's folder, stored as `manifest.json` together with a checksum of itself.

    fingerprint: hex digest of what the step made; a child names it in `parents`, so that a mismatched pair is an error.
    parents:     role -> fingerprint of what the step was made from, such as {"pool": "3f2a…"}.
    details:     facts of the step that a reader wants to see, such as {"rows": 5150, "dim": 768}.
    files:       name relative to the folder -> {"bytes": size, "xxh3": XXH3-128 in hex}, of the files that `check`
                 reads again; empty in folders that were written before there was such a record.
    """

    step: Step
    fingerprint: str
    arguments: dict[str, Any] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: installed_versions())
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def write(self, folder: Path, names: Iterable[str] | None = None) -> Manifest:
        """Write the manifest, after the files that it records. Returns it with them.

        names: the files to record, relative to the folder; None: those that `files` records already.
        """
        recorded = self if names is None else replace(self, files=recorded_files(folder, names))
        write_facts(folder / MANIFEST, asdict(recorded))
        return recorded

    @classmethod
    def read(cls, folder: Path, step: Step | None = None) -> Manifest:
        """Raises IncompleteStore where there is no manifest or a damaged one, Mismatch where it is not the step's."""
        path = folder / MANIFEST
        if not path.is_file():
            what = f"a finished {step} folder" if step else "the folder of a finished step"
            if not folder.exists():
                raise IncompleteStore(f"{folder} does not exist: expected {what}{meant_beside(folder, folders=True)}")
            by = _from(step) if step else ""
            raise IncompleteStore(f"{folder} has no {MANIFEST}: it is not {what}{by}")
        manifest = cls(**_content(path))
        if step is not None and manifest.step != step:
            raise Mismatch(f"{folder} is a folder of step {manifest.step!r}, expected {step!r}{_from(step)}")
        return manifest

    def check(
        self, folder: Path, names: Iterable[str] | None = None, *, trust: bool = False, cure: str | None = None
    ) -> None:
        """Read files again and compare them with what was recorded: all, or those named (others are not looked at).

        trust: compare their sizes alone. cure: what to do, where it is not to copy the file or to run the step again.
        Raises IncompleteStore that names what is missing or damaged.
        """
        wanted = self.files if names is None else {name: self.files[name] for name in names if name in self.files}
        cure = cure or f"copy it again, or delete {folder} and run the step again"
        check_files(folder, wanted, cure, trust=trust)


def _from(step: Step) -> str:
    return f", which `meddel {COMMAND_OF[step]}` writes" if step in COMMAND_OF else ""


def check_recorded(folder: Path, names: Iterable[str]) -> None:
    """Where a folder carries a manifest, these files are as it records them; without one there is nothing to check."""
    if (folder / MANIFEST).is_file():
        Manifest.read(folder).check(folder, names)


def step_of(folder: Path) -> Step | None:
    """The step that wrote a folder; None where none of ours did, or where its manifest is damaged."""
    try:
        return Manifest.read(folder).step
    except IncompleteStore:
        return None


def check_target(folder: str | Path, step: Step, *, begun: Collection[str] | None = None) -> Path:
    """The folder, if a step may be written there; asked before the work, so that no hour of it is lost.

    begun: what an interrupted run leaves, of a step that then goes on there, and that reads what is finished; None: of
           one that writes it anew.
    Raises InvalidArgument where something else stands there, or where nothing can be written.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InvalidArgument(f"{folder} is a file: name a folder to write to")
    if not is_vacant(folder):
        if not (folder / MANIFEST).is_file() and not any((folder / name).exists() for name in begun or ()):
            raise InvalidArgument(f"{folder} is not empty and holds no {step}: name another folder")
        if (folder / MANIFEST).is_file():
            there = Manifest.read(folder).step
            if there != step:  # never replace what is another step's
                raise Occupied(f"{folder} is a folder of step {there!r}, expected {step!r}", folder)
            if begun is not None:
                return folder
    check_can_write(folder)
    return folder


@contextmanager
def step_folder(folder: str | Path, step: Step) -> Iterator[Path]:
    """`whole_folder` for a step's output: an older one of the same step is replaced, other files beside it stay.

    The block writes its manifest as well, last. Raises InvalidArgument or Mismatch as `check_target` does.
    """
    folder = check_target(folder, step)
    if (folder / MANIFEST).is_file():
        before = list(Manifest.read(folder, step).files)
        before = before or [name for name in files_in(folder) if is_written(name, [step])]  # of an early version
    else:
        before = interrupted(folder)
    with whole_folder(folder, replaced=before) as aside:
        yield aside


def _content(path: Path) -> dict[str, Any]:
    """The fields of a manifest that is sound. Raises IncompleteStore where it is damaged."""
    cure = f"copy {path.name} again, or delete the folder and run its step again"
    content = read_facts(path, cure)
    unknown = sorted(content.keys() - {one.name for one in fields(Manifest)})
    if unknown:
        raise IncompleteStore(f"{path} has the unknown key {unknown[0]!r}: it is damaged, or a newer version's: {cure}")
    kinds = {"step": str, "fingerprint": str} | dict.fromkeys(("arguments", "parents", "details", "versions"), dict)
    wrong = [name for name, kind in kinds.items() if not isinstance(content.get(name), kind)]
    wrong += ["files"] * (not isinstance(content.get("files", {}), dict))
    if wrong or content["step"] not in get_args(Step):
        raise IncompleteStore(f"{path} is damaged ({wrong[0] if wrong else 'step'} is not what it should be): {cure}")
    return content


def installed_versions() -> dict[str, str]:
    """Version of each package whose release can change a result."""
    return {name: metadata.version(name) for name in _RECORDED_PACKAGES if _installed(name)}


def fingerprint(*parts: str | bytes | memoryview) -> str:
    """32 hex digits over the parts, texts or bytes, each told apart from its neighbours by its length."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:32]


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True

"""`PreTraining`: what a finished pre-training run left in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from meddel_hf import schema
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.runtime.reading import intact
from meddel_hf.runtime.tables import read_table
from meddel_hf.schema import SNAPSHOTS, WHOLE

LOG, UNREADABLE = "log.parquet", "unreadable.parquet"
_LOG_COLUMNS = pa.schema(
    {
        "step": pa.int64(),
        "samples": pa.int64(),  # seen so far
        "epoch": pa.float64(),  # how often each frame was seen so far
        "loss": pa.float64(),  # mean since the line before
        "learning_rate": pa.float64(),
        "seconds": pa.float64(),  # of training so far, those before an interruption included
    }
)


@dataclass(frozen=True)
class Summary:
    """A run in numbers.

    pool:       rows of the data set. selected: those that the selection keeps, or all of them.
    excluded:   of those, how many were left out by id. unreadable: and how many since they cannot be decoded.
    frames:     trained on. epochs: how often each was seen.
    samples:    views seen. loss: mean since the last but one line of the log; None where nothing was trained.
    seconds:    of training. processes, device, precision: what it ran on, when it ended.
    """

    pool: int
    selected: int
    excluded: int
    unreadable: int
    frames: int
    samples: int
    epochs: float
    loss: float | None
    seconds: float
    processes: int
    device: str
    precision: str

    def __str__(self) -> str:
        gone = [f"{count:,} {why}" for count, why in ((self.excluded, "excluded"), (self.unreadable, "unreadable"))
                if count]  # fmt: skip
        parts = [f"{self.frames:,} of {self.pool:,} frames" + (f" ({', '.join(gone)})" if gone else "")]
        if self.loss is None:
            return f"{parts[0]}, nothing trained: these are the initial weights"
        speed = f"{self.samples / self.seconds:.1f} samples/s, " if self.seconds else ""
        parts += [f"{self.samples:,} samples", f"{self.epochs:.1f} epochs", f"loss {self.loss:.4f}"]
        return ", ".join(parts) + f", {speed}{self.precision} on {self.device}"


@dataclass(frozen=True, eq=False, repr=False)
class PreTraining:
    """A finished run.

    folder: also the encoder's: config.json, model.safetensors and preprocessor_config.json of a ViTModel.
    """

    folder: Path
    manifest: Manifest

    @classmethod
    def load(cls, folder: str | Path) -> PreTraining:
        """Raises IncompleteStore or Mismatch where the folder is not a finished run."""
        folder = Path(folder)
        return cls(folder, Manifest.read(folder, "pretraining"))

    def __repr__(self) -> str:
        return f"PreTraining({str(self.folder)!r}: {self.summary})"

    @property
    def encoder(self) -> Path:
        """The encoder's folder, for `embed`, `segment` and `AutoModel.from_pretrained`."""
        return self.folder

    @property
    def objective(self) -> Path:
        """The whole model, to continue from (`Recipe.start`)."""
        return self.folder / WHOLE

    @cached_property
    def summary(self) -> Summary:
        with intact(self.folder / MANIFEST):
            return Summary(**self.manifest.details["summary"])

    @cached_property
    def log(self) -> pa.Table:
        """step, samples, epoch, loss, learning_rate, seconds; at most about 1,000 rows."""
        return read_table(self._sound(LOG), _LOG_COLUMNS)

    @cached_property
    def unreadable(self) -> pa.Table:
        """row, id, reason of the chosen frames that could not be trained on."""
        return read_table(self._sound(UNREADABLE), ["row", schema.ID, schema.REASON])

    def verify(self) -> None:
        """Compare the encoder, the log and the list of unreadable frames with their checksums.

        The whole model and the encoders exported on the way are looked at when they are loaded; they may be gone.
        Raises IncompleteStore that names a damaged file.
        """
        self.manifest.check(self.folder, [name for name in self.manifest.files if "/" not in name])

    def _sound(self, name: str) -> Path:
        self.manifest.check(self.folder, [name])
        return self.folder / name

    @property
    def snapshots(self) -> dict[int, Path]:
        """Samples seen -> folder of the encoder at that point, ascending."""
        folders = (self.folder / SNAPSHOTS).glob("samples-*")
        return {int(path.name.removeprefix("samples-")): path for path in sorted(folders)}


def snapshot_folder(out: Path, samples: int) -> Path:
    return out / SNAPSHOTS / f"samples-{samples:09d}"


def log_table(history: Sequence[dict[str, Any]], batch_size: int, frames: int) -> pa.Table:
    """The log that `Trainer` kept, as a table."""
    rows = [
        {**entry, "samples": entry["step"] * batch_size, "epoch": entry["step"] * batch_size / frames}
        for entry in history
    ]
    return pa.Table.from_pylist([{name: row[name] for name in _LOG_COLUMNS.names} for row in rows], schema=_LOG_COLUMNS)

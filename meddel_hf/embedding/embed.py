"""From a data set of frames to an embedding store; distributed with Accelerate, resumable.

    meddel embed POOL --encoder ENCODER --out DIR
    meddel embed POOL --from DIR --out DIR2             # the pool has grown: only what is new is embedded
    accelerate launch --multi_gpu --num_processes 2 -m meddel_hf.embed POOL --encoder ENCODER --out DIR

`--multi_gpu` starts several processes on a machine without a GPU too; `--cpu` starts one, whatever number it is given.
The bytes that are written depend on the data set, the encoder, the options and the library versions, and not on how
many processes, workers or threads wrote them, nor on interruptions.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from meddel_hf.errors import InvalidArgument, InvalidDataset
from meddel_hf.runtime import checks
from meddel_hf.runtime.progress import Progress
from meddel_hf.runtime.reading import printable
from meddel_hf.runtime.words import plural
from meddel_hf.schema import ID, IMAGE

if TYPE_CHECKING:
    import pyarrow as pa
    from accelerate import PartialState

    from meddel_hf.data.batches import Batch
    from meddel_hf.data.given import Frames
    from meddel_hf.data.pool import Pool
    from meddel_hf.data.scan import Scan
    from meddel_hf.data.view import View
    from meddel_hf.embedding.carried import Carried, Part
    from meddel_hf.embedding.encoder import Encoder
    from meddel_hf.embedding.space import Poolings
    from meddel_hf.embedding.store import EmbeddingStore, StoreDtype, StoreWriter
    from meddel_hf.runtime.devices import Precision

log = logging.getLogger(__name__)
LARGEST_PASS = 65_536
WITHOUT_IDS = (
    f"this is a stream without a column {ID!r}, so that no frame of it could be named or found again: name its column "
    "of ids with id_column (--id-column), add one, or pass the data set itself (without --streaming)"
)
NO_ENCODER = "nothing says with which model: name an encoder (--encoder), or an earlier store of this pool (--from)"


def embed(
    dataset: Frames,
    encoder: str | Path | None,
    out: str | Path,
    *,
    grown_from: str | Path | EmbeddingStore | None = None,
    pooling: Poolings = "auto",
    calibrate: bool = True,
    precision: Precision = "auto",
    batch_size: int = 32,
    shard_rows: int = 4096,
    image_column: str = IMAGE,
    id_column: str | None = ID,
    num_workers: int | Literal["auto"] = "auto",
    device: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    split: str | None = None,
    view: View = "whole",
    store_dtype: StoreDtype = "float32",
    progress: bool | Literal["bar"] = True,
    pool_spec: str | None = None,
) -> EmbeddingStore:
    """Embed every frame of a data set, once; called again after an interruption, it goes on at the first missing shard.

    dataset:     with an image column, and ids in `id_column`; without that column, ids are row numbers, which a stream
                 has not. Or a dictionary of splits; a path or Hub id, as `load_pool` takes it; a list of files, whose
                 ids are their paths without suffix below the folder that they share; a list of PIL pictures or uint8
                 arrays, (height, width) or (height, width, 3 or 4), whose ids are their places.
    split:       of a dictionary of splits; None: all, one after the other.
    encoder:     Hub id or folder of a transformers vision model with safetensors weights, or "carried", the package's;
                 None: that of `grown_from`.
    out:         folder of the store; empty, or begun earlier with the same data set, encoder and options.
    grown_from:  store of an earlier state of the data set: frames that it holds, by the bytes that they are stored as
                 and not by their ids or places, are taken from it, and only the others are embedded. The result is the
                 same to the bit as without it. Options that are left at their defaults are as they were in that store.
    pooling:     "cls", "mean" over the patch tokens, or "both" from one forward pass, of which `embeddings` are CLS;
                 "auto" is both, and the mean alone of an encoder without a CLS token.
    calibrate:   embed mild copies of some frames too (embedding/copies.py), by which `eta="auto"` knows how near a
                 near-duplicate is; a finished store without them gets them.
    precision:   "auto" is bf16 where the processor or GPU runs it natively, else float32; the store records which.
    batch_size:  frames in one forward pass. shard_rows: rows in one file, and at most lost by an interruption.
    num_workers: processes that decode ahead of the model; "auto" goes by the processors that are free for it.
    device:      "auto", "cpu", "cuda" and so on.
    view:        "auto" fills what is not mucosa (dark surround, scope guide: data/view.py) before the encoder sees it,
                 and draws view.png into the store, which shows what was filled.
    store_dtype: "float16" halves the store; a near-duplicate within some 1e-4 of a threshold may then fall on its other
                 side (docs/how-to/ten-million-frames.md has how many).
    progress:    show a bar on stderr, and log a last line; "bar": without that line.
    pool_spec:   what the data set was called on the command line, if it was.

    A frame that cannot be decoded stops nothing: it is listed in the store, with its reason. Where Accelerate launched
    several processes, each writes its own shards and all return the finished store.
    Raises InvalidDataset, InvalidArgument or Mismatch before any frame is read.
    """
    from meddel_hf.data.given import as_data_set
    from meddel_hf.data.pool import Pool
    from meddel_hf.data.scan import scan_of
    from meddel_hf.data.view_sheet import draw_view
    from meddel_hf.embedding.earlier import Earlier
    from meddel_hf.embedding.encoder import load_encoder
    from meddel_hf.embedding.loading import name_of_encoder
    from meddel_hf.embedding.store import VIEW, EmbeddingStore, StoreWriter
    from meddel_hf.embedding.thumbnails import SIDE
    from meddel_hf.runtime.processes import computing_device, decoding_workers, launched_processes

    earlier = None if grown_from is None else Earlier.of(grown_from, out)
    if earlier is not None:
        encoder, revision = encoder or earlier.encoder, revision or earlier.revision
        pooling = earlier.option("pooling", pooling, "auto")
        precision = earlier.option("precision", precision, "auto")
        batch_size = earlier.option("batch_size", batch_size, 32)
        shard_rows = earlier.option("shard_rows", shard_rows, 4096)
        image_column = earlier.option("image_column", image_column, IMAGE)
        id_column = earlier.option("id_column", id_column, ID)
        view = earlier.option("view", view, "whole")
        store_dtype = earlier.option("store_dtype", store_dtype, "float32")
    if encoder is None:
        raise InvalidArgument(NO_ENCODER)
    encoder = name_of_encoder(encoder)
    checks.count("batch_size", batch_size, 1, LARGEST_PASS)
    checks.count("shard_rows", shard_rows, 1)
    checks.choice("store_dtype", store_dtype, ("float32", "float16"))
    if pool_spec is None and isinstance(dataset, str | Path):
        pool_spec = str(dataset)
    dataset = as_data_set(dataset, split)
    pool = Pool.of(dataset, image_column=image_column, id_column=id_column)
    if pool.ids is None and pool.id_column is None:
        raise InvalidDataset(WITHOUT_IDS)
    processes = launched_processes(device)
    workers = decoding_workers(num_workers, processes)
    model = load_encoder(
        encoder,
        pooling=pooling,
        precision=precision,
        device=computing_device(device, processes),
        revision=revision,
        trust_remote_code=trust_remote_code,
    )
    model = replace(model, preprocessing=replace(model.preprocessing, view=view))
    arguments = {
        "encoder": encoder, "revision": revision, "pool": pool_spec,
        "pooling": model.poolings[0] if len(model.poolings) == 1 else "both",
        "precision": model.precision, "device": model.device.type, "batch_size": batch_size, "shard_rows": shard_rows,
        "image_column": image_column, "id_column": pool.id_column, "preprocessing": _plain(model.preprocessing),
        "view": view, "thumbnails": SIDE, "store_dtype": store_dtype,
    }  # fmt: skip
    parents = {"encoder": model.fingerprint, **({"pool": pool.fingerprint} if pool.fingerprint else {})}
    if earlier is not None:
        earlier.check(arguments, parents)
    writer = StoreWriter.begin(Path(out), arguments, parents, claim=processes.is_main_process)
    report = _Report(processes, Progress(shown=bool(progress) and processes.is_main_process), progress != "bar")
    report.note(scan_of(dataset))
    finished = writer.shards()  # before anyone writes, so that all processes share out the same missing ones
    processes.wait_for_everyone()
    with report.bar:
        if not (writer.finished and pool.ids is not None):
            carried = None if earlier is None else earlier.carried(pool, tell=report.bar.shown)
            report.carried = 0 if carried is None else int((carried.row >= 0).sum())
            _write_shards(writer, finished, pool, model, workers, processes, report, carried)
            processes.wait_for_everyone()
            if processes.is_main_process:
                if (scan := scan_of(dataset)) is not None:
                    scan.save(Path(out))
                if view == "auto":
                    draw_view(pool, model.preprocessing, Path(out) / VIEW)
                writer.finish(dim=model.dim, row_ids=pool.id_column is None)
            processes.wait_for_everyone()
        store = EmbeddingStore.load(out)
        if calibrate and "calibration" not in store.manifest.details:
            if processes.is_main_process:
                _calibrate(store, pool, model, workers, None if earlier is None else earlier.store)
            processes.wait_for_everyone()
            store = EmbeddingStore.load(out)
    report.sum_up(store, scan_of(dataset))
    return store


def _calibrate(store: EmbeddingStore, pool: Pool, model: Encoder, workers: int, earlier: EmbeddingStore | None) -> None:
    """Embed mild copies of some frames, and leave in the store what they say of near-duplicates."""
    from meddel_hf.embedding.calibration import calibrate
    from meddel_hf.embedding.copies import embed_copies
    from meddel_hf.embedding.earlier import known_copies

    known = None if earlier is None else known_copies(store, earlier)
    copies = embed_copies(pool, store.rows, model, workers, store.digests, known)
    calibration = calibrate(store, copies)
    if calibration is not None:
        store.with_copies(copies, calibration.plain())


def _write_shards(
    writer: StoreWriter,
    finished: Mapping[int, int],
    pool: Pool,
    model: Encoder,
    workers: int,
    processes: PartialState,
    report: _Report,
    carried: Carried | None,
) -> None:
    """Write the missing shards that belong to this process."""
    from meddel_hf.data.batches import StreamBatches, TableBatches, read_ahead
    from meddel_hf.embedding.earlier import planned

    batch_size, shard_rows = writer.arguments["batch_size"], writer.arguments["shard_rows"]
    batches: TableBatches | StreamBatches
    if pool.ids is None:
        contents = {index: writer.content(index) for index in finished}
        batches = StreamBatches(
            pool, model.preprocessing, batch_size=batch_size, shard_rows=shard_rows, finished=contents,
            process=processes.process_index, processes=processes.num_processes,
        )  # fmt: skip
        report.begin(None, finished)
        for index, group in groupby(read_ahead(batches, workers), key=lambda batch: batch.start // shard_rows):
            part, ids, content = _embedded(group, model, batch_size, report)
            writer.write(part.as_shard(index, ids, content))
        return
    total = -(-len(pool.ids) // shard_rows)
    missing = sorted(set(range(total)) - set(finished))
    mine = missing[processes.process_index :: processes.num_processes]
    shards = planned(mine, shard_rows, len(pool.ids), batch_size, carried)
    batches = TableBatches(pool, [rows for shard in shards for rows in shard.batches], model.preprocessing)
    report.begin(sum(map(len, batches.rows)), finished)
    arriving = read_ahead(batches, min(workers, len(batches)))
    for shard in shards:
        part, _, _ = _embedded(islice(arriving, len(shard.batches)), model, batch_size, report)
        if carried is not None:
            part = part.with_tensors(carried.store.tensors)  # an earlier version stored fewer
            carried.check(part, shard.looked_at)
            part = part.without(shard.looked_at).merged(carried.part(shard.start, shard.stop))
        writer.write(part.as_shard(shard.index, pool.ids[shard.start : shard.stop]))


def _embedded(
    batches: Iterable[Batch], model: Encoder, batch_size: int, report: _Report
) -> tuple[Part, list[str], str]:
    """Embed the batches of one shard. Also the ids and a digest of what came, of a stream."""
    import numpy as np

    from meddel_hf.embedding.carried import Part
    from meddel_hf.embedding.thumbnails import SIDE, thumbnails
    from meddel_hf.runtime.manifest import fingerprint

    vectors: dict[str, list[np.ndarray]] = {
        pooling: [np.empty((0, model.dim), np.float32)] for pooling in model.poolings
    }
    small = [np.empty((0, SIDE, SIDE), np.uint8)]
    sizes = [np.empty((0, 2), np.int64)]
    rows: list[int] = []
    ids: list[str] = []
    reasons: list[str | None] = []
    digests: list[bytes | None] = []
    remarks: list[str | None] = []
    contents: list[str] = []
    for batch in batches:
        pooled = model.pooled(batch.pixels, batch_size)
        shrunk = thumbnails(batch.pixels)  # while a GPU computes: what it answers is asked for below
        unit = {pooling: here.cpu().numpy() for pooling, here in pooled.items()}
        faults = [next(filter(None, map(_fault, each)), None) for each in zip(*unit.values(), strict=True)]
        reasons_here = [reason or fault for reason, fault in zip(batch.reasons, faults, strict=True)]
        good = [reason is None for reason in reasons_here]
        for pooling, here in unit.items():
            vectors[pooling].append(here[good])
        small.append(shrunk[good])
        sizes.append(batch.sizes[good])
        rows += batch.rows
        reasons += reasons_here
        digests += batch.digests
        remarks += batch.remarks
        ids += batch.ids or []
        contents.append(batch.content)
        report.bar.update(len(reasons_here))
    first, *others = model.poolings
    tensors = {
        "embeddings": np.concatenate(vectors[first]),
        "thumbnails": np.concatenate(small),
        "sizes": np.concatenate(sizes),
        **{str(other): np.concatenate(vectors[other]) for other in others},
    }
    return Part(np.array(rows, np.int64), reasons, digests, remarks, tensors), ids, fingerprint(*contents)


def _fault(vector: Any) -> str | None:
    """Why a vector is no embedding, or None: a unit vector has length 1, a zero one 0, and NaN compares as neither."""
    length = float((vector.astype("float64") ** 2).sum()) ** 0.5
    if 0.5 < length < 2:
        return None
    return "the encoder answered zero" if length == 0 else "the encoder answered numbers that are not finite"


@dataclass
class _Report:
    """What the user is told, by the main process alone: a bar, and one line at the end.

    last_line: whether what was embedded is logged at the end.
    carried: frames that an earlier store holds, which are not embedded.
    """

    processes: PartialState
    bar: Progress
    last_line: bool = True
    began: float = 0.0
    rows_before: int | None = None
    carried: int = 0

    def begin(self, rows: int | None, finished: Mapping[int, int]) -> None:
        """rows: what this process has to do, if that is known. finished: shard -> rows of those that are there."""
        self.began, self.rows_before = time.monotonic(), sum(finished.values())
        if finished and self.bar.shown:
            log.info("%s frames are embedded already: going on with the rest", f"{self.rows_before:,}")
        several = self.processes.num_processes > 1
        title = f"embedding (process 1 of {self.processes.num_processes})" if several else "embedding"
        self.bar.begin(title, rows, "images")

    def note(self, scan: Scan | None) -> None:
        """Say before the work what a folder of images holds besides, and what in it may be no frame."""
        for note in scan.notes if scan is not None and self.bar.shown else ():
            log.warning("note: %s", note)

    def sum_up(self, store: EmbeddingStore, scan: Scan | None) -> None:
        """Print the last line."""
        if not self.bar.shown:
            return
        from meddel_hf.data.scan import SKIPPED

        rows, unreadable = store.manifest.details["rows"], len(store.unreadable)
        new = max(rows - self.rows_before - self.carried, 0) if self.rows_before is not None else 0
        parts = [f"{len(store):,} of {plural(rows, 'frame')} embedded" if unreadable else _all(rows)]
        if unreadable:
            parts.append(f"{unreadable:,} unreadable (reasons in unreadable.parquet)")
        parts.append(f"{new / (time.monotonic() - self.began):.1f} images/s" if new else "nothing was left to do")
        arguments = store.manifest.arguments
        parts.append(f"{arguments['precision']} on {arguments['device']}")
        for line in _in_words(store.remarks):
            log.warning("note: %s", line)
        if not self.last_line:
            return
        skipped = f"; {scan.told}, see {SKIPPED}" if scan is not None and scan.told else ""
        log.info("%s: %s%s", store.folder, ", ".join(parts), skipped)


def _in_words(remarks: pa.Table) -> Iterator[str]:
    """A line for each kind of remark, which differ in more than numbers: of how many frames, and one of them."""
    from meddel_hf.data.batches import BETWEEN_REMARKS
    from meddel_hf.embedding.store import REMARKS

    first: dict[str, tuple[str, str]] = {}
    count: Counter[str] = Counter()
    for batch in remarks.to_batches(max_chunksize=65_536):  # of a pool of such frames alone there are as many
        for row in batch.to_pylist():
            for text in row["remark"].split(BETWEEN_REMARKS):
                kind = re.sub(r"\d[\d,]*", "0", text)
                first.setdefault(kind, (row[ID], text))
                count[kind] += 1
    for kind, (id, text) in first.items():
        yield f"{plural(count[kind], 'frame')} (all in {REMARKS}), such as {printable(id)}: {text}"


def _all(rows: int) -> str:
    return "the one frame embedded" if rows == 1 else f"all {rows:,} frames embedded"


def _plain(preprocessing: Any) -> dict[str, Any]:
    facts = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(preprocessing).items()}
    del facts["view"]  # an argument of its own
    return facts

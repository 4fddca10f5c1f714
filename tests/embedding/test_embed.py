"""Embedding as a user runs it: in Python, on the command line, in several processes, interrupted and resumed."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import fork_server
import numpy as np
import pytest
import tifffile
import torch
from datasets import Dataset, Features, Image, IterableDataset, Value
from family import children, heed_interrupts, left
from PIL import Image as Picture
from stores import contents
from transformers import ViTConfig, ViTModel
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import meddel_hf.embedding.embed
from meddel_hf.downstream.segmentation.segment import segment
from meddel_hf.embedding.embed import embed
from meddel_hf.embedding.encoder import load_encoder
from meddel_hf.embedding.removing import without
from meddel_hf.embedding.store import EmbeddingStore, StoreWriter
from meddel_hf.errors import IncompleteStore, InvalidArgument, InvalidDataset, Mismatch
from meddel_hf.selectors import Dedup

ROWS = 40
BROKEN = {3: b"", 17: b"not an image", 18: None, 31: b"\xff\xd8\xff\xe0 cut short"}
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
          "--main_process_port", "0", "-m"]  # fmt: skip
ALONE = [sys.executable, "-m"]
BLACK = (
    "nearly black: its 16-bit values end at {}, and white is 65,535; scale it to them, where it was taken with "
    "fewer bits"
)


def make_encoder(folder: Path, change=lambda model: None, **config) -> Path:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
             "image_size": 32, "patch_size": 8, **config}  # fmt: skip
    model = ViTModel(ViTConfig(**sizes))
    with torch.no_grad():
        change(model)
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def encoder(tmp_path_factory) -> str:
    return str(make_encoder(tmp_path_factory.mktemp("encoder") / "vit"))


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    file = io.BytesIO()
    Picture.fromarray(pixels).resize((50, 40), 3).save(file, "PNG")
    return file.getvalue()


def frames(rows: int = ROWS, broken: dict[int, bytes | None] | None = None) -> Dataset:
    broken = BROKEN if broken is None else broken
    images = [broken.get(row, png(row)) for row in range(rows)]
    features = Features({"id": Value("string"), "image": Image(decode=False)})
    return Dataset.from_dict({"id": [f"f/{row:03d}" for row in range(rows)], "image": images}, features=features)


def folder_of_images(folder: Path, rows: int = ROWS) -> Path:
    folder.mkdir()
    for row in range(rows):
        (folder / f"{row:03d}.png").write_bytes(BROKEN.get(row, png(row)) or b"")
    return folder


def command(pool: Path, encoder: str, out: Path, *more: str) -> list[str]:
    return ["meddel_hf.embed", str(pool), "--encoder", encoder, "--out", str(out), "--shard-rows", "8",
            "--batch-size", "3", *more]  # fmt: skip


def own_embeddings(encoder: str, dataset: Dataset) -> np.ndarray:
    """The oracle: transformers alone, one frame at a time."""
    processor, model = ViTImageProcessorPil.from_pretrained(encoder), ViTModel.from_pretrained(encoder).eval()
    rows = []
    for image in dataset.cast_column("image", Image())["image"]:
        with torch.no_grad():
            tokens = model(processor(image.convert("RGB"), return_tensors="pt")["pixel_values"]).last_hidden_state
        rows.append(tokens[0, 0] / tokens[0, 0].norm())
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("workers", [0, 2])
def test_embeddings_are_those_of_transformers(workers, encoder, tmp_path):
    dataset = frames()
    store = embed(dataset, encoder, tmp_path / "out", precision="float32", batch_size=7, shard_rows=16,
                  num_workers=workers, progress=False)  # fmt: skip
    readable = [row for row in range(ROWS) if row not in BROKEN]
    np.testing.assert_allclose(store.embeddings, own_embeddings(encoder, dataset.select(readable)), atol=2e-6)
    assert store.rows.tolist() == readable
    assert store.pool_ids == dataset["id"][:]
    reasons = {row["row"]: (row["id"], row["reason"]) for row in store.unreadable.to_pylist()}
    assert reasons == {3: ("f/003", "empty file"), 17: ("f/017", "not an image"), 18: ("f/018", "no image"),
                       31: ("f/031", "truncated")}  # fmt: skip
    assert store.manifest.parents == {"pool": dataset._fingerprint, "encoder": load_encoder(encoder).fingerprint}
    assert {key: store.manifest.details[key] for key in ("rows", "readable", "dim", "row_ids")} == {
        "rows": ROWS, "readable": ROWS - 4, "dim": 32, "row_ids": False,
    }  # fmt: skip
    assert store.manifest.arguments["precision"] == "float32"
    assert store.manifest.arguments["preprocessing"]["draft"] is True
    store.verify()


def test_what_the_owner_of_a_frame_should_know_is_told_and_kept(encoder, tmp_path, caplog):
    """Frames of 12 bits in 16, grey or in colours, would be black, and near-duplicates of one another."""
    shade = np.linspace(0, 4095, 40 * 50).reshape(40, 50).astype(np.uint16)
    folder = tmp_path / "frames"
    folder.mkdir()
    for row in range(10):
        (folder / f"{row}.png").write_bytes(png(row))
    Picture.fromarray(shade).save(folder / "grey.png")
    tifffile.imwrite(folder / "colour.tif", np.stack([shade] * 3, -1), photometric="rgb")
    tifffile.imwrite(folder / "full.tif", np.stack([shade * 16] * 3, -1), photometric="rgb")
    tifffile.imwrite(folder / "pages.tif", np.stack([shade] * 3), photometric="minisblack")
    Picture.fromarray(np.full((8, 9, 3), 20, np.uint8)).save(folder / "dark.png")  # as it was taken, of 8 bits
    (folder / "broken.png").write_bytes(b"")
    caplog.set_level("INFO")
    store = embed(str(folder), encoder, tmp_path / "out", shard_rows=4, batch_size=3)
    assert {row["id"]: row["remark"] for row in store.remarks.to_pylist()} == {
        "colour": BLACK.format("3,840"), "grey": BLACK.format("4,095"),
        "pages": "only the first of its 3 pictures was taken / " + BLACK.format("4,095"),
    }  # fmt: skip
    notes = [record.getMessage() for record in caplog.records if record.getMessage().startswith("note:")]
    assert notes == [
        f"note: 3 frames (all in remarks.parquet), such as colour: {BLACK.format('3,840')}",
        "note: 1 frame (all in remarks.parquet), such as pages: only the first of its 3 pictures was taken",
    ]
    store.verify()
    left = without(store, ["grey"], tmp_path / "less").remarks["id"].to_pylist()
    assert left == ["colour", "pages"]
    (tmp_path / "out" / "remarks.parquet").write_bytes(b"")
    with pytest.raises(IncompleteStore, match=r"remarks\.parquet"):
        _ = EmbeddingStore.load(tmp_path / "out").remarks


def test_a_data_set_without_ids_is_numbered_and_held_by_its_fingerprint(encoder, tmp_path):
    dataset = frames(5, {}).remove_columns("id")
    store = embed(dataset, encoder, tmp_path, progress=False)
    assert (store.row_ids, store.pool_ids) == (True, ["0", "1", "2", "3", "4"])
    assert store.pool_fingerprint == dataset._fingerprint


def test_an_encoder_that_answers_nonsense_makes_frames_unreadable(tmp_path):
    def zero(model):
        model.layernorm.weight.zero_()
        model.layernorm.bias.zero_()

    def not_finite(model):
        model.layernorm.bias[0] = float("nan")

    for name, change, reason in (("zero", zero, "answered zero"), ("nan", not_finite, "not finite")):
        make_encoder(tmp_path / name, change)
        store = embed(frames(3, {1: b""}), tmp_path / name, tmp_path / f"{name}-out", progress=False)
        assert len(store) == 0
        first, second, _ = store.unreadable["reason"].to_pylist()
        assert reason in first
        assert second == "empty file"


def run(parts: list[str], **env: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "OMP_NUM_THREADS": "1", **env}  # threads that wait for one another are slow on a busy machine
    return subprocess.run(parts, env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def alone(encoder, tmp_path_factory) -> tuple[Path, Path]:
    """(pool, store made by one process in one go)."""
    folder = tmp_path_factory.mktemp("alone")
    pool = folder_of_images(folder / "pool")
    done = run([*ALONE, *command(pool, encoder, folder / "out", "--precision", "bf16")], OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    return pool, folder / "out"


LATE = """
import os, sys, time
from meddel_hf.cli import alone
from meddel_hf.embedding.store import StoreWriter

listed, write = StoreWriter.shards, StoreWriter.write
def told(self, shard):
    with open(os.environ["WHO_WROTE"], "a") as file:
        file.write(f"{os.environ['RANK']} {shard.index}\\n")
    write(self, shard)
StoreWriter.write = told
if os.environ["RANK"] == "1":  # were the other one writing already, the two would share out different shards
    StoreWriter.shards = lambda self: time.sleep(2) or listed(self)
sys.exit(alone("embed"))
"""


@pytest.mark.slow  # the README has two write, and its test counts them
def test_two_processes_write_the_same_bytes_as_one(alone, encoder, tmp_path):
    pool, expected = alone
    (tmp_path / "late.py").write_text(LATE)
    more = command(pool, encoder, tmp_path / "out", "--precision", "bf16", "--num-workers", "2")[1:]
    done = run([*LAUNCH[:-1], str(tmp_path / "late.py"), *more], WHO_WROTE=str(tmp_path / "who"))
    assert done.returncode == 0, done.stderr
    assert "process 1 of 2" in done.stderr
    assert contents(tmp_path / "out") == contents(expected)
    assert len(contents(expected)) == 2 * 5 + 3  # shards, unreadable.parquet, copies.safetensors, manifest.json
    wrote = [line.split() for line in (tmp_path / "who").read_text().splitlines()]
    assert sorted(int(shard) for _, shard in wrote) == [0, 1, 2, 3, 4], "each shard once"
    assert {rank for rank, _ in wrote} == {"0", "1"}


@pytest.mark.slow
def test_an_error_in_two_processes_is_said_once(alone, encoder, tmp_path):
    pool, expected = alone
    store = shutil.copytree(expected, tmp_path / "out")
    done = run([*LAUNCH, *command(pool, encoder, store, "--pooling", "mean")])
    assert done.returncode != 0
    assert done.stderr.count("error: ") == 1
    assert "was begun with another pooling ('both', now 'mean')" in done.stderr
    assert "meddel_hf/embedding/embed.py" not in done.stderr, "a traceback of ours"


def interrupted(parts: list[str], out: Path, sign: signal.Signals) -> tuple[int, str]:
    """Start, wait until a shard is there, send a signal; returns exit status and stderr. Nobody may be left.

    SIGINT goes to the whole group, as from a terminal; others to the command alone, so that its workers live on at
    first.
    """
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        parts, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heed_interrupts
    ) as process:
        deadline = time.monotonic() + 120
        while not list(out.glob("shard-*.json")) and time.monotonic() < deadline:
            time.sleep(0.001)
        workers = children(process.pid)
        os.killpg(process.pid, sign) if sign == signal.SIGINT else process.send_signal(sign)
        process.wait(60)
        still = left(workers)
        said = process.stderr.read()
    assert len(workers) == 1
    assert still == []
    assert not (out / "manifest.json").exists(), "it was through before the signal came"
    return process.returncode, said


@pytest.mark.slow  # test_copies.py kills it at its end; what a half-made store is resumed to, tests/damage.py asks
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_resumed_after_an_interruption_the_bytes_are_the_same(sign, encoder, tmp_path):
    pool = folder_of_images(tmp_path / "pool", 160)
    small = ("--batch-size", "1", "--precision", "bf16")  # slow enough to be caught midway
    assert run([*ALONE, *command(pool, encoder, tmp_path / "whole", *small)]).returncode == 0
    out = tmp_path / sign.name
    parts = [*ALONE, *command(pool, encoder, out, *small)]
    code, said = interrupted(parts, out, sign)
    assert code == (130 if sign == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in said
    assert ("the same command goes on from there" in said) == (sign == signal.SIGINT)
    counted = [path.with_suffix(".safetensors") for path in out.glob("shard-*.json")]
    kept = {path: path.stat().st_mtime_ns for path in counted}
    assert 0 < len(kept) < 20

    done = run(parts)
    assert done.returncode == 0, done.stderr
    assert "frames are embedded already" in done.stderr
    assert contents(out) == contents(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "finished shards were done again"


def test_a_finished_store_is_returned_and_strangers_are_refused(encoder, tmp_path):
    dataset = frames(12, {})
    first = embed(dataset, encoder, tmp_path / "out", progress=False)
    before = contents(tmp_path / "out")
    again = embed(dataset, encoder, tmp_path / "out", progress=False)
    assert again.fingerprint == first.fingerprint
    shutil.copytree(encoder, tmp_path / "moved")
    embed(dataset, tmp_path / "moved", tmp_path / "out", progress=False)
    other = make_encoder(tmp_path / "other", lambda model: model.layernorm.bias.add_(0.01))
    with pytest.raises(Mismatch, match="another encoder"):
        embed(dataset, other, tmp_path / "out", progress=False)
    with pytest.raises(Mismatch, match="another data set"):
        embed(frames(12, {0: png(99)}), encoder, tmp_path / "out", progress=False)
    assert contents(tmp_path / "out") == before


def stream(rows: int = ROWS, change=None) -> IterableDataset:
    dataset = frames(rows)
    return (dataset if change is None else change(dataset)).to_iterable_dataset(num_shards=2)


def test_a_stream_gives_the_same_embeddings_as_its_table(encoder, tmp_path):
    options = {"batch_size": 3, "shard_rows": 8, "progress": False}
    table = embed(frames(), encoder, tmp_path / "table", **options)
    streamed = embed(stream(), encoder, tmp_path / "stream", **options)
    np.testing.assert_array_equal(streamed.embeddings, table.embeddings)
    assert streamed.pool_ids == table.pool_ids
    assert streamed.unreadable.equals(table.unreadable)
    again = embed(stream(), encoder, tmp_path / "again", num_workers=0, **options)
    assert contents(tmp_path / "again") == contents(tmp_path / "stream")
    assert again.pool_fingerprint == streamed.pool_fingerprint
    other = embed(stream(change=lambda d: d.rename_column("id", "x").add_column("id", [f"{i}" for i in range(ROWS)])),
                  encoder, tmp_path / "other", **options)  # fmt: skip
    assert other.pool_fingerprint != streamed.pool_fingerprint


@pytest.mark.slow
def test_a_stream_in_two_processes_writes_the_same_bytes(encoder, tmp_path):
    pool = folder_of_images(tmp_path / "pool")
    assert run([*ALONE, *command(pool, encoder, tmp_path / "one", "--streaming")]).returncode == 0
    done = run([*LAUNCH, *command(pool, encoder, tmp_path / "two", "--streaming")])
    assert done.returncode == 0, done.stderr
    assert "process 1 of 2" in done.stderr
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def interrupt(*args: object, **more: object) -> None:
    raise KeyboardInterrupt


def test_a_resumed_stream_must_be_the_same_stream(encoder, tmp_path, monkeypatch):
    options = {"batch_size": 3, "shard_rows": 8, "progress": False}
    whole = contents(embed(stream(), encoder, tmp_path / "whole", **options).folder)
    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            embed(stream(), encoder, tmp_path / "out", **options)
    (tmp_path / "out" / "shard-00002.safetensors").unlink()
    stopped = contents(tmp_path / "out")

    def other_frame(dataset):
        return Dataset.from_list([{**row, "image": {"bytes": png(77), "path": None}} if n == 9 else row
                                  for n, row in enumerate(dataset)], features=dataset.features)  # fmt: skip

    for change in (other_frame, lambda d: d.select(range(1, ROWS)), lambda d: d.select(range(ROWS - 1)),
                   lambda d: d.select(range(20))):  # fmt: skip
        with pytest.raises(Mismatch, match="the stream no longer holds"):
            embed(stream(change=change), encoder, tmp_path / "out", **options)
        assert {name: contents(tmp_path / "out")[name] for name in stopped} == stopped
        (tmp_path / "out" / "shard-00002.safetensors").unlink(missing_ok=True)
    embed(stream(), encoder, tmp_path / "out", **options)
    assert contents(tmp_path / "out") == whole


@pytest.mark.parametrize("workers", [0, 1])
def test_ids_of_a_stream_are_checked_as_they_come(workers, encoder, tmp_path):
    for ids, message in ((["a", "b", "c", "d", "a"], "'a' stands again"), (["a", None, "c"], "row 1")):
        rows = [{"id": text, "image": {"bytes": png(0), "path": None}} for text in ids]
        broken = Dataset.from_list(rows, features=frames(1).features).to_iterable_dataset()
        with pytest.raises(InvalidDataset, match=message) as caught:
            embed(broken, encoder, tmp_path / "out", batch_size=2, num_workers=workers, progress=False)
        assert "Traceback" not in str(caught.value)


def test_a_stream_of_images_in_memory(encoder, tmp_path):
    images = [Picture.open(io.BytesIO(png(row))) for row in range(5)]
    source = IterableDataset.from_generator(lambda: ({"image": image, "id": i} for i, image in enumerate(images)))
    store = embed(source, encoder, tmp_path / "out", num_workers=0, progress=False)
    table = embed(frames(5, {}), encoder, tmp_path / "table", progress=False)
    np.testing.assert_array_equal(store.embeddings, table.embeddings)
    assert (store.row_ids, store.pool_ids) == (False, ["0", "1", "2", "3", "4"])


def test_a_stream_without_ids_is_refused_before_the_work(encoder, tmp_path):
    stream = frames(5, {}).remove_columns("id").to_iterable_dataset()
    with pytest.raises(InvalidDataset, match=r"a stream without a column 'id'.*id_column"):
        embed(stream, encoder, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"image_column": "frame"}, InvalidDataset, "no image column"),
        ({"batch_size": 0}, InvalidArgument, "batch_size must be at least 1"),
        ({"shard_rows": -1}, InvalidArgument, "shard_rows must be at least 1"),
        ({"num_workers": -1}, InvalidArgument, "num_workers must be from 0"),
        ({"device": "abacus"}, InvalidArgument, "not known to torch"),
        ({"pooling": "max"}, InvalidArgument, "pooling must be one of"),
        ({"precision": "fp16"}, InvalidArgument, "precision must be one of"),
    ],
)
def test_errors_come_before_any_work(options, error, message, encoder, tmp_path):
    with pytest.raises(error, match=message):
        embed(frames(), encoder, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (ViTModel, "ViTModel: save it with save_pretrained, together with its image processor, and give the folder"),
        (list, "list"),
    ],
)
def test_an_encoder_is_a_name_or_a_folder(given, what, encoder, tmp_path):
    model = given.from_pretrained(encoder) if given is ViTModel else given()
    said = f"expected the Hub id or folder of an encoder, got a {what}"
    with pytest.raises(InvalidArgument) as told:
        embed(frames(), model, tmp_path / "out")
    assert str(told.value) == said
    with pytest.raises(InvalidArgument) as told:
        Dedup(0.5, encoder=model).filter(frames())
    assert str(told.value) == said
    with pytest.raises(InvalidArgument) as told:
        segment(frames(), {"a": frames()}, model, tmp_path / "out")
    assert str(told.value) == said
    assert not (tmp_path / "out").exists()


def test_repeated_ids_are_found_before_any_work(encoder, tmp_path):
    twice = frames(2, {}).map(lambda row: {**row, "id": "same"})
    with pytest.raises(InvalidDataset, match="more than once, such as 'same'"):
        embed(twice, encoder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.accelerator.is_available(), reason="asks for a GPU where there is none")
def test_a_gpu_that_is_not_there(encoder, tmp_path):
    with pytest.raises(InvalidArgument, match="finds no GPU"):
        embed(frames(), encoder, tmp_path / "out", device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(encoder, tmp_path):
    on_gpu = embed(frames(), encoder, tmp_path / "gpu", precision="float32", progress=False)
    on_cpu = embed(frames(), encoder, tmp_path / "cpu", precision="float32", device="cpu", progress=False)
    assert on_gpu.manifest.arguments["device"] == "cuda"
    np.testing.assert_allclose(on_gpu.embeddings, on_cpu.embeddings, atol=1e-4)


def test_what_the_user_sees(encoder, tmp_path, capsys, caplog):
    caplog.set_level("INFO", "meddel_hf")
    embed(frames(), encoder, tmp_path / "out", precision="float32", shard_rows=16)
    said = capsys.readouterr()
    assert said.out == ""
    last = caplog.messages[-1]
    assert last.startswith(
        f"{tmp_path / 'out'}: 36 of 40 frames embedded, 4 unreadable (reasons in unreadable.parquet)"
    )
    assert last.endswith("images/s, float32 on cpu")
    assert "40/40" in said.err
    embed(frames(), encoder, tmp_path / "out", precision="float32", shard_rows=16)
    assert "nothing was left to do" in caplog.messages[-1]
    capsys.readouterr()
    caplog.clear()
    embed(frames(), encoder, tmp_path / "quiet", progress=False)
    assert capsys.readouterr().err == ""
    assert not caplog.messages


def test_errors_of_the_command_are_one_sentence(encoder, tmp_path):
    done = fork_server.alone("-m", *command(tmp_path / "nowhere", encoder, tmp_path / "out"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"error: {tmp_path / 'nowhere'} does not exist: expected a folder of images, a data set folder, or a Hub id\n"
    )


def test_help_does_not_wait_for_torch():
    code = (
        "import sys, meddel_hf.cli\nmeddel_hf.cli.parser()\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'numpy', 'PIL') if name in sys.modules])"
    )
    assert run([sys.executable, "-c", code]).stdout == "[]\n"


def test_the_name_embed_is_callable_whatever_was_imported_first(encoder, tmp_path):
    code = (
        "from meddel_hf import embed as before\n"
        "import meddel_hf.embed\n"
        "from meddel_hf import embed as after\n"
        "for call in (before, after):\n"
        "    try: call([], 'x', 'y')\n"
        "    except ValueError as error: print(type(error).__name__)\n"
    )
    assert run([sys.executable, "-c", code]).stdout.split() == ["InvalidDataset"] * 2
    assert len(meddel_hf.embed(frames(2, {}), encoder, tmp_path / "out", progress=False)) == 2


def test_the_callers_random_state_is_left_alone(encoder, tmp_path):
    state = torch.get_rng_state()
    embed(frames(3, {}), encoder, tmp_path / "out", progress=False)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow  # the README embeds with an encoder of a Hub
def test_pool_and_encoder_from_a_hub(hub, encoder, tmp_path):
    frames(6, {}).cast_column("image", Image()).to_parquet(tmp_path / "frames.parquet")
    hub.run(
        "import datasets, huggingface_hub\n"
        f"frames = datasets.load_dataset('parquet', data_files={str(tmp_path / 'frames.parquet')!r}, split='train')\n"
        "frames.push_to_hub('user/frames', config_name='small', split='test')\n"
        "huggingface_hub.HfApi().create_repo('user/net')\n"
        f"huggingface_hub.HfApi().upload_folder(repo_id='user/net', folder_path={encoder!r})\n"
    )
    for name, more in (("whole", []), ("streamed", ["--streaming"])):
        pool = ["user/frames:small@test", "--encoder", "user/net", "--out", str(tmp_path / name), *more]
        hub.call([*ALONE, "meddel_hf.embed", *pool])
        store = EmbeddingStore.load(tmp_path / name)
        assert store.pool_ids == [f"f/{row:03d}" for row in range(6)]
        assert store.pool_spec == "user/frames:small@test"
        local = embed(frames(6, {}), encoder, tmp_path / f"{name}-local", progress=False)
        np.testing.assert_array_equal(store.embeddings, local.embeddings)
        assert store.manifest.parents["encoder"] == local.manifest.parents["encoder"]


def test_a_store_of_float16_holds_the_same_embeddings_rounded(encoder, tmp_path):
    dataset = frames(12, {3: b"not an image"})
    how = {"precision": "float32", "shard_rows": 5, "progress": False}
    whole = embed(dataset, encoder, tmp_path / "float32", **how)
    half = embed(dataset, encoder, tmp_path / "float16", store_dtype="float16", **how)
    for pooling in whole.poolings:
        rounded = whole.pooled(pooling).astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(half.pooled(pooling), rounded)
    assert (whole.dtype, half.dtype) == (np.float32, np.float16)
    assert half.manifest.arguments["store_dtype"] == "float16"
    with pytest.raises(Mismatch, match="store_dtype"):
        embed(dataset, encoder, tmp_path / "float16", **how)
    with pytest.raises(InvalidArgument, match="store_dtype must be one of float32, float16, got 'int8'"):
        embed(dataset, encoder, tmp_path / "int8", store_dtype="int8", **how)

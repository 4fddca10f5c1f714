"""A data set folder that is built again: loading gives the rows that are there, whenever a build was stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import make_archives as make
import pyarrow.parquet as pq
import pytest
import yaml
from datadel.test_build import MEDDEL, children, content, outliving
from datasets import load_dataset

from meddel_hf.datadel.build import build
from meddel_hf.datadel.shards.output import STATE
from meddel_hf.errors import IncompleteStore
from meddel_hf.runtime.files import MANIFEST
from meddel_hf.runtime.manifest import Manifest


def archives(folder: Path, seeds: dict[str, int]) -> Path:
    """Frames of Kvasir-SEG by name, each of a picture of its own; one of GastroVision, always the same."""
    files: dict[str, bytes | str] = {"Gastrovision/Ulcer/u.jpg": make.jpeg(99)}
    for name, seed in seeds.items():
        files[f"Kvasir-SEG/images/{name}.jpg"] = make.jpeg(seed)
        files[f"Kvasir-SEG/masks/{name}.jpg"] = make.mask("JPEG")
    return make.write_folder(folder, files)


def loaded(folder: Path, config: str, cache: Path, **options: object) -> dict[str, bytes]:
    """Bytes by id, as a user meets them."""
    from datasets import Image

    rows = load_dataset(str(folder), config, split="train", cache_dir=str(cache), **options)
    return {row["id"]: row["image"]["bytes"] for row in rows.cast_column("image", Image(decode=False))}


def named_in_card(folder: Path, config: str) -> dict[str, bytes]:
    """Bytes by id of the files that the patterns of a card lead to."""
    configs = yaml.safe_load((folder / "README.md").read_text().split("---")[1])["configs"]
    pattern = next(c["data_files"][0]["path"] for c in configs if c["config_name"] == config)
    rows = [row for path in folder.glob(pattern) for row in pq.read_table(path).to_pylist()]
    return {row["id"]: row["image"]["bytes"] for row in rows}


def wanted(seeds: dict[str, int]) -> dict[str, bytes]:
    return {f"kvasir_seg/images/{name}": make.jpeg(seed) for name, seed in seeds.items()}


@pytest.mark.parametrize("streaming", [False, True])
def test_each_load_gives_the_rows_of_its_folder(streaming, tmp_path):
    """Built, built again with one frame repainted, and a folder of the same name elsewhere; one cache for all."""
    cache, gastro = tmp_path / "cache", {"gastrovision/Ulcer/u": make.jpeg(99)}
    for place, seeds in (("a", {"x": 1, "y": 2}), ("a", {"x": 1, "y": 3}), ("b", {"x": 4}), ("a", {"x": 1, "y": 2})):
        raw = archives(tmp_path / "raw", seeds)
        build(raw, tmp_path / place / "datadel", workers=1)
        shutil.rmtree(raw)
        for config, rows in (("kvasir_seg", wanted(seeds)), ("all", {**wanted(seeds), **gastro})):
            assert loaded(tmp_path / place / "datadel", config, cache, streaming=streaming) == rows


@pytest.mark.parametrize("packed", [False, True])
def test_a_frame_that_was_repainted_is_built_anew_though_size_and_time_stay(packed, tmp_path):
    """As a tool that hides names in the frame leaves it: a BMP, its time of modification set back."""
    raw, name = tmp_path / "raw", "Kvasir-SEG/images/x.bmp"
    for seed in (1, 2, 1):
        files = {name: make.bmp(seed), "Kvasir-SEG/masks/x.jpg": make.mask("JPEG")}
        make.write_folder(raw, {"kvasir.tar": make.tarred(files, "")} if packed else files)
        for path in raw.rglob("*.*"):
            os.utime(path, (1_000_000_000, 1_000_000_000))
        done = build(raw, tmp_path / "out", workers=1)
        assert done.reused == 0
        assert named_in_card(done.out, "kvasir_seg") == {"kvasir_seg/images/x": make.bmp(seed)}
    assert build(raw, tmp_path / "out", workers=1).reused == 1


def test_a_source_that_is_added_leaves_the_others_names(tmp_path):
    raw = archives(tmp_path / "raw", {"x": 1})
    build(raw, tmp_path / "out", workers=1, sources=["gastrovision"])
    before = sorted(path.name for path in (tmp_path / "out").glob("data/gastrovision/*/*"))
    assert build(raw, tmp_path / "out", workers=1).reused == 1
    assert sorted(path.name for path in (tmp_path / "out").glob("data/gastrovision/*/*")) == before


def test_a_folder_of_an_older_release_is_built_anew(tmp_path):
    """Names without digits, records that know no checksums: nothing of them stays."""
    raw, out = archives(tmp_path / "raw", {"x": 1}), tmp_path / "out"
    build(raw, out, workers=1)
    fresh = content(out)
    for path in out.glob("data/*/*/*.parquet"):
        path.rename(path.with_name("train-00000-000.parquet"))
    for path in (out / STATE).rglob("*.json"):
        record = json.loads(path.read_text())
        del record["hashes"]
        for shard in record["shards"]:
            shard["sha256"] = shard.pop("xxh3") * 2
        path.write_text(json.dumps(record))
    done = build(raw, out, workers=1)
    assert done.reused == 0
    assert content(out) == fresh


class Killed(BaseException):
    """Stands for SIGKILL: from then on nothing on the disk is renamed or removed."""


class Axe:
    """Lets so many changes of the disk pass, and then none. An audit hook cannot be taken away: it rests instead."""

    def __init__(self) -> None:
        self.left: int | None = None
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.left is not None and event in ("os.rename", "os.remove", "os.rmdir", "shutil.rmtree"):
            self.left -= 1
            if self.left < 0:
                raise Killed

    def falls(self, after: int, work: Callable[[], object]) -> bool:
        """Whether the work was killed."""
        self.left = after
        try:
            work()
        except Killed:
            return True
        finally:
            self.left = None
        return False


@pytest.mark.slow  # a killed and resumed build is in test_build
def test_killed_at_any_moment_the_card_names_the_files_that_are_there(tmp_path):
    """At every rename and removal of a build that replaces another one; then it is built again to the end."""
    axe = Axe()
    old, new = {"x": 1, "y": 2}, {"x": 5, "z": 6}
    before = build(archives(tmp_path / "old", old), tmp_path / "before", workers=1, sources=["kvasir_seg"]).out
    raw = archives(tmp_path / "new", new) / "Kvasir-SEG"
    fresh = content(build(raw, tmp_path / "fresh", workers=1).out)
    moments = 0
    for moment in range(200):
        out = tmp_path / f"{moment}" / "datadel"
        shutil.copytree(before, out)
        killed = axe.falls(moment, lambda out=out: build(raw, out, workers=1))
        if (out / "README.md").exists():
            assert named_in_card(out, "kvasir_seg") in (wanted(old), wanted(new))
        elif (out / "data").exists():
            names = sorted(path.name for path in out.glob("data/kvasir_seg/*/*"))
            finished = [each.glob("data/kvasir_seg/*/*") for each in (before, tmp_path / "fresh")]
            assert names in [[path.name for path in paths] for paths in finished]
        if (out / MANIFEST).exists():
            Manifest.read(out, "datadel").check(out)
        build(raw, out, workers=1)
        assert content(out) == fresh
        assert not list(out.rglob("*.part"))
        if not killed:
            break
        moments += 1
        shutil.rmtree(out.parent)
    assert moments > 15


def test_a_finished_shard_that_was_damaged_is_built_again(tmp_path):
    """One bit, the size the same; a record that is no JSON; hashes that are gone."""
    raw, out = archives(tmp_path / "raw", {"x": 1}), tmp_path / "out"
    build(raw, out, workers=1)
    fresh = content(out)
    assert build(raw, out, workers=1).reused == 2
    shard = next(out.glob("data/kvasir_seg/*/*.parquet"))
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    shard.write_bytes(damaged)
    with pytest.raises(IncompleteStore, match="checksum"):
        Manifest.read(out, "datadel").check(out)
    assert build(raw, out, workers=1).reused == 1
    assert content(out) == fresh
    for record in (b'{"unit": ', b"[]", b'{"unit": "x"}', b"\xff\xfe", b"[" * 100_000):
        (out / STATE / "kvasir_seg/unspecified/00000.json").write_bytes(record)
        assert build(raw, out, workers=1).reused == 1
        assert content(out) == fresh
    (out / STATE / "kvasir_seg/unspecified/00000.hashes.parquet").write_bytes(b"PAR1")
    assert build(raw, out, workers=1).reused == 1
    assert content(out) == fresh


def test_a_build_that_is_terminated_ends_with_all_its_processes(tmp_path):
    """Each worker is in the middle of a video."""
    video = make.video(40, size=(1600, 1200))
    raw = make.write_folder(tmp_path / "raw", {f"labelled_videos/{name}.mp4": video for name in "ab"})
    out = tmp_path / "out"
    command = [*MEDDEL, "build", str(raw), "--out", str(out), "--fps", "10", "--workers", "2", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list(out.glob(".build/data/*/*/.*.part"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    everyone = [process.pid, *children(process.pid)]
    assert len(everyone) >= 4, "the build, two workers and Python's tracker of their resources"
    process.terminate()
    _, told = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in told
    assert not outliving(everyone)
    assert not list(out.rglob("*.part"))
    assert not (out / "README.md").exists()

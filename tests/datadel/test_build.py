"""A built DataDEL as its users meet it: configurations, streams, a Hub, pools; the same bytes every time."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import make_archives as make
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import HubSession
from datasets import Image, concatenate_datasets, get_dataset_config_names, load_dataset
from family import counted
from fork_server import alone
from PIL import Image as Pillow

from meddel_hf import MedDEL, assets
from meddel_hf.cli import main
from meddel_hf.data.pool import load_pool
from meddel_hf.datadel import build as building
from meddel_hf.datadel import leaks, publishing
from meddel_hf.datadel.build import build
from meddel_hf.datadel.features import FEATURES
from meddel_hf.datadel.leaks import Hashes, nearest
from meddel_hf.datadel.preview import annotated
from meddel_hf.datadel.registry import SOURCES
from meddel_hf.datadel.shards import writer
from meddel_hf.errors import InvalidArgument, InvalidDataset
from meddel_hf.hub.push import push
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.selection.folder import save_subset

CENTRES = [f"polypgen2021_c{n}" for n in range(1, 7)]
CONFIGS = [*SOURCES, *CENTRES, "pretraining", "downstream", "all"]
MEDDEL = [sys.executable, "-m", "meddel_hf"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make.everything(tmp_path_factory.mktemp("archives") / "raw")


@pytest.fixture(scope="module")
def datadel(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "datadel"
    with counted() as workers:
        assert main(["build", str(raw), "--out", str(out), "--fps", "2", "--workers", "2", "--preview", "--quiet"]) == 0
    assert len(workers) == 2
    return out


def content(folder: Path) -> dict[str, str]:
    """Digest by path of everything that is published."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".build" not in path.parts]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def outliving(processes: list[int], seconds: float = 5) -> list[int]:
    """Those of the processes that still run after so many seconds."""
    deadline = time.monotonic() + seconds
    while left := [pid for pid in processes if Path(f"/proc/{pid}").exists()]:
        if time.monotonic() > deadline:
            return left
        time.sleep(0.01)
    return []


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_every_configuration_loads_by_name_with_the_same_features(datadel, tmp_path, monkeypatch):
    monkeypatch.chdir(datadel.parent)
    assert sorted(get_dataset_config_names("datadel")) == sorted(CONFIGS)
    loaded = {name: load_dataset("datadel", name, split="train", cache_dir=str(tmp_path)) for name in CONFIGS}
    assert all(part.features == FEATURES for part in loaded.values())
    joined = concatenate_datasets([loaded[name] for name in SOURCES])
    assert sorted(joined["id"]) == sorted(loaded["all"]["id"])
    assert len(set(joined["id"])) == len(joined)
    assert set(loaded["polypgen2021_c3"]["center"]) == {"c3"}
    assert set(loaded["pretraining"]["source"]) == {"gastrovision", "hyper_kvasir", "kvasir_capsule"}
    assert len(loaded["pretraining"]) + len(loaded["downstream"]) == len(loaded["all"])
    row = loaded["kvasir_seg"][0]
    assert row["image"].size == row["mask"].size == make.SIZE
    assert row["boxes"] == [{"label": "polyp", "bbox": [10, 8, 50, 62]}]


def test_a_stream_gives_the_same_rows(datadel, tmp_path):
    kept = load_dataset(str(datadel), "edd2020", split="train", cache_dir=str(tmp_path))
    stream = load_dataset(str(datadel), "edd2020", split="train", streaming=True)
    assert stream.features == FEATURES
    raw_rows = [list(part.cast_column("image", Image(decode=False)).remove_columns("mask")) for part in (kept, stream)]
    assert raw_rows[0] == raw_rows[1]


def test_the_carried_pool_has_the_same_columns(tmp_path):
    pool = load_dataset(str(Path(assets.__file__).parent / "pool"), split="train", cache_dir=str(tmp_path))
    assert pool.features == FEATURES


def test_a_configuration_is_a_pool(datadel):
    pool = load_pool(f"{datadel}:polypgen2021_c3")
    assert pool["id"][:] == ["polypgen2021/data_C3/images_C3/C3_EndoCV2021_00489_"]
    encoder = Path(assets.__file__).parent / "encoder"
    out = datadel.parent / "embeddings"
    assert main(["embed", f"{datadel}:polypgen2021", "--encoder", str(encoder), "--out", str(out), "--quiet"]) == 0


def test_parquet_streams_and_pages_well(datadel):
    shards = sorted((datadel / "data").rglob("*.parquet"))
    for shard in shards:
        meta = pq.read_metadata(shard)
        for group in range(meta.num_row_groups):
            assert meta.row_group(group).num_rows <= writer.GROUP_ROWS
            columns = {c.path_in_schema: c for c in map(meta.row_group(group).column, range(meta.num_columns))}
            assert columns["image.bytes"].compression == "UNCOMPRESSED"
            assert columns["id"].statistics.min is not None


def test_a_file_that_grows_too_large_goes_on_in_another(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "SHARD_BYTES", 6_000)
    raw = make.write_folder(tmp_path / "raw", {"labelled_videos/a.mp4": make.video(30)})
    done = build(raw, tmp_path / "out", fps=10, workers=1)
    shards = sorted((done.out / "data").rglob("*.parquet"))
    assert [shard.name[:16] for shard in shards][:2] == ["train-00000-000-", "train-00000-001-"]
    rows = [row for shard in shards for row in pq.read_table(shard).to_pylist()]
    assert [row["id"][-6:] for row in rows] == [f"{n:06}" for n in range(30)]
    for shard in shards:
        assert sum(len(r["image"]["bytes"]) for r in pq.read_table(shard).to_pylist()) < 6_000 + 5_000


def test_units_are_cut_by_size_and_keep_every_frame(tmp_path, monkeypatch):
    monkeypatch.setattr("meddel_hf.datadel.shards.units.UNIT_BYTES", 10_000)
    files = {f"Gastrovision/Ulcer/{n:02}.jpg": make.jpeg(n) for n in range(12)}
    done = build(make.write_folder(tmp_path / "raw", files), tmp_path / "out", workers=1)
    assert len(done.facts.records) > 2
    rows = load_dataset(str(done.out), "gastrovision", split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["id"][:] == [f"gastrovision/Ulcer/{n:02}" for n in range(12)]


def test_the_same_archives_give_the_same_bytes_in_one_process_or_two(datadel, raw, tmp_path):
    """A copy of the archives elsewhere, with other times of change."""
    copy = tmp_path / "raw"
    copy.mkdir()
    for path in raw.rglob("*"):
        if path.is_file():
            make.write_folder(copy, {path.relative_to(raw).as_posix(): path.read_bytes()})
    with counted() as workers:
        again = build(copy, tmp_path / "datadel", fps=2, workers=1, previews=True)
    assert len(workers) == 0
    assert content(again.out) == content(datadel)


def test_killed_and_resumed_gives_the_same_bytes(datadel, raw, tmp_path):
    out = tmp_path / "datadel"
    command = [*MEDDEL, "build", str(raw), "--out", str(out), "--fps", "2", "--workers", "2", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(out.glob(".build/*/*/*.json"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    workers = children(process.pid)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert len(workers) >= 2
    assert not outliving(workers)
    assert not (out / "README.md").exists()
    assert not (out / "data").exists(), "what is unfinished is no data set"
    (out / ".build" / "data" / ".left.parquet.1.part").write_bytes(b"half")
    finished = [path.stat().st_ino for path in out.glob(".build/data/*/*/train-*.parquet")]
    done = build(raw, out, fps=2, workers=1)
    assert done.reused >= 5
    assert len({path.stat().st_ino for path in out.glob("data/*/*/*.parquet")} & set(finished)) >= done.reused
    wanted = {name: digest for name, digest in content(datadel).items() if not name.startswith("preview/")}
    assert content(out) == wanted
    assert not list(out.rglob("*.part"))


def test_what_changed_is_built_anew_and_what_went_goes(tmp_path):
    raw = make.write_folder(tmp_path / "raw", {**make.kvasir_seg(), **make.kvasir_sessile()})
    out = tmp_path / "out"
    build(raw, out, workers=1)
    assert build(raw, out, workers=1).reused == 2
    before = content(out)
    (raw / "sessile-main-Kvasir-SEG/images/cju0a.jpg").unlink()
    (raw / "Kvasir-SEG/images/cju0b.jpg").unlink()
    done = build(raw, out, workers=1)
    assert done.reused == 0
    assert done.facts.rows() == 2
    assert not (out / "data/kvasir_sessile").exists()
    assert len(content(out)) == len(before) - 1
    assert len(list(out.glob("data/kvasir_seg/unspecified/*"))) == 1


def test_manifest_and_card_tell_what_was_built(datadel):
    manifest = Manifest.read(datadel, "datadel")
    assert manifest.details["sources"]["polypgen2021"] == 8
    assert manifest.details["configs"]["polypgen2021_c2"] == 2
    card = (datadel / "README.md").read_text()
    for source in SOURCES.values():
        assert source.title in card
        assert source.citation in card
    assert "| Kvasir-SEG | research and education only | verified | **no** |" in card
    assert "| PolypGen2021 | CC BY 4.0 | verified | yes |" in card
    assert str(datadel.parent) not in card


def test_previews_show_masks(datadel):
    assert {path.stem for path in (datadel / "preview").iterdir()} == set(CONFIGS)
    rows = pq.read_table(next(datadel.glob("data/kvasir_seg/unspecified/train-00000-000-*.parquet"))).to_pylist()
    row = rows[0]
    plain = annotated({**row, "mask": None, "boxes": []})
    green, yellow = (60, 220, 120), (255, 210, 60)
    for drawn, colour in (({"mask": None}, yellow), ({"boxes": []}, green)):
        picture = annotated({**row, **drawn})
        assert picture.size == plain.size
        assert colour in {found for _, found in picture.getcolors(1 << 24)}
        assert colour not in {found for _, found in plain.getcolors(1 << 24)}
    with Pillow.open(datadel / "preview" / "kvasir_seg.png") as sheet:
        assert sheet.width > 100 * min(len(rows), 5)  # side by side


def test_leaks_by_name_and_by_picture(tmp_path):
    """The same picture under another name, as PNG and at half size, and one that is in one source only."""
    small = make.encoded(make.picture(1, (400, 320)).resize((200, 160)), "JPEG", quality=60)
    files = {
        "Gastrovision/Colon polyps/u1.jpg": make.jpeg(1, (400, 320)),
        "Gastrovision/Colon polyps/u2.jpg": make.jpeg(2, (400, 320)),
        "Gastrovision/Colon polyps/u3.jpg": make.jpeg(3, (400, 320)),
        "Gastrovision/Colon polyps/grey.jpg": make.encoded(Pillow.new("RGB", (400, 320), "grey"), "JPEG"),
        "Kvasir-SEG/images/a.jpg": small,
        "Kvasir-SEG/masks/a.jpg": make.mask("JPEG", size=(200, 160)),
        "Kvasir-SEG/images/grey.jpg": make.encoded(Pillow.new("RGB", (200, 160), "grey"), "JPEG"),
        "Kvasir-SEG/masks/grey.jpg": make.mask("JPEG", size=(200, 160)),
        "kvasir-sessile/images/a.jpg": small,
        "kvasir-sessile/masks/a.jpg": make.mask("JPEG", size=(200, 160)),
        "CVC-ClinicDB/Original/1.png": make.png(3, (400, 320)),
        "CVC-ClinicDB/Ground Truth/1.png": make.mask(size=(400, 320)),
    }
    done = build(make.write_folder(tmp_path / "raw", files), tmp_path / "out", workers=1)
    table = pq.read_table(done.out / leaks.FILE)
    assert {(r["id"], r["in_id"], r["how"]) for r in table.to_pylist()} == {
        ("gastrovision/Colon polyps/u1", "kvasir_seg/images/a", "picture"),
        ("gastrovision/Colon polyps/u1", "kvasir_sessile/images/a", "picture"),
        ("gastrovision/Colon polyps/u3", "cvc_clinicdb/Original/1", "picture"),
        ("kvasir_seg/images/a", "kvasir_sessile/images/a", "name"),
        ("kvasir_sessile/images/a", "kvasir_seg/images/a", "name"),
    }
    assert "leaks: 1 frame of gastrovision also stands in kvasir_seg (1 by picture)" in str(done)


def test_nearest_is_what_a_plain_loop_finds(monkeypatch):
    import numpy as np

    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 2**63, (n, 4), dtype=np.uint64) for n in (37, 23))
    for n in range(12):  # copies with n x 2 bits changed
        a[n] = b[n]
        a[n, 1] ^= np.uint64((1 << 2 * n) - 1)
    monkeypatch.setattr(leaks, "_BLOCK", 50)
    known = rng.random(23) < 0.9
    found = list(nearest(Hashes([f"a{i}" for i in range(37)], a, np.ones(37, bool)),
                         Hashes([f"b{i}" for i in range(23)], b, known)))  # fmt: skip
    wanted = []
    for i in range(37):
        distances = [(sum(int(x ^ y).bit_count() for x, y in zip(a[i], b[j], strict=True)), j)
                     for j in range(23) if known[j]]  # fmt: skip
        if min(distances)[0] <= leaks.MAX_DISTANCE:
            wanted.append((f"a{i}", f"b{min(distances)[1]}", min(distances)[0]))
    assert found == wanted
    assert len(found) >= 9


def test_the_command_has_help_and_imports_nothing_heavy():
    code = "import sys, meddel_hf.cli as cli\ntry: cli.main(['build', '--help'])\nfinally: print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "--preview" in out
    assert not set(out.split()) & {"torch", "numpy", "datasets", "transformers", "pyarrow", "PIL", "av", "scipy"}


def test_what_cannot_be_built(tmp_path, capsys):
    raw = make.write_folder(tmp_path / "raw", make.kvasir_sessile())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for options, message in (
        ({"sources": ["kvasir"]}, "unknown source 'kvasir': choose from gastrovision"),
        ({"fps": 0}, "fps must be above 0"),
        ({"workers": 0}, "workers must be at least 1"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            build(raw, tmp_path / "out", **options)
    with pytest.raises(InvalidArgument, match="was not made by meddel build"):
        build(raw, tmp_path / "mine", workers=1)
    with pytest.raises(InvalidDataset, match="does not exist"):
        build(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(InvalidDataset, match="no source of DataDEL was found in"):
        build(tmp_path / "mine", tmp_path / "out")
    assert main(["build", str(tmp_path / "mine"), "--out", str(tmp_path / "out")]) == 2
    assert "error: no source of DataDEL" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_out_inside_raw_is_not_read(tmp_path):
    raw = make.write_folder(tmp_path / "raw", make.kvasir_sessile())
    first = build(raw, raw / "datadel", workers=1, previews=True)
    again = build(raw, raw / "datadel", workers=1, previews=True)
    assert again.reused == 1
    assert first.unclaimed == again.unclaimed == ()


def test_push_refuses_what_the_licences_forbid(datadel, hub: HubSession, tmp_path):
    with pytest.raises(InvalidArgument) as caught:
        push(datadel, "user/datadel")
    message = str(caught.value)
    forbidden = [s.name for s in SOURCES.values() if not s.licence.redistribution]
    assert forbidden
    for name in SOURCES:
        assert (f"{name} (" in message) == (name in forbidden)
    assert hub.requests == []

    code = (
        "from huggingface_hub import HfApi\nfrom meddel_hf.hub.push import push\n"
        "from meddel_hf.errors import MedDELError\n"
        "HfApi().create_repo('user/public', repo_type='dataset')\n"
        f"try:\n    push({str(datadel)!r}, 'user/public', private=True)\n"
        "except MedDELError as error:\n    print(error)"
    )
    assert "user/public exists and is public, and is asked to be private" in hub.run(code)
    assert hub.files("user/public", "dataset") in ([], [".gitattributes"])


def test_a_subset_is_published_only_where_its_sources_may_be(datadel, tmp_path):
    for source, allowed in (("kvasir_seg", False), ("polypgen2021", True)):
        pool = load_dataset(str(datadel), source, split="train", cache_dir=str(tmp_path / "cache"))
        vectors = np.random.default_rng(0).standard_normal((len(pool), 8)).astype("f4")
        selection = MedDEL(eta=1.0, epsilon=None, scope="pool").select(vectors)
        folder = save_subset(selection.filter(pool), tmp_path / source)
        assert [found.name for found in publishing.forbidden(folder)] == ([] if allowed else [source])
    with pytest.raises(InvalidArgument, match="kvasir_seg"):
        push(tmp_path / "kvasir_seg", "user/subset")


def test_pushed_and_loaded_over_http(datadel, hub: HubSession):
    hub.call([*MEDDEL, "push", str(datadel), "user/datadel", "--private"])
    assert not [name for name in hub.files("user/datadel", "dataset") if ".build" in name]
    code = """
from datasets import concatenate_datasets, get_dataset_config_names, load_dataset
names = get_dataset_config_names("user/datadel")
print(len(names))
c3 = load_dataset("user/datadel", "polypgen2021_c3", split="train")
print(c3["id"][:], c3[0]["image"].size)
stream = load_dataset("user/datadel", "kvasir_seg", split="train", streaming=True)
print([row["id"] for row in stream], next(iter(stream))["mask"].size)
print(len(concatenate_datasets([c3, load_dataset("user/datadel", "gastrovision", split="train")])))
"""
    assert hub.run(code).splitlines() == [
        str(len(CONFIGS)),
        "['polypgen2021/data_C3/images_C3/C3_EndoCV2021_00489_'] (96, 80)",
        "['kvasir_seg/images/cju0a', 'kvasir_seg/images/cju0b', 'kvasir_seg/images/cju0c'] (96, 80)",
        "5",
    ]


def test_a_source_that_may_be_published_is(raw, hub: HubSession, tmp_path):
    done = build(raw, tmp_path / "open", sources=["polypgen2021", "edd2020"], workers=1)
    scripts = Path(__file__).parents[2] / "dataset_scripts"
    hub.call([sys.executable, str(scripts / "push_datadel.py"), str(done.out), "user/open"])
    card = hub.read("user/open", "README.md", "dataset").decode()
    assert "CC BY 4.0" in card
    details = json.loads(hub.read("user/open", "manifest.json", "dataset"))["details"]
    assert details["sources"] == {"edd2020": 3, "polypgen2021": 8}


def test_the_script_builds_what_the_command_builds(raw, datadel, tmp_path):
    script = Path(__file__).parents[2] / "dataset_scripts" / "build_datadel.py"
    done = alone(script, raw, "--out", tmp_path / "datadel", "--source", "edd2020", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "edd2020" in done.stdout
    shards = [name for name in content(tmp_path / "datadel") if name.startswith("data/")]
    assert [content(tmp_path / "datadel")[name] for name in shards] == [content(datadel)[name] for name in shards]


def test_a_folder_that_another_step_made_is_left_alone(tmp_path):
    Manifest("selection", "x").write(make.write_folder(tmp_path / "sel", {"rows.parquet": io.BytesIO().read()}))
    with pytest.raises(InvalidArgument, match="not made by meddel build"):
        build(make.write_folder(tmp_path / "raw", make.kvasir_sessile()), tmp_path / "sel")
    assert building.REJECTED not in {path.name for path in (tmp_path / "sel").iterdir()}

"""What leaves the machine: metadata told, left out or asked about; ids hashed with a key that stays; no local paths."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import re
import stat
import textwrap
from dataclasses import replace
from pathlib import Path

import make_metadata as make
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import HubSession
from data.metadata.test_metadata import pixels, same
from datasets import Dataset, Features, Image, List, Value, load_dataset
from hub.test_push import ROWS, kept_only

from meddel_hf.cli import main
from meddel_hf.data.outgoing import look, texts_of
from meddel_hf.data.privacy import hashed, id_key
from meddel_hf.errors import InvalidArgument, UnreadableImage
from meddel_hf.hub.push import push
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.selection.folder import save_subset

KINDS = [make.jpeg(6), make.png(), make.tiff(3), make.webp(8), make.gif(), make.jp2(), make.ppm(), make.bmp()]
KEPT = range(2, 10)  # eight rows, one of each kind
SECRET = make.SECRET.decode()


def pool(images: list[bytes] = KINDS) -> Dataset:
    """Frames and masks with metadata; ids, groups and the images' names are a patient's."""
    cells = [{"bytes": images[i % len(images)], "path": f"{SECRET}-{i}.img"} for i in range(ROWS)]
    data = {
        "id": [f"ward/{SECRET}/{i:02}" for i in range(ROWS)],
        "image": cells,
        "mask": cells,
        "views": [[cell, cell] for cell in cells],
        "group": [SECRET, None] * (ROWS // 2),
    }
    images = {"image": Image(), "mask": Image(), "views": List(Image())}
    return Dataset.from_dict(data, features=Features({"id": Value("string"), **images, "group": Value("string")}))


def selection(dataset: Dataset):
    """Made from a pool and an encoder by the paths where they lie."""
    found = kept_only(dataset, *KEPT)
    ids = dataset["id"][:]
    table = found.table.set_column(0, "id", [ids])
    table = table.set_column(3, "duplicate_of", [[None] + [ids[0]] * (ROWS - 1)])
    origin = replace(found.origin, spec=f"/home/{SECRET}/frames:ward@train", encoder=f"/home/{SECRET}/models/mae")
    return replace(found, table=table, origin=origin, settings={**found.settings, "encoder": f"/home/{SECRET}/mae"})


def everything(folder: Path) -> bytes:
    """Bytes of a folder's files, of Parquet files what stands in them."""
    found = b""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found += str(path.relative_to(folder)).encode() + path.read_bytes()
            if path.suffix == ".parquet":
                found += repr(pq.read_table(path).to_pylist()).encode()
    return found


def test_stripped_and_hashed_nothing_of_a_patient_is_left(tmp_path, capsys):
    frames = pool()
    subset = selection(frames).filter(frames)
    folder = save_subset(subset, tmp_path / "subset", strip_metadata=True, hash_ids=True)
    assert make.SECRET not in everything(folder)
    assert make.SECRET in everything(save_subset(subset, tmp_path / "plain"))
    rows = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    for name in ("image", "mask"):
        closed = rows.cast_column(name, Image(decode=False))
        for row, number in zip(closed, KEPT, strict=True):
            assert same(pixels(row[name]["bytes"]), pixels(KINDS[number % len(KINDS)]))
            assert row[name]["path"] is None
    said = json.loads((folder / "manifest.json").read_text())["details"]
    assert said["metadata"]["left_out"] is True
    assert said["metadata"]["images"] == 4 * len(KEPT)
    assert said["metadata"]["carrying"] == 4 * (len(KEPT) - 1)  # a BMP carries none
    assert said["hashed"] == ["id", "group"]


def test_hashed_ids_are_those_of_the_key_that_stays_here(tmp_path):
    frames = pool()
    chosen = selection(frames)
    folder = save_subset(chosen.filter(frames), tmp_path / "subset", hash_ids=True)
    key_file = tmp_path / "subset.key"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    key = bytes.fromhex(key_file.read_text())
    rows = pq.read_table(next((folder / "data").iterdir()))
    digest = [hmac.new(key, id.encode(), hashlib.sha256).hexdigest()[:32] for id in chosen.kept]
    assert rows["id"].to_pylist() == digest
    group = hmac.new(key, SECRET.encode(), hashlib.sha256).hexdigest()[:32]
    assert rows["group"].to_pylist() == [group, None] * 4
    again = save_subset(chosen.filter(frames), tmp_path / "again", hash_ids=key_file)
    assert pq.read_table(next((again / "data").iterdir())).equals(rows)
    other = save_subset(chosen.filter(frames), tmp_path / "other", hash_ids=True)
    assert not set(pq.read_table(next((other / "data").iterdir()))["id"].to_pylist()) & set(digest)


def test_keys_that_cannot_be_are_refused(tmp_path):
    frames = pool()
    subset = selection(frames).filter(frames)
    with pytest.raises(InvalidArgument, match="made to be published"):
        save_subset(subset, tmp_path / "subset", hash_ids=tmp_path / "subset" / "key")
    (tmp_path / "key").write_text("secret")
    with pytest.raises(InvalidArgument, match="is no key"):
        save_subset(subset, tmp_path / "subset", hash_ids=tmp_path / "key")
    assert hashed("a", id_key(tmp_path / "new")) == hashed("a", id_key(tmp_path / "new"))


def test_an_image_that_cannot_be_read_is_told_and_not_published_as_clean(tmp_path):
    frames = pool([b"\x89HDF" + make.SECRET, *KINDS])
    subset = selection(frames).filter(frames)
    with pytest.raises(UnreadableImage, match=rf"{SECRET}-9\.img cannot be left out .*does not know"):
        save_subset(subset, tmp_path / "subset", strip_metadata=True)
    assert not (tmp_path / "subset").exists()
    found = look(save_subset(subset, tmp_path / "subset"))
    assert found.unread == 4  # the image, the mask, two views
    assert "4 of 32 images could not be looked at" in found.lines()[1]


def test_push_asks_before_it_publishes_names(tmp_path):
    frames = pool()
    folder = save_subset(selection(frames).filter(frames), tmp_path / "subset")
    with pytest.raises(InvalidArgument) as told:
        push(folder, "me/frames")
    text = str(told.value)
    assert "Artist (16)" in text  # JPEG, PNG, TIFF and WebP; four images a row
    assert "GPSInfo (16)" in text
    assert "--strip-metadata" in text
    assert "--yes-with-metadata" in text
    assert "Software" not in text
    clean = save_subset(selection(frames).filter(frames), tmp_path / "clean", strip_metadata=True)
    assert look(clean).lines() == []


def test_push_asks_before_it_publishes_patients(hub: HubSession, tmp_path):
    """Frames without metadata, and a column patient: in a folder, from Python, and hashed."""
    frames = pool([make.bmp()]).add_column("patient", [None, "Meyer_Anna"] * (ROWS // 2))
    chosen = kept_only(frames, *KEPT)
    chosen.save(hub.home / "selection")
    frames.save_to_disk(hub.home / "pool")
    save_subset(chosen.filter(frames), hub.home / "plain")
    save_subset(chosen.filter(frames), hub.home / "hashed", hash_ids=True)
    code = """
        from datasets import load_from_disk
        from meddel_hf import Selection
        from meddel_hf.cli import main
        from meddel_hf.errors import InvalidArgument
        subset = Selection.load("selection").filter(load_from_disk("pool"))
        try:
            subset.push_to_hub("me/python")
        except InvalidArgument as error:
            print(error)
        subset.push_to_hub("me/python-hashed", hash_ids="ids.key")
        assert main(["push", "plain", "me/plain"]) == 2
        assert main(["push", "hashed", "me/hashed"]) == 0
        assert main(["push", "plain", "me/yes", "--yes-with-metadata"]) == 0
    """
    said = hub.run(textwrap.dedent(code))
    told = "was not pushed: its column patient holds 1 different values, such as Meyer_Anna, and ids may name people"
    assert f"me/python {told}" in said
    assert ("dataset", "me/plain") not in hub.server.storage.repos
    assert ("dataset", "me/python") not in hub.server.storage.repos
    for repo, names in (("python-hashed", False), ("hashed", False), ("yes", True)):
        there = b"".join(hub.read(f"me/{repo}", name, "dataset") for name in hub.files(f"me/{repo}", "dataset"))
        assert (b"Meyer_Anna" in there) is names, repo


def test_ids_that_a_selection_publishes_are_told(hub: HubSession, tmp_path):
    frames = pool([make.bmp()])
    kept_only(frames, *KEPT).save(hub.home / "selection")
    code = "import sys; from meddel_hf.cli import main; sys.stderr = sys.stdout\n"
    code += "assert main(['push', 'selection', 'me/open']) == 0\n"
    code += "assert main(['push', 'selection', 'me/hashed', '--hash-ids', 'k.key']) == 0"
    said = hub.run(code)
    first = frames["id"][0]
    assert said.count(f"ids are published as they are, such as {first}: --hash-ids hashes them") == 1


def test_filter_says_what_it_found(tmp_path, capsys):
    (tmp_path / "frames").mkdir()
    for i in range(ROWS):
        (tmp_path / "frames" / f"{i:02}.jpg").write_bytes(make.jpeg() if i < 5 else make.bmp())
    from meddel_hf.data.pool import load_pool

    dataset = load_pool(str(tmp_path / "frames"))
    kept_only(dataset, *range(12)).save(tmp_path / "selection")
    arguments = ["filter", str(tmp_path / "selection"), str(tmp_path / "frames"), "--out", str(tmp_path / "subset")]
    assert main(arguments) == 0
    assert "metadata: 5 of 12 images carry Artist (5)," in capsys.readouterr().err
    assert main([*arguments, "--strip-metadata", "--hash-ids"]) == 0
    said = capsys.readouterr()
    assert "it was left out" in said.err
    assert f"{tmp_path}/subset.key" in said.err
    assert "columns as they came: image" in said.err
    assert make.SECRET not in everything(tmp_path / "subset")


def test_what_is_pushed(hub: HubSession, tmp_path):
    """Both kinds of folders and a data set, with each answer to the question; nothing local stands in a manifest."""
    frames = pool()
    chosen = selection(frames)
    frames.save_to_disk(hub.home / "pool")
    chosen.save(hub.home / "selection")
    save_subset(chosen.filter(frames), hub.home / "subset")
    code = """
        from datasets import load_from_disk
        from meddel_hf import Selection
        from meddel_hf.cli import main
        from meddel_hf.errors import InvalidArgument
        assert main(["push", "subset", "me/asked"]) == 2
        assert main(["push", "subset", "me/yes", "--yes-with-metadata"]) == 0
        assert main(["push", "subset", "me/clean", "--strip-metadata"]) == 0
        assert main(["push", "selection", "me/why"]) == 0
        assert main(["push", "selection", "me/hashed", "--hash-ids", "ids.key"]) == 0
        subset = Selection.load("selection").filter(load_from_disk("pool"))
        try:
            subset.push_to_hub("me/python")
        except InvalidArgument as error:
            assert "Artist" in str(error)
        else:
            raise AssertionError
        subset.push_to_hub("me/python", strip_metadata=True, hash_ids="ids.key")
        subset.push_to_hub("me/python-yes", yes_with_metadata=True)
    """
    before = everything(hub.home / "subset")
    hub.run(textwrap.dedent(code))
    assert everything(hub.home / "subset") == before

    def there(repo: str) -> Path:
        folder = tmp_path / repo
        for name in hub.files(f"me/{repo}", "dataset"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(hub.read(f"me/{repo}", name, "dataset"))
        return folder

    assert ("dataset", "me/asked") not in hub.server.storage.repos
    assert make.SECRET in everything(there("yes"))
    for repo in ("clean", "python", "hashed"):
        assert look(there(repo)).lines() == []
    for repo in ("python", "hashed"):
        assert make.SECRET not in everything(there(repo))
    assert f"/home/{SECRET}".encode() not in b"".join(everything(there(r)) for r in ("yes", "clean", "why", "hashed"))
    key = id_key(hub.home / "ids.key")
    ids = [hashed(id, key) for id in frames["id"][:]]
    rows = pq.read_table(there("hashed") / "rows.parquet")
    assert rows["id"].to_pylist() == ids
    assert set(rows["duplicate_of"].to_pylist()) == {None, ids[0]}
    (shard,) = (there("python") / "data").iterdir()
    assert pq.read_table(shard)["id"].to_pylist() == [ids[row] for row in KEPT]
    closed = [row["image"]["bytes"] for row in pq.read_table(next((there("clean") / "data").iterdir())).to_pylist()]
    assert all(same(pixels(data), pixels(KINDS[row % len(KINDS)])) for data, row in zip(closed, KEPT, strict=True))
    from meddel_hf import Selection

    for repo, step in (("clean", "subset"), ("yes", "subset"), ("why", "selection")):
        Manifest.read(there(repo), step).check(there(repo))
    assert np.array_equal(Selection.load(there("why")).table["kept"], chosen.table["kept"])
    assert Selection.load(there("why")).origin.spec == "frames:ward@train"


def test_ids_of_a_folder_are_hashed_where_it_is_written(tmp_path):
    frames = pool()
    folder = save_subset(selection(frames).filter(frames), tmp_path / "subset")
    with pytest.raises(InvalidArgument, match="meddel filter --hash-ids"):
        push(folder, "me/frames", hash_ids=tmp_path / "key")


def test_the_page_does_what_it_says(hub: HubSession):
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "privacy.md").read_text(encoding="utf-8")
    (hub.home / "frames").mkdir()
    for i in range(ROWS):
        (hub.home / "frames" / f"{i:02}.jpg").write_bytes(make.jpeg())
    from meddel_hf.data.pool import load_pool

    kept_only(load_pool(str(hub.home / "frames")), *KEPT).save(hub.home / "selection")
    blocks = re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    commands = [line.removeprefix("$ meddel ").split() for block in blocks for line in block.splitlines()]
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    hub.run(f"from meddel_hf.cli import main\nfor command in {commands}:\n    assert main(command) == 0\n{code}")
    for repo, clean in (("subset", True), ("subset-as-it-is", False), ("clean", True)):
        (name,) = [name for name in hub.files(f"me/{repo}", "dataset") if name.endswith(".parquet")]
        assert (make.SECRET in hub.read(f"me/{repo}", name, "dataset")) is not clean
    rows = pq.read_table(io.BytesIO(hub.read("me/clean-why", "rows.parquet", "dataset")))
    name = next(name for name in hub.files("me/clean", "dataset") if name.endswith(".parquet"))
    kept = rows.filter(rows["kept"])["id"].to_pylist()
    assert pq.read_table(io.BytesIO(hub.read("me/clean", name, "dataset")))["id"].to_pylist() == kept


def test_texts_beside_image_files_may_hold_other_ends_of_lines(tmp_path):
    row = {"file_name": "a.png", "patient": "a\u2028b\x85c"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert texts_of(tmp_path, ["patient"]) == {"patient": [row["patient"]]}

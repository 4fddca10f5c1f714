"""Archives that are damaged or hostile: a clear sentence or a rejected row, and nothing is written elsewhere."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import make_archives as make
import numpy as np
import pyarrow.parquet as pq
import pytest
from make_metadata import png_of
from PIL import Image

from meddel_hf.datadel.archives import members
from meddel_hf.datadel.archives.members import Members
from meddel_hf.datadel.archives.scan import scan
from meddel_hf.datadel.build import build
from meddel_hf.errors import InvalidDataset, UnreadableArchive

GOOD = {"Kvasir-SEG/images/cju0a.jpg": make.jpeg(1), "Kvasir-SEG/masks/cju0a.jpg": make.mask("JPEG")}
A = "kvasir_seg/images/cju0a"


def reasons(raw: Path, out: Path) -> tuple[list[str], dict[str, str]]:
    """Ids that were built, and reasons by path of what was kept out; nothing but `out` changes."""
    outside = listing(raw.parent, out)
    done = build(raw, out, workers=1)
    assert listing(raw.parent, out) == outside
    assert not list(out.rglob("*.part"))
    ids = [row["id"] for f in sorted((out / "data").rglob("*.parquet")) for row in pq.read_table(f).to_pylist()]
    assert len(ids) == done.facts.rows()
    return ids, listed(out, "kept out")


def listed(out: Path, kind: str) -> dict[str, str]:
    """Reasons by path of what a build lists as of a kind."""
    rows = pq.read_table(out / "rejected.parquet").to_pylist()
    return {row["path"]: row["reason"] for row in rows if row["kind"] == kind}


def listing(folder: Path, but: Path) -> list[tuple[str, int]]:
    found = [path for path in folder.rglob("*") if but not in (path, *path.parents)]
    return sorted((str(path), path.lstat().st_mtime_ns) for path in found)


@pytest.mark.parametrize("name", ["kvasir-sessile.zip", "kvasir-sessile.tar.gz", "kvasir-sessile.tar"])
def test_an_unfinished_archive_is_named_and_the_others_are_built(name, tmp_path):
    files = {f"images/{n}.jpg": make.jpeg(n) for n in range(20)}
    whole = make.zipped(files) if name.endswith("zip") else make.tarred(files, "gz" if name.endswith("gz") else "")
    raw = make.write_folder(tmp_path / "raw", {**GOOD, name: whole[: len(whole) // 2]})
    ids, found = reasons(raw, tmp_path / "out")
    assert ids == [A]
    path = f"raw/{name}"
    if name.endswith("tar"):  # its files are listed one by one, so the whole ones can be used
        assert any("unfinished" in reason or "no mask" in reason or "damaged" in reason for reason in found.values())
    else:
        assert found[path].startswith("damaged or unfinished archive (")
        assert found[path].endswith("download it again")


def test_nothing_but_damaged_archives_is_an_error_that_says_so(tmp_path):
    raw = make.write_folder(tmp_path / "raw", {"kvasir-seg.zip": make.zipped(GOOD)[:-30], "CVC-ClinicDB.rar": b"Rar!"})
    with pytest.raises(InvalidDataset) as caught:
        build(raw, tmp_path / "out", workers=1)
    message = str(caught.value)
    assert "raw/kvasir-seg.zip: damaged or unfinished archive" in message
    assert "a RAR archive, which cannot be read here: unpack it first (unrar x 'CVC-ClinicDB.rar'" in message
    assert not (tmp_path / "out").exists()


def hostile_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in GOOD.items():
            archive.writestr(name, content)
        archive.writestr("../../Kvasir-SEG/images/cju0up.jpg", make.jpeg(2))
        archive.writestr("/tmp/Kvasir-SEG/images/cju0abs.jpg", make.jpeg(3))
        archive.writestr("C:\\Kvasir-SEG\\images\\cju0drive.jpg", make.jpeg(4))
        archive.writestr("Kvasir-SEG\\..\\..\\cju0back.jpg", make.jpeg(5))
        link = zipfile.ZipInfo("Kvasir-SEG/images/cju0link.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return file.getvalue()


def test_zip_names_that_lead_out_and_links(tmp_path):
    raw = make.write_folder(tmp_path / "raw", {"x.zip": hostile_zip()})
    ids, found = reasons(raw, tmp_path / "out")
    assert ids == [A]
    assert sorted(found.values()) == [
        "a link: only plain files are read", "its name is an absolute path", "its name is an absolute path",
        "its name leads out of the archive", "its name leads out of the archive",
    ]  # fmt: skip


def test_tar_names_that_lead_out_links_and_devices(tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in {**GOOD, "../up.jpg": b"x", "/abs.jpg": b"x"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for kind, name in ((tarfile.SYMTYPE, "soft"), (tarfile.LNKTYPE, "hard"), (tarfile.FIFOTYPE, "pipe")):
            info = tarfile.TarInfo(f"Kvasir-SEG/images/cju0{name}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    raw = make.write_folder(tmp_path / "raw", {"x.tar.gz": file.getvalue()})
    ids, found = reasons(raw, tmp_path / "out")
    assert ids == [A]
    assert sorted(found.values()) == [*["a link: only plain files are read"] * 3, "its name is an absolute path",
                                      "its name leads out of the archive"]  # fmt: skip


def test_a_tar_that_claims_more_than_it_can_hold(tmp_path):
    info = tarfile.TarInfo("Kvasir-SEG/images/cju0b.jpg")
    info.size = 10**13
    raw = make.write_folder(tmp_path / "raw", {**GOOD, "x.tar": info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)})
    _, found = reasons(raw, tmp_path / "out")
    assert "claims 10,000,000,000,000 bytes in an archive of 1,536" in found["raw/x.tar"]


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(members, "MAX_FILE", 1_000_000)
    bomb = {**GOOD, "Kvasir-SEG/images/cju0b.jpg": bytes(2_000_000), "Kvasir-SEG/masks/cju0b.jpg": make.mask()}
    raw = make.write_folder(tmp_path / "raw", {"x.zip": make.zipped(bomb)})
    ids, found = reasons(raw, tmp_path / "out")
    assert ids == [A]
    assert found["raw/x/Kvasir-SEG/images/cju0b.jpg"] == "too large: 2,000,000 bytes, at most 1,000,000 are read"


def test_archives_in_archives_in_archives_end(tmp_path):
    data = make.zipped(GOOD)
    for level in range(5):
        data = make.zipped({f"{level}.zip": data})
    raw = make.write_folder(tmp_path / "raw", {**GOOD, "deep.zip": data})
    ids, found = reasons(raw, tmp_path / "out")
    assert ids == [A]
    assert list(found.values()) == ["an archive 3 archives deep: unpack it first"]


def test_frames_and_masks_that_do_not_pass(tmp_path):
    frames = {
        "huge": (png_of(100_000, 100_000), make.mask(), "too large to be decoded"),
        "cut": (make.jpeg(2)[:900], make.mask(), "truncated"),
        "empty": (b"", make.mask(), "empty file"),
        "page": (b"<html>404</html>", make.mask(), "not an image"),
        "other": (make.jpeg(3), make.mask(size=(95, 80)), "mask other.png is 95 x 80 pixels, its frame 96 x 80"),
        "bare": (make.jpeg(4), None, "no mask was found beside this frame"),
        "bad": (make.jpeg(5), make.mask()[:60], "mask bad.png: truncated"),
        "bomb": (make.jpeg(6), png_of(100_000, 100_000), "mask bomb.png: too large to be decoded"),
    }
    files = {**GOOD, **{f"Kvasir-SEG/images/{name}.jpg": image for name, (image, _, _) in frames.items()},
             **{f"Kvasir-SEG/masks/{name}.png": mask for name, (_, mask, _) in frames.items() if mask}}  # fmt: skip
    ids, found = reasons(make.write_folder(tmp_path / "raw", files), tmp_path / "out")
    assert ids == [A]
    for name, (_, _, reason) in frames.items():
        assert found[f"raw/Kvasir-SEG/images/{name}.jpg"].startswith(reason)


def test_masks_of_other_kinds_are_read_or_kept_out_and_never_empty_without_a_word(tmp_path):
    ones = make.ellipse().astype(np.uint8)
    dark = Image.frombytes("P", make.SIZE, ones.tobytes())
    dark.putpalette([0, 0, 0, 0, 0, 128])
    masks = {
        "ones": make.encoded(Image.fromarray(ones), "PNG"), "dark": make.encoded(dark, "PNG"),
        "blank": make.mask(empty=True), "sevens": make.encoded(Image.fromarray(ones * np.uint8(7)), "PNG"),
    }  # fmt: skip
    files = {f"Kvasir-SEG/images/{name}.jpg": make.jpeg(n) for n, name in enumerate(masks)}
    files |= {f"Kvasir-SEG/masks/{name}.png": mask for name, mask in masks.items()}
    ids, found = reasons(make.write_folder(tmp_path / "raw", files), tmp_path / "out")
    assert {id.rpartition("/")[2] for id in ids} == {"ones", "dark", "blank"}
    assert found == {"raw/Kvasir-SEG/images/sevens.jpg": "mask sevens.png: holds 0, 7: expected 0 and 255, or 0 and 1"}
    rows = pq.read_table(next((tmp_path / "out/data").rglob("*.parquet"))).to_pylist()
    drawn = {row["id"].rpartition("/")[2]: np.asarray(Image.open(io.BytesIO(row["mask"]["bytes"]))) for row in rows}
    for name, pixels in drawn.items():
        np.testing.assert_array_equal(pixels, ones * np.uint8(255 * (name != "blank")))
    records = [json.loads(path.read_text()) for path in (tmp_path / "out").rglob("*.json")]
    assert [record["empty_masks"] for record in records if "empty_masks" in record] == [1]


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ("polyp 10 8 200 70", "a box of 'polyp' from (10, 8) to (200, 70) is not inside its frame of 96 x 80 pixels"),
        ("polyp 10 8 10 70", "a box of 'polyp' from (10, 8) to (10, 70) is empty"),
        ("wart 10 8 60 70", "unknown class 'wart' of a box: expected one of polyp"),
        ("polyp 10 8 nan 70", "a box of 'polyp' from (10, 8) to (nan, 70) is empty"),
        ("polyp 10 8", "C1x_mask.txt: the line 'polyp 10 8' is not a box"),
    ],
)
def test_a_box_that_does_not_fit_costs_neither_its_frame_nor_the_box_beside_it(box, reason, tmp_path):
    files = {**GOOD, "data_C1/images_C1/C1x.jpg": make.jpeg(1), "data_C1/masks_C1/C1x_mask.jpg": make.mask("JPEG"),
             "data_C1/bbox_C1/C1x_mask.txt": f"polyp 1 2 30 40\n{box}\n"}  # fmt: skip
    ids, found = reasons(make.write_folder(tmp_path / "raw", files), tmp_path / "out")
    assert ids == [A, "polypgen2021/data_C1/images_C1/C1x"]
    assert found == {}
    told = listed(tmp_path / "out", "remark")
    assert told == {"raw/data_C1/images_C1/C1x.jpg": f"built with a box left out: {reason}"}
    rows = pq.read_table(next((tmp_path / "out/data/polypgen2021").rglob("*.parquet"))).to_pylist()
    assert rows[0]["boxes"] == [{"label": "polyp", "bbox": [1, 2, 29, 38]}]


def test_a_damaged_file_inside_a_whole_archive(tmp_path):
    files = {**GOOD, "Kvasir-SEG/images/cju0b.jpg": make.jpeg(2), "Kvasir-SEG/masks/cju0b.jpg": make.mask("JPEG")}
    data = bytearray(make.zipped(files))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        start = archive.getinfo("Kvasir-SEG/images/cju0b.jpg").header_offset
    data[start + 300 : start + 340] = bytes(40)
    ids, found = reasons(make.write_folder(tmp_path / "raw", {"x.zip": bytes(data)}), tmp_path / "out")
    assert ids == [A]
    assert found["raw/x/Kvasir-SEG/images/cju0b.jpg"].startswith("cannot be read from its archive: ")


def test_an_encrypted_zip_is_said_to_be(tmp_path):
    data = bytearray(make.zipped(GOOD))
    for at in range(len(data) - 4):  # the encryption bit of every header
        if data[at : at + 4] in (b"PK\x01\x02", b"PK\x03\x04"):
            data[at + (8 if data[at + 2] == 1 else 6)] |= 1
    raw = make.write_folder(tmp_path / "raw", {**make.kvasir_sessile(), "x.zip": bytes(data)})
    _, found = reasons(raw, tmp_path / "out")
    assert set(found.values()) == {"encrypted: unpack it with its password first"}


def test_names_that_are_not_text_and_links_in_a_loop(tmp_path):
    raw = make.write_folder(tmp_path / "raw", GOOD)
    Path(os.fsdecode(bytes(raw) + b"/Kvasir-SEG/images/\xff.jpg")).write_bytes(make.jpeg(2))
    (raw / "Kvasir-SEG" / "loop").symlink_to(raw)
    ids, found = reasons(raw, tmp_path / "out")
    assert ids == [A]
    assert list(found.values()) == ["its name is not UTF-8"]


def test_a_compressed_tar_is_read_in_any_order(tmp_path):
    files = {f"{n:02}.bin": bytes([n]) * (1000 + n) for n in range(40)}
    raw = make.write_folder(tmp_path / "raw", {"x.tar.gz": make.tarred(files)})
    tree = scan([raw])
    entries = tree.folders["raw/x"]
    reader = Members(tree.containers)
    order = [3, 39, 0, 20, 1, 21, 2, 22, 38, 3]
    assert [reader.read(entries[n]) for n in order] == [files[f"{n:02}.bin"] for n in order]
    with reader.stream(entries[7]) as file:
        assert file.seek(-3, io.SEEK_END) == 1004
        assert file.read() == b"\x07\x07\x07"
    reader.close()


def test_a_file_that_changed_after_the_scan(tmp_path):
    raw = make.write_folder(tmp_path / "raw", GOOD)
    tree = scan([raw])
    path, entry = raw / "Kvasir-SEG/images/cju0a.jpg", tree.folders["raw/Kvasir-SEG/images"][0]
    before = path.stat()
    path.write_bytes(b"short")
    for _ in range(2):
        with pytest.raises(UnreadableArchive, match=r"cju0a\.jpg was changed while the build ran: build again"):
            Members(tree.containers).read(entry)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UnreadableArchive, match=r"cju0a\.jpg was changed"):
        Members(tree.containers).read(entry)
    with pytest.raises(OSError, match=r"cju0a\.jpg is no longer a plain file"):
        Members(tree.containers).stream(entry)

"""Each source in each of its layouts: what the owner's files hold is what stands in the rows, quirks included."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import make_archives as make
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from meddel_hf.datadel.build import Build, build
from meddel_hf.datadel.registry import SOURCES

BOX = [10, 8, 50, 62]  # of make_archives.kvasir_boxes, as x, y, width, height


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    files = sorted((out / "data").rglob("*.parquet"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def rejected(out: Path) -> dict[str, str]:
    """Reason by path."""
    return {row["path"]: row["reason"] for row in pq.read_table(out / "rejected.parquet").to_pylist()}


def built(tmp_path: Path, files: make.Files, **options: Any) -> tuple[dict[str, dict[str, Any]], Build]:
    raw = make.write_folder(tmp_path / "raw", files)
    done = build(raw, tmp_path / "out", workers=1, **options)
    return rows_of(done.out), done


def pixels(image: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image["bytes"])))


def mask_of(row: dict[str, Any]) -> np.ndarray:
    found = pixels(row["mask"])
    assert found.ndim == 2
    assert set(np.unique(found)) <= {0, 255}
    assert found.shape == (row["height"], row["width"])
    return found == 255


def boxes_of(row: dict[str, Any]) -> list[tuple[str, list[float]]]:
    return [(box["label"], box["bbox"]) for box in row["boxes"]]


@pytest.fixture(scope="module")
def all_sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict[str, Any]], Build]:
    raw = make.everything(tmp_path_factory.mktemp("raw"))
    done = build(raw, tmp_path_factory.mktemp("built") / "datadel", fps=2, workers=1)
    return rows_of(done.out), done


def test_all_fourteen_are_found(all_sources):
    rows, done = all_sources
    assert {row["source"] for row in rows.values()} == set(SOURCES) == {source.name for source in done.facts.sources}
    assert len(SOURCES) == 14
    assert done.missing == ()
    for id, row in rows.items():
        assert id.startswith(f"{row['source']}/")
        assert Image.open(io.BytesIO(row["image"]["bytes"])).size == (row["width"], row["height"]) == make.SIZE


def test_jpeg_bytes_are_untouched(all_sources):
    rows, _ = all_sources
    assert rows["kvasir_seg/images/cju0b"]["image"] == {"bytes": make.jpeg(171), "path": "cju0b.jpg"}
    assert rows["gastrovision/Esophagitis/100H0004"]["image"]["bytes"] == make.jpeg(3)
    assert rows["cvc_300/bbdd/149"]["image"]["bytes"] == make.bmp(111)


def test_gastrovision_repeats_names_between_classes_and_spells_folders_anyhow(all_sources):
    rows, done = all_sources
    mine = {id.removeprefix("gastrovision/"): row for id, row in rows.items() if row["source"] == "gastrovision"}
    large = "Normal mucosa and vascular pattern in the large bowel"
    assert {id: row["label"] for id, row in mine.items()} == {
        "Colon polyps/100H0004": "Colon polyps", "Colon polyps/b": "Colon polyps",
        "Esophagitis/100H0004": "Esophagitis", f"{large}/d": large,
    }  # fmt: skip
    assert mine["Colon polyps/100H0004"]["official_split"] == "validate"
    assert mine["Esophagitis/100H0004"]["official_split"] == "train"
    assert rejected(done.out)["Ulcer/absent.jpg"] == "no such frame, though GastroVision_metadata.csv lists it"


def test_gastrovision_as_an_image_folder_and_an_unknown_class(tmp_path):
    files = {"GastroVision/train/Ulcer/a.jpg": make.jpeg(1), "GastroVision/val/Warts/b.jpg": make.jpeg(2)}
    rows, done = built(tmp_path, files)
    assert list(rows) == ["gastrovision/Ulcer/a"]
    assert rejected(done.out)["raw/GastroVision/val/Warts/b.jpg"].startswith("unknown class 'Warts': expected one of")


def test_hyper_kvasir_with_three_spellings_masks_and_videos(all_sources):
    rows, done = all_sources
    lower = "hyper_kvasir/labeled-images/lower-gi-tract/pathological-findings"
    assert rows[f"{lower}/hemorrhoids/h1"]["official_split"] == "fold 1"
    assert rows[f"{lower}/ulcerative-colitis-grade-0-1/u1"]["label"] == "ulcerative-colitis-grade-0-1"
    segmented = rows["hyper_kvasir/segmented-images/images/p1"]
    assert boxes_of(segmented) == [("polyp", BOX)]
    assert mask_of(segmented).any()
    assert rows["hyper_kvasir/unlabeled-images/images/n1"]["label"] is None
    assert rejected(done.out)["gone"] == "no such frame, though image-labels.csv lists it"
    frames = {id: row for id, row in rows.items() if "labeled-videos" in id and row["source"] == "hyper_kvasir"}
    assert [id.rpartition("/")[2] for id in frames] == ["000000", "000005", "000010", "000015", "000020"]
    for id, row in frames.items():  # 10 frames per second, frame n has the grey 4 n
        assert row["group"] == "v1"
        assert abs(pixels(row["image"]).mean() - 4 * int(id[-6:])) < 4


def test_videos_are_left_out_unless_a_rate_is_chosen(tmp_path):
    files = {"labelled_videos/x.mp4": make.video(4), **make.kvasir_seg()}
    _, done = built(tmp_path, files)
    assert "no rate of frames was chosen" in rejected(done.out)["raw/labelled_videos/x.mp4"]


def test_kvasir_capsule_in_a_tar_for_each_class(all_sources):
    rows, done = all_sources
    fresh = f"kvasir_capsule/labelled_images/Blood - fresh/{make.CAPSULE}"
    assert boxes_of(rows[f"{fresh}_0"]) == [("Blood - fresh", [10, 18, 42, 44])]
    assert rows[f"{fresh}_0"]["official_split"] == "split 0"
    assert rows[f"{fresh}_2"]["group"] == make.CAPSULE
    assert rows[f"kvasir_capsule/labelled_images/Ampulla of vater/{make.CAPSULE}_7"]["boxes"] == []
    assert f"{make.CAPSULE}_999" in rejected(done.out)


def test_kvasir_capsule_tars_inside_a_zip_give_the_same_rows(tmp_path, all_sources):
    files = {name: data for name, data in make.kvasir_capsule().items() if name.startswith("labelled_images")}
    rows, _ = built(tmp_path, {"labelled_images.zip": make.zipped(files)})
    assert {id: row["image"] for id, row in rows.items()} == {
        id: row["image"] for id, row in all_sources[0].items() if id.startswith("kvasir_capsule/labelled_images")
    }


def test_cvc_clinicdb_tiffs_that_pillow_refuses_become_png(all_sources):
    rows, _ = all_sources
    for number, sequence in ((1, "seq1"), (25, "seq1"), (26, "seq2")):
        row = rows[f"cvc_clinicdb/Original/{number}"]
        assert row["group"] == sequence
        assert row["image"]["path"] == f"{number}.png"
        np.testing.assert_array_equal(pixels(row["image"]), np.asarray(make.picture(30 + number)))
        np.testing.assert_array_equal(mask_of(row), make.ellipse())


def test_cvc_clinicdb_repack_takes_the_png(tmp_path):
    files = make.cvc_clinicdb_repack()
    rows, done = built(tmp_path, files)
    assert rows["cvc_clinicdb/Original/1"]["image"]["bytes"] == files["archive/PNG/Original/1.png"]
    np.testing.assert_array_equal(mask_of(rows["cvc_clinicdb/Original/1"]), make.ellipse())
    assert "raw/archive/TIF/Original/1.tif" not in rejected(done.out), "the same pixels are no second frame"
    other = {**files, "archive/TIF/Original/1.tif": make.refused_tiff(32)}
    _, done = built(tmp_path / "other", other)
    assert "second file of one id" in rejected(done.out)["raw/archive/TIF/Original/1.tif"]


def test_pranet_layout_feeds_five_sources(tmp_path):
    files = make.pranet()
    halves = {f"{half}.zip": {n: d for n, d in files.items() if half in n} for half in ("TestDataset", "TrainDataset")}
    rows, _ = built(tmp_path, {name: make.zipped(part) for name, part in halves.items()})
    assert sorted(rows) == [
        "cvc_300/bbdd/149", "cvc_300/bbdd/154", "cvc_clinicdb/Original/100", "cvc_clinicdb/Original/38",
        "cvc_clinicdb/Original/612", "cvc_colondb/images/1", "cvc_colondb/images/2",
        "etis_larib/ETIS-LaribPolypDB/1", "kvasir_seg/images/cju1x", "kvasir_seg/images/cju1y",
    ]  # fmt: skip
    assert rows["cvc_clinicdb/Original/612"]["group"] == "seq29"
    assert rows["kvasir_seg/images/cju1y"]["image"]["bytes"] == files["TrainDataset/image/cju1y.png"]
    for row in rows.values():
        np.testing.assert_array_equal(mask_of(row), make.ellipse())


def test_cvc_colondb_of_the_owner_ignores_contours_and_yields_to_the_380(tmp_path, all_sources):
    rows, _ = all_sources
    mine = [id for id in rows if id.startswith("cvc_colondb")]
    assert mine == ["cvc_colondb/CVC-ColonDB/1", "cvc_colondb/CVC-ColonDB/2"]
    np.testing.assert_array_equal(mask_of(rows[mine[0]]), make.ellipse())
    both, _ = built(tmp_path, {**make.cvc_colondb(), **make.pranet()}, sources=["cvc_colondb"])
    assert list(both) == ["cvc_colondb/images/1", "cvc_colondb/images/2"]


def test_cvc_300_in_the_repack_of_912(tmp_path):
    rows, _ = built(tmp_path, make.polyps912())
    assert {id: row["official_split"] for id, row in rows.items()} == {
        "cvc_300/bbdd/150": "test", "cvc_300/bbdd/300": "test",
    }  # fmt: skip


def test_ead2019_boxes_and_masks_of_five_pages(all_sources):
    rows, done = all_sources
    detection = rows["ead2019/trainingData_detection/00000"]
    first, second = boxes_of(detection)
    assert first == ("bubbles", [12, 20, 24, 40])
    assert second[0] == "specularity"
    assert second[1] == pytest.approx([81.6, 0, 9.6, 4], abs=1e-4)  # cut at the frame's border
    root = "ead2019/trainingData_semanticSegmentation/0_original_images"
    half = np.zeros((80, 96), bool)
    half[:, :48] = True
    np.testing.assert_array_equal(mask_of(rows[f"{root}/00000_batch2"]), half | make.ellipse())
    assert not mask_of(rows[f"{root}/00001"]).any()
    assert rows["ead2019/test_images_detection/00000"]["official_split"] == "test"
    classes = pq.read_table(sorted((done.out / "class_masks/ead2019").iterdir())[0]).to_pylist()
    mine = {row["label"]: pixels(row["mask"]) == 255 for row in classes if row["id"] == f"{root}/00000_batch2"}
    assert set(mine) == {"instrument", "specularity", "artifact", "bubbles", "saturation"}
    np.testing.assert_array_equal(mine["instrument"], make.ellipse())
    np.testing.assert_array_equal(mine["specularity"], half)
    assert not mine["bubbles"].any()


def test_edd2020_masks_in_three_forms(all_sources):
    rows, done = all_sources
    root = "edd2020/originalImages/EDD2020_ACB000"
    for number in (1, 2, 3):
        np.testing.assert_array_equal(mask_of(rows[f"{root}{number}"]), make.ellipse())
    assert boxes_of(rows[f"{root}1"]) == [("BE", BOX), ("suspicious", [20, 18, 20, 12])]
    classes = pq.read_table(sorted((done.out / "class_masks/edd2020").iterdir())[0]).to_pylist()
    shown = {(row["id"][-1], row["label"]) for row in classes if pixels(row["mask"]).any()}
    assert shown == {("1", "BE"), ("2", "polyp"), ("3", "cancer")}
    assert any("wart" in path for path in rejected(done.out))


def test_etis_masks_have_a_prefix(all_sources):
    np.testing.assert_array_equal(mask_of(all_sources[0]["etis_larib/ETIS-LaribPolypDB/1"]), make.ellipse())


def test_imageclefmed_lists_absent_frames(all_sources):
    rows, done = all_sources
    np.testing.assert_array_equal(mask_of(rows["imageclefmed/images/cl8a"]), make.ellipse())
    assert rows["imageclefmed/images/cl8b"]["mask"] is None
    assert rejected(done.out)["cl8gone"] == "no such frame, though gt.json lists it"


def test_kvasir_instrument_in_inner_archives(all_sources):
    rows, _ = all_sources
    a, b = rows["kvasir_instrument/images/a"], rows["kvasir_instrument/images/b"]
    assert (a["official_split"], b["official_split"]) == ("train", "test")
    assert boxes_of(a) == [("instrument", BOX)]
    np.testing.assert_array_equal(mask_of(b), make.ellipse())


def test_kvasir_seg_jpeg_masks_are_made_binary(all_sources):
    rows, done = all_sources
    files = make.kvasir_seg()
    for stem in make.SEG:
        row = rows[f"kvasir_seg/images/{stem}"]
        original = np.asarray(Image.open(io.BytesIO(files[f"Kvasir-SEG/masks/{stem}.jpg"])).convert("L"))
        assert len(np.unique(original)) > 2, "the fixture's mask is a JPEG that is not binary"
        np.testing.assert_array_equal(mask_of(row), original > 127)
        assert boxes_of(row) == [("polyp", BOX)]
    assert rejected(done.out)["cju0gone"] == "no such frame, though kavsir_bboxes.json lists it"


def test_kvasir_seg_repack_and_split(tmp_path):
    rows, _ = built(tmp_path, {**make.kvasir_seg_repack(), "kvasir-seg-train-val/val.txt": "cju0a\n"})
    assert list(rows) == ["kvasir_seg/images/cju0a"]
    assert boxes_of(rows["kvasir_seg/images/cju0a"]) == [("polyp", BOX)]
    assert rows["kvasir_seg/images/cju0a"]["official_split"] == "val"


def test_kvasir_seg_split_as_windows_writes_it(tmp_path):
    files = {**make.kvasir_seg_repack(), "kvasir-seg-train-val/train.txt": "\ufeffcju0a.JPG\r\ncju0b.JPG\r\n"}
    rows, _ = built(tmp_path, files)
    assert rows["kvasir_seg/images/cju0a"]["official_split"] == "train"


def test_kvasir_sessile_is_no_kvasir_seg(tmp_path):
    rows, _ = built(tmp_path, make.kvasir_sessile())
    assert list(rows) == ["kvasir_sessile/images/cju0a"]


def test_polypgen_names_boxes_and_sequences(all_sources):
    rows, _ = all_sources
    mine = {id.removeprefix("polypgen2021/"): row for id, row in rows.items() if row["source"] == "polypgen2021"}
    single = {row["center"]: row for id, row in mine.items() if id.startswith("data_C")}
    assert sorted(single) == ["c1", "c2", "c3", "c4", "c5", "c6"]
    assert {c: len(row["boxes"]) for c, row in single.items()} == {"c1": 1, "c2": 1, "c3": 0, "c4": 1, "c5": 1, "c6": 0}
    assert not mask_of(single["c6"]).any(), "empty masks are kept"
    assert "data_C3/images_C3/C3_EndoCV2021_00489_" in mine
    positive = mine["sequenceData/positive/seq2/images_seq2/seq2_C4_7"]
    assert (positive["center"], positive["group"], positive["label"]) == ("c4", "seq2", "positive")
    assert boxes_of(positive) == [("polyp", BOX)]
    negative = mine["sequenceData/negativeOnly/seq1_neg/seq1_neg_C2_1"]
    assert (negative["center"], negative["mask"], negative["label"]) == ("c2", None, "negative")
    assert len(mine) == 8, "overlays and imagesAll_positive are not read"


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_a_tar_gives_the_rows_of_the_folder(compression, tmp_path):
    files = make.kvasir_seg()
    folder, _ = built(tmp_path / "a", files)
    suffix = f".tar.{compression}" if compression else ".tar"
    packed, _ = built(tmp_path / "b", {f"kvasir-seg{suffix}": make.tarred(files, compression)})
    assert packed == folder


def test_counts_are_held_against_the_published_ones(all_sources):
    _, done = all_sources
    text = str(done)
    assert "differs: kvasir_seg, all: 3 frames found, 1,000 published" in text
    assert "polypgen2021, single frames, c1: 1 frame found, 256 published (unsure)" in text
    card = (done.out / "README.md").read_text()
    assert "| Kvasir-SEG | all | 3 | 1,000 | verified | **differs** |" in card
    assert "| GastroVision | Ulcer | 0 | 6 | verified | **differs** |" in card


def test_facts_agree_with_each_other():
    for source in SOURCES.values():
        by_label = [p.frames for p in source.published if p.label is not None]
        of_all = {p.part: p.frames for p in source.published if p.label is None and p.center is None}
        if by_label:
            labelled = of_all.get("labelled") or of_all[None]
            assert sum(by_label) == labelled, source.name
        assert {p.label for p in source.published if p.label} <= set(source.labels)
        assert {overlap.source for overlap in source.overlaps} <= set(SOURCES)
        assert source.licence.name
        assert source.citation
        assert source.centres

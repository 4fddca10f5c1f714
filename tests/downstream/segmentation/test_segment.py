"""Segmentation as a user runs it: learns, scores what numpy counts, freezes what it says, resumes, and explains."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from make_discs import FEATURES, disc, frames, png
from PIL import Image as Picture
from transformers import AutoModelForSemanticSegmentation, ViTConfig, ViTModel
from transformers.modeling_outputs import SemanticSegmenterOutput
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import meddel_hf.downstream.segmentation.masked_frames
import meddel_hf.downstream.segmentation.model  # makes the Auto classes know the model
from meddel_hf.cli import alone
from meddel_hf.data.images import Preprocessing
from meddel_hf.downstream.scores import Scores
from meddel_hf.downstream.segmentation import training
from meddel_hf.downstream.segmentation.apart import check_apart, tell_copies
from meddel_hf.downstream.segmentation.decoded_frames import decoded
from meddel_hf.downstream.segmentation.masked_frames import Decoded, LabelledFrames
from meddel_hf.downstream.segmentation.recipe import SegmentationRecipe
from meddel_hf.downstream.segmentation.scoring import table
from meddel_hf.downstream.segmentation.segment import _Run, segment
from meddel_hf.downstream.segmentation.training import (
    FeatureSamples,
    FrameSamples,
    encoded_views,
    flipped,
    logits_of,
    normalised,
)
from meddel_hf.errors import Diverged, IncompleteStore, InvalidArgument, InvalidDataset, Mismatch
from meddel_hf.runtime.manifest import Manifest
from meddel_hf.training.checkpoints import record

QUICK = {"epochs": 30, "batch_size": 8, "precision": "float32", "hidden_size": 32, "learning_rate": 3e-3}
FROZEN = SegmentationRecipe(frozen=True, **QUICK)
WHOLE = SegmentationRecipe(**QUICK)
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
          "--main_process_port", "0", "-m"]  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    ViTModel(ViTConfig(**sizes, image_size=32, patch_size=4)).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def predicted(folder: Path, dataset: Dataset, labels: int = 2) -> list[np.ndarray]:
    """The oracle: transformers alone, one frame at a time; masks at the size of the frame."""
    model = AutoModelForSemanticSegmentation.from_pretrained(folder).eval()
    processor = ViTImageProcessorPil.from_pretrained(folder)
    masks = []
    for image in dataset["image"]:
        with torch.no_grad():
            logits = model(**processor(image.convert("RGB"), return_tensors="pt")).logits
        large = torch.nn.functional.interpolate(logits, size=image.size[::-1], mode="bilinear")
        masks.append(large[0].argmax(dim=0).numpy())
    return masks


@pytest.fixture(scope="module")
def runs(encoder, tmp_path_factory) -> dict[str, Path]:
    """A frozen and a whole run on 48 discs, tested on 16 and 6 others."""
    folder = tmp_path_factory.mktemp("runs")
    tests = {"near": frames(100, 16, "video"), "far": frames(200, 6)}
    for name, recipe in (("frozen", FROZEN), ("whole", WHOLE)):
        segment(frames(0, 48), tests, encoder, folder / name, recipe=recipe, progress=False)
    return {name: folder / name for name in ("frozen", "whole")}


@pytest.mark.parametrize("kind", ["frozen", "whole"])
def test_it_learns_and_its_scores_are_what_numpy_counts(kind, runs):
    scores = Scores.load(runs[kind])
    assert scores.sets == ["near", "far"]
    for name, dataset in (("near", frames(100, 16, "video")), ("far", frames(200, 6))):
        rows = scores.of(name).table.to_pylist()
        masks = [np.asarray(mask) == 255 for mask in dataset["mask"]]
        ours = [mask == 1 for mask in predicted(runs[kind] / "model", dataset)]
        common = [int((a & b).sum()) for a, b in zip(ours, masks, strict=True)]
        either = [int((a | b).sum()) for a, b in zip(ours, masks, strict=True)]
        assert [row["id"] for row in rows] == dataset["id"][:]
        assert [row["group"] for row in rows] == [row["group"] or row["id"] for row in dataset]
        assert [row["intersection"] for row in rows] == [[count] for count in common]
        assert [row["union"] for row in rows] == [[count] for count in either]
        ious = np.divide(common, either)
        np.testing.assert_allclose([row["score"] for row in rows], ious, rtol=1e-6)
        assert scores.of(name).value() == pytest.approx(ious.mean(), rel=1e-6)
        assert scores.of(name).value("miou-set") == pytest.approx(sum(common) / sum(either), rel=1e-6)
        constant = np.mean([mask.mean() for mask in masks])  # IoU of claiming every pixel; no pixel gives 0
        assert scores.of(name).value() > constant + 0.4


def test_a_frozen_encoder_stays_as_it_was_and_a_whole_one_does_not(runs, encoder):
    before = ViTModel.from_pretrained(encoder, add_pooling_layer=False).state_dict()
    for kind, same in (("frozen", True), ("whole", False)):
        after = AutoModelForSemanticSegmentation.from_pretrained(runs[kind] / "model").encoder.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before) is same


def test_what_a_run_leaves_behind(runs):
    for folder in runs.values():
        assert sorted(path.name for path in folder.iterdir()) == [
            "manifest.json", "model", "overlays.png", "scores.parquet",
        ]  # fmt: skip
        manifest = json.loads((folder / "manifest.json").read_text())
        scores = Scores.load(folder)
        assert manifest["details"]["tested"]["near"]["miou"] == scores.of("near").value()
        assert set(manifest["parents"]) == {"encoder", "train", "test near", "test far"}
        with Picture.open(folder / "overlays.png") as sheet:
            colours = {colour for _, colour in sheet.getcolors(1 << 20)}
        assert {(0, 229, 255), (255, 196, 0)} <= colours  # both outlines were drawn
        rows = table(scores).splitlines()
        assert [len(row) for row in rows] == [len(rows[0])] * 3  # the last column ends at one place


def test_a_finished_run_is_answered_from_and_another_one_is_refused(runs, encoder, tmp_path):
    out = shutil.copytree(runs["frozen"], tmp_path / "out")
    train, tests = frames(0, 48), {"near": frames(100, 16, "video"), "far": frames(200, 6)}
    when = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = segment(train, tests, encoder, out, recipe=FROZEN, progress=False)
    assert again.table.equals(Scores.load(runs["frozen"]).table)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == when
    for message, change in (
        ("another recipe .epochs 30, now 13", {"recipe": SegmentationRecipe(frozen=True, **{**QUICK, "epochs": 13})}),
        ("another seed", {"seed": 1}),
    ):
        with pytest.raises(Mismatch, match=message):
            segment(train, tests, encoder, out, **{"recipe": FROZEN, "progress": False, **change})
    with pytest.raises(Mismatch, match="another train"):
        segment(frames(0, 40), tests, encoder, out, recipe=FROZEN, progress=False)


@pytest.mark.parametrize("recipe", [FROZEN, WHOLE], ids=["frozen", "whole"])
def test_frames_are_decoded_once_for_all_runs_that_name_a_folder(recipe, encoder, tmp_path, monkeypatch):
    recipe, cache = replace(recipe, epochs=2), tmp_path / "cache"
    learned, tests = frames(0, 16), {"near": frames(100, 6), "far": frames(200, 4)}
    alone = segment(learned, tests, encoder, tmp_path / "alone", recipe=recipe, progress=False)
    first = segment(learned, tests, encoder, tmp_path / "first", recipe=recipe, progress=False, frames=cache)
    assert first.table.equals(alone.table)

    def no_more(*_: object) -> None:
        raise AssertionError("a frame was decoded again")

    monkeypatch.setattr(meddel_hf.downstream.segmentation.masked_frames, "prepare_sized", no_more)
    other = segment(learned, tests, encoder, tmp_path / "other", recipe=recipe, seed=1, progress=False, frames=cache)
    assert not other.table.equals(first.table)
    with pytest.raises(AssertionError, match="decoded again"):
        segment(frames(1, 16), tests, encoder, tmp_path / "new", recipe=recipe, progress=False, frames=cache)


@pytest.mark.parametrize("changed", ["image", "mask"])
def test_files_that_rows_name_count_with_their_content(changed, encoder, tmp_path):
    def of_files(first: int, rows: int) -> Dataset:
        paths = {
            name: [str(tmp_path / f"{name}{first + row}.png") for row in range(rows)] for name in ("image", "mask")
        }
        return frames(first, rows, **paths)

    for seed in (0, 1, 9, 10):
        pixels, inside = disc(seed)
        (tmp_path / f"image{seed}.png").write_bytes(png(pixels))
        (tmp_path / f"mask{seed}.png").write_bytes(png(inside.astype(np.uint8)))
    out, cache = tmp_path / "out", tmp_path / "cache"

    def run(out: Path) -> Scores:
        options = {"recipe": replace(FROZEN, epochs=1), "progress": False, "frames": cache}
        return segment(of_files(0, 2), {"t": of_files(9, 2)}, encoder, out, **options)

    before = run(out)
    assert run(out).table.equals(before.table)
    plain = Preprocessing((32, 32), None, 2, 1 / 255, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    held = decoded(LabelledFrames.of(of_files(0, 2), "t", 2), plain, None, cache)
    path = tmp_path / f"{changed}0.png"
    with Picture.open(path) as picture:
        flipped_one = np.asarray(picture)[::-1]
    path.write_bytes(png(np.ascontiguousarray(flipped_one)))
    with pytest.raises(Mismatch, match="another train"):
        run(out)
    now = decoded(LabelledFrames.of(of_files(0, 2), "t", 2), plain, None, cache)
    assert not np.array_equal(
        *(getattr(each, {"image": "pixels", "mask": "masks"}[changed])[0] for each in (held, now))
    )


def test_decoded_frames_that_are_damaged_are_told(encoder, tmp_path):
    recipe, tests = replace(FROZEN, epochs=1), {"near": frames(100, 4)}
    segment(frames(0, 8), tests, encoder, tmp_path / "a", recipe=recipe, progress=False, frames=tmp_path / "cache")
    path = next((tmp_path / "cache").glob("*/masks.npy"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IncompleteStore, match=r"masks\.npy changed .*: delete .*, and the frames are decoded again"):
        segment(frames(0, 8), tests, encoder, tmp_path / "b", recipe=recipe, progress=False, frames=tmp_path / "cache")


def test_overlays_are_left_out_when_asked(encoder, tmp_path):
    recipe, out = replace(FROZEN, epochs=1), tmp_path / "out"
    segment(frames(0, 8), {"near": frames(100, 4)}, encoder, out, recipe=recipe, progress=False, overlays=False)
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "model", "scores.parquet"]


def test_seeds_repeat_and_differ_and_so_do_mirrored_features(encoder, tmp_path):
    train, tests = frames(0, 16), {"t": frames(100, 8)}
    short = {**QUICK, "epochs": 5, "frozen": True}
    scores = {
        name: segment(train, tests, encoder, tmp_path / name, recipe=recipe, seed=seed, progress=False).table
        for name, seed, recipe in (
            ("first", 0, SegmentationRecipe(**short)),
            ("same", 0, SegmentationRecipe(**short)),
            ("other", 1, SegmentationRecipe(**short)),
            ("mirrored", 0, SegmentationRecipe(**short, flips=True)),
        )
    }
    assert scores["first"].equals(scores["same"])
    assert not scores["first"].equals(scores["other"])
    assert not scores["first"].equals(scores["mirrored"])


def test_mirrored_features_are_those_of_mirrored_frames_with_mirrored_masks():
    """Sample numbers draw the view: features and mask of a sample must be of the same one."""
    masks = np.arange(24, dtype=np.uint8).reshape(1, 4, 6)
    features = [torch.full((1, 2, 3), float(view)) for view in range(4)]
    samples = FeatureSamples(features, masks, seed=0)
    batch = samples.inputs(samples.batch(range(40)))
    views = batch["features"][:, 0, 0].int().tolist()
    assert set(views) == {0, 1, 2, 3}
    for view, labels in zip(views, batch["labels"].numpy(), strict=True):
        assert np.array_equal(labels, flipped(masks[0], view))


def test_frames_are_normalised_and_answers_held_a_batch_at_a_time(monkeypatch):
    """Features are the corner of a frame, which mirroring moves."""
    inputs: list[weakref.ref] = []
    answers: list[weakref.ref] = []

    def watched(*given: object) -> torch.Tensor:
        batch = normalised(*given)
        inputs.append(weakref.ref(batch))
        return batch

    class Corner(torch.nn.Module):
        def encode(self, pixel_values: torch.Tensor) -> torch.Tensor:
            assert sum(each() is not None for each in inputs) == 1
            assert sum(each() is not None for each in answers) <= 1
            corner = pixel_values[:, :, 0, 0].clone()
            answers.append(weakref.ref(corner))
            return corner

        def forward(self, pixel_values: torch.Tensor) -> SemanticSegmenterOutput:
            return SemanticSegmenterOutput(logits=self.encode(pixel_values))

    monkeypatch.setattr(training, "normalised", watched)
    pixels = np.random.default_rng(0).integers(0, 256, (200, 4, 6, 3), dtype=np.uint8)
    plain = Preprocessing((4, 6), None, 2, 1 / 255, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    expected = [(pixels[:, y, x] / 255 - 0.5) / 0.25 for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1))]
    where = torch.device("cpu"), "float32"
    for view, features in enumerate(encoded_views(Corner(), pixels, plain, *where, views=4)):
        np.testing.assert_allclose(features.numpy(), expected[view], atol=1e-6)
    answers.clear()
    np.testing.assert_allclose(logits_of(Corner(), pixels, plain, *where).numpy(), expected[0], atol=1e-6)
    assert len(answers) == 4


def test_frame_and_mask_are_cropped_and_flipped_alike():
    """A frame that shows its own mask still does after the augmentation."""
    masks = np.stack([np.asarray(Picture.fromarray(disc(seed)[1]).resize((32, 32))) for seed in range(6)])
    masks = masks.astype(np.uint8)
    decoded = Decoded(np.repeat(masks[..., None] * np.uint8(255), 3, axis=-1), masks)
    plain = Preprocessing((32, 32), None, 2, 1 / 255, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    samples = FrameSamples(decoded, plain, SegmentationRecipe(), seed=0)
    batch, again = (samples.inputs(samples.batch(numbers)) for numbers in (range(60), [59, 3]))
    shown = (batch["pixel_values"][:, 0] > 0.5).numpy()
    assert (shown == (batch["labels"].numpy() == 1)).mean() > 0.97  # they differ on outlines: bilinear and nearest
    assert torch.equal(again["labels"], batch["labels"][[59, 3]])
    assert len({labels.numpy().tobytes() for labels in batch["labels"]}) > 50


def test_classes_and_pixels_that_do_not_count(encoder, tmp_path):
    """Three classes, the frame's left columns ignored: whatever is claimed there changes nothing."""

    def classes(inside: np.ndarray) -> np.ndarray:
        mask = np.where(inside, 1, 0).astype(np.uint8)
        mask[inside & (np.arange(len(inside)) > len(inside) / 2)[:, None]] = 2
        mask[:, : mask.shape[1] // 3] = 255
        return mask

    def dataset(first: int, rows: int) -> Dataset:
        return frames(first, rows, mask=[png(classes(disc(first + row)[1])) for row in range(rows)])

    recipe = SegmentationRecipe(frozen=True, num_labels=3, **QUICK)
    scores = segment(dataset(0, 24), {"t": dataset(100, 8)}, encoder, tmp_path, recipe=recipe, progress=False)
    masks = predicted(tmp_path / "model", dataset(100, 8))
    for row, ours, mask in zip(scores.table.to_pylist(), masks, dataset(100, 8)["mask"], strict=True):
        mask = np.asarray(mask)
        counts = [
            (int(((ours == c) & (mask == c)).sum()), int((((ours == c) | (mask == c)) & (mask != 255)).sum()))
            for c in (1, 2)
        ]
        assert list(zip(row["intersection"], row["union"], strict=True)) == counts
        ious = [common / either for common, either in counts if either]
        assert row["score"] == pytest.approx(np.mean(ious) if ious else 1, rel=1e-6)


@pytest.mark.parametrize("wrong", ["the training set", "t"])
def test_masks_whose_objects_would_count_for_nothing_are_refused(wrong, encoder, tmp_path):
    """Of three classes 255 is no object: such a set would score a perfect 1."""

    def dataset(name: str, first: int) -> Dataset:
        value = np.uint8(255 if name == wrong else 1)
        return frames(first, 4, mask=[png(disc(first + row)[1] * value) for row in range(4)])

    train, tests = dataset("the training set", 0), {"t": dataset("t", 9)}
    recipe = SegmentationRecipe(frozen=True, num_labels=3, **QUICK)
    with pytest.raises(InvalidDataset) as caught:
        segment(train, tests, encoder, tmp_path, recipe=recipe, progress=False)
    assert str(caught.value) == (
        f"no mask of {wrong} holds a class from 1 to 2, and 4 of its 4 hold 255, which says of 3 classes that a pixel "
        "does not count: give num_labels 2 (--num-labels 2) for masks of 0 and 255, else write the classes as 1 to 2"
    )


def test_an_empty_mask_that_is_met_by_an_empty_prediction_scores_one(encoder, tmp_path):
    train, test = (
        frames(first, 8, mask=[png(np.zeros_like(disc(first + row)[1], np.uint8)) for row in range(8)])
        for first in (0, 50)
    )
    scores = segment(train, {"t": test}, encoder, tmp_path, recipe=FROZEN, progress=False)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["details"]["empty_masks"] == {"the training set": 8, "t": 8}
    assert scores.table["union"].to_pylist() == [[0]] * 8
    assert scores.value() == scores.value("dice") == 1


NO_MASK = png(np.full((40, 40), 255, np.uint8))
MISTAKES = {
    "no test": (lambda: (frames(0, 4), {}), InvalidArgument, "names no data set"),
    "no mask column": (
        lambda: (frames(0, 4).remove_columns("mask"), {"t": frames(9, 4)}), InvalidDataset, "masks absent"
    ),
    "no ids": (
        lambda: (frames(0, 4).remove_columns("id"), {"t": frames(9, 4)}), InvalidDataset, "set has no column 'id'"
    ),
    "masks missing": (
        lambda: (frames(0, 4), {"t": frames(9, 4, mask=[NO_MASK, None, None, NO_MASK])}), InvalidDataset,
        r"masks absent: 2 of the 4 rows of t.*--masked-only",
    ),
    "masks missing, selected": (
        lambda: (frames(0, 4, mask=[NO_MASK, None, NO_MASK, NO_MASK]).select([1, 3]), {"t": frames(9, 4)}),
        InvalidDataset, "masks absent: 1 of the 2 rows of the training set",
    ),
    "class outside the head": (
        lambda: (frames(0, 4, mask=[png(np.full((40, 40), 7, np.uint8))] * 4), {"t": frames(9, 4)}), InvalidDataset,
        "mask of f/000 in the training set holds class 7, and the head has 2 classes: expected 0 and 255, or 0 and 1",
    ),
    "the same frame": (
        lambda: (frames(0, 4), {"t": frames(3, 4)}), InvalidDataset, "1 frame stands in the training set.*'f/003'"
    ),
    "the same group": (
        lambda: (frames(0, 4, "video"), {"t": frames(9, 4, "video")}), InvalidDataset,
        "'video 0'.*2 in the test set t; 2 groups",
    ),
    "broken frame": (
        lambda: (frames(0, 4, image=[b"x", *[NO_MASK] * 3]), {"t": frames(9, 4)}),
        InvalidDataset, "f/000 of the training set cannot be decoded .not an image",
    ),
}  # fmt: skip


def test_a_test_set_that_cannot_be_scored_is_told_before_anything_is_trained(encoder, tmp_path):
    with pytest.raises(InvalidDataset, match=r"mask of f/009 in t is 40 x 40 pixels, its frame \d+ x \d+, each turned"):
        segment(
            frames(0, 4), {"t": frames(9, 4, mask=[NO_MASK] * 4)}, encoder, tmp_path / "out", recipe=FROZEN,
            progress=False,
        )  # fmt: skip
    assert not (tmp_path / "out" / "checkpoints").exists()


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_in_one_sentence(name, encoder, tmp_path):
    make, kind, message = MISTAKES[name]
    train, test = make()
    with pytest.raises(kind, match=message):
        segment(train, test, encoder, tmp_path / "out", recipe=FROZEN, progress=False)
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"num_labels": 1}, {"learning_rate": 0.0}, {"warmup": 1.0}, {"smallest_crop": 0.0},
     {"dice_weight": -1.0}, {"num_labels": 256}],
)  # fmt: skip
def test_a_recipe_is_checked(wrong):
    with pytest.raises(InvalidArgument, match=next(iter(wrong))):
        SegmentationRecipe(**wrong)


def test_a_loss_that_is_no_number_stops_the_run(encoder, tmp_path):
    recipe = SegmentationRecipe(**{**QUICK, "learning_rate": 1e38, "warmup": 0.0})
    with pytest.raises(Diverged, match=r"the loss is (nan|inf) at step \d+ of 30: lower learning_rate"):
        segment(frames(0, 8), {"t": frames(9, 4)}, encoder, tmp_path, recipe=recipe, progress=False)
    assert not (tmp_path / "manifest.json").exists()


def test_test_frames_that_were_learned_under_another_id_are_told(caplog):
    learned = LabelledFrames.of(frames(0, 6), "the training set", 2)
    renamed = LabelledFrames.of(frames(4, 4, id=["a", "b", "c", "d"]), "t", 2)  # frames 4 to 7
    apart = LabelledFrames.of(frames(20, 3), "u", 2)
    with caplog.at_level("WARNING"):
        tell_copies(learned, [renamed, apart])
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("warning: 2 frames of the test set t stand byte for byte in the training set, such as a (")
    assert "(there f/004)" in line


def test_copies_are_told_without_a_bar_too(encoder, tmp_path, caplog):
    renamed = {"t": frames(4, 4, id=["a", "b", "c", "d"])}
    with caplog.at_level("WARNING", "meddel_hf"):
        segment(frames(0, 6), renamed, encoder, tmp_path, recipe=replace(FROZEN, epochs=1), progress=False)
    assert "warning: 2 frames of the test set t stand byte for byte in the training set" in caplog.text


def test_two_owners_may_have_the_same_id():
    def of(source: str | None, first: int = 0) -> LabelledFrames:
        sourced = frames(first, 2, id=["0001", "0002"]).add_column("source", [source] * 2)
        return LabelledFrames.of(sourced, source or "unnamed", 2)

    check_apart(of("clinic-a"), [of("clinic-b", 9)])
    for known, test in (("clinic-a", "clinic-a"), ("clinic-a", None), (None, "clinic-b"), (None, None)):
        with pytest.raises(InvalidDataset, match=r"2 frames stand in the training set and in the test set .*'0001'"):
            check_apart(of(known), [of(test, 9)])


def test_flips_undo_themselves():
    array = np.arange(12).reshape(3, 4)
    assert flipped(array, 1)[0].tolist() == [3, 2, 1, 0]
    assert flipped(array, 2)[0].tolist() == [8, 9, 10, 11]
    for view in range(4):
        assert np.array_equal(flipped(flipped(array, view), view), array)


def saved_sets(folder: Path) -> tuple[str, str]:
    frames(0, 32, "a").save_to_disk(folder / "train")
    frames(100, 8, "b").save_to_disk(folder / "test")
    return str(folder / "train"), str(folder / "test")


def command(sets: tuple[str, str], encoder: str, out: Path, *more: str) -> list[str]:
    return ["meddel_hf.segment", sets[0], "--test", sets[1], "--encoder", encoder, "--out", str(out),
            "--test-share", "0", "--precision", "float32", "--batch-size", "8", *more]  # fmt: skip


def call(parts: list[str], **options) -> subprocess.CompletedProcess:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(parts, env=env, capture_output=True, text=True, timeout=300, **options)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return AutoModelForSemanticSegmentation.from_pretrained(out / "model").state_dict()


@pytest.mark.slow  # its checkpoints are those of pre-training, which is killed in test_pretrain.py
def test_a_killed_run_ends_where_an_unkilled_one_does(encoder, tmp_path, capsys):
    sets = saved_sets(tmp_path)
    parts = [sys.executable, "-m", *command(sets, encoder, tmp_path / "killed", "--epochs", "60", "--quiet")]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(parts, env=env, stderr=subprocess.PIPE, start_new_session=True) as process:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "killed/checkpoints").glob("*/checkpoint-*/trainer_state.json")):
            assert process.poll() is None, process.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (tmp_path / "killed/manifest.json").exists()
    assert not (tmp_path / "killed/scores.parquet").exists()
    found = (tmp_path / "killed/checkpoints").glob("*/checkpoint-*/trainer_state.json")
    last = max((path.parent for path in found), key=lambda path: int(path.name.rpartition("-")[2]))
    if not (last / "record.json").is_file():  # killed between the two
        record(last, last.parent.name)
    path = last / "optimizer.pt"
    sound = path.read_bytes()
    path.write_bytes(sound[:-100] + b"damaged" + sound[-93:])
    assert main(command(sets, encoder, tmp_path / "killed", "--epochs", "60", "--quiet")[1:]) == 2
    assert "optimizer.pt changed since it was written" in capsys.readouterr().err
    path.write_bytes(sound)
    for out in ("killed", "straight"):
        assert main(command(sets, encoder, tmp_path / out, "--epochs", "60", "--quiet")[1:]) == 0
    manifests = [json.loads((tmp_path / out / "manifest.json").read_text()) for out in ("killed", "straight")]
    assert 0 < manifests[0]["details"]["steps_done_here"] < manifests[1]["details"]["steps_done_here"] == 240
    expected, found = weights(tmp_path / "straight"), weights(tmp_path / "killed")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert Scores.load(tmp_path / "killed").table.equals(Scores.load(tmp_path / "straight").table)
    assert not (tmp_path / "killed/checkpoints").exists()


class Stopped(BaseException):
    """As a kill, at a place of the test's choice."""


def stop(*_: object) -> None:
    raise Stopped


def test_a_run_that_was_stopped_after_its_last_step_tells_its_loss(encoder, tmp_path, monkeypatch):
    sets, options = (frames(0, 8), {"t": frames(100, 4)}), {"recipe": replace(WHOLE, epochs=3), "progress": False}
    segment(*sets, encoder, tmp_path / "straight", **options)
    with monkeypatch.context() as patch:
        patch.setattr(_Run, "test", stop)
        with pytest.raises(Stopped):
            segment(*sets, encoder, tmp_path / "stopped", **options)
    segment(*sets, encoder, tmp_path / "stopped", **options)
    straight, stopped = (
        json.loads((tmp_path / out / "manifest.json").read_text())["details"] for out in ("straight", "stopped")
    )
    assert (straight["steps_done_here"], stopped["steps_done_here"]) == (3, 0)
    assert stopped["loss"] == straight["loss"] > 0


def test_checkpoints_of_another_run_are_not_removed_unless_forced(encoder, tmp_path, monkeypatch, capsys):
    sets, out = saved_sets(tmp_path), tmp_path / "out"
    line = command(sets, encoder, out, "--epochs", "1", "--quiet")[1:]
    with monkeypatch.context() as patch:
        patch.setattr(_Run, "test", stop)
        with pytest.raises(Stopped):
            main(line)
    (kept,) = (out / "checkpoints").glob("*/checkpoint-4")
    capsys.readouterr()
    assert main([*line, "--seed", "1"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {out} holds checkpoints of a run that was begun with other data, or another ")
    assert said.endswith("choose another folder, or delete this one; --force replaces it\n")
    assert kept.is_dir()
    assert main([*line, "--seed", "1", "--force"]) == 0
    assert Manifest.read(out, "segmentation").arguments["seed"] == 1
    assert not kept.exists()


def test_a_checkpoint_that_is_not_whole_is_not_gone_on_from(encoder, tmp_path, monkeypatch, caplog):
    """The process was killed before the record; the checkpoint before is there, and else the training begins anew."""
    monkeypatch.setattr(training, "_FEWEST_STEPS", 2)
    sets, options = (frames(0, 8), {"t": frames(100, 4)}), {"recipe": replace(WHOLE, epochs=4), "progress": False}
    for records, done in ((1, 2), (0, 4)):
        out, written = tmp_path / str(records), []

        def record_some(checkpoint: Path, made_from: str, written=written, records=records) -> None:
            written.append(checkpoint)
            if len(written) > records:
                raise Stopped
            record(checkpoint, made_from)

        with monkeypatch.context() as patch:
            patch.setattr(training, "record", record_some)
            with pytest.raises(Stopped):
                segment(*sets, encoder, out, **options)
        (written[-1] / "trainer_state.json").write_text("")  # as a power cut leaves it
        caplog.clear()
        segment(*sets, encoder, out, **options)
        assert json.loads((out / "manifest.json").read_text())["details"]["steps_done_here"] == done
        assert ("the training begins anew" in caplog.text) is (not records)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(encoder, tmp_path):
    sets = saved_sets(tmp_path)
    more = ("--epochs", "4", "--learning-rate", "1e-4", "--quiet")
    assert main(command(sets, encoder, tmp_path / "one", *more)[1:]) == 0
    done = call([*LAUNCH, *command(sets, encoder, tmp_path / "two", *more)])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| test | 8 |") == 1  # one process speaks
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    before = ViTModel.from_pretrained(encoder, add_pooling_layer=False).state_dict()
    moved = max((one[f"encoder.{name}"] - before[name]).abs().max() for name in before)
    apart = max((one[name] - two[name]).abs().max() for name in one)
    assert apart < moved / 20  # rounding, which Adam enlarges where a gradient is next to nothing
    manifest = json.loads((tmp_path / "two/manifest.json").read_text())
    assert manifest["details"]["processes"] == 2


def main(arguments: list[str]) -> int:
    """`meddel segment` in this process, on one thread as in the others: sums in another order round differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return alone("segment", arguments)
    finally:
        torch.set_num_threads(threads)


def test_the_command_line_splits_by_group_and_prints_the_table(encoder, tmp_path, capsys):
    sets, out = saved_sets(tmp_path), tmp_path / "out"
    arguments = [sets[0], "--test", sets[1], "--encoder", encoder, "--out", str(out), "--frozen", "--epochs", "2",
                 "--test-share", "0.25", "--quiet"]  # fmt: skip
    capsys.readouterr()
    assert main(arguments) == 0
    scores = Scores.load(out)
    said = capsys.readouterr()
    assert said.out.strip() == table(scores)
    assert not said.err
    assert scores.sets == ["train", "test"]
    held_out = scores.of("train").table
    assert len(held_out) == 8
    assert set(Counter(held_out["group"].to_pylist()).values()) == {2}  # both frames of each video
    written = (out / "manifest.json").stat().st_mtime_ns
    assert main(arguments) == 0  # nothing is left to do
    assert (out / "manifest.json").stat().st_mtime_ns == written
    assert capsys.readouterr().out == said.out
    assert main([*arguments, "--seed", "1"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {out} holds a finished run with another seed")


def test_sets_of_one_short_name_are_told_apart_without_their_paths(encoder, tmp_path, capsys):
    """Names go to the Hub, where a path would tell what it is called here."""
    for place, first in (("mine", 0), ("theirs", 100), ("others", 200)):
        frames(first, 8).save_to_disk(tmp_path / place / "frames")
    sets = [str(tmp_path / place / "frames") for place in ("mine", "theirs", "others")]
    line = [sets[0], "--encoder", encoder, "--out", str(tmp_path / "out"), "--frozen", "--epochs", "1", "--quiet"]
    capsys.readouterr()
    assert main([*line, "--test", *sets[1:]]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said == [f"note: the test set frames-{n} is {sets[n - 1]}; frames is {sets[0]}" for n in (2, 3)]
    scores = Scores.load(tmp_path / "out")
    assert scores.sets == ["frames", "frames-2", "frames-3"]
    assert scores.of("frames-3").table["id"].to_pylist() == frames(200, 8)["id"][:]
    assert str(tmp_path) not in (tmp_path / "out/manifest.json").read_text().replace(encoder, "")
    assert main([*line[:4], str(tmp_path / "other"), *line[5:], "--test", sets[1], sets[1]]) == 2
    assert capsys.readouterr().err == f"error: --test names {sets[1]} twice\n"


def test_rows_without_masks_are_left_out_when_asked(encoder, tmp_path, capsys):
    holed = frames(0, 12).to_list()
    for row in holed[:3]:
        row["mask"] = None
    Dataset.from_list(holed, features=FEATURES).save_to_disk(tmp_path / "holed")
    arguments = [str(tmp_path / "holed"), "--encoder", encoder, "--out", str(tmp_path / "out"), "--frozen",
                 "--epochs", "1", "--test-share", "0.34", "--quiet"]  # fmt: skip
    assert main(arguments) == 2
    assert "masks absent" in capsys.readouterr().err
    assert main([*arguments, "--masked-only"]) == 0
    assert len(Scores.load(tmp_path / "out")) == 3

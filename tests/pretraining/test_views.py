"""What a sample shows depends on its number and the seed alone, whoever makes it, and is cut as Pillow cuts."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from accelerate.data_loader import BatchSamplerShard
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.pretraining.views import Views, as_one_batch, cropped, together
from meddel_hf.training.samples import crops

RECIPE = Recipe(image_size=24, patch_size=8, samples=96, batch_size=8, flips="both")


class Squares:
    """Frames of one colour each, so that a view tells which frame it shows."""

    side = 32

    def read(self, rows):
        return [np.full((32, 32, 3), row, np.uint8) for row in rows]


def views(rows=range(100, 117), seed=0) -> Views:
    return Views(Squares(), rows, RECIPE, seed)


def test_a_sample_is_the_same_in_whatever_batch():
    whole = views().__getitems__(range(64))
    for samples in ([0], [63, 5], list(range(10, 40))):
        part = views().__getitems__(samples)
        for name in ("pixels", "ranks"):
            np.testing.assert_array_equal(part[name], whole[name][samples])
    np.testing.assert_array_equal(views()[9]["ranks"][0], whole["ranks"][9])
    assert not np.array_equal(views(seed=1).__getitems__(range(64))["ranks"], whole["ranks"])


def test_views_show_the_rows_they_should():
    shown = [int(view["pixels"][0, 0, 0, 0]) for view in map(views().__getitem__, range(17))]
    assert sorted(shown) == list(range(100, 117))


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_make_the_same_batches(workers):
    loader = DataLoader(views(), batch_size=8, collate_fn=as_one_batch, num_workers=workers)
    pixels = np.concatenate([batch["pixels"] for batch in loader])
    np.testing.assert_array_equal(pixels, views().__getitems__(range(96))["pixels"])


@pytest.mark.parametrize(("processes", "accumulation"), [(2, 1), (1, 2), (2, 2), (4, 1)])
def test_processes_share_out_the_samples_of_a_step(processes, accumulation):
    size = RECIPE.batch_size // processes // accumulation
    sampler = BatchSampler(SequentialSampler(views()), size, drop_last=True)
    parts = [list(BatchSamplerShard(sampler, processes, index)) for index in range(processes)]
    for step in range(RECIPE.steps):
        here = slice(step * accumulation, (step + 1) * accumulation)
        seen = sorted(sample for part in parts for batch in part[here] for sample in batch)
        assert seen == list(range(step * RECIPE.batch_size, (step + 1) * RECIPE.batch_size))


def test_cutting_and_scaling_is_that_of_pillow_to_rounding():
    """Pillow knows crop, resize with antialiasing, and transpose; torch should differ by rounding alone."""
    rng = np.random.default_rng(0)
    frames = [np.asarray(Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize((64, 64), 3)).copy()
              for _ in range(40)]  # fmt: skip
    boxes, mirrored = crops(np.arange(40), 0, 64, 0.1, (True, True))
    found = cropped(frames, boxes, mirrored, 48).numpy()
    for frame, (left, top, width, height), (across, down), view in zip(frames, boxes, mirrored, found, strict=True):
        part = Image.fromarray(frame).crop((left, top, left + width, top + height)).resize((48, 48), 2)
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if across else part
        part = part.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if down else part
        assert np.abs(view.transpose(1, 2, 0).astype(int) - np.asarray(part)).max() <= 1


JOINT = Recipe(
    objective="dino", preset="tiny", layers=1, image_size=24, patch_size=8, samples=96, batch_size=8, flips="both",
    local_crops=3, local_size=16, local_crop=0.1, crop=0.4, masked_loss=1.0, mask_ratio=0.5, prototypes=8,
)  # fmt: skip
SHAPES = {
    "global": (2, 3, 24, 24),
    "local": (3, 3, 16, 16),
    "matrix": (5, 3, 3),
    "lift": (5,),
    "sigma": (5,),
    "ranks": (2, 9),
}


class Noise:
    """A frame of noise for each row."""

    side = 32

    def read(self, rows):
        return [np.random.default_rng(row).integers(0, 256, (32, 32, 3), dtype=np.uint8) for row in rows]


def joint(recipe: Recipe = JOINT) -> Views:
    return Views(Noise(), range(100, 117), recipe, 0)


def test_views_of_a_frame_do_not_depend_on_batch_or_worker():
    whole = joint().__getitems__(range(96))
    assert {name: values.shape[1:] for name, values in whole.items()} == SHAPES
    for samples in ([0], [63, 5], list(range(10, 40))):
        part = joint().__getitems__(samples)
        for name in SHAPES:
            np.testing.assert_array_equal(part[name], whole[name][samples])
    loader = DataLoader(joint(), batch_size=8, collate_fn=as_one_batch, num_workers=2)
    batches = list(loader)
    for name in SHAPES:
        np.testing.assert_array_equal(np.concatenate([batch[name] for batch in batches]), whole[name])


def test_views_of_a_frame_differ_in_everything():
    whole = joint().__getitems__(range(96))
    for name in ("global", "local", "matrix", "sigma", "ranks"):
        for first, second in combinations(range(whole[name].shape[1]), 2):
            same = [(sample[first] == sample[second]).all() for sample in whole[name]]
            assert np.mean(same) < 0.4, (name, first, second)  # half of all views are not blurred at all
    assert (np.sort(whole["ranks"], axis=-1) == np.arange(9)).all()
    numbers = np.stack([whole["matrix"].reshape(96, 5, 9)[..., 0], whole["lift"]], -1).reshape(96, 10)
    between = np.corrcoef(numbers.T)[np.arange(10)[:, None] // 2 != np.arange(10) // 2]
    assert np.abs(between).max() < 0.45  # of 96


def test_local_views_show_as_much_as_they_should():
    """Each pixel of a frame has a colour of its own place, so that a view tells how much of the frame it shows."""
    side = 96
    across, down = np.meshgrid(np.arange(side), np.arange(side))
    frame = np.stack([2 * across, 2 * down, np.zeros_like(across)], -1).astype(np.uint8)
    batch = together([frame] * 300, np.arange(300), JOINT, 0)
    for name, low, high in (("global", 0.4, 1.0), ("local", 0.1, 0.4)):
        size = batch[name].shape[-1]
        reds, greens = batch[name][:, :, 0].astype(float), batch[name][:, :, 1].astype(float)
        wide = np.abs(reds[..., -1] - reds[..., 0]).mean(-1) / 2 * size / (size - 1) / side
        high_ = np.abs(greens[..., -1, :] - greens[..., 0, :]).mean(-1) / 2 * size / (size - 1) / side
        area = wide * high_
        assert low * 0.85 < area.min() < low * 1.2, name
        assert high * 0.75 < area.max() < high * 1.2, name
    assert batch["global"].shape[1] == 2


def test_without_local_views_there_are_two():
    recipe = JOINT.but(local_crops=0, masked_loss=0.0, mask_ratio=0.75)
    assert set(joint(recipe).__getitems__([0])) == {"global", "matrix", "lift", "sigma"}
    both = joint(recipe).__getitems__(range(9)), joint().__getitems__(range(9))
    np.testing.assert_array_equal(both[0]["global"], both[1]["global"])

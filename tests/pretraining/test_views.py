"""What a sample shows depends on its number and the seed alone, whoever makes it, and is cut as Pillow cuts."""

from __future__ import annotations

import numpy as np
import pytest
from accelerate.data_loader import BatchSamplerShard
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.pretraining.views import Views, as_one_batch, cropped
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

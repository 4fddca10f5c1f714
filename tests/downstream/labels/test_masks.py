"""A segmentation head on chosen frames alone: against refits and `normdel`; tokens and cells against the encoder."""

from __future__ import annotations

import numpy as np
import pytest
from normdel.miou import image_ious

from meddel_hf import assets
from meddel_hf.data.pool import load_pool
from meddel_hf.downstream.labels.masks import CUTS, PENALTIES, MaskTask, PatchRidge, cell_ious
from meddel_hf.downstream.labels.tokens import cell_shares, patch_features, places
from meddel_hf.embedding.embed import embed
from meddel_hf.errors import InvalidArgument, Mismatch


def made(n: int = 30, seed: int = 0, noise: float = 0.3) -> MaskTask:
    """Frames of 3 x 3 patches with 4 cells each; a token's first number tells how much of the patch is foreground."""
    rng = np.random.default_rng(seed)
    shares = np.repeat(rng.integers(0, 2, (n, 9, 1)), 4, axis=2).astype(np.float64)
    tokens = rng.normal(0, 1, (n, 9, 6))
    tokens[..., 0] = shares[..., 0] + noise * rng.normal(0, 1, (n, 9))
    return MaskTask(tokens, shares, [str(row) for row in range(n)])


def refitted(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Ridge with a free bias as one least-squares problem: (weights, bias)"""
    n, d = x.shape
    left = np.vstack([
        np.hstack([x, np.ones((n, 1))]), np.hstack([np.sqrt(penalty * n) * np.eye(d), np.zeros((d, 1))])
    ])  # fmt: skip
    answer = np.linalg.lstsq(left, np.vstack([y, np.zeros((d, y.shape[1]))]), rcond=None)[0]
    return answer[:-1], answer[-1]


def test_head_against_refits():
    """Penalty, cut and predictions as from fitting each fold and each penalty anew."""
    task = made(noise=1.0)
    x = (task.tokens - task.tokens.mean(axis=(0, 1))) / task.tokens.std(axis=(0, 1))
    flat = {name: part.reshape(-1, part.shape[2]) for name, part in (("x", x), ("y", task.shares))}
    fold = np.repeat(np.arange(30) % 5, 9)
    held_out = {}
    for penalty in PENALTIES:
        answers = np.empty_like(flat["y"])
        for k in range(5):
            weights, bias = refitted(flat["x"][fold != k], flat["y"][fold != k], penalty)
            answers[fold == k] = flat["x"][fold == k] @ weights + bias
        held_out[penalty] = answers
    best = min(PENALTIES, key=lambda penalty: ((held_out[penalty] - flat["y"]) ** 2).sum())
    true = [frame >= 0.5 for frame in task.shares]
    said = held_out[best].reshape(task.shares.shape)
    cut = max(CUTS, key=lambda cut: (image_ious([frame > cut for frame in said], true).mean(), -cut))

    head = PatchRidge.fit(task.tokens, task.shares, task.groups)
    assert (head.penalty, head.cut) == (best, cut)
    weights, bias = refitted(flat["x"], flat["y"], best)
    assert np.allclose(head.values(task.tokens).reshape(-1, 4), flat["x"] @ weights + bias)


def test_score_is_the_mean_iou_of_the_tested_frames():
    task = made(n=40)
    chosen, test = np.arange(10), np.arange(20, 40)
    head = PatchRidge.fit(task.tokens[chosen], task.shares[chosen], task.groups[:10])
    said = [frame > head.cut for frame in head.values(task.tokens[test])]
    assert task.score(chosen, test) == pytest.approx(image_ious(said, [task.shares[row] >= 0.5 for row in test]).mean())
    assert made(n=40, noise=0.01).score(chosen, test) == 1


def test_what_is_not_chosen_does_not_count():
    task = made()
    before = task.score(np.arange(8), np.arange(20, 30))
    task.tokens[8:20], task.shares[8:20] = 99, 1
    assert task.score(np.arange(8), np.arange(20, 30)) == before


def test_one_frame_or_one_group_is_enough():
    task = made()
    assert 0 <= task.score(np.array([3]), np.arange(20, 30)) <= 1
    alike = MaskTask(task.tokens, task.shares, ["video"] * 30)
    assert alike.score(np.arange(8), np.arange(20, 30)) == task.score(np.arange(8), np.arange(20, 30))


def test_empty_masks():
    empty, some = np.zeros((1, 4), bool), np.array([[True, False, False, False]])
    assert cell_ious(empty, empty).tolist() == [1]
    assert cell_ious(some, empty).tolist() == cell_ious(empty, some).tolist() == [0]


def test_cells_by_hand():
    mask = np.zeros((1, 8, 16), bool)
    mask[0, 0:2, 8:12] = True  # the upper quarter of the left half of the second patch of 8 x 8
    shares = cell_shares(mask, (1, 2), cells=2)
    assert shares.shape == (1, 2, 4)
    assert shares[0].tolist() == [[0, 0, 0, 0], [0.5, 0, 0, 0]]
    assert cell_shares(mask, (1, 2), cells=3).shape == (1, 2, 4)  # 3 is no divisor of 8


def test_cells_hold_the_foreground_of_the_mask():
    masks = np.random.default_rng(0).random((3, 24, 36)) < 0.3
    shares = cell_shares(masks, (2, 3))
    assert shares.mean(axis=(1, 2)) == pytest.approx(masks.mean(axis=(1, 2)))
    patch = masks[1, 12:24, 24:36]  # row 1, column 2
    assert shares[1, 5].reshape(4, 4)[3, 0] == patch[9:12, 0:3].mean()


def test_places_go_from_one_edge_to_the_other():
    assert places((2, 2))[:, :2].tolist() == [[-1, -1], [-1, 1], [1, -1], [1, 1]]


def test_tokens_pool_to_the_embedding(tmp_path):
    """The mean of a frame's patch tokens, made a unit vector, is its embedding with mean pooling."""
    folder, encoder = assets_folder("pool"), str(assets_folder("encoder"))
    frames = load_pool(str(folder)).select(range(12))
    tokens = patch_features(frames, encoder, tmp_path / "tokens", name="pool")
    store = embed(frames, encoder, tmp_path / "store", pooling="mean", precision="float32", progress=False)
    assert tokens.tokens.shape == (12, 64, 192 + 5)
    mean = tokens.tokens[..., :192].astype(np.float64).mean(axis=1)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    assert (mean * store.embeddings).sum(axis=1).min() > 0.9999
    again = patch_features(frames, encoder, tmp_path / "tokens", name="pool")
    assert np.array_equal(again.tokens, tokens.tokens)
    with pytest.raises(Mismatch, match="another pool"):
        patch_features(frames.select(range(6)), encoder, tmp_path / "tokens", name="pool")


def assets_folder(name: str):
    from pathlib import Path

    return Path(assets.__file__).parent / name


def test_refused():
    with pytest.raises(InvalidArgument, match="expected"):
        MaskTask(np.zeros((2, 9, 3)), np.zeros((2, 8, 4)), ["a", "b"])
    with pytest.raises(InvalidArgument, match="groups"):
        MaskTask(np.zeros((2, 9, 3)), np.zeros((2, 9, 4)), ["a"])

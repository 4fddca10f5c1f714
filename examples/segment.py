"""Train a segmentation head on a pre-trained encoder, and test it on held-out frames and on another centre's.

python examples/segment.py datadel:kvasir_seg datadel:cvc_clinicdb --encoder runs/mae --frozen
accelerate launch examples/segment.py datadel:kvasir_seg datadel:cvc_clinicdb --encoder runs/mae
"""

import argparse

from accelerate import PartialState

from meddel_hf import SegmentationRecipe, load_pool, segment, split
from meddel_hf.downstream.segmentation.scoring import table

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("train", help="frames with masks; a fifth is held out, and no video is parted")
parser.add_argument("test", help="frames with masks of another centre")
parser.add_argument("--encoder", required=True, help="ViT or MAE of transformers: Hub id or folder")
parser.add_argument("--frozen", action="store_true", help="train the head alone")
parser.add_argument("--epochs", type=int, default=40)
args = parser.parse_args()

pool = load_pool(args.train)
train, held_out = split(pool, seed=0).of(pool)
scores = segment(
    train,
    {"held out": held_out, "elsewhere": load_pool(args.test)},
    args.encoder,
    out="segmentation",
    recipe=SegmentationRecipe(frozen=args.frozen, epochs=args.epochs),
)
say = PartialState().print  # once, however many processes there are
say(table(scores))

worst = scores.table.sort_by("score").slice(0, 3)
for id, score in zip(worst["id"].to_pylist(), worst["score"].to_pylist(), strict=True):
    say(f"{id}: IoU {score:.3f}")

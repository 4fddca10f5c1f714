"""Pre-train a small ViT on a folder of frames, or on the part of it that a selection keeps, for equally long.

python examples/pretrain.py FRAMES --out runs/all
python examples/pretrain.py FRAMES --out runs/5-percent --selection SELECTION
accelerate launch --multi_gpu --num_processes 2 examples/pretrain.py FRAMES --out runs/all
"""

import argparse

from accelerate import PartialState

from meddel_hf import Recipe, load_pool, pretrain

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("frames", help="folder of images")
parser.add_argument("--out", required=True, help="folder of the encoder; an interrupted run goes on")
parser.add_argument("--selection", help="folder of a selection of these frames")
parser.add_argument("--samples", type=int, default=1_000_000, help="views seen, whatever the number of frames")
args = parser.parse_args()

recipe = Recipe(preset="tiny", image_size=96, patch_size=8, batch_size=64, learning_rate=1e-3, samples=args.samples)
run = pretrain(load_pool(args.frames), args.out, recipe=recipe, selection=args.selection, frames="decoded")

if PartialState().is_main_process:
    print(run.summary)
    for row in run.log.to_pylist()[-3:]:
        print("step {step}: loss {loss:.4f} after {epoch:.1f} epochs".format(**row))
PartialState().destroy_process_group()

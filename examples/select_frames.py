"""Choose 5 % of a folder of frames and look at why three of the others went.

python examples/select_frames.py FRAMES --encoder google/vit-base-patch16-224-in21k
"""

import argparse

from datasets import load_from_disk

from meddel_hf import Dedup, advise, embed, load_pool

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("frames", help="folder of images")
parser.add_argument("--encoder", required=True, help="Hub id or folder of a transformers vision model")
parser.add_argument("--retention", type=float, default=0.05)
args = parser.parse_args()

pool = load_pool(args.frames)
store = embed(pool, args.encoder, out="embeddings")
print(advise(store).verdict(args.retention))
selection = Dedup(retention=args.retention).select(store)
print(selection.summary)

dropped = selection.table.filter(selection.table["reason"].is_valid())["id"]
for id in dropped[:3].to_pylist():
    print(selection.why(id))

selection.filter(pool).save_to_disk("subset")
print(load_from_disk("subset"))

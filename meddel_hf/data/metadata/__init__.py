"""What a frame's file says beside its pixels: names, positions, serial numbers; found by tag, and removed losslessly.

`tags_of` and `stripped` (frames.py) are the way in. Each format has a module of its own, which cuts a file into pieces:
what stays, and what goes with the names of its tags. Both answers come from the same pieces, so that what was found is
what is removed. Pixels are never decoded, let alone compressed again.
"""

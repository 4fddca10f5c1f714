"""Choosing what to label: what is learned from the frames that a selector chooses, tested on others, split by split."""

"""A page on which a choice of frames can be looked at: a map of the pool, who stands for whom, a threshold to move."""

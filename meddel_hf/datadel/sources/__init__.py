"""The fourteen data sets, one file each: its facts, and how its files are read."""

"""Frames and tables as they come and go: what is read from a pool, and what is written for others."""

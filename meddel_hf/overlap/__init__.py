"""Overlap: which frames of one set stand in another, as copies."""

"""Segmentation with an MLP head on an encoder."""

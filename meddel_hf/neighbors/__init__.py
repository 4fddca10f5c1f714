"""Exact cosines of many vectors: pairs above a threshold, k-means."""

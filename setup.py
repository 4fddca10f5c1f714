"""Folders are packages by being there; the metric is one of its own, so that its formula stands in one place."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["meddel_hf*"]), "normdel"], package_dir={"normdel": "metrics/normdel"})

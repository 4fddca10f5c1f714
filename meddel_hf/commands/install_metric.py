"""`meddel install-metric`: the metric answers by its bare name."""

from __future__ import annotations

import argparse

from meddel_hf.commands.printing import say

HELP = 'make evaluate.load("normdel") answer in any folder'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""


def run(args: argparse.Namespace) -> None:
    from meddel_hf.hub.metric import install_metric

    say(f'wrote {install_metric()}; evaluate.load("normdel") now answers in any folder')

"""The Space's page: a score and a share of the data in, NormDEL out. Locally: `pip install gradio`, `python app.py`.

The page that `evaluate` offers, `launch_gradio_widget`, needs Gradio 3, which no longer runs on current packages.
"""

from __future__ import annotations

from pathlib import Path

import evaluate
import gradio
from evaluate.utils.gradio import parse_readme

FOLDER = Path(__file__).parent
METRIC = evaluate.load(str(FOLDER / "normdel.py"))


def score(performance: float, retention: float, alpha: float) -> dict[str, float]:
    """NormDEL and DEL of one score; what is wrong with a value is shown on the page."""
    try:
        answer: dict[str, float] = METRIC.compute(performance=[performance], retention=[retention], alpha=alpha)
        return answer
    except ValueError as error:
        raise gradio.Error(str(error)) from error


page = gradio.Interface(
    fn=score,
    inputs=[
        gradio.Number(0.7095, label="performance: a downstream score such as mIoU, as a fraction in [0, 1]"),
        gradio.Number(0.05, label="retention: the share of the pre-training pool that was kept, in (0, 1]"),
        gradio.Number(1.0, label="alpha: what a unit of data costs, above 0"),
    ],
    outputs=gradio.JSON(label="NormDEL and DEL"),
    title="NormDEL",
    article=parse_readme(FOLDER / "README.md"),
    flagging_mode="never",
)

if __name__ == "__main__":
    page.launch()

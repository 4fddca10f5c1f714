"""NormDEL from scores: the published table, an independent oracle, every error, and the metric of `evaluate`."""

from __future__ import annotations

import csv
import doctest
import importlib
import inspect
import math
import subprocess
import sys
from pathlib import Path

import evaluate
import normdel.formula
import numpy as np
import pytest
from conftest import METRIC
from hypothesis import given
from hypothesis import strategies as st
from normdel import del_index
from normdel import normdel as score

TABLE_3 = list(csv.DictReader((Path(__file__).parents[1] / "data" / "table3.csv").read_text().splitlines()))
MIOU = [float(row["miou"]) / 100 for row in TABLE_3]
RETENTION = [float(row["retention"]) for row in TABLE_3]
PUBLISHED = [float(row["normdel"]) for row in TABLE_3]
NAN = float("nan")

fractions = st.floats(0, 1)
shares = st.floats(1e-9, 1)
alphas = st.floats(0.01, 100)


def test_the_table_has_the_48_rows_of_the_paper():
    assert len(TABLE_3) == 48
    assert len({(row["dataset"], row["retention"]) for row in TABLE_3}) == 48


def test_the_functions_reproduce_table_3():
    np.testing.assert_allclose(100 * score(MIOU, RETENTION), PUBLISHED, rtol=0, atol=0.01)


def test_the_metric_reproduces_table_3(load):
    results = load().compute(performance=MIOU, retention=RETENTION, average=None)
    np.testing.assert_allclose(100 * np.array(results["normdel"]), PUBLISHED, rtol=0, atol=0.01)
    mean = load().compute(performance=MIOU, retention=RETENTION)
    assert 100 * mean["normdel"] == pytest.approx(sum(PUBLISHED) / 48, abs=0.01)


@given(fractions, shares, alphas)
def test_both_indices_equal_the_equations_written_out(performance, retention, alpha):
    expected = performance * math.e ** (-alpha * retention)
    assert del_index(performance, retention, alpha) == pytest.approx(expected, rel=1e-12)
    assert score(performance, retention, alpha) == pytest.approx(0.5 * (1 + math.tanh(expected / 2)), rel=1e-12)


@given(fractions, shares, alphas)
def test_the_range_holds_and_less_data_never_scores_less(performance, retention, alpha):
    value = score(performance, retention, alpha)
    assert 0.5 <= value <= 1 / (1 + math.exp(-1))
    assert score(performance, retention / 2, alpha) >= value
    assert score(performance / 2, retention, alpha) <= value


def test_a_million_scores_at_once_equal_the_single_ones():
    generator = np.random.default_rng(0)
    performance, retention = generator.random(1_000_000), 1 - generator.random(1_000_000)
    values = score(performance, retention)
    assert values.shape == (1_000_000,)
    for i in (0, 123_456, 999_999):
        assert values[i] == score(float(performance[i]), float(retention[i]))
    assert isinstance(score(0.5, 0.5), float)
    np.testing.assert_array_equal(score(performance[:3], 0.05), [score(float(m), 0.05) for m in performance[:3]])


BAD_SCORES = [
    (
        {"performance": [0.5, 70.95], "retention": [0.1, 0.1]},
        r"performance\[1\] is 70.95: expected a fraction .* percent",
    ),
    (
        {"performance": [0.5], "retention": [5]},
        r"retention\[0\] is 5: expected a fraction in \(0, 1\]; divide a percent",
    ),
    ({"performance": [0.5], "retention": [0.0]}, r"retention\[0\] is 0: expected a fraction in \(0, 1\]$"),
    ({"performance": [0.5], "retention": [1.01]}, r"retention\[0\] is 1.01: expected a fraction in \(0, 1\]"),
    ({"performance": [-0.1], "retention": [0.5]}, r"performance\[0\] is -0.1: expected a fraction in \[0, 1\]$"),
    ({"performance": [0.5, NAN], "retention": [0.1, 0.1]}, r"performance\[1\] is nan: expected a fraction"),
    ({"performance": [0.5], "retention": [NAN]}, r"retention\[0\] is nan: expected a fraction"),
    (
        {"performance": [0.5, 0.6], "retention": [0.1, 0.2, 0.3]},
        "performance has 2 values and retention 3 values: give one",
    ),
    ({"performance": [], "retention": []}, "performance is empty: expected at least one number"),
    (
        {"performance": ["high"], "retention": [0.1]},
        r"performance is \['high'\]: expected a number or an array of numbers",
    ),
    ({"performance": [0.5], "retention": [0.1], "alpha": 0}, "alpha is 0: expected a finite number above 0"),
    ({"performance": [0.5], "retention": [0.1], "alpha": -1.0}, "alpha is -1.0: expected a finite number above 0"),
    ({"performance": [0.5], "retention": [0.1], "alpha": NAN}, "alpha is nan: expected a finite number above 0"),
    ({"performance": [0.5], "retention": [0.1], "alpha": "1"}, "alpha is '1': expected a finite number above 0"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD_SCORES)
def test_a_bad_score_is_one_clear_error(load, arguments, sentence):
    for function in (score, del_index, load().compute):
        with pytest.raises(ValueError, match=sentence) as error:
            function(**arguments)
        assert "\n" not in str(error.value)


def test_a_single_number_is_named_without_a_position():
    with pytest.raises(ValueError, match=r"performance is 70.95: expected a fraction in \[0, 1\]; divide a percentage"):
        score(70.95, 0.05)


def test_the_metric_refuses_other_options(load):
    with pytest.raises(ValueError, match="average is 'median'"):
        load().compute(performance=[0.5], retention=[0.1], average="median")
    with pytest.raises(ValueError, match="retention is missing"):
        load().compute(performance=[0.5])
    with pytest.raises(ValueError, match="configs default, segmentation, not 'detection'"):
        load("detection")


def test_scores_may_come_in_batches_and_after_an_error(load):
    metric = load()
    with pytest.raises(ValueError, match="divide a percentage"):
        metric.compute(performance=[50], retention=[0.1])
    metric.add(performance=0.5, retention=0.1)
    metric.add_batch(performance=[0.6, 0.7], retention=[0.2, 1.0])
    results = metric.compute(average=None)
    assert results["normdel"] == score([0.5, 0.6, 0.7], [0.1, 0.2, 1.0]).tolist()


def test_the_functions_load_neither_evaluate_nor_datasets():
    code = "import sys; from normdel import normdel, mean_iou; print(normdel(0.7545, 0.05)); print(*sys.modules)"
    value, modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split("\n", 1)
    assert round(100 * float(value), 2) == 67.21
    assert not {"evaluate", "datasets", "torch", "pandas"} & set(modules.split())


def test_the_metric_module_cannot_hide_the_function():
    with pytest.raises(ImportError, match=r"load the metric with evaluate\.load"):
        importlib.import_module("normdel.normdel")
    from normdel import normdel as again

    assert again is score


def test_the_metric_passes_what_evaluate_asks_of_its_own(load, monkeypatch):
    """As its tests/test_metric_common.py has it: no **kwargs in `_compute`, and examples where doctest finds them."""
    real = evaluate.load
    module = importlib.import_module(load().__class__.__module__)
    metric = evaluate.loading.import_main_class(module.__name__)
    kinds = {parameter.kind for parameter in inspect.signature(metric._compute).parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds
    # The examples name the metric as users do; here it is the folder's.
    monkeypatch.setattr(evaluate, "load", lambda path, *args, **kwargs: real(str(METRIC), *args, **kwargs))
    monkeypatch.setattr(doctest, "ELLIPSIS_MARKER", "[...]")
    failed, attempted = doctest.testmod(module, raise_on_error=True)
    assert failed == 0
    assert attempted == 8, "both configs have an example"


@pytest.mark.parametrize(
    ("config", "inputs"),
    [
        ("default", {"performance": [0.5], "retention": [0.1]}),
        ("segmentation", {"predictions": [[[1]]], "references": [[[1]]], "retention": 0.1}),
    ],
)
def test_compute_takes_its_inputs_by_name_and_refuses_the_other_configs(load, config, inputs):
    metric, other = load(config), {"default": {"over": "set"}, "segmentation": {"average": None}}[config]
    with pytest.raises(ValueError, match=f"is an option of config (default|segmentation), and this is config {config}"):
        metric.compute(**inputs, **other)
    if config == "default":
        arrays = {name: np.array(values) for name, values in inputs.items()}
        assert metric._compute(**inputs) == metric._compute(**arrays) == load(config).compute(**inputs)
    with pytest.raises(TypeError, match="unexpected keyword argument 'overr'"):
        load(config).compute(**inputs, overr="set")


def test_the_docstring_examples_hold():
    failed, tried = doctest.testmod(normdel.formula)
    assert (failed, tried > 0) == (0, True)

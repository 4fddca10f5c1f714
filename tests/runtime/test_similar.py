"""What a mistyped name may have meant: of commands, options, choices, selectors, columns, configurations and keys."""

from __future__ import annotations

import re

import pytest
from datasets import Dataset

from meddel_hf import Dedup, MedDEL, load_pool
from meddel_hf.cli import main
from meddel_hf.data.pool import Pool
from meddel_hf.embedding.loading import located
from meddel_hf.errors import MedDELError
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.runtime.similar import did_you_mean
from meddel_hf.selectors.registry import make


@pytest.mark.parametrize(
    ("typed", "names", "meant"),
    [
        ("selct", ("select", "sweep"), "select"),
        ("Centre", ("center", "label"), "center"),
        ("imgae", ("id", "image"), "image"),
        ("xyz", ("select", "sweep"), None),
        ("", ("select",), None),
        (None, ("select",), None),
        (3, ("select",), None),
        ("a", (), None),
    ],
)
def test_the_nearest_name_is_offered_and_none_that_is_far(typed, names, meant):
    assert did_you_mean(typed, names) == ("" if meant is None else f"; did you mean {meant!r}?")


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("selct emb", "select"),
        ("benchmark lader plan.yaml", "ladder"),
        ("select emb --scope pol --out o", "pool"),
        ("select emb --out o --retentoin 0.1", "--retention"),
        ("select emb --out o --retentoin=0.1", "--retention"),
        ("benchmark run plan.yaml --gate-onyl", "--gate-only"),
        ("pretrain pool --out o --objective mea", "mae"),
    ],
)
def test_a_mistyped_word_of_a_command_line(line, meant, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(line.split())
    assert stopped.value.code == 2
    (said,) = capsys.readouterr().err.splitlines()
    asked = "meddel" if line.startswith("selct") else f"meddel {line.split()[0]}"
    assert said.startswith("error: ")
    assert re.search(rf"did you mean {meant!r}\? \({asked}( run)? --help has all that it takes\)$", said)


POOL = Dataset.from_dict({"id": ["a"], "image": [b""], "center": ["c"]})


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: make("medel", retention=0.1), "meddel"),
        (lambda: make("meddel", retention=0.1, scpoe="pool"), "scope"),
        (lambda: Dedup(0.1, then="stratfied"), "stratified"),
        (lambda: MedDEL(eta=0.9, scope="pol"), "pool"),
        (lambda: Pool.of(POOL, image_column="imgae"), "image"),
        (lambda: Pool.of(POOL, id_column="ids"), "id"),
        (lambda: located("caried").__enter__(), "carried"),
        (lambda: located("vit-base-patch16-224").__enter__(), "google/vit-base-patch16-224-in21k"),
        (lambda: Recipe(objective="mea"), "mae"),
    ],
)
def test_a_mistyped_name_in_python(call, meant):
    with pytest.raises(MedDELError) as refused:
        call()
    assert str(refused.value).endswith(f"did you mean {meant!r}?")


def test_configurations_and_splits_of_a_data_set(tmp_path):
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: polypgen2021_c1\n  data_files:\n  - split: train\n    path: a.parquet\n"
        "- config_name: etis\n  data_files:\n  - split: train\n    path: a.parquet\n---\n"
    )
    POOL.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(MedDELError, match=r"did you mean 'polypgen2021_c1'\?$"):
        load_pool(f"{tmp_path}:polypgen_c1")
    with pytest.raises(MedDELError, match=r"did you mean 'train'\?$"):
        load_pool(f"{tmp_path}:etis@trian")

"""Selectors by name, those of other packages too; and what chance owes: every row alike, every centre its share."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import oracle
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from scipy.stats import chisquare

from meddel_hf.cli import main
from meddel_hf.errors import InvalidArgument, InvalidDataset, MedDELError, Mismatch
from meddel_hf.selectors import Dedup, Random, RandomStratified, registry

NAMES = [
    "dedup", "meddel", "random", "random-stratified", "semdedup", "k-centre", "prototypes-easy", "prototypes-hard",
    "density", "balanced", "typiclust", "max-herding", "retrieval",
]  # fmt: skip
THIRD_PARTY = """
from dataclasses import dataclass, replace
from typing import Any, Literal, Optional, Union

from meddel_hf.selectors.protocol import Readable, marked

class First:
    \"\"\"The first rows.\"\"\"
    def __init__(self, retention, seed=0, skip=0):
        self.retention, self.skip = retention, skip

    def select(self, embeddings, pool=None):
        readable = Readable.of(embeddings)
        rows = range(self.skip, self.skip + readable.rows_to_keep(self.retention))
        return readable.selection(marked(len(readable.rows), list(rows)), {"selector": "first", "skip": self.skip})

class Other:
    \"\"\"By chance, with the pairs of Algorithm 1, which do not tell who is kept.\"\"\"

    def __init__(self, retention, seed=0):
        self.retention, self.seed = retention, seed

    def select(self, embeddings, pool=None):
        from meddel_hf.selectors import MedDEL, Random

        by_chance = Random(self.retention, self.seed).select(embeddings, pool=pool)
        return replace(MedDEL(0.4, epsilon=None).select(embeddings), table=by_chance.table)

@dataclass(frozen=True)
class Typed:
    retention: float
    seed: int = 0
    nearest: bool = False
    frames: int = 3
    share: "float | None" = 0.5
    column: Optional[str] = None
    keep: Literal["most", "least"] = "most"
    clusters: Union[int, Literal["auto"]] = "auto"
    columns: "tuple[str, ...]" = ()
    anything: Any = None

    def select(self, embeddings, pool=None): ...

class Annotated:
    def __init__(self, retention: float, seed: int = 0, nearest: bool = False): ...
    def select(self, embeddings, pool=None): ...

class Unresolved:
    def __init__(self, retention: float, seed: int = 0, pool: "Datsaet" = None, nearest: bool = False): ...
    def select(self, embeddings, pool=None): ...

class Loose:
    def __init__(self, retention, seed=0, k: "how many there are" = 3): ...
    def select(self, embeddings, pool=None): ...

@dataclass(frozen=True)
class Wider(Typed):
    def __init__(self, retention, seed=0, share: "float | str" = "auto", name: int = None, steps: ["a"] = 1): ...

class Seedless:
    def __init__(self, retention): ...

class Nothing:
    def __init__(self, retention, seed): ...

number = 3
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package with these entry points: files on the path, as pip leaves them."""

    def install(**points: str) -> None:
        (tmp_path / "other_package.py").write_text(THIRD_PARTY, encoding="utf-8")
        info = tmp_path / "other_package-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n", encoding="utf-8")
        lines = [f"{name.replace('_', '-')} = {home}" for name, home in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[meddel_hf.selectors]", *lines]) + "\n", encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)

    yield install
    sys.modules.pop("other_package", None)


def test_the_names_load_nothing_heavy():
    code = "import sys\nfrom meddel_hf.selectors.registry import names\nprint(names(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{NAMES} False"


def test_another_package_adds_a_selector(installed, tmp_path):
    installed(first="other_package:First")
    assert registry.names() == [*NAMES, "first"]
    assert registry.options_of("first") == ["skip"]
    selection = registry.make("first", retention=0.2, skip=3).select(oracle.clumps(20, 4))
    assert selection.kept == ["3", "4", "5", "6"]
    with pytest.raises(InvalidArgument, match="selector 'first' has no option 'keep'; its options are skip"):
        registry.make("first", retention=0.2, keep="all")


def test_what_a_selector_of_another_package_can_take_is_not_refused(installed):
    installed(loose="other_package:Loose", wider="other_package:Wider", typed="other_package:Typed")
    for k in ({}, {"k": 4}, {"k": "a"}):
        registry.make("loose", retention=0.2, **k)
    for given in ({"share": "auto"}, {"share": 0.5}, {"name": None}, {"name": 7}, {"steps": 2}):
        registry.make("wider", retention=0.2, **given)
    registry.make("typed", retention=0.2, frames=np.int64(3), share=np.float32(0.5), nearest=np.bool_(True))
    with pytest.raises(InvalidArgument, match="name must be a whole number, got 'x'"):
        registry.make("wider", retention=0.2, name="x")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"nearest": "maybe"}, "nearest must be true or false, got 'maybe'"),
        ({"nearest": 1}, "nearest must be true or false, got 1"),
        ({"nearest": None}, "nearest must be true or false, got None"),
        ({"frames": "three"}, "frames must be a whole number, got 'three'"),
        ({"frames": True}, "frames must be a whole number, got True"),
        ({"frames": 2.5}, "frames must be a whole number, got 2.5"),
        ({"share": "half"}, "share must be a number or none, got 'half'"),
        ({"column": 3}, "column must be text (in quotes where it looks like a number) or none, got 3"),
        ({"keep": "laest"}, "keep must be one of 'most', 'least', got 'laest'; did you mean 'least'?"),
        ({"clusters": "many"}, "clusters must be a whole number or 'auto', got 'many'"),
    ],
)
def test_an_option_of_another_package_is_held_to_its_annotation(wrong, message, installed):
    installed(typed="other_package:Typed", annotated="other_package:Annotated")
    for name in ["typed", *["annotated"] * ("nearest" in wrong)]:
        with pytest.raises(InvalidArgument) as told:
            registry.make(name, retention=0.5, **wrong)
        assert str(told.value) == message


def test_options_that_are_of_their_annotation_or_have_none_that_is_plain_are_taken(installed):
    installed(typed="other_package:Typed", first="other_package:First", unresolved="other_package:Unresolved")
    given = {"nearest": True, "frames": 4, "share": 1, "column": "c", "keep": "least", "clusters": 2, "columns": ("a",)}
    made = registry.make("typed", retention=0.5, **given, anything="x")
    assert {name: getattr(made, name) for name in given} == given
    registry.make("typed", retention=0.5, share=None, column=None, clusters="auto", columns="no tuple")
    registry.make("first", retention=0.5, skip="not annotated")
    registry.make("unresolved", retention=0.5, nearest="its annotations name what is not there")


def test_only_pairs_of_our_own_rule_answer_another_retention(installed):
    installed(other="other_package:Other")
    x = oracle.clumps(200, 12, spread=0.7)
    drawn = Dedup(0.3, eta=0.9, then="other").select(x)
    assert (drawn.summary.kept, drawn.second) == (60, None)
    assert Dedup(0.3, eta=0.9, then="meddel").select(x).second is not None


def test_a_broken_package_is_named(installed):
    installed(gone="no_such_module:X", number="other_package:number", seedless="other_package:Seedless",
              nothing="other_package:Nothing", random="other_package:First")  # fmt: skip
    assert registry.names()[: len(NAMES)] == NAMES
    for name, message in (
        ("gone", r"selector 'gone' of the package 'other-package' cannot be loaded from no_such_module:X"),
        ("number", "other_package:number is a int, expected a class"),
        ("seedless", "takes no seed=, as every selector must"),
        ("nothing", r"made a Nothing, which has no select\(embeddings, pool=None\)"),
        ("random", "registers a selector 'random', a name that this package has itself"),
    ):
        with pytest.raises(MedDELError, match=message):
            registry.make(name, retention=0.5)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InvalidArgument, match="there is no selector 'rnadom'; there are dedup, meddel, random"):
        registry.make("rnadom", retention=0.5)
    with pytest.raises(InvalidArgument, match="selector 'random' has no option 'eta'; it has none"):
        registry.make("random", retention=0.5, eta=0.5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scope=pool", ("scope", "pool")), ("n-clusters=30", ("n_clusters", 30)), ("epsilon=none", ("epsilon", None)),
        ("epsilon=0.9", ("epsilon", 0.9)), ("subtract_mean=true", ("subtract_mean", True)),
        ("by=center,source", ("by", ("center", "source"))), ("first = medoid ", ("first", "medoid")),
        ("temperature=inf", ("temperature", "inf")), ("year='2020'", ("year", "2020")), ('a="b, 1"', ("a", "b, 1")),
    ],
)  # fmt: skip
def test_options_are_read_as_typed(text, expected):
    assert registry.parse_option(text) == expected


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("random", "random-stratified")])
def test_true_and_false_are_no_numbers(name):
    options = {"reference": np.eye(4)} if name == "retrieval" else {}
    for value in (1, 0, "true", None):
        with pytest.raises(InvalidArgument, match=r"subtract_mean must be .*true or false, got"):
            registry.make(name, retention=0.5, subtract_mean=value, **options)


@pytest.mark.parametrize("text", ["scope", "=pool", "a b=1", "3=4"])
def test_what_is_no_option_is_refused(text):
    with pytest.raises(InvalidArgument, match="written key=value, such as scope=pool"):
        registry.parse_option(text)


def test_chance_keeps_every_row_alike():
    x, times = oracle.clumps(40, 4), 400
    counts = sum((Random(0.25, seed).select(x).table["kept"].to_numpy().astype(int) for seed in range(times)), 0)
    assert counts.sum() == 10 * times
    # Of a row the variance is p (1 - p) a draw and not p, and rows of one draw exclude each other: 40/39.
    assert chisquare(counts, [times / 4] * 40).statistic / 0.75 * 39 / 40 < 72.05  # 0.999 of chi-square, 39 degrees


def closest_shares(sizes: list[int], total: int) -> set[tuple[int, ...]]:
    """Every way to share out `total` that lies closest to proportion, one a stratum where that can be: by trial."""
    least = int(total >= len(sizes))
    wish = np.array(sizes) * total / sum(sizes)
    ways = [way for way in product(*(range(least, size + 1) for size in sizes)) if sum(way) == total]
    cost = [round(float(((np.array(way) - wish) ** 2).sum()), 9) for way in ways]
    return {way for way, each in zip(ways, cost, strict=True) if each == min(cost)}


@pytest.mark.parametrize("total", [1, 2, 3, 5, 8, 13, 19, 20])
def test_every_stratum_keeps_its_share(total):
    sizes = [12, 5, 2, 1]
    names = [name for name, size in zip("abcd", sizes, strict=True) for _ in range(size)]
    pool = Dataset.from_dict({"id": list(map(str, range(20))), "center": names})
    selection = RandomStratified(total / 20, by="center").select(oracle.clumps(20, 4), pool=pool)
    kept = [names[int(id)] for id in selection.kept]
    assert tuple(kept.count(name) for name in "abcd") in closest_shares(sizes, total)


def test_the_first_column_that_tells_names_the_stratum():
    features = Features({"center": Value("string"), "source": Value("string"), "label": ClassLabel(names=["x", "y"])})
    columns = {"center": ["c"] * 4 + [None] * 6, "source": ["s"] * 8 + [None] * 2, "label": [0, 1] * 5}
    pool = Dataset.from_dict(columns, features=features)
    x = oracle.clumps(10, 4)
    kept = [int(id) for id in RandomStratified(0.5, seed=1).select(x, pool=pool).kept]
    assert [sum(row in part for row in kept) for part in (range(4), range(4, 8), range(8, 10))] == [2, 2, 1]
    even = [int(id) % 2 for id in RandomStratified(0.4, by="label").select(x, pool=pool).kept]
    assert sorted(even) == [0, 0, 1, 1]


def test_a_pool_that_does_not_fit_is_told():
    x, pool = oracle.clumps(4, 3), Dataset.from_dict({"id": list("0123"), "site": list("aabb")})
    for found, message, kind in (
        (None, "strata are read from the pool's center, source, and no pool is named", InvalidDataset),
        (pool, "the pool has no column 'center', 'source' to part its rows by; it has site", InvalidDataset),
        ({"train": pool}, "pool must be a datasets.Dataset, got dict", InvalidDataset),
    ):
        with pytest.raises(kind, match=message):
            RandomStratified(0.5).select(x, pool=found)
    with pytest.raises(Mismatch, match="row numbers of another data set"):
        RandomStratified(0.5, by="site").select(x, pool=pool.select(range(3)))


def test_a_rival_on_the_command_line(tmp_path, capsys):
    root = Path(__file__).parents[2] / "meddel_hf" / "assets"
    store = str(tmp_path / "e")
    pool = f"{root / 'pool'}:polypgen2021_c6"
    assert main(["embed", pool, "--encoder", str(root / "encoder"), "--out", store, "--quiet"]) == 0
    select = ["select", store, "--retention", "0.1", "--out", str(tmp_path / "s")]
    assert main([*select, "--selector", "random-stratified", "--option", "by=center", "--seed", "2"]) == 0
    out = capsys.readouterr().out
    assert "not selected" in out
    assert "retention.png" not in out
    table = pq.read_table(tmp_path / "s" / "rows.parquet")
    assert sum(table["kept"].to_pylist()) == round(0.1 * len(table))
    assert main([*select, "--selector", "k-centre", "--scope", "pool"]) == 2
    assert (
        "--scope is an option of Dedup and MedDEL alone: leave it out, or use --selector dedup or meddel"
        in capsys.readouterr().err
    )
    assert main([*select, "--selector", "random-stratified", "--by", "center", "label"]) == 2
    assert "--by is an option of Dedup alone: use --option by=center,label" in capsys.readouterr().err
    for retention in ([], ["--retention", "0.1"]):
        line = ["select", store, *retention, "--eta", "0.5", "--out", store + "2", "--selector", "random"]
        assert main(line) == 2
        assert "--eta is an option of Dedup and MedDEL alone: leave it out, or use" in capsys.readouterr().err
    assert main(["select", store, "--out", store + "2", "--selector", "random"]) == 2
    assert "nothing says how much to keep: give --selector random a --retention" in capsys.readouterr().err

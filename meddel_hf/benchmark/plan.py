"""`Plan`: what a benchmark runs, typed and checked before any work; read from YAML."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from meddel_hf.benchmark.place import FULL, MOST_SEEDS, UNTRAINED
from meddel_hf.downstream.segmentation.recipe import SegmentationRecipe
from meddel_hf.downstream.splits import TEST_SHARE
from meddel_hf.errors import InvalidArgument
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.runtime import checks
from meddel_hf.runtime.reading import shown

Pooling = Literal["cls", "mean"]
Split = Literal["auto", "official", "seeded"]
_MOST_CELLS, _LONGEST_NAME = 100_000, 100  # cells, bytes


@dataclass(frozen=True)
class PoolPart:
    """A part of the pool that is selected from.

    pool:   folder of images, data set folder or Hub id, with :config and @split where needed.
    match:  of its ids, only those that match this pattern (`*` matches slashes too); None: all.
    source: what its rows are called where the data set has no column `source`; None: the last word of `pool`.
    """

    pool: str
    match: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class Embedding:
    """What selectors compare frames by: encoder (Hub id or folder) and pooling, "cls" or "mean"."""

    encoder: str
    pooling: Pooling = "cls"


@dataclass(frozen=True)
class Arm:
    """A selector with its options, under the label that tables and folders show."""

    label: str
    selector: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name("label", self.label)
        if self.label in (FULL, UNTRAINED):
            raise InvalidArgument(f"label {self.label!r} is taken by the gate: choose another")


@dataclass(frozen=True)
class SegmentationTask:
    """Segmentation with an MLP head; one training a cell, any number of test sets.

    train: frames with masks; its own test part is a test set of the task's name. split: of `train`, as in
    `meddel segment`. test: name -> further test sets. masked_only: leave rows without a mask out.
    """

    name: str
    train: str
    test: Mapping[str, str] = field(default_factory=dict)
    split: Split = "auto"
    test_share: float = TEST_SHARE
    masked_only: bool = False
    recipe: SegmentationRecipe = field(default_factory=SegmentationRecipe)
    kind: Literal["segmentation"] = "segmentation"

    def __post_init__(self) -> None:
        _check_name("name", self.name)
        if self.name in self.test:
            raise InvalidArgument(f"test set {self.name!r} has the task's own name, which its held-out part has")
        if not 0 <= self.test_share < 1:
            raise InvalidArgument(f"test_share must lie in [0, 1), got {self.test_share}")
        if not self.test and not self.test_share:
            raise InvalidArgument("nothing to test on: give test sets, or a test_share above 0")


@dataclass(frozen=True)
class ProbeTask:
    """A classifier on frozen features, as in `meddel probe`.

    labels: labelled data set. target: column of the classes, or "folder". train_match, test_match: patterns of ids;
    without them the owners' split, else a seeded one. method: "linear" or "knn". pooling: of the cell's encoder.
    """

    name: str
    labels: str
    target: str = "label"
    train_match: str | None = None
    test_match: str | None = None
    split: Split = "auto"
    method: Literal["linear", "knn"] = "linear"
    neighbours: int = 5
    pooling: Pooling = "mean"
    kind: Literal["probe"] = "probe"

    def __post_init__(self) -> None:
        _check_name("name", self.name)
        checks.count("neighbours", self.neighbours, 1)
        if self.train_match and not self.test_match:
            raise InvalidArgument("train_match alone says nothing of the test: add test_match")


Task = SegmentationTask | ProbeTask
_KINDS: dict[str, type[Task]] = {"segmentation": SegmentationTask, "probe": ProbeTask}


@dataclass(frozen=True)
class Plan:
    """A benchmark: one pool, one way to pre-train and to test, and the selections that are compared.

    pool:        what is selected from; frames that a task is tested on are left out of it.
    embedding:   what selectors see; may be left out where no arm is given.
    pretraining: the same for every cell, so that all see the same number of samples.
    arms:        selectors. None: the gate alone, the full pool against no pre-training.
    retentions:  shares of the pool, in (0, 1]; 1 is the full pool, which is always run once.
    seeds:       of selection, pre-training and downstream training alike.
    exclude:     files of ids, one a line, that are left out of the pool besides.
    gate_level:  of the gate's interval, a fraction.
    """

    name: str
    pool: tuple[PoolPart, ...]
    pretraining: Recipe
    tasks: tuple[Task, ...]
    embedding: Embedding | None = None
    arms: tuple[Arm, ...] = ()
    retentions: tuple[float, ...] = (0.05, 0.1, 0.2, 0.33, 0.5, 1.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    exclude: tuple[str, ...] = ()
    gate_level: float = 0.95

    def __post_init__(self) -> None:
        for name in ("pool", "tasks", "seeds"):
            if not getattr(self, name):
                raise InvalidArgument(f"{name} is empty: a plan needs at least one")
        for name, values in {
            "labels of arms": [arm.label for arm in self.arms], "names of tasks": [task.name for task in self.tasks],
            "retentions": self.retentions, "seeds": self.seeds,
        }.items():  # fmt: skip
            if len(set(values)) < len(values):
                raise InvalidArgument(f"{name} repeat themselves: {shown(', '.join(map(str, values)))}")
        wrong = [share for share in self.retentions if not 0 < share <= 1]
        if wrong:
            raise InvalidArgument(f"retentions are fractions in (0, 1], got {wrong[0]}: divide a percentage by 100")
        for seed in self.seeds:
            checks.seed(seed, "a seed")
        cells = len(self.seeds) * (2 + len(self.arms) * len(self.retentions))
        if cells > _MOST_CELLS:
            raise InvalidArgument(f"the plan asks for {cells:,} cells, more than {_MOST_CELLS:,}: give fewer seeds")
        if not 0 < self.gate_level < 1:
            raise InvalidArgument(f"gate_level is a fraction between 0 and 1, such as 0.95, got {self.gate_level}")
        if not self.pretraining.samples:
            raise InvalidArgument("pretraining.samples is 0: nothing would be learned, and nothing compared")
        if self.arms and self.embedding is None:
            raise InvalidArgument("embedding is missing: say which encoder the selectors compare frames by")

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan. Raises InvalidArgument, with the place in the file, for what does not fit."""
        from meddel_hf.benchmark.yaml_file import read_yaml

        found = read_yaml(Path(path), "a plan, a YAML file as in `meddel benchmark --help`")
        return cls.of(found, str(path))

    @classmethod
    def of(cls, found: Any, where: str = "plan") -> Plan:
        """A plan from plain values, as YAML gives them."""
        if isinstance(found, Mapping):
            pool, seeds = found.get("pool"), found.get("seeds")
            found = dict(found)
            if isinstance(pool, str | Mapping):
                found["pool"] = [pool]
            if isinstance(found.get("pool"), Sequence):
                found["pool"] = [{"pool": part} if isinstance(part, str) else part for part in found["pool"]]
            if isinstance(seeds, int) and not isinstance(seeds, bool):
                if not 1 <= seeds <= MOST_SEEDS:
                    raise InvalidArgument(
                        f"{where}: seeds is a number of seeds from 1 to {MOST_SEEDS:,}, got {shown(seeds)}; a list "
                        f"names them, such as seeds: [{shown(max(seeds, 0))}]"
                    )
                found["seeds"] = list(range(seeds))
        answer: Plan = _typed(cls, found, where)
        return answer

    def plain(self) -> dict[str, Any]:
        """Plain values, for a manifest."""
        return asdict(self)

    def yaml(self) -> str:
        """The plan as a file, every default written out."""
        import yaml

        return str(yaml.safe_dump(json.loads(json.dumps(self.plain())), sort_keys=False, allow_unicode=True, width=120))


def _typed(kind: Any, value: Any, where: str) -> Any:
    """A plain value as `kind`. Raises InvalidArgument that names the place where it does not fit."""
    if kind == Task:
        name = value.get("kind") if isinstance(value, Mapping) else None
        if not isinstance(name, str) or name not in _KINDS:
            raise InvalidArgument(f"{where}: kind must be one of {', '.join(_KINDS)}, got {shown(name)}")
        kind = _KINDS[name]
    if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__"):
        return _record(kind, value, where)
    origin, options = get_origin(kind), get_args(kind)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise InvalidArgument(f"{where} must be a list, got {shown(value)}")
        return tuple(_typed(options[0], one, f"{where}[{at}]") for at, one in enumerate(value))
    if origin in (Union, UnionType):
        rest = [option for option in options if option is not type(None)]
        return None if value is None else _typed(rest[0], value, where)
    if origin is Literal:
        if value not in options:
            raise InvalidArgument(f"{where} must be one of {', '.join(map(str, options))}, got {shown(value)}")
        return value
    if origin is not None:  # a mapping
        if not isinstance(value, Mapping):
            raise InvalidArgument(f"{where} must be a mapping, got {shown(value)}")
        return {
            _plain(str, key, f"a key of {where}"): _typed(options[1], value[key], f"{where}.{key}") for key in value
        }
    return _any(value, where) if kind is Any else _plain(kind, value, where)


def _any(value: Any, where: str) -> Any:
    """An option of a selector: plain values, and lists of them."""
    if isinstance(value, list | tuple):
        return type(value)(_any(one, where) for one in value)
    return value if value is None else _plain(type(value) if type(value) in _NAMES else str, value, where)


def _plain(kind: type, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        hint = "; write 1.0e-3, since YAML takes 1e-3 for text" if kind is float and isinstance(value, str) else ""
        raise InvalidArgument(f"{where} must be {_NAMES.get(kind, kind.__name__)}, got {shown(value)}{hint}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidArgument(f"{where} must be a finite number, got {value}")
    if isinstance(value, str) and not _is_clean(value):
        raise InvalidArgument(f"{where} holds characters that no text has: {shown(value)}")
    return value


def _is_clean(text: str) -> bool:
    """No control characters, which no path may hold, and no halves of characters, which no file may."""
    return not any(ord(character) < 32 or 0xD800 <= ord(character) < 0xE000 for character in text)


_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _record(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"{where} must be a mapping of {', '.join(_names(kind))}, got {shown(value)}")
    unknown = sorted(str(name) for name in value if name not in _names(kind))
    if unknown:
        raise InvalidArgument(f"{where} has the unknown key {shown(unknown[0])}: expected {', '.join(_names(kind))}")
    missing = [one.name for one in fields(kind) if _required(one) and one.name not in value]
    if missing:
        raise InvalidArgument(f"{where} lacks {', '.join(missing)}")
    types = get_type_hints(kind)
    found = {name: _typed(types[name], one, f"{where}: {name}") for name, one in value.items()}
    try:
        return kind(**found)
    except InvalidArgument as error:
        raise InvalidArgument(f"{where}: {error}") from error


def _names(kind: Any) -> list[str]:
    return [one.name for one in fields(kind)]


def _required(one: Any) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def _check_name(what: str, name: str) -> None:
    """Names are those of folders too."""
    odd = name.startswith(".") or set(name) & set('/\\@:*?"<>|') or name != name.strip() or not name.isprintable()
    if not name or odd or len(name.encode()) > _LONGEST_NAME:
        raise InvalidArgument(f"{what} {shown(name)} is no name of a folder: use letters, digits, '-' and '_'")

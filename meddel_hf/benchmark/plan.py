"""`Plan`: what a benchmark runs, typed and checked before any work; read from YAML."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from meddel_hf.benchmark.place import MOST_SEEDS, RESERVED, percent
from meddel_hf.downstream.labels.budgets import MOST_DRAWS, MOST_SPLITS, check_budget
from meddel_hf.downstream.probing.probe import NEIGHBOURS
from meddel_hf.downstream.segmentation.recipe import SegmentationRecipe
from meddel_hf.downstream.splits import TEST_SHARE
from meddel_hf.embedding.space import Pooling, Poolings
from meddel_hf.errors import InvalidArgument
from meddel_hf.pretraining.budgets import recipe_for
from meddel_hf.pretraining.recipe import AnyPooling, Recipe
from meddel_hf.runtime import checks
from meddel_hf.runtime.reading import shown
from meddel_hf.runtime.typed import Record, Rule, Text, clean_text, read
from meddel_hf.schema import GROUP

Item = TypeVar("Item")
Many = Annotated[tuple[Item, ...], Field(strict=False)]  # a list will do
Split = Literal["auto", "official", "seeded"]
Gate = Literal["learning", "headroom"]
LEARNING: Gate = "learning"
HEADROOM: Gate = "headroom"
OF_CELLS = (  # keys that a plan whose tasks are all of kind labels has no use for
    "pool", "pretraining", "retentions", "seeds", "exclude", "gate_level", "gates", "redundancy",
)  # fmt: skip
_MOST_CELLS, _LONGEST_NAME = 100_000, 100  # cells, bytes


def _option(value: Any) -> Any:
    """Of a selector: plain values, and lists of them."""
    if isinstance(value, list | tuple):
        return type(value)(_option(one) for one in value)
    if not isinstance(value, str | int | float | None):
        raise InvalidArgument(f"must be text, got {shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidArgument(f"must be a finite number, got {value}")
    return clean_text(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class PoolPart(Record):
    """A part of the pool that is selected from.

    pool:   folder of images, data set folder or Hub id, with :config and @split where needed.
    match:  of its ids, only those that match this pattern (`*` matches slashes too); None: all.
    source: what its rows are called where the data set has no column `source`; None: the last word of `pool`.
    """

    pool: Text
    match: Text | None = None
    source: Text | None = None


@dataclass(frozen=True)
class Embedding(Record):
    """What selectors compare frames by: encoder (Hub id or folder), and pooling as `embed` takes it.

    pooling: "cls", "mean", "both" from one pass, of which selectors that know of one see CLS, or "auto".
    """

    encoder: Text
    pooling: Poolings = "cls"


@dataclass(frozen=True)
class Arm(Record):
    """A selector with its options, under the label that tables and folders show."""

    label: Text
    selector: Text
    options: Mapping[Text, Annotated[Any, Rule(_option)]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name("label", self.label)


@dataclass(frozen=True)
class SegmentationTask(Record):
    """Segmentation with an MLP head; one training a cell, any number of test sets.

    train: frames with masks; its own test part is a test set of the task's name. split: of `train`, as in
    `meddel segment`. test: name -> further test sets. masked_only: leave rows without a mask out.
    overlays: draw overlays.png into every cell, 1 to 2 MB each.
    """

    name: Text
    train: Text
    test: Mapping[Text, Text] = field(default_factory=dict)
    split: Split = "auto"
    test_share: float = TEST_SHARE
    masked_only: bool = False
    recipe: SegmentationRecipe = field(default_factory=SegmentationRecipe)
    overlays: bool = field(default=False, repr=False)  # scores do not depend on it, and older cells know no such thing
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
class ProbeTask(Record):
    """A classifier on frozen features, as in `meddel probe`.

    labels: labelled data set. target: column of the classes, or "folder". train_match, test_match: patterns of ids;
    without them the owners' split, else a seeded one. method: "linear" or "knn". pooling: of the cell's encoder.
    """

    name: Text
    labels: Text
    target: Text = "label"
    train_match: Text | None = None
    test_match: Text | None = None
    split: Split = "auto"
    method: Literal["linear", "knn"] = "linear"
    neighbours: int = NEIGHBOURS
    pooling: Pooling = "mean"
    kind: Literal["probe"] = "probe"

    def __post_init__(self) -> None:
        _check_name("name", self.name)
        checks.count("neighbours", self.neighbours, 1)
        if self.train_match and not self.test_match:
            raise InvalidArgument("train_match alone says nothing of the test: add test_match")


@dataclass(frozen=True)
class InstanceTask(Record):
    """Held-out instance accuracy: does a view of a frame find the other one, among two views of each? No labels needed.

    frames:  that the pool does not hold; those that it does are left out of it. match: of their ids, only those that
    match this pattern; None: all. pooling: of the encoder's tokens; "auto" is what the objective trained.
    Test sets: "trunk", the encoder's features, and "head" where views are compared by a head (simclr, dino). Each cell
    notes its objective's loss on these frames, too.
    """

    name: Text
    frames: Text
    match: Text | None = None
    pooling: AnyPooling = "auto"
    kind: Literal["instance"] = "instance"

    def __post_init__(self) -> None:
        _check_name("name", self.name)


@dataclass(frozen=True)
class SceneTask(Record):
    """Is a frame's nearest other frame of the same video (sequence, patient), as the column `group` has it?

    frames, match, pooling: as of `InstanceTask`; two groups of two frames at least.
    """

    name: Text
    frames: Text
    match: Text | None = None
    group: Text = GROUP
    pooling: AnyPooling = "auto"
    kind: Literal["scene"] = "scene"

    def __post_init__(self) -> None:
        _check_name("name", self.name)


@dataclass(frozen=True)
class LabelsTask(Record):
    """Choosing what to label: a head on frozen features learns from the frames that each arm chooses; no pre-training.

    labels:  labelled data set, or one with masks. target: column of the classes, or "folder".
    masks:   segment instead, with the patch tokens of the plan's encoder.
    budgets: numbers of frames, or shares of the part that may be chosen. splits: random ones, the same for every arm.
    draws:   seeds of each arm in a split. rarest: classes of fewer frames are left out.
    """

    name: Text
    labels: Text
    target: Text = "label"
    masks: bool = False
    budgets: Many[int | float] = (16, 32, 64, 128, 0.1)
    splits: int = 20
    draws: int = 3
    test_share: float = TEST_SHARE
    rarest: int = 1
    kind: Literal["labels"] = "labels"

    def __post_init__(self) -> None:
        _check_name("name", self.name)
        if not self.budgets or len(set(self.budgets)) < len(self.budgets):
            raise InvalidArgument("budgets are none, or repeat themselves: give each once")
        for budget in self.budgets:
            check_budget(budget)
        checks.count("splits", self.splits, 2, MOST_SPLITS)
        checks.count("draws", self.draws, 1, MOST_DRAWS)
        checks.count("rarest", self.rarest, 1)
        if not 0 < self.test_share < 1:
            raise InvalidArgument(f"test_share must lie between 0 and 1, got {self.test_share}")


Retrieval = InstanceTask | SceneTask
Trained = SegmentationTask | ProbeTask | Retrieval  # tested on the encoder that a cell pre-trained
Task = Annotated[Trained | LabelsTask, Field(discriminator="kind")]


@dataclass(frozen=True)
class Plan(Record):
    """A benchmark: one pool, one way to pre-train and to test, and the selections that are compared.

    pool:        what is selected from; frames that a task is tested on are left out of it.
    embedding:   what selectors see; may be left out where no arm is given.
    pretraining: the same for every cell, so that all see the same number of samples. It and the pool are left out where
                 all tasks are of kind "labels", which choose among their own frames.
    arms:        selectors. None: the gate alone, the full pool against no pre-training.
    retentions:  shares of the pool, in (0, 1]; 1 is the full pool, which is always run once.
    seeds:       of selection, pre-training and downstream training alike.
    exclude:     files of ids, one a line, that are left out of the pool besides.
    gate_level:  of the gates' intervals, a fraction.
    gates:       what a task must pass before selectors are run and ranked on it. "learning": the full pool beats no
                 pre-training. "headroom": the full pool, or the pool without its near-duplicates, is above random at
                 the smallest retention; asked where there are arms and a retention below 1.
    redundancy:  shares of near-copies, in [0, 1): the plan is run once on a pool of each, made of this one and of as
                 many frames; 0: the pool as it is. Empty: on the pool alone.
    """

    name: Text
    pool: Many[PoolPart] = ()
    pretraining: Recipe | None = None
    tasks: Many[Task] = ()
    embedding: Embedding | None = None
    arms: Many[Arm] = ()
    retentions: Many[float] = (0.05, 0.1, 0.2, 0.33, 0.5, 1.0)
    seeds: Many[int] = (0, 1, 2)
    exclude: Many[Text] = ()
    gate_level: float = 0.95
    gates: Many[Gate] = (LEARNING, HEADROOM)
    redundancy: Many[float] = ()

    def __post_init__(self) -> None:
        for name in ("pool", "tasks", "seeds") if self.trained_tasks else ("tasks", "seeds"):
            if not getattr(self, name):
                raise InvalidArgument(f"{name} is empty: a plan needs at least one")
        if self.trained_tasks and not self.gates:
            raise InvalidArgument(
                "gates is empty: expected [learning], [headroom] or both; [learning] asks the least, and there is no "
                "plan without a gate, since a task that does not see pre-training cannot see a selection"
            )
        for name, values in {
            "labels of arms": [arm.label for arm in self.arms], "names of tasks": [task.name for task in self.tasks],
            "retentions": [f"{percent(share)} %" for share in self.retentions],
            "redundancy": [f"{percent(share)} %" for share in self.redundancy],
            "seeds": self.seeds, "gates": self.gates,
        }.items():  # fmt: skip
            if len(set(values)) < len(values):
                raise InvalidArgument(f"{name} repeat themselves: {shown(', '.join(map(str, values)))}")
        wrong = [share for share in self.retentions if not checks.is_fraction(share)]
        if wrong:
            raise InvalidArgument(f"retentions are fractions in (0, 1], got {wrong[0]}: divide a percentage by 100")
        for share in self.redundancy:
            if not 0 <= share < 1:
                raise InvalidArgument(
                    f"redundancy is shares of near-copies from 0 to below 1, such as 0.8; got {share}"
                )
        for seed in self.seeds:
            checks.seed(seed, "a seed")
        cells = len(self.seeds) * (2 + len(self.arms) * len(self.retentions))
        if cells > _MOST_CELLS:
            raise InvalidArgument(f"the plan asks for {cells:,} cells, more than {_MOST_CELLS:,}: give fewer seeds")
        if not 0 < self.gate_level < 1:
            raise InvalidArgument(f"gate_level is a fraction between 0 and 1, such as 0.95, got {self.gate_level}")
        taken = [arm.label for arm in self.arms if arm.label in RESERVED]
        if taken:
            raise InvalidArgument(f"label {taken[0]!r} is taken by the gates or the ladder: choose another")
        self._check_pretraining()
        if self.redundancy and (self.label_tasks or not self.trained_tasks):
            raise InvalidArgument(
                "redundancy is the pool's, and tasks of kind labels choose among their own frames: put them in another "
                "plan"
            )
        if self.label_tasks and not self.arms:
            raise InvalidArgument("arms is empty: a task of kind labels compares selectors, and needs at least one")
        if self.arms and self.embedding is None:
            raise InvalidArgument("embedding is missing: say which encoder the selectors compare frames by")

    @property
    def trained_tasks(self) -> tuple[Trained, ...]:
        """Tasks on which cells are tested."""
        return tuple(task for task in self.tasks if not isinstance(task, LabelsTask))

    @property
    def label_tasks(self) -> tuple[LabelsTask, ...]:
        return tuple(task for task in self.tasks if isinstance(task, LabelsTask))

    @property
    def smallest(self) -> float | None:
        """The smallest retention below 1; None where there is none."""
        return min((share for share in self.retentions if share < 1), default=None)

    @property
    def asked_gates(self) -> tuple[Gate, ...]:
        """Those of `gates` that can be asked: headroom is above random at a retention, and for selectors."""
        chooses = bool(self.arms) and self.smallest is not None
        return tuple(gate for gate in self.gates if gate == LEARNING or chooses)

    def place_of(self, task: Trained | LabelsTask) -> str:
        """Of a task in the plan, as messages name it."""
        return f"tasks[{self.tasks.index(task)}], {task.name}"

    def _check_pretraining(self) -> None:
        if self.trained_tasks and self.pretraining is None:
            raise InvalidArgument("pretraining is missing: only a plan whose tasks are all of kind labels does without")
        if not self.trained_tasks and (self.pretraining is not None or self.pool):
            name = "pool" if self.pool else "pretraining"
            raise InvalidArgument(
                f"{name} is given, and no task tests what is pre-trained: leave pool and pretraining out, or add a "
                "task of kind probe or segmentation"
            )
        if self.pretraining is not None and not self.pretraining.samples:
            raise InvalidArgument("pretraining.samples is 0: nothing would be learned, and nothing compared")
        if self.pretraining is not None and self.pretraining.is_convolutional:
            self._check_convolutional(self.pretraining.preset)

    def _check_convolutional(self, preset: str) -> None:
        """What the cells' encoder cannot do is told before the first of them is trained."""
        for task in self.trained_tasks:
            if not isinstance(task, SegmentationTask) and task.pooling == "cls":
                raise InvalidArgument(
                    f'task {task.name!r} asks for pooling "cls", and preset {preset} has no CLS token: use "mean"'
                )

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
            if isinstance(found.get("pretraining"), Mapping):
                found["pretraining"] = _of_budget(dict(found["pretraining"]), where)
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
        return read(cls, found, where)

    def plain(self) -> dict[str, Any]:
        """Plain values, for a manifest."""
        plain = asdict(self)
        if not self.redundancy:
            del plain["redundancy"]
        return plain if self.pretraining is None else {**plain, "pretraining": self.pretraining.recorded()}

    def yaml(self) -> str:
        """The plan as a file, every default written out."""
        import yaml

        return str(yaml.safe_dump(json.loads(json.dumps(self.plain())), sort_keys=False, allow_unicode=True, width=120))


def _of_budget(given: dict[str, Any], where: str) -> dict[str, Any]:
    """The recipe to begin with, as plain values, with what is given besides: the same as on the command line."""
    try:
        recipe = recipe_for(given.get("objective", "mae"), given.pop("budget", None))
    except InvalidArgument as error:
        raise InvalidArgument(f"{where}: pretraining: {error}") from error
    return {**asdict(recipe), **given}


def _check_name(what: str, name: str) -> None:
    """Names are those of folders too."""
    odd = name.startswith(".") or set(name) & set('/\\@:*?"<>|') or name != name.strip() or not name.isprintable()
    if not name or odd or len(name.encode()) > _LONGEST_NAME:
        raise InvalidArgument(f"{what} {shown(name)} is no name of a folder: use letters, digits, '-' and '_'")

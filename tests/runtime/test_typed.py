"""Records from plain values: what does not fit is one sentence with its place, and what fits stays what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from meddel_hf.benchmark.plan import Plan
from meddel_hf.errors import InvalidArgument
from meddel_hf.pretraining.recipe import Recipe
from meddel_hf.runtime.typed import Range, Record, Rule, Text, check, read


def even(value: Any) -> Any:
    if value % 2:
        raise InvalidArgument(f"must be even, got {value}")
    return value


@dataclass(frozen=True)
class Round(Record):
    name: Text
    kind: Literal["round"] = "round"


@dataclass(frozen=True)
class Square(Record):
    side: Annotated[int, Range(1, 2000)]
    kind: Literal["square"] = "square"

    def __post_init__(self) -> None:
        if self.side == 13:
            raise InvalidArgument("side 13 brings bad luck")


Shape = Annotated[Round | Square, Field(discriminator="kind")]


@dataclass(frozen=True)
class Box(Record):
    shapes: Annotated[tuple[Shape, ...], Field(strict=False)]
    words: Mapping[Text, Text] = field(default_factory=dict)
    share: Annotated[float, Range(0.0, 1.0)] = 0.5
    weight: float = 1
    count: Annotated[int, Rule(even)] | None = None
    open: bool = False
    colour: Literal["red", "blue"] = "red"
    lid: Square | None = None


GOOD: dict[str, Any] = {"shapes": [{"kind": "square", "side": 3}, {"kind": "round", "name": "x"}]}


def test_plain_values_become_records():
    box = read(Box, {**GOOD, "words": {"a": "b"}, "weight": 3, "lid": {"side": 2}}, "box")
    assert box == Box((Square(3), Round("x")), {"a": "b"}, weight=3.0, lid=Square(2))
    assert isinstance(box.weight, float)
    assert isinstance(box.shapes, tuple)
    assert repr(box.shapes[0]) == "Square(side=3, kind='square')"


@pytest.mark.parametrize(("change", "sentence"), [
    ({"shapes": "x"}, "box: shapes must be a list, got 'x'"),
    ({"shapes": [3]}, "box: shapes[0]: kind must be one of round, square, got None"),
    ({"shapes": [{"kind": "oval"}]}, "box: shapes[0]: kind must be one of round, square, got 'oval'"),
    ({"shapes": [{"kind": "square"}]}, "box: shapes[0] lacks side"),
    ({"shapes": [{"kind": "square", "side": "3"}]}, "box: shapes[0]: side must be a whole number, got '3'"),
    ({"shapes": [{"kind": "square", "side": 0}]}, "box: shapes[0]: side must be at least 1, got 0"),
    ({"shapes": [{"kind": "square", "side": 2001}]}, "box: shapes[0]: side must be at most 2,000, got 2001"),
    ({"shapes": [{"kind": "square", "side": 13}]}, "box: shapes[0]: side 13 brings bad luck"),
    ({"shapes": [{"kind": "square", "side": 3, "b": 1, "a": 1}]},
     "box: shapes[0] has the unknown key 'a': expected side, kind"),
    ({"words": ["a"]}, "box: words must be a mapping, got ['a']"),
    ({"words": {"a": 3}}, "box: words.a must be text, got 3"),
    ({"words": {3: "a"}}, "a key of box: words must be text, got 3"),
    ({"words": {"a": "b\n"}}, r"box: words.a holds characters that no text has: 'b\n'"),
    ({"share": 1.5}, "box: share must be from 0 to 1, got 1.5"),
    ({"share": "1e-3"}, "box: share must be a number, got '1e-3'; write 1.0e-3, since YAML takes 1e-3 for text"),
    ({"weight": True}, "box: weight must be a number, got True"),
    ({"weight": float("inf")}, "box: weight must be a finite number, got inf"),
    ({"count": 3}, "box: count must be even, got 3"),
    ({"count": True}, "box: count must be a whole number, got True"),
    ({"open": 1}, "box: open must be true or false, got 1"),
    ({"colour": ["red"]}, "box: colour must be one of red, blue, got ['red']"),
    ({"lid": 3}, "box: lid must be a mapping of side, kind, got 3"),
    ({"lid": {"kind": "square"}}, "box: lid lacks side"),
])  # fmt: skip
def test_what_does_not_fit_is_one_sentence_with_its_place(change, sentence):
    with pytest.raises(InvalidArgument) as refused:
        read(Box, {**GOOD, **change}, "box")
    assert str(refused.value) == sentence


def test_keys_are_named_before_values_and_outer_records_before_inner_ones():
    wrong = {"shapes": [{"kind": "square", "sid": 3}], "share": 9}
    with pytest.raises(InvalidArgument, match=r"^box: shapes\[0\] has the unknown key 'sid'"):
        read(Box, wrong, "box")
    with pytest.raises(InvalidArgument, match=r"^box has the unknown key 'shares'"):
        read(Box, {**wrong, "shares": 9}, "box")
    with pytest.raises(InvalidArgument, match=r"^box must be a mapping of shapes, words, "):
        read(Box, [], "box")


def test_a_record_made_in_python_is_checked_and_not_changed():
    box = Box((), weight=3, count=None)
    check(box)
    assert isinstance(box.weight, int)
    with pytest.raises(InvalidArgument, match=r"^count must be a whole number or nothing, got '3'$"):
        check(Box((), count="3"))
    with pytest.raises(InvalidArgument, match=r"^share must be from 0 to 1, got nan$"):
        check(Box((), share=float("nan")))
    with pytest.raises(InvalidArgument, match=r"^count must be even, got 5$"):
        check(Box((), count=5))


def test_a_plan_read_again_from_what_it_writes_is_the_same():
    """Also every default of the recipes, so that none of them is refused or converted."""
    plan = Plan.of({
        "name": "x", "pool": "p", "pretraining": {"learning_rate": 1, "layers": 3}, "embedding": {"encoder": "e"},
        "arms": [{"label": "a", "selector": "meddel", "options": {"eta": 0.5, "n": [1, [2.5, None]], "on": True}}],
        "tasks": [{"name": "t", "kind": "segmentation", "train": "d", "test": {"u": "v"}},
                  {"name": "s", "kind": "probe", "labels": "p"}],
    })  # fmt: skip
    again = Plan.of(plan.plain())
    assert again == plan
    assert repr(again) == repr(plan)
    assert again.yaml() == plan.yaml()
    assert plan.arms[0].options == {"eta": 0.5, "n": [1, [2.5, None]], "on": True}
    assert {one.name: getattr(plan.pretraining, one.name) for one in fields(Recipe)} == {
        **asdict(Recipe()), "learning_rate": 1.0, "layers": 3,
    }  # fmt: skip


@pytest.mark.parametrize("option", [{"a": 1}, {1, 2}, [[{}]], b"x"])
def test_an_option_of_a_selector_is_plain(option):
    plan = {"name": "x", "pool": "p", "pretraining": {}, "tasks": [{"name": "t", "kind": "probe", "labels": "p"}]}
    arm = {"label": "a", "selector": "meddel", "options": {"eta": option}}
    with pytest.raises(InvalidArgument, match=r"^plan: arms\[0\]: options\.eta must be text, got "):
        Plan.of({**plan, "embedding": {"encoder": "e"}, "arms": [arm]})

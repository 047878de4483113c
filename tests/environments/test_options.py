"""Options from names and JSON values."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Literal

import pytest

from heredity.common.errors import UnknownNameError, UsageError
from heredity.environments.options import build_options, options_to_json


@dataclasses.dataclass(frozen=True)
class Demo:
    """Every type that an option may have."""

    backend: Literal["mjx", "spring"] = "spring"
    length: int = 10
    limit: int | None = None
    scale: float = 1.0
    draw: bool = False
    label: str = ""
    sizes: Sequence[int] = ()
    extra: dict[str, bool | int | float | str] = dataclasses.field(default_factory=dict)
    anything: Any = None


def test_defaults_where_nothing_is_given():
    assert build_options(Demo, {}, "demo") == Demo()


def test_values_in_their_own_types():
    options = build_options(
        Demo,
        {
            "backend": "mjx",
            "limit": 5,
            "scale": 2,
            "sizes": [1, 2],
            "extra": {"a": True, "b": 1, "c": 0.5, "d": "x"},
            "anything": None,
        },
        "demo",
    )
    assert options == Demo(
        "mjx", 10, 5, 2.0, sizes=(1, 2), extra={"a": True, "b": 1, "c": 0.5, "d": "x"}
    )
    assert type(options.scale) is float
    assert type(options.extra["a"]) is bool


def test_json_round_trip():
    options = Demo("mjx", limit=3, sizes=(1, 2), extra={"a": 1})
    text = json.dumps(options_to_json(options))
    assert build_options(Demo, json.loads(text), "demo") == options


def test_a_misspelt_option_is_told_the_nearest():
    with pytest.raises(UnknownNameError, match=r"option of demo 'backnd': did you mean 'backend'"):
        build_options(Demo, {"backnd": "mjx"}, "demo")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("backend", "mjxx", "'mjx' or 'spring' expected"),
        ("length", "10", "a whole number expected"),
        ("length", 10.0, "a whole number expected"),
        ("length", True, "a whole number expected"),
        ("limit", "no", "a whole number or none expected"),
        ("scale", "big", "a number expected"),
        ("scale", True, "a number expected"),
        ("draw", 1, "true or false expected"),
        ("label", 3, "a text expected"),
        ("sizes", "12", "a list of a whole number expected"),
        ("sizes", [1, "2"], "a list of a whole number expected"),
        ("extra", {"a": [1]}, "a mapping from names to"),
        ("extra", {1: 1}, "a mapping from names to"),
        ("extra", 3, "a mapping from names to"),
    ],
)
def test_wrong_values_are_told_what_was_expected(name, value, expected):
    with pytest.raises(UsageError, match=expected) as caught:
        build_options(Demo, {name: value}, "demo")
    assert f"option {name}={value!r} of demo" in str(caught.value)

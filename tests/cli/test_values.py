import dataclasses
from typing import Literal

import pytest

from heredity.cli.parsing import parse
from heredity.cli.values import whole_number
from heredity.common.errors import UsageError
from heredity.common.fields import Scalar


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5e6", 5_000_000), ("5_000_000", 5_000_000), ("5000000", 5_000_000), ("2.5e3", 2500),
        ("5.0", 5), ("+7", 7), ("-1", -1), ("0", 0), ("1e0", 1), ("9007199254740993", 2**53 + 1),
    ],
)  # fmt: skip
def test_whole_numbers(text: str, number: int):
    assert whole_number(text) == number
    assert isinstance(whole_number(text), int)


@pytest.mark.parametrize(
    "text", ["5.5", "nan", "inf", "-inf", "1e400", "", "x", "5e", "5,000", "1__0", "_1", "0x10",
             "1e-3", "9" * 5000, "1 0"]
)  # fmt: skip
def test_what_is_no_whole_number(text: str):
    with pytest.raises(ValueError, match="whole number such as"):
        whole_number(text)


@dataclasses.dataclass(frozen=True)
class Demo:
    """Every kind of value that a setting has.

    Args:
        rate: A number.
        limit: A whole number, or none for no limit.
        scale: A number, or none.
        name: Text, or none.
        mode: One of two, or none.
        hidden: Widths.
        keywords: Anything by name.
        options: Anything by name, lists as well.
    """

    rate: float = 0.5
    limit: int | None = None
    scale: float | None = 2.0
    name: str | None = None
    mode: Literal["fast", "slow"] | None = "fast"
    hidden: tuple[int, ...] = (64, 64)
    keywords: dict[str, bool | int | float | str] = dataclasses.field(default_factory=dict)
    options: dict[str, Scalar | tuple[Scalar, ...]] = dataclasses.field(default_factory=dict)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {}),
        (["--rate", "1e-3"], {"rate": 1e-3}),
        (["--rate", "-2"], {"rate": -2.0}),
        (["--limit", "5e3", "--scale", "3"], {"limit": 5000, "scale": 3.0}),
        (["--limit", "none", "--scale", "none"], {"scale": None}),
        (["--limit", "None", "--scale=None"], {"scale": None}),
        (["--name", "x", "--mode", "slow"], {"name": "x", "mode": "slow"}),
        (["--name", "none", "--mode", "none"], {"mode": None}),
        (["--hidden", "8", "1_6", "3e1"], {"hidden": (8, 16, 30)}),
        (["--hidden", "none"], {"hidden": ()}),
        (["--hidden"], {"hidden": ()}),
        (
            ["--keywords", "a", "True", "b", "3", "c", "0.5", "d", "far"],
            {"keywords": {"a": True, "b": 3, "c": 0.5, "d": "far"}},
        ),
        (["--keywords", "none"], {}),
        (["--keywords", "a", "[1,2]"], {"keywords": {"a": "[1,2]"}}),
        (
            ["--options", "a", "[32, 6.5]", "b", "7", "c", "[]", "d", "[far,True]", "e", "x,y"],
            {"options": {"a": (32, 6.5), "b": 7, "c": (), "d": ("far", True), "e": "x,y"}},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_values(words: list[str], expected: dict):
    assert parse(Demo, words, "demo") == Demo(**expected)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--rate fast", "--rate 'fast': a number such as 0.0003 or 3e-4 was expected"),
        ("--scale x", "--scale 'x': a number such as"),
        ("--limit x", "--limit 'x': a whole number such as"),
        ("--hidden 8 x", "--hidden 'x': a whole number such as"),
        (
            "--mode fats",
            "unknown --mode 'fats': did you mean 'fast'? (known: fast, none, slow)",
        ),
        ("--keywords a", "--keywords 'a': names and values in turn were expected"),
    ],
)
def test_wrong_values_are_told(words: str, told: str):
    with pytest.raises(UsageError) as refused:
        parse(Demo, words.split(), "demo")
    assert told in str(refused.value)


def test_a_mapping_of_numbers_takes_no_words():
    @dataclasses.dataclass(frozen=True)
    class Numbers:
        given: dict[str, int | float] = dataclasses.field(default_factory=dict)

    with pytest.raises(UsageError, match=r"--given gravity 'heavy': one of INT, FLOAT was"):
        parse(Numbers, ["--given", "gravity", "heavy"], "demo")


def test_help_writes_values_for_people(capsys: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as done:
        parse(Demo, ["--help"], "demo")
    assert done.value.code == 0
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for told in (
        "--rate FLOAT A number. (default: 0.5)",
        "--limit INT A whole number, or none for no limit. (default: none)",
        "--scale FLOAT A number, or none. (default: 2.0)",
        "--name STR Text, or none. (default: none)",
        "--mode {fast,slow} One of two, or none. (default: fast)",
        "--hidden [INT ...] Widths. (default: 64 64)",
        "--keywords [NAME VALUE ...] Anything by name. (default: none)",
        "--options [NAME VALUE ...] Anything by name, lists as well. (default: none)",
    ):
        assert told in out

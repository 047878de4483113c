"""Command lines from the dataclasses that are the API's own."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import tyro

from heredity.common.errors import UsageError

Arguments = TypeVar("Arguments")


def whole_number(text: str) -> int:
    """A whole number as people write it.

    Raises:
        ValueError: when it is none.

    Example:
        >>> whole_number("5e6"), whole_number("5_000_000")
        (5000000, 5000000)
    """
    expected = f"{text[:40]!r}: a whole number such as 5000000, 5_000_000 or 5e6 was expected"
    try:
        if re.fullmatch(r"[+-]?[\d_]+", text):
            return int(text)
        value = float(text)
    except ValueError:
        raise ValueError(expected) from None
    if not value.is_integer():
        raise ValueError(expected)
    return int(value)


_WHOLE = tyro.constructors.PrimitiveConstructorSpec[int](
    nargs=1,
    metavar="INT",
    instance_from_str=lambda words: whole_number(words[0]),
    is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
    str_from_instance=lambda value: [str(value)],
)
_REGISTRY = tyro.constructors.ConstructorRegistry()


@_REGISTRY.primitive_rule
def _whole_rule(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec | None:
    return _WHOLE if info.type is int else None


def parse(kind: type[Arguments], arguments: Sequence[str], program: str, **more: Any) -> Arguments:
    """Arguments from a command line; tyro answers mistakes with exit code 2."""
    with _REGISTRY:
        return tyro.cli(kind, args=list(arguments), prog=program, **more)


def peek(arguments: Sequence[str], flag: str) -> str | None:
    """The value of a flag before the real parsing, which depends on it.

    Example:
        >>> peek(["--env=brax/ant", "--seed", "1"], "--env")
        'brax/ant'
    """
    found = None
    for index, word in enumerate(arguments):
        if word == flag and index + 1 < len(arguments):
            found = arguments[index + 1]
        elif word.startswith(flag + "="):
            found = word.removeprefix(flag + "=")
    return found


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """Options of the environment: known once --env names one."""


def environment_options(environment_id: str | None) -> type:
    """The dataclass of options that an environment's adapter has.

    Raises:
        UnknownNameError: for an id nobody answers to.
    """
    if environment_id is None:
        return NoOptions
    environments = importlib.import_module("heredity.environments")
    return environments.find_adapter(environment_id).options


def environment_fields(
    environment_id: str | None, told: str, otherwise: str
) -> list[tuple[str, Any, Any]]:
    """Fields ``env`` and ``options`` of a command line that may name an environment.

    Args:
        environment_id: What `peek` found for ``--env``: its adapter's options become ``--env.*``.
        told: Help of ``--env``.
        otherwise: What its help says of leaving it out.

    Raises:
        UnknownNameError: for an id nobody answers to.
    """
    options = environment_options(environment_id)
    argument = tyro.conf.arg(help=told, metavar="ID", help_behavior_hint=f"({otherwise})")
    return [
        ("env", Annotated[str | None, argument], None),
        ("options", Annotated[options, tyro.conf.arg(name="env")], options()),
    ]


def options_given(options: Any) -> dict[str, Any]:
    """Options as keywords for `make`."""
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}


def require(value: Any, flag: str, why: str) -> Any:
    """The value of a flag that has to be given."""
    if value is None:
        raise UsageError(f"{flag} is needed: {why}")
    return value

"""Adapter options: a frozen dataclass, filled from names and JSON values, checked one by one."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from heredity.common.errors import UnknownNameError, UsageError
from heredity.common.fields import Scalar as Scalar
from heredity.common.fields import accept, describe_type

Options = TypeVar("Options")


def build_options(kind: type[Options], given: Mapping[str, Any], owner: str) -> Options:
    """An options dataclass from names and values, as they come from a person or a file.

    Args:
        kind: The frozen dataclass.
        given: Values by field name; fields that are not named keep their default.
        owner: Whose options these are, for errors, such as ``brax/ant``.

    Raises:
        UnknownNameError: for a name that is no field.
        UsageError: for a value of another type than the field's.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Demo:
        ...     length: int = 10
        >>> build_options(Demo, {"length": 3}, "demo")
        Demo(length=3)
        >>> build_options(Demo, {"length": "long"}, "demo")
        Traceback (most recent call last):
            ...
        heredity.common.errors.UsageError: option length='long' of demo: a whole number expected
    """
    names = [field.name for field in dataclasses.fields(kind)]  # pyright: ignore[reportArgumentType]
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in names:
            raise UnknownNameError(f"option of {owner}", name, names)
        accepted, values[name] = accept(value, hints[name])
        if not accepted:
            raise UsageError(
                f"option {name}={value!r} of {owner}: {describe_type(hints[name])} expected"
            )
    return kind(**values)


def options_to_json(options: Any) -> dict[str, Any]:
    """All options by name, as JSON values."""
    return {
        field.name: _to_json(getattr(options, field.name)) for field in dataclasses.fields(options)
    }


def _to_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _to_json(part) for name, part in value.items()}
    return [_to_json(part) for part in value] if isinstance(value, tuple | list) else value

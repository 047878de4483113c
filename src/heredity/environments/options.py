"""Adapter options: a frozen dataclass, filled from names and JSON values, checked one by one."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from heredity.common.errors import UnknownNameError, UsageError

Options = TypeVar("Options")

Scalar: typing.TypeAlias = bool | int | float | str
"""What a keyword handed through to a foreign constructor may be: it has to survive JSON."""


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
        ...     backend: Literal["mjx", "spring"] = "spring"
        >>> build_options(Demo, {"backend": "mjx"}, "demo")
        Demo(backend='mjx')
        >>> build_options(Demo, {"backend": "mx"}, "demo")
        Traceback (most recent call last):
            ...
        heredity.common.errors.UsageError: option backend='mx' of demo: 'mjx' or 'spring' expected
    """
    names = [field.name for field in dataclasses.fields(kind)]  # pyright: ignore[reportArgumentType]
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in names:
            raise UnknownNameError(f"option of {owner}", name, names)
        accepted, values[name] = _accept(value, hints[name])
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


def describe_type(hint: Any) -> str:
    """A type as people say it, for errors.

    Example:
        >>> describe_type(int | None)
        'a whole number or none'
    """
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " or ".join(repr(part) for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe_type(part) for part in parts)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a mapping from names to {describe_type(parts[1])}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list of {describe_type(parts[0])}"
    names = {
        int: "a whole number",
        float: "a number",
        str: "a text",
        bool: "true or false",
        type(None): "none",
    }
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def _accept(value: Any, hint: Any) -> tuple[bool, Any]:
    """Whether `value` is of the type, and the value in the type's own form."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True, value
    if origin is Literal:
        # bool is an int to Python: True must not pass for Literal[1].
        return any(type(value) is type(part) and value == part for part in parts), value
    if origin in (typing.Union, types.UnionType):
        for part in parts:
            accepted, converted = _accept(value, part)
            if accepted:
                return True, converted
        return False, value
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            return False, value
        results = {name: _accept(part, parts[1]) for name, part in value.items()}
        fine = all(ok for ok, _ in results.values()) and all(isinstance(n, str) for n in results)
        return fine, {name: converted for name, (_, converted) in results.items()}
    if isinstance(origin, type) and issubclass(origin, Sequence):
        if isinstance(value, str) or not isinstance(value, Sequence):
            return False, value
        items = [_accept(item, parts[0]) for item in value]
        return all(ok for ok, _ in items), tuple(converted for _, converted in items)
    if hint is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number, float(value) if number else value
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    return isinstance(value, hint), value

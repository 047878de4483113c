"""Values of the fields of settings, checked against the type that each field declares."""

from __future__ import annotations

import dataclasses
import functools
import numbers
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from heredity.common.errors import UnknownNameError, UsageError

Settings = TypeVar("Settings")

Scalar: typing.TypeAlias = bool | int | float | str
"""What a keyword handed through to foreign code may be: it has to survive JSON."""

_hints = functools.cache(typing.get_type_hints)


def check_fields(settings: Any) -> None:
    """Check every field of a frozen dataclass against its type, from its ``__post_init__``.

    Values are put into the type's own form, see `accept`.

    Raises:
        UsageError: naming the first field that holds something else.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Demo:
        ...     schedule: Literal["constant", "linear"] = "constant"
        ...
        ...     def __post_init__(self):
        ...         check_fields(self)
        >>> Demo("linaer")
        Traceback (most recent call last):
            ...
        heredity.common.errors.UsageError: schedule 'linaer': 'constant' or 'linear' was expected
    """
    hints = _hints(type(settings))
    for field in dataclasses.fields(settings):
        value, hint = getattr(settings, field.name), hints[field.name]
        accepted, converted = accept(value, hint)
        if not accepted:
            raise UsageError(f"{field.name} {value!r}: {describe_type(hint)} was expected")
        object.__setattr__(settings, field.name, converted)


def from_mapping(kind: type[Settings], given: Mapping[str, Any], what: str) -> Settings:
    """Settings of a kind from some of them by name.

    Args:
        kind: A dataclass.
        given: Values by the names of its fields.
        what: What it is the settings of, for the error.

    Raises:
        UnknownNameError: for a name that is no field.
    """
    known = [field.name for field in dataclasses.fields(kind)]  # pyright: ignore[reportArgumentType]
    for name in given:
        if name not in known:
            raise UnknownNameError(f"setting of the {what}", name, known)
    return kind(**given)


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


def accept(value: Any, hint: Any) -> tuple[bool, Any]:
    """Whether `value` is of the type, and the value in the type's own form.

    Numbers of numpy become Python's, lists become tuples; a text is no list, and True no number.

    Example:
        >>> accept([1, 2], tuple[int, ...]), accept("12", tuple[int, ...])
        ((True, (1, 2)), (False, '12'))
    """
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True, value
    if origin is Literal:
        # bool is an int to Python: True must not pass for Literal[1].
        return any(type(value) is type(part) and value == part for part in parts), value
    if origin in (typing.Union, types.UnionType):
        for part in parts:
            accepted, converted = accept(value, part)
            if accepted:
                return True, converted
        return False, value
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            return False, value
        results = {name: accept(part, parts[1]) for name, part in value.items()}
        fine = all(ok for ok, _ in results.values()) and all(isinstance(n, str) for n in results)
        return fine, {name: converted for name, (_, converted) in results.items()}
    if isinstance(origin, type) and issubclass(origin, Sequence):
        if isinstance(value, str) or not isinstance(value, Sequence):
            return False, value
        items = [accept(item, parts[0]) for item in value]
        return all(ok for ok, _ in items), tuple(converted for _, converted in items)
    if hint is float:
        number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        return number, float(value) if number else value
    if hint is int:
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        return whole, int(value) if whole else value
    return isinstance(value, hint), value

"""How words of a command line become values, and how ``--help`` writes them."""

from __future__ import annotations

import dataclasses
import functools
import operator
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, Union, get_args, get_origin

from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
)

Spec: TypeAlias = PrimitiveConstructorSpec[Any]

# What stands for None and for an empty list.
NONE = "none"

REGISTRY = ConstructorRegistry()


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


def number(text: str) -> float:
    """A number as Python reads it.

    Raises:
        ValueError: when it is none.
    """
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r}: a number such as 0.0003 or 3e-4 was expected") from None


def _one_word(metavar: str, read: Callable[[str], Any], kinds: tuple[type, ...]) -> Spec:
    def fits(value: Any) -> bool:
        return isinstance(value, kinds) and not isinstance(value, bool)

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: read(words[0]),
        is_instance=fits,
        str_from_instance=lambda value: [str(value)],
    )


@REGISTRY.primitive_rule
def _numbers(info: PrimitiveTypeInfo) -> Spec | None:
    if info.type is int:
        return _one_word("INT", whole_number, (int,))
    if info.type is float:
        return _one_word("FLOAT", number, (float, int))
    return None


def _path(text: str) -> Path:
    # Of an empty variable, most likely; for Python it would be the current folder.
    if not text:
        raise ValueError("'': a path was expected; the current folder is .")
    return Path(text)


@REGISTRY.primitive_rule
def _paths(info: PrimitiveTypeInfo) -> Spec | None:
    return _one_word("PATH", _path, (Path,)) if info.type is Path else None


@REGISTRY.primitive_rule
def _optional(info: PrimitiveTypeInfo) -> Spec | None:
    """``X | None`` reads as X; None is written none."""
    kinds = get_args(info.type)
    others = [kind for kind in kinds if kind is not types.NoneType]
    if info.type_origin not in (Union, types.UnionType) or len(others) == len(kinds):
        return None
    spec = _spec_of(functools.reduce(operator.or_, others), info)
    if spec is None:
        return None

    def read(words: list[str]) -> Any:
        # Python writes it with a capital.
        return None if words in ([NONE], ["None"]) else spec.instance_from_str(words)

    return dataclasses.replace(
        spec,
        choices=(*spec.choices, NONE) if spec.choices else None,
        instance_from_str=read,
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda value: [NONE] if value is None else spec.str_from_instance(value),
    )


@REGISTRY.primitive_rule
def _list(info: PrimitiveTypeInfo) -> Spec | None:
    """``tuple[X, ...]``: any number of words, and none for an empty one."""
    match get_args(info.type):
        case (kind, end) if info.type_origin is tuple and end is Ellipsis:
            spec = _spec_of(kind, info)
        case _:
            return None
    if spec is None or spec.nargs != 1:
        return None

    def read(words: list[str]) -> tuple[Any, ...]:
        return () if words == [NONE] else tuple(spec.instance_from_str([word]) for word in words)

    def written(values: tuple[Any, ...]) -> list[str]:
        return [word for value in values for word in spec.str_from_instance(value)] or [NONE]

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"[{spec.metavar} ...]",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=written,
    )


@REGISTRY.primitive_rule
def _mixed_mapping(info: PrimitiveTypeInfo) -> Spec | None:
    """``dict[str, bool | int | ...]``: names and values in turn; a value may be several words.

    Where a value may also be a list of such, that is written in brackets, as ``[32,32]``.
    """
    match get_args(info.type):
        # Of one kind of value only, tyro has flags for the keys of the default: that stays.
        case (key, kind) if info.type_origin is dict and key is str and get_args(kind):
            kinds = get_args(kind)
            lists = [one for one in kinds if get_origin(one) is tuple and Ellipsis in get_args(one)]
            if lists and get_origin(kind) in (Union, types.UnionType):
                scalars = (one for one in kinds if one not in lists)
                spec = _spec_of(functools.reduce(operator.or_, scalars), info)
                spec = spec if spec is None else _or_in_brackets(spec)
            else:
                spec = _spec_of(kind, info)
        case _:
            return None
    if spec is None or not isinstance(spec.nargs, int):
        return None
    length = 1 + spec.nargs
    expected = f"{spec.metavar}" if length > 2 else f"one of {spec.metavar.replace('|', ', ')}"

    def read(words: list[str]) -> dict[str, Any]:
        if words == [NONE]:
            return {}
        if len(words) % length:
            raise ValueError(f"{' '.join(words)!r}: names and values in turn were expected")
        found = {}
        for start in range(0, len(words), length):
            name, *value = words[start : start + length]
            try:
                found[name] = spec.instance_from_str(value)
            except ValueError:
                told = f"{name} {' '.join(value)!r}: {expected} was expected"
                raise ValueError(told) from None
        return found

    def written(values: dict[str, Any]) -> list[str]:
        pairs = ([name, *spec.str_from_instance(value)] for name, value in values.items())
        return [word for pair in pairs for word in pair] or [NONE]

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="[NAME VALUE ...]" if length == 2 else f"[NAME {spec.metavar} ...]",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=written,
    )


def _or_in_brackets(spec: Spec) -> Spec:
    """One word, which may also be a list of what it is, such as ``[32,32]``."""

    def read(words: list[str]) -> Any:
        word = words[0].strip()
        if not (word.startswith("[") and word.endswith("]")):
            return spec.instance_from_str(words)
        parts = word[1:-1].split(",") if word[1:-1].strip() else []
        return tuple(spec.instance_from_str([part.strip()]) for part in parts)

    def written(value: Any) -> list[str]:
        if not isinstance(value, tuple):
            return spec.str_from_instance(value)
        return [f"[{','.join(word for part in value for word in spec.str_from_instance(part))}]"]

    return dataclasses.replace(
        spec,
        metavar=f"{spec.metavar}|[...]",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, tuple) or spec.is_instance(value),
        str_from_instance=written,
    )


def _spec_of(kind: Any, info: PrimitiveTypeInfo) -> Spec | None:
    """How a part of a type is read; None where tyro cannot."""
    found = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kind, info.markers))
    return found if isinstance(found, PrimitiveConstructorSpec) else None

"""Every public class, function, method and property says what it is for.

A method may inherit the words of the contract that it fulfils: they stand in one place.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import heredity


def modules() -> list[str]:
    """Names of all public modules of the package."""
    found = pkgutil.walk_packages(heredity.__path__, "heredity.")
    return ["heredity", *(info.name for info in found if "._" not in info.name)]


def undocumented(module: ModuleType) -> Iterator[str]:
    """Public names that a module defines and that have no docstring, not even an inherited one."""
    if not (module.__doc__ or "").strip():
        yield module.__name__
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        where = f"{module.__name__}.{name}"
        if inspect.isfunction(value) and not inspect.getdoc(value):
            yield where
        if inspect.isclass(value):
            # A dataclass or named tuple without a docstring is given its signature as one.
            own = value.__doc__ or ""
            made_up = own.startswith(f"{name}(") and (
                dataclasses.is_dataclass(value) or issubclass(value, tuple)
            )
            if not own.strip() or made_up:
                yield where
            yield from (f"{where}.{member}" for member in undocumented_members(value))


def undocumented_members(kind: type) -> Iterator[str]:
    """Public methods and properties that a class defines and nobody describes."""
    fields = (
        {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else {}
    )
    for name, value in vars(kind).items():
        # A field, whose default may be a function, is described by its class.
        if name.startswith("_") or name in fields:
            continue
        inner = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        describable = inspect.isfunction(inner) or isinstance(inner, property)
        if describable and not inspect.getdoc(getattr(kind, name)):
            documented_above = any(
                inspect.getdoc(getattr(base, name, None))
                for base in kind.__mro__[1:-1]
                if name in vars(base)
            )
            if not documented_above:
                yield name


@pytest.mark.parametrize("name", modules())
def test_public_names_say_what_they_are_for(name: str):
    missing = list(undocumented(importlib.import_module(name)))
    assert not missing, f"no docstring: {', '.join(missing)}"


class Contract:
    """Somebody else's promise."""

    def kept(self) -> None:
        """To be kept."""

    @property
    def size(self) -> int:
        """How large."""
        return 0


class Keeper(Contract):
    def kept(self) -> None: ...

    @property
    def size(self) -> int:
        return 1

    def silent(self) -> None: ...


def test_words_are_inherited_and_silence_is_found():
    assert list(undocumented_members(Keeper)) == ["silent"]

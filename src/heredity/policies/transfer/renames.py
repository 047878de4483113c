"""New names by old ones: what each is of, and who had a name that another one gets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from heredity.common.errors import UnknownNameError, UsageError
from heredity.networks.observations import leaf_spaces
from heredity.spaces import Space

_ROOTS = ("observation", "action")


@dataclasses.dataclass(frozen=True)
class Renames:
    """New names of sensors, or of actions, by old ones.

    Args:
        told: Of columns (``speed`` or ``state/speed``), of entries, of actions.
        entries: Names of entries, old and new ones.
    """

    told: Mapping[str, str] = dataclasses.field(default_factory=dict)
    entries: frozenset[str] = frozenset()

    def origins(self, before: Mapping[str, Space]) -> dict[str, str]:
        """The old path of each entry, by the path that it has now.

        A name that another entry gets is not the name of the one that had it.

        Args:
            before: Entries by path.

        Raises:
            UsageError: when two get one name.
        """
        told: dict[str, str] = {}
        for path in before:
            root, _, entry = path.partition("/")
            if entry in self.told:
                told[path] = f"{root}/{self.told[entry]}"
        _refuse_twice("entries", list(told.values()))
        stay = {path: path for path in before if path not in told}
        return {**stay, **{new: path for path, new in told.items()}}

    def columns(self, names: Sequence[str], old: str = "", new: str = "") -> list[str]:
        """What the columns of an entry are called now; empty where another column has the name.

        Args:
            names: Of its columns before.
            old: The entry's name before; empty for the only one, and for actions.
            new: Its name now.

        Raises:
            UsageError: when two get one name, or one would get into another entry.
        """
        told = [self.told.get(f"{old}/{name}", self.told.get(name)) for name in names]
        given = [None if name is None else self.within(name, old, new) for name in told]
        taken = [name for name in given if name is not None]
        _refuse_twice(f"columns of {old or 'one space'}", taken)
        return [
            after if after is not None else "" if name in taken else name
            for name, after in zip(names, given, strict=True)
        ]

    def within(self, told: str, old: str, new: str) -> str:
        """A new name of a column without its entry, which may be told with its old or new name.

        Raises:
            UsageError: when it has the name of another entry before it.
        """
        for own in (old, new):
            if own and told.startswith(f"{own}/"):
                return told.removeprefix(f"{own}/")
        for entry in self.entries:
            if entry and told.startswith(f"{entry}/"):
                raise UsageError(
                    f"renamed gives a column of {old or 'the observation'} the name {told!r}, of "
                    f"the entry {entry}: a column stays in its entry, give its new name alone"
                )
        return told


def _refuse_twice(what: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"renamed gives two {what} one name: {', '.join(twice)}")


def checked_renames(renamed: Mapping[str, str] | None) -> dict[str, str]:
    """New names by old ones, if they are.

    Raises:
        UsageError: for anything else.
    """
    if renamed is None:
        return {}
    if not isinstance(renamed, Mapping) or not all(
        isinstance(name, str) for pair in renamed.items() for name in pair
    ):
        raise UsageError(f"renamed {renamed!r}: a dict of new names by old ones was expected")
    return dict(renamed)


def names_in(space: Space, root: str = "observation") -> set[str]:
    """What may be renamed: entries by path, columns by name and by path."""
    known: set[str] = set()
    for path, leaf in leaf_spaces(space, root).items():
        entry, names = path.partition("/")[2], getattr(leaf, "names", ())
        known |= {entry} if entry else set()
        known |= set(names) | {f"{entry}/{name}" for name in names if entry}
    return known


def split_renames(
    renamed: Mapping[str, str], old: tuple[Space, Space], new: tuple[Space | None, Space | None]
) -> tuple[dict[str, str], dict[str, str]]:
    """New names of sensors, and of actions, by old ones.

    Args:
        renamed: Of both. ``observation/`` or ``action/`` before a name says which it is.
        old: Spaces of the policy: of observations and actions.
        new: Spaces that it is to have, where they are given: a name that both have is of the one
            that has the new name now.

    Raises:
        UnknownNameError: for what nothing is called.
        UsageError: when nobody says which of two is meant.

    Example:
        >>> from heredity.spaces import Box
        >>> legs = Box((2,), names=("hip", "knee"))
        >>> split_renames({"action/hip": "waist"}, (legs, legs), (None, None))
        ({}, {'hip': 'waist'})
    """
    known = [names_in(space, root) for space, root in zip(old, _ROOTS, strict=True)]
    after = [
        None if space is None else names_in(space, root)
        for space, root in zip(new, _ROOTS, strict=True)
    ]
    found: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for name, told in renamed.items():
        meant: dict[int, tuple[str, str]] = {}
        for side, root in enumerate(_ROOTS):
            if (rest := name.removeprefix(f"{root}/")) in known[side]:
                meant[side] = rest, told if rest == name else told.removeprefix(f"{root}/")
            if name in known[side]:
                meant[side] = name, told
        if not meant:
            raise UnknownNameError("renamed column, entry or action", name, known[0] | known[1])
        sides = list(meant)
        if len(sides) > 1 and new != (None, None):
            sides = [side for side in sides if told in (after[side] or ())] or [0]
        if len(sides) > 1:
            raise UsageError(
                f"renamed {name!r}: a sensor and an action are called that; say which is meant, "
                f"observation/{name} or action/{name}"
            )
        key, value = meant[sides[0]]
        found[sides[0]][key] = value
    return found

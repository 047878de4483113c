"""A space with columns added, taken away or renamed, where no environment shows the new one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from heredity.common.errors import UnknownNameError, UsageError
from heredity.policies.transfer.renames import Renames, checked_renames
from heredity.spaces import Box, Dict, Space, space_in_words


def changed_space(
    space: Space,
    *,
    add: Sequence[str] = (),
    drop: Sequence[str] = (),
    renamed: Mapping[str, str] | None = None,
) -> Space:
    """An observation space with other columns.

    Args:
        space: Boxes with one axis whose columns have names; or a `Dict` of such, whose columns are
            told as ``entry/column``.
        add: Names of columns to append, without bounds.
        drop: Names of columns to take away; of a `Dict`, of whole entries as well.
        renamed: New names by old ones.

    Raises:
        UnknownNameError: for a column or entry that there is not.
        UsageError: for a space without names, or of another shape; for a name that is added and
            dropped, or that two would have.

    Example:
        >>> space = Box((2,), names=("angle", "speed"))
        >>> changed_space(space, add=["wind"], drop=["angle"], renamed={"speed": "velocity"}).names
        ('velocity', 'wind')
    """
    renamed = checked_renames(renamed)
    if isinstance(add, str) or isinstance(drop, str):
        raise UsageError(f"add {add!r}, drop {drop!r}: lists of names were expected")
    for name in add:
        if name in drop or name.partition("/")[0] in drop:
            raise UsageError(
                f"{name!r} is added and dropped: by its name, the new one would be taken for the "
                "old one and keep its weights; drop it in one transfer, and add it in the next"
            )
    if isinstance(space, Dict):
        return _changed_entries(space, add, drop, renamed)
    if not isinstance(space, Box) or len(space.shape) != 1 or not space.names:
        raise UsageError(
            f"{space_in_words(space)} has no named columns to change: give names "
            "(--observation-names a,b,c, in Python names=), or the new space as a whole (--env)"
        )
    for name in (*drop, *renamed):
        if name not in space.names:
            raise UnknownNameError("column", name, space.names)
    for name in add:
        if name in space.names:
            raise UsageError(f"column {name!r} is there already")
    kept = [index for index, name in enumerate(space.names) if name not in drop]
    if not kept and not add:
        raise UsageError("no column of the observation would be left")
    ends = (-np.inf, np.inf)
    if np.issubdtype(space.dtype, np.integer):
        ends = (np.iinfo(space.dtype).min, np.iinfo(space.dtype).max)
    low, high = (
        np.append(
            np.broadcast_to(np.asarray(bound, space.dtype), space.concrete_shape)[kept],
            np.full(len(add), end, space.dtype),
        )
        for bound, end in zip((space.low, space.high), ends, strict=True)
    )
    names = [renamed.get(space.names[index], space.names[index]) for index in kept]
    return dataclasses.replace(
        space, shape=(len(kept) + len(add),), low=low, high=high, names=(*names, *add)
    )


def _changed_entries(
    space: Dict, add: Sequence[str], drop: Sequence[str], renamed: Mapping[str, str]
) -> Dict:
    known = {name for name, _ in space.entries}
    for name in (*add, *drop, *renamed):
        if name.partition("/")[0] not in known:
            raise UnknownNameError("entry of the observation", name.partition("/")[0], known)
    for name in add:
        if "/" not in name:
            raise UsageError(f"{name!r} is an entry: a column of it was expected, {name}/column")
    left = [renamed.get(entry, entry) for entry, _ in space.entries if entry not in drop]
    for name in left:
        if left.count(name) > 1:
            raise UsageError(f"two entries would be called {name!r}: rename or drop one of them")
    renames = Renames(renamed, frozenset((*known, *left)))
    found = {}
    for entry, part in space.entries:
        if entry in drop:
            continue

        def inner(names: Sequence[str], entry: str = entry) -> list[str]:
            return [n.partition("/")[2] for n in names if n.startswith(f"{entry}/")]

        # A renamed column may be told with its entry on either side.
        within = {
            old.partition("/")[2]: renames.within(new, entry, renamed.get(entry, entry))
            for old, new in renamed.items()
            if old.startswith(f"{entry}/")
        }
        added, dropped = inner(add), inner(drop)
        changed = part
        if added or dropped or within:
            changed = changed_space(part, add=added, drop=dropped, renamed=within)
        found[renamed.get(entry, entry)] = changed
    if not found:
        raise UsageError("no entry of the observation would be left")
    return Dict(found)

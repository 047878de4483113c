"""Which element of one space was which element of another: columns, channels, choices, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from heredity.common.errors import MismatchError, UnknownNameError, UsageError
from heredity.networks.observations import leaf_spaces
from heredity.policies.transfer.renames import Renames, names_in
from heredity.spaces import Box, Dict, Discrete, MultiDiscrete, Space, space_in_words

Names: TypeAlias = Mapping[str, Sequence[str]]

ADDED = -1
"""Stands for the old place of an element that is new."""

_REMEDY = (
    "Give names for what nobody named (--observation-names and --new-observation-names, of actions "
    "--action-names and --new-action-names; in Python names= and new_names=), or ask for positions "
    "(--positions, positions=True)"
)


@dataclasses.dataclass(frozen=True)
class EntryMatch:
    """One entry of the new observation, and where it comes from.

    Args:
        old: The space of the entry before; None for one that is new.
        new: Its space now.
        last: For each element of the last axis (for each choice, in `Discrete`), its old place, or
            `ADDED`. Shape ``(n,)``.
        source: The path of the entry before.
        resized: Whether a picture has other sides than before.
    """

    old: Space | None
    new: Space
    last: np.ndarray
    source: str | None = None
    resized: bool = False

    @property
    def columns(self) -> np.ndarray:
        """The old place of each column of `features`, or `ADDED`.

        Raises:
            MismatchError: for a picture of another size, whose places are not those of before.
        """
        if self.resized:
            raise MismatchError(
                f"every place of a picture has weights of its own, and {_shape(self.old)} is not "
                f"{_shape(self.new)}",
                "Networks that average over places fit pictures of any size: pooling = mean of a "
                "cnn (--network.pooling mean)",
            )
        outer = int(np.prod(self.new.concrete_shape[:-1])) if isinstance(self.new, Box) else 1
        width = _last_size(self.old) if self.old is not None else 0
        places = np.arange(outer)[:, None] * width + self.last
        return np.where(self.last == ADDED, ADDED, places).reshape(-1)

    @property
    def removed(self) -> np.ndarray:
        """Old places of the last axis that are no more."""
        width = _last_size(self.old) if self.old is not None else 0
        return np.setdiff1d(np.arange(width), self.last)


@dataclasses.dataclass(frozen=True)
class ChoiceMatch:
    """A piece of the new action, and where it comes from.

    Args:
        last: For each choice or dimension its old place, or `ADDED`. Shape ``(n,)``.
        source: The name of the old piece; None for a choice that is new as a whole.
        place: Of several choices: which of the old ones it was, or `ADDED`.
    """

    last: np.ndarray
    source: str | None
    place: int


def matched_entries(
    old: Space,
    new: Space,
    *,
    renamed: Mapping[str, str] | None = None,
    positions: bool = False,
) -> dict[str, EntryMatch]:
    """Every entry of the new observation, by path.

    Args:
        old: Observation space of the policy.
        new: Observation space that it is to have.
        renamed: New names by old ones, of columns and of entries.
        positions: Whether what has no names is matched by its place.

    Raises:
        MismatchError: when nobody says which column is which, or entries are of another kind.
        UnknownNameError: for a renamed name that there is not.
    """
    before, now = leaf_spaces(old), leaf_spaces(new)
    known, known_now = names_in(old), names_in(new)
    for name, other in (renamed or {}).items():
        if name not in known:
            raise UnknownNameError("renamed column or entry", name, known)
        if other not in known_now:
            raise UnknownNameError(f"new name of {name!r}", other, known_now)
    entries = frozenset(path.partition("/")[2] for path in (*before, *now))
    renames = Renames(renamed or {}, entries)
    found: dict[str, EntryMatch] = {}
    origins = renames.origins(before)
    for path, leaf in now.items():
        origin = origins.get(path)
        if origin is None:
            found[path] = EntryMatch(None, leaf, np.full(_last_size(leaf), ADDED))
        else:
            found[path] = _matched(path, before[origin], leaf, renames, positions, origin)
    if origins and all(match.old is None for match in found.values()):
        raise MismatchError(
            f"no entry of the new observation, {', '.join(now)}, is one of the policy's, "
            f"{', '.join(before)}",
            "Say which was renamed (--rename OLD=NEW, in Python renamed=)",
        )
    return found


def matched_choices(
    old: Space, new: Space, *, renamed: Mapping[str, str] | None = None, positions: bool = False
) -> dict[str, ChoiceMatch]:
    """Where each choice or dimension of an action comes from.

    Returns:
        By the name of the piece: ``action``, or ``action/<choice>`` for several choices at once.

    Raises:
        MismatchError: when nobody says which is which, the action is of another kind, or nothing
            of it is left.
    """
    if type(old) is not type(new):
        raise MismatchError(
            f"the new actions are {space_in_words(new)}, the policy's {space_in_words(old)}",
            "Another kind of action needs another policy: train one for that environment",
        )
    renames = Renames(renamed or {})
    if isinstance(old, MultiDiscrete) and isinstance(new, MultiDiscrete):
        found = _several_choices(old, new, renames, positions)
    else:
        match = _matched("action", old, new, renames, positions, "action")
        found = {"action": ChoiceMatch(match.last, "action", 0)}
    if all((match.last == ADDED).all() for match in found.values()):
        raise MismatchError(
            f"no action of the new ones, {', '.join(names_of(new))}, is one of the policy's, "
            f"{', '.join(names_of(old))}",
            "Say which was renamed (--rename OLD=NEW, in Python renamed=)",
        )
    return found


def other_bounds(old: Space, new: Space, choices: Mapping[str, ChoiceMatch]) -> bool:
    """Whether a continuous action has other bounds, so that the same mean is another action."""
    if not (isinstance(old, Box) and isinstance(new, Box)):
        return False
    places = choices["action"].last
    kept = places != ADDED

    def bounds(space: Box) -> np.ndarray:
        shape = space.concrete_shape
        return np.stack([np.broadcast_to(np.asarray(b), shape) for b in (space.low, space.high)])

    return not np.array_equal(bounds(old)[:, places[kept]], bounds(new)[:, kept])


def _several_choices(
    old: MultiDiscrete, new: MultiDiscrete, renames: Renames, positions: bool
) -> dict[str, ChoiceMatch]:
    places = _matched_names("action", "action", old, new, renames, positions)
    found = {}
    for index, place in enumerate(places):
        count = new.nvec[index]
        name = new.names[index] if new.names else str(index)
        kept = old.nvec[place] if place != ADDED else 0
        if place != ADDED and kept != count and not positions:
            raise MismatchError(
                f"choice {name} has {count} options, {kept} were expected; options have no names",
                "Ask for positions (positions=True, --positions): the first ones stay the same",
            )
        last = np.where(np.arange(count) < kept, np.arange(count), ADDED)
        source = None
        if place != ADDED:
            source = f"action/{old.names[place] if old.names else place}"
        found[f"action/{name}"] = ChoiceMatch(last, source, int(place))
    return found


def _matched(
    path: str,
    old: Space,
    new: Space,
    renames: Renames,
    positions: bool,
    source: str,
) -> EntryMatch:
    if type(old) is not type(new) or not isinstance(new, Box | Discrete | MultiDiscrete):
        raise MismatchError(
            f"{path} is a {type(new).__name__}, the policy's a {type(old).__name__}",
            "An entry of another kind is another entry: give it another name",
        )
    resized = False
    if isinstance(old, Box) and isinstance(new, Box):
        whole = [np.issubdtype(box.dtype, np.integer) for box in (old, new)]
        if len(old.shape) != len(new.shape) or whole[0] != whole[1]:
            raise MismatchError(
                f"{path} is {new.dtype}{list(new.shape)}, the policy's "
                f"{old.dtype}{list(old.shape)}: other numbers of axes, or of another kind",
                "An entry of another kind is another entry: give it another name",
            )
        resized = old.concrete_shape[:-1] != new.concrete_shape[:-1]
        if resized and len(old.shape) != 3:
            raise MismatchError(f"{path} has shape {new.shape}, the policy's {old.shape}")
        if not old.shape:
            return EntryMatch(old, new, np.zeros(1, int), source)
    if isinstance(old, MultiDiscrete) and old != new:
        raise MismatchError(f"{path} offers other choices, {new}, than the policy's, {old}")
    if isinstance(old, MultiDiscrete):
        return EntryMatch(old, new, np.arange(sum(old.nvec)), source)
    last = _matched_names(path, source, old, new, renames, positions)
    return EntryMatch(old, new, last, source, resized)


def _matched_names(
    path: str, source: str, old: Space, new: Space, renames: Renames, positions: bool
) -> np.ndarray:
    """The old place of each element of the last axis."""
    before, now = names_of(old), names_of(new)
    sizes = _count(old), _count(new)
    if not before and not now and (sizes[0] == sizes[1] or positions):
        # As everywhere: two spaces of one shape are the same when nobody named anything.
        count = np.arange(sizes[1])
        return np.where(count < sizes[0], count, ADDED)
    if not (before and now):
        if positions:
            count = np.arange(sizes[1])
            return np.where(count < sizes[0], count, ADDED)
        which = (
            "neither the policy nor the new space names"
            if not (before or now)
            else (f"{'the new space' if before else 'the policy'} does not name")
        )
        raise MismatchError(
            f"{which} the elements of {source} ({sizes[0]} before, {sizes[1]} now): which is which "
            "cannot be known",
            _REMEDY,
        )
    after = renames.columns(before, source.partition("/")[2], path.partition("/")[2])
    return np.array([after.index(name) if name in after else ADDED for name in now], int)


def names_of(space: Space) -> tuple[str, ...]:
    """The names of columns, choices or dimensions; () where nobody named them."""
    return getattr(space, "names", ())


def with_names(space: Space, names: Names | Sequence[str], root: str = "observation") -> Space:
    """A space with names for what nobody named.

    Args:
        space: Of an observation or an action.
        names: By the path of the entry (``observation``, ``observation/state``); or of the only
            entry.
        root: What paths begin with.

    Raises:
        UsageError: when there are more or fewer than elements, or they contradict those there are.
        UnknownNameError: for an entry that there is not.
    """
    leaves = leaf_spaces(space, root)
    if not isinstance(names, Mapping):
        if len(leaves) != 1:
            raise UsageError(
                f"names {list(names)}: the {root} has several entries, so names are given by "
                f"entry, such as {{{next(iter(leaves))!r}: [...]}}"
            )
        names = {next(iter(leaves)): names}
    for path in names:
        if path not in leaves:
            raise UnknownNameError(f"entry of the {root}", path, leaves)

    def walk(part: Space, path: str) -> Space:
        if isinstance(part, Dict):
            return Dict({name: walk(inner, f"{path}/{name}") for name, inner in part.entries})
        if path not in names:
            return part
        given = tuple(names[path])
        if names_of(part) and names_of(part) != given:
            raise UsageError(f"{path} has names already: {', '.join(names_of(part))}")
        named: Any = part
        return dataclasses.replace(named, names=given)

    return walk(space, root)


def _count(space: Space) -> int:
    match space:
        case Box():
            return space.concrete_shape[-1] if space.shape else 1
        case Discrete():
            return space.size
        case MultiDiscrete():
            return len(space.nvec)
    raise MismatchError(f"a {type(space).__name__} has no fixed number of elements")


def _last_size(space: Space) -> int:
    return sum(space.nvec) if isinstance(space, MultiDiscrete) else _count(space)


def _shape(space: Space | None) -> str:
    return str(getattr(space, "shape", space))

"""How each weight of the new policy follows from one of the old, read off the axes of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from heredity.common.errors import MismatchError
from heredity.networks.axes import Axis, Piece
from heredity.policies.axes import is_opaque
from heredity.policies.transfer.elements import ADDED

PolicyAxes = Mapping[str, tuple[Axis, ...]]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one weight is made.

    Args:
        path: Of the weight.
        source: Path in the old policy; None for one that is new.
        axes: Of the weight.
        places: For each axis the old place of each element, or `ADDED`.
        removed: For each axis the old places that are no more.
        is_identity: Whether it hands on what it reads: a layer that was put between two others.
    """

    path: str
    source: str | None
    axes: tuple[Axis, ...]
    places: tuple[np.ndarray, ...]
    removed: tuple[np.ndarray, ...]
    is_identity: bool = False

    @property
    def is_copy(self) -> bool:
        """Whether every element stays where it is."""
        return (
            self.source is not None
            and not any(len(gone) for gone in self.removed)
            and all(np.array_equal(place, np.arange(len(place))) for place in self.places)
        )

    def axis(self, role: str) -> int | None:
        """The number of the axis with a role; None where there is none."""
        return next((i for i, axis in enumerate(self.axes) if axis.role == role), None)

    def moved(self, old: np.ndarray | None, start: np.ndarray) -> np.ndarray:
        """The weight, or anything else of its shape such as a moment of the optimiser.

        What was made before reads nothing that is new, and nobody reads new columns: those
        elements are zero. Everything else that is new stays as `start` has it.

        Args:
            old: Of the old policy; None where there is no source.
            start: Of the new shape: freshly initialised weights, or zeros.
        """
        if self.is_copy and old is not None:
            return np.array(old)
        new = np.array(start)
        kept = [np.flatnonzero(place != ADDED) for place in self.places]
        makes = self.axis("makes")
        reads = self.axis("reads")
        if reads is not None and makes is not None:
            new[_at(makes, kept[makes], new.ndim)] = 0
        if reads is not None and self.source is not None:
            new[_at(reads, self._new_columns(reads), new.ndim)] = 0
        if old is not None:
            old_places = [place[now] for place, now in zip(self.places, kept, strict=True)]
            new[np.ix_(*kept)] = old[np.ix_(*old_places)]
        return new

    def _new_columns(self, reads: int) -> np.ndarray:
        """Places of what is new of the observation, of an axis that reads."""
        found = [
            place.start + np.flatnonzero(self.places[reads][place] == ADDED)
            for piece, place in self.axes[reads].parts()
            if piece.kind in ("columns", "channels")
        ]
        return np.concatenate(found) if found else np.zeros(0, int)

    def identity(self, start: np.ndarray) -> np.ndarray:
        """The weight of a layer that hands on what it reads."""
        new = self.moved(None, start)
        reads, makes = self.axis("reads"), self.axis("makes")
        if reads is None:  # the bias
            new[self.places[0] != ADDED] = 0
            return new
        assert makes is not None  # what reads also makes
        origin = {int(p): i for i, p in enumerate(self.places[reads]) if p != ADDED}
        for made, place in enumerate(self.places[makes]):
            if place != ADDED:
                new[origin[int(place)], made] = 1
        return new


def _at(axis: int, places: np.ndarray, ndim: int) -> tuple:
    return (*(slice(None),) * axis, places, *(slice(None),) * (ndim - axis - 1))


class Matching:
    """Where the elements of every piece come from.

    Args:
        old: Axes of the old policy.
        new: Axes of the new one.
        columns: Old places of the columns of each entry, by the path of the entry; None where the
            columns cannot be matched, and why.
        channels: Old places of the last axis of each entry.
        choices: Old places of choices or dimensions of the action.
        sources: The old path of each entry, and the old name of each choice, by the new one.
        folders: Weights and units that are named after an entry: their old folder by the new one;
            None for those of an entry that is new.
        touched: Networks whose input or output changes.
    """

    def __init__(
        self,
        old: PolicyAxes,
        new: PolicyAxes,
        *,
        columns: Mapping[str, np.ndarray | MismatchError],
        channels: Mapping[str, np.ndarray],
        choices: Mapping[str, np.ndarray],
        sources: Mapping[str, str],
        folders: Mapping[str, str | None],
        touched: frozenset[str],
    ) -> None:
        self._old, self._new = old, new
        self._columns, self._channels, self._choices = columns, channels, choices
        self._sources, self._folders, self._touched = sources, folders, touched
        self._old_units = _units(old)
        self._origins = self._found_origins()

    def recipes(self) -> list[Recipe]:
        """How each weight of the new policy is made.

        Raises:
            MismatchError: when one cannot be made without breaking what the policy does.
        """
        return [self._recipe(path, axes) for path, axes in self._new.items()]

    def dropped(self, recipes: Iterable[Recipe]) -> list[str]:
        """Weights of the old policy of which nothing is used."""
        used = {recipe.source for recipe in recipes}
        return [path for path in self._old if path not in used]

    def old_path(self, path: str) -> str | None:
        """The weight of the old policy that stands at this path; None for none."""
        before = self._old_name(path)
        return before if before in self._old else None

    def _old_name(self, name: str) -> str:
        """What a weight or a layer was called; empty for those of an entry that is new."""
        for new, old in self._folders.items():
            if f"{name}/".startswith(f"{new}/"):
                return "" if old is None else old + name.removeprefix(new)
        return name

    # --- layers between ---------------------------------------------------------------------------

    def _found_origins(self) -> dict[str, str]:
        """The old units that new units are, where the name is another: of layers put between."""
        origins: dict[str, str] = {}
        for path, axes in self._new.items():
            source = self.old_path(path)
            if source is None:
                continue
            for now, before in zip(axes, self._old[source], strict=False):
                read, had = _only_units(now), _only_units(before)
                if now.role == "reads" and read and had and not self._was_there(read):
                    origins[read.of] = had.of
        # From the last of several new layers to the first.
        changed = True
        while changed:
            changed = False
            for path, axes in self._new.items():
                made = _only_units(axes[-1]) if axes else None
                if self.old_path(path) is not None or not made or made.of not in origins:
                    continue
                for axis in axes:
                    read = _only_units(axis)
                    if axis.role != "reads" or not read or self._was_there(read):
                        continue
                    if read.of not in origins:
                        origins[read.of] = origins[made.of]
                        changed = True
        return origins

    def _was_there(self, units: Piece) -> bool:
        return self._old_name(units.of) in self._old_units

    # --- one weight -------------------------------------------------------------------------------

    def _recipe(self, path: str, axes: tuple[Axis, ...]) -> Recipe:
        source = self.old_path(path)
        network = path.partition("/")[0]
        if is_opaque(axes) or (source is not None and is_opaque(self._old[source])):
            return self._untouched(path, axes, network)
        if source is None:
            return self._new_weight(path, axes)
        before = self._old[source]
        if len(before) != len(axes):
            raise MismatchError(f"{path} has {len(axes)} axes, {len(before)} before")
        found = [self._axis(path, now, was) for now, was in zip(axes, before, strict=True)]
        places = tuple(places for places, _ in found)
        removed = tuple(removed for _, removed in found)
        for axis, place in zip(axes, places, strict=True):
            if axis.role == "reads" and axis.size and (place == ADDED).all():
                raise MismatchError(
                    f"{path} would read nothing of what it read before: {axis.name}",
                    "Layers can be put between two with the activation relu; none can be taken out",
                )
        return Recipe(path, source, axes, places, removed)

    def _untouched(self, path: str, axes: tuple[Axis, ...], network: str) -> Recipe:
        before = self._old.get(path)
        same = before is not None and [a.size for a in before] == [a.size for a in axes]
        if network in self._touched or not same:
            raise MismatchError(
                f"what the axes of {path} are made of is not known: the network says nothing of it",
                "A network of your own can be transferred when its axes() says what each axis is "
                "made of (heredity.networks.axes)",
            )
        places = tuple(np.arange(axis.size) for axis in axes)
        return Recipe(path, path, axes, places, (np.zeros(0, int),) * len(axes))

    def _new_weight(self, path: str, axes: tuple[Axis, ...]) -> Recipe:
        made = _only_units(axes[-1]) if axes else None
        if made is not None and made.of in self._origins:
            self._check_between(path, axes, made)
            places = tuple(self._axis(path, axis, None)[0] for axis in axes)
            return Recipe(path, None, axes, places, (np.zeros(0, int),) * len(axes), True)
        places = tuple(np.full(axis.size, ADDED) for axis in axes)
        return Recipe(path, None, axes, places, (np.zeros(0, int),) * len(axes))

    def _check_between(self, path: str, axes: tuple[Axis, ...], made: Piece) -> None:
        origin = self._old_units[self._origins[made.of]]
        activations = {made.activation, origin.activation}
        if activations != {"relu"} or len(axes) > 2:
            told = " and ".join(sorted(activation or "none" for activation in activations))
            raise MismatchError(
                f"{path.rpartition('/')[0]} would be put between two layers, with the activation "
                f"{told}: only relu gives back what it was given, so that nothing else changes",
                "Widen the layers there are, or begin with a policy that has activation relu",
            )

    # --- one axis ---------------------------------------------------------------------------------

    def _axis(self, path: str, now: Axis, before: Axis | None) -> tuple[np.ndarray, np.ndarray]:
        """Old places of the elements of an axis, and those that are no more."""
        starts = {
            (_group(piece), piece.of): (place.start, piece)
            for piece, place in (before.parts() if before else ())
        }
        parts = []
        for piece in now.pieces:
            origin = self._origin(piece)
            if before is None:
                known = self._old_units.get(origin)
                found = (0, known) if known is not None else None
            else:
                found = starts.get((_group(piece), origin))
            if found is None:
                parts.append(np.full(piece.total, ADDED))
                continue
            parts.append(self._placed(path, piece, *found))
        places = np.concatenate(parts) if parts else np.zeros(0, int)
        removed = np.setdiff1d(np.arange(before.size if before else 0), places)
        return places, removed

    def _origin(self, piece: Piece) -> str:
        if piece.kind in ("columns", "channels", "logits", "means", "deviations"):
            return self._sources.get(piece.of, "")
        return self._origins.get(piece.of, self._old_name(piece.of))

    def _placed(self, path: str, now: Piece, start: int, before: Piece) -> np.ndarray:
        if now.repeats != before.repeats:
            raise MismatchError(
                f"{path}: {now.of} has {now.repeats} places, {before.repeats} before: every place "
                "of a picture has weights of its own",
                "Show pictures of the size that they had (the option resize of an environment); "
                "networks that average over places fit any: pooling = mean of a cnn "
                "(--network.pooling mean)",
            )
        source = self._source(path, now, before)
        repeated = np.arange(now.repeats)[:, None] * before.size + source
        return np.where(source == ADDED, ADDED, start + repeated).reshape(-1)

    def _source(self, path: str, now: Piece, before: Piece) -> np.ndarray:
        match now.kind:
            case "columns":
                found = self._columns[now.of]
                if isinstance(found, MismatchError):
                    raise found
                return found
            case "channels":
                return self._channels[now.of]
            case "logits" | "means" | "deviations":
                return self._choices[now.of]
            case "units":
                if now.size < before.size:
                    raise MismatchError(
                        f"{now.of} would have {now.size} units, it has {before.size}: layers can "
                        "be made wider, not narrower",
                        "Train a smaller policy from fresh weights",
                    )
                if now.size > before.size and not now.grows:
                    raise MismatchError(
                        f"{now.of} cannot be made wider: what looks at all of its units at once "
                        "(a norm, attention) would see others",
                    )
                count = np.arange(now.size)
                return np.where(count < before.size, count, ADDED)
        if now.size != before.size:
            raise MismatchError(f"{path}: {now.of} is {now.size}, {before.size} was expected")
        return np.arange(now.size)


def _units(axes: PolicyAxes) -> dict[str, Piece]:
    """Units by name, as the layer that makes them says."""
    return {
        piece.of: piece
        for parts in axes.values()
        for axis in parts
        if axis.role == "makes"
        for piece in axis.pieces
        if piece.kind == "units"
    }


def _only_units(axis: Axis) -> Piece | None:
    """The units that an axis is made of, where it is made of nothing else."""
    if len(axis.pieces) == 1 and axis.pieces[0].kind == "units" and axis.pieces[0].repeats == 1:
        return axis.pieces[0]
    return None


def _group(piece: Piece) -> str:
    # Means and deviations of one action are two pieces of one axis; columns and channels are not.
    return "entry" if piece.kind in ("columns", "channels") else piece.kind

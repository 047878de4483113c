"""What a plan does to each weight, in words, and what that guarantees."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from heredity.common.errors import first_few
from heredity.networks.axes import Axis
from heredity.policies.transfer.bounds import amplification
from heredity.policies.transfer.elements import ADDED
from heredity.policies.transfer.recipes import Recipe
from heredity.policies.transfer.stand_ins import StandIns
from heredity.weights.report import (
    APPROXIMATE,
    EXACT,
    ROUNDING,
    Action,
    Guarantee,
    WeightRow,
    bounded,
    weakest,
)


class Rows:
    """Rows of one plan.

    Args:
        axes: Of the old policy.
        leaves: Its weights by path.
        stand_ins: What stands for columns that are no more.
        new_share: Of all new choices together.
        uniform_mix: Share of equal chances that choices are mixed with.

    Attributes:
        folded: For kernels that read what is no more, what stands for it, ``(old,)``.
    """

    def __init__(
        self,
        axes: Mapping[str, tuple[Axis, ...]],
        leaves: Mapping[str, np.ndarray],
        stand_ins: StandIns,
        new_share: float,
        uniform_mix: float = 0.0,
    ) -> None:
        self._axes = axes
        self._leaves = leaves
        self._stand_ins = stand_ins
        self._new_share = new_share
        self._uniform_mix = uniform_mix
        self.folded: dict[str, np.ndarray] = {}
        self._guarantees: dict[str, list[Guarantee]] = {}
        self._new_choices: dict[str, float] = {}  # their part of equal chances, by path

    def row(self, recipe: Recipe) -> WeightRow:
        """The row of a weight."""
        old = None if recipe.source is None else self._leaves[recipe.source]
        notes, guarantees = self._told(recipe)
        guarantee = weakest(guarantees)
        self._guarantees.setdefault(recipe.path.partition("/")[0], []).append(guarantee)
        return WeightRow(
            recipe.path,
            _action(recipe),
            tuple(axis.size for axis in recipe.axes),
            # Statistics count in whole numbers; everything else is float32.
            str(old.dtype) if old is not None else _fresh_dtype(recipe.path),
            source=recipe.source,
            source_shape=None if old is None else old.shape,
            source_dtype="" if old is None else str(old.dtype),
            note="; ".join(notes),
            guarantee=guarantee,
            used=None
            if old is None
            else math.prod(int(np.sum(places != ADDED)) for places in recipe.places),
        )

    def with_means(self, rows: Sequence[WeightRow]) -> list[WeightRow]:
        """The rows, with what the biases beside folded kernels take in."""
        folded = {f"{path.rpartition('/')[0]}/bias" for path in self.folded}
        return [
            dataclasses.replace(
                row,
                action="folded",
                note="; ".join(filter(None, (row.note, "takes in the mean of what is not read"))),
                guarantee=None,
            )
            if row.path in folded
            else row
            for row in rows
        ]

    def dropped(self, path: str) -> WeightRow:
        """The row of an old weight of which nothing is used."""
        leaf = self._leaves[path]
        return WeightRow(
            path, "dropped", source=path, source_shape=leaf.shape, source_dtype=str(leaf.dtype)
        )

    def guarantee(self, network: str, resized: Sequence[str]) -> Guarantee:
        """What holds of the outputs of the actor or the critic.

        Args:
            network: Which of the two.
            resized: Pictures that have other sides.
        """
        parts = [*self._guarantees.get(network, ()), *self._guarantees.get("trunk", ())]
        # Another scale of a picture is another picture.
        found = weakest([*parts, *(APPROXIMATE for _ in resized)])
        if found.bound is not None and network == "critic":
            return bounded(found.bound, "each value")
        if network != "actor" or not self._new_choices or found.kind in ("approximate", "none"):
            return found
        # Of choices the guarantee is about their probabilities.
        moved = 0.0 if found.bound is None else math.tanh(found.bound)
        even = self._uniform_mix * max(self._new_choices.values())
        return bounded(min(1.0, moved + self._new_share + even), "total variation")

    # --- one weight -------------------------------------------------------------------------------

    def _told(self, recipe: Recipe) -> tuple[list[str], list[Guarantee]]:
        if recipe.is_identity:
            return ["hands on what it reads"], [EXACT]
        if recipe.source is None:
            return ["nothing that was there before reads it"], [EXACT]
        notes: list[str] = []
        guarantees = [EXACT]
        old_axes = self._axes[recipe.source]
        for axis, before, places, removed in zip(
            recipe.axes, old_axes, recipe.places, recipe.removed, strict=True
        ):
            new = np.flatnonzero(places == ADDED)
            if axis.role == "reads":
                if len(new):
                    notes.append(f"+ {_named(axis, new)}, zero")
                guarantees.append(_order(places))
                if len(removed):
                    notes.append(f"- {_named(before, removed)}")
                    guarantees.append(self._without(recipe, before, removed, notes))
            elif axis.role == "makes":
                self._note_made(recipe, axis, before, new, removed, notes, guarantees)
        return notes, guarantees

    def _without(
        self, recipe: Recipe, before: Axis, removed: np.ndarray, notes: list[str]
    ) -> Guarantee:
        """What holds where a kernel does not read some columns any more."""
        assert recipe.source is not None
        kernel = self._leaves[recipe.source].astype(np.float64)
        values, spread = np.zeros(before.size), np.zeros(before.size)
        others = tuple(axis for axis in range(kernel.ndim) if axis != kernel.ndim - 2)
        read = removed[np.any(kernel[..., removed, :], axis=others)]
        if not len(read):
            notes.append("nothing was read of it")
            return ROUNDING
        known = True
        for piece, place in before.parts():
            gone = _within(place, read)
            if len(gone) and piece.kind == "columns":
                values[place], spread[place] = self._stand_ins.of(piece.of, gone)
                if piece.activation == "symlog":  # which brings nothing further apart
                    values[place] = np.sign(values[place]) * np.log1p(np.abs(values[place]))
            elif len(gone):
                known = False
        if not known:
            notes.append("0 stands for it: its mean is not known")
            return APPROXIMATE
        if values.any():
            self.folded[recipe.path] = values
            notes.append("its mean is in the bias")
        else:
            notes.append("its mean is 0 as the network sees it")
        moved = float(np.linalg.norm(kernel, axis=1) @ spread)
        if not math.isfinite(moved):
            notes.append(f"per unit of it the layer's sums move by {_largest(kernel, removed):.3g}")
            return APPROXIMATE
        bound = moved * amplification(self._axes, self._leaves, recipe.source)
        notes.append(f"the layer's sums move by at most {moved:.3g}")
        return bounded(bound, "each output") if math.isfinite(bound) else APPROXIMATE

    def _note_made(
        self,
        recipe: Recipe,
        axis: Axis,
        before: Axis,
        new: np.ndarray,
        removed: np.ndarray,
        notes: list[str],
        guarantees: list[Guarantee],
    ) -> None:
        kinds = {piece.kind for piece in axis.pieces}
        if len(new):
            notes.append(f"+ {_named(axis, new)}")
            if "logits" in kinds:
                share = f"at most {self._new_share:g} of the probability together"
                notes.append(f"mean of the others, less so much that they have {share}")
                self._new_choices[recipe.path] = max(_new_parts(axis, new), default=0.0)
        if len(removed) and kinds & {"columns", "channels", "logits", "means", "deviations"}:
            notes.append(f"- {_named(before, removed)}")
            if _loses_choices(before, removed):
                notes.append("its probability goes to the others")
                guarantees.append(APPROXIMATE)
        if any(p.kind == "logits" and p.of != "action" for p in axis.pieces) and len(new):
            whole = [piece for piece in axis.pieces if piece.of not in _origins(before)]
            if whole:
                notes.append("a new choice begins even")


def _new_parts(axis: Axis, new: np.ndarray) -> list[float]:
    """Which part of each choice that there was before is new, as a fraction of its options."""
    parts = [len(_within(place, new)) / piece.total for piece, place in axis.parts()]
    return [part for part in parts if part < 1]


def _loses_choices(before: Axis, removed: np.ndarray) -> bool:
    """Whether a choice has fewer options.

    Of several choices, one that is gone as a whole changes no other.
    """
    return any(
        piece.kind == "logits"
        and 0 < len(_within(place, removed)) < piece.total + (piece.of == "action")
        for piece, place in before.parts()
    )


def _within(place: slice, elements: np.ndarray) -> np.ndarray:
    """Those of the elements of an axis that are in a part of it, counted from its beginning."""
    return elements[(elements >= place.start) & (elements < place.stop)] - place.start


def _origins(axis: Axis) -> set[str]:
    return {piece.of for piece in axis.pieces}


def _action(recipe: Recipe) -> Action:
    if recipe.source is None:
        return "initialised"
    if recipe.is_copy:
        return "copied"
    grows = any((places == ADDED).any() for places in recipe.places)
    if any(len(removed) for removed in recipe.removed):
        return "grown and shrunk" if grows else "shrunk"
    return "grown" if grows else "permuted"


def _order(places: np.ndarray) -> Guarantee:
    """Whether sums keep their order: new terms, which are zero, come after all others."""
    kept = places[places != ADDED]
    in_front = np.array_equal(places[: len(kept)], np.arange(len(kept)))
    return EXACT if in_front else ROUNDING


def _largest(kernel: np.ndarray, removed: np.ndarray) -> float:
    return float(np.linalg.norm(kernel[..., removed, :], axis=-1).max())


def _named(axis: Axis, places: np.ndarray) -> str:
    """Elements of an axis in words."""
    names: list[str] = []
    units = 0
    for piece, place in axis.parts():
        inside = _within(place, places)
        if piece.kind == "units":
            units += len(inside)
        elif len(piece.names) == piece.size:
            names += [piece.names[index % piece.size] for index in inside]
        else:
            names += [f"{piece.of}[{index}]" for index in inside]
    if units:
        names.append(f"{units} unit{'s' * (units > 1)}")
    # Once each: an action may have a mean and a deviation, and a picture many places.
    return first_few(list(dict.fromkeys(names)), 4)


def _fresh_dtype(path: str) -> str:
    return "uint32" if path.endswith("/count") else "float32"

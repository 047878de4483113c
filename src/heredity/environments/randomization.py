"""Physical models that differ from episode to episode: every environment is its own world.

What is drawn follows from the key of the reset and lives in the state. So as many worlds are seen
as episodes are played, a resumed run goes on in the same ones, and several devices see different
ones. brax's own way draws one world for each environment of the batch and keeps it.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from heredity.common.errors import UnknownNameError, UsageError

Ranges = Mapping[str, tuple[float, float]]
"""By name, the smallest and the largest factor."""

Fields = Mapping[str, tuple[str, ...]]
"""By name, the fields of a model that its factor multiplies, such as ``opt.gravity``."""


MJX_FIELDS: Fields = {
    "armature": ("dof_armature",),
    "damping": ("dof_damping",),
    "friction": ("geom_friction", "pair_friction"),
    "gear": ("actuator_gear",),
    "gravity": ("opt.gravity",),
    "mass": ("body_mass", "body_inertia", "body_subtreemass"),
    "stiffness": ("jnt_stiffness",),
}
"""What there is to multiply in a model of MJX."""


class Worlds(Protocol):
    """Something of a model that is drawn anew for each episode."""

    def draw(self, key: jax.Array) -> dict[str, jax.Array]:
        """Parameters of one world, by name: what makes it different."""
        ...

    def apply(self, model: Any, drawn: dict[str, jax.Array]) -> Any:
        """The model with these parameters: the one of that world."""
        ...


class Factors:
    """Fields of a model multiplied by factors, each drawn evenly from its range.

    One factor for a name: all masses of a world are, say, 1.2 times those of the model.

    Args:
        ranges: By name, the smallest and the largest factor.
        fields: What there is to multiply.
        model: With ``tree_replace``, as brax's and MJX's are.
        owner: Whose model it is, for errors.

    Raises:
        UnknownNameError: for a name that is not in `fields`.
        UsageError: for a range that is none, or where there is nothing but zeros to multiply.
    """

    def __init__(self, ranges: Ranges, fields: Fields, model: Any, owner: str) -> None:
        for name, given in ranges.items():
            if name not in fields:
                raise UnknownNameError(f"name to randomize of {owner}", name, fields)
            check_range(name, given)
            if not any(np.any(np.asarray(_get(model, path))) for path in fields[name]):
                raise UsageError(
                    f"randomize {name} of {owner}: its model has none to multiply, all are zero"
                )
        self._ranges = {name: ranges[name] for name in sorted(ranges)}
        self._fields = fields

    def draw(self, key: jax.Array) -> dict[str, jax.Array]:
        """A factor for each range, by name."""
        drawn = {}
        for name, (low, high) in self._ranges.items():
            # By name, so that another range beside it changes nothing.
            own = jax.random.fold_in(key, zlib.crc32(name.encode()))
            drawn[name] = jax.random.uniform(own, (), jnp.float32, low, high)
        return drawn

    def apply(self, model: Any, drawn: dict[str, jax.Array]) -> Any:
        """The model with its fields multiplied."""
        changes = {
            path: _get(model, path) * factor
            for name, factor in drawn.items()
            for path in self._fields[name]
        }
        return model.tree_replace(changes)


def check_range(name: str, given: tuple[float, ...]) -> None:
    """Refuse what is no range of factors."""
    if (
        len(given) != 2
        or not all(math.isfinite(v) and v >= 0 for v in given)
        or given[0] > given[1]
    ):
        raise UsageError(
            f"randomize {name}={list(given)}: the smallest and the largest factor were expected, "
            "such as [0.5, 1.5]"
        )


def _get(model: Any, path: str) -> Any:
    return functools.reduce(getattr, path.split("."), model)


def world_key(key: jax.Array) -> jax.Array:
    """The key that worlds are drawn from, apart from the one that first states are drawn from."""
    return jax.random.fold_in(key, zlib.crc32(b"randomize"))
